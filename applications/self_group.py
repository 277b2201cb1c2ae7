"""The published groupings, beside what they reach here.

    python applications/self_group.py --recipe=densenet121_cifar10 \\
        --data_dir=../shared/data --output=runs/densenet121_cifar10

Trains the network of a recipe once (or reads it from --start), then for every rate of
the recipe (or of --rates) groups its filters, trains it on and packs it. Writes
results.csv with a row per rate beside the row that was published, and for every rate a
folder with model.keras (masked), packed.keras, the reports of groups and packing and
groups.png. An interrupted program goes on when it is started again with the same flags
(seconds are then those since).

Recipes are those of `keras_sda.grouping.GROUPING_RECIPES`. Published, as accuracy in
percent / parameters in millions / MACs in millions:

  lenet_mnist           99.40/0.431/2.294 whole; 95 % 99.17/0.022/0.388,
                        99 % 98.53/0.005/0.307
  densenet121_cifar10   95.23/6.89/888.36 whole; 75 % 95.40/1.71/221.90,
                        95 % 94.32/0.34/45.76
  densenet121_cifar100  78.67/6.99/888.45 whole; 70 % 78.78/2.10/266.60,
                        95 % 74.37/0.36/45.67
  resnet50_imagenet     76.13/25.55/4090 whole; 70/60 % 74.42/9.83/1560
  densenet201_imagenet  76.90/19.82/4290 whole; 70/60 % 76.12/6.00/1340

and so on, see `keras_sda.grouping.PUBLISHED_GROUPINGS`. A minute or two on a CPU, to
see it work:

    python applications/self_group.py --recipe=lenet_mnist --dataset=digits \\
        --rates=0.9,0.95 --train_epochs=5 --fine_tune_epochs=5 --output=runs/try

On a machine with JAX and no TensorFlow, take the images along as arrays x_train,
y_train, x_test, y_test of one or several .npz files, which are joined:

    python applications/self_group.py --recipe=densenet121_cifar10 \\
        --data_dir=../shared/data --write_arrays=runs/cifar10_ --parts=4
    KERAS_BACKEND=jax python applications/self_group.py --recipe=densenet121_cifar10 \\
        --arrays=runs/cifar10_1.npz,runs/cifar10_2.npz,runs/cifar10_3.npz,runs/...

Images in memory are padded by four zeros (digits by three), cropped and mirrored in
numpy on every backend (digits are not mirrored); larger data sets come from
`training_stream`.
"""

import functools
import pathlib

import keras_sda_command

with keras_sda_command.ctrl_c_ends():
    from absl import flags, logging

    from keras_sda.cli.run_program import run_program
    from keras_sda.training import (
        RepeatGroupingOptions,
        build,
        define_flags,
        repeat_grouping,
        save_image_arrays,
    )

define_flags(RepeatGroupingOptions)
flags.DEFINE_string("write_arrays", None, "Write the images to such .npz files, end.")
flags.DEFINE_integer("parts", 1, "How many files --write_arrays makes.", lower_bound=1)


def main(options):
    logging.set_verbosity(logging.WARNING)
    chosen = build(RepeatGroupingOptions, options)
    if options.write_arrays:
        paths = save_image_arrays(chosen.load(), options.write_arrays, options.parts)
        print(",".join(paths))
        return
    repeat_grouping(chosen, functools.partial(print, flush=True))
    print(f"rows in {pathlib.Path(chosen.output) / 'results.csv'}")


if __name__ == "__main__":
    run_program(main, "It goes on when it is started again with the same flags.")

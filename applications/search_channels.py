"""The published searches for widths (DNAL), beside what they reach here.

    python applications/search_channels.py --recipe=resnet56_cifar \\
        --data_dir=../shared/data --output=runs/resnet56_cifar

Trains the weights of the network of a recipe once, then for every price of the recipe
(or for --lambda_arch or --target_macs) the gates, derives the small network and
fine-tunes it. Writes results.csv with a row per search beside the row that was
published, and for every search a folder with the derived model.keras, the report of its
layers, search.csv and search.png. An interrupted program goes on when it is started
again with the same flags (seconds are then those since). A search that closes its
network altogether is reported, and the others go on.

Recipes are those of `keras_sda.search.SEARCH_RECIPES`. The prices for CIFAR-10 are
those of the published table, taken as prices for --reference_steps steps of the gates,
7820 (batches of 64, ten epochs; the authors do not say): with other batches or epochs,
price times steps is kept. Published, as accuracy in percent / MACs in millions:

  vgg16_cifar         93.77/313.47 whole; 1e-5 93.82/211.89, 1e-4 93.75/161.97,
                      5e-4 89.27/16.65
  resnet56_cifar      94.15/125.49 whole; 1e-5 93.76/93.94, 1e-4 93.20/36.94,
                      5e-4 83.48/1.68
  mobilenet_v2_cifar  94.31/91.17 whole; 1e-5 94.17/59.47, 1e-4 94.01/36.63,
                      5e-4 87.85/4.50

and so on, see `keras_sda.search.PUBLISHED_SEARCHES`, which has those of ImageNet too. A
few minutes on a CPU, to see it work:

    python applications/search_channels.py --dataset=digits --output=runs/try \\
        --model=CIFARResNet20 --target_macs=0.5 --weight_epochs=3 \\
        --architecture_epochs=3 --fine_tune_epochs=3 --max_train_examples=512

On a machine with JAX and no TensorFlow, take the images along as arrays x_train,
y_train, x_test, y_test of one or several .npz files, which are joined:

    python applications/search_channels.py --data_dir=../shared/data \\
        --write_arrays=runs/cifar10_ --parts=4
    KERAS_BACKEND=jax python applications/search_channels.py \\
        --arrays=runs/cifar10_1.npz,runs/cifar10_2.npz,runs/cifar10_3.npz,runs/...

Images in memory are padded by four zeros, cropped and mirrored in numpy on every
backend (digits are not mirrored); larger data sets come from `training_stream`.
"""

import functools
import pathlib

import keras_sda_command

with keras_sda_command.ctrl_c_ends():
    from absl import flags, logging

    from keras_sda.cli.run_program import run_program
    from keras_sda.training import (
        RepeatSearchOptions,
        build,
        define_flags,
        repeat_search,
        save_image_arrays,
    )

define_flags(RepeatSearchOptions)
flags.DEFINE_string("write_arrays", None, "Write the images to such .npz files, end.")
flags.DEFINE_integer("parts", 1, "How many files --write_arrays makes.", lower_bound=1)


def main(options):
    logging.set_verbosity(logging.WARNING)
    chosen = build(RepeatSearchOptions, options)
    if options.write_arrays:
        paths = save_image_arrays(chosen.load(), options.write_arrays, options.parts)
        print(",".join(paths))
        return
    repeat_search(chosen, functools.partial(print, flush=True))
    print(f"rows in {pathlib.Path(chosen.output) / 'results.csv'}")


if __name__ == "__main__":
    run_program(main, "It goes on when it is started again with the same flags.")

"""Does depth attention follow the size of the object? A small network, one picture.

    python applications/depth_attention_scales.py --output=runs/depth_attention_scales

Trains SDAResNet20 to tell five shapes apart in generated 64-pixel images whose objects
are 8, 16, 32 or 48 pixels large, then reads its depth attention on new images, before
and after training. Writes depth_attention_by_scale.png and .csv (mean weight of each
block), .json (the shift, measured) and model.keras. About four minutes on two cores.

The depth of a stage for an image is the mean position of its blocks under the weights,
0 for all weight on the first block and 1 for all on the last. The shift is the mean
depth of the largest objects minus that of the smallest, with its standard error over
images. Of several --seeds, each trains a network of its own; the picture shows the
first one. A shift that differs in sign between seeds is none.
"""

import functools

import keras_sda_command

with keras_sda_command.ctrl_c_ends():
    from absl import flags, logging

    from keras_sda.cli.run_program import run_program
    from keras_sda.training import measure_depth_by_size
    from keras_sda.utils import InvalidInputError

flags.DEFINE_string("output", "runs/depth_attention_scales", "Folder of the results.")
flags.DEFINE_integer("epochs", 8, "Passes over the images.", lower_bound=1)
flags.DEFINE_integer("train_images", 2400, "Training images.", lower_bound=40)
flags.DEFINE_integer("test_images", 800, "Images for the measurement.", lower_bound=40)
flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=2)
flags.DEFINE_float("learning_rate", 2e-3, "Peak rate of Adam; falls as a cosine.")
flags.DEFINE_list("seeds", ["0"], "One training per seed.")


def report(result):
    """The result as lines of text."""
    lines = ["test accuracy in percent, by object size in pixels"]
    for row in result["runs"]:
        values = "  ".join(
            f"{size}: {100 * value:.1f}"
            for size, value in row["accuracy_by_size"].items()
        )
        lines.append(f"  seed {row['seed']}  {values}")
    smallest, largest = min(result["scales"]), max(result["scales"])
    lines.append(
        f"shift of the mean depth from {smallest} to {largest} pixels, "
        "with standard error over images"
    )
    for row in result["runs"]:
        for when in ("before", "after"):
            for stage, value in row[when].items():
                lines.append(
                    f"  seed {row['seed']}  {when:6} training  {stage}  "
                    f"{value['shift']:+.4f} +- {value['standard_error']:.4f}  "
                    f"correlation {value['correlation_with_log_size']:+.2f}"
                )
    return lines


def main(options):
    logging.set_verbosity(logging.WARNING)
    if not all(seed.isdigit() for seed in options.seeds):
        raise InvalidInputError("--seeds must be numbers with commas, such as 0,1,2.")
    result = measure_depth_by_size(
        options.output,
        [int(seed) for seed in options.seeds],
        options.epochs,
        options.train_images,
        options.test_images,
        options.batch_size,
        options.learning_rate,
        functools.partial(print, flush=True),
    )
    print("\n".join(report(result)))
    print(f"{result['seconds']} seconds, files in {options.output}")


if __name__ == "__main__":
    run_program(main)

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

import json
import pathlib
import sys
import time

import keras
import numpy as np
from absl import flags, logging

from keras_sda.analysis import (
    DepthAttentionWeights,
    depth_attention,
    multi_scale_images,
    plot_depth_attention,
)
from keras_sda.applications import SDAResNet20
from keras_sda.cli.run_program import run_program
from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.optional_import import optional_import

SCALES = (8, 16, 32, 48)
NUM_CLASSES = 5

flags.DEFINE_string("output", "runs/depth_attention_scales", "Folder of the results.")
flags.DEFINE_integer("epochs", 8, "Passes over the images.", lower_bound=1)
flags.DEFINE_integer("train_images", 2400, "Training images.", lower_bound=40)
flags.DEFINE_integer("test_images", 800, "Images for the measurement.", lower_bound=40)
flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=2)
flags.DEFINE_float("learning_rate", 2e-3, "Peak rate of Adam; falls as a cosine.")
flags.DEFINE_list("seeds", ["0"], "One training per seed.")


def build(steps, learning_rate):
    """SDAResNet20 that takes the uint8 images as they are."""
    image = keras.Input((64, 64, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    model = SDAResNet20(input_tensor=scaled, classes=NUM_CLASSES)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(seed, test, options):
    """Trains one network; returns it, its test accuracy per size, and both readings."""
    keras.utils.set_random_seed(seed)
    # Test images have an odd seed, so no training seed repeats them.
    data = multi_scale_images(
        options.train_images, scales=SCALES, num_classes=NUM_CLASSES, seed=2 * seed
    )
    steps = options.epochs * -(-options.train_images // options.batch_size)
    model = build(steps, options.learning_rate)
    before = depth_attention(model, test.images)
    model.fit(
        data.images,
        data.labels,
        batch_size=options.batch_size,
        epochs=options.epochs,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    right = model.predict(test.images, verbose=0).argmax(1) == test.labels
    accuracy = {str(s): float(right[test.sizes == s].mean()) for s in SCALES}
    return model, accuracy, before, depth_attention(model, test.images)


def measure(attention, sizes):
    """Shift of the depth from the smallest to the largest objects, per stage."""
    result = {}
    for stage, weights in attention.items():
        num_blocks = weights.shape[1]
        position = np.arange(num_blocks) / max(num_blocks - 1, 1)
        depth = weights.mean(axis=2, dtype="float64") @ position
        small, large = depth[sizes == min(SCALES)], depth[sizes == max(SCALES)]
        error = np.sqrt(small.var(ddof=1) / len(small) + large.var(ddof=1) / len(large))
        result[stage] = {
            "depth_by_size": {str(s): float(depth[sizes == s].mean()) for s in SCALES},
            "shift": float(large.mean() - small.mean()),
            "standard_error": float(error),
            "correlation_with_log_size": float(
                np.corrcoef(np.log(sizes), depth)[0, 1] if depth.std() else 0.0
            ),
        }
    return result


def run(options):
    """Trains, measures, writes the files; returns the result."""
    start = time.perf_counter()
    optional_import("matplotlib", "The picture of depth_attention_scales")
    seeds = [int(seed) for seed in options.seeds]
    folder = pathlib.Path(options.output)
    test = multi_scale_images(
        options.test_images, scales=SCALES, num_classes=NUM_CLASSES, seed=1
    )
    rows = []
    for seed in seeds:
        print(f"seed {seed}: train SDAResNet20", flush=True)
        model, accuracy, before, after = train(seed, test, options)
        rows.append(
            {
                "seed": seed,
                "accuracy_by_size": accuracy,
                "before": measure(before, test.sizes),
                "after": measure(after, test.sizes),
            }
        )
        if seed == seeds[0]:
            draw(before, after, test.sizes, folder)
            with atomic_write(folder / "model.keras") as temporary:
                model.save(temporary)
    result = {
        "model": "SDAResNet20, 64 pixels",
        "scales": SCALES,
        "train_images": options.train_images,
        "test_images": options.test_images,
        "epochs": options.epochs,
        "seconds": round(time.perf_counter() - start),
        "runs": rows,
    }
    with atomic_write(folder / "depth_attention_by_scale.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    return result


def draw(before, after, sizes, folder):
    """Both readings in one picture: before training above, after training below."""
    both, names = {}, {}
    for label, reading in (("before", before), ("after", after)):
        for stage, weights in reading.items():
            key = f"{stage.removesuffix('_sda')}, {label} training"
            both[key] = weights
            names[key] = reading.block_names[stage]
    plot_depth_attention(
        DepthAttentionWeights(both, names),
        folder / "depth_attention_by_scale.png",
        groups=np.searchsorted(SCALES, sizes),
        group_names=[f"object of {size} px" for size in SCALES],
        title="Depth attention of SDAResNet20 by size of the object",
        columns=len(before),
    )


def report(result):
    """The result as lines of text."""
    lines = ["test accuracy in percent, by object size in pixels"]
    for row in result["runs"]:
        values = "  ".join(
            f"{size}: {100 * value:.1f}"
            for size, value in row["accuracy_by_size"].items()
        )
        lines.append(f"  seed {row['seed']}  {values}")
    lines.append(
        f"shift of the mean depth from {min(SCALES)} to {max(SCALES)} pixels, "
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
    result = run(options)
    print("\n".join(report(result)))
    print(f"{result['seconds']} seconds, files in {options.output}")


if __name__ == "__main__":
    run_program(main)

"""Does depth attention follow the size of the object?"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.analysis import (
    DepthAttentionWeights,
    depth_attention,
    multi_scale_images,
    plot_depth_attention,
)
from keras_sda.applications import get_model
from keras_sda.utils import atomic_write, save_model
from keras_sda.utils.optional_import import optional_import

_SCALES = (8, 16, 32, 48)
_NUM_CLASSES = 5


def measure_depth_by_size(
    output: str | os.PathLike,
    seeds: Sequence[int] = (0,),
    epochs: int = 8,
    train_images: int = 2400,
    test_images: int = 800,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    log: Callable[[str], Any] = logging.info,
) -> dict:
    """Trains SDAResNet20 on objects of four sizes and reads its depth attention.

    Use it through `applications/depth_attention_scales.py` or directly. The network
    tells five shapes apart in images of 64 pixels, see `multi_scale_images`. The depth
    of a stage is the mean position of its blocks under the weights, 0 for all weight on
    the first block and 1 for all on the last; the shift is the mean depth of the
    largest objects minus that of the smallest.

    The folder then holds depth_attention_by_scale.json (what is returned), .png and
    .csv (mean weight of each block, of the first seed) and model.keras.

    Args:
        output: The folder.
        seeds: Each trains a network of its own. Defaults to `(0,)`.
        epochs: Passes over the training images. Defaults to `8`.
        train_images: Number of training images. Defaults to `2400`.
        test_images: Number of images for the measurement. Defaults to `800`.
        batch_size: Images per step. Defaults to `32`.
        learning_rate: Highest rate of Adam; falls as a cosine. Defaults to `2e-3`.
        log: Called with short messages on the course of the runs.

    Returns:
        Settings, seconds and `runs`, a dictionary per seed: accuracy by size, and for
        every stage before and after training the depth by size, the shift, its standard
        error over images and the correlation of depth and logarithm of the size.

    Raises:
        InvalidInputError: A number cannot be used, or matplotlib is not installed.

    Example:

    ```python
    result = measure_depth_by_size("runs/depth", seeds=(0, 1, 2))
    result["runs"][0]["after"]["stage3_sda"]["shift"]
    ```
    """
    start = time.perf_counter()
    optional_import("matplotlib", "The picture of depth_attention_scales")
    folder, rows = pathlib.Path(output), []
    # Test images have an odd seed, so no training seed repeats them.
    test = _images(test_images, 1)
    for seed in seeds:
        log(f"seed {seed}: train SDAResNet20")
        keras.utils.set_random_seed(seed)
        data = _images(train_images, 2 * seed)
        model = _build(epochs * -(-train_images // batch_size), learning_rate)
        before = depth_attention(model, test.images)
        model.fit(
            data.images,
            data.labels,
            batch_size=batch_size,
            epochs=epochs,
            verbose=1 if sys.stdout.isatty() else 2,
        )
        right = model.predict(test.images, verbose=0).argmax(1) == test.labels
        after = depth_attention(model, test.images)
        rows.append(
            {
                "seed": seed,
                "accuracy_by_size": {
                    str(s): float(right[test.sizes == s].mean()) for s in _SCALES
                },
                "before": _measure(before, test.sizes),
                "after": _measure(after, test.sizes),
            }
        )
        if seed == seeds[0]:
            _draw(before, after, test.sizes, folder)
            save_model(model, folder / "model.keras")
    result = {
        "model": "SDAResNet20, 64 pixels",
        "scales": _SCALES,
        "train_images": train_images,
        "test_images": test_images,
        "epochs": epochs,
        "seconds": round(time.perf_counter() - start),
        "runs": rows,
    }
    with atomic_write(folder / "depth_attention_by_scale.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _images(count, seed):
    return multi_scale_images(
        count, scales=_SCALES, num_classes=_NUM_CLASSES, seed=seed
    )


def _build(steps, learning_rate):
    """SDAResNet20 that takes the uint8 images as they are."""
    image = keras.Input((64, 64, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    model = get_model("SDAResNet20")(input_tensor=scaled, classes=_NUM_CLASSES)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _measure(attention, sizes):
    """Shift of the depth from the smallest to the largest objects, per stage."""
    result = {}
    for stage, weights in attention.items():
        num_blocks = weights.shape[1]
        position = np.arange(num_blocks) / max(num_blocks - 1, 1)
        depth = weights.mean(axis=2, dtype="float64") @ position
        small, large = depth[sizes == min(_SCALES)], depth[sizes == max(_SCALES)]
        error = np.sqrt(small.var(ddof=1) / len(small) + large.var(ddof=1) / len(large))
        result[stage] = {
            "depth_by_size": {str(s): float(depth[sizes == s].mean()) for s in _SCALES},
            "shift": float(large.mean() - small.mean()),
            "standard_error": float(error),
            "correlation_with_log_size": float(
                np.corrcoef(np.log(sizes), depth)[0, 1] if depth.std() else 0.0
            ),
        }
    return result


def _draw(before, after, sizes, folder):
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
        groups=np.searchsorted(_SCALES, sizes),
        group_names=[f"object of {size} px" for size in _SCALES],
        title="Depth attention of SDAResNet20 by size of the object",
        columns=len(before),
    )

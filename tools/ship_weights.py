"""Puts the weights of a finished training run into the package.

    python tools/ship_weights.py runs/cifar10

Takes the final weights of the run (`model.keras`; not `best.weights.h5`, which was
chosen by its accuracy on the test images), writes them to
keras_sda/applications/weights/ under the authors' parameter names, and prints the row
for keras_sda/applications/presets.py. Accuracy and versions come from `metrics.json`
of the run; nothing is evaluated again here, a test of the package does that.
"""

import argparse
import json
import pathlib
import pprint
import sys
from collections.abc import Sequence

LIMIT = 4_000_000  # bytes; what a file may add to the package
# Where a run was done is no part of the recipe.
_PLACES = ("data_dir", "output", "download", "resume", "overwrite", "strict")


def ship_weights(run_dir, weights_folder=None) -> dict:
    """Writes the package file of a run and returns its row.

    Args:
        run_dir: Folder that `keras-sda train` finished.
        weights_folder: Where to write. Defaults to the folder of the package.

    Returns:
        The row of weights for `presets.py`.

    Raises:
        InvalidInputError: The run is not finished, its network is not a named one for
            RGB images, or the file would be too large.
    """
    import numpy as np
    from safetensors.numpy import save

    from keras_sda.applications import preprocess_input
    from keras_sda.applications.checkpoints.named_weights import WEIGHTS_FOLDER
    from keras_sda.applications.checkpoints.network_signature import NetworkSignature
    from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
    from keras_sda.applications.checkpoints.weights_mismatch import check_numbers
    from keras_sda.applications.presets.presets import IMAGENET_MEAN, IMAGENET_STD
    from keras_sda.utils import InvalidInputError, atomic_write, load_model

    run_dir = pathlib.Path(run_dir)
    try:
        metrics = json.loads((run_dir / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{run_dir} holds no metrics.json that can be read: give the folder of a "
            "finished `keras-sda train`."
        ) from error
    model = load_model(run_dir / "model.keras")
    network = metrics["model"]
    signature = NetworkSignature.of_model(model)
    if signature.preset != network or not signature.attention:
        raise InvalidInputError(
            f"The model in {run_dir} must be a named network of this package with "
            f"depth attention. Received: {network!r}."
        )
    if model.input_shape[-1] != 3:
        raise InvalidInputError(
            "Named weights take RGB images. Received: a model of "
            f"{model.input_shape[-1]} channels."
        )
    pixels = np.linspace(0, 255, 48, dtype="float32").reshape(1, 4, 4, 3)
    scaling = model.get_layer("pixel_scaling")
    if not np.allclose(scaling(pixels), preprocess_input(pixels.copy()), atol=1e-5):
        raise InvalidInputError(
            f"The model in {run_dir} scales pixels in another way than "
            "`preprocess_input`, which named weights need."
        )
    tensors = to_torch_tensors(model)
    check_numbers(run_dir / "model.keras", tensors.items())
    data = save(tensors)
    file = f"{network.lower()}_{metrics['dataset'].split(':')[0]}.safetensors"
    if len(data) > LIMIT:
        raise InvalidInputError(
            f"{file} would have {len(data):,} bytes; the package takes at most "
            f"{LIMIT:,} per file."
        )
    with atomic_write(pathlib.Path(weights_folder or WEIGHTS_FOLDER) / file) as path:
        path.write_bytes(data)
    return {
        "source": "package",
        "file": file,
        "layout": "authors",
        "licence": "apache-2.0",
        "classes": metrics["classes"],
        "top1": round(100 * metrics["accuracy"], 2),
        "evaluated_at": {
            "size": metrics["image_size"],
            "images": metrics["num_test"],
        },
        "preprocessing": {
            "size": metrics["image_size"],
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
        "command": _command(metrics),
        "recipe": metrics["recipe"],
        "seed": metrics["seed"],
        "epochs": metrics["epochs"],
        "device": metrics["device"],
        "versions": {
            name: metrics["versions"][name]
            for name in ("keras_sda", "keras", "backend", "tensorflow")
            if name in metrics["versions"]
        },
    }


def _command(metrics):
    from keras_sda.training import TrainOptions

    chosen, default = metrics["options"], TrainOptions()
    words = ["keras-sda train"]
    for name, value in chosen.items():
        if name in _PLACES or not hasattr(default, name):
            continue
        if value == getattr(default, name) and name not in ("model", "dataset"):
            continue
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name}")
        else:
            words.append(f"--{name} {value}")
    return " ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program."""
    from keras_sda.utils import InvalidInputError

    parser = argparse.ArgumentParser(
        description="Put the weights of a finished run of `keras-sda train` into the "
        "package and print their row for presets.py."
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="Folder of the run.")
    parser.add_argument(
        "--weights_folder", metavar="DIR", help="Where to write. Default: the package."
    )
    options = parser.parse_args(arguments)
    try:
        row = ship_weights(options.run_dir, options.weights_folder)
    except (InvalidInputError, OSError) as error:
        sys.stderr.write(f"ship_weights: error: {error}\n")
        return 2
    name = row["file"].removesuffix(".safetensors").split("_", 1)[1]
    row = pprint.pformat({name: row}, sort_dicts=False, width=80)
    sys.stdout.write(f'"weights": {row}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())

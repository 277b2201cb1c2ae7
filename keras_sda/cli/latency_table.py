"""The command `keras-sda latency-table`."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

# Keras' names of the formats, and the endings that their programs expect.
_FORMATS = {
    "saved_model": ("tf_saved_model", ""),
    "litert": ("litert", ".tflite"),
    "onnx": ("onnx", ".onnx"),
}


def add_latency_table_command(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    show: Callable[[str], None],
) -> None:
    """Adds `latency-table` to the command line.

    Args:
        commands: The sub-parsers of `keras-sda`.
        command: Makes the parser of one command.
        show: Prints a line.
    """
    parser = command(
        commands,
        "latency-table",
        lambda options: _latency_table(options, show),
        "Write what to time on another device, for prune --latency_table",
        "keras-sda latency-table runs/digits/model.keras --output phone",
    )
    parser.add_argument(
        "model", metavar="MODEL.keras", help="Saved model (.keras, or .h5 of Keras)."
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="New folder; gets models to time and latency.csv, whose column ms is to "
        "be filled in.",
    )
    parser.add_argument(
        "--format",
        default="keras",
        choices=("keras", *_FORMATS),
        help="What the small models are written as. Default: keras.",
    )
    parser.add_argument(
        "--batch_size", type=int, default=1, metavar="N", help="Images per run."
    )


def _latency_table(options, show):
    from keras_sda.analysis import LatencyTable
    from keras_sda.utils import load_model

    exporter = None
    if options.format != "keras":
        exporter = functools.partial(_export, options.format)
    path = LatencyTable.requests(
        load_model(options.model),
        options.output,
        exporter=exporter,
        batch_size=options.batch_size,
    )
    show(
        f"Time the models in {path.parent / 'models'} on the device and write the "
        f"milliseconds into the column ms of {path}."
    )


def _export(kind, model, path):
    name, ending = _FORMATS[kind]
    model.export(f"{path}{ending}", format=name, verbose=False)

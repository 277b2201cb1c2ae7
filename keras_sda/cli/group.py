"""The command `keras-sda group`."""

import argparse
from collections.abc import Callable
from typing import Any

from keras_sda.cli.run import made_smaller, run_options, show_changes, typed_options
from keras_sda.utils import InvalidInputError


def add_group_command(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    show: Callable[[str], None],
) -> None:
    """Adds `group` to the command line.

    Args:
        commands: The sub-parsers of `keras-sda`.
        command: Makes the parser of one command.
        show: Prints a line.
    """
    from keras_sda.training import GroupOptions, add_arguments

    parser = command(
        commands,
        "group",
        lambda options: _group(options, show),
        "Let filters form groups that read fewer channels, train on, pack",
        "keras-sda group runs/digits/model.keras --dataset digits --conv_rate 0.7 "
        "--dense_rate 0.6 --fine_tune_epochs 3 --output runs/digits_groups",
    )
    parser.add_argument(
        "file",
        metavar="MODEL.keras",
        nargs="?",
        default=argparse.SUPPRESS,
        help="Saved model, as --model. Not needed with --resume.",
    )
    add_arguments(parser, GroupOptions, typed_only=True)


def _group(options, show):
    from keras_sda.training import GroupOptions, group_classifier

    given = typed_options(options)
    file = given.pop("file", None)
    if file is not None:
        if given.setdefault("model", file) != file:
            raise InvalidInputError(
                f"Two models: {file} and --model {given['model']}. Name one."
            )
    chosen = run_options(given, GroupOptions)
    metrics = group_classifier(chosen, log=show)
    show_changes(metrics, show)
    show(
        f"counted as published: params {metrics['published_params']:,}, macs "
        f"{metrics['published_macs']:,}"
    )
    if "params_packed" in metrics:
        forms = ", ".join(f"{name} {n}" for name, n in metrics["forms"].items())
        show(
            f"packed: params {metrics['params_packed']:,}, macs "
            f"{metrics['macs_packed']:,} (layers: {forms})"
        )
    if "accuracy" in metrics:
        words = made_smaller(metrics, "grouped")
        text = (
            f"test accuracy {metrics['accuracy_before']:.2%} before, {words}, "
            f"{metrics['accuracy']:.2%} now"
        )
        if "accuracy_packed" in metrics:
            text += f", {metrics['accuracy_packed']:.2%} packed"
        show(text)
    if metrics.get("latency"):
        show(f"latency ratio packed to before {metrics['latency']['ratio']:.3f}")
    show(f"results in {chosen.output}")

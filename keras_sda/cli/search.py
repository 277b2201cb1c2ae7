"""The command `keras-sda search`."""

import argparse
from collections.abc import Callable
from typing import Any

from keras_sda.cli.run import made_smaller, run_options, show_changes, typed_options


def add_search_command(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    show: Callable[[str], None],
) -> None:
    """Adds `search` to the command line.

    Args:
        commands: The sub-parsers of `keras-sda`.
        command: Makes the parser of one command.
        show: Prints a line.
    """
    from keras_sda.training import SearchOptions, add_arguments

    parser = command(
        commands,
        "search",
        lambda options: _search(options, show),
        "Learn how many channels each layer needs and derive the small network",
        "keras-sda search --model CIFARResNet20 --dataset digits --target_macs 0.5 "
        "--output runs/digits_search",
    )
    add_arguments(parser, SearchOptions, typed_only=True)


def _search(options, show):
    from keras_sda.training import SearchOptions, search_classifier

    given = typed_options(options)
    chosen = run_options(given, SearchOptions)
    metrics = search_classifier(chosen, log=show)
    show(f"channels {metrics['channels_before']:,} -> {metrics['channels']:,}")
    show_changes(metrics, show)
    show(
        f"test accuracy {metrics['accuracy_before']:.2%} before, "
        f"{made_smaller(metrics, 'derived')}, {metrics['accuracy']:.2%} now"
    )
    show(f"results in {chosen.output}")

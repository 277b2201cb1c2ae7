"""The command `keras-sda search`."""

import argparse
from collections.abc import Callable

from keras_sda.cli_pruning import show_changes


def add_search_command(
    commands: argparse._SubParsersAction,
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
    add_arguments(parser, SearchOptions)
    for action in parser._actions:
        # What was not typed stays away: --resume takes it from the run itself.
        action.default = argparse.SUPPRESS


def _search(options, show):
    from keras_sda.training import (
        SearchOptions,
        build,
        resumed_options,
        search_classifier,
    )

    given = {
        name: value
        for name, value in vars(options).items()
        if name not in ("run", "command")
    }
    if given.get("resume"):
        output = given.pop("output", SearchOptions.output)
        chosen = resumed_options(output, given, SearchOptions)
    else:
        chosen = build(SearchOptions, given)
    metrics = search_classifier(chosen, log=show)
    show(f"channels {metrics['channels_before']:,} -> {metrics['channels']:,}")
    show_changes(metrics, show)
    show(
        f"test accuracy {metrics['accuracy_before']:.2%} before, "
        f"{metrics['accuracy_derived']:.2%} derived, {metrics['accuracy']:.2%} now"
    )
    show(f"results in {chosen.output}")

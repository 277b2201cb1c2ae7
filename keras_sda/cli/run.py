"""What the commands of the command line that make runs have in common."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any


def typed_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were typed, by name.

    Args:
        options: What the parser gave.
    """
    own: Sequence[str] = ("run", "command")
    return {name: value for name, value in vars(options).items() if name not in own}


def run_options(given: dict[str, Any], options_class: Any) -> Any:
    """The options of a new run, or with `resume` those of the interrupted one.

    Args:
        given: What was typed.
        options_class: Options of the command.

    Raises:
        InvalidInputError: They cannot be used, or there is no such run.
    """
    from keras_sda.training import build, resumed_options

    if not given.get("resume"):
        return build(options_class, given)
    given = dict(given)
    return resumed_options(
        given.pop("output", options_class.output), given, options_class
    )


def show_changes(metrics: dict, show: Callable[[str], None]) -> None:
    """Shows parameters and multiply-accumulates before and after.

    Args:
        metrics: Contents of metrics.json.
        show: Prints a line.
    """
    for name in ("params", "macs"):
        before, after = metrics[f"{name}_before"], metrics[name]
        show(f"{name} {before:,} -> {after:,} ({after / max(before, 1):.1%})")


def made_smaller(metrics: dict, made: str) -> str:
    """The accuracy of the small model before training, in words.

    Args:
        metrics: Contents of metrics.json.
        made: What the command did, such as `"pruned"`.
    """
    accuracy = metrics[f"accuracy_{made}"]
    if "accuracy_cut" in metrics:
        return f"{metrics['accuracy_cut']:.2%} cut, {accuracy:.2%} reconstructed"
    return f"{accuracy:.2%} {made}"

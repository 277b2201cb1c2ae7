"""The commands `keras-sda prune` and `keras-sda report`."""

import argparse
from collections.abc import Callable
from typing import Any

from keras_sda.cli.run import made_smaller, run_options, show_changes, typed_options
from keras_sda.utils import InvalidInputError


def add_pruning_commands(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    show: Callable[[str], None],
) -> None:
    """Adds `prune` and `report` to the command line.

    Args:
        commands: The sub-parsers of `keras-sda`.
        command: Makes the parser of one command.
        show: Prints a line.
    """
    from keras_sda.training import PruneOptions, add_arguments

    parser = command(
        commands,
        "prune",
        lambda options: _prune(options, show),
        "Make a saved model smaller and train it on",
        "keras-sda prune runs/digits/model.keras --macs 0.5 --dataset digits "
        "--fine_tune_epochs 3 --output runs/digits_small",
    )
    parser.add_argument(
        "model",
        metavar="MODEL.keras",
        nargs="?",
        default=argparse.SUPPRESS,
        help="Saved model (.keras, or .h5 of Keras). Not needed with --resume.",
    )
    add_arguments(parser, PruneOptions, typed_only=True, leave_out=("model",))
    parser = command(
        commands,
        "report",
        lambda options: _report(options, show),
        "Show what a run of prune, search or group has done",
        "keras-sda report runs/digits_small",
    )
    parser.add_argument(
        "folder", metavar="DIR", help="Output folder of prune, search or group."
    )
    parser.add_argument(
        "--layers", action="store_true", help="All layers, as Markdown tables."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument(
        "--compare",
        metavar="OTHER",
        help="Output folder of another run, of any of these commands: both side by "
        "side, as a Markdown table.",
    )


def _prune(options, show):
    from keras_sda.training import PruneOptions, prune_classifier

    given = typed_options(options)
    if not given.get("resume") and "model" not in given:
        raise InvalidInputError(
            "`model` is missing: keras-sda prune MODEL.keras --macs 0.5 --output DIR."
        )
    chosen = run_options(given, PruneOptions)
    metrics = prune_classifier(chosen, log=show)
    show_changes(metrics, show)
    if "accuracy" in metrics:
        show(
            f"test accuracy {metrics['accuracy_before']:.2%} before, "
            f"{made_smaller(metrics, 'pruned')}, {metrics['accuracy']:.2%} now"
        )
    if metrics.get("latency"):
        show(f"latency ratio {metrics['latency']['ratio']:.3f}")
    show(f"results in {chosen.output}")


def _report(options, show):
    metrics = _metrics(options.folder)
    report = _load(options.folder, metrics)
    if options.compare:
        if options.json or options.layers:
            raise InvalidInputError(
                "`--compare` prints a table of its own, without --json and --layers. "
                f"Received: --compare {options.compare} and one of these. Leave one."
            )
        other = _load(options.compare, _metrics(options.compare))
        show(report.compare(other))
    elif options.json:
        show(report.to_json())
    elif options.layers:
        show(report.to_markdown())
    else:
        show(report.to_text())
        for key, text in (
            ("accuracy_before", "test accuracy before"),
            ("accuracy_cut", "test accuracy cut only"),
            ("accuracy_pruned", "test accuracy after pruning"),
            ("accuracy_grouped", "test accuracy after grouping"),
            ("accuracy_derived", "test accuracy of the derived network"),
            ("accuracy", "test accuracy after fine-tuning"),
        ):
            if key in metrics and (key != "accuracy" or _was_fine_tuned(metrics)):
                show(f"{text}: {metrics[key]:.2%}")


def _load(folder, metrics):
    from keras_sda.grouping import GroupingReport
    from keras_sda.pruning import PruningReport

    is_grouped = "conv_rate" in metrics.get("options", {})
    return (GroupingReport if is_grouped else PruningReport).load(folder)


def _was_fine_tuned(metrics):
    epochs = metrics.get("epochs")
    epochs = epochs if isinstance(epochs, dict) else {}
    return metrics.get("fine_tune_epochs", epochs.get("fine_tune", 1))


def _metrics(folder):
    import pathlib

    from keras_sda.runs.read_metrics import read_metrics

    path = pathlib.Path(folder) / "metrics.json"
    return read_metrics(folder) if path.is_file() else {}

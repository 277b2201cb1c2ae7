"""The metrics.json of a finished run."""

import os
import pathlib
import typing

from keras_sda.runs.run_metrics import NULL, RunMetrics
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.read_json import checked, read_json

_SIZES = ("params_before", "params", "macs_before", "macs")
# What the command line shows of a run, by command.
_NEEDED = {
    "train": ("accuracy",),
    "prune": _SIZES,
    "search": (*_SIZES, "channels_before", "channels", "accuracy"),
    "group": (*_SIZES, "published_params", "published_macs"),
}
# Where the first is there, the others are.
_TOGETHER = {
    "prune": (("accuracy", "accuracy_before", "accuracy_pruned"),),
    "search": (("accuracy", "accuracy_before", "accuracy_derived"),),
    "group": (
        ("accuracy", "accuracy_before", "accuracy_grouped"),
        ("params_packed", "macs_packed", "forms"),
    ),
}


def read_metrics(folder: str | os.PathLike, command: str | None = None) -> dict:
    """Returns the contents of metrics.json, checked; see `RunMetrics`.

    Use it wherever the results of a run are read again.

    Args:
        folder: Output folder of the run.
        command: The command that made it, such as `"prune"`: what that shows has to be
            there. Defaults to `None`, any.

    Raises:
        InvalidInputError: The file cannot be read, lacks an entry or has one of
            another type.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.runs.read_metrics import read_metrics
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "metrics.json").write_text('{"accuracy": 0.5}')
    >>> read_metrics(folder, "train")
    {'accuracy': 0.5}
    """
    path = pathlib.Path(folder) / "metrics.json"
    advice = "Start the run again in another folder, or with `overwrite` (--overwrite)."
    metrics = read_json(path, dict, advice)
    try:
        # Entries of other versions are none of ours.
        hints = typing.get_type_hints(RunMetrics)
        for name in metrics.keys() & hints.keys():
            checked(metrics[name], hints[name], name)
            if metrics[name] is None and name not in NULL:
                raise ValueError(f"{name} must not be null")
        if metrics.get("latency"):
            checked(metrics["latency"].get("ratio"), float, "latency.ratio")
        needed = list(_NEEDED.get(command or "", ()))
        for first, *others in _TOGETHER.get(command or "", ()):
            needed += others if first in metrics else []
        missing = [name for name in needed if name not in metrics]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
    except ValueError as error:
        raise InvalidInputError(
            f"File {path} is damaged ({error}). {advice}"
        ) from error
    return metrics

"""The options of an interrupted run, read from its folder."""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Mapping
from typing import TypeVar

from keras_sda.runs.output_folder import read_run
from keras_sda.training.options.run_options import RunOptions
from keras_sda.training.options.train_options import TrainOptions
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.read_json import checked

Options = TypeVar("Options", bound=RunOptions)


def resumed_options(
    output: str | os.PathLike,
    given: Mapping,
    options_class: type[Options] = TrainOptions,  # type: ignore[assignment]
) -> Options:
    """Makes the options that continue the run in a folder.

    Use it for `--resume`, where only the folder needs to be named. An option in `given`
    wins; the run itself then refuses those that differ and would change its result.

    Args:
        output: Folder of the interrupted run.
        given: The options that the user has set, by name. May be empty.
        options_class: Options of the command, such as `PruneOptions`. Defaults to
            `TrainOptions`.

    Returns:
        An `options_class` with `resume=True`.

    Raises:
        InvalidInputError: The folder holds no run of this command, its options cannot
            be read, or `given` holds a name that is not an option.

    Example:

    ```python
    options = resumed_options("runs/digits", {})
    metrics = train_classifier(options)
    ```
    """
    names = {field.name for field in dataclasses.fields(options_class)}
    unknown = sorted(set(given) - names)
    if unknown:
        raise InvalidInputError(
            f"Unknown option(s) {unknown}. Expected names from: "
            f"{', '.join(sorted(names))}."
        )
    stored = read_run(pathlib.Path(output), options_class.command).options
    kept = {name: value for name, value in stored.items() if name in names}
    kept["overwrite"] = False  # it was done when the run began
    hints = typing.get_type_hints(options_class)
    try:
        kept = {name: checked(kept[name], hints[name], name) for name in kept}
    except ValueError as error:
        raise InvalidInputError(
            f"`resume` (--resume): run.json in {output} is damaged ({error}). "
            "Start again in another folder."
        ) from error
    return options_class(**{**kept, **given, "output": str(output), "resume": True})

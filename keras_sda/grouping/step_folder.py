"""The finished steps of a fine-tuning scheme, in a folder."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping

import keras

from keras_sda.grouping.grouping_report import GroupingReport
from keras_sda.utils import InvalidInputError, atomic_write, load_model, save_model
from keras_sda.utils.files.atomic_write import is_temporary
from keras_sda.utils.files.read_json import read_json


class StepFolder:
    """Keeps models and reports, so that a killed run goes on.

    For every step a folder NAME with `grouped.keras` (while the step is trained),
    `report.json` and, at its end, `model.keras`.

    Args:
        folder: Made where it is absent.
        settings: What the steps depend on, as JSON can hold it.

    Raises:
        InvalidInputError: The folder holds steps of other settings.

    Example:

    ```python
    files = StepFolder("backup", {"conv_rate": 0.7})
    files.save_grouped("global", masked, report)
    files.finish("global", masked)
    ```
    """

    def __init__(self, folder: str | os.PathLike, settings: Mapping):
        self._folder = pathlib.Path(folder)
        path = self._folder / "steps.json"
        for left in self._folder.glob("*/.*"):
            if is_temporary(left):
                left.unlink()  # by a call that was killed
        text = json.dumps(settings, indent=1, default=str) + "\n"
        if path.is_file():
            _compare(path, json.loads(text))
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(text)

    def is_done(self, name: str) -> bool:
        """Whether a step is finished."""
        return (self._folder / name / "model.keras").is_file()

    def is_grouped(self, name: str) -> bool:
        """Whether the groups of a step are chosen."""
        return (self._folder / name / "grouped.keras").is_file()

    def model(self, name: str) -> keras.Model:
        """The model of a finished step."""
        return load_model(self._folder / name / "model.keras")

    def grouped_model(self, name: str) -> keras.Model:
        """The model of a step before its training."""
        return load_model(self._folder / name / "grouped.keras")

    def report(self, name: str) -> GroupingReport:
        """What a step has cut."""
        return GroupingReport.load(self._folder / name)

    def save_grouped(
        self, name: str, model: keras.Model, report: GroupingReport
    ) -> None:
        """Keeps the groups of a step.

        Args:
            name: Name of the step.
            model: The masked model.
            report: Its report.
        """
        folder = self._folder / name
        # Left by a call that was killed before its groups were chosen.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        report.save(folder)
        _save(model, folder / "grouped.keras")

    def finish(self, name: str, model: keras.Model) -> None:
        """Keeps the model of a finished step.

        Args:
            name: Name of the step.
            model: The model after its training.
        """
        (self._folder / name).mkdir(exist_ok=True)
        _save(model, self._folder / name / "model.keras")
        (self._folder / name / "grouped.keras").unlink(missing_ok=True)


def _save(model, path):
    # A compiled model would take the state of its optimizer along.
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    save_model(copy, path)


def _compare(path, settings):
    stored = read_json(path, dict, "Name another folder.", "folder")
    names = sorted({*stored, *settings})
    different = [x for x in names if stored.get(x) != settings.get(x)]
    if different:
        what = ", ".join(
            "another model"
            if name == "weights"
            else f"{name} was {stored.get(name)!r}, now {settings.get(name)!r}"
            for name in different
        )
        raise InvalidInputError(
            f"`folder` {path.parent} holds steps of other arguments ({what}). Give the "
            "same ones, or name another folder."
        )

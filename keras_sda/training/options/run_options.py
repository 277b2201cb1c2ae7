"""What the options of every run have in common."""

import dataclasses
from typing import ClassVar

from keras_sda.training.options.checked_options import CheckedOptions, option
from keras_sda.training.recipes.recipes import RECIPES
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class RunOptions(CheckedOptions):
    """Model, data and folder of a run, and their checks.

    Use it as the base of the options of one command.

    Args:
        model: The network.
        dataset: `"digits"`, a TensorFlow Datasets name, or a folder with one
            sub-folder of images per class.
        data_dir: Folder of the prepared TensorFlow Datasets.
        download: Whether a missing dataset may be downloaded.
        strict: Stop at a damaged image instead of skipping it.
        max_train_examples: Use the first N training examples, for a quick try.
        split: How a folder without a test part is divided.
        batch_size: Images per step, over all devices together.
        recipe: Name of a recipe.
        seed: Seed of everything that is drawn.
        resume: Continue an interrupted run in `output`.
        overwrite: Delete what an earlier run left in `output`.
        output: Folder of the results.

    Attributes:
        command: Name of the command; a run is resumed by the same one.
        changeable: Options that a resumed run may have other values of.
        files: Names of what the command writes into `output`.

    Raises:
        InvalidInputError: A value is not usable, with the nearest valid name.

    Example:

    >>> RunOptions(model="model.keras", output="runs/small").seed
    0
    """

    command: ClassVar[str] = ""
    changeable: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = (
        "metrics.json", "model.keras", "labels.txt", "history.csv", "curves.png",
    )  # fmt: skip
    # Commands that let these be chosen have them as fields: `DeviceOptions`.
    deterministic: ClassVar[bool | None] = None
    strategy: ClassVar[str] = "none"
    virtual_devices: ClassVar[int] = 0

    model: str = option("", "Saved model.")
    dataset: str | None = option(
        None,
        "digits (built in), a TensorFlow Datasets name such as cifar10, or a folder "
        "with one sub-folder of images per class.",
    )
    data_dir: str | None = option(
        None, "Folder of the prepared TensorFlow Datasets (or set TFDS_DATA_DIR)."
    )
    download: bool = option(False, "Download the dataset when it is absent.")
    strict: bool = option(False, "Stop at a damaged image instead of skipping it.")
    max_train_examples: int | None = option(
        None, "Use the first N training examples, for a quick try.", positive=True
    )
    split: str = option(
        "per_class",
        "How a folder without test part is divided: a fifth of every class is tested, "
        "or (by_name, as in 0.1) a fifth of all images.",
        ("per_class", "by_name"),
    )
    batch_size: int | None = option(
        None,
        "Images per step over all devices. Taken from the recipe if not given.",
        positive=True,
    )
    recipe: str | None = option(
        None,
        "Training recipe. Taken from the dataset if not given.",
        tuple(RECIPES),
    )
    seed: int = option(0, "Seed of weights, image order and augmentation.")
    resume: bool = option(False, "Continue an interrupted run in --output.")
    overwrite: bool = option(False, "Delete an earlier run in --output.")
    output: str = option("runs/run", "Folder of the results.")

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.seed < 2**31:
            raise InvalidInputError(
                f"`seed` must be from 0 to {2**31 - 1}. Received: seed={self.seed!r}."
            )
        if self.virtual_devices < 0:
            raise InvalidInputError(
                "`virtual_devices` must be 0 (off) or the number of devices. "
                f"Received: virtual_devices={self.virtual_devices!r}."
            )
        if self.virtual_devices and self.strategy != "mirrored":
            raise InvalidInputError(
                "`virtual_devices` needs `strategy` mirrored (--strategy mirrored). "
                f"Received: strategy={self.strategy!r}."
            )
        if self.resume and self.overwrite:
            raise InvalidInputError(
                "`resume` (--resume) and `overwrite` (--overwrite) exclude each other: "
                "the first keeps the run in `output`, the second deletes it."
            )
        for name in ("model", "output"):
            if not getattr(self, name):
                raise InvalidInputError(f"`{name}` must not be empty.")

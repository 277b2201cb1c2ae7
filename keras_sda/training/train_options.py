"""Everything that can be chosen about one training run."""

import dataclasses
import difflib

from keras_sda.training.recipes import RECIPES
from keras_sda.utils import InvalidInputError

_POSITIVE = {
    "image_size",
    "batch_size",
    "epochs",
    "learning_rate",
    "max_train_examples",
}


def _option(default, help_text, choices=None):
    metadata = {"help": help_text, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The options of `train_classifier`, checked when they are made.

    Use it in Python; `keras-sda train` and `applications/train_classifier.py` make
    their options from the same fields. None means: taken from the recipe, which is
    itself taken from the dataset.

    Args:
        model: Name of a constructor of `keras_sda.applications`.
        dataset: `"digits"`, a TensorFlow Datasets name, or a folder with one
            sub-folder of images per class.
        data_dir: Folder of the prepared TensorFlow Datasets.
        download: Whether a missing dataset may be downloaded.
        image_size: Height and width in pixels that the model is built for.
        batch_size: Images per step, over all devices together.
        epochs: Number of passes over the training images.
        recipe: Name of a recipe in `keras_sda.training.RECIPES`.
        augmentation: `"keras"`, `"keras_cv"` or `"none"`.
        strategy: `"none"` (one device) or `"mirrored"` (all devices of this machine).
        virtual_devices: With `"mirrored"`: split the CPU into so many devices.
        mixed_precision: Keras dtype policy.
        depth_attention: False trains the plain trunk of the same network.
        ema: Whether to average the weights over the steps.
        learning_rate: Highest learning rate.
        weights: Weights to start from: a file, or a name such as `"imagenet"`.
        seed: Seed of the weights, the order of the images and the augmentation.
        max_train_examples: Train on the first N examples, for a quick try.
        deterministic: None makes training on one CPU device repeatable in every bit
            (one TensorFlow operation at a time, each on all cores). True forces
            deterministic kernels too, which a GPU needs and which may be slower.
            False does neither.
        strict: Stop at a damaged image instead of skipping it.
        resume: Continue an interrupted run in `output`; the options that shape the
            result must be those of the run. `resumed_options` reads them for you.
        overwrite: Delete what an earlier run left in `output`.
        output: Folder of the results.

    Raises:
        InvalidInputError: A value is not usable, with the nearest valid name.

    Example:

    >>> TrainOptions(epochs=2, output="runs/quick").dataset
    'digits'
    """

    model: str = _option(
        "SDAResNet20", "Network: a constructor of keras_sda.applications."
    )
    dataset: str = _option(
        "digits",
        "digits (built in), a TensorFlow Datasets name such as cifar10, or a folder "
        "with one sub-folder of images per class.",
    )
    data_dir: str | None = _option(
        None, "Folder of the prepared TensorFlow Datasets (or set TFDS_DATA_DIR)."
    )
    download: bool = _option(False, "Download the dataset when it is absent.")
    image_size: int | None = _option(
        None, "Image height and width in pixels. Taken from the dataset if not given."
    )
    batch_size: int | None = _option(
        None, "Images per step over all devices. Taken from the recipe if not given."
    )
    epochs: int | None = _option(
        None, "Passes over the training images. Taken from the recipe if not given."
    )
    recipe: str | None = _option(
        None,
        "Training recipe. Taken from the dataset if not given.",
        tuple(RECIPES),
    )
    augmentation: str | None = _option(
        None,
        "Which layers augment the images. Taken from the recipe if not given.",
        ("keras", "keras_cv", "none"),
    )
    strategy: str = _option(
        "none",
        "none: one device. mirrored: every GPU of this machine.",
        ("none", "mirrored"),
    )
    virtual_devices: int = _option(
        0, "With --strategy mirrored: split the CPU into N devices, for trying it out."
    )
    mixed_precision: str = _option(
        "float32",
        "Dtype policy.",
        ("float32", "mixed_bfloat16", "mixed_float16"),
    )
    depth_attention: bool = _option(
        True, "Selective depth attention; off trains the plain trunk."
    )
    ema: bool | None = _option(
        None, "Average the weights over the steps. From the recipe if not given."
    )
    learning_rate: float | None = _option(
        None, "Highest learning rate. Taken from the recipe if not given."
    )
    weights: str | None = _option(
        None, "Weights to start from: a file, or a name such as imagenet."
    )
    seed: int = _option(0, "Seed of weights, image order and augmentation.")
    max_train_examples: int | None = _option(
        None, "Train on the first N examples, for a quick try."
    )
    deterministic: bool | None = _option(
        None,
        "Force repeatable results, also on a GPU, where it may be slower. If not "
        "given, runs on one CPU device are repeatable in every bit.",
    )
    strict: bool = _option(False, "Stop at a damaged image instead of skipping it.")
    resume: bool = _option(False, "Continue an interrupted run in --output.")
    overwrite: bool = _option(False, "Delete an earlier run in --output.")
    output: str = _option("runs/train", "Folder of the results.")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices = field.metadata["choices"]
            if choices and value is not None and value not in choices:
                nearest = difflib.get_close_matches(str(value), choices, n=1)
                hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise InvalidInputError(
                    f"`{field.name}` must be one of {', '.join(choices)}. "
                    f"Received: {field.name}={value!r}.{hint}"
                )
            if field.name in _POSITIVE and value is not None and not value > 0:
                raise InvalidInputError(
                    f"`{field.name}` must be greater than 0. "
                    f"Received: {field.name}={value!r}."
                )
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
        for name in ("model", "dataset", "output"):
            if not getattr(self, name):
                raise InvalidInputError(f"`{name}` must not be empty.")

"""Everything that can be chosen about one training run."""

import dataclasses
from typing import ClassVar

from keras_sda.data.images.check_dataset_name import check_dataset_name
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.device_options import DeviceOptions


@dataclasses.dataclass(frozen=True)
class TrainOptions(DeviceOptions):
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

    command: ClassVar[str] = "train"
    files: ClassVar[tuple[str, ...]] = (
        *DeviceOptions.files, "best.weights.h5", "logs", "skipped_files.txt",
    )  # fmt: skip

    model: str = option(
        "SDAResNet20", "Network: a constructor of keras_sda.applications."
    )
    dataset: str = option(
        "digits",
        "digits (built in), a TensorFlow Datasets name such as cifar10, or a folder "
        "with one sub-folder of images per class.",
    )
    epochs: int | None = option(
        None,
        "Passes over the training images. Taken from the recipe if not given.",
        positive=True,
    )
    augmentation: str | None = option(
        None,
        "Which layers augment the images. Taken from the recipe if not given.",
        ("keras", "keras_cv", "none"),
    )
    mixed_precision: str = option(
        "float32",
        "Dtype policy.",
        ("float32", "mixed_bfloat16", "mixed_float16"),
    )
    depth_attention: bool = option(
        True, "Selective depth attention; off trains the plain trunk."
    )
    ema: bool | None = option(
        None, "Average the weights over the steps. From the recipe if not given."
    )
    learning_rate: float | None = option(
        None,
        "Highest learning rate. Taken from the recipe if not given.",
        positive=True,
    )
    weights: str | None = option(
        None, "Weights to start from: a file, or a name such as imagenet."
    )
    output: str = option("runs/train", "Folder of the results.")

    def __post_init__(self):
        super().__post_init__()
        check_dataset_name(self.dataset)

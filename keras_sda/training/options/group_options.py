"""Everything that can be chosen about self-grouping a classifier."""

import dataclasses
from typing import ClassVar

from keras_sda.graph.model.find_head import ACTIVATIONS
from keras_sda.grouping.check_rates import check_rates
from keras_sda.grouping.grouping_steps import SCHEMES
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.device_options import DeviceOptions
from keras_sda.training.options.fine_tuning_options import FineTuningOptions
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class GroupOptions(FineTuningOptions, DeviceOptions):
    """The options of `group_classifier`, checked when they are made.

    Use it in Python; `keras-sda group` makes its options from the same fields.

    Args:
        model: A `.keras` file, or the name of a network that is built for the dataset
            and trained first.
        conv_rate: Share of the connections that convolutions lose.
        dense_rate: The same for dense layers.
        num_groups: Groups per layer.
        scheme: `"global"`, `"local_global"` or `"local"`, see `group_and_fine_tune`.
        local_epochs: Epochs after each step of the last two; two ninths of
            `fine_tune_epochs` if None, as published.
        fine_tune_epochs: Epochs of the last training; from the recipe if None, 0 if
            there is no dataset.
        weight_epochs: Epochs of the whole network before; from the recipe if None, 0
            if None and `model` is a file.
        balance: `"disjoint"` or `"equal"`, see `balanced_groups`; None as published.
        regroup: `"once"` or `"every_step"`, see `self_group`.
        layers: `"auto"`, or names of the layers that get groups, separated by commas.
        exclude: Names of layers that get none, separated by commas.
        reconstruct: Fit the filters of every group, from 512 training images, to give
            what they gave before the cut, before any training.
        form: What `pack` makes of masked layers, or `"none"`: no packed.keras.
        latency_batch_size: Images per run when forms and models are timed.
        dataset: Dataset of training and accuracy, as in training.
        activation: What turns the outputs into probabilities, where the model does not
            show it: `"softmax"`, `"sigmoid"` or `"none"`.
        learning_rate: Highest rate of fine-tuning; a tenth of the recipe's, or that of
            the optimizer, if None.
        optimizer, distill, distill_temperature: See `FineTuningOptions`. What trains
            the whole network of a name is the recipe.
        recipe: Name of a training recipe.
        image_size, strategy, virtual_devices, deterministic: See `DeviceOptions`.
        data_dir, download, strict, max_train_examples, batch_size, seed, resume,
            overwrite, output: See `RunOptions`.

    Raises:
        InvalidInputError: A value is not usable.

    Example:

    >>> GroupOptions(model="model.keras", conv_rate=0.8).dense_rate
    0.6
    """

    command: ClassVar[str] = "group"
    files: ClassVar[tuple[str, ...]] = (
        *DeviceOptions.files, "groups.png", "packed.keras", "packing.csv",
        "packing.json", "packing.md", "report.csv", "report.json", "report.md",
    )  # fmt: skip
    # They matter after everything has been trained.
    changeable: ClassVar[tuple[str, ...]] = ("form", "latency_batch_size")

    model: str = option(
        "", "Saved model MODEL.keras, or a network as in `keras-sda list`."
    )
    conv_rate: float = option(
        0.7, "Share of the connections that convolutions lose, such as 0.7 for 70 %."
    )
    dense_rate: float = option(0.6, "The same for dense layers.")
    num_groups: int = option(
        16, "Groups per layer; --balance chooses them itself.", positive=True
    )
    scheme: str = option(
        "global",
        "global: cut at once, then train. local_global: cut ten points at a time with "
        "short trainings, then train. local: without the last training.",
        SCHEMES,
    )
    fine_tune_epochs: int | None = option(
        None,
        "Epochs of the last training. Taken from the recipe if not given.",
        least=0,
    )
    local_epochs: int | None = option(
        None,
        "Epochs after each ten points. Two ninths of those of the last training if not "
        "given, as published.",
        least=0,
    )
    weight_epochs: int | None = option(
        None,
        "Epochs of the whole network before. If not given, taken from the recipe, and "
        "0 for a saved model.",
        least=0,
    )
    balance: str | None = option(
        None,
        "Groups of one size instead of any. disjoint: they share no channel, so that a "
        "grouped convolution runs them. equal: they read one number of channels.",
        ("disjoint", "equal"),
    )
    regroup: str = option(
        "once",
        "once: groups stay. every_step: each step clusters anew, as published.",
        ("once", "every_step"),
    )
    layers: str = option(
        "auto", "Names of the layers that get groups, separated by commas."
    )
    exclude: str = option(
        "", "Names of layers that get no groups, separated by commas."
    )
    reconstruct: bool = option(
        False,
        "Fit the filters to give what they gave before from what they still read, "
        "without training.",
    )
    form: str = option(
        "auto",
        "Packed form. auto: the fastest of each layer on this device. none: do not "
        "pack.",
        ("auto", "lists", "grouped", "dense", "none"),
    )
    latency_batch_size: int = option(
        1, "Images per run when forms and models are timed.", positive=True
    )
    dataset: str | None = option(
        None, "Images to train on and to measure the accuracy with, as in train."
    )
    activation: str | None = option(
        None,
        "What turns the outputs of the model into probabilities, where it does not "
        "show it: softmax, sigmoid, or none (they are probabilities).",
        ACTIVATIONS,
    )
    learning_rate: float | None = option(
        None,
        "Highest rate of fine-tuning. If not given, a tenth of the recipe's, or that "
        "of the optimizer.",
        positive=True,
    )
    output: str = option("runs/group", "Folder of the results.")

    def __post_init__(self):
        if not self.model:
            raise InvalidInputError(
                "`model` is missing: name a .keras file, or with --model a network of "
                "`keras-sda list`, such as CIFARResNet20."
            )
        super().__post_init__()
        check_rates(self.conv_rate, self.dense_rate)
        if self.conv_rate == self.dense_rate == 0:
            raise InvalidInputError(
                "`conv_rate` and `dense_rate` are both 0, which cuts nothing."
            )
        for name in ("fine_tune_epochs", "local_epochs", "weight_epochs"):
            value = getattr(self, name)
            if value and self.dataset is None:
                raise InvalidInputError(
                    f"`{name}` needs `dataset` (--dataset), the images to train on."
                )
        if self.dataset is None and self.reconstruct:
            raise InvalidInputError(
                "`reconstruct` (--reconstruct) needs `dataset` (--dataset): it looks "
                "at training images."
            )
        last = self.fine_tune_epochs if self.scheme == "global" else (
            self.local_epochs if self.scheme == "local" else None
        )  # fmt: skip
        self.check_fine_tuning(0 if self.dataset is None or last == 0 else 1)
        if self.scheme == "global" and self.local_epochs is not None:
            raise InvalidInputError(
                "`local_epochs` belongs to `scheme` local or local_global; this one is "
                "global, which has `fine_tune_epochs` only."
            )
        if self.balance is not None and (given := self.changed(["num_groups"])):
            raise InvalidInputError(
                "`num_groups` (--num_groups) would not be looked at beside `balance` "
                "(--balance), which chooses it by the rate. Leave one of them out. "
                f"Received: {given[0]}, balance={self.balance!r}."
            )
        if self.balance is not None and self.scheme != "global":
            raise InvalidInputError(
                f"`balance`={self.balance!r} chooses the number of groups by the rate, "
                "so that there is nothing to reach in steps. Use `scheme` global, or "
                f"leave `balance` out. Received: scheme={self.scheme!r}."
            )

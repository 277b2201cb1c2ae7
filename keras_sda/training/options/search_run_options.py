"""Everything that can be chosen about searching the widths of a classifier."""

import dataclasses
import math
from typing import ClassVar

from keras_sda.data.images.check_dataset_name import check_dataset_name
from keras_sda.graph.model.find_head import ACTIVATIONS
from keras_sda.search import SEARCH_RECIPES
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.device_options import DeviceOptions
from keras_sda.training.options.fine_tuning_options import FineTuningOptions
from keras_sda.training.recipes.recipes import RECIPES
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class SearchOptions(FineTuningOptions, DeviceOptions):
    """The options of `search_classifier`, checked when they are made.

    Use it in Python; `keras-sda search` makes its options from the same fields.

    Args:
        model: Name of a network, built for the dataset, or a `.keras` file.
        lambda_arch: Price of an open gate in the loss.
        target_macs: Instead: multiply-accumulates to end at, share below 1 or number.
        dataset: Dataset of all stages, as in training.
        weight_epochs: Epochs of the weights before the gates; from the recipe if None,
            0 if None and `model` is a file.
        architecture_epochs: Epochs of the gates; from the recipe if None.
        fine_tune_epochs: Epochs of the derived network; from the recipe if None.
        regularizer: `"plain"`, `"scaled"` or `"macs"`, see `gate_regularizer`.
        residual: `"exact"`, `"joint"` (one gate for all that write into a residual
            sum), see `add_channel_gates`, or `"official"`, see `derive`.
        threshold: Gates above it stay open; from the recipe if None.
        max_half_open: Share of gates that may be half open, see `derive`.
        reconstruct: Fit the kernels of the derived network, from 512 training images,
            to what the one with gates gives, before any fine-tuning.
        exclude: Names of normalisations or convolutions that get no gate, separated by
            commas.
        activation: What turns the outputs into probabilities, where the model does not
            show it: `"softmax"`, `"sigmoid"` or `"none"`.
        learning_rate: Highest rate of the weights and of fine-tuning; from the recipe
            if None. With `optimizer="adamw"` that of fine-tuning alone.
        optimizer, distill, distill_temperature: See `FineTuningOptions`.
        architecture_learning_rate: Rate of the gates; from the recipe if None.
        recipe: Name of a training recipe or of one in `SEARCH_RECIPES`.
        image_size, strategy, virtual_devices, deterministic: See `DeviceOptions`.
        data_dir, download, strict, max_train_examples, batch_size, seed, resume,
            overwrite, output: See `RunOptions`.

    Raises:
        InvalidInputError: A value is not usable.

    Example:

    >>> SearchOptions(model="CIFARResNet20", target_macs=0.5).residual
    'exact'
    """

    command: ClassVar[str] = "search"
    files: ClassVar[tuple[str, ...]] = (
        *DeviceOptions.files, "gated.keras", "gates.csv", "logs", "report.csv",
        "report.json", "report.md", "report.png", "search.csv", "search.png",
    )  # fmt: skip
    # They matter after the gates have been trained, which is the dear part.
    changeable: ClassVar[tuple[str, ...]] = ("max_half_open", "threshold")

    model: str = option(
        "", "Network, as in `keras-sda list`, or a saved model: MODEL.keras."
    )
    lambda_arch: float | None = option(
        None, "Price of an open gate in the loss, such as 1e-4."
    )
    target_macs: float | None = option(
        None,
        "Instead of a price: multiply-accumulates to end at, a share such as 0.5, or a "
        "number.",
    )
    dataset: str = option(
        "digits",
        "digits (built in), a TensorFlow Datasets name such as cifar10, or a folder "
        "with one sub-folder of images per class.",
    )
    weight_epochs: int | None = option(
        None,
        "Epochs of the weights, before the gates. If not given, taken from the recipe, "
        "and 0 for a saved model.",
        least=0,
    )
    architecture_epochs: int | None = option(
        None,
        "Epochs of the gates. Taken from the recipe if not given.",
        positive=True,
    )
    fine_tune_epochs: int | None = option(
        None,
        "Epochs of the derived network. Taken from the recipe if not given.",
        least=0,
    )
    regularizer: str = option(
        "plain",
        "What an open gate costs: plain: the same for all. scaled: with beta in the "
        "sigmoid. macs: what its channel computes.",
        ("plain", "scaled", "macs"),
    )
    residual: str = option(
        "exact",
        "exact: the branches of residual sums get narrower. joint: the sums, too. "
        "official: readers of a sum see what its last branch keeps.",
        ("exact", "joint", "official"),
    )
    threshold: float | None = option(
        None, "Gates above it stay. Taken from the recipe (0.9) if not given."
    )
    max_half_open: float = option(
        0.25, "Share of gates that may be half open at the end; they are closed."
    )
    reconstruct: bool = option(
        False,
        "Fit the kernels of the derived network to take over what closed gates still "
        "let through, without training.",
    )
    exclude: str = option(
        "", "Names of layers that get no gate behind them, separated by commas."
    )
    activation: str | None = option(
        None,
        "What turns the outputs of the model into probabilities, where it does not "
        "show it: softmax, sigmoid, or none (they are probabilities).",
        ACTIVATIONS,
    )
    learning_rate: float | None = option(
        None,
        "Highest rate of the weights and of fine-tuning; with --optimizer adamw of the "
        "latter. Taken from the recipe if not given.",
        positive=True,
    )
    architecture_learning_rate: float | None = option(
        None, "Rate of the gates. Taken from the recipe if not given.", positive=True
    )
    recipe: str | None = option(
        None,
        "Recipe of the training, or of a published search. Taken from the dataset if "
        "not given.",
        (*RECIPES, *SEARCH_RECIPES),
    )
    output: str = option("runs/search", "Folder of the results.")

    def __post_init__(self):
        if not self.model:
            raise InvalidInputError(
                "`model` is missing: --model with a name of `keras-sda list`, such as "
                "CIFARResNet20, or with a .keras file."
            )
        super().__post_init__()
        check_dataset_name(self.dataset)
        self.check_fine_tuning(1 if self.fine_tune_epochs is None else (
            self.fine_tune_epochs
        ))  # fmt: skip
        if (self.lambda_arch is None) == (self.target_macs is None):
            received = "neither" if self.lambda_arch is None else "both"
            raise InvalidInputError(
                "Give either `lambda_arch` (--lambda_arch), the price of an open gate "
                "such as 1e-4, or `target_macs` (--target_macs), a budget such as 0.5. "
                f"Received {received}."
            )
        if self.lambda_arch is not None and not 0 <= self.lambda_arch < math.inf:
            raise InvalidInputError(
                "`lambda_arch` must be a number from 0 up, such as 1e-4. Received: "
                f"lambda_arch={self.lambda_arch!r}."
            )
        if self.target_macs is not None and not 0 < self.target_macs < math.inf:
            raise InvalidInputError(
                "`target_macs` must be a share below 1 or a number of "
                f"multiply-accumulates. Received: target_macs={self.target_macs!r}."
            )
        if self.residual == "official" and self.target_macs is not None:
            raise InvalidInputError(
                "residual='official' counts other channels than the gates: use it with "
                "`lambda_arch` (--lambda_arch), or `residual` exact or joint."
            )
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InvalidInputError(
                "`threshold` must be a number between 0 and 1. "
                f"Received: threshold={self.threshold!r}."
            )
        if not 0 <= self.max_half_open <= 1:
            raise InvalidInputError(
                "`max_half_open` must be a share from 0 to 1. "
                f"Received: max_half_open={self.max_half_open!r}."
            )

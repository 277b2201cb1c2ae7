"""Everything that can be chosen about pruning a classifier."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from keras_sda.pruning import CRITERIA
from keras_sda.training.output_folder import read_run
from keras_sda.training.recipes import RECIPES
from keras_sda.utils import InvalidInputError

_POSITIVE = (
    "batch_size",
    "importance_examples",
    "latency_batch_size",
    "learning_rate",
    "max_train_examples",
    "min_channels",
    "round_to",
    "steps",
)


def _option(default, help_text, choices=None):
    metadata = {"help": help_text, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class PruneOptions:
    """The options of `prune_classifier`, checked when they are made.

    Use it in Python; `keras-sda prune` makes its options from the same fields.

    Args:
        model: The `.keras` file to prune.
        macs: Multiply-accumulates to keep: share up to 1, or number.
        params: Parameters to keep, likewise.
        latency: Latency to keep on this device: share up to 1, or milliseconds.
        importance: Name of a criterion.
        scope: `"global"` or `"layer"`.
        round_to: Layers keep multiples of so many channels.
        min_channels: Layers keep at least so many channels.
        exclude: Names of layers that lose no channel, separated by commas.
        steps: In how many steps to prune; fine-tuning follows each.
        plan: A plan.json to replay, instead of the targets.
        dataset: Dataset for importance, fine-tuning and accuracy, as in training.
        data_dir: Folder of the prepared datasets.
        download: Whether a missing dataset may be downloaded.
        strict: Stop at a damaged image instead of skipping it.
        max_train_examples: Use the first N training examples.
        importance_examples: Training images that `taylor` and `activation` look at.
        fine_tune_epochs: Epochs of training after every step; 0 for none.
        learning_rate: Highest rate of fine-tuning; a tenth of the recipe's if None.
        batch_size: Images per step of fine-tuning; from the recipe if None.
        recipe: Recipe of fine-tuning; from the dataset if None.
        report_latency: Whether to measure the latency before and after.
        latency_batch_size: Images per run when latency is measured.
        seed: Seed of `random`, of the order of the images and of augmentation.
        resume: Continue an interrupted run in `output`.
        overwrite: Delete what an earlier run left in `output`.
        output: Folder of the results.

    Raises:
        InvalidInputError: A value is not usable.

    Example:

    >>> PruneOptions(model="model.keras", macs=0.5, output="runs/small").steps
    1
    """

    model: str = _option("", "Saved model.")
    macs: float | None = _option(
        None, "Multiply-accumulates to keep: a share such as 0.5, or a number."
    )
    params: float | None = _option(None, "Parameters to keep, likewise.")
    latency: float | None = _option(
        None, "Latency to keep on this device: a share, or milliseconds per batch."
    )
    importance: str = _option(
        "l1", "What makes a channel important.", tuple(sorted(CRITERIA))
    )
    scope: str = _option(
        "global",
        "global: compare the channels of all layers. layer: the same share of each.",
        ("global", "layer"),
    )
    round_to: int = _option(1, "Layers keep multiples of so many channels.")
    min_channels: int = _option(1, "Layers keep at least so many channels.")
    exclude: str = _option(
        "", "Names of layers that lose no channel, separated by commas."
    )
    steps: int = _option(1, "Prune in so many steps, each with its fine-tuning.")
    plan: str | None = _option(
        None, "Replay this plan.json instead of making a plan for a target."
    )
    dataset: str | None = _option(
        None, "Images to fine-tune on and to measure the accuracy with, as in train."
    )
    data_dir: str | None = _option(
        None, "Folder of the prepared TensorFlow Datasets (or set TFDS_DATA_DIR)."
    )
    download: bool = _option(False, "Download the dataset when it is absent.")
    strict: bool = _option(False, "Stop at a damaged image instead of skipping it.")
    max_train_examples: int | None = _option(
        None, "Use the first N training examples, for a quick try."
    )
    importance_examples: int = _option(
        1024, "Training images that taylor and activation look at."
    )
    fine_tune_epochs: int = _option(0, "Epochs of training after every step.")
    learning_rate: float | None = _option(
        None, "Highest rate of fine-tuning. A tenth of the recipe's if not given."
    )
    batch_size: int | None = _option(
        None, "Images per step of fine-tuning. Taken from the recipe if not given."
    )
    recipe: str | None = _option(
        None, "Recipe of fine-tuning. Taken from the dataset if not given.",
        tuple(RECIPES),
    )  # fmt: skip
    report_latency: bool = _option(False, "Measure the latency before and after.")
    latency_batch_size: int = _option(1, "Images per run when latency is measured.")
    seed: int = _option(0, "Seed of random, image order and augmentation.")
    resume: bool = _option(False, "Continue an interrupted run in --output.")
    overwrite: bool = _option(False, "Delete an earlier run in --output.")
    output: str = _option("runs/prune", "Folder of the results.")

    def __post_init__(self):
        if not self.model:
            raise InvalidInputError("`model` must name a .keras file.")
        for name in ("output", "importance"):
            if not getattr(self, name):
                raise InvalidInputError(f"`{name}` must not be empty.")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInputError(
                    f"`{name}` must be greater than 0. Received: {name}={value!r}."
                )
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value is not None and value not in choices:
                raise InvalidInputError(
                    f"`{field.name}` must be one of {', '.join(choices)}. Received: "
                    f"{field.name}={value!r}."
                )
        if not 0 <= self.seed < 2**31:
            raise InvalidInputError(
                f"`seed` must be from 0 to {2**31 - 1}. Received: seed={self.seed!r}."
            )
        targets = [self.macs, self.params, self.latency]
        if self.plan is None and all(value is None for value in targets):
            raise InvalidInputError(
                "One of `macs`, `params`, `latency` and `plan` must be given, such as "
                "--macs 0.5."
            )
        if self.plan is not None and (
            any(value is not None for value in targets) or self.steps > 1
        ):
            raise InvalidInputError(
                "`plan` (--plan) says which channels go; leave `macs`, `params`, "
                "`latency` and `steps` out."
            )
        if self.fine_tune_epochs < 0:
            raise InvalidInputError(
                "`fine_tune_epochs` must be 0 or more. Received: fine_tune_epochs="
                f"{self.fine_tune_epochs!r}."
            )
        if self.dataset is None and self.fine_tune_epochs:
            raise InvalidInputError(
                "`fine_tune_epochs` needs `dataset` (--dataset), the images to train "
                "on."
            )
        if self.dataset is None and self.needs_data:
            raise InvalidInputError(
                f"importance={self.importance!r} needs data: name a `dataset` "
                "(--dataset), or choose another `importance` such as l1."
            )
        if self.resume and self.overwrite:
            raise InvalidInputError(
                "`resume` (--resume) and `overwrite` (--overwrite) exclude each other: "
                "the first keeps the run in `output`, the second deletes it."
            )

    @property
    def needs_data(self) -> bool:
        """Whether the criterion looks at images."""
        return self.plan is None and self.importance in ("taylor", "activation")


def resumed_prune_options(output: str | os.PathLike, given: Mapping) -> PruneOptions:
    """Makes the options that continue the pruning run in a folder.

    Args:
        output: Folder of the interrupted run.
        given: Options that the user has set, by name; they win.

    Returns:
        `PruneOptions` with `resume=True`.

    Raises:
        InvalidInputError: The folder holds no pruning run, or `given` an unknown name.

    Example:

    ```python
    metrics = prune_classifier(resumed_prune_options("runs/small", {}))
    ```
    """
    names = {field.name for field in dataclasses.fields(PruneOptions)}
    unknown = sorted(set(given) - names)
    if unknown:
        raise InvalidInputError(
            f"Unknown option(s) {unknown}. Expected names from: "
            f"{', '.join(sorted(names))}."
        )
    stored = read_prune_run(pathlib.Path(output))
    kept = {name: value for name, value in stored.items() if name in names}
    kept["overwrite"] = False  # it was done when the run began
    try:
        return PruneOptions(**{**kept, **given, "output": str(output), "resume": True})
    except TypeError as error:
        raise InvalidInputError(
            f"`resume` (--resume): options.json in {output} is damaged ({error}). "
            "Start again in another folder."
        ) from error


def read_prune_run(folder: pathlib.Path) -> dict:
    """The options of the pruning run in a folder.

    Raises:
        InvalidInputError: There is no run, or it is one of `keras-sda train`.
    """
    stored = read_run(folder)
    if "importance" not in stored:
        raise InvalidInputError(
            f"`resume` (--resume): the run in `output` {folder} is one of `keras-sda "
            "train`. Name the folder of a pruning run."
        )
    return stored

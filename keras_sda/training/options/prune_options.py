"""Everything that can be chosen about pruning a classifier."""

import dataclasses
from typing import ClassVar

from keras_sda.graph.model.find_head import ACTIVATIONS
from keras_sda.pruning.blocks.choose_blocks import decided_by_loss
from keras_sda.pruning.budget.rate_by_loss import MAX_EVALUATIONS
from keras_sda.pruning.criteria.criteria import criterion_names, find_criterion
from keras_sda.training.options.checked_options import option
from keras_sda.training.options.fine_tuning_options import FineTuningOptions
from keras_sda.training.options.run_options import RunOptions
from keras_sda.utils import InvalidInputError

# What a plan that is replayed has settled.
_SAID_BY_PLAN = (
    "macs", "params", "latency", "blocks", "steps", "latency_table", "importance",
    "scope", "floor", "max_evaluations", "round_to", "min_channels", "exclude",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PruneOptions(FineTuningOptions, RunOptions):
    """The options of `prune_classifier`, checked when they are made.

    Use it in Python; `keras-sda prune` makes its options from the same fields.

    Args:
        model: The `.keras` file to prune.
        macs: Multiply-accumulates to keep: share up to 1, or number.
        params: Parameters to keep, likewise.
        latency: Latency to keep on this device: share up to 1, or milliseconds.
        latency_table: A filled-in table of `LatencyTable`, for the latency on the
            device that it was measured on instead of this one.
        importance: Name of a criterion; `"taylor"` with a dataset and `"l1"` without if
            None.
        scope: `"global"`, `"layer"` or `"loss"`, which looks at images.
        floor: Share of its channels that every group keeps at least.
        max_evaluations: For `scope="loss"`, see `make_plan`.
        round_to: Layers keep multiples of so many channels.
        min_channels: Layers keep at least so many channels.
        exclude: Names of layers that lose no channel, separated by commas.
        blocks: Blocks that go as a whole in the first step: names separated by
            commas, how many of the least important, or `"auto"`, see `make_plan`.
        steps: In how many steps to prune; fine-tuning follows each.
        plan: A plan.json to replay, instead of the targets.
        dataset: Dataset for importance, fine-tuning and accuracy, as in training.
        data_dir: Folder of the prepared datasets.
        download: Whether a missing dataset may be downloaded.
        strict: Stop at a damaged image instead of skipping it.
        max_train_examples: Use the first N training examples.
        importance_examples: Training images that a criterion looks at, if it does.
        reconstruct: Fit the kernels that stay to take over from what goes, from the
            first 512 of these images, before any training; where there is a dataset if
            None.
        fine_tune_epochs: Epochs of training after every step; 0 for none.
        activation: What turns the outputs into probabilities, where the model does not
            show it: `"softmax"`, `"sigmoid"` or `"none"`.
        learning_rate: Highest rate of fine-tuning; a tenth of the recipe's, or that of
            the optimizer, if None.
        optimizer, distill, distill_temperature: See `FineTuningOptions`.
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

    command: ClassVar[str] = "prune"
    files: ClassVar[tuple[str, ...]] = (
        *RunOptions.files, "plan.json", "report.csv", "report.json", "report.md",
        "report.png",
    )  # fmt: skip

    macs: float | None = option(
        None, "Multiply-accumulates to keep: a share such as 0.5, or a number."
    )
    params: float | None = option(None, "Parameters to keep, likewise.")
    latency: float | None = option(
        None, "Latency to keep on this device: a share, or milliseconds per batch."
    )
    latency_table: str | None = option(
        None,
        "CSV file that `keras-sda latency-table` wrote and that was filled in: the "
        "latency is that of its device.",
    )
    importance: str | None = option(
        None,
        "What makes a channel important. If not given, taylor with a dataset and l1 "
        "without.",
        criterion_names,
    )
    scope: str = option(
        "global",
        "global: compare the channels of all layers. layer: the same share of each. "
        "loss: what the loss on training images says.",
        ("global", "layer", "loss"),
    )
    floor: float | None = option(
        None,
        "Share of its channels that every group keeps at least, where the targets can "
        "be met so. If not given, 0.1 for --scope loss.",
        least=0,
    )
    max_evaluations: int = option(
        MAX_EVALUATIONS,
        "With --scope loss: how often up to 256 training images are run through the "
        "model at most.",
        least=3,
    )
    round_to: int = option(
        1, "Layers keep multiples of so many channels.", positive=True
    )
    min_channels: int = option(
        1, "Layers keep at least so many channels.", positive=True
    )
    exclude: str = option(
        "", "Names of layers that lose no channel, separated by commas."
    )
    blocks: str = option(
        "",
        "Blocks that go as a whole, before channels do: names separated by "
        "commas, how many of those that the loss rises least without, or auto: as many "
        "as cost the least loss.",
    )
    steps: int = option(
        1, "Prune in so many steps, each with its fine-tuning.", positive=True
    )
    plan: str | None = option(
        None,
        "Replay this plan.json instead of making a plan for a target. With a dataset, "
        "kernels are fitted; --no-reconstruct leaves the weights as they are.",
    )
    dataset: str | None = option(
        None,
        "Images to choose channels by, to fit kernels to, to fine-tune on and to "
        "measure the accuracy with, as in train.",
    )
    importance_examples: int = option(
        1024,
        "Training images that are looked at without training: by a criterion, the "
        "choice of blocks, and (512 of them) the fit of kernels.",
        positive=True,
    )
    reconstruct: bool | None = option(
        None,
        "Fit the kernels that stay to take over from what goes, without training. If "
        "not given, with a dataset.",
    )
    fine_tune_epochs: int = option(0, "Epochs of training after every step.", least=0)
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
    report_latency: bool = option(False, "Measure the latency before and after.")
    latency_batch_size: int = option(
        1, "Images per run when latency is measured.", positive=True
    )
    output: str = option("runs/prune", "Folder of the results.")

    def __post_init__(self):
        if not self.model:
            raise InvalidInputError("`model` must name a .keras file.")
        super().__post_init__()
        if self.importance == "":
            raise InvalidInputError("`importance` must not be empty.")
        targets = [self.macs, self.params, self.latency]
        has_target = any(value is not None for value in targets)
        needs_target = self.blocks.strip() in ("", "auto")
        if self.plan is None and not has_target and needs_target:
            raise InvalidInputError(
                "One of `macs`, `params`, `latency`, `blocks` and `plan` must be "
                "given, such as --macs 0.5; blocks='auto' says how to meet the others."
            )
        self._check_effects()
        if self.latency_table is not None and self.latency is None:
            raise InvalidInputError(
                "`latency_table` (--latency_table) needs `latency`, what may be left "
                "of the time that it gives, such as --latency 0.5."
            )
        if self.dataset is None and self.fine_tune_epochs:
            raise InvalidInputError(
                "`fine_tune_epochs` needs `dataset` (--dataset), the images to train "
                "on."
            )
        if self.dataset is None and self.reconstruct:
            raise InvalidInputError(
                "`reconstruct` (--reconstruct) needs `dataset` (--dataset): it looks "
                "at training images."
            )
        if self.dataset is None and decided_by_loss(self.chosen_blocks):
            raise InvalidInputError(
                f"blocks={self.blocks!r} needs data: name a `dataset` (--dataset), or "
                "the blocks themselves."
            )
        self.check_fine_tuning(self.fine_tune_epochs)
        if self.dataset is None and self.scope == "loss" and self.plan is None:
            raise InvalidInputError(
                "scope='loss' needs data: name a `dataset` (--dataset), or choose "
                "another `scope`."
            )
        if self.dataset is None and self.needs_data:
            raise InvalidInputError(
                f"importance={self.importance!r} needs data: name a `dataset` "
                "(--dataset), or choose another `importance` such as l1."
            )

    def _check_effects(self):
        """Refuses what nothing would look at."""
        of_training = self.changed(["batch_size", "learning_rate"])
        if of_training and not self.fine_tune_epochs:
            raise InvalidInputError(
                f"{', '.join(of_training)} would not be looked at: nothing is "
                "fine-tuned. Leave it out, or give `fine_tune_epochs` "
                "(--fine_tune_epochs) and a `dataset`."
            )
        if self.plan is None:
            if self.scope != "loss" and self.changed(["max_evaluations"]):
                raise InvalidInputError(
                    "`max_evaluations` (--max_evaluations) would not be looked at: "
                    f"scope={self.scope!r} measures no loss. Leave it out, or choose "
                    "`scope` (--scope) loss."
                )
            return
        if given := self.changed(_SAID_BY_PLAN):
            names = [f"`{name}`" for name in _SAID_BY_PLAN]
            raise InvalidInputError(
                "`plan` (--plan) says which channels and blocks go; leave "
                f"{', '.join(names[:-1])} and {names[-1]} out. Received: "
                f"{', '.join(given)}."
            )
        for name, is_used, needed in (
            ("importance_examples", self.fits_kernels, "`dataset`, without "
             "--no-reconstruct"),
            ("latency_batch_size", self.report_latency, "`report_latency`"),
        ):  # fmt: skip
            if not is_used and (given := self.changed([name])):
                raise InvalidInputError(
                    f"`{name}` (--{name}) would not be looked at beside `plan` "
                    f"(--plan). Leave it out, or give {needed}. Received: {given[0]}."
                )

    @property
    def needs_data(self) -> bool:
        """Whether criterion, scope or the choice of blocks look at images."""
        by_loss = decided_by_loss(self.chosen_blocks)
        is_default = self.importance is None and self.dataset is not None
        named = self.importance is not None and find_criterion(self.importance).needs
        return self.plan is None and bool(
            by_loss or is_default or named or self.scope == "loss"
        )

    @property
    def fits_kernels(self) -> bool:
        """Whether kernels are fitted: as asked for, else where there are images."""
        has_data = self.dataset is not None
        return has_data if self.reconstruct is None else self.reconstruct

    @property
    def chosen_blocks(self) -> int | str | list[str]:
        """The blocks as `prune` takes them."""
        if self.blocks.strip() == "auto":
            return "auto"
        if self.blocks.strip().isdigit():
            return int(self.blocks)
        return [name.strip() for name in self.blocks.split(",") if name.strip()]

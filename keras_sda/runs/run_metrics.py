"""The numbers that a run ends in: metrics.json."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from keras_sda.utils import atomic_write

# What is null where there is none; other entries are left out then.
NULL = ("dataset", "latency")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """What metrics.json of `train`, `prune`, `search` and `group` holds.

    The fields are the document: every command writes the first block, the others as far
    as they apply to it. What does not apply is left out of the file; `dataset` and
    `latency` are null then. Multiply-accumulates are those of one image, accuracies
    shares of the test images whose best class is right.

    Attributes:
        command: `"train"`, `"prune"`, `"search"` or `"group"`.
        model: The network by name, or the file of the model to begin with.
        dataset: Name or folder of the images.
        params: Parameters of the resulting model.
        macs: Its multiply-accumulates.
        latency: Time before and after (`ms_before`, `ms_after`, `ratio`), its
            `batch_size` and what else was measured with it.
        strategy: The devices it was trained on, in words.
        device: Name of the processor.
        versions: Of keras_sda, Python, Keras, its backend, NumPy; and the backend's
            name as `"backend"`.
        seed: Of everything that is drawn.
        options: All options of the command.
        accuracy: Of the resulting model.
        loss: Its cross-entropy on the test images.
        num_train: Training images.
        num_test: Test images.
        recipe: Name of the training recipe.
        batch_size: Images per step.
        image_size: Height and width in pixels.
        epochs: Passes over the training images; by stage for `search` and `group`.
        seconds: Of training; by stage for `search`.
        params_before: Parameters before (all but `train`).
        macs_before: Multiply-accumulates before (all but `train`).
        accuracy_before: Before anything was removed (all but `train`).
        best_accuracy: `train`: of the best epoch, which the test images chose.
        classes: `train`: number of classes.
        skipped_files: `train`: files that could not be decoded.
        augmentation: `train`: `"keras"`, `"keras_cv"` or `"none"`.
        learning_rate: `train`: the highest one.
        ema: `train`: whether the weights are averaged over the steps.
        fine_tune_epochs: `prune`: epochs after each step.
        distill: All but `train`: share of the loss of fine-tuning that the whole
            network gave.
        accuracy_cut: All but `train`, with `reconstruct`: after the last cut, before
            kernels were fitted.
        accuracy_pruned: `prune`: after the last step, before it was trained on.
        steps: `prune`, `group`: a row per step.
        accuracy_derived: `search`: of the small network before it was trained on.
        channels_before: `search`: channels that have a gate.
        channels: `search`: those that stayed.
        constants: `search`: layers of which nothing but a constant is left.
        accuracy_grouped: `group`: with the last groups, before training on.
        accuracy_packed: `group`: of packed.keras.
        published_params: `group`: parameters as the paper counts them.
        published_params_before: `group`: the same before.
        published_macs: `group`: multiply-accumulates as the paper counts them.
        published_macs_before: `group`: the same before.
        masked_layers: `group`: layers that have groups.
        params_packed: `group`: parameters of packed.keras.
        macs_packed: `group`: its multiply-accumulates.
        packed_difference: `group`: largest difference between the outputs of
            packed.keras and model.keras.
        forms: `group`: how many layers were packed in which form.

    Example:

    >>> from keras_sda.runs.run_metrics import RunMetrics
    >>> metrics = RunMetrics(
    ...     command="prune", model="model.keras", params=5, macs=9, strategy="none",
    ...     device="CPU", versions={}, seed=0, options={}, params_before=7,
    ... )
    >>> metrics.to_dict()["params_before"], "accuracy" in metrics.to_dict()
    (7, False)
    """

    command: str
    model: str
    params: int
    macs: int
    strategy: str
    device: str
    versions: dict[str, str]
    seed: int
    options: dict[str, Any]
    dataset: str | None = None
    latency: dict[str, Any] | None = None

    accuracy: float | None = None
    loss: float | None = None
    num_train: int | None = None
    num_test: int | None = None
    recipe: str | None = None
    batch_size: int | None = None
    image_size: int | None = None
    epochs: int | dict[str, int] | None = None
    seconds: float | dict[str, float] | None = None

    params_before: int | None = None
    macs_before: int | None = None
    accuracy_before: float | None = None

    best_accuracy: float | None = None
    classes: int | None = None
    skipped_files: int | None = None
    augmentation: str | None = None
    learning_rate: float | None = None
    ema: bool | None = None

    fine_tune_epochs: int | None = None
    distill: float | None = None
    accuracy_cut: float | None = None
    accuracy_pruned: float | None = None
    steps: list[dict[str, Any]] | None = None

    accuracy_derived: float | None = None
    channels_before: int | None = None
    channels: int | None = None
    constants: list[str] | None = None

    accuracy_grouped: float | None = None
    accuracy_packed: float | None = None
    published_params: int | None = None
    published_params_before: int | None = None
    published_macs: int | None = None
    published_macs_before: int | None = None
    masked_layers: int | None = None
    params_packed: int | None = None
    macs_packed: int | None = None
    packed_difference: float | None = None
    forms: dict[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entries of the file, without those that do not apply."""
        entries = dataclasses.asdict(self)
        return {k: v for k, v in entries.items() if v is not None or k in NULL}

    def write(self, folder: str | os.PathLike) -> None:
        """Writes metrics.json, whole or not at all.

        Args:
            folder: Output folder of the run.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        with atomic_write(pathlib.Path(folder) / "metrics.json") as temporary:
            temporary.write_text(f"{json.dumps(self.to_dict(), indent=2)}\n")

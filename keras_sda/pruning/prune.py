"""Prune a model: plan, remove, fine-tune in between, report."""

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any

import keras
from absl import logging

from keras_sda.analysis import LatencyTable
from keras_sda.graph import (
    ChannelGraph,
    expand_known_blocks,
    frozen_note,
    model_scope,
    remove_channels,
)
from keras_sda.pruning.blocks.block_importance import least_important_blocks
from keras_sda.pruning.blocks.choose_blocks import decided_by_loss
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.find_targets import check_latency_table, check_numbers
from keras_sda.pruning.budget.rate_by_loss import MAX_EVALUATIONS
from keras_sda.pruning.budget.step_targets import StepTargets
from keras_sda.pruning.calibration_losses import CalibrationLosses, losses_text
from keras_sda.pruning.call_fine_tune import call_fine_tune
from keras_sda.pruning.check_reachable import check_reachable
from keras_sda.pruning.criteria.criteria import find_criterion
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.default_importance import WITHOUT_DATA, default_importance
from keras_sda.pruning.make_plan import make_plan
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.pruning.pruning_report import PruningReport
from keras_sda.pruning.refit.calibration_batches import (
    calibration_batches,
    check_reconstruct,
)
from keras_sda.pruning.refit.refit_kernels import refit_kernels
from keras_sda.pruning.refit.refit_row import RefitRow
from keras_sda.runs.run import Run
from keras_sda.utils import InvalidInputError, model_digest

_PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """What `prune` returns.

    Attributes:
        model: The small model, not compiled unless the last fine-tuning did it.
        plans: The plan of every step. Each is for the model before that step.
        plan: One plan from the original model to the small one: replayed with
            `shrink` it gives the same channels, with the weights of the original.
        report: A `PruningReport`.
    """

    model: keras.Model
    plans: tuple[PruningPlan, ...]
    plan: PruningPlan
    report: PruningReport


def prune(
    model: keras.Model,
    macs: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    importance: str | Criterion | Callable | None = None,
    scope: str = "global",
    round_to: int = 1,
    min_channels: int = 1,
    exclude: Collection[str] = (),
    data: Any = None,
    loss: Any = None,
    seed: int = 0,
    batch_size: int = 1,
    steps: int = 1,
    fine_tune: Callable[..., keras.Model | None] | None = None,
    fine_tune_last: bool = False,
    report_latency: bool = False,
    planner: Callable[..., PruningPlan] = make_plan,
    input_shape: Any = None,
    folder: Run | str | os.PathLike | None = None,
    budget: Sequence[tuple[Cost, float]] = (),
    latency_table: LatencyTable | None = None,
    reconstruct: bool | None = None,
    blocks: int | Collection[str] = (),
    floor: float | None = None,
    max_evaluations: int = MAX_EVALUATIONS,
) -> PruningResult:
    """Removes channels of a model until a budget is met.

    Use it for the whole way from a trained model to a smaller one. In one shot it
    chooses and removes everything at once. With `steps` it removes a part, calls
    `fine_tune`, looks again at what is important, and so on; the targets shrink by the
    same factor from step to step. Train the result as you trained the original.

    With a `folder`, every finished step is saved, and a call that was killed is
    repeated with the same arguments: it goes on after the last finished step and ends
    in the same model. For that, what Python, NumPy and Keras draw starts anew from
    `seed` before each step. To go on inside a step, let `fine_tune` take the name of
    the step as well, and give it a `keras_sda.training.EpochBackup` in the folder of
    that name. Only one process at a time may work in a folder.

    Args:
        model: A functional or built sequential model. It is not changed.
        macs: Multiply-accumulates to keep, as a share (up to 1.0) or an absolute
            number.
        params: Parameters to keep, likewise.
        latency: Inference time to keep on this device, as a share (up to 1.0) or in
            milliseconds per batch of `batch_size`. With a `latency_table`, on the
            device of the table and in its unit; nothing is measured then.
        importance: Name of a criterion (see `CRITERIA`), a `Criterion`, or a function
            of a `ChannelGroup`. Defaults to `None`: `"taylor"` where `data` have
            targets and there is a loss, `"activation"` where they have none, `"l1"`
            without data.
        scope: `"global"`, `"layer"` or `"loss"`, see `make_plan`. Defaults to
            `"global"`.
        round_to: Layers keep multiples of so many channels. Where the channels of a
            layer fall into several groups, each group does, and those that have to stay
            come on top; the report of `prune` names layers that end with other numbers.
            Defaults to `1`.
        min_channels: Layers keep at least so many channels. Defaults to `1`.
        exclude: Names of layers that lose no channel. Defaults to none.
        data: Samples to choose channels by and to fit kernels to, without training: a
            few hundred training images, with labels if there are any; anything that
            `model.fit` takes. Nothing else does as much for the accuracy. Defaults to
            `None`: channels are chosen by their weights.
        loss: For criteria of gradients, such as `"taylor"`, and for `scope="loss"`: a
            Keras loss or its name. Defaults to that of the compiled model, else to the
            cross-entropy of a classifier whose head is clear (a softmax, a sigmoid).
        seed: Seed of random numbers, as in `"random"`. Defaults to `0`.
        batch_size: Samples per timed run. Defaults to `1`.
        steps: In how many steps to remove. Defaults to `1`, all at once.
        fine_tune: Function of the smaller model that trains it, in place or returning
            a model of the same layers. Called between the steps, `steps - 1` times;
            with the name of the step (`"step1"`) where it needs two arguments.
            Defaults to `None`.
        fine_tune_last: Whether to call `fine_tune` after the last step as well.
            Defaults to `False`, because the last training is usually a longer one.
        report_latency: Whether the report measures the latency before and after.
            Defaults to `False`.
        planner: Makes the plan of every step; called as `make_plan` is. Give your own
            to store plans or to replay stored ones. Defaults to `make_plan`.
        input_shape: Shape of one image, where the model leaves it open. Defaults to
            what the model was built for.
        folder: Where finished steps are kept, or the `Run` that they are a part of.
            Defaults to `None`: nothing is saved. What is finished binds: `data` count
            with every number of arrays, and with shapes and length of streams.
        budget: Further targets: pairs of a `Cost` of yours and what may be left of it,
            as a share (up to 1) or in its unit. With `steps` it is asked about the
            model of every step. Defaults to none.
        latency_table: Times of the layers on another device, for `latency`; made for
            the model as it is now, also with `steps`. What it says of the model before
            and after is in the report. Defaults to `None`.
        reconstruct: Whether the kernels that stay are fitted to take over from what
            goes, in every step before `fine_tune`: see `keras_sda.pruning.reconstruct`.
            It needs `data`, whose targets it does not look at, and gives much of what
            fine-tuning would. Defaults to `None`: where there are data that can be read
            twice, which an iterator cannot.
        blocks: Blocks that go as a whole in the first step, by name, how
            many, or `"auto"`, see `make_plan`. Defaults to none.
        floor: Share of its channels that every group keeps at least, of the model of
            every step, see `make_plan`. Defaults to `None`.
        max_evaluations: For `scope="loss"`, in every step. Defaults to `120`.

    Returns:
        A `PruningResult` with `model`, `plan`, `plans` and `report`.

    Raises:
        InvalidInputError: An argument cannot be used, or a target cannot be reached;
            with `steps` this is known before the first one. Or `folder` holds steps of
            another model, other data or other arguments, or another process works in
            it.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.pruning import prune
    >>> model = CIFARResNet20()
    >>> result = prune(model, macs=0.5, round_to=8)
    >>> result.report.macs_after <= 0.5 * result.report.macs_before
    True
    """
    _check(steps, fine_tune, fine_tune_last, data, reconstruct)
    loss_of_model = getattr(model, "loss", None) if loss is None else loss
    model = expand_known_blocks(model)
    first = graph = ChannelGraph(model, input_shape)
    if importance is None:
        if data is None and fine_tune is None:
            logging.warning("%s Pass `data`, or train the result.", WITHOUT_DATA)
        importance, data = default_importance(first, data, loss_of_model)
    if reconstruct is None:
        reconstruct = data is not None and not hasattr(data, "__next__")
    calibration, asked = data, blocks
    by_loss = blocks and decided_by_loss(blocks)
    looks = scope == "loss" or find_criterion(importance).needs
    if reconstruct and not by_loss and not looks:
        data = None  # what looks at weights alone refuses it
    options = {
        "importance": importance,
        "scope": scope,
        "round_to": round_to,
        "min_channels": min_channels,
        "exclude": exclude,
        "data": data,
        "loss": loss_of_model,
        "seed": seed,
        "batch_size": batch_size,
    }
    # What the cut alone does to the loss, a fit makes up for.
    told = attrgetter("warnings_of_channels" if reconstruct else "warnings")
    # Runs of before, which know neither, go on.
    if floor is not None:
        options["floor"] = floor
    if max_evaluations != MAX_EVALUATIONS:
        options["max_evaluations"] = max_evaluations
    targets: dict[str, Any] = {"macs": macs, "params": params, "latency": latency}
    check_numbers(targets, budget)
    check_latency_table(latency_table, latency)
    if budget:
        targets["budget"] = budget
    if latency_table is not None:
        options["latency_table"] = latency_table.following(first.model, input_shape)
    schedule = StepTargets(first, targets, steps, options) if steps > 1 else None
    current, plans, frozen = model, [], ""
    refits: list[RefitRow] = []
    losses: dict[str, float] = {}
    seen = CalibrationLosses(first.model)
    batches: list[Any] = []

    def check_last_step(blocks):
        skipped = ("data", "loss")
        known = {name: x for name, x in options.items() if name not in skipped}
        check_reachable(model, graph=first, blocks=blocks, **targets, **known)

    with Run.of(folder, "prune").opened() as run:
        if steps > 1 and planner is make_plan and not run.has_begun:
            # Before the first step has been trained. Planners of one's own may replay.
            if blocks != "auto":  # which are known once they are chosen
                blocks = least_important_blocks(model, blocks, data, loss_of_model)
                check_last_step(blocks)
        if run.folder is not None:
            settled = {**targets, **options}
            if latency_table is not None:
                settled["latency_table"] = latency_table.digest
            run.settle("pruning", {
                **settled, "steps": steps, "fine_tune_last": fine_tune_last,
                "input_shape": input_shape,
                "loss": loss if data is None else options["loss"],
                "model": model_digest(model),
                **({"reconstruct": True, "data": calibration} if reconstruct else {}),
                **({"blocks": asked} if asked else {}),
            })  # fmt: skip
        stages = [run.stage(f"step{number}") for number in range(1, steps + 1)]
        if reconstruct and not stages[-1].is_finished:
            if run.folder is not None:
                keras.utils.set_random_seed(seed % 2**31)  # for streams that draw
            batches = calibration_batches(calibration, first.model, seed=seed)
            seen = CalibrationLosses(first.model, calibration, loss_of_model, seed)
        for number, stage in enumerate(stages, 1):
            if stage.is_finished:
                plans.append(PruningPlan.load(stage.folder / _PLAN))
                refits = stage.fact("refits", list[RefitRow]) or []
                losses = stage.fact("losses", dict[str, float]) or {}
                # Only the last finished step is of use.
                if number == steps or not stages[number].is_finished:
                    with model_scope(model):
                        current = stage.model()
                continue
            if run.folder is not None:
                # Alike in a call that finds the steps before it done.
                keras.utils.set_random_seed((seed + number) % 2**31)
            if number > 1:
                graph = ChannelGraph(current, input_shape)
            goal = targets if schedule is None else schedule.at(number, graph)
            if number > 1:
                blocks = ()
            now = _options_now(options, asked, blocks)
            make = functools.partial(planner, current, graph=graph, **goal, **now)
            plan = _plan_of(stage, make)
            if run.folder is not None:  # whether it was made or read
                keras.utils.set_random_seed((seed + number) % 2**31)
            if number == 1 < steps and asked == "auto" and planner is make_plan:
                check_last_step(plan.blocks)
            whole = graph.model
            graph, removed = plan.applied(current, graph)
            current = remove_channels(graph, removed)
            plans.append(plan)
            if reconstruct:
                seen.note("before", whole)
                seen.note("cut", current)
                refits = refit_kernels(
                    graph, removed, current, batches, seed=seed, whole=whole
                )
                seen.note("reconstructed", current)
                losses = dict(seen.found)
                if losses and "loss_chance" in plan.expected:
                    losses["chance"] = plan.expected["loss_chance"]
                if run.folder is not None:
                    rows = [dataclasses.asdict(row) for row in refits]
                    stage.note(refits=rows, losses=losses)
                if losses:
                    logging.info("Loss of samples: %s.", losses_text(losses))
            if number == 1 and (frozen := frozen_note(first.model, current)):
                # Before anybody trains it.
                logging.warning("%s: %s.", first.model.name, frozen)
            for text in told(plan):
                logging.warning("%s: %s.", first.model.name, text)
            logging.info(
                "Pruning step %d of %d of %s: MACs %.3f, parameters %.3f of before.",
                number,
                steps,
                first.model.name,
                plan.expected["macs"] / max(plan.expected["macs_before"], 1),
                plan.expected["params"] / max(plan.expected["params_before"], 1),
            )
            if fine_tune is not None and (number < steps or fine_tune_last):
                current = call_fine_tune(current, fine_tune, stage.name)
            stage.finish_with(current)
    own = {"budget": {cost.name: value for cost, value in budget}} if budget else {}
    plan = PruningPlan.joined(plans, {**targets, **own})
    report = PruningReport.of(
        first.model,
        current,
        untouchable=first.untouchable,
        settings={**plan.settings, **({"reconstruct": True} if reconstruct else {})},
        measure_latency=report_latency,
        batch_size=batch_size,
        input_shape=input_shape,
        table_latency=_table_latency(plan),
        refits=refits,
        losses=losses,
        warnings=told(plan),
    )
    for text in report.warnings:
        if text not in (frozen, *told(plans[-1])):
            logging.warning("%s: %s.", first.model.name, text)
    return PruningResult(current, tuple(plans), plan, report)


def _table_latency(plan):
    """What a latency table said of the model before and after; None without one."""
    before, after = (plan.expected.get(x) for x in ("latency_before", "latency"))
    unit = plan.settings.get("latency_unit")
    if unit is None or before is None or after is None:
        return None
    ratio = after / before
    return {"ms_before": before, "ms_after": after, "ratio": ratio, "unit": unit}


def _options_now(options, asked, blocks):
    """The options of one step: `data` that only the choice of blocks looked at go."""
    is_chosen = asked and decided_by_loss(asked) and not decided_by_loss(blocks)
    looks = options["scope"] == "loss" or find_criterion(options["importance"]).needs
    if is_chosen and not looks:
        options = {**options, "data": None}
    return {**options, "blocks": blocks} if blocks else options


def _check(steps, fine_tune, fine_tune_last, data, reconstruct):
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InvalidInputError(
            f"`steps` must be a positive integer. Received: steps={steps!r}."
        )
    if fine_tune is not None and not callable(fine_tune):
        raise InvalidInputError(
            "`fine_tune` must be a function of the smaller model. Received: "
            f"fine_tune={fine_tune!r}."
        )
    if fine_tune_last and fine_tune is None:
        raise InvalidInputError("`fine_tune_last` needs `fine_tune`, a function.")
    if (steps > 1 or reconstruct) and hasattr(data, "__next__"):
        why = f"`steps`={steps} read it again each"
        if reconstruct:
            why = "`reconstruct` reads it once more"
        raise InvalidInputError(
            f"`data` is an iterator, which can be read once, but {why}. "
            "Give arrays, a list of batches or a tf.data.Dataset."
        )
    check_reconstruct(reconstruct, data, is_used=True)


def _plan_of(stage, make) -> PruningPlan:
    """The plan of a step, or that of a call that was killed in it."""
    if stage.folder is None:
        return make()
    path = stage.folder / _PLAN
    if stage.fact("planned", bool) and path.is_file():
        return PruningPlan.load(path)
    plan = make()
    plan.save(path)
    stage.note(planned=True)
    return plan

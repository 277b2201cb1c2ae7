"""Group a model and train it on, at once or in steps."""

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
from absl import logging

from keras_sda.graph import as_functional, model_scope, unwrapped
from keras_sda.grouping.find_groupable_layers import find_groupable_layers
from keras_sda.grouping.grouping_report import GroupingReport
from keras_sda.grouping.grouping_steps import GroupingStep, grouping_steps
from keras_sda.grouping.self_group import refitted, self_group
from keras_sda.pruning.refit.calibration_batches import (
    calibration_batches,
    check_reconstruct,
)
from keras_sda.runs.run import Run
from keras_sda.utils import InvalidInputError, model_digest


@dataclasses.dataclass(frozen=True)
class FineTunedGroups:
    """What `group_and_fine_tune` returns.

    Attributes:
        model: The masked and fine-tuned model; compiled as `fine_tune` left it, or
            not compiled where the last step was read from the folder.
        report: A `GroupingReport` of the groups, as they were when they were made.
        steps: The `GroupingStep`s that led there.
    """

    model: keras.Model
    report: GroupingReport
    steps: tuple[GroupingStep, ...]


def group_and_fine_tune(
    model: keras.Model,
    fine_tune: Callable[[keras.Model, int, str], Any],
    conv_rate: float = 0.7,
    dense_rate: float = 0.6,
    scheme: str = "global",
    local_epochs: int = 20,
    global_epochs: int = 90,
    step: float = 0.1,
    num_groups: int = 16,
    regroup: str = "once",
    balance: str | None = None,
    layers: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
    seed: int = 0,
    folder: Run | str | os.PathLike | None = None,
    after_grouping: Callable[[keras.Model, GroupingStep], Any] | None = None,
    input_shape: Any = None,
    reconstruct: bool | None = None,
    data: Any = None,
    after_cut: Callable[[keras.Model, GroupingStep], Any] | None = None,
) -> FineTunedGroups:
    """Cuts connections and lets the model recover, as the published schemes do.

    Use it on a trained network, with a function that trains:

    * `"global"` cuts everything at once and trains the result for `global_epochs`;
    * `"local"` cuts `step` after `step`, with `local_epochs` in between and at the end;
    * `"local_global"` does that and then trains for `global_epochs`.

    With a `folder`, every finished step is saved, and a call that was killed is
    repeated with the same arguments: it goes on after the last step, with the masks
    that were chosen. Give `fine_tune` a backup of its own to go on inside a step, such
    as `keras_sda.training.EpochBackup` in a folder of the step's name. Only one process
    at a time may work in a folder.

    Args:
        model: The trained model, not changed. What is made of it lives where it does:
            under `tf.distribute.MirroredStrategy`, all steps run in that strategy.
        fine_tune: Called as `fine_tune(model, epochs, step_name)` with a model that is
            not compiled; compiles and trains it in place. Not called where the epochs
            are 0.
        conv_rate: Share of the connections that convolutions lose. Defaults to `0.7`.
        dense_rate: The same for dense layers. Defaults to `0.6`.
        scheme: `"global"`, `"local_global"` or `"local"`. Defaults to `"global"`.
        local_epochs: Epochs after each small step. Defaults to `20`, as published.
        global_epochs: Epochs of the last training. Defaults to `90`, as published.
        step: Share of the connections per small step. Defaults to `0.1`.
        num_groups: Groups per layer, see `self_group`. Defaults to `16`.
        regroup: `"once"` or `"every_step"` (as the authors' code), see `self_group`.
            Defaults to `"once"`.
        balance: `None`, `"disjoint"` or `"equal"`, see `self_group`; with
            `scheme="global"` only. Defaults to `None`.
        layers: See `self_group`. Defaults to `"auto"`.
        exclude: Names of layers that get no groups. Defaults to none.
        seed: Seed of the clustering. Defaults to `0`.
        folder: Where finished steps are kept, or the `Run` that they are a part of.
            Defaults to `None`: nothing is saved.
        after_grouping: Called as `after_grouping(model, step)` before the training of
            each step that groups, for instance to measure what the cut has cost.
            Defaults to `None`.
        input_shape: Shape of one image, where the model leaves it open.
        reconstruct: Whether the kernels of every step are fitted, before
            `after_grouping` and `fine_tune`, to what they gave before the step: see
            `self_group`. Defaults to `None`: where there are `data`.
        data: Images for `reconstruct`; see `self_group`. Defaults to `None`.
        after_cut: With `reconstruct`, called as `after_grouping` is, before kernels are
            fitted. Defaults to `None`.

    Returns:
        A `FineTunedGroups`.

    Raises:
        InvalidInputError: An argument cannot be used, a layer would be left without
            connections, `folder` holds steps of another model or of other arguments,
            or another process works in it.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import group_and_fine_tune
    >>> def fine_tune(model, epochs, step):
    ...     model.compile("sgd", "sparse_categorical_crossentropy")
    ...     # model.fit(images, labels, epochs=epochs)
    >>> result = group_and_fine_tune(LeNet(), fine_tune, 0.9, 0.9, global_epochs=1)
    >>> result.report.macs_after < 0.25 * result.report.macs_before
    True

    Source: arXiv 2009.13803 (Neural Networks 132, 2020): local, global and
    local-global fine-tuning.
    """
    if balance is not None and scheme != "global":
        raise InvalidInputError(
            f"`balance`={balance!r} chooses the number of groups by the rate, so that "
            "there is nothing to reach in steps: use `scheme`='global', or leave "
            f"`balance` out. Received: scheme={scheme!r}."
        )
    reconstruct = check_reconstruct(reconstruct, data)
    kinds = {
        entry.kind
        for entry in find_groupable_layers(model, layers, exclude)
        if not entry.reason
    }
    steps = grouping_steps(
        scheme, conv_rate, dense_rate, local_epochs, global_epochs, step
    )
    if scheme != "global":
        # A rate that no layer has leads nowhere, nor needs steps.
        steps = grouping_steps(
            scheme,
            conv_rate if "conv" in kinds or not kinds else 0.0,
            dense_rate if "dense" in kinds or not kinds else 0.0,
            local_epochs,
            global_epochs,
            step,
        )
    options: dict[str, Any] = {
        "num_groups": num_groups,
        "regroup": regroup,
        "balance": balance,
        "layers": layers if isinstance(layers, str) else list(layers),
        "exclude": sorted(exclude),
        "seed": seed,
    }
    settings = {"conv_rate": conv_rate, "dense_rate": dense_rate, "scheme": scheme,
                "local_epochs": local_epochs, "global_epochs": global_epochs,
                "step": step, **options}  # fmt: skip
    more = {"reconstruct": True, "data": data} if reconstruct else {}
    with Run.of(folder, "group_and_fine_tune").opened() as run, model_scope(model):
        if run.folder is not None:
            settled = {**settings, "model": model_digest(model), **more}
            run.settle("grouping", settled)
        stages = [run.stage(one.name) for one in steps]
        if len(steps) > 1 and not stages[0].has_begun:
            # The last rates, before the first of the trainings that lead to them.
            last = [one for one in steps if one.groups][-1]
            self_group(model, last.conv_rate, last.dense_rate, **options,
                       input_shape=input_shape)  # fmt: skip
        current, reports = model, []
        batches: list[Any] = []
        before = {"conv": 0.0, "dense": 0.0}
        for number, (one, stage) in enumerate(zip(steps, stages, strict=True), 1):
            rates = {"conv": one.conv_rate, "dense": one.dense_rate}
            if stage.is_finished:
                if one.groups:
                    reports.append(GroupingReport.load(stage.folder))
                # Only the last finished step is of use.
                if number == len(steps) or not stages[number].is_finished:
                    current = stage.model()
                before = rates
                continue
            logging.info("Step %d of %d: %s.", number, len(steps), one.name)
            if one.groups:
                if reconstruct and not batches and not stage.keeps("grouped"):
                    if run.folder is not None:
                        keras.utils.set_random_seed(seed % 2**31)  # streams may draw
                    whole = as_functional(unwrapped(model))
                    batches = calibration_batches(data, whole, seed=seed)
                current, report = _group(current, one, before, stage, {
                    **options, "input_shape": input_shape}, batches, after_cut
                )  # fmt: skip
                reports.append(report)
                if after_grouping is not None:
                    after_grouping(current, one)
            if one.epochs:
                fine_tune(current, one.epochs, one.name)
            stage.finish_with(current)
            before = rates
    if reconstruct:
        settings["reconstruct"] = True
    return FineTunedGroups(current, _joined(reports, settings), tuple(steps))


def _group(model, step, before, stage, options, batches, after_cut):
    """The grouped model of a step and its report; or those of a call before."""
    if stage.keeps("grouped"):
        return stage.model("grouped"), GroupingReport.load(stage.folder)
    # At the rate that they have, layers stay as they are, even where each step
    # clusters anew; a first step has to say so itself.
    rates = {"conv": step.conv_rate, "dense": step.dense_rate}
    rates = {
        kind: 0.0 if before[kind] == rate else rate for kind, rate in rates.items()
    }
    result = self_group(model, rates["conv"], rates["dense"], **options)
    if batches:
        if after_cut is not None:
            after_cut(result.model, step)
        result = refitted(result, model, batches, options["seed"])
    if stage.folder is not None:
        result.report.save(stage.folder)
    stage.keep(result.model, "grouped")
    return result.model, result.report


def _joined(reports: list[GroupingReport], settings: dict) -> GroupingReport:
    """The last report, with what only the ones before know."""
    thresholds: dict[str, float] = {}
    notes: dict[str, str] = {}
    for report in reports:
        for row in report.layers:
            if row.threshold is not None:
                thresholds[row.name] = row.threshold
            notes[row.name] = notes.get(row.name) or row.note
    last = reports[-1]
    rows = tuple(
        dataclasses.replace(
            row, threshold=thresholds.get(row.name), note=notes[row.name]
        )
        for row in last.layers
    )
    masked = {row.name for row in rows}
    alone = tuple(x for x in reports[0].left_alone if x.name not in masked)
    return dataclasses.replace(
        last,
        layers=rows,
        left_alone=alone,
        warnings=reports[0].warnings,
        settings=settings,
    )

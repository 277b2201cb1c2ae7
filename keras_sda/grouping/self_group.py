"""Self-group a model: cluster filters, cut connections, report."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.graph import all_layers, as_functional, frozen_note, unwrapped
from keras_sda.grouping.check_rates import check_rates
from keras_sda.grouping.clusters.disjoint_groups import disjoint_groups
from keras_sda.grouping.clusters.layer_groups import layer_groups
from keras_sda.grouping.find_groupable_layers import find_groupable_layers
from keras_sda.grouping.grouping_report import GroupingReport, LayerLeftAlone
from keras_sda.grouping.masked_copy import masked_copy
from keras_sda.pruning.refit.calibration_batches import (
    calibration_batches,
    check_reconstruct,
)
from keras_sda.pruning.refit.refit_kernels import refit_masked
from keras_sda.utils import InvalidInputError

_REGROUP = ("once", "every_step")
_BALANCE = (None, "disjoint", "equal")


@dataclasses.dataclass(frozen=True)
class GroupingResult:
    """What `self_group` returns.

    Attributes:
        model: The masked model, not compiled.
        report: A `GroupingReport`.
    """

    model: keras.Model
    report: GroupingReport


def self_group(
    model: keras.Model,
    conv_rate: float = 0.7,
    dense_rate: float = 0.6,
    num_groups: int = 16,
    regroup: str = "once",
    steps: int = 1,
    layers: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
    seed: int = 0,
    labels: Mapping[str, Any] | None = None,
    init_centroids: Mapping[str, Any] | None = None,
    balance: str | None = None,
    input_shape: Any = None,
    reconstruct: bool | None = None,
    data: Any = None,
) -> GroupingResult:
    """Groups the filters of a model by the channels that they need, and masks the rest.

    Use it on a trained network, then fine-tune the result as any Keras model: what is
    cut stays cut. A masked model is grouped further from the masks that it has, so
    that cutting and fine-tuning may alternate; rates are always shares of the whole
    layer.

    Args:
        model: A functional or built sequential model, masked or not. It is not
            changed.
        conv_rate: Share of the (filter, channel) connections that each convolution
            loses, from 0 to below 1. The paper's Conv-70 is 0.7. At 0 they are left
            alone. Defaults to `0.7`.
        dense_rate: The same for dense layers on vectors. Defaults to `0.6`.
        num_groups: Groups per layer; layers with fewer filters have fewer. Without
            effect with `balance`. Defaults to `16`.
        regroup: `"once"`: a layer keeps its groups from the first step on, and so do
            masked layers: every group has one mask. `"every_step"`: each step
            clusters anew, as the authors' code does; filters of one group may end
            with different masks. Defaults to `"once"`.
        steps: Steps of equal size in which the rate is reached, without training in
            between. Without effect with `balance`. Defaults to `1`.
        layers: `"auto"`, or the names of all layers that shall get groups. Defaults to
            `"auto"`, the rule of `find_groupable_layers`: every `Conv2D` and `Dense`
            except stems, projections on shortcuts, attention, and what is depthwise
            or grouped.
        exclude: Names of layers that get none. Defaults to none.
        seed: Seed of the clustering. Defaults to `0`.
        labels: By layer name the group of each filter, for groups that are known.
            Defaults to none.
        init_centroids: By layer name the first centroids, of shape
            (groups, channels), for exact reproduction. Defaults to none.
        balance: `None`: groups of any size, as published. `"disjoint"`: groups of one
            size that share no channel, so that a plain grouped convolution runs them;
            `"equal"`: groups of one size that read one number of channels. See
            `balanced_groups`. Defaults to `None`.
        input_shape: Shape of one image, where the model leaves it open. Defaults to
            what the model was built for.
        reconstruct: Whether the filters of every group are fitted, by least squares and
            without training, to give from the channels that they still read what they
            gave before: see `keras_sda.pruning.reconstruct`. Masks stay as they are;
            what is fitted is in `report.refits`. Defaults to `None`: where there are
            `data`.
        data: Images for `reconstruct`, some 512 of them, as in `model.fit`; labels are
            not looked at. Defaults to `None`.

    Returns:
        A `GroupingResult` with `model`, in which `SelfGroupedConv2D` and
        `SelfGroupedDense` stand for the layers of the same names, with all weights
        kept, and `report`.

    Raises:
        InvalidInputError: An argument cannot be used, no layer can have groups, a rate
            leaves a layer without any connection, or the data do not fit the model.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.grouping import self_group
    >>> result = self_group(CIFARResNet20(), conv_rate=0.5, dense_rate=0.0)
    >>> result.report.macs_after < 0.52 * result.report.macs_before
    True

    Source: arXiv 2009.13803 (Neural Networks 132, 2020).
    """
    _check(conv_rate, dense_rate, num_groups, regroup, steps, balance)
    reconstruct = check_reconstruct(reconstruct, data)
    graph = as_functional(unwrapped(model))
    batches = calibration_batches(data, graph, seed=seed) if reconstruct else []
    entries = find_groupable_layers(graph, layers, exclude)
    rates = {"conv": float(conv_rate), "dense": float(dense_rate)}
    labels = _by_layer(labels, entries, "labels")
    init_centroids = _by_layer(init_centroids, entries, "init_centroids")
    warnings = []
    if looks_untrained(graph):
        warnings.append(
            "the weights look untrained (biases and statistics are as built), so that "
            "the groups mean nothing; load or train weights first"
        )
    groups, left_alone, found = {}, [], {}
    together = {}
    if balance == "disjoint":
        together = disjoint_groups(graph, _new_layers(entries, rates, labels), seed)
    for entry in entries:
        rate = rates[entry.kind]
        reason = entry.reason or ("" if rate else "its rate is 0")
        if not reason:
            found[entry.name], reason = _groups_of(
                entry, rate, layers == "auto", together.get(id(entry.layer)),
                num_groups=num_groups, regroup=regroup, steps=steps, seed=seed,
                labels=labels.get(id(entry.layer)),
                init_centroids=init_centroids.get(id(entry.layer)), balance=balance,
            )  # fmt: skip
        if reason:
            found.pop(entry.name, None)
            kind = type(entry.layer).__name__
            left_alone.append(LayerLeftAlone(entry.name, kind, reason))
        else:
            chosen = found[entry.name]
            groups[id(entry.layer)] = chosen.mask, chosen.labels
    if not groups:
        reasons = "; ".join(f"{x.name}: {x.reason}" for x in left_alone[:8])
        raise InvalidInputError(
            f"`model` '{graph.name}' has no layer that can have groups. "
            f"{reasons or 'It has no layer with a kernel.'}"
        )
    masked = masked_copy(model, groups)
    names = {entry.name for entry in entries if id(entry.layer) in groups}
    warnings += filter(None, [frozen_note(graph, masked, names)])
    report = GroupingReport.of(
        masked,
        left_alone,
        thresholds={name: chosen.threshold for name, chosen in found.items()},
        notes={name: chosen.note for name, chosen in found.items()},
        warnings=warnings,
        settings={
            "conv_rate": rates["conv"],
            "dense_rate": rates["dense"],
            "num_groups": num_groups,
            "regroup": regroup,
            "steps": steps,
            "layers": layers if isinstance(layers, str) else list(layers),
            "exclude": list(exclude),
            "seed": seed,
            "balance": balance,
        },
        input_shape=input_shape,
    )
    for text in warnings:
        logging.warning("%s: %s.", graph.name, text)
    result = GroupingResult(masked, report)
    if reconstruct:
        result = refitted(result, graph, batches, seed)
    logging.info("%s", result.report.to_text())
    return result


def refitted(
    result: GroupingResult, model: keras.Model, batches: Sequence[Any], seed: int = 0
) -> GroupingResult:
    """Fits the kernels of a masked model; see `reconstruct` of `self_group`.

    Args:
        result: What `self_group` returned. The weights of its model are changed.
        model: The model before.
        batches: Its inputs, batch by batch.
        seed: Of the choice of positions. Defaults to `0`.

    Returns:
        The same model, and the report with what became of its kernels.
    """
    whole = as_functional(unwrapped(model))
    rows = refit_masked(whole, result.model, batches, seed)
    settings = {**result.report.settings, "reconstruct": True}
    report = dataclasses.replace(result.report, settings=settings, refits=tuple(rows))
    return GroupingResult(result.model, report)


def _new_layers(entries, rates, labels):
    """Layers without masks and without groups that are given, with their rates."""
    return {
        id(entry.layer): rates[entry.kind]
        for entry in entries
        if not entry.reason
        and rates[entry.kind]
        and id(entry.layer) not in labels
        and not getattr(entry.layer, "is_grouped", False)
    }


def _groups_of(entry, rate, is_auto, known, **options):
    """The groups of a layer, or why it cannot have any."""
    try:
        if isinstance(known, str):
            raise InvalidInputError(known)
        found = known or layer_groups(entry.layer, rate, **options)
    except InvalidInputError as error:
        # Where the user did not ask for this layer, it is no error of the user.
        if options["balance"] and is_auto and "divides both" in str(error):
            return None, str(error)
        raise InvalidInputError(f"Layer {entry.name!r}: {error}") from error
    if not found.mask.any():
        argument = f"{entry.kind}_rate"
        raise InvalidInputError(
            f"`{argument}`={rate} leaves layer {entry.name!r} ({found.mask.shape[0]} "
            f"filters, {found.mask.shape[1]} channels) without any connection. Lower "
            "the rate, raise `num_groups`, or put the layer into `exclude`."
        )
    return found, ""


def _by_layer(given, entries, argument):
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"`{argument}` must be a dict by layer name. Received: "
            f"{type(given).__name__}."
        )
    names = {entry.name: entry for entry in entries}
    for name in given:
        if name not in names or names[name].reason:
            why = names[name].reason if name in names else "there is no such layer"
            raise InvalidInputError(
                f"`{argument}` names {name!r}, which gets no groups: {why}."
            )
    return {id(names[name].layer): value for name, value in given.items()}


def _check(conv_rate, dense_rate, num_groups, regroup, steps, balance):
    check_rates(conv_rate, dense_rate)
    for name, value in (("num_groups", num_groups), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}."
            )
    for name, value, known in (
        ("regroup", regroup, _REGROUP),
        ("balance", balance, _BALANCE),
    ):
        if value not in known:
            raise InvalidInputError(
                f"`{name}` must be one of {known}. Received: {name}={value!r}."
            )


_NAMES = "bias", "beta", "gamma", "moving_mean", "moving_variance"
_CONSTANT = (
    keras.initializers.Zeros,
    keras.initializers.Ones,
    keras.initializers.Constant,
)


def looks_untrained(model: keras.Model) -> bool:
    """Whether nothing that starts at a constant has moved.

    Use it before reading importance off the weights. Any training moves the statistics
    of batch normalisations and the biases, and loaded weights bring theirs along, with
    or without an optimizer.

    Args:
        model: A built model.

    Returns:
        True if there are biases, offsets, scales or moving statistics that start at a
        constant, and all of them are what they were.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping.self_group import looks_untrained
    >>> model = LeNet()
    >>> looks_untrained(model)
    True
    """
    seen = False
    for layer in all_layers(model):
        for name in _NAMES:
            variable = getattr(layer, name, None)
            initializer = getattr(layer, f"{name}_initializer", None)
            if variable is None or not isinstance(initializer, _CONSTANT):
                continue
            seen = True
            start = keras.ops.convert_to_numpy(initializer(variable.shape))
            if np.any(keras.ops.convert_to_numpy(variable) != start):
                return False
    return seen

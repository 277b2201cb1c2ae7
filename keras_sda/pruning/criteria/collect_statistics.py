"""Read the data once for all criteria: activations, gradients, labels, moments."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.data.fit.array_structures import class_labels, leaves
from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ChannelGraph
from keras_sda.pruning.criteria.channel_statistics import (
    MOST_MOMENTS,
    ChannelStatistics,
    Reading,
    SeenBatch,
)
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.criteria.loss.loss_gradients import loss_gradients
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.utils import InvalidInputError


def collect_statistics(
    graph: ChannelGraph,
    criteria: Iterable[Criterion],
    data: Any = None,
    loss: Any = None,
    seed: int = 0,
) -> ChannelStatistics:
    """Collects in one pass over the data what criteria want to know of it.

    Use it to score channels by several criteria at once; `make_plan` calls it for one.
    Nothing of a batch is kept but what the criteria make of it. The model runs at
    inference. Without a criterion that needs data, nothing is read.

    Args:
        graph: The channels of the model.
        criteria: The criteria, by name in the result.
        data: Anything that `model.fit` takes, see `FitData`. Sample weights count in
            the loss. Targets are asked for where a criterion needs gradients or labels.
            Defaults to `None`.
        loss: Where a criterion needs gradients, a Keras loss or its name, a list or a
            dict of them for several outputs. Defaults to that of the compiled model,
            else to the cross-entropy of its head.
        seed: Seed of the random numbers. Defaults to `0`.

    Returns:
        `ChannelStatistics`.

    Raises:
        InvalidInputError: Data, loss or labels are missing or do not fit, values are
            not finite, gradients are all zero, or channels have to be looked at that
            are read inside a nested model.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning import CRITERIA, collect_statistics
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones")(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(1)(y)))
    >>> criteria = [CRITERIA["activation"], CRITERIA["taylor"]]
    >>> data = np.ones((4, 2)), np.zeros((4, 1))
    >>> found = collect_statistics(graph, criteria, data, loss="mse")
    >>> CRITERIA["activation"].score(graph.groups[0], found).tolist()
    [2.0, 2.0, 2.0]
    """
    statistics = ChannelStatistics(np.random.default_rng(seed))
    criteria = [criterion for criterion in criteria if criterion.needs]
    if not criteria:
        return statistics
    sloped, labelled = (_first(criteria, need) for need in ("gradients", "labels"))
    if data is None and (sloped or labelled):
        raise InvalidInputError(
            f"importance={(sloped or labelled).name!r} needs `data`: pass "
            "data=(inputs, targets) or an iterable of batches of them."
        )
    measure = _Slopes(graph, loss, sloped.name) if sloped else None
    probe = _Probe(graph, criteria)
    if data is None:
        raise InvalidInputError(
            "`data` is missing: this `importance` is measured on samples. Pass "
            "data=(inputs, targets) or an iterable of batches, or choose one that "
            "needs none, such as importance='l1'."
        )
    reader = FitData(data, graph.model, needs_targets=bool(sloped or labelled))
    statistics.readings = probe.readings
    totals = None
    for inputs, targets, weights in reader.batches():
        _check_finite(inputs, statistics.num_batches)
        labels = _labels(targets, labelled.name) if labelled else None
        slopes = {}
        if measure:
            slopes = measure(inputs, targets, weights, statistics.num_batches)
        activations, moments = probe(inputs, statistics.num_batches)
        for criterion in criteria:
            batch = SeenBatch(activations.get(criterion.name, ()), labels, slopes)
            new = criterion.collect(graph, batch)
            old = statistics.collected.get(criterion.name)
            statistics.collected[criterion.name] = _added(old, new, criterion.name)
        totals = _added(totals, moments, "moments")
        statistics.num_batches += 1
        statistics.num_samples += len(leaves(inputs)[0])
    if measure:
        measure.check_steep(statistics.num_samples)
    # The second entry of each is the number of its rows.
    statistics.num_rows = [int(rows.item()) for _, rows in totals or ()]
    statistics.moments = [
        products / rows if products.size else None for products, rows in totals or ()
    ]
    _warn_of_few(criteria, statistics.num_samples)
    finished = {c.name: c.finish(graph, statistics) for c in criteria}
    statistics.collected.update(finished)
    return statistics


def _first(criteria, need):
    """The first criterion that needs this, for the messages."""
    return next((c for c in criteria if need in c.needs), None)


def _warn_of_few(criteria, count):
    """One line where criteria are told less than they want to know."""
    wanting = [
        f"{criterion.name!r} ({criterion.num_samples_wanted})"
        for criterion in criteria
        if count < criterion.num_samples_wanted
    ]
    if wanting:
        logging.warning(
            "`data` held %d samples, fewer than these criteria want: %s. What they "
            "find important then depends on which samples these are; give more.",
            count,
            ", ".join(wanting),
        )


def _check_finite(inputs, number):
    for array in leaves(inputs):
        if not _is_finite(array):
            raise InvalidInputError(
                f"`data` holds inputs that are NaN or infinite, in batch {number + 1}. "
                "Leave these samples out, or mend what prepares them."
            )


def _is_finite(array):
    return array.dtype.kind in "biu" or bool(
        np.isfinite(array if array.dtype.kind == "f" else array.astype("float32")).all()
    )


def _added(total, new, name):
    if total is None:
        return new
    try:
        return keras.tree.map_structure(np.add, total, new)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            f"`collect` of the criterion {name!r} must return arrays of the same "
            f"shapes for every batch, since they are added up ({error})."
        ) from error


def _labels(targets, name):
    found = leaves(targets)
    if len(found) == 1:
        labels = class_labels(found[0])
        is_class = found[0].ndim == 2 and found[0].shape[-1] > 1
        if is_class or np.array_equal(labels, found[0].reshape(len(labels), -1)[:, 0]):
            return labels
    raise InvalidInputError(
        f"importance={name!r} needs `data` with one label per sample, class numbers or "
        f"one-hot. Received targets of {len(found)} output(s), the first of shape "
        f"{found[0].shape} and type {found[0].dtype}."
    )


class _Slopes:
    """Gradients of the loss for the weights that groups live in."""

    def __init__(self, graph, loss, name):
        self._name, self._is_flat = name, True
        self._loss = ModelLoss(graph.model, loss, needed_by=f"importance={name!r}")
        axes = [part for group in graph.groups for part in group.parts]
        self._variables = list({
            id(part.variable): part.variable
            for part in axes
            if part.role != "carries"
            and keras.backend.is_float_dtype(part.variable.dtype)
        }.values())  # fmt: skip
        self._gradients = loss_gradients(graph.model, self._variables, self._loss)

    def __call__(self, inputs, targets, weights, number):
        found = self._gradients(inputs, self._loss.targets(targets, weights))
        for variable, gradient in zip(self._variables, found, strict=True):
            if gradient is None:
                continue
            if not _is_finite(gradient):
                raise InvalidInputError(
                    f"importance={self._name!r} needs finite gradients; that of the "
                    f"loss for {variable.path!r} is NaN or infinite in batch "
                    f"{number + 1} of `data`. Check the targets and the loss."
                )
            self._is_flat = self._is_flat and not gradient.any()
        return {id(v): g for v, g in zip(self._variables, found, strict=True)}

    def check_steep(self, count):
        if self._is_flat:
            raise InvalidInputError(
                f"importance={self._name!r} learns nothing from `data`: all gradients "
                f"of the loss are zero on its {count} samples. The model may be sure "
                "of each of them, or none of its units fires. Give other samples, or "
                "choose a criterion without gradients, such as 'activation' or 'l1'."
            )


class _Probe:
    """What layers with kernels read, reduced inside of the graph."""

    def __init__(self, graph, criteria):
        self._names = [c.name for c in criteria if "activations" in c.needs]
        with_moments = _first(criteria, "moments")
        named = _first(criteria, "activations") or with_moments
        self.readings = _readings(graph) if named else ()
        if named:
            _check_not_nested(graph, self.readings, named.name)
        flat = [_by_position(reading) for reading in self.readings]
        outputs = [
            criterion.reduce(tensor)
            for criterion in criteria
            if "activations" in criterion.needs
            for tensor in flat
        ]
        if with_moments:
            outputs += [tensor for part in flat for tensor in _moments(part)]
        self._model = keras.Model(graph.model.input, outputs) if outputs else None

    def __call__(self, inputs, number):
        """By criterion what is left of every reading, and the moments of all."""
        if self._model is None:
            return {}, []
        found = [np.asarray(x) for x in self._model.predict_on_batch(inputs)]
        count = len(self.readings)
        self._check_finite(found, number)
        activations = {
            name: found[k * count : (k + 1) * count]
            for k, name in enumerate(self._names)
        }
        rest = [value.astype("float64") for value in found[len(self._names) * count :]]
        return activations, list(zip(rest[::2], rest[1::2], strict=True))

    def _check_finite(self, found, number):
        count = len(self.readings)
        single = len(self._names) * count  # then two arrays for every reading
        for place, array in enumerate(found):
            if not _is_finite(array):
                of = place % count if place < single else (place - single) // 2
                raise InvalidInputError(
                    f"`data` make the model overflow: layer "
                    f"{self.readings[of].layers[0]!r} reads values that are NaN or "
                    f"infinite, or too large to be squared, in batch {number + 1}. "
                    "Check how the inputs are scaled, and the weights before it."
                )


def _readings(graph) -> tuple[Reading, ...]:
    found: dict[int, Reading] = {}
    for layer, tensor, channels in graph.read_tensors:
        if (
            not len(channels.units)
            or len(channels.units) != tensor.shape[channels.axis]
        ):
            continue
        known = found.get(id(tensor))
        layers = (*(known.layers if known else ()), layer)
        classes = graph.units.classes[channels.units]
        found[id(tensor)] = Reading(tensor, channels.axis, classes, layers)
    return tuple(found.values())


def _by_position(reading):
    """The tensor as float32 of shape (batch, positions, channels)."""
    ops = keras.ops
    tensor = ops.cast(reading.tensor, "float32")
    if len(tensor.shape) == 2:
        return ops.expand_dims(tensor, 1)
    if reading.axis != len(tensor.shape) - 1:
        tensor = ops.moveaxis(tensor, reading.axis, -1)
    if len(tensor.shape) == 3:
        return tensor
    return keras.layers.Reshape((-1, tensor.shape[-1]))(tensor)


def _moments(tensor):
    """The sum of the products of two channels, and how many rows there are."""
    rows = keras.ops.sum(keras.ops.ones_like(tensor[..., :1]))
    if tensor.shape[-1] > MOST_MOMENTS:
        tensor = tensor[..., :0]
    return keras.ops.einsum("bpc,bpd->cd", tensor, tensor), rows


def sees_all_channels(graph: ChannelGraph) -> bool:
    """Whether activations of all channels can be watched from outside.

    Args:
        graph: The channels of the model.
    """
    try:
        _check_not_nested(graph, _readings(graph), "activation")
    except InvalidInputError:
        return False
    return True


def _check_not_nested(graph: ChannelGraph, readings: Sequence[Reading], name: str):
    """Channels that only a nested model reads cannot be watched from outside."""
    labels = [np.zeros(0, int), *(reading.classes for reading in readings)]
    known = np.unique(np.concatenate(labels))
    for group in graph.groups:
        if np.isin(group.classes, known).all():
            continue
        nested = [
            part.layer for part in group.parts
            if part.role == "reads" and "/" in part.layer
        ]  # fmt: skip
        if nested:
            inner = nested[0].split("/")[0]
            raise InvalidInputError(
                f"importance={name!r} cannot look into nested models: the channels "
                f"of {', '.join(group.writers[:3])} are read inside {inner!r}. Choose "
                "another `importance`, such as 'l1' or 'taylor', or add the layers of "
                f"{inner!r} to the model one by one."
            )

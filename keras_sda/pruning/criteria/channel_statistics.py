"""What the data says about channels: gradients and activations."""

from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.data_batches import data_batches
from keras_sda.graph import ChannelGraph
from keras_sda.pruning.criteria.criteria import l1
from keras_sda.pruning.criteria.loss_gradients import loss_gradients
from keras_sda.pruning.criteria.model_loss import ModelLoss
from keras_sda.utils import InvalidInputError


def channel_statistics(
    graph: ChannelGraph, model: keras.Model, importance: str, data: Any, loss: Any
) -> dict[str, Any]:
    """Measures on data what an importance criterion needs.

    Nothing of a batch is kept but one number per channel. The model runs at inference.

    Args:
        graph: The channels of the model.
        model: The model; where `loss` is None it must be compiled.
        importance: `"taylor"` or `"activation"`.
        data: Anything that `model.fit` takes, see `data_batches`. Sample weights count
            in the loss. `"activation"` looks at the inputs alone.
        loss: For `"taylor"`, a Keras loss or its name, a list or a dict of them for
            several outputs. None takes that of the compiled model.

    Returns:
        For `"taylor"` `{"loss_changes": list}`: for every group of `graph.groups` the
        mean over the batches of |sum of weight x gradient| per channel. For
        `"activation"` `{"activations": dict}`: by class of channels, the mean
        absolute input of the layers that read it. Channels inside one layer, such as
        the hidden units of squeeze-excite layers, cannot be seen: theirs is `l1`.

    Raises:
        InvalidInputError: Data or loss are missing or do not fit, or the channels are
            read inside a nested model.

    Example:

    >>> import keras
    >>> from keras_sda.pruning.criteria.channel_statistics import channel_statistics
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones")(x)
    >>> model = keras.Model(x, keras.layers.Dense(1)(y))
    >>> found = channel_statistics(
    ...     ChannelGraph(model), model, "activation", np.ones((4, 2)), None
    ... )
    >>> sorted(float(mean) for mean in found["activations"].values())
    [1.0, 1.0, 2.0, 2.0, 2.0]
    """
    if importance == "taylor":
        return {"loss_changes": _loss_changes(graph, model, data, loss)}
    return {"activations": _activations(graph, data)}


def _loss_changes(graph, model, data, loss):
    if data is None:
        raise InvalidInputError(
            "importance='taylor' needs `data`: pass data=(inputs, targets) or an "
            "iterable of batches of them."
        )
    # A Sequential model keeps its loss, the functional model inside has the outputs.
    loss = ModelLoss(
        graph.model, getattr(model, "loss", None) if loss is None else loss
    )
    parts = [
        (group, part)
        for group in graph.groups
        for part in group.parts
        if part.role == "writes" and keras.backend.is_float_dtype(part.variable.dtype)
    ]
    variables = list({id(part.variable): part.variable for _, part in parts}.values())
    values = {id(v): keras.ops.convert_to_numpy(v) for v in variables}
    gradients_of = loss_gradients(graph.model, variables, loss)
    totals = [np.zeros(group.num_channels) for group in graph.groups]
    count = 0
    for inputs, targets, weights in data_batches(data, graph.model):
        found = gradients_of(inputs, loss.targets(targets, weights))
        changes = {
            id(variable): values[id(variable)].astype("float32") * gradient
            for variable, gradient in zip(variables, found, strict=True)
            if gradient is not None
        }
        batch = [np.zeros(group.num_channels) for group in graph.groups]
        for group, part in parts:
            change = changes.get(id(part.variable))
            if change is not None:
                batch[group.index] += group.reduce(part, change)
        for total, change in zip(totals, batch, strict=True):
            total += np.abs(change)
        count += 1
    return [total / count for total in totals]


def _activations(graph, data):
    ops = keras.ops
    readings = {}
    for tensor, channels in graph.read_tensors:
        if len(channels.units) and len(channels.units) == tensor.shape[channels.axis]:
            readings.setdefault(id(tensor), (tensor, channels))
    readings = list(readings.values())
    _check_not_nested(graph, [channels for _, channels in readings])
    means = []
    for tensor, channels in readings:
        axes = [a for a in range(1, len(tensor.shape)) if a != channels.axis]
        size = ops.abs(ops.cast(tensor, "float32"))
        means.append(ops.mean(size, axis=axes) if axes else size)
    probe = keras.Model(graph.model.input, means) if means else None
    sums, count = [0.0] * len(means), 0
    for inputs, _, _ in data_batches(data, graph.model, needs_targets=False):
        if probe is None:
            break
        found = probe.predict_on_batch(inputs)
        count += len(found[0])
        sums = [
            total + np.asarray(value, "float64").sum(0)
            for total, value in zip(sums, found, strict=True)
        ]
    by_class: dict[int, list[float]] = {}
    for (_, channels), total in zip(readings, sums, strict=True):
        labels = graph.units.classes[channels.units]
        unique, positions = np.unique(labels, return_inverse=True)
        mean = np.bincount(positions, total / count) / np.bincount(positions)
        for label, value in zip(unique, mean, strict=True):
            by_class.setdefault(int(label), []).append(float(value))
    result = {label: float(np.mean(values)) for label, values in by_class.items()}
    for group in graph.groups:
        is_read = any(part.role == "reads" for part in group.parts)
        if is_read and not any(int(label) in result for label in group.classes):
            weights = l1(group, {})
            result.update(zip(map(int, group.classes), weights, strict=True))
    return result


def _check_not_nested(graph, seen):
    """Channels that only a nested model reads cannot be watched from outside."""
    classes = graph.units.classes
    labels = [np.zeros(0, int), *(classes[channels.units] for channels in seen)]
    known = np.unique(np.concatenate(labels))
    for group in graph.groups:
        if np.isin(group.classes, known).all():
            continue
        nested = [
            part.layer for part in group.parts
            if part.role == "reads" and "/" in part.layer
        ]  # fmt: skip
        if nested:
            name = nested[0].split("/")[0]
            raise InvalidInputError(
                "importance='activation' cannot look into nested models: the channels "
                f"of {', '.join(group.writers[:3])} are read inside {name!r}. Choose "
                "another `importance`, such as 'l1' or 'taylor', or add the layers of "
                f"{name!r} to the model one by one."
            )

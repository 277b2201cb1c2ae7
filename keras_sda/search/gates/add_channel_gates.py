"""Put gates on the channels of a model, and take them away."""

from collections.abc import Collection, Sequence

import keras
from absl import logging

from keras_sda.graph import (
    all_layers,
    as_functional,
    clone_edited,
    expand_known_blocks,
    uncompiled,
    unfolded,
    unwrapped,
)
from keras_sda.layers import ScaledSigmoidGate
from keras_sda.search.gates.find_gate_positions import find_gate_positions
from keras_sda.utils import InvalidInputError


def add_channel_gates(
    model: keras.Model,
    where: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
    residual: str = "exact",
) -> keras.Model:
    """Returns the model with a gate behind every convolution whose channels can go.

    Use it before a search for widths, on a network that you have, trained or not. The
    gates start bypassed: the new model computes what the old one does.

    Args:
        model: A functional or built sequential model. It is not changed. The layers
            of nested models stand in the graph of the result (`graph.unfold_models`).
        where: `"auto"`, or names of batch normalisations or convolutions. Defaults to
            `"auto"`; see `find_gate_positions`, which lists what is done and why not
            elsewhere.
        exclude: Names of batch normalisations or convolutions that get no gate.
        residual: `"exact"` or `"joint"`, see `find_gate_positions`. Defaults to
            `"exact"`.

    Returns:
        A functional `keras.Model` with its own copy of the weights, not compiled. Gates
        are called like the batch normalisation before them, with `_gate` behind.

    Raises:
        InvalidInputError: The model has gates already, no batch normalisation, or no
            place for a gate; or an argument is wrong.

    Example:

    >>> import keras
    >>> from keras_sda.search import add_channel_gates
    >>> model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    >>> gated = add_channel_gates(model)
    >>> sum(layer.name.endswith("_gate") for layer in gated.layers)
    35

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the channel gates.
    """
    model = unfolded(expand_known_blocks(unwrapped(model)))
    positions = find_gate_positions(model, where, exclude, residual)
    graph = as_functional(model)
    _check_any(graph, positions)
    gate_of = {p.layer: p.gate for p in positions if p.gate}
    skipped = [p for p in positions if not p.gate]
    logging.info(
        "%s: %d gates on %d of %d channels; without: %s",
        graph.name,
        len(set(gate_of.values())),
        sum(p.num_channels for p in positions if p.gate),
        sum(p.num_channels for p in positions),
        "; ".join(f"{p.layer}: {p.reason}" for p in skipped) or "none",
    )
    gates = {}

    def call(layer, new, args, kwargs):
        result = new(*args, **kwargs)
        name = gate_of.get(layer.name)
        if name is None:
            return result
        if name not in gates:
            gates[name] = ScaledSigmoidGate(
                axis=layer.axis, name=name, dtype=layer.dtype_policy
            )
        return gates[name](result)

    return clone_edited(graph, call=call)


def remove_channel_gates(model: keras.Model) -> keras.Model:
    """Returns a gated model without its gates, with the same weights.

    Args:
        model: A model that `add_channel_gates` made. It is not changed.

    Returns:
        A functional `keras.Model` of the original layers, not compiled.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.search import add_channel_gates, remove_channel_gates
    >>> model = CIFARResNet20()
    >>> plain = remove_channel_gates(add_channel_gates(model))
    >>> plain.count_params() == model.count_params()
    True
    """
    names = {gate.name for gate in channel_gates(model)}
    return clone_edited(uncompiled(model), skip=names)


def channel_gates(model: keras.Model) -> list[ScaledSigmoidGate]:
    """The gates of a model in the order of its layers.

    Raises:
        InvalidInputError: It has none.
    """
    graph = as_functional(model)
    gates = [x for x in graph.layers if isinstance(x, ScaledSigmoidGate)]
    if not gates:
        raise InvalidInputError(
            f"`model` '{graph.name}' has no channel gates. Put them on with "
            "search.add_channel_gates(model) and train them first."
        )
    return gates


def _check_any(graph, positions):
    if any(position.gate for position in positions):
        return
    reasons = "; ".join(f"{p.layer}: {p.reason}" for p in positions[:8])
    if not any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in all_layers(graph)
    ):
        raise InvalidInputError(
            f"`model` '{graph.name}' has no BatchNormalization layer. Channel gates "
            "stand behind one; put it between your convolutions and their activations. "
            f"{reasons}"
        )
    raise InvalidInputError(
        f"`model` '{graph.name}' has no place for a channel gate. {reasons}"
    )

"""The smaller model that is left when gates have been decided."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import ChannelTrace, ModelGraph, remove_channels
from keras_sda.graph.rules.channel_rules import own_rule
from keras_sda.pruning import PruningPlan
from keras_sda.search.surgery.fold_constants import fold_constants
from keras_sda.search.surgery.official_cuts import official_cuts
from keras_sda.search.surgery.prepared_model import prepared_model
from keras_sda.search.surgery.surgery_layers import AlignedAdd, ChannelCut, FixedGate
from keras_sda.search.surgery.zero_flow import ZeroFlow
from keras_sda.utils import InvalidInputError

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_FILTERS_LAST = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


@dataclasses.dataclass(frozen=True)
class SmallerModel:
    """What `remove_closed_channels` returns.

    Attributes:
        model: The smaller model, not compiled.
        constants: Names of the sums in which a branch became one number per channel.
        branches: By sum, the last layers of the branches that are gone: those, and
            those whose last gate closed, which leave nothing.
        silenced: By batch normalisation, how many closed channels had to stay; they
            are zero.
        plan: The channels that went, of the layers that make them.
        trace: The channels of the gated model, with its gates decided.
        removed: Which of their classes went.
        held: Names of layers whose kernels keep closed channels at zero.
    """

    model: keras.Model
    constants: tuple[str, ...]
    branches: dict[str, list[str]]
    silenced: dict[str, int]
    plan: PruningPlan
    trace: ChannelTrace
    removed: np.ndarray
    held: frozenset[str]


def remove_closed_channels(
    gated: keras.Model, masks: Mapping[str, np.ndarray], residual: str = "exact"
) -> SmallerModel:
    """Returns the model without gates and without the channels that they close.

    Use it through `derive`, which reads the masks off trained gates.

    Args:
        gated: A model with gates. It is not changed.
        masks: For every gate, by name, whether each channel stays.
        residual: `"exact"` or `"official"`, see `derive`.

    Returns:
        A `SmallerModel`, whose outputs are those of the gated model with these masks.

    Raises:
        InvalidInputError: The network would be a constant, or a closed channel can
            neither go nor be silenced.

    Example:

    >>> import keras
    >>> from keras_sda.search import add_channel_gates
    >>> from keras_sda.search.surgery.remove_closed_channels import (
    ...     remove_closed_channels
    ... )
    >>> model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    >>> gated = add_channel_gates(model, where=["block_1_depthwise_BN"])
    >>> masks = {"block_1_depthwise_BN_gate": np.arange(96) < 50}
    >>> small = remove_closed_channels(gated, masks).model
    >>> small.get_layer("block_1_expand").filters
    50
    """
    closed = prepared_model(gated, masks)
    folds = fold_constants(closed)
    branches, constants = _lost_branches(closed, folds)
    cuts = official_cuts(gated, masks) if residual == "official" else {}
    if folds or cuts:
        closed = prepared_model(gated, masks, folds, cuts)
    trace = ChannelTrace(closed)
    gates = closed_gates(trace)
    removed = ~ZeroFlow(trace).read(gates)
    _keep_something(trace, removed)
    plan = _plan(trace, removed)
    model = remove_channels(trace, removed)
    silenced, held = _silence(model, trace, gates, removed)
    return SmallerModel(
        model, constants, branches, silenced, plan, trace, removed, frozenset(held)
    )


def closed_gates(trace: ChannelTrace) -> dict[int, np.ndarray]:
    """The steps that are gates, and which channels they close.

    Args:
        trace: The channels of a model, with `FixedGate` for its gates.
    """
    return {
        number: ~np.array(step.node.layer.mask)
        for number, step in enumerate(trace.steps)
        if type(step.node.layer) is FixedGate
    }


def _plan(trace, removed):
    """The plan in terms of the layers of the model, not of those put in to cut it."""
    plan = PruningPlan.from_classes(trace, removed)
    helpers = {
        name
        for name, record in trace.layers.items()
        if isinstance(record.layer, (AlignedAdd, ChannelCut))
    }
    channels, remove = (
        {name: value for name, value in part.items() if name not in helpers}
        for part in (plan.channels, plan.remove)
    )
    return dataclasses.replace(plan, channels=channels, remove=remove)


def _lost_branches(model, folds):
    """By sum the layers at the end of lost branches; the sums that get constants."""
    branches, constants = {}, {}
    if not folds:
        return branches, ()
    graph = ModelGraph(model)
    for node in graph.nodes:
        positions, _ = folds.get((node.name, node.call_index), ((), None))
        for position in positions:
            term = graph.nodes[node.inputs[position][0]]
            if type(term.layer) is not FixedGate or any(term.layer.mask):
                constants[node.name] = True
            if type(term.layer) is FixedGate:
                term = graph.nodes[term.inputs[0][0]]
            branches.setdefault(node.name, []).append(term.name)
    return branches, tuple(constants)


def _keep_something(trace, removed):
    """Layers need a channel to work on, be it one of zeros."""
    for layer in trace.layers.values():
        for units in [axis.units for axis in layer.axes] + layer.pieces:
            classes = trace.units.classes[units]
            if len(classes) and removed[classes].all():
                removed[classes[0]] = False


def _silence(model, trace, gates, removed):
    """Makes closed channels that stay zero where they are normalised."""
    silenced, held = {}, set()
    for number, closed in gates.items():
        step = trace.steps[number]
        stays = ~removed[step.inputs[0]]
        left = np.flatnonzero((closed & stays)[stays])
        source = step.sources[0]
        if not len(left) or source is None:
            continue
        before = trace.steps[source[0]]
        layer = before.node.layer
        convolution = trace.steps[before.sources[0][0]] if before.sources[0] else None
        if type(layer) is not keras.layers.BatchNormalization or convolution is None:
            raise InvalidInputError(
                f"Gate {step.name!r} closes channels that have to stay, and there is "
                f"no BatchNormalization before it to make them zero ({before.name!r} "
                f"is a {type(layer).__name__}). Put gates on with add_channel_gates."
            )
        if before.name not in {x.name for x in model.layers}:
            continue  # nobody wanted the whole branch
        normalization = model.get_layer(before.name)
        _set_to_zero(normalization, model.get_layer(convolution.name), left)
        silenced[before.name] = len(left)
        if normalization.gamma is None:
            held.add(convolution.name)
    return silenced, held


def _set_to_zero(normalization, convolution, places):
    for variable in (normalization.gamma, normalization.beta):
        if variable is not None:
            _zero(variable, places)
    if normalization.gamma is not None:
        return
    # What is normalised has to be zero, and its mean with it.
    _zero(normalization.moving_mean, places)
    own = own_rule(convolution, "scaled_weights")
    if own is not None:
        scale = np.ones(normalization.moving_mean.shape[0])
        scale[places] = 0
        weights = own(scale, np.zeros_like(scale))
        for variable, value in zip(convolution.weights, weights, strict=False):
            variable.assign(value)
        return
    if not isinstance(convolution, _DEPTHWISE + _TRANSPOSED + _FILTERS_LAST):
        raise InvalidInputError(
            f"Layer {normalization.name!r} has no gamma, some of its channels are "
            f"closed and have to stay, and {convolution.name!r} "
            f"({type(convolution).__name__}) before it does not say how to make them "
            "zero. Give the normalization scale=True, leave it without gates "
            f"(exclude=[{normalization.name!r}]), or give the layer `scaled_weights`."
        )
    for variable in convolution.weights:
        if len(variable.shape) == 1:
            _zero(variable, places)
        elif isinstance(convolution, _DEPTHWISE):
            _zero(variable, places, 2)
        elif isinstance(convolution, _TRANSPOSED):
            _zero(variable, places, axis=-2)
        elif "depthwise" not in variable.path.rsplit("/", 1)[-1]:
            _zero(variable, places)


def _zero(variable, places, num_axes=1, axis=-1):
    """Zeros at places of an axis, or of the last axes counted as one."""
    value = keras.ops.convert_to_numpy(variable).copy()
    flat = value.reshape(*value.shape[: value.ndim - num_axes], -1)
    np.moveaxis(flat, axis, 0)[places] = 0
    variable.assign(flat.reshape(value.shape))

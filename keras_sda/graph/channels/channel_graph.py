"""Follow every channel of a functional model through its layers."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np

from keras_sda.graph.channels.channel_group import ChannelGroup, GroupPart
from keras_sda.graph.model.as_functional import (
    as_functional,
    distributed_model,
    graph_of,
)
from keras_sda.graph.model.keras_internals import full_name
from keras_sda.graph.model.model_graph import ModelGraph, takes_inputs
from keras_sda.graph.model.unwrapped import unwrapped
from keras_sda.graph.rules.channel_call import READS, ChannelCall
from keras_sda.graph.rules.channel_rules import find_rule, is_stock
from keras_sda.graph.rules.counted_settings import follow_settings
from keras_sda.graph.rules.layer_channels import LayerChannels
from keras_sda.graph.rules.made_inside import made_inside, num_made
from keras_sda.graph.rules.unit_table import Channels, Kept, UnitTable
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class Untouchable:
    """Channels of one layer that cannot be removed.

    Attributes:
        layer: The layer that makes the channels.
        num_channels: How many of its channels are concerned.
        because_of: The layer that forbids it.
        reason: Why.
    """

    layer: str
    num_channels: int
    because_of: str
    reason: str


class ChannelGraph:
    """Assigns every channel of every tensor of a model to a channel unit.

    Use it to find out what can be removed together, and what cannot. Every layer that
    makes channels (convolution, Dense, ...) starts new units; a rule per layer class
    says how they pass on. Units that must be kept or removed together, such as those
    that a residual sum adds, form one class, and classes that live in the same weights
    form one `ChannelGroup`. Channels of the inputs and outputs of the model, and those
    that reach a layer without a rule, are untouchable.

    Args:
        model: A functional or built sequential model; nested models are entered, and
            layers may be shared.
        input_shape: Shape of one sample that costs are counted for; a list or a dict
            by input name for several inputs. Needed where the model leaves it open.
            Defaults to `None`.

    Attributes:
        model: The functional model that was read.
        input_shape: As given.
        groups: List of `ChannelGroup`, what can be removed.
        untouchable: List of `Untouchable`, what cannot, and why.
        layers: `LayerChannels` by layer name.
        units: The `UnitTable`.
        read_tensors: The name of each layer with kernels, with a tensor that it reads
            and the `Channels` of that; those inside nested models are left out.
        call_inputs: By the id of a layer or operation and the number of its call, the
            `Channels` of what it gets; as often as the model runs that call.

    Raises:
        InvalidInputError: The model has no readable graph.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> x = keras.Input((8, 8, 3))
    >>> y = keras.layers.Conv2D(4, 3, padding="same", name="a")(x)
    >>> y = keras.layers.Add()([y, keras.layers.Conv2D(4, 1, name="b")(x)])
    >>> model = keras.Model(x, keras.layers.Conv2D(2, 1, name="c")(y))
    >>> graph = ChannelGraph(model)
    >>> [(group.writers, group.num_channels) for group in graph.groups]
    [(('a', 'b'), 4)]
    >>> [(u.layer, u.num_channels, u.reason) for u in graph.untouchable]
    [('c', 2, 'it is an output of the model')]
    """

    def __init__(self, model: keras.Model, input_shape: Any = None):
        self.model = as_functional(unwrapped(model))
        self.input_shape = input_shape
        self.units = UnitTable()
        self.layers: dict[str, LayerChannels] = {}
        self.rewrites: dict[tuple[int, int], Callable] = {}
        self.call_inputs: dict[tuple[int, int], list[list[Channels]]] = {}
        self.nested_inputs: dict[int, list[Channels]] = {}
        self.read_tensors: list[tuple[str, keras.KerasTensor, Channels]] = []
        self._names: dict[int, str] = {}
        inputs = []
        for tensor in self.model.inputs:
            shape = tuple(tensor.shape)
            axis = max(len(shape) - 1, 0)
            if len(shape) > 2 and keras.config.image_data_format() == "channels_first":
                axis = 1
            count = shape[axis] or 0 if len(shape) > 1 else 0
            units = self.units.new(count)
            self.units.pin(units, tensor.name, "it is an input of the model")
            inputs.append(Channels(axis, units))
        graph = ModelGraph(self.model)
        outputs = self._read(graph, inputs, "")
        self._check_no_tied_weights()
        for channels, (source, _) in zip(outputs, graph.outputs, strict=True):
            name = graph.nodes[source].name
            reason = "it is an output of the model"
            self.units.pin(channels.units, name, reason, first=True)
        self.units.close()

    def _read(self, graph, inputs, prefix) -> list[Channels]:
        channels: dict[tuple[int, int], Channels] = {}
        positions = {id(tensor): k for k, tensor in enumerate(graph.model.inputs)}
        for node in graph.nodes:
            if node.is_input:
                for position, tensor in enumerate(node.output_tensors):
                    channels[node.index, position] = inputs[positions[id(tensor)]]
                continue
            outputs = self._call(
                node, [channels[source] for source in node.inputs], prefix
            )
            for position, value in enumerate(outputs):
                channels[node.index, position] = value
        return [channels[source] for source in graph.outputs]

    def _call(self, node, inputs, prefix) -> list[Channels]:
        layer = node.layer
        self.call_inputs.setdefault((id(layer), node.call_index), []).append(inputs)
        name = prefix + layer.name
        nested = graph_of(layer)
        if nested is not None and takes_inputs(nested, node):
            self._couple_calls(layer, inputs)
            return self._read(ModelGraph(nested), inputs, f"{name}/")
        inner = distributed_model(layer)
        if inner is not None and inputs[0].axis > 1:
            channels = [Channels(inputs[0].axis - 1, inputs[0].units)]
            self._couple_calls(inner, channels)
            nested = ModelGraph(inner)
            outputs = self._read(nested, channels, f"{name}/{inner.name}/")
            return [Channels(c.axis + 1, c.units) for c in outputs]
        # A layer shared between nested models is one layer, under its first name.
        name = self._names.setdefault(id(layer), name)
        record = self.layers.setdefault(name, LayerChannels(layer, name))
        rewrites = []
        call = ChannelCall(name, node, inputs, self.units, record, rewrites)
        rule = find_rule(layer)
        if rule is None:
            outputs = call.pinned_outputs(
                f"there is no channel rule for {type(layer).__name__}"
            )
        else:
            outputs = rule(call)
            if isinstance(outputs, Channels):
                outputs = [outputs]
            if not call.gave_up:
                outputs = follow_settings(call, outputs, is_stock(layer))
        _check_outputs(call, outputs)
        if call.gave_up and not record.because:
            _note_what_stays(call, record, outputs)
        if rewrites:
            self.rewrites[id(layer), node.call_index] = rewrites[-1]
        if not prefix and any(axis.role == READS for axis in record.axes):
            for tensor, channels in zip(node.input_tensors, inputs, strict=True):
                self.read_tensors.append((name, tensor, channels))
        return outputs

    def _couple_calls(self, nested, inputs):
        """All calls of a nested model give it as many channels."""
        first = self.nested_inputs.setdefault(id(nested), inputs)
        for one, other in zip(first, inputs, strict=True):
            if one.axis == other.axis and len(one.units) == len(other.units):
                self.units.couple(one.units, other.units)
            else:
                for channels in (one, other):
                    reason = "it is called with tensors of different kinds"
                    self.units.pin(channels.units, nested.name, reason)

    def _check_no_tied_weights(self):
        owners = {}
        for record in self.layers.values():
            for variable in getattr(record.layer, "weights", ()):
                other = owners.setdefault(id(variable), record.name)
                if other != record.name:
                    raise InvalidInputError(
                        f"`model` '{self.model.name}' ties weights: {variable.path!r} "
                        f"belongs to the layers {other!r} and {record.name!r}. A copy "
                        "of the model would hold it twice. Give each layer its own."
                    )

    @functools.cached_property
    def groups(self) -> list[ChannelGroup]:
        """What can be removed: groups of channels that live in the same weights."""
        classes, pinned = self.units.classes, self.units.pinned
        axes = [(layer, axis) for layer in self.layers.values() for axis in layer.axes]
        places = [axis.units for _, axis in axes]
        for layer in self.layers.values():
            places += layer.pieces  # so that every piece keeps a channel
        found = [np.unique(classes[units], return_counts=True) for units in places]
        # Where a channel is, and how often.
        numbers = [np.stack([0 * n + k, n], -1) for k, (_, n) in enumerate(found)]
        numbers = np.concatenate([np.zeros((0, 2), int), *numbers])
        labels = np.concatenate([np.zeros(0, int), *[label for label, _ in found]])
        free = ~pinned[labels]
        labels, numbers = labels[free], numbers[free]
        order = np.lexsort((numbers[:, 0], labels))
        labels, numbers = labels[order], numbers[order]
        wanted, starts = np.unique(labels, return_index=True)
        members: dict[bytes, list[int]] = {}
        where = {}
        for label, own in zip(wanted, np.split(numbers, starts)[1:], strict=True):
            members.setdefault(own.tobytes(), []).append(label)
            where[own.tobytes()] = own
        group_of = np.full(len(pinned), -1)
        for number, group_labels in enumerate(members.values()):
            group_of[group_labels] = number
        writers = [[] for _ in members]
        for layer in self.layers.values():
            for number in np.unique(group_of[classes[layer.made]]):
                if number >= 0:
                    writers[number].append(layer.name)
        part_labels = [classes[axis.units] for _, axis in axes]
        groups = []
        for (key, group_labels), names in zip(members.items(), writers, strict=True):
            parts = [
                GroupPart(axes[number][0].name, axes[number][1], part_labels[number])
                for number in where[key][:, 0]
                if number < len(axes)
            ]
            if names:
                groups.append(
                    ChannelGroup(
                        len(groups), np.array(group_labels), parts, tuple(names)
                    )
                )
        return groups

    @functools.cached_property
    def untouchable(self) -> list[Untouchable]:
        """What cannot be removed, layer by layer.

        A layer without a rule has one entry for all channels that it makes, be it by
        layers inside of it.
        """
        found = []
        for layer in self.layers.values():
            if layer.inside:
                count = sum(number for _, number in layer.inside)
                reason = f"{layer.because}, which makes {_listed(layer.inside)}"
                is_stock_layer = full_name(type(layer.layer)).startswith("keras.")
                if not is_stock_layer and "no channel rule" in layer.because:
                    reason += (
                        "; keras_sda.graph.expand_blocks(model) takes it apart where "
                        "calling them is all that it does"
                    )
                found.append(Untouchable(layer.name, count, layer.name, reason))
                continue
            labels = self.units.classes[np.concatenate([layer.made, layer.stays])]
            reasons: dict[tuple[str, str], int] = {}
            for label in labels[self.units.pinned[labels]]:
                reason = self.units.reasons[int(label)]
                reasons[reason] = reasons.get(reason, 0) + 1
            for (name, reason), count in reasons.items():
                found.append(Untouchable(layer.name, count, name, reason))
        return found

    def what_stays(self, limit: int = 8) -> str:
        """The layers of `untouchable` with their reasons, for an error message.

        Args:
            limit: How many layers are named, those with the most channels.
        """
        entries = sorted(self.untouchable, key=lambda entry: -entry.num_channels)
        parts = [
            f"{entry.layer}: {entry.reason} ({entry.because_of})"
            for entry in entries[:limit]
        ]
        if len(entries) > limit:
            parts.append(f"and {len(entries) - limit} more layers")
        if any("no channel rule" in entry.reason for entry in entries):
            parts.append(
                "say how channels pass through a layer of yours with "
                "keras_sda.graph.register_rule"
            )
        return "; ".join(parts) or "it has no layer that makes channels"

    @functools.cached_property
    def _made(self) -> dict[str, np.ndarray]:
        return {
            name: layer.made for name, layer in self.layers.items() if len(layer.made)
        }

    @functools.cached_property
    def _worked_on(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Layers, classes of what they work on one behind the other, and the starts."""
        found = [
            (layer.name, self.units.classes[units])
            for layer in self.layers.values()
            for units in [axis.units for axis in layer.axes] + layer.pieces
            if len(units)
        ]
        starts = np.cumsum([0, *(len(labels) for _, labels in found)])[:-1]
        labels = np.concatenate([np.zeros(0, int), *(labels for _, labels in found)])
        return [name for name, _ in found], labels, starts

    def emptied_by(
        self, removed: np.ndarray, without: Collection[int] = ()
    ) -> str | None:
        """Name of the first layer that would be left with nothing to work on, or None.

        Args:
            removed: Boolean array over the classes of `units`.
            without: Ids of layers that do not count. Defaults to none.
        """
        names, labels, starts = self._worked_on
        if not names:
            return None
        emptied = np.logical_and.reduceat(removed[labels], starts)
        for place in np.flatnonzero(emptied):
            if id(self.layers[names[place]].layer) not in without:
                return names[place]
        return None

    def kept(self, removed: np.ndarray | None = None) -> Kept:
        """The channels that stay when the classes marked in `removed` go.

        Args:
            removed: Boolean array over the classes of `units`. Defaults to `None`,
                nothing goes.
        """
        if removed is None:
            removed = np.zeros(len(self.units.pinned), bool)
        return Kept(self.units.classes, removed, self._made)


def _note_what_stays(call, record, outputs):
    """Remembers the channels that a layer makes and that its rule cannot follow."""
    layer = record.layer
    record.because = call.gave_up
    inside = made_inside(layer)
    if inside:
        own = num_made(layer)
        record.inside = inside + ([(record.name, own)] if own else [])
    elif num_made(layer) or _makes_channels(call, outputs):
        record.stays = np.concatenate([channels.units for channels in outputs])


def _makes_channels(call, outputs):
    """Whether a layer without kernels has weights or gives out other channels."""
    is_layer = isinstance(call.layer, keras.layers.Layer)
    if not is_layer or "no channel rule" not in call.gave_up:
        return False
    if getattr(call.layer, "weights", ()):
        return True
    return {len(x.units) for x in outputs} != {len(x.units) for x in call.inputs}


def _listed(inside, limit=6):
    named = [f"{count} in {name!r}" for name, count in inside[:limit]]
    if len(inside) > limit:
        named.append(f"and more in {len(inside) - limit} further layers")
    return ", ".join(named)


def _check_outputs(call, outputs):
    shapes = call.output_shapes
    fits = len(outputs) == len(shapes) and all(
        len(shape) < 2
        or channels.axis < len(shape)
        and shape[channels.axis] in (None, len(channels.units))
        for channels, shape in zip(outputs, shapes, strict=True)
    )
    if not fits:
        raise InvalidInputError(
            f"The channel rule for {type(call.layer).__name__} does not describe the "
            f"outputs of layer {call.name!r}: they have the shapes {shapes}, it gives "
            f"{[(c.axis, len(c.units)) for c in outputs]} as (axis, channels)."
        )

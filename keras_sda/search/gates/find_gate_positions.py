"""Where the gates of a channel search may stand, and why not elsewhere."""

import dataclasses
from collections.abc import Collection, Sequence

import keras
import numpy as np

from keras_sda.graph import (
    ChannelTrace,
    ModelGraph,
    as_functional,
    expand_known_blocks,
    unfolded,
    unwrapped,
)
from keras_sda.graph.model.convolutions import is_convolution
from keras_sda.graph.model.shortcut_convolutions import shortcut_convolutions
from keras_sda.search.surgery.prepared_model import prepared_model
from keras_sda.search.surgery.surgery_layers import AlignedAdd
from keras_sda.search.surgery.zero_flow import ZeroFlow
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class GatePosition:
    """A place for a gate, or why there is none.

    Attributes:
        layer: Name of the batch normalisation; of the convolution where none follows.
        convolution: Name of the convolution before it.
        num_channels: Its channels.
        gate: Name of the gate; empty where none is placed.
        shared_with: Other layers with the same gate.
        reason: Why there is no gate.
    """

    layer: str
    convolution: str
    num_channels: int
    gate: str = ""
    shared_with: tuple[str, ...] = ()
    reason: str = ""


def find_gate_positions(
    model: keras.Model,
    where: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
    residual: str = "exact",
) -> list[GatePosition]:
    """Lists every convolution of a model and whether its channels can get gates.

    Use it to see what `add_channel_gates` would do, and why not more. A gate stands
    behind a batch normalisation whose input is a convolution, where closing a channel
    makes everything zero that is read of it: between the gate and its readers lie only
    layers that keep zeros. Of several normalisations in a row, as around a depthwise
    convolution, the last one gets the gate.

    Args:
        model: A functional or built sequential model without gates.
        where: `"auto"`, or names of batch normalisations or convolutions: only these
            get gates. Defaults to `"auto"`.
        exclude: Names of batch normalisations or convolutions that get none.
        residual: `"exact"` gates the branches of a residual network, not its shortcut
            convolutions nor a stem that is a term of sums (name them in `where` if you
            want them); every sum keeps the channels that one of its terms keeps.
            `"joint"` has one gate for all layers that write to the same residual
            stream, so that the stream narrows as a whole; it is ours.

    Returns:
        List of `GatePosition` in the order of execution.

    Raises:
        InvalidInputError: An argument is wrong, the model has gates already, or a layer
            in `where` cannot have one.

    Example:

    >>> import keras
    >>> from keras_sda.search import find_gate_positions
    >>> model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    >>> positions = find_gate_positions(model)
    >>> [(p.layer, bool(p.gate)) for p in positions[:2]]
    [('bn_Conv1', False), ('expanded_conv_depthwise_BN', True)]
    >>> positions[0].reason
    'its channels follow a gate behind it'

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) and its code, for VGG,
    ResNet and MobileNetV2; the rest follows the channels of the graph.
    """
    if residual not in ("exact", "joint"):
        raise InvalidInputError(
            f"`residual` must be 'exact' or 'joint'. Received: residual={residual!r}."
        )
    if isinstance(exclude, str):
        raise InvalidInputError(
            f"`exclude` must be a list of layer names. Received: exclude={exclude!r}."
        )
    graph = as_functional(unfolded(expand_known_blocks(unwrapped(model))))
    _refuse_gates(graph)
    named = _named(where, exclude, graph)
    if residual == "exact":
        graph = prepared_model(graph)
    positions = _Finder(graph, named, set(exclude), residual).positions()
    for position in positions:
        names = {position.layer, position.convolution}
        if named is not None and names & named and not position.gate:
            raise InvalidInputError(
                f"`where` names {sorted(names & named)[0]!r}, which cannot have a "
                f"gate: {position.reason}."
            )
    return positions


def _refuse_gates(graph):
    from keras_sda.layers import ScaledSigmoidGate

    gates = [x.name for x in graph.layers if isinstance(x, ScaledSigmoidGate)]
    if gates:
        raise InvalidInputError(
            f"`model` '{graph.name}' has {len(gates)} gates already, such as "
            f"{gates[0]!r}. Train these, or start from the model without gates "
            "(remove_channel_gates)."
        )


def _named(where, exclude, graph):
    if isinstance(where, str) and where != "auto":
        raise InvalidInputError(
            "`where` must be 'auto' or a list of layer names. "
            f"Received: where={where!r}."
        )
    known = {layer.name for layer in graph.layers}
    named = None if isinstance(where, str) else set(where)
    for argument, names in (("where", named or ()), ("exclude", exclude)):
        unknown = sorted(set(names) - known)
        if unknown:
            raise InvalidInputError(
                f"`{argument}` names layers that `model` '{graph.name}' lacks: "
                f"{unknown[:5]}. Names are those of `model.layers`."
            )
    return named


class _Candidate:
    def __init__(self, number, step, convolution):
        self.number = number
        self.name = step.name
        self.convolution = convolution
        self.classes = step.outputs[0]
        self.reason = ""
        self.gate = ""
        self.shared_with = ()


class _Finder:
    def __init__(self, graph, named, exclude, residual):
        self.nodes = ModelGraph(graph)
        self.trace = ChannelTrace(graph)
        self.flow = ZeroFlow(self.trace)
        self.named, self.exclude, self.residual = named, exclude, residual
        self.shortcuts = (
            shortcut_convolutions(self.nodes) if residual == "exact" else {}
        )
        self.entries = []
        self.candidates = []

    def positions(self) -> list[GatePosition]:
        for number, step in enumerate(self.trace.steps):
            self._look_at(number, step)
        for cluster in self._clusters():
            self._place(cluster)
        found = [
            (
                candidate.number,
                GatePosition(
                    candidate.name,
                    candidate.convolution,
                    len(candidate.classes),
                    candidate.gate,
                    candidate.shared_with,
                    candidate.reason,
                ),
            )
            for candidate in self.candidates
        ]
        return [entry for _, entry in sorted(found + self.entries, key=lambda x: x[0])]

    def _look_at(self, number, step):
        layer = step.node.layer
        if step.record is None:
            self._note(number, step, "it is a nested model that runs in training mode")
        elif step.record.inside:
            self._note(number, step, step.record.because)
        elif is_convolution(layer):
            readers = self.nodes.readers[step.node.index]
            layers = [self.nodes.nodes[reader].layer for reader in readers]
            if not any(_is_normalization(reader) for reader in layers):
                self._note(number, step, "no BatchNormalization follows")
        elif _is_normalization(layer) and step.sources[0] is not None:
            before = self.trace.steps[step.sources[0][0]]
            if is_convolution(before.node.layer):
                candidate = _Candidate(number, step, before.name)
                candidate.reason = self._objection(step, candidate)
                self.candidates.append(candidate)

    def _note(self, number, step, reason):
        count = len(step.outputs[0])
        entry = GatePosition(step.name, step.name, count, reason=reason)
        self.entries.append((number, entry))

    def _objection(self, step, candidate):
        names = {candidate.name, candidate.convolution}
        if names & self.exclude:
            return "it is in `exclude`"
        if self.named is not None and not names & self.named:
            return "`where` does not name it"
        if self.nodes.num_calls[step.name] > 1:
            return "its BatchNormalization is used several times"
        pinned = candidate.classes[self.trace.units.pinned[candidate.classes]]
        if len(pinned):
            layer, reason = self.trace.units.reasons[int(pinned[0])]
            return reason if layer == step.name else f"{reason} ({layer!r})"
        if self.named is not None:
            return ""
        if candidate.name in self.shortcuts:
            return (
                f"it is the shortcut to {self.shortcuts[step.name]!r} "
                "(residual='joint' gates it together with its stream)"
            )
        if self.residual == "exact" and self._starts_stream(step):
            return (
                "it starts a residual stream, which keeps its width "
                "(residual='joint' gates the stream)"
            )
        return ""

    def _starts_stream(self, step):
        """Whether a stem, the first convolution, is a term of sums itself."""
        convolution = self.nodes.nodes[step.node.inputs[0][0]].index
        stem = not any(
            is_convolution(self.nodes.nodes[index].layer)
            and self.nodes.depends_on(convolution, index)
            for index in range(convolution)
        )
        return stem and any(
            np.isin(step.outputs[0], np.concatenate(other.inputs)).any()
            for other in self.trace.steps
            if type(other.node.layer) is AlignedAdd
        )

    def _clusters(self):
        """Candidates that share channels, those of one residual stream for example."""
        owner, clusters = {}, []
        for candidate in self.candidates:
            mine = {owner[c] for c in np.unique(candidate.classes) if c in owner}
            members = [candidate]
            for number in sorted(mine):
                members = clusters[number] + members
                clusters[number] = []
            clusters.append(members)
            for member in members:
                owner.update(
                    dict.fromkeys(np.unique(member.classes), len(clusters) - 1)
                )
        return [
            sorted(cluster, key=lambda x: x.number) for cluster in clusters if cluster
        ]

    def _place(self, cluster):
        free = [candidate for candidate in cluster if not candidate.reason]
        if not free:
            return
        mine = np.zeros(len(self.trace.units.pinned), bool)
        for candidate in cluster:
            mine[candidate.classes] = True
        steps = [
            number
            for number, step in enumerate(self.trace.steps)
            if any(mine[classes].any() for classes in (*step.inputs, *step.outputs))
        ]
        reader = self._reader(free, steps, mine)
        if reader is not None:
            for candidate in free:
                candidate.reason = self._explain(candidate, reader, cluster)
            return
        chosen = list(free)
        for candidate in free:
            rest = [other for other in chosen if other is not candidate]
            if rest and self._reader(rest, steps, mine) is None:
                chosen = rest
                candidate.reason = "its channels follow a gate behind it"
        if any(not np.array_equal(x.classes, chosen[0].classes) for x in chosen):
            for candidate in chosen:
                candidate.reason = (
                    "its channels share a stream with fewer or more channels, so that "
                    "no one gate fits them"
                )
            return
        names = [candidate.name for candidate in chosen]
        for candidate in chosen:
            candidate.gate = f"{names[0]}_gate"
            candidate.shared_with = tuple(n for n in names if n != candidate.name)

    def _reader(self, gated, steps, mine):
        """The first step that reads a closed channel as something else than zero."""
        closed = {c.number: np.ones(len(c.classes), bool) for c in gated}
        is_read = self.flow.read(closed, steps)
        read = np.flatnonzero(is_read & mine)
        return None if not len(read) else int(self.flow.readers[read].min())

    def _explain(self, candidate, reader, cluster):
        if reader < 0:
            return "some of its channels have to stay"
        step = self.trace.steps[reader]
        others = [c for c in cluster if c is not candidate and c.reason]
        text = (
            f"{step.name!r} ({type(step.node.layer).__name__}) reads its channels "
            "where closing them does not make them zero"
        )
        if others:
            text += f"; {others[0].name!r}, which is coupled to it, has no gate"
        return text


def _is_normalization(layer):
    return type(layer) is keras.layers.BatchNormalization

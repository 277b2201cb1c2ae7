"""Which layers of a model get groups, and why the others do not."""

import dataclasses
from collections.abc import Collection, Sequence

import keras

from keras_sda.graph import (
    ModelGraph,
    as_functional,
    graph_of,
    is_convolution,
    shortcut_convolutions,
    unwrapped,
)
from keras_sda.graph.rules.made_inside import made_inside
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense
from keras_sda.utils import InvalidInputError

_CONVOLUTION = keras.layers.Conv2D, SelfGroupedConv2D
_DENSE = keras.layers.Dense, SelfGroupedDense


@dataclasses.dataclass(frozen=True, eq=False)
class GroupableLayer:
    """One layer with a kernel.

    Attributes:
        name: Its name, with the names of nested models before it.
        layer: The layer.
        kind: `"conv"` or `"dense"`: which rate it gets.
        reason: Why it gets no groups; empty if it gets some.
        impossible: Whether it cannot have groups even when it is asked for by name.
    """

    name: str
    layer: keras.layers.Layer
    kind: str
    reason: str = ""
    impossible: bool = False


def find_groupable_layers(
    model: keras.Model,
    layers: str | Sequence[str] = "auto",
    exclude: Collection[str] = (),
) -> list[GroupableLayer]:
    """Lists the layers with kernels and decides which of them get groups.

    Use it to see what `self_group` would do. The rule of `layers="auto"`, which gives
    the layers of the paper for ResNet, DenseNet and LeNet:

    * Every `Conv2D` gets groups at the convolution rate, and so does a `Dense` that
      works on a map (more than two axes), as a 1x1 convolution would.
    * Every `Dense` on vectors gets groups at the dense rate.
    * Left alone: stems (no layer with a kernel comes before), projections on
      shortcuts (one convolution beside a longer branch of the same source into a
      sum), attention (what makes a factor for the map that it reads, as in
      squeeze-and-excitation), depthwise and grouped convolutions, layers that read
      one channel, and every other class, such as the parts of
      `SelectiveDepthAttention`.

    Args:
        model: A functional or built sequential model.
        layers: `"auto"`, or the names of all layers that shall get groups; stems,
            shortcuts and attention may be among them. Defaults to `"auto"`.
        exclude: Names of layers that get none. Defaults to none.

    Returns:
        A `GroupableLayer` for every layer with a kernel, in the order in which they
        run.

    Raises:
        InvalidInputError: The model has no readable graph, a name is unknown, or a
            named layer cannot have groups.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import find_groupable_layers
    >>> [x.reason for x in find_groupable_layers(LeNet())]
    ['it is a stem: no layer with a kernel comes before it', '', '', '']

    Source: arXiv 2009.13803, the layers that the authors' code masks.
    """
    found: dict[int, GroupableLayer] = {}
    graph = as_functional(unwrapped(model))
    _walk(graph, "", [False] * len(graph.inputs), found)
    entries = list(found.values())
    excluded = _named(entries, exclude, "exclude")
    named = None if layers == "auto" else _named(entries, layers, "layers")
    result = []
    for entry in entries:
        reason = entry.reason
        if id(entry.layer) in excluded:
            reason = "it is in `exclude`"
        elif named is not None:
            if id(entry.layer) not in named:
                reason = reason or "`layers` does not name it"
            elif entry.impossible:
                raise InvalidInputError(
                    f"`layers` names {entry.name!r} ({type(entry.layer).__name__}), "
                    f"which cannot have groups: {entry.reason}. Leave it out."
                )
            else:
                reason = ""
        result.append(dataclasses.replace(entry, reason=reason))
    return result


def _walk(model, prefix, behind, found):
    """Adds the layers of a model; returns whether its output is made by kernels."""
    graph = ModelGraph(model)
    shortcuts = shortcut_convolutions(graph)
    factors = _factors(graph)
    inputs = {id(tensor): flag for tensor, flag in zip(
        graph.model.inputs, behind, strict=True)}  # fmt: skip
    made = []
    for node in graph.nodes:
        layer = node.layer
        if node.is_input:
            made.append(inputs.get(id(node.output_tensors[0]), False))
            continue
        incoming = [made[source] for source, _ in node.inputs]
        if graph_of(layer) is not None:
            flag = _walk(layer, f"{prefix}{layer.name}/", incoming, found)
            made.append(flag or any(incoming))
            continue
        has_kernel = _has_kernel(layer)
        made.append(has_kernel or any(incoming))
        if not has_kernel:
            continue
        kind, reason, impossible = _look_at(layer, node.input_tensors)
        if not reason:
            if kind == "conv" and not any(incoming):
                reason = "it is a stem: no layer with a kernel comes before it"
            elif node.name in shortcuts:
                reason = f"it is the projection of the shortcut to "\
                         f"{shortcuts[node.name]!r}"  # fmt: skip
            elif node.index in factors:
                reason = f"it is attention: it makes a factor for {factors[node.index]}"
            elif layer.kernel.shape[-2] == 1:
                reason, impossible = "it reads one channel", True
        entry = GroupableLayer(prefix + node.name, layer, kind, reason, impossible)
        known = found.get(id(layer))
        if known is None or (reason and not known.reason):
            name = known.name if known else entry.name
            found[id(layer)] = dataclasses.replace(entry, name=name)
    return any(made[index] for index, _ in graph.outputs)


def _look_at(layer, tensors):
    """Rate, reason against groups, and whether it is final."""
    kind = "conv"
    if type(layer) in _DENSE and len(tensors[0].shape) == 2:
        kind = "dense"
    reason = ""
    if type(layer) not in _CONVOLUTION + _DENSE:
        groups = getattr(layer, "groups", 1)
        if isinstance(layer, (keras.layers.DepthwiseConv1D,
                              keras.layers.DepthwiseConv2D)):  # fmt: skip
            reason = "it is depthwise: every filter reads one channel"
        elif isinstance(groups, int) and groups > 1:
            reason = f"it is grouped already (groups={groups})"
        else:
            reason = "only Conv2D and Dense get groups, and no subclasses of them"
            inside = made_inside(layer)
            if inside:
                names = ", ".join(name for name, _ in inside[:4])
                reason = (
                    f"its convolutions are inside of a {type(layer).__name__}, which "
                    f"is not opened ({names})"
                )
    elif getattr(layer, "groups", 1) > 1:
        channels = layer.kernel.shape[-2]
        reason = (
            "it is depthwise: every filter reads one channel"
            if channels == 1
            else f"it is grouped already (groups={layer.groups})"
        )
    elif getattr(layer, "lora_enabled", False) or getattr(
        layer, "quantization_mode", None
    ):
        reason = "its kernel is quantized or has LoRA"
    return kind, reason, bool(reason)


def _has_kernel(layer):
    if is_convolution(layer):
        return True
    if isinstance(layer, keras.layers.PReLU):
        return False
    return any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))


def _factors(graph):
    """Nodes that make one factor of a product from another factor of it."""
    found = {}
    for node in graph.nodes:
        sources = {source for source, _ in node.inputs}
        if type(node.layer).__name__ != "Multiply" or len(sources) < 2:
            continue
        for factor in sources:
            for other in sources - {factor}:
                if graph.depends_on(factor, other):
                    for index in range(other + 1, factor + 1):
                        if graph.depends_on(factor, index) and graph.depends_on(
                            index, other
                        ):
                            found[index] = repr(graph.nodes[other].name)
    return found


def _named(entries, names, argument):
    """The layers of these names, which may leave out the names of nested models."""
    if isinstance(names, str):
        raise InvalidInputError(
            f"`{argument}` must be a list of layer names"
            + (", or 'auto'" if argument == "layers" else "")
            + f". Received: {argument}={names!r}. Put the name into a list."
        )
    result = set()
    for name in names:
        found = [entry for entry in entries if entry.name == name]
        found = found or [e for e in entries if e.name.rsplit("/", 1)[-1] == name]
        if len(found) != 1:
            problem = (
                f"names {name!r}, which occurs {len(found)} times"
                if found
                else f"names {name!r}, which is no layer with a kernel"
            )
            raise InvalidInputError(
                f"`{argument}` {problem}. The layers are: "
                + ", ".join(entry.name for entry in entries[:40])
                + (", ..." if len(entries) > 40 else "")
                + "."
            )
        result.add(id(found[0].layer))
    if argument == "layers" and not result:
        raise InvalidInputError("`layers` is empty. Name a layer, or pass 'auto'.")
    return result

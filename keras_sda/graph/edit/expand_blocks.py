"""Take composite layers apart: put the layers that they are made of into the graph."""

import re
from collections.abc import Iterable

import keras
from absl import logging

from keras_sda.graph.edit.clone_edited import clone_edited, from_config, new_inputs
from keras_sda.graph.edit.trace_block import symbolic, trace_block
from keras_sda.graph.model.as_functional import as_functional, graph_of
from keras_sda.graph.model.call_marks import CallMarks, uncalled_copy
from keras_sda.graph.model.keras_internals import all_layers, automatic_name
from keras_sda.graph.model.layer_calls import nested_inputs
from keras_sda.graph.model.model_graph import ModelGraph
from keras_sda.graph.model.model_scope import model_scope
from keras_sda.graph.model.unwrapped import unwrapped
from keras_sda.graph.rules.channel_rules import find_rule
from keras_sda.utils import InvalidInputError

# Their composite layers are known to be nothing but the layers inside.
_LIBRARIES = ("keras_hub.",)


def expand_blocks(
    model: keras.Model, packages: Iterable[str] | None = None
) -> keras.Model:
    """Returns the model with the layers inside composite layers in its own graph.

    Use it where convolutions stand in layers of a class of somebody's own, such as the
    blocks of a KerasHub backbone: what knows only Keras layers (pruning, gates, depth
    attention, export) then reaches them. `pruning`, `search` and `depth` do it by
    themselves for KerasHub.

    A composite layer is run on symbolic tensors. It comes apart where its `call` uses
    only layers and `keras.ops`, has no weights beside those of its layers, gives the
    same numbers, and where `training` changes nothing but what the layers inside do;
    otherwise it stays, and the log says why. Layers inside are called as they are
    there, with the name of the block in front where it is missing.

    Args:
        model: A functional or built sequential model. It is not changed. Nested models
            are entered.
        packages: Beginnings of the names of modules whose layers are taken apart.
            Defaults to `None`: all but those of Keras and those with a channel rule.

    Returns:
        A functional model with its own weights, not compiled; a copy of `model` where
        it has no such layer.

    Raises:
        InvalidInputError: The model has no readable graph, or a layer does not come
            back from its config.

    Example:

    >>> import keras
    >>> from keras_sda.graph import expand_blocks
    >>> class Block(keras.layers.Layer):
    ...     def __init__(self, **arguments):
    ...         super().__init__(**arguments)
    ...         self.conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    ...         self.norm = keras.layers.BatchNormalization(name="norm")
    ...     def call(self, x):
    ...         return keras.ops.relu(self.norm(self.conv(x)))
    >>> x = keras.Input((8, 8, 3))
    >>> model = keras.Model(x, Block(name="block")(x))
    >>> [layer.name for layer in expand_blocks(model).layers[1:]]
    ['block_conv', 'block_norm']
    """
    model = unwrapped(model)
    packages = None if packages is None else tuple(packages)
    return _own(model, _expanded(model, packages))


def unfold_models(model: keras.Model) -> keras.Model:
    """Returns the model with the layers of nested models in its own graph.

    Use it where only the layers of one graph can be looked at, as those who place
    channel gates do. Layers keep their names; where that is taken, the name of the
    nested model stands in front. A nested model that is called with `training=True`
    stays.

    Args:
        model: A functional or built sequential model. It is not changed.

    Returns:
        A functional model with its own weights, not compiled; a copy of `model` where
        it has no nested models.

    Raises:
        InvalidInputError: The model has no readable graph, or a layer does not come
            back from its config.

    Example:

    >>> import keras
    >>> from keras_sda.graph import unfold_models
    >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")])
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2, name="b")(inner(x)))
    >>> [layer.name for layer in unfold_models(model).layers[1:]]
    ['a', 'b']
    """
    model = unwrapped(model)
    return _own(model, unfolded(model))


def unfolded(model: keras.Model) -> keras.Model:
    """`unfold_models` for those who only read the result, or copy it themselves.

    Args:
        model: A functional or built sequential model.

    Returns:
        See `unfold_models`; `model` itself where it has no nested models.
    """
    graph = as_functional(model)
    if not any(graph_of(layer) for layer in getattr(graph, "layers", ())):
        return model
    expander = _Expander((), unfolds=True)
    result = expander.model(graph)
    return result if expander.has_expanded else model


def expand_known_blocks(model: keras.Model) -> keras.Model:
    """`expand_blocks` for the libraries whose composite layers are known (KerasHub).

    Use it where the result is only read, or copied after that.

    Args:
        model: Any model; what has no readable graph comes back as it is.

    Returns:
        See `expand_blocks`; `model` itself where it has no such layer.

    Raises:
        InvalidInputError: The model wraps another, see `unwrapped`.
    """
    model = unwrapped(model)  # While it can be told from the classes of the library.
    try:
        return _expanded(model, _LIBRARIES)
    except InvalidInputError:
        return model  # Whoever reads its graph says why that cannot be.


def _expanded(model, packages):
    graph = as_functional(model)
    if not isinstance(graph, keras.Model):
        return model  # a keras.Function
    if not _holds_blocks(graph, packages):
        return model
    expander = _Expander(packages)
    result = expander.model(graph)
    return result if expander.has_expanded else model


def _own(model, result):
    """The result, or a copy where it is the model."""
    return clone_edited(model) if result is model else result


def is_block(layer: keras.layers.Layer) -> bool:
    """Whether a layer that no rule knows is made of other layers.

    Args:
        layer: Any layer or operation.
    """
    if not isinstance(layer, keras.layers.Layer):
        return False
    if type(layer).__module__.startswith("keras."):
        return False
    if find_rule(layer) is not None or graph_of(layer) is not None:
        return False
    return bool(all_layers(layer, itself=False))


def _is_meant(layer, packages):
    module = f"{type(layer).__module__}."
    return is_block(layer) and (packages is None or module.startswith(packages))


def _holds_blocks(graph, packages):
    return any(
        _is_meant(layer, packages)
        or (inner := graph_of(layer)) is not None
        and _holds_blocks(inner, packages)
        for layer in graph.layers
    )


class _Expander:
    """Runs the graph of a model once more, with blocks replaced by what they call."""

    def __init__(self, packages, unfolds=False):
        self._packages = packages
        self._unfolds = unfolds
        self._unfolded = set()  # names of nested models whose layers keep their names
        self._expanded = []
        self._refused = set()
        self._copied = []
        self._called = set()
        self._names = {}  # of layers inside blocks, by id
        self._taken = set()
        self._held = []  # keeps ids unique
        self._renamed = []  # layers inside blocks, which get their names back
        self._effective = {}  # whether a layer inside a frozen block trains

    @property
    def has_expanded(self):
        return bool(self._expanded)

    def model(self, model):
        """The expanded copy of a functional model, under its strategy."""
        marks = CallMarks(model)
        try:
            with model_scope(model):
                graph = self._graph(model)
                return clone_edited(graph, self._edit, nested=self._nested)
        finally:
            marks.forget([*self._copied, *self._expanded])
            for layer, name in self._renamed:
                layer.name = name

    def _nested(self, model):
        return {"graph": self._graph(as_functional(model))}

    def _edit(self, layer, config):
        self._copied.append(layer)
        trains = layer.trainable and self._effective.get(id(layer), True)
        return {**config, "trainable": trains}

    def _graph(self, model):
        """A graph of what the blocks of a model call, over its own layers."""
        graph = ModelGraph(model)
        self._taken = {node.name for node in graph.nodes}
        inputs = new_inputs(model)
        outputs = self._run(graph, keras.tree.flatten(inputs), None)
        outputs = keras.tree.pack_sequence_as(model.output, outputs)
        return keras.Model(inputs, outputs, name=model.name)

    def _run(self, graph, inputs, block):
        """Calls the layers of a graph on these tensors; returns its flat outputs."""
        where = {id(t): x for t, x in zip(graph.model.inputs, inputs, strict=True)}

        def fill(value):
            is_tensor = isinstance(value, keras.KerasTensor)
            return where[id(value)] if is_tensor else value

        for node in graph.nodes:
            if node.is_input:
                continue
            args, kwargs = keras.tree.map_structure(fill, (node.args, node.kwargs))
            outputs = self._call(node.layer, args, kwargs, block)
            for old, new in zip(node.output_tensors, outputs, strict=True):
                where[id(old)] = new
        return [where[id(tensor)] for tensor in graph.model.outputs]

    def _call(self, layer, args, kwargs, block):
        tensors = symbolic((args, kwargs))
        is_model = self._unfolds and isinstance(layer, keras.Model)
        inner = graph_of(layer) if is_model else None
        if inner is not None and not kwargs.get("training"):
            self._expanded.append(layer)
            self._unfolded.add(layer.name)
            self._freeze(layer)
            inputs = nested_inputs(inner, args, kwargs, layer.name)
            return self._run(ModelGraph(inner), inputs, layer.name)
        if _is_meant(layer, self._packages):
            trace = self._trace(layer, args, kwargs)
            if trace is not None:
                self._expanded.append(layer)
                name = layer.name if block is None else self._name(layer, block)
                self._freeze(layer)
                return self._run(ModelGraph(trace), tensors, name)
        if block is not None:
            if type(layer) is keras.layers.Identity:
                self._copied.append(layer)
                return tensors
            layer = self._on_its_own(layer, block)
            name = self._name(layer, block)
            if name != layer.name:
                if isinstance(layer, keras.layers.Layer):
                    # Names must be unique, in the graph of the old ones too.
                    self._renamed.append((layer, layer.name))
                else:
                    layer = uncalled_copy(layer)
                layer.name = name
        return keras.tree.flatten(layer(*args, **kwargs))

    def _on_its_own(self, layer, block):
        """What a shared model calls twice need not be shared if it has no weights."""
        if block not in self._unfolded or getattr(layer, "weights", ()):
            return layer
        if id(layer) not in self._called:
            self._called.add(id(layer))
            return layer
        if not isinstance(layer, keras.layers.Layer):
            return uncalled_copy(layer)
        if isinstance(layer, (keras.Model, keras.layers.Lambda)):
            return layer  # code that a config does not hold
        return from_config(layer, layer.get_config())

    def _freeze(self, layer):
        """A frozen block freezes what is inside, whatever that says of itself."""
        if layer.trainable and self._effective.get(id(layer), True):
            return
        for inner in all_layers(layer, itself=False):
            self._effective[id(inner)] = False

    def _name(self, layer, block):
        if id(layer) not in self._names:
            kind, own = automatic_name(layer), layer.name
            prefix = block.rstrip("_")
            if block in self._unfolded and own not in self._taken:
                pass
            elif re.fullmatch(rf"{kind}(_\d+)?", own):  # Keras counts these anew.
                own = f"{prefix}_{kind}"
            elif not own.startswith(f"{prefix}_"):
                own = f"{prefix}_{own}"
            name, number = own, 1
            while name in self._taken:
                number += 1
                name = f"{own}_{number}"
            self._taken.add(name)
            self._names[id(layer)] = name
            self._held.append(layer)
        return self._names[id(layer)]

    def _trace(self, layer, args, kwargs):
        # Every call is traced by itself, for the layers that a block makes in it.
        trace, reason = trace_block(layer, args, kwargs)
        if trace is None:
            if id(layer) not in self._refused:
                logging.info(
                    "%r (%s) is not taken apart: %s",
                    layer.name,
                    type(layer).__name__,
                    reason,
                )
            self._refused.add(id(layer))
        else:
            self._held.append(trace)
        return trace

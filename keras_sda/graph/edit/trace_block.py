"""Find out what a composite layer calls, and whether that is all it does."""

import contextlib
import inspect
import math
from typing import Any

import keras
import numpy as np

from keras_sda.graph.model.keras_internals import all_layers
from keras_sda.graph.model.model_graph import ModelGraph

_OPEN_SIZE = 16  # for axes of unknown size, where numbers are compared


def trace_block(
    layer: keras.layers.Layer, args: tuple, kwargs: dict[str, Any]
) -> tuple[keras.Model | None, str]:
    """Runs the `call` of a layer on symbolic tensors.

    Use it through `expand_blocks`.

    Args:
        layer: A built layer that holds others.
        args: Arguments of the call by position, symbolic tensors among them.
        kwargs: Those by name, likewise.

    Returns:
        A functional model over the layers inside, whose inputs are the tensors of the
        arguments in order, and an empty string; or None and the reason why it would
        not be the same as the layer.

    Example:

    >>> import keras
    >>> from keras_sda.graph.edit.trace_block import trace_block
    >>> class Twice(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(4, name="dense")
    ...     def call(self, x):
    ...         return self.dense(self.dense(x))
    >>> layer, x = Twice(), keras.Input((4,))
    >>> y = layer(x)
    >>> [inner.name for inner in trace_block(layer, (x,), {})[0].layers[1:]]
    ['dense']
    """
    if kwargs.get("training") is not None:
        return None, "it is called with `training` of its own"
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    kwargs.pop("training", None)
    tensors = symbolic((args, kwargs))
    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in tensors]
    where = {id(old): new for old, new in zip(tensors, inputs, strict=True)}
    args, kwargs = _replaced((args, kwargs), where)
    takes_training = "training" in inspect.signature(layer.call).parameters
    traces = []
    for training in (None, True) if takes_training else (None,):
        more = {"training": training} if takes_training else {}
        try:
            with _unique_names(layer):
                outputs = layer.call(*args, **kwargs, **more)
                traces.append(_with_known_shapes(keras.Model(inputs, outputs)))
        except Exception as error:  # The code of the layer may raise anything.
            text = str(error).splitlines()[0][:200] if str(error) else ""
            return None, f"its call does not run on symbolic tensors ({text})"
    reason = _difference(layer, traces, inputs, args, kwargs)
    return (None, reason) if reason else (traces[0], "")


def symbolic(value: Any) -> list[keras.KerasTensor]:
    """The symbolic tensors in a structure, in order.

    Args:
        value: Anything, such as the arguments of a call.
    """
    return [x for x in keras.tree.flatten(value) if isinstance(x, keras.KerasTensor)]


def _replaced(value, where):
    return keras.tree.map_structure(
        lambda x: where[id(x)] if isinstance(x, keras.KerasTensor) else x, value
    )


def _difference(layer, traces, inputs, args, kwargs):
    """Why the layer is not the graph that it calls, or nothing."""
    known = {id(variable) for variable in traces[0].weights}
    if {id(variable) for variable in layer.weights} - known:
        return "it has weights beside those of the layers that it calls"
    if any(_holds_variables(node) for node in ModelGraph(traces[0]).nodes):
        return "it uses a variable by itself"
    if len({str(_structure(layer, trace)) for trace in traces}) > 1:
        return "it computes something else in training"
    try:
        values = {id(x): _random(x) for x in inputs}
        arrays = [values[id(x)] for x in inputs]
        call_args, call_kwargs = _replaced((args, kwargs), values)
        expected = keras.tree.flatten(layer(*call_args, **call_kwargs, training=False))
        received = keras.tree.flatten(traces[0](arrays, training=False))
        pairs = list(zip(expected, received, strict=True))
        same = all(_is_close(one, other) for one, other in pairs)
    except Exception as error:  # The code of the layer may raise anything.
        return f"it could not be compared ({str(error).splitlines()[:1]})"
    return "" if same else "what it calls computes other numbers"


@contextlib.contextmanager
def _unique_names(layer):
    """Two layers of one name may stand in a block, but not in a graph."""
    inside = all_layers(layer, itself=False)
    names = [(inner, inner.name) for inner in inside]
    try:
        for number, (inner, name) in enumerate(names):
            inner.name = f"{name}__{number}"
        yield
    finally:
        for inner, name in names:
            inner.name = name


def _with_known_shapes(trace):
    """Reshapes that take the number of samples from a symbolic tensor get `-1`."""
    nodes = ModelGraph(trace).nodes
    if not any(None in _new_shape(node) for node in nodes):
        return trace
    where = {id(tensor): tensor for tensor in trace.inputs}
    for node in nodes:
        if node.is_input:
            continue
        args, kwargs = _replaced((node.args, node.kwargs), where)
        if None in _new_shape(node):
            _fill_in(node.layer, symbolic((args, kwargs))[0].shape)
        outputs = keras.tree.flatten(node.layer(*args, **kwargs))
        for old, new in zip(node.output_tensors, outputs, strict=True):
            where[id(old)] = new
    return keras.Model(trace.inputs, _replaced(trace.output, where))


def _new_shape(node):
    shape = getattr(node.layer, "newshape", ())
    return shape if isinstance(shape, (tuple, list)) else ()


def _fill_in(operation, old):
    """Changes an operation that the trace has made."""
    first, *rest = operation.newshape
    if first is not None or old[0] is not None or None in (*rest, *old[1:]):
        return
    if -1 in rest:
        known = math.prod(size for size in rest if size != -1)
        rest[rest.index(-1)] = math.prod(old[1:]) // known
    operation.newshape = (-1, *rest)


def _holds_variables(node):
    values = keras.tree.flatten((node.args, node.kwargs))
    return any(isinstance(value, keras.Variable) for value in values)


def _structure(layer, trace):
    """The calls of a graph, without the argument `training`."""
    inside = {id(inner) for inner in all_layers(layer)}
    calls = []
    for node in ModelGraph(trace).nodes:
        own = node.layer
        kwargs = {name: x for name, x in node.kwargs.items() if name != "training"}
        constants = [
            repr(x)
            for x in keras.tree.flatten((node.args, kwargs))
            if not isinstance(x, keras.KerasTensor)
        ]
        calls.append(
            (
                id(own) if id(own) in inside else type(own).__name__,
                "" if node.is_input or id(own) in inside else _settings(own),
                node.inputs,
                constants,
            )
        )
    return calls


def _settings(operation):
    """What an operation is told beside its tensors."""
    return sorted(
        f"{key}={value!r}"
        for key, value in vars(operation).items()
        if not key.startswith("_") and key != "name" and np.ndim(value) < 1
    )


def _random(tensor):
    shape = [size or _OPEN_SIZE for size in tensor.shape]
    if tensor.shape[0] is None:
        shape[0] = 2
    values = np.random.default_rng(0).normal(size=shape)
    if "float" not in str(tensor.dtype):
        values = np.ones(shape)
    return keras.ops.convert_to_tensor(values, dtype=tensor.dtype)


def _is_close(one, other):
    one, other = (
        keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (one, other)
    )
    if one.shape != other.shape:
        return False
    scale = max(np.abs(one).max(initial=0), 1.0)
    return bool(np.abs(one - other).max(initial=0) <= 1e-5 * scale)

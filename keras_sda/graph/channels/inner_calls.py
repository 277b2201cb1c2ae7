"""Look inside a layer: the calls of which its `call` consists."""

import inspect
from typing import Any

import keras

from keras_sda.graph.model.call_marks import untouched
from keras_sda.graph.model.keras_internals import all_layers
from keras_sda.graph.model.layer_call import LayerCall
from keras_sda.graph.model.layer_calls import read_calls

# Operations of TensorFlow that are products or call functions that may be.
_PRODUCTS = (
    "MatMul Einsum Conv Cholesky Inverse Solve Svd Qr Lu Eig Fft FFT While If Case Call"
).split()


def inner_calls(call: LayerCall) -> list[LayerCall] | None:
    """Lists the calls inside of one call of a layer, with every shape known.

    Use it for layers of users that consist of others. `call` of the layer runs once
    with symbolic tensors; no tensor is computed, and the layer is left as it was. On
    TensorFlow a `call` that uses functions of TensorFlow itself is read as well, as
    long as these hold no product.

    Args:
        call: One item of `layer_calls`.

    Returns:
        List of `LayerCall` of layers and `keras.ops`, named after the outer call; None
        if nobody can tell what the layer does.

    Example:

    >>> import keras
    >>> from keras_sda.graph import layer_calls
    >>> from keras_sda.graph.channels.inner_calls import inner_calls
    >>> class Block(keras.layers.Layer):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.conv = keras.layers.Conv2D(4, 3, name="conv")
    ...     def build(self, shape):
    ...         self.conv.build(shape)
    ...     def call(self, x):
    ...         return keras.ops.relu(self.conv(x))
    >>> x = keras.Input((8, 8, 3))
    >>> outer = layer_calls(keras.Model(x, Block(name="block")(x)))[0]
    >>> [x.output_shapes[0] for x in inner_calls(outer)]
    [(6, 6, 4), (6, 6, 4)]
    """
    with untouched(call.layer):
        found = _by_keras(call)
        return _by_tensorflow(call) if found is None else found


class _Function(keras.Operation):
    """A function that Keras runs on symbolic tensors alone."""

    def __init__(self, function):
        super().__init__()
        self.call = function


def _arguments(call, new):
    """Positional and named arguments of the call, tensors replaced by `new(tensor)`."""

    def replace(value):
        return new(value) if isinstance(value, keras.KerasTensor) else value

    signature = inspect.signature(call.layer.call)
    named = keras.tree.map_structure(replace, dict(call.arguments))
    if set(named) <= set(signature.parameters):
        if "training" in signature.parameters:
            named["training"] = False
        bound = signature.bind_partial()
        bound.arguments.update(named)
        return bound.args, bound.kwargs
    return named.get("args", ()), {}


def _by_keras(call):
    """The nodes that the call makes of symbolic tensors of Keras."""
    inputs = []

    def new(tensor):
        inputs.append(keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype))
        return inputs[-1]

    try:
        args, kwargs = _arguments(call, new)
        outputs = keras.tree.flatten(call.layer.call(*args, **kwargs))
        outputs = [x for x in outputs if isinstance(x, keras.KerasTensor)]
        if not outputs:
            return None
        return read_calls(keras.Function(inputs, outputs), inputs, f"{call.name}/")
    except Exception:  # Layers of users raise many kinds of errors.
        return None


def _by_tensorflow(call):
    """The calls of layers inside, where the rest is TensorFlow without products."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    found, spans, depth = [], [], []

    def size():
        return len(tf.compat.v1.get_default_graph().get_operations())

    def watched(layer, original):
        def run(*args, **kwargs):
            depth.append(layer)
            start = size()
            try:
                outputs = original(*args, **kwargs)
            finally:
                depth.pop()
            if not depth:
                spans.append(range(start, size()))
                found.append((layer, *_specs((args, kwargs))))
            return outputs

        return run

    def trace(*args, **kwargs):
        outputs = call.layer.call(*args, **kwargs)
        names = [x.type for x in tf.compat.v1.get_default_graph().get_operations()]
        for span in spans:
            for place in span:
                names[place] = ""
        if any(product in name for name in names for product in _PRODUCTS):
            raise ValueError("a product that nobody counts")
        return outputs

    parts = all_layers(call.layer, itself=False)
    parts = [part for part in parts if "call" not in vars(part)]
    try:
        args, kwargs = _arguments(call, lambda x: keras.KerasTensor(x.shape, x.dtype))
        for part in parts:
            # Not by setattr, which would track it.
            object.__setattr__(part, "call", watched(part, part.call))
        _Function(trace).compute_output_spec(*args, **kwargs)
    except Exception:  # Layers of users raise many kinds of errors.
        return None
    finally:
        for part in parts:
            vars(part).pop("call", None)
    calls = []
    for layer, args, kwargs in found:
        try:
            calls += read_calls(layer, (args, kwargs), f"{call.name}/")
        except Exception:
            return None
    return calls


def _specs(values: Any) -> Any:
    """Tensors as symbolic ones of the same shape."""

    def spec(value):
        if keras.ops.is_tensor(value):
            return keras.KerasTensor(
                value.shape, keras.backend.standardize_dtype(value.dtype)
            )
        return value

    return keras.tree.map_structure(spec, values)

"""Read the calls of a functional model, with shapes, without running it."""

import collections
import inspect
import types
from collections.abc import Callable
from typing import Any

import keras

from keras_sda.graph.model.as_functional import as_functional, graph_of
from keras_sda.graph.model.input_specs import input_specs
from keras_sda.graph.model.keras_internals import input_structure, nodes_in_order
from keras_sda.graph.model.layer_call import LayerCall
from keras_sda.utils import InvalidInputError


def layer_calls(
    model: keras.Model | keras.Function, input_shape: Any = None
) -> list[LayerCall]:
    """Lists the layer calls of a functional model in the order they run.

    Use it to count, inspect or transform a model from its graph alone. Shapes are
    propagated for one sample through `compute_output_spec` of each layer: no tensor
    is computed and no weight is copied. Nested functional and sequential models are
    entered, and so are the wrappers `TimeDistributed`, `Bidirectional` and
    `SpectralNormalization`; a shared layer is listed once per call. `keras.ops`
    functions are listed too. Input layers are not. Any other composite layer is one
    call.

    Args:
        model: A functional or built sequential Keras model.
        input_shape: Shape of one sample, with or without the batch axis; a list or a
            dict by input name for several inputs. Needed when the model has unknown
            axes; it may also ask for another image size. Defaults to `None`, the
            shapes that the model was built with.

    Returns:
        List of `LayerCall`. A wrapper with weights of its own follows what it wraps.

    Raises:
        InvalidInputError: The model has no readable graph, `input_shape` is missing
            or does not fit, or a layer cannot take the shape that reaches it.

    Example:

    >>> import keras
    >>> from keras_sda.graph import layer_calls
    >>> block = keras.Sequential(
    ...     [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 1, name="conv")],
    ...     name="block",
    ... )
    >>> x = keras.Input((None, None, 3))
    >>> model = keras.Model(x, block(x))
    >>> [(call.name, call.output_shapes) for call in layer_calls(model, (8, 8, 3))]
    [('block/conv', ((8, 8, 4),))]
    """
    reader = _Reader()
    reader.read_graph(
        as_functional(model),
        keras.tree.flatten(input_specs(model, input_shape)),
        prefix="",
    )
    return reader.calls


def read_calls(layer: Any, inputs: Any, prefix: str) -> list[LayerCall]:
    """Lists the calls inside a graph, or of one layer, as `layer_calls` does.

    Args:
        layer: A `keras.Function`, or a layer.
        inputs: For a function its flat symbolic inputs; for a layer its positional
            and its named arguments.
        prefix: What names begin with.
    """
    reader = _Reader()
    if isinstance(layer, keras.Function) and isinstance(inputs, list):
        reader.read_graph(layer, inputs, prefix)
    else:
        args, kwargs = inputs
        reader.read_call(layer, args, kwargs, prefix)
    return reader.calls


class _Reader:
    """Walks a graph with symbolic tensors and keeps a record of every call."""

    def __init__(self):
        self.calls: list[LayerCall] = []
        self._num_calls = collections.Counter()

    def read_graph(self, graph: keras.Function, inputs: list, prefix: str) -> list:
        """Reads every node of `graph` and returns its output tensors."""
        tensors = {
            id(reference): tensor
            for reference, tensor in zip(graph.inputs, inputs, strict=True)
        }
        for node in nodes_in_order(graph):
            if node.is_input or any(
                id(tensor) not in tensors for tensor in node.input_tensors
            ):
                continue  # Keras skips these nodes as well.
            args, kwargs = node.arguments.fill_in(tensors)
            outputs = self.read_call(node.operation, args, kwargs, prefix)
            for reference, tensor in zip(node.outputs, outputs, strict=True):
                # The recorded type is the one after autocasting.
                tensors[id(reference)] = keras.KerasTensor(
                    tensor.shape, dtype=reference.dtype, sparse=reference.sparse
                )
        return [tensors[id(reference)] for reference in graph.outputs]

    def read_call(
        self, layer: keras.Operation, args: tuple, kwargs: dict, prefix: str
    ) -> list:
        """Records one call, or the calls inside it, and returns flat outputs."""
        name = prefix + layer.name
        graph = graph_of(layer)
        if graph is not None:
            inputs = nested_inputs(graph, args, kwargs, name)
            return self.read_graph(graph, inputs, f"{name}/")
        outputs = _output_specs(layer, args, kwargs, name)
        wrapped = _WRAPPED_CALLS.get(type(layer))
        if wrapped:
            wrapped_weights = set()
            for inner, inner_spec in wrapped(layer, *args, **kwargs):
                self.read_call(inner, (inner_spec,), {}, f"{name}/")
                wrapped_weights.update(id(weight) for weight in inner.weights)
            if all(id(weight) in wrapped_weights for weight in layer.weights):
                return outputs
        self._record(layer, name, args, kwargs, outputs)
        return outputs

    def _record(self, layer, name, args, kwargs, outputs):
        inputs = [
            value
            for value in keras.tree.flatten((args, kwargs))
            if isinstance(value, keras.KerasTensor)
        ]
        self.calls.append(
            LayerCall(
                layer=layer,
                name=name,
                batch_input_shapes=tuple(tuple(x.shape) for x in inputs),
                batch_output_shapes=tuple(tuple(x.shape) for x in outputs),
                call_index=self._num_calls[id(layer)],
                arguments=types.MappingProxyType(_bind(layer, args, kwargs)),
            )
        )
        self._num_calls[id(layer)] += 1


def _output_specs(layer, args, kwargs, name) -> list:
    """Shapes that `layer` returns; an error that names it when it cannot."""
    shapes = [
        tuple(value.shape)
        for value in keras.tree.flatten((args, kwargs))
        if isinstance(value, keras.KerasTensor)
    ]
    try:
        if isinstance(layer, keras.Layer) and args:
            # Only `__call__` checks this; a Dense layer would take any width here.
            layer._assert_input_compatibility(args[0])
        outputs = keras.tree.flatten(layer.compute_output_spec(*args, **kwargs))
        unknown = any(None in output.shape for output in outputs)
        if unknown or isinstance(layer, keras.layers.EinsumDense):
            # Keras 3.15 forgets axes of an EinsumDense, and swaps those of its
            # ellipsis. A symbolic trace of the call is right, and slower.
            trace = keras.Operation.compute_output_spec
            outputs = keras.tree.flatten(trace(layer, *args, **kwargs))
    except Exception as error:  # Layers and backends raise many kinds of errors.
        raise InvalidInputError(
            f"Layer '{name}' of type {type(layer).__name__} cannot take the input "
            f"shape(s) {shapes}. Pass an `input_shape` that the model supports, or "
            f"`None` for the one it was built with. The layer says: {error}"
        ) from error
    for output in outputs:
        if any(size is None or size < 1 for size in output.shape):
            raise InvalidInputError(
                f"Layer '{name}' of type {type(layer).__name__} gives the output "
                f"shape {tuple(output.shape)} for the input shape(s) {shapes}. Every "
                "axis must be known and at least 1: pass a larger or complete "
                "`input_shape`, or give the layer a `compute_output_shape` method."
            )
    return outputs


def nested_inputs(
    graph: keras.Function, args: tuple, kwargs: dict[str, Any], name: str
) -> list:
    """Flat input tensors of a nested model, in the order of its own inputs.

    Args:
        graph: The graph of the nested model.
        args: Arguments of its call by position.
        kwargs: Those by name.
        name: How errors call it.

    Raises:
        InvalidInputError: They are not of the ranks that the model was built for.
    """
    given = args[0] if args else next(iter(kwargs.values()))
    structure = input_structure(graph)
    if isinstance(given, dict) and isinstance(structure, dict):
        # Keras lets a caller pass more entries than the model takes.
        given = {key: given[key] for key in structure if key in given}
    inputs = keras.tree.flatten(given)
    ranks = [len(tensor.shape) for tensor in inputs]
    expected = [len(tensor.shape) for tensor in graph.inputs]
    if ranks != expected:
        raise InvalidInputError(
            f"Nested model '{name}' is called with tensors of rank {ranks} but was "
            f"built for rank {expected}. Reshape them before the call."
        )
    return inputs


def _bind(layer, args, kwargs) -> dict[str, Any]:
    """Call arguments by the names that the `call` method gives them."""
    try:
        return dict(inspect.signature(layer.call).bind(*args, **kwargs).arguments)
    except TypeError:  # Keras takes `training` and `mask` for a `call` without them.
        return {"args": args, **kwargs}


def _time_distributed_calls(layer, inputs, **kwargs):
    # The time steps join the batch, which is how often the layer inside runs.
    shape = (inputs.shape[0] * inputs.shape[1], *inputs.shape[2:])
    yield layer.layer, keras.KerasTensor(shape, dtype=inputs.dtype)


def _bidirectional_calls(layer, sequences, *args, **kwargs):
    yield layer.forward_layer, sequences
    yield layer.backward_layer, sequences


def _spectral_normalization_calls(layer, inputs, **kwargs):
    yield layer.layer, inputs


_WRAPPED_CALLS: dict[type, Callable] = {
    keras.layers.TimeDistributed: _time_distributed_calls,
    keras.layers.Bidirectional: _bidirectional_calls,
    keras.layers.SpectralNormalization: _spectral_normalization_calls,
}

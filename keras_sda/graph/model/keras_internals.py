"""What Keras knows of its layers and has no public name for, said in one place.

This folder alone names the private parts of Keras: a release that moves one of them is
followed here.
"""

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.utils.naming import to_snake_case


def all_layers(layer: Any, itself: bool = True) -> list[keras.layers.Layer]:
    """Lists the layers inside of a layer or model, at any depth, each once.

    Use it where the graph does not matter: `model.layers` leaves out what nested
    models and composite layers hold.

    Args:
        layer: A layer or model, built or not. A `keras.Operation` holds none.
        itself: Whether it comes first. Defaults to `True`.

    Returns:
        The layers, outer ones before those inside of them.

    Example:

    >>> import keras
    >>> from keras_sda.graph import all_layers
    >>> inner = keras.Sequential([keras.layers.Dense(2, name="dense")], name="inner")
    >>> [layer.name for layer in all_layers(keras.Sequential([inner]), itself=False)]
    ['inner', 'dense']
    """
    if not isinstance(layer, keras.layers.Layer):
        return []
    return layer._flatten_layers(include_self=itself)


def full_name(kind: type | str) -> str:
    """Module and name of a class, for Keras without the private part of its modules.

    Use it for the classes that Keras does not export: layers of
    `keras.applications` and what the functions of `keras.ops` leave in a graph.

    Args:
        kind: A class, or a name of this kind.

    Example:

    >>> import keras
    >>> from keras_sda.graph import full_name
    >>> x = keras.Input((4,))
    >>> full_name(type(keras.Model(x, keras.ops.relu(x)).operations[-1]))
    'keras.ops.nn.Relu'
    """
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    private = "keras.src."
    return "keras." + name.removeprefix(private) if name.startswith(private) else name


def automatic_name(layer: keras.layers.Layer) -> str:
    """The name that Keras gives to layers of this class, before it counts them.

    Args:
        layer: A layer or operation.

    Example:

    >>> import keras
    >>> from keras_sda.graph.model.keras_internals import automatic_name
    >>> automatic_name(keras.layers.BatchNormalization())
    'batch_normalization'
    """
    return to_snake_case(type(layer).__name__)


def nodes_in_order(graph: keras.Function) -> Iterator[Any]:
    """The calls of a functional model in the order in which Keras runs them.

    Args:
        graph: A functional model.
    """
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def input_structure(graph: keras.Function) -> Any:
    """The symbolic inputs of a graph in the structure that it takes.

    `input` of a `keras.Function` is something else: what its first call got.

    Args:
        graph: A functional model or `keras.Function`.
    """
    return graph._inputs_struct


def standardized_inputs(graph: keras.Function, inputs: Any) -> list[Any]:
    """The inputs of a graph as it computes with them, in the order of `graph.inputs`.

    Keras casts them, finds those of a dict by their names, and adds or drops a last
    axis of one where the images lack it.

    Args:
        graph: A functional model.
        inputs: What it is called with.
    """
    if hasattr(graph, "_standardize_inputs"):
        return list(graph._standardize_inputs(inputs))
    return [
        keras.ops.convert_to_tensor(value, tensor.dtype)
        for value, tensor in zip(keras.tree.flatten(inputs), graph.inputs, strict=True)
    ]


def at_inference(operation: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a call as `model(..., training=False)` makes it.

    Args:
        operation: A layer or operation.
        kwargs: Those of its node; what they say of `training` does not count.
    """
    if "training" in getattr(operation, "_call_context_args", ()):
        return {**kwargs, "training": False}
    return kwargs


def output_structure(graph: keras.Function) -> Any:
    """The symbolic outputs of a graph in the structure that it returns.

    Args:
        graph: A functional model or `keras.Function`.
    """
    return graph._outputs_struct


def mask_of(tensor: keras.KerasTensor) -> Any:
    """The mask that Keras hands on with a tensor, or None.

    Args:
        tensor: A symbolic tensor.
    """
    return getattr(tensor, "_keras_mask", None)


def attention_projections(
    layer: keras.layers.Layer,
) -> dict[str, keras.layers.EinsumDense]:
    """The dense layers inside an attention layer: query, key, value, output, gate.

    Args:
        layer: A built `MultiHeadAttention` or `GroupQueryAttention`.

    Returns:
        By name; `"gate"` only where the layer has one.

    Example:

    >>> import keras
    >>> from keras_sda.graph import attention_projections
    >>> layer, x = keras.layers.MultiHeadAttention(2, 4), keras.Input((3, 8))
    >>> attend = keras.Model(x, layer(x, x))
    >>> tuple(attention_projections(layer)["query"].kernel.shape)
    (8, 2, 4)
    """
    names = ("query", "key", "value", "output", "gate")
    found = {name: getattr(layer, f"_{name}_dense", None) for name in names}
    return {name: dense for name, dense in found.items() if dense is not None}


def draw_from(layer: keras.layers.Layer, generator: keras.random.SeedGenerator) -> None:
    """Lets a random preprocessing layer take its seeds from a generator.

    Use it before the layer runs; it holds inside of tf.data as well.

    Args:
        layer: A layer of Keras with a `generator`.
        generator: What it draws from.
    """
    layer.generator = generator
    # Where another backend is active, tf.data asks for this one.
    layer._backend_generators = {"tensorflow": generator}


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Which of the variables that an optimizer was built for a variable is.

    Use it in `update_step`, which under a distribution strategy gets the parts of
    variables that the devices hold.

    Args:
        optimizer: A built optimizer.
        variable: What its `update_step` got.
    """
    return optimizer._get_variable_index(variable)

"""A served model must not need a compiler."""

import os
import pathlib

import keras

from keras_sda.graph import all_layers
from keras_sda.utils import InvalidInputError

_GROUPED = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def check_no_xla_layers(model: keras.Model) -> None:
    """Raises where a layer of the model would be compiled by XLA on TensorFlow.

    Use it before an export; `check_no_xla_functions` looks at the result.

    Args:
        model: Any Keras model.

    Raises:
        InvalidInputError: Names the layer and what to use instead.

    Example:

    >>> import keras
    >>> from keras_sda.export.formats.check_no_xla import check_no_xla_layers
    >>> check_no_xla_layers(keras.Sequential([keras.layers.Conv2D(4, 3)]))
    """
    for layer in all_layers(model):
        if (
            isinstance(layer, _GROUPED)
            and layer.groups > 1
            and type(layer).convolution_op in [c.convolution_op for c in _GROUPED]
        ):
            raise InvalidInputError(
                f"Layer {layer.name!r} is a {type(layer).__name__}(groups>1), which "
                "Keras compiles with XLA on TensorFlow: the export would run only on "
                "servers with XLA. Build it with keras_sda.layers.GroupedConv2D (same "
                "arguments, same weights) and export again."
            )


def check_no_xla_functions(path: str | os.PathLike) -> None:
    """Raises where a SavedModel holds a function that must be compiled by XLA.

    Use it on any SavedModel before it goes to a server.

    Args:
        path: Directory with `saved_model.pb`.

    Raises:
        InvalidInputError: Names the functions.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString(pathlib.Path(path, "saved_model.pb").read_bytes())
    marked = sorted(
        {
            holder
            for graph in (meta.graph_def for meta in proto.meta_graphs)
            for holder, attributes in _attributes(graph)
            if attributes["_XlaMustCompile"].b
        }
    )
    if marked:
        raise InvalidInputError(
            f"The exported model holds functions that must be compiled by XLA: "
            f"{', '.join(marked)}. They come from Conv2D(groups>1) (use "
            "keras_sda.layers.GroupedConv2D) or from layers with jit_compile=True "
            "(switch that off), and would run only on servers with XLA."
        )


def _attributes(graph):
    nodes = list(graph.node)
    for function in graph.library.function:
        if "_XlaMustCompile" in function.attr:
            yield function.signature.name, function.attr
        nodes.extend(function.node_def)
    for node in nodes:
        if "_XlaMustCompile" in node.attr:
            yield node.name, node.attr

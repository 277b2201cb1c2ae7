"""The functional model as data: the only folder that knows how Keras stores a graph."""

from keras_sda.graph.as_functional import as_functional
from keras_sda.graph.clone_edited import clone_edited, uncompiled
from keras_sda.graph.input_specs import input_specs
from keras_sda.graph.layer_call import LayerCall
from keras_sda.graph.layer_calls import layer_calls
from keras_sda.graph.model_graph import GraphNode, ModelGraph

__all__ = [
    "GraphNode",
    "LayerCall",
    "ModelGraph",
    "as_functional",
    "clone_edited",
    "input_specs",
    "layer_calls",
    "uncompiled",
]

"""The functional model as data: the only folder that knows how Keras stores a graph."""

from keras_sda.graph.as_functional import as_functional
from keras_sda.graph.input_specs import input_specs
from keras_sda.graph.layer_call import LayerCall
from keras_sda.graph.layer_calls import layer_calls

__all__ = ["LayerCall", "as_functional", "input_specs", "layer_calls"]

"""One copier, whatever a model is made of."""

import keras
import numpy as np
import pytest
from graph.model_functions import Subclassed
from keras import layers
from pruning.surgery_checks import assert_outputs_close, flat_outputs, randomize

from keras_sda import export, search
from keras_sda.graph import check_own_variables, clone_edited, uncompiled
from keras_sda.utils import InvalidInputError


def dense_model(units=4, name=None):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(units, name="inner")(x), name=name)


def sigmoid(layer, config):
    return {**config, "activation": "sigmoid"} if "activation" in config else config


@keras.saving.register_keras_serializable("test_clone_edited")
class Silent(layers.Layer):
    """Takes no name and no `trainable`, and says neither."""

    def __init__(self):
        super().__init__()

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable("test_clone_edited")
class Pair(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(4), layers.Dense(4)

    def build(self, shape):
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        return self.second(self.first(x))


def test_every_kind_of_model_gets_the_edit():
    """But those with code of their own, which have no layers to show."""
    steps = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="step")])
    x = keras.Input((4,))
    y = dense_model(name="nested")(x)
    y = steps(y)
    y = layers.Reshape((1, 1, 4))(y)
    y = layers.TimeDistributed(layers.TimeDistributed(layers.Dense(4)), name="td")(y)
    y = layers.Reshape((1, 4))(y)
    y = layers.TimeDistributed(dense_model(name="wrapped"), name="wrapper")(y)
    y = Subclassed(4, name="own")(layers.Reshape((1, 1, 4))(y))
    model = keras.Model(x, y)
    copy = clone_edited(model, sigmoid)
    check_own_variables(model, copy)
    found = {
        "nested": copy.get_layer("nested").get_layer("inner"),
        "sequential": copy.get_layer(steps.name).get_layer("step"),
        "wrapped": copy.get_layer("wrapper").layer.get_layer("inner"),
    }
    assert {x.activation.__name__ for x in found.values()} == {"sigmoid"}
    assert copy.get_layer("wrapper").layer.name == "wrapped"
    assert copy.get_layer("own").convolution.activation.__name__ == "linear"


def test_what_a_wrapper_runs_and_others_call_stays_one():
    part = dense_model(name="part")
    x = keras.Input((3, 4))
    y = layers.TimeDistributed(part)(x)
    model = keras.Model(x, part(layers.GlobalAveragePooling1D()(y)))
    copy = clone_edited(model)
    assert len(copy.weights) == len(model.weights) == 2
    inputs = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert_outputs_close(flat_outputs(copy, inputs), flat_outputs(model, inputs), 1e-6)


def test_function_in_a_graph_gets_variables_of_its_own():
    inner = dense_model()
    function = keras.Function(inner.input, inner.output, name="function")
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(function(x)))
    copy = clone_edited(model)
    inputs = np.ones((1, 4), "float32")
    expected = keras.ops.convert_to_numpy(model(inputs))
    np.testing.assert_allclose(copy(inputs), expected, atol=1e-6)
    for variable in copy.variables:
        variable.assign(keras.ops.zeros_like(variable))
    np.testing.assert_array_equal(model(inputs), expected)


def test_what_trains_is_copied():
    x = keras.Input((4,))
    nested = dense_model(name="nested")
    y = Pair(name="pair")(nested(x))
    model = keras.Model(x, layers.Dense(2, name="head")(y))
    nested.trainable = False
    nested.get_layer("inner").trainable = True
    model.get_layer("pair").second.trainable = False
    model.get_layer("head").bias.trainable = False
    copy = clone_edited(model)
    assert not copy.get_layer("nested").trainable
    assert copy.get_layer("nested").get_layer("inner").trainable
    assert copy.get_layer("pair").first.trainable
    assert not copy.get_layer("pair").second.trainable
    assert [v.trainable for v in copy.get_layer("head").weights] == [True, False]
    shapes = [[v.shape for v in m.trainable_weights] for m in (model, copy)]
    assert shapes[0] == shapes[1]


def test_what_is_put_into_a_frozen_model_trains():
    x = keras.Input((8, 8, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    y = layers.Conv2D(4, 3)(layers.ReLU()(y))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(y))
    model.trainable = False
    gated = search.add_channel_gates(model)
    gates = search.channel_gates(gated)
    assert [id(v) for v in gated.trainable_variables] == [
        id(v) for gate in gates for v in gate.trainable_variables
    ]
    assert not clone_edited(model).trainable


def test_layers_that_take_no_name_keep_it():
    x = keras.Input((4,))
    layer = Silent()
    model = keras.Model(x, layer(x))
    layer.name, layer.trainable = "mine", False
    copy = clone_edited(model, lambda _, config: {**config, "name": "yours"})
    assert copy.layers[1].name == "yours"
    assert not copy.layers[1].trainable
    copy = clone_edited(model, lambda _, config: {**config, "trainable": True})
    assert copy.layers[1].name == "mine" and copy.layers[1].trainable


def test_call_gets_the_old_and_the_new_layer():
    x = keras.Input((4,))
    layer = layers.Dense(4, name="dense")
    model = keras.Model(x, keras.ops.relu(layer(layer(x))))
    seen = []

    def call(old, new, args, kwargs):
        seen.append((old, new))
        return new(*args, **kwargs)

    copy = clone_edited(model, call=call)
    new = copy.get_layer("dense")
    assert [old for old, _ in seen[:2]] == [layer, layer]
    assert [new for _, new in seen[:2]] == [new, new] and new is not layer
    assert seen[2][0] is seen[2][1]  # an operation


def test_nested_settings_hold_for_what_is_nested_deeper():
    innermost = dense_model(name="innermost")
    x = keras.Input((4,))
    middle = keras.Model(x, innermost(x), name="middle")
    x = keras.Input((4,))
    model = keras.Model(x, middle(layers.Dense(4, name="outer")(x)))
    seen = []

    def nested(part):
        seen.append(part.name)
        return {"edit": sigmoid, "name": f"new_{part.name}"}

    copy = clone_edited(model, nested=nested)
    assert seen == ["middle", "innermost"]
    assert copy.get_layer("outer").activation.__name__ == "linear"
    inner = copy.get_layer("new_middle").get_layer("new_innermost").get_layer("inner")
    assert inner.activation.__name__ == "sigmoid"


def test_what_is_around_a_graph_is_refused():
    class Training(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    x = keras.Input((4,))
    model = Training(x, layers.Dense(2)(x))
    with pytest.raises(InvalidInputError, match="overrides `train_step"):
        clone_edited(model)
    assert type(clone_edited(uncompiled(model))).__name__ == "Functional"


def test_passes_reach_what_time_distributed_runs():
    x = keras.Input((8, 8, 4))
    y = layers.Conv2D(4, 3, groups=2, use_bias=False)(x)
    y = layers.Conv2D(4, 3)(layers.BatchNormalization()(y))
    inner = keras.Model(x, layers.BatchNormalization()(y))
    x = keras.Input((2, 8, 8, 4))
    model = keras.Model(x, layers.TimeDistributed(inner, name="steps")(x))
    randomize(model)
    folded = export.fold_batch_normalization(model)
    kinds = [type(x).__name__ for x in folded.get_layer("steps").layer.layers]
    assert kinds == ["InputLayer", "Conv2D", "Conv2D"]
    images = np.random.default_rng(0).normal(size=(2, 2, 8, 8, 4)).astype("float32")
    expected = flat_outputs(model, images)
    assert_outputs_close(flat_outputs(folded, images), expected, 1e-4)
    x = keras.Input((2, 8, 8, 4))
    model = keras.Model(
        x, layers.TimeDistributed(inner, name="steps")(x, training=True)
    )
    folded = export.fold_batch_normalization(model)
    assert len(folded.get_layer("steps").layer.layers) == 5

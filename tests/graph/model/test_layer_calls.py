"""layer_calls: order, names, shapes, nested and shared layers, refusals."""

import keras
import pytest
from keras import layers

from keras_sda.graph import as_functional, input_specs, layer_calls
from keras_sda.utils import InvalidInputError


def names(calls):
    return [call.name for call in calls]


def test_order_shapes_and_arguments():
    x = keras.Input((8, 6, 3))
    y = layers.Conv2D(4, 3, name="conv")(x)
    z = layers.Conv2D(4, 3, name="other")(x)
    y = layers.Add(name="add")([y, z])
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    calls = layer_calls(keras.Model(x, layers.Dense(2, name="dense")(y)))
    assert names(calls)[-3:] == ["add", "pool", "dense"]
    assert set(names(calls)[:2]) == {"conv", "other"}
    add = calls[2]
    assert add.input_shapes == ((6, 4, 4), (6, 4, 4))
    assert add.batch_input_shapes == ((1, 6, 4, 4), (1, 6, 4, 4))
    assert calls[-1].output_shapes == ((2,),)
    assert calls[-1].arguments["inputs"].shape == (1, 4)


def test_shared_layer_has_one_call_per_use():
    x = keras.Input((8,))
    shared = layers.Dense(8, name="shared")
    calls = layer_calls(keras.Model(x, shared(shared(x))))
    assert names(calls) == ["shared", "shared"]
    assert [call.call_index for call in calls] == [0, 1]


def test_nested_models_are_entered_at_the_shape_of_each_call():
    inner_input = keras.Input((None, None, 3))
    inner = keras.Model(
        inner_input, layers.Conv2D(4, 3, name="conv")(inner_input), name="inner"
    )
    block = keras.Sequential([keras.Input((None, None, 3)), inner], name="block")
    x = keras.Input((9, 9, 3))
    small = layers.AveragePooling2D(3, name="pool")(x)
    calls = layer_calls(keras.Model(x, [block(x), block(small)]))
    convs = [call for call in calls if call.name == "block/inner/conv"]
    assert {call.output_shapes for call in convs} == {((7, 7, 4),), ((1, 1, 4),)}
    assert sorted(call.call_index for call in convs) == [0, 1]
    assert len(calls) == 3


def test_multiple_inputs_by_list_and_by_name():
    a = keras.Input((None, 4), name="a")
    b = keras.Input((None, 4), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dot(2, name="dot")([a, b]))
    for shape in ([(3, 4), (5, 4)], {"b": (5, 4), "a": (3, 4)}):
        assert layer_calls(model, shape)[0].output_shapes == ((3, 5),)
    with pytest.raises(InvalidInputError, match="one shape per input.*'a', 'b'"):
        layer_calls(model, (3, 4))
    with pytest.raises(InvalidInputError, match="one shape per input"):
        layer_calls(model, {"a": (3, 4)})


def test_multiple_outputs_and_operations():
    x = keras.Input((6, 4))
    left, right = keras.ops.split(x, 2, axis=-1)
    model = keras.Model(
        x, [keras.ops.matmul(left, keras.ops.transpose(right, (0, 2, 1))), right]
    )
    calls = layer_calls(model)
    assert [type(call.layer).__name__ for call in calls] == [
        "Split",
        "Transpose",
        "Matmul",
    ]
    assert calls[0].output_shapes == ((6, 2), (6, 2))
    assert calls[2].arguments["x2"].shape == (1, 2, 6)


def test_axes_that_move_into_the_batch_are_not_lost():
    x = keras.Input((8, 8, 4))
    windows = keras.ops.reshape(x, (-1, 16, 4))
    calls = layer_calls(keras.Model(x, layers.Dense(2, name="dense")(windows)))
    assert calls[-1].batch_input_shapes == ((4, 16, 4),)


def test_wrappers_are_entered():
    x = keras.Input((5, 8, 8, 3))
    y = layers.TimeDistributed(layers.Conv2D(2, 3, name="conv"), name="steps")(x)
    y = layers.TimeDistributed(layers.Flatten(name="flatten"), name="flat")(y)
    y = layers.Bidirectional(layers.LSTM(4, name="lstm"), name="both")(y)
    y = layers.SpectralNormalization(layers.Dense(2, name="dense"), name="norm")(y)
    calls = layer_calls(keras.Model(x, y))
    assert names(calls) == [
        "steps/conv",
        "flat/flatten",
        "both/forward_lstm",
        "both/backward_lstm",
        "norm/dense",
        "norm",
    ]
    assert calls[0].batch_output_shapes == ((5, 6, 6, 2),)


def test_another_image_size_and_the_batch_axis():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    assert layer_calls(model, (16, 16, 3))[0].output_shapes == ((14, 14, 4),)
    assert layer_calls(model, (None, 16, 16, 3))[0].output_shapes == ((14, 14, 4),)


def test_reading_leaves_the_model_alone():
    x = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3)
    model = keras.Model(x, conv(x))
    config = model.get_config()
    layer_calls(model, (16, 16, 3))
    assert len(conv._inbound_nodes) == 1
    assert model.get_config() == config


def test_input_specs_follow_the_structure_of_the_model():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), dtype="int32", name="b")
    model = keras.Model({"a": a, "b": b}, [a, b])
    specs = input_specs(model, batch_size=4)
    assert specs["a"].shape == (4, 2)
    assert specs["b"].shape == (4, 3) and specs["b"].dtype == "int32"


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


class CallOverride(keras.Model):
    def __init__(self):
        x = keras.Input((4,))
        super().__init__(x, layers.Dense(2)(x))

    def call(self, inputs):
        return 2 * super().call(inputs)


@pytest.mark.parametrize(
    "make, message",
    [
        (Subclassed, "subclassed"),
        (CallOverride, "overrides `call"),
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: "ResNet50", "must be a functional Keras model"),
    ],
)
def test_models_without_a_readable_graph_are_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        as_functional(make())


@pytest.mark.parametrize(
    "shape, message",
    [
        (None, "`input_shape` is needed"),
        ((None, 8, 3), "`input_shape` is needed"),
        ((8, 8), "`input_shape` for input 'image'"),
        ((8, 0, 3), "positive"),
        ("8x8", "must be a tuple"),
        ((2, 2, 3), "Layer 'conv'"),
        ((8, 8, 4), "Layer 'conv'"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    x = keras.Input((None, None, 3), name="image")
    model = keras.Model(x, layers.Conv2D(4, 3, name="conv")(x))
    with pytest.raises(InvalidInputError, match=message):
        layer_calls(model, shape)


def test_a_dense_layer_of_another_size_is_named():
    x = keras.Input((8, 8, 3))
    y = layers.Dense(2, name="head")(layers.Flatten()(x))
    with pytest.raises(InvalidInputError, match="Layer 'head'"):
        layer_calls(keras.Model(x, y), (16, 16, 3))

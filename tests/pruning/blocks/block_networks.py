"""Networks with blocks that can go, and what must hold when they do."""

import keras
import numpy as np
from keras import layers
from pruning.surgery_checks import (
    assert_outputs_close,
    assert_same_structure,
    flat_exported,
    flat_outputs,
    random_inputs,
    randomize,
)
from pruning.zoo import conv, head

from keras_sda.applications import SDAResNet
from keras_sda.graph import ModelGraph, check_own_variables, residual_branches
from keras_sda.pruning import removable_blocks, remove_blocks


def image_model(body, **arguments):
    x = keras.Input((8, 8, 3), name="x")
    return keras.Model(x, head(body(x)), name="network", **arguments)


def with_normalization():
    def body(x):
        x = conv(x, 6, name="stem")
        y = conv(conv(x, 4, name="a1"), 6, activation="linear", name="a2")
        x = layers.Activation("gelu")(layers.Add(name="a")([x, y]))
        y = layers.Dropout(0.5)(conv(conv(x, 5), 6, activation="linear", name="b2"))
        x = layers.ReLU()(layers.Add(name="b")([y, x]))
        # Beside a projection.
        y = conv(x, 8, activation="linear", name="branch")
        return layers.Add(name="c")([conv(x, 8, activation="linear", name="side"), y])

    return image_model(body)


def without_normalization():
    def body(x):
        x = conv(x, 6, bn=False)
        for name in "ab":
            y = conv(layers.ReLU()(x), 4, bn=False)
            x = x + layers.Conv2D(6, 3, padding="same", name=f"{name}2")(y)
        return x

    return image_model(body)


def depth_attention():
    return SDAResNet(
        [2, 2], base_width=8, stem_width=8, classes=3, input_shape=(32, 32, 3)
    )


def inverted_residuals():
    def body(x):
        x = conv(x, 4, activation="relu6")
        for number, (filters, strides) in enumerate(((4, 1), (6, 2), (6, 1)), 1):
            y = conv(x, 12, 1, "relu6", name=f"expand{number}")
            y = layers.DepthwiseConv2D(3, strides, padding="same")(y)
            y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
            y = layers.Conv2D(filters, 1, use_bias=False)(y)
            y = layers.BatchNormalization(name=f"project{number}")(y)
            is_residual = strides == 1
            x = layers.Add(name=f"add{number}")([x, y]) if is_residual else y
        return x

    return image_model(body)


def several_terms():
    """Two branches of one sum, two sums in a row, and a sum that is pooled."""

    def body(x):
        x = conv(x, 4)
        one = conv(x, 4, activation="linear", name="one")
        two = conv(x, 4, activation="linear", name="two")
        x = layers.Add(name="both")([one, x, two])
        three = conv(x, 4, activation="linear", name="three")
        four = conv(x, 4, activation="linear", name="four")
        x = layers.Add(name="second")([layers.Add(name="first")([x, three]), four])
        y = layers.Conv2D(4, 3, 2, padding="same", name="strided")(x)
        return layers.Add(name="pooled")([layers.MaxPooling2D(2)(x), y])

    return image_model(body)


def nested():
    """One block inside of a model that is called twice, one that is a model."""

    def body(x):
        inner = keras.Input((8, 8, 4))
        y = layers.Conv2D(4, 3, padding="same", name="inside")(inner)
        shared = keras.Model(inner, layers.Add(name="sum")([inner, y]), name="inner")
        x = shared(layers.ReLU()(shared(conv(x, 4))))
        whole = keras.Sequential(
            [keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="last")], name="whole"
        )
        return layers.Add(name="outer")([whole(x), x])

    return image_model(body)


def as_output():
    """Sums that are outputs, whose names are the names of these."""
    x = keras.Input((4,), name="x")
    y = layers.Dense(4, name="first")(x)
    one = layers.Add(name="one")([x, y])
    two = layers.Add(name="two")([one, layers.Dense(4, name="second")(one)])
    return keras.Model(x, {"a": one, "b": two}, name="network")


NETWORKS = {
    function.__name__: function
    for function in (
        with_normalization, without_normalization, depth_attention, inverted_residuals,
        several_terms, nested, as_output,
    )
}  # fmt: skip


def run_block_test(model, names, tmp_path=None, tolerance=1e-5):
    """Removes blocks, and compares with the model whose last weights of them are 0."""
    randomize(model)
    inputs = random_inputs(model)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.weights]
    whole = flat_outputs(model, inputs)
    blocks = {block.name: block for block in removable_blocks(model)}
    small = remove_blocks(model, names)
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))

    zeroed = keras.models.clone_model(model)
    zeroed.set_weights(before)
    ends = {
        x.path + x.joint.name: x
        for x in residual_branches(zeroed)
        if not x.why_not and x.path + x.joint.name in names
    }
    ends |= {
        f"{x.path}{x.joint.name}:{x.end.name}": x
        for x in residual_branches(zeroed)
        if f"{x.path}{x.joint.name}:{x.end.name}" in names
    }
    assert set(ends) >= set(names)
    for name in names:
        zero_the_end(ends[name])
    expected = flat_outputs(zeroed, inputs)
    received = flat_outputs(small, inputs)
    assert_outputs_close(received, expected, tolerance)
    assert any(np.ptp(a - b) > 1e-4 for a, b in zip(expected, whole, strict=True))

    check_own_variables(model, small)
    assert_same_structure(model, small)
    gone = {layer for name in names for layer in blocks[name].layers}
    left = [x for x in layer_names(model) if not gone & {x, x.split("/")[0]}]
    if len(names) == 1:
        assert layer_names(small) == left
        lost = blocks[names[0]].num_params
        assert small.count_params() == model.count_params() - lost
    # The sum of two blocks goes when both do.
    assert set(layer_names(small)) <= set(left)
    assert small.name == model.name
    assert small.output_names == model.output_names
    if tmp_path is not None:
        small.save(tmp_path / "small.keras")
        loaded = keras.saving.load_model(tmp_path / "small.keras")
        assert_outputs_close(flat_outputs(loaded, inputs), received, 1e-6)
        exported = flat_exported(small, inputs, tmp_path / "export")
        assert_outputs_close(exported, received, tolerance)
    return small


def zero_the_end(branch):
    """Zeros the last weights of a block, behind which nothing adds to them."""
    graph, node = ModelGraph(branch.model), branch.end
    while not node.layer.weights:
        node = graph.nodes[node.inputs[0][0]]
    layer = node.layer
    if isinstance(layer, keras.Model):
        layer = layer.layers[-1]
    for variable in layer.trainable_weights:
        variable.assign(keras.ops.zeros_like(variable))


def layer_names(model, path=""):
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += layer_names(layer, f"{path}{layer.name}/")
        if not isinstance(layer, (keras.layers.InputLayer, keras.Model)):
            found.append(path + layer.name)
    return sorted(found)

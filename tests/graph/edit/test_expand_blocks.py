"""Composite layers come apart exactly, or stay and say why."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruning.surgery_checks import flat_outputs, random_inputs, randomize

from keras_sda import depth
from keras_sda.graph import ChannelGraph, expand_blocks
from keras_sda.pruning import make_plan, mask, prune, shrink
from keras_sda.search import add_channel_gates, close_gates, derive
from keras_sda.utils import InvalidInputError


class Convolution(layers.Layer):
    def __init__(self, filters, **arguments):
        super().__init__(**arguments)
        self.conv = layers.Conv2D(filters, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.5)

    def call(self, x, training=None):
        x = self.norm(self.conv(x), training=training)
        return self.drop(ops.silu(x), training=training)


class Residual(layers.Layer):
    """It does not come back from its config, and need not."""

    def __init__(self, filters, **arguments):
        super().__init__(**arguments)
        self.first = Convolution(filters, name="first")
        self.second = Convolution(filters, name="second")

    def call(self, x):
        y = self.second(self.first(x))
        shape = ops.shape(y)
        flat = ops.reshape(y, (shape[0], -1, shape[3]))
        flat = layers.Add(name=f"{self.name}_sum")([flat, flat * 0.5])
        return x + ops.reshape(flat, shape)


class Scaled(layers.Layer):
    """Its own weight is in no layer inside."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.conv = layers.Conv2D(6, 1)

    def build(self, shape):
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, x):
        return self.conv(x) * self.scale


class Noisy(Convolution):
    def call(self, x, training=None):
        x = self.conv(x)
        return x * 2.0 if training else x


class Random(Convolution):
    def call(self, x):
        return self.conv(x) + keras.random.normal((6,))


class Branching(Convolution):
    def build(self, shape):
        self.conv.build(shape)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape)

    def call(self, x):
        return self.conv(x) if ops.sum(x) > 0 else x


class Gated(Convolution):
    """A block with a rule of its own class would not be taken apart."""

    def call(self, x, mode="twice"):
        x = self.conv(x)
        return x + x if mode == "twice" else x


def model_of(*blocks, name="outer"):
    x = keras.Input((8, 8, 6), name="x")
    y = x
    for block in blocks:
        y = block(y)
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    model = keras.Model(x, layers.Dense(3, name="predictions")(y), name=name)
    randomize(model)
    return model


def check_same(model, expanded):
    x = random_inputs(model)
    np.testing.assert_allclose(
        flat_outputs(model, x)[0], flat_outputs(expanded, x)[0], atol=1e-6
    )
    shared = {id(v) for v in model.variables} & {id(v) for v in expanded.variables}
    assert not shared
    assert expanded.count_params() == model.count_params()


def test_nested_blocks_come_apart_and_prune(tmp_path):
    model = model_of(Residual(6, name="a"), Residual(6, name="b"))
    calls = {id(x): len(x._inbound_nodes) for x in model._flatten_layers()}
    expanded = expand_blocks(model)
    assert calls == {id(x): len(x._inbound_nodes) for x in model._flatten_layers()}
    check_same(model, expanded)
    stock = [type(x).__module__.startswith("keras.src") for x in expanded.layers]
    assert all(stock)
    names = [x.name for x in expanded.layers if x.weights]
    assert names[:4] == [
        "a_first_conv",
        "a_first_batch_normalization",
        "a_second_conv",
        "a_second_batch_normalization",
    ]
    # The samples of a batch stay apart, whatever their number.
    one = expanded(np.ones((1, 8, 8, 6), "float32")).shape
    assert one == (1, 3)
    plan = make_plan(expanded, macs=0.6)
    small = shrink(expanded, plan)
    x = random_inputs(model)
    expected = flat_outputs(mask(expanded, plan), x)[0]
    np.testing.assert_allclose(flat_outputs(small, x)[0], expected, atol=1e-5)
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(flat_outputs(again, x)[0], expected, atol=1e-5)


def test_names_do_not_depend_on_what_was_made_before():
    first = expand_blocks(model_of(Residual(6, name="a")))
    layers.BatchNormalization(), layers.Dropout(0.1)
    second = expand_blocks(model_of(Residual(6, name="a")))
    assert [x.name for x in first.operations] == [x.name for x in second.operations]


def test_shared_blocks_stay_shared_and_nested_models_are_entered():
    block = Convolution(6, name="shared")
    inner = model_of(block, Convolution(6, name="c"), name="inner")
    x = keras.Input((8, 8, 6))
    y = inner(block(block(x))) + inner(x)
    model = keras.Model(x, y)
    expanded = expand_blocks(model)
    x = random_inputs(model)
    np.testing.assert_allclose(
        flat_outputs(model, x)[0], flat_outputs(expanded, x)[0], atol=1e-6
    )
    assert expanded.get_layer("inner").get_layer("c_conv").filters == 6


def test_training_reaches_the_layers_inside():
    model = expand_blocks(model_of(Convolution(6, name="a")))
    x = random_inputs(model)
    moving = model.get_layer("a_batch_normalization").moving_mean
    before = keras.ops.convert_to_numpy(moving).copy()
    one, other = model(x, training=True), model(x, training=True)
    assert np.abs(keras.ops.convert_to_numpy(one - other)).max() > 0  # dropout
    assert np.abs(keras.ops.convert_to_numpy(moving) - before).max() > 0
    model.compile("sgd", "mse", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(x, np.zeros((2, 3))))


def test_frozen_blocks_stay_frozen():
    frozen, partly = Convolution(6, name="a"), Convolution(6, name="b")
    model = model_of(frozen, partly)
    frozen.trainable = False
    partly.norm.trainable = False
    expanded = expand_blocks(model)
    trains = {v.path for v in expanded.trainable_variables}
    assert not any("a_" in path for path in trains)
    assert any("b_conv" in path for path in trains)
    assert not any("b_batch" in path for path in trains)
    assert len(expanded.trainable_variables) == len(model.trainable_variables)


def check_copy(model, copy):
    """The same layers, of their own."""
    assert [layer.name for layer in copy.layers] == [x.name for x in model.layers]
    assert [type(layer) for layer in copy.layers] == [type(x) for x in model.layers]
    assert [x.trainable for x in copy.layers] == [x.trainable for x in model.layers]
    shared = {id(v) for v in model.variables} & {id(v) for v in copy.variables}
    assert copy is not model and not shared
    for one, other in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [Scaled, Noisy, Random, Branching])
def test_what_is_more_than_its_layers_stays(kind):
    block = kind(name="block") if kind is Scaled else kind(6, name="block")
    x = keras.Input((8, 8, 6))
    model = keras.Model(x, layers.Conv2D(2, 1)(block(x)))
    check_copy(model, expand_blocks(model))
    reasons = [u.reason for u in ChannelGraph(model).untouchable]
    assert reasons  # the convolution behind it, at least


def test_arguments_of_a_call_are_kept():
    block = Gated(6, name="block")
    x = keras.Input((8, 8, 6))
    model = keras.Model(x, block(block(x), mode="once"))
    check_same(model, expand_blocks(model))
    calls = keras.Model(x, block(x, training=True))
    check_copy(calls, expand_blocks(calls))


def test_only_the_packages_that_are_meant():
    model = model_of(Convolution(6, name="a"))
    check_copy(model, expand_blocks(model, ["other_package"]))
    names = [layer.name for layer in expand_blocks(model, [__name__]).layers]
    assert names != [layer.name for layer in model.layers]
    plain = model_of(layers.Conv2D(6, 3))
    check_copy(plain, expand_blocks(plain))
    with pytest.raises(InvalidInputError, match="`model`"):
        expand_blocks("model")


def efficient_net():
    hub = pytest.importorskip("keras_hub")
    return hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 5],
        stackwise_num_repeats=[1, 3, 1],
        stackwise_input_filters=[8, 8, 8],
        stackwise_output_filters=[8, 8, 8],
        stackwise_expansion_ratios=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 1],
        stackwise_block_types=["cba", "fused", "unfused"],
        stackwise_width_coefficients=[1, 1, 1],
        stackwise_depth_coefficients=[1, 1, 1],
        num_features=16,
        input_shape=(16, 16, 3),
    )


def mobile_net():
    hub = pytest.importorskip("keras_hub")
    return hub.models.MobileNetBackbone(
        stackwise_expansion=[[16], [16, 24, 24]],
        stackwise_num_blocks=[1, 3],
        stackwise_num_filters=[[8], [16, 16, 16]],
        stackwise_kernel_size=[[3], [5, 5, 5]],
        stackwise_num_strides=[[2], [2, 1, 1]],
        stackwise_se_ratio=[[0.25], [None, 0.25, 0.25]],
        stackwise_activation=[["relu"], ["hard_swish"] * 3],
        stackwise_padding=[[1], [2, 2, 2]],
        output_num_filters=16,
        input_num_filters=8,
        input_activation="hard_swish",
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=16,
        image_shape=(32, 32, 3),
    )


def hgnet(affine=False):
    hub = pytest.importorskip("keras_hub")
    return hub.models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=affine,
        stackwise_stage_filters=[[8, 8, 16, 1, 2, 3], [16, 8, 24, 2, 2, 3]],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, True],
        image_shape=(32, 32, 3),
    )


def mit():
    hub = pytest.importorskip("keras_hub")
    return hub.models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        image_shape=(32, 32, 3),
        hidden_dims=[8, 16],
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
    )


@pytest.fixture(
    scope="module",
    params=[efficient_net, pytest.param(mobile_net, marks=pytest.mark.large)],
)
def backbone(request):
    model = request.param()
    randomize(model)
    return model


def check_close(received, expected, tolerance):
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(received / scale, expected / scale, atol=tolerance)


def test_backbones_of_keras_hub_prune(backbone, tmp_path):
    result = prune(backbone, macs=0.5)
    small, x = result.model, random_inputs(backbone)
    received = flat_outputs(small, x)[0]
    check_close(received, flat_outputs(mask(backbone, result.plan), x)[0], 1e-5)
    kinds = {type(x).__module__.partition(".")[0] for x in small._flatten_layers()}
    assert kinds == {"keras"}
    small.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras")
    check_close(flat_outputs(again, x)[0], received, 1e-5)


def test_backbones_of_keras_hub_attach(backbone):
    attended = depth.attach(backbone)
    assert any(type(x).__name__ == "SelectiveDepthAttention" for x in attended.layers)
    x = random_inputs(backbone)
    check_close(flat_outputs(attended, x)[0], flat_outputs(backbone, x)[0], 1e-4)


def test_backbones_of_keras_hub_take_gates(backbone):
    gated = add_channel_gates(backbone)
    gates = [x for x in gated.layers if x.name.endswith("_gate")]
    assert len(gates) > 2
    generator = np.random.default_rng(0)
    for gate in gates:
        sign = generator.permutation(np.resize([1.0, 1.0, -1.0], gate.s.shape[0]))
        gate.s.assign(sign)
        gate.beta.assign(1e4)
    result = derive(gated, max_half_open=1.0)
    close_gates(gated)
    x = random_inputs(backbone)
    check_close(flat_outputs(result.model, x)[0], flat_outputs(gated, x)[0], 1e-4)
    assert result.report.params_after < result.report.params_before


@pytest.mark.large
@pytest.mark.parametrize("kind", ["hgnet", "hgnet_affine", "mit"])
def test_other_backbones_come_apart(kind):
    model = mit() if kind == "mit" else hgnet(kind == "hgnet_affine")
    randomize(model)
    expanded = expand_blocks(model)
    x = random_inputs(model)
    pairs = zip(flat_outputs(model, x), flat_outputs(expanded, x), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)
    foreign = {
        type(x).__name__
        for x in expanded._flatten_layers()
        if not type(x).__module__.startswith("keras.")
    }
    allowed = {"hgnet_affine": {"HGNetV2LearnableAffineBlock"}, "mit": {"DropPath"}}
    assert foreign == allowed.get(kind, set())
    result = prune(model, macs=0.9)
    assert result.report.macs_after <= 0.9 * result.report.macs_before
    assert result.model.count_params() < model.count_params()

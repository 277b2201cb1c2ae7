"""The supernet: sizes, names, what a block computes, bad arguments."""

import functools

import keras
import numpy as np
import pytest
from test_case import run_application_test

from keras_sda import applications
from keras_sda.analysis import profile
from keras_sda.applications import ProxylessSupernet
from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.presets.supernet_presets import SUPERNET_PRESETS
from keras_sda.search import find_gate_positions
from keras_sda.training import build_classifier
from keras_sda.utils import InvalidInputError

SMALL = {
    "stackwise_num_blocks": [1, 2],
    "stackwise_num_filters": [6, 8],
    "stackwise_strides": [1, 2],
    "stem_filters": 6,
    "first_filters": 4,
    "head_filters": 12,
}


@pytest.mark.large
def test_published_sizes():
    row = SUPERNET_PRESETS["ProxylessSupernet"]
    model = ProxylessSupernet()
    result = profile(model)
    assert (result.trainable_params, result.macs) == (row["params"], row["macs"])
    assert not result.unknown
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("DepthwiseConv2D") == 1 + 21 * 6 and kinds.count("Add") == 21
    assert NetworkSignature.of_model(model).preset is None
    # The published 16.09 M are those of the network with its gates.
    gates = [p.num_channels for p in find_gate_positions(model) if p.gate]
    num_gates = sum(gates)
    assert (len(gates), num_gates) == (255, 60_704)
    assert f"{(row['params'] + num_gates) / 1e6:.2f}" == "16.09"


def test_application(tmp_path):
    options = {**SMALL, "kernel_sizes": (3, 5), "expansions": (2,)}
    run_application_test(ProxylessSupernet, tmp_path, **options)


def test_form_for_small_images():
    model = ProxylessSupernet(
        include_top=False,
        input_shape=(32, 32, 3),
        kernel_sizes=(3,),
        expansions=(1, 3),
        stem_strides=1,
        stackwise_strides=(1, 2, 2, 1, 2, 1),
        stackwise_num_blocks=(1,) * 6,
        stackwise_num_filters=(8,) * 6,
        head_filters=16,
    )
    assert model.output_shape == (None, 4, 4, 16)
    names = {layer.name for layer in model.layers}
    assert "stage2_block1_k3_e3_expand_conv" in names
    assert "stage2_block1_k3_e1_expand_conv" not in names
    assert "stage2_block1_k3_e1_depthwise_conv" in names


def test_blocks_are_plain_sums():
    model = ProxylessSupernet(input_shape=(33, 32, 3), **SMALL)
    operations = [f"k{size}_e{factor}" for size in (3, 5, 7) for factor in (3, 6)]
    for block, before in (
        ("stage3_block1", None),
        ("stage3_block2", "stage3_block1_add"),
    ):
        total = model.get_layer(f"{block}_add")
        names = [f"{block}_{operation}_project_bn" for operation in operations]
        inputs = [tensor._keras_history.operation.name for tensor in total.input]
        assert inputs == names + [before] * (before is not None)
        probe = keras.Model(model.input, [*total.input, total.output])
        *terms, outputs = probe(
            np.random.normal(size=(2, 33, 32, 3)).astype("f"), training=False
        )
        np.testing.assert_allclose(outputs, sum(terms), atol=1e-5)
        assert outputs.shape == (2, 9, 8, 8)
    for operation in operations:
        size, factor = int(operation[1]), int(operation[-1])
        name = f"stage3_block1_{operation}_depthwise_conv"
        layer = model.get_layer(name)
        assert (layer.kernel_size, layer.strides) == ((size, size), (2, 2))
        assert layer.kernel.shape[2] == 6 * factor and layer.padding == "valid"
        # Padded alike on all sides.
        assert model.get_layer(f"{name}_pad").padding == ((size // 2,) * 2,) * 2
        deviation = (2 / (size**2 * 6 * factor)) ** 0.5
        assert np.std(layer.kernel) == pytest.approx(deviation, rel=0.25)
        assert model.get_layer(f"stage3_block2_{operation}_project_conv").filters == 8
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.epsilon, layer.momentum) == (1e-3, 0.9)
        if isinstance(layer, keras.layers.ReLU):
            assert layer.max_value == 6
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            assert not layer.use_bias
    first = [x.name for x in model.layers if x.name.startswith("stage1")]
    parts = "conv1 bn1 relu1 conv2 bn2"
    assert first == [f"stage1_block1_{part}" for part in parts.split()]


def test_registry():
    assert applications.get_model("proxylesssupernet") is ProxylessSupernet
    info = applications.model_info("ProxylessSupernet")
    assert info["published_top1"] == 75.7 and info["params"] == 16_034_168
    small = functools.partial(ProxylessSupernet, **{**SMALL, "expansions": (2,)})
    model = build_classifier(small, 32, 3, 4)
    assert model.get_layer("pixel_scaling") and model.output_shape == (None, 4)


def test_channels_first_and_mixed_precision():
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = ProxylessSupernet(input_shape=(3, 32, 32), **SMALL)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model.get_layer("stage3_block2_add").output.shape == (None, 8, 8, 8)
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"input_shape": (16, 16, 3)}, "at least 32x32"),
        ({"classes": 0}, "`classes`"),
        ({"pooling": "mean"}, "`pooling`"),
        ({"weights": "missing.weights.h5"}, "missing.weights.h5"),
        ({"stackwise_num_blocks": [1]}, "one number per stage each"),
        ({"stackwise_num_blocks": 4}, "`stackwise_num_blocks` must be a list"),
        ({"stackwise_num_filters": [6, 0]}, "`stackwise_num_filters` must be a list"),
        ({"stackwise_strides": []}, "`stackwise_strides` must be a list"),
        ({"kernel_sizes": [3, 4]}, "must be odd"),
        ({"kernel_sizes": [3, 3]}, "a choice twice"),
        ({"expansions": [1.5]}, "`expansions` must be a list"),
        ({"stem_strides": 0}, "`stem_strides` must be a positive integer"),
        ({"head_filters": True}, "`head_filters` must be a positive integer"),
    ],
)
def test_bad_arguments(kwargs, text):
    with pytest.raises((InvalidInputError, OSError), match=text):
        ProxylessSupernet(**{**SMALL, **kwargs})

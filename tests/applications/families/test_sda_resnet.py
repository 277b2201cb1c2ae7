import keras
import numpy as np
import pytest
from test_case import assert_close, infer, load_golden, run_application_test, to_hwio
from test_case import to_nhwc as nhwc

from keras_sda import applications
from keras_sda.applications import SDAResNet
from keras_sda.applications.designs.backbone import Parts, Stage, apply_stage
from keras_sda.applications.families.sda_resnet import _bottleneck
from keras_sda.utils import InvalidInputError

NORM = ("gamma", "beta", "mean", "var")
TINY = {"stackwise_num_blocks": [1, 2, 1], "base_width": 8, "stem_width": 8}


def fill_stage(model, arrays, num_blocks, prefix, layer_prefix):
    """Puts the weights of a reference stage into the layers of a model."""
    for k in range(num_blocks):
        source, target = f"{prefix}block{k}_", f"{layer_prefix}_block{k + 1}_"
        parts = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]
        if f"{source}shortcut_conv_kernel" in arrays:
            parts += ["shortcut_conv", "shortcut_bn"]
        for part in parts:
            layer = model.get_layer(target + part)
            if part.endswith("conv") or part.startswith("conv"):
                layer.set_weights([to_hwio(arrays[f"{source}{part}_kernel"])])
            else:
                layer.set_weights([arrays[f"{source}{part}_{n}"] for n in NORM])
    sda = model.get_layer(f"{layer_prefix}_sda")
    prefix = f"{prefix}sda_"
    sda.squeeze.kernel.assign(arrays[f"{prefix}squeeze_kernel"][:, :, 0, 0].T)
    sda.squeeze_bn.set_weights([arrays[f"{prefix}squeeze_bn_{n}"] for n in NORM])
    kernels = [arrays[f"{prefix}expand_{k}_kernel"] for k in range(num_blocks)]
    sda.expand.kernel.assign(np.concatenate([k[:, :, 0, 0].T for k in kernels], -1))
    sda.expand.bias.assign(
        np.concatenate([arrays[f"{prefix}expand_{k}_bias"] for k in range(num_blocks)])
    )


@pytest.mark.parametrize("name", ["resnet_s2", "resnet_s1_identity"])
def test_golden_stage(name):
    arrays, config = load_golden(f"dev_sda_stage_{name}")
    x = nhwc(arrays["input"])
    inputs = keras.Input(x.shape[1:])

    stage = Stage(
        config["blocks"], config["planes"], config["stride"], groups=(config["groups"],)
    )
    outputs = apply_stage(Parts(), inputs, _bottleneck, stage, "stage1")
    sums = [
        inputs_
        for inputs_ in keras.Model(inputs, outputs).get_layer("stage1_sda").input
    ]
    model = keras.Model(inputs, [outputs, *sums])
    fill_stage(model, arrays, config["blocks"], "", "stage1")
    output, *sums = infer(model, x)
    for k, z in enumerate(sums):
        assert_close(z, nhwc(arrays[f"block{k}_preact"]), name=f"block {k}")
    attention = model.get_layer("stage1_sda").compute_attention(sums)
    assert_close(attention, arrays["attention"], name="attention")
    assert_close(output, nhwc(arrays["output"]), name="output")


def test_golden_network():
    arrays, config = load_golden("dev_sda_resnet_tiny")
    x = nhwc(arrays["input"])
    model = SDAResNet(
        config["depths"],
        groups=config["groups"],
        base_width=config["base_width"],
        stem_width=config["base_width"],
        classes=config["classes"],
        classifier_activation=None,
        input_shape=x.shape[1:],
    )
    model.get_layer("stem_conv").set_weights([to_hwio(arrays["stem_conv_kernel"])])
    for layer, name in (("stem_bn", "stem_bn"), ("head_bn", "head_bn")):
        model.get_layer(layer).set_weights([arrays[f"{name}_{n}"] for n in NORM])
    model.get_layer("predictions").set_weights(
        [arrays["head_fc_kernel"].T, arrays["head_fc_bias"]]
    )
    for s, depth in enumerate(config["depths"], 1):
        fill_stage(model, arrays, depth, f"stage{s}_", f"stage{s}")
    names = ["stem_pool", *(f"stage{s}_sda" for s in range(1, 5)), "avg_pool"]
    probe = keras.Model(
        model.input, [model.get_layer(n).output for n in names] + [model.output]
    )
    *maps, pooled, logits = infer(probe, x)
    assert_close(maps[0], nhwc(arrays["stem_output"]), name="stem")
    for s in range(1, 5):
        assert_close(maps[s], nhwc(arrays[f"stage{s}_output"]), name=f"stage {s}")
    assert_close(pooled, arrays["pooled"].reshape(pooled.shape), name="pooled")
    assert_close(logits, arrays["logits"], name="logits")
    params = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert params == config["params"]


@pytest.mark.parametrize(
    "options, pyramid",
    [
        (
            {**TINY, "groups": 4},
            {"P2": (16, 16, 32), "P3": (8, 8, 64), "P4": (4, 4, 128)},
        ),
        (
            {**TINY, "stem": "cifar", "block_type": "basic", "min_width": 8},
            {"P0": (64, 64, 8), "P1": (32, 32, 16), "P2": (16, 16, 32)},
        ),
        ({**TINY, "depth_attention": False}, None),
    ],
    ids=["imagenet form", "cifar form", "plain"],
)
def test_application(options, pyramid, tmp_path):
    run_application_test(SDAResNet, tmp_path, size=64, pyramid=pyramid, **options)


def test_plain_trunk_is_a_plain_resnet():
    model = applications.SDAResNet50(depth_attention=False)
    params = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert params == 25_557_032
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_input_tensor_and_preprocessing_inside():
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    model = applications.SDAResNet20(input_tensor=x, input_shape=(32, 32, 1))
    assert model.input_shape == (None, 32, 32, 1)
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)


def test_mixed_precision_keeps_the_head_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = SDAResNet(**TINY, input_shape=(32, 32, 3), classes=3)
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert model.get_layer("avg_pool").compute_dtype == "float32"


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"input_shape": (16, 16, 3)}, "at least 32x32"),
        ({"input_shape": (32, 32)}, "three numbers"),
        ({"input_shape": (32, 32, 0)}, "number of channels"),
        ({"pooling": "mean"}, "`pooling`"),
        ({"classes": 0}, "`classes`"),
        ({"pyramid_outputs": True}, "`pyramid_outputs=True`"),
        ({"stackwise_num_blocks": [2, 0]}, "`stackwise_num_blocks`"),
        ({"stem": "tiny"}, "`stem`"),
        ({"block_type": "dense"}, "`block_type`"),
        ({"block_type": "basic", "groups": 2}, "`groups`"),
        ({"input_tensor": np.ones((1, 32, 32, 3))}, "`input_tensor`"),
    ],
)
def test_bad_arguments(kwargs, text):
    with pytest.raises(InvalidInputError, match=text):
        SDAResNet(**{**TINY, **kwargs})


def test_names():
    assert applications.get_model("sdaresnet20") is applications.SDAResNet20
    assert applications.get_model("ResNet50") is keras.applications.ResNet50
    with pytest.raises(InvalidInputError, match="Did you mean .*SDAResNet50"):
        applications.get_model("SDAResNet5O")


def test_preprocess_and_decode():
    x = applications.preprocess_input(np.zeros((1, 32, 32, 3)))
    expected = -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(x[0, 0, 0], expected, atol=1e-6)
    decoded = applications.decode_predictions(
        [[0.2, 0.5, 0.3]], top=2, class_names=["a", "b", "c"]
    )
    assert decoded == [[(1, "b", 0.5), (2, "c", 0.3)]]
    with pytest.raises(InvalidInputError, match="`preds`"):
        applications.decode_predictions([[0.5, 0.5]], class_names=["a"])

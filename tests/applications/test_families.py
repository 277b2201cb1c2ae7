"""The further families: reference stages, sizes, the authors' names."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_case import (
    FIXTURES,
    assert_close,
    infer,
    load_golden,
    run_application_test,
    to_hwio,
    to_nhwc,
)

from keras_sda import applications
from keras_sda.analysis import profile
from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
from keras_sda.applications.designs.backbone import Parts, Stage, apply_stage
from keras_sda.applications.families import sda_pyconv, sda_res2net, sda_senet

NORM = ("gamma", "beta", "mean", "var")
STAGES = ["senet_s2", "res2net_s2", "res2net_s1", "pyconv4_s2", "pyconv3_s2"]
FAMILIES = {
    "SDASENet": {"base_width": 16, "stem_width": 8},
    "SDARes2Net": {"stage_width": 16, "stem_width": 8},
    "SDAPyConv": {"base_width": 64, "stem_width": 8},
    "SDAEPSANet": {"base_width": 64, "stem_width": 8},
    "SDACBAM": {"base_width": 16, "stem_width": 8},
}


def stage_of(config):
    """The block function and the stage record of a reference file."""
    pyramid = ((3,), (1,))
    if config["family"] == "senet":
        block = sda_senet._block
    elif config["family"] == "res2net":

        def block(*args, **kwargs):
            return sda_res2net._block(
                *args, base_width=config["base_width"], scale=config["scale"], **kwargs
            )

    else:
        block = sda_pyconv._block
        pyramid = (tuple(config["kernels"]), tuple(config["pyconv_groups"]))
    stage = Stage(config["blocks"], config["planes"], config["stride"], *pyramid)
    return block, stage


def fill(model, arrays, num_blocks):
    """Puts the weights of a reference stage into the layers of a model by name."""
    for name, value in arrays.items():
        if not name.startswith("block") or not name.endswith("_kernel"):
            continue
        block, part = name.removesuffix("_kernel").split("_", 1)
        prefix = f"stage1_block{int(block.removeprefix('block')) + 1}_"
        if part.startswith("se_fc"):
            dense = model.get_layer(f"{prefix}se")
            dense = dense.squeeze if part == "se_fc1" else dense.excite
            dense.kernel.assign(value.T)
            dense.bias.assign(arrays[f"{block}_{part}_bias"])
        elif part.startswith("conv2_"):
            number = int(part.removeprefix("conv2_")) + 1
            names = [layer.name for layer in model.layers]
            if f"{prefix}conv2_{number}" in names:
                model.get_layer(f"{prefix}conv2_{number}").set_weights([to_hwio(value)])
            else:
                level = model.get_layer(f"{prefix}conv2").levels[number - 1]
                level.kernel.assign(to_hwio(value))
        else:
            model.get_layer(prefix + part).set_weights([to_hwio(value)])
    for name in arrays:
        if name.startswith("block") and name.endswith("_gamma"):
            block, part = name.removesuffix("_gamma").split("_", 1)
            prefix = f"stage1_block{int(block.removeprefix('block')) + 1}_"
            values = [arrays[f"{block}_{part}_{n}"] for n in NORM]
            if part.startswith("bn2_"):
                part = f"bn2_{int(part.removeprefix('bn2_')) + 1}"
            model.get_layer(prefix + part).set_weights(values)
    sda = model.get_layer("stage1_sda")
    sda.squeeze.kernel.assign(arrays["sda_squeeze_kernel"][:, :, 0, 0].T)
    sda.squeeze_bn.set_weights([arrays[f"sda_squeeze_bn_{n}"] for n in NORM])
    blocks = range(num_blocks)
    kernels = [arrays[f"sda_expand_{k}_kernel"][:, :, 0, 0].T for k in blocks]
    sda.expand.kernel.assign(np.concatenate(kernels, -1))
    sda.expand.bias.assign(
        np.concatenate([arrays[f"sda_expand_{k}_bias"] for k in blocks])
    )


@pytest.mark.parametrize("name", STAGES)
def test_golden_stage(name):
    arrays, config = load_golden(f"dev_sda_stage_{name}")
    x = to_nhwc(arrays["input"])
    inputs = keras.Input(x.shape[1:])
    block, stage = stage_of(config)
    outputs = apply_stage(Parts(), inputs, block, stage, "stage1")
    sums = keras.Model(inputs, outputs).get_layer("stage1_sda").input
    model = keras.Model(inputs, [outputs, *sums])
    fill(model, arrays, config["blocks"])
    output, *sums = infer(model, x)
    for k, z in enumerate(sums):
        assert_close(z, to_nhwc(arrays[f"block{k}_preact"]), name=f"block {k}")
    assert_close(output, to_nhwc(arrays["output"]), name="output")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_application(name, tmp_path):
    constructor = getattr(applications, name)
    model = constructor([1, 1], **FAMILIES[name], include_top=False)
    width = model.output_shape[-1]
    run_application_test(
        constructor,
        tmp_path,
        size=64,
        pyramid={"P2": (16, 16, width // 2), "P3": (8, 8, width)},
        stackwise_num_blocks=[1, 1],
        **FAMILIES[name],
    )


@pytest.mark.parametrize(
    "name, key",
    [
        ("SDASENet86", "SENet-86 (no SDA)"),
        ("SDARes2Net86", "Res2Net-86 26w4s (no SDA)"),
        ("SDAPyConv86", "PyConv-86 (no SDA)"),
    ],
)
def test_plain_trunks(name, key):
    table = json.loads((FIXTURES / "dev_sda_param_groups.json").read_text())
    result = profile(applications.get_model(name)(depth_attention=False))
    assert result.trainable_params == table[key]["params"]
    assert result.macs == table[key]["macs"]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_file_with_the_authors_names(name, tmp_path):
    constructor = getattr(applications, name)
    arguments = {"stackwise_num_blocks": [2, 2], "classes": 5, **FAMILIES[name]}
    model = constructor(**arguments, input_shape=(32, 32, 3))
    generator = np.random.default_rng(1)
    tensors = {
        k: generator.uniform(0.5, 1, v.shape).astype("float32")
        for k, v in to_torch_tensors(model).items()
    }
    save_file(tensors, tmp_path / "m.safetensors")
    again = constructor(
        **arguments, input_shape=(32, 32, 3), weights=tmp_path / "m.safetensors"
    )
    loaded = to_torch_tensors(again)
    assert loaded.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(loaded[key], value, err_msg=key)


def test_names_of_the_authors():
    names = set(to_torch_tensors(applications.SDASENet([1], base_width=16)))
    assert {"stage1.layers.0.fc1.weight", "stage1.layers.0.fc2.bias"} <= names
    names = set(to_torch_tensors(applications.SDARes2Net([1], stage_width=32)))
    assert {
        "stage1.layers.0.convs.2.weight",
        "stage1.layers.0.bns.0.running_var",
        "stage1.layers.0.downsample.0.weight",
    } <= names
    names = set(to_torch_tensors(applications.SDAPyConv([1, 1, 1, 1])))
    assert {
        "stage1.layers.0.conv2.conv2_4.weight",
        "stage4.layers.0.conv2.weight",
        "stage1.layers.0.downsample.1.weight",
        "stage1.layers.0.downsample.2.running_mean",
    } <= names

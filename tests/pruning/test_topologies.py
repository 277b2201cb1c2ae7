"""The zoo of topologies: mask and shrink agree, in memory, on disk and exported."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import (
    flat_outputs,
    random_inputs,
    random_plan,
    randomize,
    run_surgery_test,
)
from pruning.zoo import conv, head, image_model
from pruning.zoo_structures import TOPOLOGIES

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import shrink

# Their weights run at more than one resolution, or twice with different sizes.
INEXACT = ("pyramid_split", "depth_attention_stage")
# Keras cannot load the original either.
NOT_LOADABLE = ("layer_shared_between_models",)


# One of a kind is exported in the quick tests, all of them in the large ones.
EXPORTED = (
    "residual depthwise grouped_depthwise split_res2net nested_shared shared_layers "
    "squeeze_excite_layer depth_attention_stage flatten_dense dictionaries"
).split()


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_mask_and_shrink_agree(name, tmp_path):
    run_surgery_test(
        TOPOLOGIES[name](),
        tmp_path=tmp_path,
        reload=name not in NOT_LOADABLE,
        exact_macs=name not in INEXACT,
        export=name in EXPORTED,
    )


def test_exported_topologies_exist():
    assert set(EXPORTED) <= set(TOPOLOGIES)


@pytest.mark.large
@pytest.mark.parametrize("name", sorted(set(TOPOLOGIES) - set(EXPORTED)))
def test_exports_agree(name, tmp_path):
    run_surgery_test(
        TOPOLOGIES[name](),
        tmp_path=tmp_path,
        reload=False,
        exact_macs=name not in INEXACT,
    )


@pytest.mark.parametrize("name", ["residual", "split_swapped", "grouped_after_concat"])
def test_one_channel_of_every_group_is_enough(name):
    run_surgery_test(TOPOLOGIES[name](), plan=3, fraction=1)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_dtype_policies_survive(policy):
    keras.config.set_dtype_policy(policy)
    model = image_model(
        lambda x: conv(layers.Conv2D(6, 3, dtype="float32")(conv(x, 8)))
    )
    small, _ = run_surgery_test(model, tolerance=0.05)
    assert small.layers[1].compute_dtype == policy[6:]


def test_layer_shared_between_models_stays_one():
    model = TOPOLOGIES["layer_shared_between_models"]()
    small, plan = run_surgery_test(model)
    shared = small.get_layer("shared")
    assert small.get_layer("inner").get_layer("shared") is shared
    assert shared.filters == 6 - len(plan.remove["inner/shared"])


STOCK = (
    "residual operators u_net grouped_depthwise nested_in_nested shared_layers "
    "split_res2net reshape_that_keeps_channels instance_normalization einsum_dense"
).split()

LOAD = """
import json, sys
sys.modules["keras_sda"] = None
import keras, numpy as np
worst = {}
for name in json.loads(sys.argv[2]):
    folder = sys.argv[1] + "/" + name
    model = keras.saving.load_model(folder + ".keras")
    data = np.load(folder + ".npz")
    y = keras.tree.flatten(model(data["x"], training=False))
    worst[name] = float(np.abs(np.asarray(y[0]) - data["y"]).max())
print(json.dumps(worst))
"""


def test_stock_models_load_without_this_package(tmp_path, run_python):
    for name in STOCK:
        model = TOPOLOGIES[name]()
        if name == "grouped_depthwise":  # without the layer of this package
            x = keras.Input((8, 8, 3))
            y = layers.Conv2D(16, 3, groups=8)(conv(x, 8))
            model = keras.Model(x, head(y))
        randomize(model)
        small = shrink(model, random_plan(ChannelGraph(model)))
        x = random_inputs(small)
        small.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", x=x, y=flat_outputs(small, x)[0])
    program = tmp_path / "load.py"
    program.write_text(LOAD)
    result = run_python([program, tmp_path, json.dumps(STOCK)])
    worst = json.loads(result.stdout.splitlines()[-1])
    assert set(worst) == set(STOCK)
    assert max(worst.values()) < 1e-5, worst


CHANNELS_FIRST = """
import sys
sys.path.insert(0, "tests")
import keras
keras.config.set_image_data_format("channels_first")
from keras import layers
from pruning.surgery_checks import run_surgery_test
from keras_sda.layers import SelectiveDepthAttention, SqueezeExcite2D

def conv(x, filters):
    x = layers.Conv2D(filters, 3, padding="same")(x)
    return layers.Activation("sigmoid")(layers.BatchNormalization(axis=1)(x))

x = keras.Input((3, 8, 8))
a, b = conv(x, 6), conv(x, 6)
y = SelectiveDepthAttention()([a, layers.Add()([a, b])])
y = SqueezeExcite2D(4)(layers.Concatenate(axis=1)([y, conv(b, 5)]))
y = layers.DepthwiseConv2D(3, depth_multiplier=2)(layers.MaxPooling2D()(y))
y = layers.Flatten()(y[:, 3:])
run_surgery_test(keras.Model(x, layers.Dense(3)(y)), exact_macs=False)
print("same", keras.backend.backend())
"""


@pytest.mark.large
def test_channels_first_without_tensorflow(run_python):
    code = 'import sys; sys.modules["tensorflow"] = None\n' + CHANNELS_FIRST
    result = run_python(code, env={"KERAS_BACKEND": "jax"})
    assert "same jax" in result.stdout

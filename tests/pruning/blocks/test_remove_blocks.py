"""The model without a block equals the one whose last weights of it are zero."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers
from pruning.blocks.block_networks import NETWORKS, layer_names, run_block_test
from pruning.surgery_checks import flat_outputs, random_inputs
from pruning.test_random_graphs import PARTS
from pruning.zoo import conv, head

from keras_sda.graph import residual_branches
from keras_sda.pruning import removable_blocks, remove_blocks
from keras_sda.pruning.blocks.removable_blocks import find_blocks
from keras_sda.utils import InvalidInputError

BLOCKS = {
    "with_normalization": ["a", "b"],
    "without_normalization": None,
    "depth_attention": None,
    "inverted_residuals": ["add1", "add3"],
    "several_terms": ["both:one_bn", "both:two_bn", "first", "second", "pooled"],
    "nested": ["inner/sum", "outer"],
    "as_output": ["one", "two"],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_blocks_together(name, tmp_path):
    model = NETWORKS[name]()
    found = [block.name for block in removable_blocks(model)]
    expected = BLOCKS[name]
    if expected is not None:
        # Ends of blocks have the activation of `conv` behind them.
        assert [x.split(":")[0] for x in found] == [x.split(":")[0] for x in expected]
    assert len(found) > 1
    saved = name in ("with_normalization", "without_normalization", "nested")
    run_block_test(model, found, tmp_path if saved else None)


@pytest.mark.parametrize("name", ["several_terms", "nested"])
def test_one_block(name):
    model = NETWORKS[name]()
    run_block_test(model, [removable_blocks(model)[-1].name])


def test_the_layers_of_a_block_are_named_and_gone():
    model = NETWORKS["inverted_residuals"]()
    block = removable_blocks(model)[0]
    names = {"expand1", "expand1_bn", "project1", "add1"}
    assert names < set(block.layers) and len(block.layers) == 9
    small = remove_blocks(model, [block.name])
    assert not names & set(layer_names(small))
    # A name alone will do.
    assert len(remove_blocks(model, "add1").layers) == len(small.layers)


def test_a_block_without_effect_can_go_without_effect():
    model = NETWORKS["with_normalization"]()
    last = model.get_layer("b2_bn")
    for variable in (last.gamma, last.beta):
        variable.assign(keras.ops.zeros_like(variable))
    inputs = random_inputs(model)
    small = remove_blocks(model, ["b"])
    for one, other in zip(
        flat_outputs(small, inputs), flat_outputs(model, inputs), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_half_precision_stays():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        x = keras.Input((4,), name="x")  # float32
        y = layers.Add(name="sum")([x, layers.Dense(4, name="inner")(x)])
        model = keras.Model(x, layers.Dense(2, dtype="float32", name="top")(y))
        sum_type = model.get_layer("sum").output.dtype
        small = remove_blocks(model, ["sum"])
    finally:
        keras.config.set_dtype_policy(policy)
    assert sum_type == "float16"
    assert small.get_layer("top").input.dtype == "float16"
    value = np.full((1, 4), 1 / 3, "float32")
    model.get_layer("inner").kernel.assign(np.zeros((4, 4)))
    np.testing.assert_array_equal(small(value), model(value))


def test_frozen_layers_and_stock_classes_stay():
    model = NETWORKS["inverted_residuals"]()
    model.get_layer("expand2").trainable = False
    small = remove_blocks(model, ["add1"])
    assert not small.get_layer("expand2").trainable
    assert all(type(x).__module__.startswith("keras.") for x in small.layers)
    for layer in small.layers:
        for one, other in zip(
            layer.weights, model.get_layer(layer.name).weights, strict=True
        ):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
            )


def test_blocks_inside_of_blocks():
    x = keras.Input((4,), name="x")
    y = layers.Dense(4, name="outer_in")(x)
    y = layers.Add(name="inner")([y, layers.Dense(4, name="inside")(y)])
    y = layers.Dense(4, name="outer_out")(y)
    model = keras.Model(
        x, layers.Dense(2, name="top")(layers.Add(name="outer")([x, y]))
    )
    assert [block.name for block in removable_blocks(model)] == ["inner", "outer"]
    run_block_test(model, ["inner"])
    run_block_test(model, ["outer"])
    both = remove_blocks(model, ["outer", "inner"])
    assert [layer.name for layer in both.layers] == ["x", "top"]


def test_an_input_that_only_a_block_reads_stays_an_input():
    x, z = keras.Input((4,), name="x"), keras.Input((3,), name="z")
    y = layers.Dense(4, name="of_both")(layers.Concatenate()([x, z]))
    y = layers.Dense(2, name="top")(layers.Add(name="sum")([x, y]))
    run_block_test(keras.Model([x, z], y), ["sum"])


def test_what_is_read_elsewhere_stays():
    """Depth attention over the outputs of blocks still reads what they hand on."""
    x = keras.Input((8, 8, 3), name="x")
    y = conv(x, 4)
    z = conv(y, 4, activation="linear", name="z")
    total = layers.Add(name="sum")([y, z])
    model = keras.Model(x, head(layers.Concatenate()([total, z])))
    (branch, _) = (x for x in residual_branches(model) if x.joint.name == "sum")
    assert branch.why_not == "no layer with weights would go with it"
    with pytest.raises(InvalidInputError, match="no layer with weights would go"):
        remove_blocks(model, ["sum"])


@pytest.mark.parametrize(
    "name, block, message",
    [
        (
            "with_normalization",
            "c",
            "'c' cannot go .*no shortcut stands beside it, but",
        ),
        ("with_normalization", "a2", "is a layer of the block 'a', and no block by"),
        (
            "with_normalization",
            "stem",
            r"no residual sum or concatenation of the model",
        ),
        ("with_normalization", "aa", "nearest is 'a'. .*It can lose 'a', 'b'"),
        ("several_terms", "both", "several blocks, 'both:"),
        ("nested", "sum", "'sum' is no residual sum .*'inner/sum', 'outer'"),
        ("with_normalization", 3, "3 is no residual sum"),
    ],
)
def test_blocks_that_cannot_go_are_refused(name, block, message):
    with pytest.raises(InvalidInputError, match=message):
        remove_blocks(NETWORKS[name](), [block])


def test_a_model_without_blocks_says_so():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(x))
    assert removable_blocks(model) == []
    with pytest.raises(InvalidInputError, match="It has none that can go"):
        remove_blocks(model, ["sum"])


def test_all_terms_of_a_sum_are_refused():
    x = keras.Input((4,), name="x")
    one = layers.Add(name="one")([x, layers.Dense(4)(x)])
    two = layers.Add(name="two")([x, layers.Dense(4)(x)])
    model = keras.Model(x, layers.Dense(2)(layers.Add(name="total")([one, two])))
    names = [block.name for block in removable_blocks(model)]
    assert names == ["one", "two", "total:one", "total:two"]
    with pytest.raises(InvalidInputError, match="all terms of the sum total"):
        remove_blocks(model, names)
    assert remove_blocks(model, names[:3]).count_params() == 10


def test_the_last_block_of_a_sum_has_its_name_too():
    model = NETWORKS["several_terms"]()
    first, second = [x.name for x in removable_blocks(model)][:2]
    small = remove_blocks(model, [first])
    assert removable_blocks(small)[0].name == "both"
    again = remove_blocks(model, [first, "both"])
    assert layer_names(again) == layer_names(remove_blocks(model, [first, second]))


def test_a_mask_that_the_sum_ends_is_kept_from_its_readers():
    x = keras.Input((5,), dtype="int32", name="x")
    y = layers.Embedding(9, 4, mask_zero=True, name="words")(x)
    y = y + layers.Conv1D(4, 3, padding="same", name="filters")(y)
    model = keras.Model(x, layers.GlobalAveragePooling1D()(y))
    name = residual_branches(model)[0].joint.name
    with pytest.raises(InvalidInputError, match="mask of the other terms would reach"):
        remove_blocks(model, [name])


steps = st.lists(
    st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, 7), st.integers(0, 7)),
    min_size=0,
    max_size=4,
)


@pytest.mark.large
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(before=steps, after=steps, several=st.booleans())
def test_blocks_of_random_graphs(before, after, several):
    x = keras.Input((8, 8, 3))
    tensors = [conv(x, 6), conv(x, 4)]
    last = len(before) + 1
    residual = [("residual", last, last), ("residual", last + 1, last + 1)]
    for name, first, second in [*before, *residual, *after]:
        x_first = tensors[first % len(tensors)]
        if x_first.shape[-1] > 24 or (name == "split" and x_first.shape[-1] % 2):
            name = "convolution"
        tensors.append(PARTS[name](x_first, tensors[second % len(tensors)]))
    # Everything is read, so that every block makes a difference.
    pooled = [layers.GlobalAveragePooling2D()(y) for y in tensors]
    model = keras.Model(x, layers.Dense(3)(layers.Concatenate()(pooled)))
    # Zeros at the end are what a sum lacks; concatenations have tests of their own.
    names = [block.name for block, x in find_blocks(model) if not x.is_joined]
    assert names
    run_block_test(model, names if several else names[:1], tolerance=2e-5)

"""Blocks whose output is joined with what they read, as in DenseNet."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from pruning.surgery_checks import (
    assert_outputs_close,
    flat_exported,
    flat_outputs,
    random_inputs,
    randomize,
)
from pruning.test_random_graphs import PARTS
from pruning.zoo import conv, head

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph, check_own_variables
from keras_sda.layers import SqueezeExcite2D
from keras_sda.pruning import (
    PruningPlan,
    block_importance,
    make_plan,
    mask,
    prune,
    reconstruct,
    removable_blocks,
    remove_blocks,
    shrink,
)
from keras_sda.utils import InvalidInputError

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
WIDTH = {"stem": 5, "a": 3, "b": 4, "c": 2}


def dense_network(names="abc", style="chain", sizes=None):
    """Blocks that read all that is before them; `names` says which are there."""
    sizes = sizes or WIDTH
    x = keras.Input((8, 8, 3), name="x")
    found = [layers.Conv2D(sizes["stem"], 3, padding="same", name="stem")(x)]
    joined = found[0]
    for name in names:
        y = layers.BatchNormalization(name=f"{name}_bn1")(joined)
        y = layers.Conv2D(6, 1, name=f"{name}_conv1")(layers.ReLU()(y))
        y = layers.BatchNormalization(name=f"{name}_bn2")(y)
        y = layers.Conv2D(
            sizes[name], 3, padding="same", use_bias=False, name=f"{name}_conv2"
        )(layers.Activation("gelu")(y))
        found.append(y)
        if style == "chain":
            joined = layers.Concatenate(name=name)([joined, y])
        elif style == "operation":
            joined = ops.concatenate([joined, y], axis=-1)
        else:
            joined = layers.Concatenate(name=name)(found)
    y = layers.BatchNormalization(name="bn")(joined)
    y = layers.Conv2D(7, 1, name="last")(layers.ReLU()(y))
    y = layers.GlobalAveragePooling2D()(y)
    return keras.Model(x, layers.Dense(3, name="top")(y), name="dense_network")


def with_fewer(model, names, all_names="abc"):
    """The network of the other blocks, its weights cut by hand."""
    small = dense_network(names)
    positions = {}
    start = 0
    for name in ("stem", *all_names):
        positions[name] = np.arange(start, start + WIDTH[name])
        start += WIDTH[name]
    for layer in small.layers:
        if not layer.weights:
            continue
        block = layer.name.split("_")[0]
        before = all_names[: all_names.index(block)] if block in all_names else ""
        if layer.name in ("bn", "last"):
            before = all_names
        stays = np.concatenate(
            [positions[n] for n in ("stem", *before) if n in ("stem", *names)]
        )
        values = []
        for new, old in zip(
            layer.weights, model.get_layer(layer.name).weights, strict=True
        ):
            value = keras.ops.convert_to_numpy(old)
            if tuple(value.shape) != tuple(new.shape):
                value = np.take(value, stays, -2 if value.ndim > 1 else 0)
            values.append(value)
        layer.set_weights(values)
    return small


@pytest.fixture(params=["chain", "operation", "flat"])
def model(request):
    made = dense_network(style=request.param)
    randomize(made)
    return made


def names_of(model):
    return [block.name for block in removable_blocks(model)]


@pytest.mark.parametrize("gone", [[1], [0, 2], [0, 1, 2]])
def test_the_smaller_network_is_that_without_the_blocks(model, gone, tmp_path):
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.weights]
    blocks = removable_blocks(model)
    small = remove_blocks(model, [blocks[k].name for k in gone])
    expected = with_fewer(model, [n for k, n in enumerate("abc") if k not in gone])
    inputs = random_inputs(model)
    received = flat_outputs(small, inputs)
    assert_outputs_close(received, flat_outputs(expected, inputs), 1e-5)
    assert small.count_params() == expected.count_params()
    assert all(type(x).__module__.startswith("keras.") for x in small.layers)
    lost = {f"{'abc'[k]}_conv2" for k in gone}
    assert not lost & {layer.name for layer in small.layers}
    check_own_variables(model, small)
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    if gone == [1]:
        small.save(tmp_path / "small.keras")
        loaded = keras.saving.load_model(tmp_path / "small.keras")
        assert_outputs_close(flat_outputs(loaded, inputs), received, 1e-6)
        exported = flat_exported(small, inputs, tmp_path / "export")
        assert_outputs_close(exported, received, 1e-5)


def test_names_and_layers():
    blocks = removable_blocks(dense_network())
    assert [block.name for block in blocks] == ["a", "b", "c"]
    assert {"b_bn1", "b_conv1", "b_bn2", "b_conv2"} < set(blocks[1].layers)
    # Every block is named once, where its output is joined for the first time.
    flat = removable_blocks(dense_network(style="flat"))
    assert [block.name for block in flat] == ["a", "b", "c"]
    assert [x.num_params for x in flat] == [x.num_params for x in blocks]


@pytest.mark.large
def test_densenet():
    made = keras.applications.DenseNet121(
        weights=None, input_shape=(32, 32, 3), classes=5
    )
    names = names_of(made)
    assert len(names) == 6 + 12 + 24 + 16 and names[0] == "conv2_block1_concat"
    small = remove_blocks(made, ["conv2_block3_concat", "conv5_block16_concat"])
    assert small.get_layer("conv2_block4_0_bn").gamma.shape == (64 + 2 * 32,)
    assert small.get_layer("bn").gamma.shape == (1024 - 32,)
    gone = {x.name for x in made.layers} - {x.name for x in small.layers}
    assert {"conv2_block3_concat", "conv5_block16_2_conv"} < gone and len(gone) == 14


def test_importance_is_the_rise_of_the_loss(model):
    inputs = random_inputs(model, batch_size=6)
    targets = np.array([0, 1, 2, 0, 1, 2])

    def loss_of(model):
        return float(LOSS(targets, model(inputs, training=False)))

    found = block_importance(model, (inputs, targets), loss=LOSS)
    assert list(found) == names_of(model)
    whole = loss_of(model)
    for name, rise in found.items():
        expected = loss_of(remove_blocks(model, [name])) - whole
        assert rise == pytest.approx(expected, rel=1e-4, abs=1e-5)
    dependent = block_importance(model, np.repeat(inputs, 3, 0), how="dependence")
    assert list(dependent) == list(found) and min(dependent.values()) >= 0


def test_sums_and_concatenations_in_one_network():
    x = keras.Input((8, 8, 3), name="x")
    y = conv(x, 4)
    y = layers.Add(name="sum")([y, conv(y, 4, activation="linear", name="one")])
    y = layers.Concatenate(name="joint")([y, conv(y, 3, name="two")])
    # What the sum adds to the channels of the block goes with them.
    y = layers.Add(name="wide")([y, conv(y, 7, activation="linear", name="three")])
    y = SqueezeExcite2D(3, name="excite")(y)
    model = keras.Model(x, head(y))
    randomize(model)
    names = names_of(model)
    assert [name.split(":")[0] for name in names] == ["sum", "joint", "wide"]
    inputs, targets = random_inputs(model, batch_size=3), np.array([0, 1, 2])
    found = block_importance(model, (inputs, targets), loss=LOSS)
    for name in names:
        small = remove_blocks(model, [name])
        losses = [float(LOSS(targets, m(inputs))) for m in (small, model)]
        expected = losses[0] - losses[1]
        assert found[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    small = remove_blocks(model, ["joint"])
    assert small.get_layer("three").filters == 4
    plan = make_plan(model, blocks=["joint"])
    assert plan.remove["three"] == [4, 5, 6] and plan.channels["three"] == 7
    run_plan(model, plan, inputs)
    two = make_plan(model, macs=0.5, blocks=["joint", "sum"])
    assert set(two.remove["three"]) >= {4, 5, 6}
    run_plan(model, two, inputs)


def run_plan(model, plan, inputs):
    small = shrink(model, plan)
    counted = profile(small)
    assert plan.expected["macs"] == counted.macs < plan.expected["macs_before"]
    assert plan.expected["params"] == counted.params
    received = flat_outputs(small, inputs)
    assert_outputs_close(flat_outputs(mask(model, plan), inputs), received, 1e-5)
    again = PruningPlan(plan.model, plan.channels, plan.remove, blocks=plan.blocks)
    assert_outputs_close(flat_outputs(shrink(model, again), inputs), received, 1e-6)
    return small


def test_plans(model, tmp_path):
    inputs, name = random_inputs(model), names_of(model)[1]
    alone = make_plan(model, blocks=[name])
    assert alone.remove == {} and "b_conv2" in alone.channels
    assert_outputs_close(
        flat_outputs(run_plan(model, alone, inputs), inputs),
        flat_outputs(remove_blocks(model, [name]), inputs),
        1e-6,
    )
    plan = make_plan(model, macs=0.5, blocks=[name])
    assert plan.expected["macs"] <= 0.5 * plan.expected["macs_before"]
    assert plan.remove and "b_conv2" not in plan.remove
    run_plan(model, plan, inputs)
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan
    masked = mask(model, plan)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.saving.load_model(tmp_path / "masked.keras")
    assert_outputs_close(
        flat_outputs(loaded, inputs), flat_outputs(masked, inputs), 1e-6
    )


def test_steps_are_joined(model):
    name = names_of(model)[0]
    result = prune(model, params=0.4, steps=2, blocks=[name], fine_tune=lambda m: m)
    assert result.plan.blocks == (name,)
    assert result.report.params_after <= 0.4 * result.report.params_before
    inputs = random_inputs(model)
    assert_outputs_close(
        flat_outputs(shrink(model, result.plan), inputs),
        flat_outputs(result.model, inputs),
        1e-5,
    )


def test_the_loss_decides():
    model = dense_network()
    randomize(model)
    data = random_inputs(model, batch_size=12), np.arange(12) % 3
    plan = make_plan(model, macs=0.6, blocks="auto", data=data, loss=LOSS)
    run_plan(model, plan, data[0])
    one = make_plan(model, blocks=1, data=data, loss=LOSS)
    worth = block_importance(model, data, loss=LOSS)
    assert one.blocks == (min(worth, key=worth.get),)


@pytest.mark.parametrize("sequential", [True, False])
def test_kernels_make_up_for_a_block(model, sequential):
    """What a block made can be had from what is left where it depends on that."""
    last = model.get_layer("b_conv2")
    last.kernel.assign(keras.ops.zeros_like(last.kernel))
    for layer in model.layers:  # and what they read of it is not zero
        if isinstance(layer, layers.BatchNormalization):
            layer.beta.assign(keras.ops.ones_like(layer.beta))
    name = names_of(model)[1]
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")
    plan = make_plan(model, blocks=[name])
    whole = flat_outputs(model, images)
    errors = []
    for small in (
        shrink(model, plan),
        reconstruct(model, plan, images, sequential=sequential),
    ):
        found = flat_outputs(small, images)
        errors.append(float(np.mean((found[0] - whole[0]) ** 2)))
        assert small.count_params() == plan.expected["params"]
    assert errors[1] < (0.05 if sequential else 1.0) * errors[0]


@pytest.mark.parametrize(
    "join, message",
    [
        (lambda x: layers.Concatenate(name="j")([x, conv(x, 3, name="e")]), None),
        (
            lambda x: layers.Concatenate(name="j")(
                [conv(x, 3, name="d"), conv(x, 3, name="e")]
            ),
            "no shortcut stands beside it",
        ),
        (
            lambda x: layers.Concatenate(name="j")(
                [x, layers.Multiply(name="m")([x, conv(x, 5, name="e")])]
            ),
            "its channels belong together with those of 'stem'",
        ),
        (
            lambda x: layers.Concatenate(axis=1, name="j")([x, conv(x, 5, name="e")]),
            "joined along another axis",
        ),
        (
            lambda x: layers.LayerNormalization(name="n")(
                layers.Concatenate(name="j")([x, conv(x, 3, name="e")])
            ),
            "its channels stay",
        ),
    ],
)
def test_what_can_go(join, message):
    x = keras.Input((8, 8, 3), name="x")
    y = layers.Conv2D(5, 3, padding="same", name="stem")(x)
    model = keras.Model(x, head(join(y)), name="network")
    if message is None:
        assert names_of(model) == ["j"]
        return
    assert "j" not in [name.split(":")[0] for name in names_of(model)]
    with pytest.raises(InvalidInputError, match=message):
        remove_blocks(model, ["j"])


def test_an_output_stays():
    x = keras.Input((4,), name="x")
    y = layers.Concatenate(name="j")([x, layers.Dense(3, name="e")(x)])
    assert removable_blocks(keras.Model(x, y)) == []
    with pytest.raises(InvalidInputError, match="it is an output of the model"):
        remove_blocks(keras.Model(x, y), ["j"])


def test_a_nested_network_that_is_called_twice():
    inner = keras.Input((8, 8, 4))
    y = layers.Concatenate(name="j")([inner, conv(inner, 2, name="e")])
    shared = keras.Model(inner, layers.Conv2D(4, 1, name="p")(y), name="inner")
    x = keras.Input((8, 8, 3), name="x")
    y = shared(layers.ReLU()(shared(conv(x, 4))))
    model = keras.Model(x, head(y), name="network")
    randomize(model)
    assert names_of(model) == ["inner/j"]
    inputs = random_inputs(model)
    small = remove_blocks(model, ["inner/j"])
    kernel = small.get_layer("inner").get_layer("p").kernel
    assert kernel.shape[-2] == 4
    plan = make_plan(model, blocks=["inner/j"])
    assert_outputs_close(
        flat_outputs(small, inputs), flat_outputs(mask(model, plan), inputs), 1e-5
    )


steps = st.lists(
    st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, 7)),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
@given(steps)
def test_random_graphs(steps):
    """Masked and removed are the same, and the importance is that of the removal."""
    x = keras.Input((8, 8, 3))
    tensors = [conv(x, 6)]
    for number, (name, other) in enumerate(steps):
        y = PARTS[name](tensors[-1], tensors[other % len(tensors)])
        if y.shape[1:3] != (8, 8):
            continue
        y = layers.Concatenate(name=f"joint{number}")([tensors[-1], y])
        tensors.append(y)
    model = keras.Model(x, head(tensors[-1]))
    randomize(model)
    inputs, targets = random_inputs(model, batch_size=3), np.array([0, 1, 2])
    blocks = removable_blocks(model)
    if not blocks:
        return
    importance = block_importance(model, (inputs, targets), loss=LOSS)
    whole = float(LOSS(targets, model(inputs)))
    for block in blocks:
        small = remove_blocks(model, [block.name])
        plan = make_plan(model, blocks=[block.name])
        received = flat_outputs(small, inputs)
        assert_outputs_close(flat_outputs(mask(model, plan), inputs), received, 1e-4)
        rise = float(LOSS(targets, small(inputs))) - whole
        assert importance[block.name] == pytest.approx(rise, rel=1e-3, abs=1e-4)
        ChannelGraph(small)

"""Recurrent layers, attention heads and operations that move values: exactly pruned."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruning.surgery_checks import random_inputs, run_surgery_test
from pruning.zoo import conv, image_model
from pruning.zoo_sequences import SEQUENCES, sequence_model

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import PruningPlan, make_plan, shrink

# Compiling the loops of an export takes long; these say it for all.
EXPORTED = ("lstm", "time_distributed", "rearranged", "multi_head_attention")
# Small relatives of those that run always.
LARGE = (
    "simple_rnn recurrent_shared bidirectional_merges bidirectional_states "
    "bidirectional_convolutional_lstm"
).split()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.large] * (n in LARGE)) for n in SEQUENCES],
)
def test_mask_and_shrink_agree(name, tmp_path):
    model = SEQUENCES[name]()
    small, _ = run_surgery_test(model, tmp_path=tmp_path, export=name in EXPORTED)
    stays = {u.layer for u in ChannelGraph(model).untouchable}
    assert stays == {"predictions"}
    trains_one_step(small)


@pytest.mark.large
@pytest.mark.parametrize("name", [name for name in SEQUENCES if name not in EXPORTED])
def test_exports(name, tmp_path):
    run_surgery_test(SEQUENCES[name](), plan=5, tmp_path=tmp_path)


def trains_one_step(model):
    model.compile("sgd", "mse", run_eagerly=True)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    inputs = random_inputs(model)
    model.train_on_batch(inputs, np.ones((2, *model.output_shape[1:]), "float32"))
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert all(np.isfinite(x).all() for x in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def remove(model, **channels):
    """Shrinks a model by these channels and checks that it agrees with the mask."""

    def plan(model, graph):
        removed = np.zeros(len(graph.units.pinned), bool)
        for name, positions in channels.items():
            removed[graph.units.classes[graph.layers[name].made[positions]]] = True
        return PruningPlan.from_classes(graph, removed)

    return run_surgery_test(model, plan=plan)[0]


def test_the_gates_of_a_unit_go_together():
    def body(x):
        return layers.GRU(3, name="second")(
            layers.LSTM(5, return_sequences=True, name="first")(x)
        )

    model = sequence_model(body)
    small = remove(model, first=[1, 3])
    kernel, recurrent, bias = (
        keras.ops.convert_to_numpy(v) for v in model.get_layer("first").weights
    )
    columns = [g * 5 + unit for g in range(4) for unit in (0, 2, 4)]
    new = [keras.ops.convert_to_numpy(v) for v in small.get_layer("first").weights]
    np.testing.assert_array_equal(new[0], kernel[:, columns])
    np.testing.assert_array_equal(new[1], recurrent[[0, 2, 4]][:, columns])
    np.testing.assert_array_equal(new[2], bias[columns])
    second = keras.ops.convert_to_numpy(model.get_layer("second").cell.kernel)
    cut = keras.ops.convert_to_numpy(small.get_layer("second").cell.kernel)
    np.testing.assert_array_equal(cut, second[[0, 2, 4]])
    small = remove(model, second=[0])
    bias = keras.ops.convert_to_numpy(model.get_layer("second").cell.bias)
    cut = keras.ops.convert_to_numpy(small.get_layer("second").cell.bias)
    assert bias.shape == (2, 9)
    np.testing.assert_array_equal(cut, bias[:, [1, 2, 4, 5, 7, 8]])


def test_a_key_head_goes_with_its_query_heads():
    def body(x):
        return layers.GroupQueryAttention(3, 4, 2, name="heads")(x, x)

    small = remove(sequence_model(body), heads=[1])
    layer = small.get_layer("heads")
    assert (layer.num_query_heads, layer.num_key_value_heads) == (2, 1)
    assert layer.head_dim == 3


def test_a_head_is_one_channel_of_a_group():
    def body(x):
        return layers.MultiHeadAttention(4, 3, name="heads")(x, x)

    model = sequence_model(body)
    groups = ChannelGraph(model).groups
    assert [(g.writers, g.num_channels) for g in groups] == [
        (("heads",), 4),
        (("heads",), 4),
    ]
    small = remove(model, heads=[0, 2])
    assert small.get_layer("heads").num_heads == 2
    assert small.get_layer("heads").key_dim == 3
    assert small.get_layer("heads").get_config()["output_shape"] is None
    small = remove(model, heads=[4, 5])
    assert small.get_layer("heads").get_config()["output_shape"] == (2,)


def test_both_directions_keep_as_many_units():
    def body(x):
        return layers.Bidirectional(layers.LSTM(4), name="both")(x)

    small = remove(sequence_model(body), both=[0, 3])
    assert small.get_layer("both").forward_layer.units == 2
    assert small.get_layer("both").backward_layer.units == 2


def test_pixels_of_a_block_go_together():
    def body(x):
        return conv(ops.nn.depth_to_space(conv(x, 12, name="blocks"), 2), 4)

    model = image_model(body)
    first = next(g for g in ChannelGraph(model).groups if "blocks" in g.writers)
    assert first.num_channels == 3
    assert remove(model, blocks=[1]).get_layer("blocks").filters == 8


def test_gates_that_work_across_units_stay():
    def body(x):
        x = layers.LSTM(6, recurrent_activation="softmax", name="across")(x)
        return layers.Dense(4, name="free")(x)

    found = {u.layer: u for u in ChannelGraph(sequence_model(body)).untouchable}
    assert found["across"].num_channels == 6
    assert "'softmax' may work across" in found["across"].reason
    assert "free" not in found


def test_constants_in_a_stack_stay():
    x = keras.Input(batch_shape=(1, 5, 4))
    y = layers.Dense(6, name="a")(x)
    y = ops.sum(ops.stack([y, np.ones((1, 5, 6), "float32")], 1), 1)
    graph = ChannelGraph(keras.Model(x, layers.Dense(2)(y)))
    assert "array of constants" in graph.untouchable[0].reason


def test_stateful_layers_start_anew():
    x = keras.Input(batch_shape=(2, 5, 4))
    y = layers.LSTM(6, stateful=True, return_sequences=True)(x)
    model = keras.Model(x, layers.Dense(2)(layers.GRU(5, stateful=True)(y)))
    run_surgery_test(model)


def test_a_model_that_also_runs_at_every_step_stays_one():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")])
    x = keras.Input((5, 4))
    y = layers.TimeDistributed(inner, name="each")(x)
    y = inner(layers.GlobalAveragePooling1D()(y))
    model = keras.Model(x, layers.Dense(2, name="predictions")(y))
    # It reads what it writes: nothing but the input's width fits.
    assert [u.layer for u in ChannelGraph(model).untouchable][0].endswith("dense")
    y = layers.TimeDistributed(inner, name="each")(layers.Dense(4, name="a")(x))
    y = inner(layers.GlobalAveragePooling1D()(y))
    model = keras.Model(x, layers.Dense(2, name="predictions")(y))
    small = remove(model, a=[1])
    once = small.get_layer("each").layer
    assert once is small.get_layer(inner.name)
    assert once.get_layer("dense").units == 3


def test_costs_of_layers_inside_wrappers_are_exact():
    model = SEQUENCES["time_distributed"]()
    plan = make_plan(model, macs=0.5)
    small = shrink(model, plan)
    assert profile(small).macs == plan.expected["macs"] <= 0.5 * profile(model).macs

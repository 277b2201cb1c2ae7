"""Blocks that layers share: equal, good, and free of gathers in the packed model."""

import itertools

import keras
import numpy as np
import pytest
from keras_networks import make_cifar_resnet
from pruning.surgery_checks import flat_outputs, random_inputs, randomize
from pruning.zoo import conv, head, image_model

from keras_sda.graph import ChannelGraph
from keras_sda.grouping import pack, self_group
from keras_sda.grouping.clusters.assign_blocks import assign_blocks
from keras_sda.grouping.clusters.disjoint_groups import disjoint_groups
from keras_sda.grouping.clusters.joint_blocks import BlockLayer, joint_blocks
from keras_sda.layers import GatherChannels, GroupedConv2D

layers = keras.layers


def total(profit, labels):
    return profit[np.arange(len(profit)), labels].sum()


def test_assignment_of_few_rows_is_the_best():
    generator = np.random.default_rng(0)
    for rows, blocks in ((4, 2), (6, 3), (6, 2), (6, 6)):
        profit = generator.random((rows, blocks))
        labels = assign_blocks(profit)
        assert (np.bincount(labels) == rows // blocks).all()
        # All ways to put the rows into the places of the blocks.
        places = np.repeat(np.arange(blocks), rows // blocks)
        best = max(total(profit, list(p)) for p in itertools.permutations(places))
        assert total(profit, labels) == pytest.approx(best)


@pytest.mark.parametrize("rows, blocks", [(64, 4), (96, 3), (256, 8), (130, 2)])
def test_assignment_of_many_rows(rows, blocks):
    from scipy.optimize import linear_sum_assignment

    generator = np.random.default_rng(1)
    profit = generator.random((rows, blocks))
    labels = assign_blocks(profit)
    assert (np.bincount(labels) == rows // blocks).all()
    chance = np.mean(
        [
            total(profit, generator.permutation(np.arange(rows) % blocks))
            for _ in range(20)
        ]
    )
    cost = np.repeat(profit, rows // blocks, axis=1)
    best = cost[linear_sum_assignment(cost, maximize=True)].sum()
    reached = (total(profit, labels) - chance) / (best - chance)
    assert reached > (0.999 if rows <= 64 else 0.95)
    # Two blocks are exact: the swaps are.
    if blocks == 2:
        assert total(profit, labels) == pytest.approx(best)


def test_assignment_without_preference():
    assert (np.bincount(assign_blocks(np.zeros((128, 4)))) == 32).all()
    assert (assign_blocks(np.zeros((5, 1))) == 0).all()


def hidden(count, size, seed, noise=0.2):
    """Importance in which a division of 'stream' and 'inner' is hidden."""
    generator = np.random.default_rng(seed)
    divisions = {
        key: generator.permutation(np.arange(count * size) % count)
        for key in ("stream", "inner")
    }
    found = []
    for made, read in (("inner", "stream"), ("stream", "inner"), ("stream", "stream")):
        vectors = divisions[made][:, None] == divisions[read][None]
        vectors = vectors + noise * generator.random(vectors.shape)
        slots = [generator.permutation(count * size) for _ in range(2)]
        vectors = vectors[slots[0]][:, slots[1]]
        found.append(BlockLayer(vectors, made, read, *slots))
    return found, divisions


@pytest.mark.parametrize("count, size", [(2, 4), (4, 6), (2, 40)])
def test_joint_blocks_find_what_is_there(count, size):
    found, divisions = hidden(count, size, 0)
    blocks = joint_blocks(found, count)
    for layer, (made, read) in zip(found, blocks, strict=True):
        assert (np.bincount(made) == size).all() and (np.bincount(read) == size).all()
        np.testing.assert_array_equal(made[:, None] == read, layer.vectors >= 1)
    # Layers agree on what they share.
    (inner, stream), (stream2, inner2), (stream3, stream4) = (
        (made[np.argsort(x.made_slots)], read[np.argsort(x.read_slots)])
        for x, (made, read) in zip(found, blocks, strict=True)
    )
    np.testing.assert_array_equal(inner, inner2)
    for other in (stream2, stream3, stream4):
        np.testing.assert_array_equal(stream, other)


def test_joint_blocks_of_noise():
    generator = np.random.default_rng(3)
    places = np.arange(24)
    found = [
        BlockLayer(generator.random((24, 24)), made, read, places, places)
        for made, read in (("a", "b"), ("b", "a"), ("c", "d"))
    ]
    blocks = joint_blocks(found, 4, seed=1)
    again = joint_blocks(found, 4, seed=1)
    for layer, (made, read), (other, _) in zip(found, blocks, again, strict=True):
        np.testing.assert_array_equal(made, other)
        assert (np.bincount(made) == 6).all() and (np.bincount(read) == 6).all()
        kept = layer.vectors[made[:, None] == read].sum() / layer.vectors.sum()
        assert kept > 0.26  # chance is 0.25
    # Layers without a common key do not disturb each other.
    np.testing.assert_array_equal(joint_blocks(found[:2], 4, 1)[0][0], blocks[0][0])


def residual_network(width=16, depth=3):
    def body(x):
        x = conv(x, width, name="stem")
        for number in range(depth):
            y = conv(x, width, name=f"block{number}_conv1")
            y = conv(y, width, activation="linear", name=f"block{number}_conv2")
            x = layers.Activation("relu")(layers.Add()([x, y]))
        return conv(x, width, size=1, name="last")

    model = image_model(body)
    randomize(model)
    return model


def divisions(model, groups):
    """By channel group, how its layers divide it."""
    graph = ChannelGraph(model)
    found = {}
    for record in graph.layers.values():
        own = groups.get(id(record.layer))
        if own is None:
            continue
        kernel = record.layer.kernel
        number = {label: k for k, label in enumerate(np.unique(own.labels))}
        made = [number[label] for label in own.labels]
        read = own.mask[np.unique(own.labels, return_index=True)[1]].argmax(axis=0)
        for axis, blocks in ((-1, made), (-2, read)):
            labels = graph.units.classes[record.axis_units(kernel, axis)]
            order = np.argsort(labels)
            key = tuple(labels[order])
            found.setdefault(key, []).append(tuple(np.asarray(blocks)[order].tolist()))
    return found


def test_layers_on_a_stream_share_its_division():
    model = residual_network()
    graph = ChannelGraph(model)
    rates = {
        id(record.layer): 0.5
        for record in graph.layers.values()
        if isinstance(record.layer, layers.Conv2D) and record.name != "stem"
    }
    groups = disjoint_groups(model, rates)
    assert set(groups) == set(rates)
    for own in groups.values():
        assert own.mask.mean() == 0.5 and own.threshold is None
        assert 0.5 < own.kept_importance < 1
    found = divisions(model, groups)
    stream = max(found.values(), key=len)
    assert len(stream) == 7  # three readers, three writers, the last layer
    assert len(set(stream)) == 1


@pytest.mark.parametrize("rate, count", [(0.5, 2), (0.7, 4)])
def test_packed_with_shuffles(rate, count):
    """Between the two convolutions of a block groups mix; all else is folded."""
    model = residual_network()
    result = self_group(model, rate, 0.0, balance="disjoint")
    assert [row.kept_share for row in result.report.layers] == [1 / count] * 7
    packed = pack(result.model, form="grouped")
    grouped = [x for x in packed.model.layers if isinstance(x, GroupedConv2D)]
    assert len(grouped) == 7 and {x.groups for x in grouped} == {count}
    gathers = [x for x in packed.model.layers if isinstance(x, GatherChannels)]
    assert sorted(x.name.split("_", 1)[0] for x in gathers) == [
        "block0", "block1", "block2",
    ]  # fmt: skip
    for gather in gathers:
        assert gather.name[7:] in ("conv1_output_order", "conv2_input_order")
        cells = np.arange(16).reshape(count, count, -1)
        assert list(gather.indices) == cells.transpose(1, 0, 2).ravel().tolist()
    for row in packed.report.layers:
        assert row.form == "grouped"
        assert row.num_groups == count and row.kept == row.computed == 256 // count
    assert packed.report.macs_after == result.report.macs_after
    assert packed.report.params_after == result.report.params_after
    x = random_inputs(model)
    np.testing.assert_allclose(
        flat_outputs(packed.model, x)[0], flat_outputs(result.model, x)[0], atol=1e-5
    )


def test_every_block_sees_every_channel():
    """Or the stage would be several networks side by side."""
    model = residual_network(depth=1)
    masked = self_group(model, 0.7, 0.0, balance="disjoint").model
    first, second = (np.array(masked.get_layer(f"block0_conv{k}").mask) for k in (1, 2))
    reached = first.astype(int) @ second.astype(int)
    assert (reached > 0).all()


def test_numbers_that_do_not_cross():
    """12 channels cannot be cut into 4 x 4 cells: the division is shared."""
    model = residual_network(width=12, depth=1)
    masked = self_group(model, 0.7, 0.0, balance="disjoint").model
    packed = pack(masked, form="grouped").model
    assert not any(isinstance(x, GatherChannels) for x in packed.layers)


def test_crossed_blocks_have_equal_cells():
    generator = np.random.default_rng(0)
    places = np.arange(32)
    found = [
        BlockLayer(generator.random((32, 32)), made, read, places, places)
        for made, read in (("inner", "stream"), ("stream", "inner2"))
    ]
    (made, _), (_, read) = joint_blocks(found, 4, crossed=[("inner", "inner2")])
    cells = np.zeros((4, 4), int)
    np.add.at(cells, (made, read), 1)
    assert (cells == 2).all()


def test_cifar_resnet():
    """Streams of three widths and shortcuts that pad channels."""
    model = make_cifar_resnet(classifier_activation=None)
    randomize(model)
    result = self_group(model, 0.5, 0.0, balance="disjoint")
    assert {row.kept_share for row in result.report.layers} == {0.5}
    packed = pack(result.model, form="grouped")
    assert {row.form for row in packed.report.layers} == {"grouped"}
    assert packed.report.macs_after == result.report.macs_after
    x = random_inputs(model)
    np.testing.assert_allclose(
        flat_outputs(packed.model, x)[0],
        flat_outputs(result.model, x)[0],
        rtol=1e-4,
        atol=1e-4,
    )


def test_numbers_that_do_not_divide():
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, head(conv(conv(conv(x, 8), 9, name="odd"), 8, name="b")))
    odd = model.get_layer("odd")
    found = disjoint_groups(model, {id(odd): 0.5})
    assert "divides both 9 filters and 8 channels" in found[id(odd)]
    assert disjoint_groups(model, {}) == {}

"""Searching for operations: the supernet, its gates and what is left of it."""

import keras
import numpy as np
import pytest
from search.tiny_supernet import OPERATIONS, tiny_supernet

from keras_sda.layers import ScatterChannels
from keras_sda.pruning import PruningReport
from keras_sda.search import (
    SEARCH_RECIPES,
    ChannelSearch,
    GateCost,
    add_channel_gates,
    channel_gates,
    derive,
    find_gate_positions,
)
from keras_sda.search.masks.derive import derive_masks
from keras_sda.utils import InvalidInputError

BLOCK1, BLOCK2 = "stage2_block1", "stage2_block2"


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return tiny_supernet(classifier_activation=None)


@pytest.fixture(scope="module")
def gated(network):
    return add_channel_gates(network)


@pytest.fixture(scope="module")
def cost(gated):
    return GateCost(gated)


def images(count=2):
    return np.random.default_rng(0).normal(size=(count, 32, 32, 3)).astype("f")


def random_masks(gated, seed, share=0.6):
    """Some channels of every gate, at least one."""
    generator = np.random.default_rng(seed)
    masks = {}
    for gate in channel_gates(gated):
        masks[gate.name] = generator.random(gate.channels) < share
        masks[gate.name][0] = True
    return masks


def close(masks, block, operations, part="project"):
    for operation in operations:
        masks[f"{block}_{operation}_{part}_bn_gate"][:] = False


def set_gates(gated, masks):
    for gate in channel_gates(gated):
        gate.s.assign(np.where(masks[gate.name], 1.0, -1.0))
        gate.beta.assign(1e4)
        gate.mask.assign(np.ones(gate.channels))


def binary_outputs(gated, masks):
    for gate in channel_gates(gated):
        gate.mask.assign(masks[gate.name].astype("float32"))
        gate.set_mode("binary")
    outputs = keras.ops.convert_to_numpy(gated(images(), training=False))
    for gate in channel_gates(gated):
        gate.mask.assign(np.ones(gate.channels))
    return outputs


def check_equal(gated, masks, model, folder=None):
    """The same numbers as behind binary gates, in memory and perhaps from a file."""
    expected = binary_outputs(gated, masks)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the network is a constant"
    networks = [model]
    if folder is not None:
        model.save(folder / "small.keras")
        networks.append(keras.saving.load_model(folder / "small.keras"))
    for network in networks:
        outputs = network(images(), training=False)
        np.testing.assert_allclose(outputs, expected, atol=1e-4, rtol=1e-4)
    for layer in model.layers:
        is_stock = type(layer).__module__.startswith("keras.")
        assert is_stock or type(layer) is ScatterChannels


def test_where_the_gates_are(network):
    positions = find_gate_positions(network)
    placed = {p.layer for p in positions if p.gate}
    assert placed == {"stage1_block1_bn1", "stage1_block1_bn2", "head_norm"} | {
        f"{block}_{operation}_{part}_bn"
        for block in (BLOCK1, BLOCK2)
        for operation in OPERATIONS
        for part in ("depthwise", "project")
    }
    reasons = {p.layer: p.reason for p in positions if not p.gate}
    assert set(reasons) == {"stem_bn"} | {
        f"{block}_{operation}_expand_bn"
        for block in (BLOCK1, BLOCK2)
        for operation in OPERATIONS
    }
    assert set(reasons.values()) == {"its channels follow a gate behind it"}


def test_operations_disappear(gated, cost, tmp_path):
    masks = random_masks(gated, 0)
    gone = {BLOCK1: ["k3_e3", "k5_e6", "k7_e3", "k7_e6"], BLOCK2: OPERATIONS[:5]}
    for block, operations in gone.items():
        close(masks, block, operations)
    set_gates(gated, masks)
    result = derive(gated)
    check_equal(gated, masks, result.model, tmp_path)
    assert round(cost.macs_at(masks)) == result.report.macs_after
    names = {layer.name for layer in result.model.layers}
    for block in (BLOCK1, BLOCK2):
        for operation in OPERATIONS:
            left = [n for n in names if n.startswith(f"{block}_{operation}_")]
            assert bool(left) == (operation not in gone[block])
    kinds = [type(layer).__name__ for layer in result.model.layers]
    assert kinds.count("DepthwiseConv2D") == 1 + 2 + 1
    assert kinds.count("Add") == 2 and "Rescaling" not in kinds
    # The expansion follows the depthwise gate, the stem that of the first block.
    kept = {name: len(places) for name, places in result.kept.items()}
    expand = result.model.get_layer(f"{BLOCK1}_k3_e6_expand_conv")
    assert expand.filters == kept[f"{BLOCK1}_k3_e6_depthwise_bn_gate"]
    stem = result.model.get_layer("stem_conv")
    assert stem.filters == kept["stage1_block1_bn1_gate"]
    assert result.constants == ()
    assert result.branches == {
        f"{block}_add": [f"{block}_{operation}_project_bn" for operation in operations]
        for block, operations in gone.items()
    }
    report = result.report
    assert report.settings["removed_branches"] == result.branches
    assert f"{BLOCK2}_k5_e6_project_bn" in report.to_markdown()
    rows = {row.name: row for row in report.layers}
    row = rows[f"{BLOCK1}_k5_e6_depthwise_conv"]
    assert (row.channels_before, row.channels_after) == (24, None)
    report.save(tmp_path)
    assert PruningReport.load(tmp_path) == report


def test_block_with_a_shortcut_vanishes(gated, cost):
    masks = random_masks(gated, 1)
    close(masks, BLOCK2, OPERATIONS)
    result = derive_masks(gated, masks)
    check_equal(gated, masks, result.model)
    assert round(cost.macs_at(masks)) == result.report.macs_after
    names = {layer.name for layer in result.model.layers}
    assert not any(name.startswith(BLOCK2) for name in names)
    assert len(result.branches[f"{BLOCK2}_add"]) == 6 and result.constants == ()
    # The last convolution reads what the first block keeps.
    alive = np.logical_or.reduce(
        [masks[f"{BLOCK1}_{name}_project_bn_gate"] for name in OPERATIONS]
    )
    head = result.model.get_layer("head_conv")
    assert head.kernel.shape[-2] == alive.sum()


def test_block_without_a_shortcut_must_not_close(gated):
    masks = random_masks(gated, 2)
    close(masks, BLOCK1, OPERATIONS)
    close(masks, BLOCK2, OPERATIONS[:2])
    with pytest.raises(InvalidInputError) as error:
        derive_masks(gated, masks)
    text = str(error.value)
    assert "on the terms of layer 'stage2_block1_add' are closed" in text
    assert "would be a constant" in text and BLOCK2 not in text
    masks["head_norm_gate"][:] = False
    with pytest.raises(InvalidInputError, match="behind layer 'head_norm' are closed"):
        derive_masks(gated, masks)


def test_closed_depthwise_gates_leave_constants(gated, cost, tmp_path):
    masks = random_masks(gated, 3)
    close(masks, BLOCK1, OPERATIONS[:4], "depthwise")
    close(masks, BLOCK2, OPERATIONS[:3], "depthwise")
    close(masks, BLOCK2, OPERATIONS[2:4], "project")
    result = derive_masks(gated, masks)
    check_equal(gated, masks, result.model, tmp_path)
    assert round(cost.macs_at(masks)) == result.report.macs_after
    assert result.constants == (f"{BLOCK1}_add", f"{BLOCK2}_add")
    assert len(result.branches[f"{BLOCK1}_add"]) == len(
        result.branches[f"{BLOCK2}_add"]
    ) == 4  # fmt: skip
    for block in (BLOCK1, BLOCK2):
        layer = result.model.get_layer(f"{block}_add_constant")
        assert isinstance(layer, keras.layers.Rescaling)
    # A whole block of constants is one, too.
    close(masks, BLOCK2, OPERATIONS, "depthwise")
    result = derive_masks(gated, masks)
    check_equal(gated, masks, result.model)
    assert round(cost.macs_at(masks)) == result.report.macs_after
    names = {x.name for x in result.model.layers if x.name.startswith(BLOCK2)}
    assert names == {f"{BLOCK2}_add_constant"}
    close(masks, BLOCK1, OPERATIONS, "depthwise")
    with pytest.raises(InvalidInputError, match="terms of layer 'stage2_block1_add'"):
        derive_masks(gated, masks)


@pytest.mark.parametrize("seed", range(2))
def test_random_gates(gated, cost, seed):
    generator = np.random.default_rng(seed)
    masks = random_masks(gated, seed, share=generator.uniform(0.2, 0.8))
    for block in (BLOCK1, BLOCK2):
        for part in ("depthwise", "project"):
            close(masks, block, generator.permutation(OPERATIONS)[:2], part)
    result = derive_masks(gated, masks)
    check_equal(gated, masks, result.model)
    assert round(cost.macs_at(masks)) == result.report.macs_after
    params = sum(int(np.prod(v.shape)) for v in result.model.weights)
    assert params == result.report.params_after < result.report.params_before


SMALL = {"kernel_sizes": (3, 5), "expansions": (3,), "classifier_activation": None}


def test_one_gate_for_the_whole_stream():
    gated = add_channel_gates(tiny_supernet(**SMALL), residual="joint")
    # The four projections share one gate.
    assert len(channel_gates(gated)) == 3 + 4 + 1
    masks = random_masks(gated, 5, share=0.5)
    result = derive_masks(gated, masks)
    check_equal(gated, masks, result.model)
    assert not any(isinstance(x, ScatterChannels) for x in result.model.layers)


def test_search(tmp_path):
    network = tiny_supernet(**SMALL)
    # An operation that gives nothing: its gates get no gradient but the price.
    useless = network.get_layer(f"{BLOCK2}_k5_e3_project_bn")
    useless.gamma.assign(np.zeros(6))
    useless.beta.assign(np.zeros(6))
    gated = add_channel_gates(network)
    search = ChannelSearch(gated, tmp_path)
    result = search.fit(
        (images(32), np.arange(32) % 5),
        weight_epochs=0,
        architecture_epochs=2,
        fine_tune_epochs=0,
        target_macs=0.5,
        batch_size=4,
        architecture={"learning_rate": 0.5},
        verbose=0,
    )
    masks = {
        gate.name: np.isin(np.arange(gate.channels), result.kept[gate.name])
        for gate in channel_gates(gated)
    }
    check_equal(gated, masks, result.model)
    assert useless.name in result.branches[f"{BLOCK2}_add"]
    settings = result.report.settings
    assert settings["removed_branches"] == result.branches
    target = 0.5 * result.report.macs_before
    assert settings["target_macs"] == pytest.approx(target)
    assert result.report.macs_after == pytest.approx(target, rel=0.03)


def test_recipe():
    recipe = SEARCH_RECIPES["proxyless_imagenet"]
    stages = recipe.weights, recipe.architecture, recipe.fine_tune
    assert [stage.epochs for stage in stages] == [100, 10, 110]
    assert recipe.batch_size == 96 and recipe.lambda_arch == (6e-5,)
    assert recipe.weights.weight_decay == recipe.fine_tune.weight_decay == 4e-5

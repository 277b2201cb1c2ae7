"""What `derive` removes is what the gates closed, whatever layers have inside."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import (
    assert_outputs_close,
    flat_outputs,
    random_inputs,
    randomize,
)

from keras_sda import applications
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.layers import (
    ConvolutionalBlockAttention2D,
    GroupedConv2D,
    PyramidalConv2D,
    PyramidSplitAttention2D,
    SqueezeExcite2D,
)
from keras_sda.search import (
    GateCost,
    add_channel_gates,
    channel_gates,
    close_gates,
    derive,
    open_channels,
)

# Narrow networks; the pyramids need a multiple of 16 channels for their groups.
NARROW = {
    "SDAResNet": {"base_width": 16},
    "SDASENet": {"base_width": 16},
    "SDACBAM": {"base_width": 16},
    "SDARes2Net": {"base_width": 4, "stage_width": 16},
    "SDAPyConv": {"base_width": 64},
    "SDAEPSANet": {"base_width": 64},
}


def check_derived(model, seed, residual="exact", has_borders=False):
    """Closes gates at random, one of them altogether for odd seeds.

    With `has_borders` the branch behind that one stays, since a convolution makes
    other numbers of its constants at the borders: the count leaves it out.
    """
    randomize(model)
    images = random_inputs(model)
    whole = flat_outputs(model, images)
    gated = add_channel_gates(model, residual=residual)
    gates = channel_gates(gated)
    generator = np.random.default_rng(seed)
    share = generator.uniform(0.2, 0.8)
    inner = [gate for gate in gates if gate.name.endswith("_bn1_gate")]
    closed_gate = inner[seed // 2 % len(inner)] if seed % 2 else None
    for gate in gates:
        is_closed = generator.random(gate.channels) < share
        is_closed[0] = False
        is_closed |= gate is closed_gate
        gate.s.assign(np.where(is_closed, -1.0, 1.0))
        gate.beta.assign(1e4)
    result = derive(gated)
    counted = round(GateCost(gated).macs_at(open_channels(gated)))
    after = result.report.macs_after
    if has_borders:
        assert counted < after and not result.constants and not result.branches
        after -= sum(
            layer.macs_after or 0
            for layer in result.report.layers
            if layer.name.startswith(closed_gate.name.replace("bn1_gate", "conv"))
        )
    assert counted == pytest.approx(after, rel=1e-2)
    close_gates(gated)
    expected = flat_outputs(gated, images)
    assert_outputs_close(flat_outputs(result.model, images), expected, 1e-4)
    change = max(np.ptp(a - b) for a, b in zip(expected, whole, strict=True))
    assert change > 1e-3, "the gates change nothing"
    return gated, result


def narrow(family, depths=(1, 1)):
    return getattr(applications, family)(
        list(depths),
        stem_width=16,
        min_width=8,
        input_shape=(32, 32, 3),
        classes=5,
        classifier_activation=None,
        **NARROW[family],
    )


@pytest.mark.parametrize("family", NARROW)
def test_families(family):
    check_derived(narrow(family, [1]), seed=0)


@pytest.mark.large
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("residual", ["exact", "joint"])
@pytest.mark.parametrize("family", NARROW)
def test_families_more_draws(family, residual, seed):
    # The spatial attention of CBAM looks at seven by seven positions.
    has_borders = family == "SDACBAM" and seed % 2 == 1
    check_derived(narrow(family), seed, residual, has_borders)


def constructors():
    """Of those that differ in depth alone the smallest."""
    smallest = {}

    def num_blocks(item):
        return sum(item[1].get("stackwise_num_blocks", ()))

    for name, row in sorted(PRESETS.items(), key=num_blocks):
        smallest.setdefault((row["family"], row["form"]), name)
    return sorted(set(smallest.values()) - {"LeNet"})  # which has no normalisation


# Those that can be made with fewer blocks and channels.
SMALLER = {
    "ProxylessSupernet": {
        "stackwise_num_blocks": (1, 2),
        "stackwise_num_filters": (8, 12),
        "stackwise_strides": (1, 2),
        "head_filters": 32,
    },
}


@pytest.mark.extra_large
@pytest.mark.parametrize("name", constructors())
def test_all_constructors(name):
    model = applications.get_model(name)(
        weights=None,
        input_shape=(32, 32, 3),
        classes=5,
        classifier_activation=None,
        **SMALLER.get(name, {}),
    )
    # One draw each: with every kind of residual the narrow families above have more.
    check_derived(model, seed=2, residual="exact")


def unit(x, filters, name, layer=None, place=""):
    """Convolution, normalisation, activation, and `layer` at one of its places."""
    x = layers.Conv2D(filters, 3, padding="same", name=name)(x)
    for step, after in (
        (layers.BatchNormalization(name=f"{name}_bn"), "normalized"),
        (layers.ReLU(), "activated"),
    ):
        x = step(x)
        x = layer(x) if layer is not None and place == after else x
    return x


INSIDE = {
    "squeeze_excite": lambda: SqueezeExcite2D(3),
    "cbam": lambda: ConvolutionalBlockAttention2D(2),
    "split_attention": lambda: PyramidSplitAttention2D(8, (3, 5), (1, 2)),
    "pyramid": lambda: PyramidalConv2D([4, 4], (3, 5), (1, 2)),
    "grouped": lambda: GroupedConv2D(8, 3, padding="same", groups=2),
    "separable": lambda: layers.SeparableConv2D(8, 3, padding="same"),
}


@pytest.mark.parametrize("place", ["normalized", "activated"])
@pytest.mark.parametrize("kind", INSIDE)
def test_layers_with_units_inside(kind, place):
    x = keras.Input((8, 8, 3))
    y = unit(x, 8, "stem", INSIDE[kind](), place)
    y = unit(layers.Add()([y, unit(y, 8, "side")]), 8, "last")
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    check_derived(model, seed=0)


def test_squeezed_units_stay():
    x = keras.Input((8, 8, 3))
    y = unit(x, 8, "stem", SqueezeExcite2D(5, name="se"), "normalized")
    y = unit(y, 8, "last")
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    _, result = check_derived(model, seed=0)
    layer = result.model.get_layer("se")
    assert layer.bottleneck_filters == 5
    assert layer.channels == len(result.kept["stem_bn_gate"]) < 8


@pytest.mark.parametrize("twice", [False, True])
def test_what_is_inside_nested_models_stays(twice):
    """No gate stands on them; what a gate closes before them goes all the same."""
    inner = keras.Input((8, 8, 8))
    y = layers.Conv2D(6, 3, padding="same", name="hidden")(inner)
    y = layers.Conv2D(8, 1, name="made")(layers.ReLU()(y))
    nested = keras.Model(inner, layers.Add()([y, layers.Conv2D(8, 1)(y)]), name="part")
    if twice:
        inner = keras.Input((8, 8, 8))
        nested = keras.Model(inner, nested(inner), name="whole")
    x = keras.Input((8, 8, 3))
    y = layers.BatchNormalization(name="nested_bn")(nested(unit(x, 8, "stem")))
    y = unit(layers.ReLU()(y), 8, "last")
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    _, result = check_derived(model, seed=0)
    derived = result.model  # which holds the layers of nested models itself
    assert derived.get_layer("hidden").filters == 6
    assert derived.get_layer("made").filters == 8
    assert derived.get_layer("stem").filters < 8
    kept = len(result.kept["stem_bn_gate"])
    assert derived.get_layer("hidden").kernel.shape[2] == kept


@pytest.mark.parametrize("first", ["sigmoid", "relu"])
def test_what_nested_models_make_of_zeros_is_read(first):
    """Sigmoid turns closed channels into something else, behind the last gate."""
    inner = keras.Input((8, 8, 8))
    y = layers.Conv2D(8, 1, name="direct")(inner)
    y = layers.Add()([y, layers.Conv2D(8, 1)(layers.Activation(first)(inner))])
    nested = keras.Model(inner, y, name="part")
    x = keras.Input((8, 8, 3))
    y = unit(nested(unit(x, 8, "stem")), 8, "last")
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    check_derived(model, seed=0)

"""Arguments of a wrong type: our own error, from every public layer."""

import re

import numpy as np
import pytest

from keras_sda import layers
from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

COUNTS = (0, -1, "8", 1.5, True, None, [8], {})
SIDES = (0, -3, "3", 1.5, True, None, (3, 0), (3, "3"), (3, 3, 3), (), {})
LISTS = (0, "35", [0], [3, "5"], [1.5], [], None, {}, [[3]])
NUMBERS = (0, -1, "16", None, float("nan"), float("inf"), [16], True)
CONV = {"filters": 8, "kernel_size": 3}
PACKED = {"channels": [[0, 1], [1]], "sizes": [2, 1]}
CASES = {
    "SqueezeExcite2D": ({"bottleneck_filters": 4}, {"bottleneck_filters": COUNTS}),
    "ConvolutionalBlockAttention2D": (
        {},
        {"reduction": NUMBERS, "kernel_size": (*COUNTS, 4)},
    ),
    "PyramidSplitAttention2D": (
        {"filters": 64},
        {
            "filters": COUNTS,
            "kernel_sizes": LISTS,
            "groups": LISTS,
            "strides": COUNTS,
            "reduction": COUNTS,
            "gate_units": COUNTS[:5],
        },
    ),
    "PyramidalConv2D": (
        {"filters": [4], "kernel_sizes": [3]},
        {"filters": LISTS, "kernel_sizes": LISTS, "groups": LISTS[:6]},
    ),
    "GroupedConv2D": (
        CONV,
        {
            "filters": COUNTS,
            "groups": COUNTS,
            "kernel_size": SIDES,
            "strides": SIDES,
            "dilation_rate": SIDES,
            "padding": ("half", 3, None, []),
        },
    ),
    "SelfGroupedConv2D": (
        CONV,
        {
            "filters": COUNTS,
            "kernel_size": SIDES,
            "strides": SIDES,
            "padding": ("half", 3),
        },
    ),
    "SelfGroupedDense": ({"units": 4}, {"units": COUNTS}),
    "PackedConv2D": (
        {**PACKED, "kernel_size": 3},
        {"channels": (3, "01", [0, 1], [["0"]], None), "sizes": (3, "21", [1.5, 1])},
    ),
    "PackedDense": (
        PACKED,
        {"channels": (3, "01", [0, 1], [[0.5]], None), "order": (3, "210", [0.5])},
    ),
    "GatherChannels": ({"indices": [0]}, {"indices": (3, "0", [0.5], None, [[0]])}),
    "ScatterChannels": (
        {"indices": [0], "channels": 2},
        {"indices": (3, "0", [0.5], None), "channels": COUNTS},
    ),
    "SelectiveDepthAttention": (
        {},
        {"reduction": NUMBERS, "min_width": COUNTS, "epsilon": NUMBERS},
    ),
    "ScaledSigmoidGate": ({}, {"beta": NUMBERS, "mode": ("hard", 3, None, [])}),
}
WITH_FORMAT = (
    "SqueezeExcite2D",
    "ConvolutionalBlockAttention2D",
    "PyramidSplitAttention2D",
    "PyramidalConv2D",
    "GroupedConv2D",
    "SelfGroupedConv2D",
    "PackedConv2D",
    "SelectiveDepthAttention",
)


def refuse(layer, name, arguments):
    with pytest.raises(InvalidInputError) as caught:
        getattr(layers, layer)(**arguments)
    assert re.search(f"`{name}`", str(caught.value)), (arguments, str(caught.value))
    assert "\n" not in str(caught.value)


def test_every_public_layer_is_here():
    assert set(CASES) == {name for name in layers.__all__ if name[0].isupper()}


@pytest.mark.parametrize("layer", CASES)
def test_arguments_of_every_layer(layer):
    good, bad = CASES[layer]
    getattr(layers, layer)(**good)
    for name, values in bad.items():
        for value in values:
            refuse(layer, name, {**good, name: value})


@pytest.mark.parametrize("layer", WITH_FORMAT)
def test_data_format(layer):
    for value in ("NHWC", 3, ["channels_last"]):
        refuse(layer, "data_format", {**CASES[layer][0], "data_format": value})


def test_integers_of_numpy_are_integers():
    check_arguments("count", filters=np.int32(4))
    check_arguments("counts", sizes=np.array([1, 2]))
    check_arguments("side", kernel_size=np.array([3, 3]), strides=np.int64(2))
    check_arguments("number", reduction=np.float32(0.5))

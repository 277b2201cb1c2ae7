"""Arguments of a wrong type: our own error, from every public constructor."""

import inspect
import re

import keras
import numpy as np
import pytest

from keras_sda import applications
from keras_sda.utils import InvalidInputError

CONSTRUCTORS = [
    name
    for name in applications.__all__
    if name[0].isupper() and inspect.isfunction(getattr(applications, name))
]
GENERIC = ["SDAResNet", "SDASENet", "SDACBAM", "SDAEPSANet", "SDAPyConv", "SDARes2Net"]
WRONG = [
    ("input_shape", 224),
    ("input_shape", "224,224,3"),
    ("input_shape", ("32", 32, 3)),
    ("input_shape", (32.0, 32, 3)),
    ("input_shape", (-32, 32, 3)),
    ("input_shape", (0, 0, 3)),
    ("input_shape", (32, 32, -3)),
    ("input_shape", (32, 32)),
    ("input_shape", (None, 32, 32, 3)),
    ("input_shape", (32, 32, True)),
    ("input_shape", [[32, 32, 3]]),
    ("input_shape", ()),
    ("classes", True),
    ("classes", "10"),
    ("classes", 10.0),
    ("classes", None),
    ("classes", -1),
    ("classes", [10]),
    ("pooling", "x"),
    ("pooling", 1),
    ("pooling", True),
    ("pooling", ["avg"]),
    ("classifier_activation", 5),
    ("classifier_activation", "softmin_"),
    ("classifier_activation", ["softmax"]),
    ("weights", 5),
    ("weights", True),
    ("weights", ""),
    ("weights", ["a.keras"]),
    ("input_tensor", np.zeros((1, 32, 32, 3))),
    ("input_tensor", "image"),
    ("input_tensor", (32, 32, 3)),
    ("include_top", "no"),
    ("include_top", None),
    ("name", 5),
    ("name", ""),
    ("synchronized", "yes"),
]
OF_FAMILIES = [
    ("stackwise_num_blocks", 5),
    ("stackwise_num_blocks", "34"),
    ("stackwise_num_blocks", [1, "2"]),
    ("stackwise_num_blocks", [1.5]),
    ("stackwise_num_blocks", [True]),
    ("stackwise_num_blocks", []),
    ("stackwise_num_blocks", [[1], [2]]),
    ("base_width", 0),
    ("base_width", "64"),
    ("base_width", 8.5),
    ("stem_width", -1),
    ("stem_width", None),
    ("min_width", 0),
    ("min_width", 1.5),
    ("reduction", 0),
    ("reduction", "16"),
    ("reduction", float("nan")),
    ("reduction", None),
    ("depth_attention", "no"),
    ("pyramid_outputs", 2),
]


def refuse(build, name, arguments):
    with pytest.raises(InvalidInputError) as caught:
        build(**arguments)
    assert re.search(f"`{name}`", str(caught.value)), str(caught.value)
    assert "Received" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_arguments_of_every_constructor(constructor):
    build = getattr(applications, constructor)
    first = {"stackwise_num_blocks": [1]} if constructor in GENERIC else {}
    for name, value in WRONG:
        refuse(build, name, {**first, name: value})


@pytest.mark.parametrize("constructor", GENERIC + ["SDAResNet50", "SDARes2Net50"])
def test_arguments_of_families(constructor):
    build = getattr(applications, constructor)
    for name, value in OF_FAMILIES:
        refuse(build, name, {"stackwise_num_blocks": [1], name: value})


@pytest.mark.parametrize(
    ("constructor", "name", "value"),
    [
        ("SDAResNet", "groups", 0),
        ("SDAResNet", "groups", "8"),
        ("SDAResNet", "groups", [1, 2]),
        ("SDAResNet", "stem", ["cifar"]),
        ("SDAResNet", "block_type", {}),
        ("SDARes2Net", "scale", 1),
        ("SDARes2Net", "scale", "4"),
        ("SDARes2Net", "stage_width", 0),
        ("ProxylessSupernet", "kernel_sizes", 3),
        ("ProxylessSupernet", "expansions", "36"),
        ("ProxylessSupernet", "stem_strides", 0.5),
    ],
)
def test_arguments_of_single_constructors(constructor, name, value):
    first = {"stackwise_num_blocks": [1]} if constructor in GENERIC else {}
    refuse(getattr(applications, constructor), name, {**first, name: value})


def test_what_is_right_still_passes():
    model = applications.SDAResNet(
        (1,), base_width=8, stem_width=8, min_width=4, reduction=np.float32(8),
        input_shape=[32, 32, 3], classes=3, classifier_activation=keras.ops.sigmoid,
    )  # fmt: skip
    assert model.output_shape == (None, 3)
    assert applications.LeNet(include_top=False, pooling="max").output_shape[-1] == 50
    signature = inspect.signature(applications.SDAResNet50)
    assert signature.parameters["classes"].default == 1000

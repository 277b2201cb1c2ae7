"""No function returns a model that shares a variable with the one that it got."""

import keras
import numpy as np
import pytest
from graph.model_functions import (
    FUNCTIONS,
    NAMES,
    NESTINGS,
    Forgetful,
    Holder,
    Subclassed,
    build,
    inner,
    masked,
    unit,
)
from keras import layers
from pruning.surgery_checks import assert_outputs_close, flat_outputs

from keras_sda import export, search
from keras_sda.graph import check_own_variables, clone_edited
from keras_sda.utils import InvalidInputError


@pytest.fixture(scope="module")
def models():
    return {}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_shared(models, name):
    """One network with all parts in it."""
    check_function(models, tuple(NESTINGS), name)


@pytest.mark.large
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", NESTINGS)
def test_nothing_is_shared_by_single_parts(models, kind, name):
    check_function(models, (kind,), name)


def check_function(models, kinds, name):
    prepare, function, is_same = FUNCTIONS[name]
    if kinds not in models:
        models[kinds] = {None: build(*kinds)}
    made = models[kinds]
    if prepare not in made:
        made[prepare] = prepare(made[None])
        check_own(made[None], made[prepare])
    model = made[prepare]
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.weights]
    result = function(model)
    check_own(model, result)
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    expected = flat_outputs(model, images)
    if is_same:
        assert_outputs_close(flat_outputs(result, images), expected, 1e-4)
    for variable in result.variables:
        if "seed" not in variable.path:
            variable.assign(keras.ops.zeros_like(variable))
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    assert_outputs_close(flat_outputs(model, images), expected, 1e-6)


def check_own(model, result):
    assert result is not model
    known = {id(variable): variable.path for variable in model.variables}
    shared = [known[id(v)] for v in result.variables if id(v) in known]
    assert not shared
    check_own_variables(model, result)


@pytest.mark.parametrize("kind", ["shared_with_nested", "shared_nested"])
def test_what_occurs_twice_stays_one(kind):
    model = build(kind)
    for function in (search.add_channel_gates, export.to_float32, masked):
        result = function(model)
        assert result.count_params() >= model.count_params()
        plain = [w for w in result.weights if "gate" not in w.path]
        masks = [w for w in plain if w.path.endswith(("mask", "labels"))]
        assert len(plain) - len(masks) == len(model.weights)


@pytest.mark.parametrize("kind", ["holder", "forgetful"])
@pytest.mark.parametrize(
    "name",
    ["mask", "add_channel_gates", "self_group", "attach", "to_float32"]
    + [
        pytest.param(name, marks=pytest.mark.large)
        for name in FUNCTIONS
        if name != "expand_blocks"  # which takes them apart
    ],
)
def test_what_cannot_be_copied_is_refused(kind, name):
    prepare, function, _ = FUNCTIONS[name]
    x = keras.Input((6, 6, 3))
    y = unit(x)
    part = Holder(inner(), described=False, name="part")
    if kind == "forgetful":
        part = Forgetful(layers.Conv2D(8, 1), name="part")
    y = unit(part(y))
    for _ in range(2):
        y = layers.ReLU()(layers.Add()([y, layers.BatchNormalization()(unit(y))]))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    with pytest.raises(InvalidInputError, match="'part'.*config"):
        function(model if prepare is None else prepare(model))


def test_trainable_is_copied_with_subclassed_models():
    x = keras.Input((6, 6, 8))
    part = Subclassed(name="part")
    model = keras.Model(x, part(x))
    part.convolution.trainable = False
    copy = clone_edited(model)
    assert not copy.get_layer("part").convolution.trainable
    assert copy.get_layer("part").trainable
    assert not copy.trainable_weights

"""Filters of a group make up for the channels that they no longer read."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda.grouping import GroupingReport, pack, self_group
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError


def redundant_network(**options):
    """Two channels of the stem are those before them, times two."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="stem")(x)
    y = keras.ops.relu(y)  # it has another name in a copy
    y = layers.Conv2D(6, 3, padding="same", name="conv", **options)(y)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(y))
    model = keras.Model(x, layers.Dense(3, name="head")(y))
    randomize(model)
    for variable in model.get_layer("stem").weights:
        value = np.array(variable)
        value[..., 2:] = 2 * value[..., :2]
        variable.assign(value)
    return model


def images(count=48):
    generator = np.random.default_rng(1)
    return generator.normal(size=(count, 8, 8, 3)).astype("float32")


def outputs(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs, training=False))


ARGUMENTS = {"conv_rate": 0.5, "dense_rate": 0.0, "num_groups": 2}


def test_groups_give_what_they_gave(tmp_path):
    model = redundant_network()
    # Each group reads one channel of every pair.
    kernel = np.zeros((3, 3, 4, 6), "float32")
    generator = np.random.default_rng(2)
    kernel[:, :, [0, 3], :3] = 1 + generator.random((3, 3, 2, 3))
    kernel[:, :, [1, 2], 3:] = 1 + generator.random((3, 3, 2, 3))
    kernel[kernel == 0] = 0.3
    model.get_layer("conv").kernel.assign(kernel)
    cut = self_group(model, **ARGUMENTS)
    before = [np.array(weight) for weight in model.weights]
    fitted = self_group(model, **ARGUMENTS, reconstruct=True, data=images())
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    conv, other = (x.model.get_layer("conv") for x in (cut, fitted))
    mask = np.array(other.mask)
    np.testing.assert_array_equal(mask, conv.mask)
    assert sorted(map(tuple, np.unique(mask, axis=1).T)) == [(0, 1, 1, 0), (1, 0, 0, 1)]
    # What the mask cuts is as it was, and masked.
    gone = mask == 0
    np.testing.assert_array_equal(
        np.array(other.kernel)[..., gone], np.array(conv.kernel)[..., gone]
    )
    new = images(8)[::-1]
    wanted = outputs(model, new)
    assert np.abs(outputs(cut.model, new) - wanted).max() > 0.1
    np.testing.assert_allclose(outputs(fitted.model, new), wanted, atol=2e-3)
    packed = pack(fitted.model, form="lists").model
    np.testing.assert_allclose(outputs(packed, new), wanted, atol=2e-3)
    rows = {row.layer: row for row in fitted.report.refits}
    assert rows["conv"].error_after < 1e-4 < rows["conv"].error_before
    assert fitted.report.settings["reconstruct"] is True
    assert "reconstruct" not in cut.report.settings and not cut.report.refits
    fitted.report.save(tmp_path)
    loaded = GroupingReport.load(tmp_path)
    assert loaded.refits == fitted.report.refits
    assert "kernels fitted anew: " in loaded.to_text()
    assert "## Refitted kernels" in loaded.to_markdown()


def test_a_masked_model_is_fitted_to_what_it_gave_itself():
    """Cut twice: what is aimed at is the model before the second cut, with its masks.

    A layer that stays as it is loses nothing, and neither does what comes before.
    """
    first = self_group(redundant_network(), **{**ARGUMENTS, "conv_rate": 0.2}).model
    second = self_group(first, 0.0, 0.5, num_groups=2, data=(images(), None))
    (row,) = second.report.refits
    assert row.layer == "head" and row.error_after <= row.error_before
    for weight, value in zip(
        first.get_layer("conv").weights,
        second.model.get_layer("conv").weights,
        strict=True,
    ):
        np.testing.assert_array_equal(weight, value)
    third = self_group(
        first, **ARGUMENTS, regroup="every_step", reconstruct=True, data=images()
    )
    for row in third.report.refits:
        assert row.error_after <= row.error_before * (1 + 1e-6)
    assert any(isinstance(layer, SelfGrouped) for layer in third.model.layers)


def test_what_cannot_be_fitted_is_named():
    model = redundant_network(kernel_constraint="non_neg")
    result = self_group(model, **ARGUMENTS, reconstruct=True, data=images())
    (row,) = (row for row in result.report.refits if row.layer == "conv")
    assert row.error_after is None and "has a constraint" in row.reason
    assert "kernels that stay as cut: conv" in result.report.to_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reconstruct": True}, "`reconstruct` needs `data`"),
        ({"data": images(4), "reconstruct": False}, "no use with reconstruct=False"),
        ({"reconstruct": images(4)}, "`reconstruct` must be True or False"),
        ({"reconstruct": True, "data": images(4)[:, :, :, :2]}, "`data`"),
        ({"reconstruct": True, "data": images(4) * np.nan}, "not finite"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        self_group(redundant_network(), **ARGUMENTS, **arguments)

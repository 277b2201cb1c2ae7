"""Whole networks, counted as the tables of the paper are."""

import keras
import numpy as np
import pytest

from keras_sda import applications
from keras_sda.grouping import published_counts, self_group

layers = keras.layers


def resnet50():
    """The network of the paper: strides on the 3x3 convolutions, no biases."""

    def conv(y, filters, size, strides=1, relu=True):
        if size > 1:
            y = layers.ZeroPadding2D(size // 2)(y)
        y = layers.Conv2D(filters, size, strides, use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        return layers.ReLU()(y) if relu else y

    x = keras.Input((224, 224, 3))
    y = layers.ZeroPadding2D(1)(conv(x, 64, 7, 2))
    y = layers.MaxPooling2D(3, 2)(y)
    for stage, count in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(count):
            strides = 2 if stage and not block else 1
            shortcut = conv(y, 4 * width, 1, strides, False) if not block else y
            z = conv(conv(y, width, 1), width, 3, strides)
            z = conv(z, 4 * width, 1, relu=False)
            y = layers.ReLU()(layers.Add()([z, shortcut]))
    return keras.Model(x, layers.Dense(1000)(layers.GlobalAveragePooling2D()(y)))


@pytest.mark.parametrize(
    "make, params, macs",
    [
        (resnet50, 25.549e6, 4089.2e6),
        pytest.param(
            lambda: keras.applications.DenseNet201(weights=None),
            19.819e6,
            4291.4e6,
            marks=pytest.mark.large,
        ),
        (applications.CIFARDenseNet121, 6.893e6, 888.36e6),
        pytest.param(
            lambda: applications.CIFARDenseNet121(classes=100),
            6.985e6,
            888.45e6,
            marks=pytest.mark.large,
        ),
        # The bill of the code has 100 more for the second convolution (its "batch
        # normalisation") than the true 431,080, and 630 for biases and units.
        (applications.LeNet, 431.18e3, 2293.63e3),
    ],
    ids=["ResNet50", "DenseNet201", "DenseNet121-10", "DenseNet121-100", "LeNet"],
)
def test_dense_networks(make, params, macs):
    counts = published_counts(make())
    assert counts.params == pytest.approx(params, rel=1e-4)
    assert counts.macs == pytest.approx(macs, rel=1e-4)
    assert sum(p for p, _ in counts.layers.values()) == counts.params


@pytest.mark.parametrize(
    "percent, params, macs",
    [(95, 22e3, 388e3), (97, 14e3, 348e3), (99, 5e3, 307e3)],
)
def test_lenet(percent, params, macs):
    """Tables print thousands, cut or rounded; ties cut a little more than asked."""
    rate = percent / 100
    result = self_group(applications.LeNet(), rate, rate)
    counts = published_counts(result.model)
    assert counts.params == pytest.approx(params, abs=1100)
    assert counts.macs == pytest.approx(macs, abs=2500)
    report = result.report
    assert (report.published_params, report.published_macs) == (
        counts.params,
        counts.macs,
    )
    # The formulas of the dense count, with the true share of what is left.
    assert report.params_after <= 1080 + 430_000 * (1 - rate) + 1
    assert report.params_after >= 1080 + 430_000 * (1 - rate) - 1500
    assert report.macs_after <= 288_000 + 2_005_000 * (1 - rate) + 1


@pytest.mark.large
def test_cifar_densenet_at_75():
    """1.71 M and 221.90 M in the table."""
    result = self_group(applications.CIFARDenseNet121(), 0.75, 0.75)
    assert result.report.published_params == pytest.approx(1.71e6, rel=0.02)
    assert result.report.published_macs == pytest.approx(221.9e6, rel=0.02)
    assert len(result.report.layers) == 120


def test_shared_layers_count_once():
    x = keras.Input((8,))
    shared = layers.Dense(8, name="shared")
    model = keras.Model(x, layers.Dense(2, name="out")(shared(shared(x))))
    counts = published_counts(model)
    assert counts.layers["shared"] == (72, 144)
    result = self_group(model, dense_rate=0.5, num_groups=2)
    row = result.report.layers[0]
    assert (row.params_before, row.macs_before) == (72, 128)
    assert row.params_after == 72 - (64 - row.kept)
    assert row.macs_after == 2 * row.kept
    y = np.random.normal(size=(2, 8)).astype("f")
    inner = result.model.get_layer("shared")
    expected = result.model.get_layer("out")(inner(inner(y)))
    np.testing.assert_allclose(result.model(y), expected, atol=1e-6)

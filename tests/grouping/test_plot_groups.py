"""Pictures of groups."""

import dataclasses

import keras
import matplotlib.image
import numpy as np
import pytest

from keras_sda.grouping import plot_filter_matrix, plot_group_sizes, self_group
from keras_sda.utils import InvalidInputError


def network(width=12):
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(8, 3, name="stem")(inputs)
    for number in range(4):
        x = keras.layers.Conv2D(width, 1, name=f"conv{number}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))


def white_share(path, side):
    """Share of white on one half of the picture."""
    image = matplotlib.image.imread(path)[..., :3]
    half = image.shape[1] // 2
    part = image[:, :half] if side == "left" else image[:, half:]
    return (part > 0.99).all(-1).mean()


@pytest.mark.parametrize("balance", [None, "disjoint"])
def test_filter_matrix(tmp_path, balance):
    model = network()
    masked = self_group(model, 0.75, 0.5, num_groups=3, balance=balance).model
    path = tmp_path / "matrix.png"
    plot_filter_matrix(masked, "conv2", path, before=model)
    assert white_share(path, "right") > white_share(path, "left") + 0.2
    plot_filter_matrix(masked, "predictions", path)
    assert [x.name for x in tmp_path.iterdir()] == ["matrix.png"]


def test_filter_matrix_of_a_layer_without_any_importance(tmp_path):
    masked = self_group(network(), 0.5, 0.5).model
    layer = masked.get_layer("conv1")
    layer.set_groups(np.zeros(layer.mask.shape), np.zeros(12, "int32"))
    plot_filter_matrix(masked, "conv1", tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 5000


def test_filter_matrix_of_a_wrong_layer(tmp_path):
    model, path = network(), tmp_path / "matrix.png"
    masked = self_group(model, 0.5, 0.0).model
    for arguments, text in (
        ((model, "conv1"), "has no masked layer"),
        ((masked, "stem"), "no masked layer 'stem'. It has: conv0, conv1"),
        ((masked, "conv9"), "no masked layer 'conv9'"),
        ((masked, "conv1", path, keras.Sequential([keras.Input((3,)),
                                                   keras.layers.Dense(2)])),
         "`before` has no layer 'conv1'"),
        ((masked, "conv1", path, network(6)), "kernel 6 filters"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=text):
            plot_filter_matrix(*(*arguments, path)[:3], *arguments[3:])
    assert not path.exists()


def test_group_sizes(tmp_path):
    report = self_group(network(), 0.9, 0.5).report
    plot_group_sizes(report, tmp_path / "groups.png")
    plot_group_sizes(report, tmp_path / "titled.png", title="groups")
    images = [matplotlib.image.imread(path) for path in tmp_path.glob("*.png")]
    assert images[0].shape == images[1].shape and (images[0] != images[1]).any()
    # More layers make a higher picture.
    rows = report.layers * 10
    many = dataclasses.replace(report, layers=rows)
    plot_group_sizes(many, tmp_path / "many.png")
    assert matplotlib.image.imread(tmp_path / "many.png").shape[0] > 3 * len(images[0])

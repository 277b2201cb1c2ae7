"""The generated images hold what they say, and nothing else tells it."""

import numpy as np
import pytest

from keras_sda.analysis import multi_scale_images
from keras_sda.analysis.depth_attention.multi_scale_images import SHAPES, _mask
from keras_sda.utils import InvalidInputError


def test_shapes_counts_and_repetition():
    images, labels, sizes = multi_scale_images(80, scales=(8, 24), seed=3)
    assert images.shape == (80, 64, 64, 3) and images.dtype == np.uint8
    assert labels.dtype == sizes.dtype == np.int64
    for label in range(5):
        for size in (8, 24):
            assert ((labels == label) & (sizes == size)).sum() == 8
    again = multi_scale_images(20, scales=(8, 24), seed=3)
    np.testing.assert_array_equal(again.images, images[:20])
    other = multi_scale_images(20, scales=(8, 24), seed=4)
    assert (other.images != again.images).mean() > 0.9
    np.testing.assert_array_equal(other.labels, again.labels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [8, 15, 48])
def test_objects_fill_their_bounding_box(shape, size):
    mask = _mask(shape, size)
    assert mask.shape == (size, size) and mask.min() >= 0 and mask.max() == 1
    assert all(mask.any(axis=axis).all() for axis in (0, 1))
    area = {
        "disc": np.pi / 4,
        "square": 1,
        "triangle": 0.5,
        "cross": 1 - 0.7**2,
        "ring": np.pi / 4 * 0.75,
    }[shape]
    assert mask.mean() == pytest.approx(area, abs=0.06)
    np.testing.assert_allclose(mask, mask[:, ::-1], atol=1e-9)


def test_the_object_is_in_the_image_and_as_large_as_stated():
    images, labels, sizes = multi_scale_images(200, num_classes=2, scales=(8, 16, 40))
    for image, label, size in zip(images, labels, sizes, strict=True):
        # Object and ground lie on different sides of the middle of the range.
        bright = image.astype(float).mean(axis=2) > 127.5
        share = min(bright.mean(), 1 - bright.mean())
        wanted = _mask(SHAPES[label], size).sum() / 64**2
        assert share == pytest.approx(wanted, abs=0.06)


def test_colours_do_not_tell_the_class_or_the_size():
    images, labels, sizes = multi_scale_images(600, image_size=32, scales=(6, 24))
    dark_ground = images[:, 0].mean(axis=(1, 2)) < 127.5
    for values in (labels, sizes):
        for value in np.unique(values):
            assert 0.35 < dark_ground[values == value].mean() < 0.65


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"num_images": 0}, "num_images"),
        ({"num_images": 2.0}, "num_images"),
        ({"image_size": 4}, "image_size"),
        ({"num_classes": 6}, "num_classes"),
        ({"num_classes": 0}, "num_classes"),
        ({"scales": ()}, "scales"),
        ({"scales": 8}, "scales"),
        ({"scales": (8, 8)}, "scales"),
        ({"scales": (8, 65)}, "scales"),
        ({"scales": (2,)}, "scales"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_bad_input(arguments, name):
    with pytest.raises(InvalidInputError, match=f"`{name}`"):
        multi_scale_images(**{"num_images": 4, **arguments})

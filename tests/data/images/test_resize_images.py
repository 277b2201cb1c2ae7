"""The evaluation rule for image sizes, channels and decoding."""

import numpy as np
import pytest

from keras_sda.data.images.decode_image import adapt_channels, decode_image
from keras_sda.data.images.resize_images import resize_images
from keras_sda.utils import InvalidInputError


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def in_graph(function, *args):
    """Runs the function with unknown height and width, as a pipeline does."""
    import tensorflow as tf

    def unknown(array):
        sides = [
            None if i in (array.ndim - 2, array.ndim - 3) else n
            for i, n in enumerate(array.shape)
        ]
        return tf.TensorSpec(sides, array.dtype)

    specs = [unknown(array) for array in args]
    return tf.function(function, input_signature=specs, autograph=False)(*args)


def test_image_of_the_target_size_is_unchanged():
    for size in (32, 224):
        image = pixels(size, size, 3)
        for output in (
            resize_images(image, size),
            in_graph(lambda x, size=size: resize_images(x, size), image),
        ):
            assert output.dtype == "float32"
            np.testing.assert_array_equal(output, image)


def test_small_square_image_is_plainly_resized():
    import tensorflow as tf

    image = pixels(28, 28, 1)
    expected = tf.image.resize(image, (32, 32), antialias=True)
    np.testing.assert_array_equal(resize_images(image, 32), expected)


def test_large_target_is_cut_from_a_covering_image():
    import tensorflow as tf

    image = pixels(300, 512, 3)
    cover = tf.image.resize(image, (256, 437), antialias=True)
    expected = cover[16:240, 106:330]
    np.testing.assert_array_equal(resize_images(image, 224), expected)
    np.testing.assert_array_equal(
        in_graph(lambda x: resize_images(x, (224, 224)), image), expected
    )


@pytest.mark.parametrize("shape", [(7, 50), (50, 7), (1, 1), (33, 31), (200, 199)])
@pytest.mark.parametrize("size", [32, (20, 45), 128])
@pytest.mark.parametrize("fraction", [None, 1.0, 0.7])
def test_every_shape_gives_the_target(shape, size, fraction):
    image = np.full((*shape, 3), 77, "uint8")
    output = resize_images(image, size, fraction)
    assert output.shape == (*((size, size) if isinstance(size, int) else size), 3)
    np.testing.assert_allclose(output, 77, atol=1e-3)


def test_batches_equal_single_images():
    images = pixels(3, 40, 60, 3)
    batch = in_graph(lambda x: resize_images(x, 32), images)
    for image, output in zip(images, batch, strict=True):
        np.testing.assert_allclose(resize_images(image, 32), output, atol=1e-4)


def test_static_shape_is_known_to_a_pipeline():
    import tensorflow as tf

    data = tf.data.Dataset.from_generator(
        lambda: iter([pixels(9, 12, 1), pixels(30, 8, 1)]),
        output_signature=tf.TensorSpec([None, None, 1], tf.uint8),
    ).map(lambda x: resize_images(x, 16))
    assert data.element_spec.shape == (16, 16, 1)
    assert len(list(data.batch(2))) == 1


def test_centre_is_kept():
    image = np.zeros((100, 300, 1), "uint8")
    image[:, 100:200] = 255
    np.testing.assert_allclose(resize_images(image, 50)[:, 2:-2], 255, atol=0.01)


@pytest.mark.parametrize(
    ("size", "fraction", "shape"),
    [
        (0, None, (4, 4, 3)),
        ((4, 4, 3), None, (4, 4, 3)),
        (4, 1.5, (4, 4, 3)),
        (4, 0, (4, 4, 3)),
        (4, None, (4, 4)),
    ],
)
def test_bad_arguments(size, fraction, shape):
    with pytest.raises(InvalidInputError, match="Received"):
        resize_images(np.zeros(shape), size, fraction)


def test_channels():
    grey, colour = pixels(5, 4, 1), pixels(5, 4, 3)
    assert adapt_channels(grey, 1).dtype == "uint8"
    np.testing.assert_array_equal(adapt_channels(grey, 3), np.repeat(grey, 3, -1))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(adapt_channels(colour, 1)[..., 0], luma, atol=1e-3)
    # Grey that was stored as colour comes back bit by bit.
    np.testing.assert_array_equal(adapt_channels(np.repeat(grey, 3, -1), 1), grey)
    np.testing.assert_array_equal(
        adapt_channels(np.concatenate([colour, grey], -1), 3), colour
    )
    with pytest.raises(InvalidInputError, match="2 channels"):
        adapt_channels(np.zeros((2, 2, 2)), 3)


def test_decoding():
    import tensorflow as tf

    grey, colour = pixels(6, 5, 1), pixels(6, 5, 3)
    for image, channels in ((grey, 1), (colour, 3)):
        data = tf.io.encode_png(image)
        np.testing.assert_array_equal(decode_image(data, channels), image)
    np.testing.assert_array_equal(
        decode_image(tf.io.encode_png(grey), 3), np.repeat(grey, 3, -1)
    )
    assert decode_image(tf.io.encode_jpeg(colour), 1).shape == (6, 5, 1)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(b"nothing")

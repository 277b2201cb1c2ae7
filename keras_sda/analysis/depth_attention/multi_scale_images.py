"""Generated images: one object of known shape and size on textured ground."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_sda.utils import InvalidInputError

SHAPES = ("disc", "square", "triangle", "cross", "ring")
_SUBPIXELS = 4


class MultiScaleImages(NamedTuple):
    """Images and what is in them; see `multi_scale_images`."""

    images: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray


def multi_scale_images(
    num_images: int,
    image_size: int = 64,
    scales: Sequence[int] = (8, 16, 32, 48),
    num_classes: int = 5,
    seed: int = 0,
) -> MultiScaleImages:
    """Draws images that hold one object each, of known class and size.

    Use it to ask whether a network treats small and large objects differently, such
    as with `depth_attention`. Class and size are independent and equally frequent;
    colours, place and texture say nothing about either. The ground is noise with the
    spectrum of natural images (amplitude falls with frequency), which has no size of
    its own. Classes and sizes take turns in a fixed order, so shuffle for training,
    and the first images do not depend on how many there are.

    Args:
        num_images: Number of images.
        image_size: Side of an image in pixels. Defaults to `64`.
        scales: Sizes of the objects: sides of their bounding boxes in pixels, from 5
            to `image_size`. Defaults to `(8, 16, 32, 48)`.
        num_classes: How many shapes of disc, square, triangle, cross and ring, in
            this order. Defaults to `5`.
        seed: The same number gives the same images. Take another one for test images.
            Defaults to `0`.

    Returns:
        A named tuple of `images`, uint8 `(num_images, image_size, image_size, 3)`;
        `labels`, int64 `(num_images,)`, class numbers; and `sizes`, int64
        `(num_images,)`, sides of the bounding boxes in pixels.

    Raises:
        InvalidInputError: An argument is out of range.

    Example:

    >>> from keras_sda.analysis import multi_scale_images
    >>> images, labels, sizes = multi_scale_images(40)
    >>> images.shape, labels[:6].tolist(), sizes[:6].tolist()
    ((40, 64, 64, 3), [0, 1, 2, 3, 4, 0], [8, 8, 8, 8, 8, 16])
    """
    _check(num_images, image_size, scales, num_classes, seed)
    numbers = np.arange(num_images)
    labels = numbers % num_classes
    sizes = np.array(scales)[numbers // num_classes % len(scales)]
    images = np.empty((num_images, image_size, image_size, 3), np.uint8)
    masks = {
        (label, size): _mask(SHAPES[label], size)
        for label in range(num_classes)
        for size in scales
    }
    for i in numbers:
        generator = np.random.default_rng([seed, i])
        mask = masks[labels[i], sizes[i]]
        images[i] = _image(generator, image_size, mask, sizes[i])
    return MultiScaleImages(images, labels.astype("int64"), sizes.astype("int64"))


def _image(generator, image_size, mask, size):
    dark, light = generator.uniform(50, 110, 3), generator.uniform(145, 205, 3)
    inside, outside = (dark, light) if generator.random() < 0.5 else (light, dark)
    top, left = generator.integers(0, image_size - size + 1, 2)
    weight = np.zeros((image_size, image_size, 1))
    weight[top : top + size, left : left + size, 0] = mask
    ground = outside + 20 * _texture(generator, image_size)
    thing = inside + 20 * _texture(generator, image_size)
    return np.clip(np.rint(weight * thing + (1 - weight) * ground), 0, 255)


def _texture(generator, size):
    """Noise of standard deviation one whose amplitude falls with frequency."""
    spectrum = np.fft.rfft2(generator.standard_normal((size, size, 3)), axes=(0, 1))
    vertical, horizontal = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    frequency = np.hypot(vertical[:, None], horizontal[None])
    frequency[0, 0] = np.inf  # The mean is the colour.
    noise = np.fft.irfft2(spectrum / frequency[..., None], (size, size), axes=(0, 1))
    return noise / noise.std()


def _mask(shape, size):
    """How much of each pixel of the bounding box the shape covers."""
    n = size * _SUBPIXELS
    y, x = np.mgrid[0:n, 0:n] * (2 / n) + 1 / n - 1  # From -1 to 1, centres.
    radius = np.hypot(x, y)
    inside = {
        "disc": radius <= 1,
        "square": np.full((n, n), True),
        "triangle": np.abs(x) <= (y + 1) / 2,
        "cross": np.minimum(np.abs(x), np.abs(y)) <= 0.3,
        "ring": (radius <= 1) & (radius >= 0.5),
    }[shape]
    return inside.reshape(size, _SUBPIXELS, size, _SUBPIXELS).mean((1, 3))


def _check(num_images, image_size, scales, num_classes, seed):
    for name, value, least in (
        ("num_images", num_images, 1),
        ("image_size", image_size, 8),
        ("seed", seed, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise InvalidInputError(
                f"`{name}` must be an integer of at least {least}. Received: {value!r}."
            )
    if not isinstance(num_classes, int) or not 1 <= num_classes <= len(SHAPES):
        raise InvalidInputError(
            f"`num_classes` must be an integer from 1 to {len(SHAPES)}. "
            f"Received: {num_classes!r}."
        )
    valid = isinstance(scales, (list, tuple)) and all(
        isinstance(size, int) and 5 <= size <= image_size for size in scales
    )
    if not valid or not scales or len(set(scales)) != len(scales):
        raise InvalidInputError(
            "`scales` must be different sizes in pixels, integers from 5 to "
            f"`image_size` ({image_size}). Received: {scales!r}."
        )

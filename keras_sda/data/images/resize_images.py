"""The one rule by which an image is brought to the size of a model."""

from keras_sda.utils import InvalidInputError


def resize_images(images, size: int | tuple[int, int], crop_fraction=None):
    """Resizes images for evaluation: cover the target, then crop its centre.

    Use it wherever a model is evaluated: the input pipeline and the export call the
    same function, so a served model sees what the accuracy was measured on. The image
    is scaled with its aspect ratio kept (bilinear, antialiased) until it just covers
    `size / crop_fraction`, then the central `size` is cut out. An image that has the
    target size already is returned as it is. With `crop_fraction=1.0` a square image
    is simply resized.

    Args:
        images: Tensor or array `(height, width, channels)` or
            `(batch, height, width, channels)`, values 0 to 255, any numeric dtype;
            height and width may be unknown when a graph is built.
        size: Target in pixels, an integer or `(height, width)`.
        crop_fraction: Part of the covering size that the crop keeps, in (0, 1].
            Defaults to `None`: 1.0 where the shorter target side is below 128 pixels,
            else 0.875.

    Returns:
        float32 tensor of the same rank, values 0 to 255.

    Raises:
        InvalidInputError: `size`, `crop_fraction` or the rank is not as above.

    Example:

    >>> import numpy as np
    >>> from keras_sda.data.images.resize_images import resize_images
    >>> resize_images(np.zeros((480, 640, 3), "uint8"), 224).shape
    TensorShape([224, 224, 3])

    Source: the 256 to 224 pixel centre crop of the ImageNet protocol (arXiv
    1512.03385, section 3.4, names 10 crops; one centre crop is what is reported).
    """
    import tensorflow as tf

    height, width = _check_size(size)
    fraction = _check_fraction(crop_fraction, min(height, width))
    images = tf.cast(tf.convert_to_tensor(images), "float32")
    if images.shape.rank not in (3, 4):
        raise InvalidInputError(
            "`images` must have shape (height, width, channels) or (batch, height, "
            f"width, channels). Received: shape {images.shape}."
        )
    static = tuple(images.shape[-3:-1])
    if static == (height, width):
        return images

    def resized():
        shape = tf.shape(images)[-3:-1]
        cover = [round(height / fraction), round(width / fraction)]
        new_height, new_width = _covering_size(tf, shape, cover)
        outputs = tf.image.resize(
            images, tf.stack([new_height, new_width]), "bilinear", antialias=True
        )
        top, left = (new_height - height) // 2, (new_width - width) // 2
        return outputs[..., top : top + height, left : left + width, :]

    if None in static:
        has_size = tf.reduce_all(tf.shape(images)[-3:-1] == [height, width])
        outputs = tf.cond(has_size, lambda: images, resized)
    else:
        outputs = resized()
    return tf.ensure_shape(
        outputs, [*images.shape[:-3], height, width, images.shape[-1]]
    )


def _covering_size(tf, shape, cover):
    """Least size of the aspect ratio of `shape` that covers `cover`, in integers."""
    old_height, old_width = shape[0], shape[1]
    height, width = tf.constant(cover[0]), tf.constant(cover[1])
    by_height = height * old_width >= width * old_height
    scaled_width = (2 * old_width * height + old_height) // (2 * old_height)
    scaled_height = (2 * old_height * width + old_width) // (2 * old_width)
    return (
        tf.where(by_height, height, tf.maximum(scaled_height, height)),
        tf.where(by_height, tf.maximum(scaled_width, width), width),
    )


def _check_size(size):
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or any(int(side) != side or side < 1 for side in sides):
        raise InvalidInputError(
            "`size` must be a positive integer or a pair (height, width). "
            f"Received: size={size!r}."
        )
    return int(sides[0]), int(sides[1])


def _check_fraction(crop_fraction, shorter_side):
    if crop_fraction is None:
        return 1.0 if shorter_side < 128 else 0.875
    if not 0 < crop_fraction <= 1:
        raise InvalidInputError(
            "`crop_fraction` must be above 0 and at most 1, such as 0.875. "
            f"Received: crop_fraction={crop_fraction!r}."
        )
    return float(crop_fraction)

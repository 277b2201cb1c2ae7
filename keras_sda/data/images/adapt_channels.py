"""Grey images for colour models and colour images for grey models."""

from keras_sda.utils import InvalidInputError

# ITU-R BT.601 luma, the weights of JPEG.
_RED, _BLUE = 0.299, 0.114


def adapt_channels(images, channels: int):
    """Converts images between grey (1 channel) and colour (3 channels).

    Use it between decoding and the model, in the input pipeline and in the export.
    Grey pixels that were stored as equal red, green and blue come back exactly.

    Args:
        images: Tensor or array `(..., channels)` with a known number of channels: 1, 3
            or 4 (the last one, opacity, is dropped where 1 or 3 are asked for).
        channels: Number of channels of the model.

    Returns:
        `images` itself where the number fits already, else a float32 tensor
        `(..., channels)` in the same range of values.

    Raises:
        InvalidInputError: There is no rule for this pair of numbers.

    Example:

    >>> import numpy as np
    >>> from keras_sda.data.images.adapt_channels import adapt_channels
    >>> adapt_channels(np.full((2, 2, 3), 7, "uint8"), 1).numpy().max()
    np.float32(7.0)
    """
    import tensorflow as tf

    images = tf.convert_to_tensor(images)
    received = images.shape[-1]
    if received == channels:
        return images
    if received not in (1, 3, 4) or channels not in (1, 3):
        raise InvalidInputError(
            f"Images of {received} channels cannot be turned into {channels} channels. "
            "Only grey (1) and colour (3) are converted; build the model with "
            f"input_shape=(height, width, {received})."
        )
    images = tf.cast(images, "float32")
    if received == 1:
        return tf.repeat(images, 3, axis=-1)
    red, green, blue = tf.unstack(images[..., :3], axis=-1)
    if channels == 3:
        return images[..., :3]
    # Differences to green vanish for grey pixels, so their value stays exact.
    grey = green + _RED * (red - green) + _BLUE * (blue - green)
    return grey[..., None]

"""From the bytes of an image file to pixels."""

from keras_sda.training.adapt_channels import adapt_channels


def decode_image(data, channels: int = 3):
    """Decodes one JPEG, PNG, GIF (first frame) or BMP image.

    Use it in input pipelines and exports alike, so that both see the same pixels.

    Args:
        data: Scalar string tensor or `bytes`, the content of the file.
        channels: Number of channels to return, 1 or 3. Defaults to `3`.

    Returns:
        Tensor `(height, width, channels)`, values 0 to 255, uint8 for 3 channels.

    Raises:
        tensorflow.errors.InvalidArgumentError: The bytes are no image.

    Example:

    >>> import keras, numpy as np, tensorflow as tf
    >>> from keras_sda.training.decode_image import decode_image
    >>> decode_image(tf.io.encode_png(np.zeros((4, 5, 1), "uint8"))).shape
    TensorShape([4, 5, 3])
    """
    import tensorflow as tf

    # Always as colour: GIF and BMP cannot be decoded as grey.
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    return adapt_channels(image, channels)

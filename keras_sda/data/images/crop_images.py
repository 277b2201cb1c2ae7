"""Random crops that give every image its own position."""


def pad_and_crop(images, pad: int, seed):
    """Pads a batch with zeros and crops each image back at a random position.

    Use it for small images. `keras.layers.RandomCrop` cuts a whole batch at one
    position, which is a much weaker augmentation.

    Args:
        images: `[N, H, W, C]` tensor.
        pad: Pixels of zeros added on each side.
        seed: int32 tensor of shape [2]; the result is a pure function of it.

    Returns:
        A tensor like `images`.

    Example:

    >>> import tensorflow as tf
    >>> pad_and_crop(tf.ones((2, 8, 8, 1)), 2, tf.constant([0, 1])).shape
    TensorShape([2, 8, 8, 1])
    """
    import tensorflow as tf

    if not pad:
        return images
    batch, height, width, channels = images.shape
    count = tf.shape(images)[0]
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    offsets = tf.random.stateless_uniform(
        [count, 2], seed, minval=0, maxval=2 * pad + 1, dtype=tf.int32
    )
    rows = offsets[:, :1] + tf.range(height)
    columns = offsets[:, 1:] + tf.range(width)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(cropped, columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, [batch, height, width, channels])


def random_resized_crop(image, size: int, seed):
    """Cuts a random rectangle out of one image and resizes it to a square.

    The rectangle covers 8 to 100 % of the image with an aspect ratio from 3:4 to 4:3,
    the usual ImageNet training crop.

    Args:
        image: `[H, W, C]` tensor of any size.
        size: Height and width of the result in pixels.
        seed: int32 tensor of shape [2]; the result is a pure function of it.

    Returns:
        float32 `[size, size, C]`, from 0 to 255.

    Example:

    >>> import tensorflow as tf
    >>> image = tf.zeros((60, 90, 3), "uint8")
    >>> random_resized_crop(image, 32, tf.constant([0, 1])).shape
    TensorShape([32, 32, 3])
    """
    import tensorflow as tf

    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        seed,
        min_object_covered=0.0,
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    cropped = tf.slice(image, begin, extent)
    resized = tf.image.resize(cropped, [size, size], antialias=True)
    resized = tf.ensure_shape(resized, [size, size, image.shape[-1]])
    return tf.clip_by_value(resized, 0.0, 255.0)

"""From the bytes of an image file to pixels."""

import os

from keras_sda.utils import InvalidInputError

MAX_PIXELS = 2**27
_VARIABLE = "KERAS_SDA_MAX_PIXELS"


def decode_image(data, channels: int = 3, max_pixels: int | None = None):
    """Decodes one JPEG, PNG, GIF (first frame), BMP or WebP image, upright.

    Use it in input pipelines and exports alike, so that both see the same pixels. It
    consists of TensorFlow operations alone. A JPEG file is turned and mirrored as the
    orientation in its EXIF part says, as viewers show it. The size is read before the
    pixels are, so that a small file cannot claim all memory.

    Args:
        data: Scalar string tensor or `bytes`, the content of the file.
        channels: Number of channels to return, 1 or 3. Defaults to `3`.
        max_pixels: Largest height times width. Defaults to `None`: the environment
            variable KERAS_SDA_MAX_PIXELS, else 134,217,728 (2**27).

    Returns:
        Tensor `(height, width, channels)`, values 0 to 255, uint8 for 3 channels.

    Raises:
        tensorflow.errors.InvalidArgumentError: The bytes are no image, or it has more
            pixels.
        InvalidInputError: The environment variable is no positive integer.

    Example:

    >>> import keras, numpy as np, tensorflow as tf
    >>> from keras_sda.data.images.decode_image import decode_image
    >>> decode_image(tf.io.encode_png(np.zeros((4, 5, 1), "uint8"))).shape
    TensorShape([4, 5, 3])
    """
    import tensorflow as tf

    limit = pixel_limit() if max_pixels is None else max_pixels
    data = tf.convert_to_tensor(data)
    pixels, exif = tf.cond(
        tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff",
        lambda: (_jpeg_pixels(tf, data), _find_exif(tf, data)),
        lambda: (_pixels(tf, data), -1),
    )
    # As plain operations: the ones that print values need as long as a small image.
    checks = [
        tf.raw_ops.Assert(condition=condition, data=[text], summarize=1)
        for condition, text in (
            (pixels >= 0, "This is no JPEG, PNG, GIF, BMP or WebP file."),
            (pixels <= limit, f"The image has more than {limit:,} pixels."),
        )
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        # Always as colour: GIF and BMP cannot be decoded as grey.
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image = tf.cond(
        exif > 0, lambda: _upright(tf, image, _orientation(tf, data, exif)),
        lambda: image,
    )  # fmt: skip
    return adapt_channels(tf.ensure_shape(image, [None, None, 3]), channels)


def pixel_limit() -> int:
    """Most pixels that an image file may have, height times width.

    Raises:
        InvalidInputError: KERAS_SDA_MAX_PIXELS is no positive integer.
    """
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return MAX_PIXELS
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if not 0 < limit < 2**63:
        raise InvalidInputError(
            f"The environment variable {_VARIABLE} must be a positive integer, the "
            "most pixels (height times width) of an image file. Received: "
            f"{text!r}."
        )
    return limit


def _jpeg_pixels(tf, data):
    height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(data, tf.int32))
    return tf.cast(height, tf.int64) * tf.cast(width, tf.int64)


def _pixels(tf, data):
    """Height times width by the header of a PNG, GIF, BMP or WebP file, else -1."""
    head = tf.strings.join([tf.strings.substr(data, 0, 32), b"\0" * 32])
    head = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)[:32]

    def number(start, count, big=False):
        powers = [256**n for n in range(count)]
        return tf.reduce_sum(
            head[start : start + count] * (powers[::-1] if big else powers)
        )

    def has(text, start=0):
        return tf.reduce_all(head[start : start + len(text)] == list(text))

    height = number(22, 4)  # a BMP that is stored from above has a negative one
    bits = number(21, 4)
    sizes = [
        (has(b"\x89PNG"), number(16, 4, big=True), number(20, 4, big=True)),
        (has(b"GIF8"), number(6, 2), number(8, 2)),
        (has(b"BM"), number(18, 4), tf.minimum(height, 2**32 - height)),
        (has(b"WEBPVP8 ", 8), number(26, 2) % 2**14, number(28, 2) % 2**14),
        (has(b"WEBPVP8L", 8), bits % 2**14 + 1, bits // 2**14 % 2**14 + 1),
        (has(b"WEBPVP8X", 8), number(24, 3) + 1, number(27, 3) + 1),
    ]
    found = tf.constant(-1, tf.int64)
    for is_kind, one, other in sizes:
        # Sides of 2**31 would overflow: no side is counted above 2**30.
        area = tf.minimum(one, 2**30) * tf.minimum(other, 2**30)
        found = tf.where(is_kind, area, found)
    return found


def _find_exif(tf, data):
    """Where the EXIF part of a JPEG file begins, or -1.

    It is among the first segments, those of applications and comments.
    """

    def segment(place):
        # Marker, length and the next six bytes, as numbers of two bytes.
        text = tf.strings.join([tf.strings.substr(data, place, 10), b"\0" * 10])
        digits = tf.cast(tf.io.decode_raw(text, tf.uint8)[:10], tf.int32)
        shorts = tf.reduce_sum(tf.reshape(digits, [5, 2]) * [[256, 1]], 1)
        return tf.unstack(shorts)[:4]

    def goes_on(place, marker, length, *text):
        return ((marker & 0xFFF0 == 0xFFE0) | (marker == 0xFFFE)) & ~is_exif(
            marker, length, *text
        )

    def is_exif(marker, length, *text):
        return (marker == 0xFFE1) & (text[0] == 0x4578) & (text[1] == 0x6966)

    def go_on(place, marker, length, *text):
        size = tf.strings.length(data)
        place = tf.minimum(place + 2 + tf.maximum(length, 2), size)
        return (place, *segment(place))

    def search():
        start = tf.constant(2)
        place, *found = tf.while_loop(goes_on, go_on, [start, *segment(start)])
        return tf.where(is_exif(*found), place + 10, -1)

    # Most files have one segment, JFIF of 16 bytes: no loop for them, which is slow.
    head = tf.strings.substr(data, 0, 22)  # to the table of quantization behind it
    known = tf.strings.length(head) == 22
    first, second = (
        tf.strings.substr(tf.strings.join([head, b"\0" * 22]), place, count) == text
        for place, count, text in ((4, 6, b"\0\x10JFIF"), (20, 2, b"\xff\xdb"))
    )
    return tf.cond(known & first & second, lambda: -1, search)


def _orientation(tf, data, start):
    """The orientation in the EXIF part from `start` on, 1 where there is none."""
    head = tf.io.decode_raw(tf.strings.substr(data, start, 2**16), tf.uint8)
    head = tf.concat([tf.cast(head, tf.int32), tf.zeros([16], tf.int32)], 0)
    last = tf.size(head) - 1

    def short(place):
        place = tf.clip_by_value(place, 0, last - 1)
        first, second = tf.gather(head, place), tf.gather(head, place + 1)
        return tf.where(little, second * 256 + first, first * 256 + second)

    little = head[0] == ord("I")
    # Offsets that do not fit are none: what is there is no entry of orientation.
    far = short(tf.where(little, 6, 4))
    table = short(tf.where(little, 4, 6))
    entries = table + 2 + 12 * tf.range(tf.minimum(short(table), 1000))
    values = tf.where(short(entries) == 0x0112, short(entries + 8), 0)
    value = tf.reduce_max(tf.concat([values, [0]], 0))
    return tf.where((far == 0) & (value >= 1) & (value <= 8), value, 1)


def _upright(tf, image, orientation):
    image = tf.cond(
        orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image
    )
    flip = (orientation - 1) % 4
    image = tf.cond(
        (flip == 1) | (flip == 2), lambda: tf.reverse(image, [1]), lambda: image
    )
    return tf.cond(flip >= 2, lambda: tf.reverse(image, [0]), lambda: image)


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
    >>> from keras_sda.data.images.decode_image import adapt_channels
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

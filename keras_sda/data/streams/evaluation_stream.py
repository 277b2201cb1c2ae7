"""Test images in batches, prepared by the evaluation rule."""

from typing import Any

from keras_sda.data.images.image_dataset import ImageDataset


def evaluation_stream(
    dataset: ImageDataset,
    image_size: int,
    batch_size: int,
    crop_fraction: float | None = None,
) -> Any:
    """Makes a `tf.data.Dataset` of all test images, in order, without augmentation.

    Use it for validation and for `keras-sda evaluate`. The images are resized by
    `resize_images`, the same rule that the exported model uses.

    Args:
        dataset: The images.
        image_size: Height and width in pixels.
        batch_size: Images per batch; the last batch may be smaller.
        crop_fraction: Central share of the image to keep. Defaults to None, all.

    Returns:
        A dataset of float32 images `[N, size, size, C]` from 0 to 255 and one-hot
        float32 labels `[N, classes]`.

    Example:

    >>> from keras_sda.training import evaluation_stream, load_image_dataset
    >>> stream = evaluation_stream(load_image_dataset("digits"), 32, 100)
    >>> len(stream)
    4
    """
    import tensorflow as tf

    from keras_sda.data.images.resize_images import resize_images

    num_classes = len(dataset.class_names)

    def prepare(images, labels):
        images = resize_images(images, image_size, crop_fraction)
        return images, tf.one_hot(labels, num_classes)

    stream = dataset.test
    if dataset.image_shape is None:
        stream = stream.map(
            prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        ).batch(batch_size)
    else:
        stream = stream.batch(batch_size).map(
            prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    stream = stream.apply(
        tf.data.experimental.assert_cardinality(-(-dataset.num_test // batch_size))
    )
    return stream.prefetch(tf.data.AUTOTUNE)

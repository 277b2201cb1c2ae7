"""The endless, repeatable stream of augmented training batches."""

import os
from typing import Any

from keras_sda.data.images.crop_images import pad_and_crop, random_resized_crop
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.data.streams.keras_augmentation import KerasAugmentation
from keras_sda.utils import InvalidInputError

_SHUFFLE_BUFFER = 4096  # encoded images; only for data that cannot be kept in memory


def training_stream(
    dataset: ImageDataset,
    recipe: Augmentation,
    image_size: int,
    batch_size: int,
    epochs: int,
    seed: int = 0,
    start_epoch: int = 0,
    augmentation: str = "keras",
) -> Any:
    """Makes one `tf.data.Dataset` of augmented batches for a whole training run.

    Use it with `fit(stream, steps_per_epoch=...)`. Every batch is a pure function of
    the seed, the epoch and the step: a stream that starts at epoch 5 yields exactly
    what the stream from epoch 0 yields after 5 epochs, so an interrupted run can be
    continued to the same weights. Incomplete batches are dropped.

    Args:
        dataset: The images.
        recipe: Crops, augmentations and label smoothing.
        image_size: Height and width of the batches in pixels.
        batch_size: Images per batch.
        epochs: The stream ends after this epoch (counted from 0, exclusive).
        seed: Any integer. Defaults to 0.
        start_epoch: First epoch of the stream. Defaults to 0.
        augmentation: `"keras"`, `"keras_cv"` or `"none"` (no crop, no flip either).

    Returns:
        A dataset of float32 images `[N, size, size, C]` from 0 to 255 and float32
        labels `[N, classes]` that sum to one.

    Raises:
        InvalidInputError: Fewer training images than one batch needs, or keras-cv is
            asked for and not installed.

    Example:

    >>> from keras_sda.training import RECIPES, load_image_dataset, training_stream
    >>> data = load_image_dataset("digits")
    >>> stream = training_stream(data, RECIPES["digits"], 32, 64, epochs=2)
    >>> next(iter(stream))[0].shape
    TensorShape([64, 32, 32, 1])
    """
    import tensorflow as tf

    steps = steps_per_epoch(dataset, batch_size)
    augment = _make_augmentation(augmentation, recipe, dataset.channels)
    crop = _crop_rule(recipe, augmentation, image_size)
    by_image = dataset.image_shape is None or crop == "resized"
    by_image = by_image or dataset.train_split.arrays is None
    num_classes = len(dataset.class_names)
    fold = tf.random.experimental.stateless_fold_in
    base = tf.constant([seed, 0x5DA], tf.int32)

    def image_at(epoch, position, *item):
        key = fold(fold(base, epoch), position)
        image, label = _decode(dataset.train_split, *item)
        if crop == "resized":
            return epoch, random_resized_crop(image, image_size, key), label
        return epoch, _resize(image, image_size), label

    def finish(step, epoch, images, labels):
        key = fold(fold(base, epoch), steps * batch_size + step % steps)
        seeds = tf.unstack(tf.random.experimental.stateless_split(key, 2))
        if not by_image:
            images = _resize(images, image_size)
        images = tf.cast(images, tf.float32)
        images = tf.ensure_shape(
            images, [batch_size, image_size, image_size, dataset.channels]
        )
        if crop == "pad":
            images = pad_and_crop(images, recipe.pad, seeds[0])
        targets = _smooth(tf.one_hot(labels, num_classes), recipe.label_smoothing)
        if augment is not None:
            images, targets = augment(images, targets, seeds[1])
        return tf.clip_by_value(images, 0.0, 255.0), targets

    epoch_numbers = tf.data.Dataset.range(start_epoch, epochs)
    if by_image:
        stream = epoch_numbers.flat_map(
            lambda epoch: _images_of_epoch(dataset, epoch, steps * batch_size, base)
        )
        stream = _map(stream, image_at).batch(batch_size, drop_remainder=True)
        stream = stream.map(lambda e, images, labels: (e[0], images, labels))
    else:
        with tf.device("CPU"):
            arrays = dataset.train_split.arrays or ()
            images, labels = map(tf.constant, arrays)

        def batches(epoch):
            order = _shuffled(dataset.num_train, epoch, base)[: steps * batch_size]
            chosen = tf.data.Dataset.from_tensor_slices(
                tf.reshape(order, [steps, batch_size])
            )
            return chosen.map(lambda rows: (epoch, rows))

        stream = _map(
            epoch_numbers.flat_map(batches),
            lambda epoch, rows: (
                epoch,
                tf.gather(images, rows),
                tf.gather(labels, rows),
            ),
        )
    stream = _map(
        stream.enumerate(), lambda step, batch: finish(tf.cast(step, tf.int64), *batch)
    )
    # Threads of its own: training may be limited to one operation at a time.
    threads = tf.data.Options()
    threads.threading.private_threadpool_size = max(2, os.cpu_count() or 2)
    stream = stream.prefetch(tf.data.AUTOTUNE).with_options(threads)
    return stream.apply(
        tf.data.experimental.assert_cardinality(max(0, epochs - start_epoch) * steps)
    )


def steps_per_epoch(dataset: ImageDataset, batch_size: int) -> int:
    """Full batches in one pass over the training images."""
    steps = dataset.num_train // batch_size
    if not steps:
        raise InvalidInputError(
            f"`batch_size` must not exceed the number of training images. Received: "
            f"batch_size={batch_size}, {dataset.num_train} images in {dataset.name!r}."
        )
    return steps


def _map(dataset, function):
    import tensorflow as tf

    return dataset.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _shuffled(count, epoch, base):
    import tensorflow as tf

    key = tf.random.experimental.stateless_fold_in(base, epoch)
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=key)


def _images_of_epoch(dataset, epoch, count, base):
    """(epoch, position, ...) for every image of an epoch, in its shuffled order."""
    import tensorflow as tf

    split = dataset.train_split
    if split.stream is not None:
        # The seed of this function's graph alone. With the seed 0, TensorFlow would
        # compare our tensor to 0 in Python; and the order must not depend on it.
        tf.compat.v1.set_random_seed(1)
        key = tf.cast(tf.random.experimental.stateless_fold_in(base, epoch), tf.int64)
        shuffled = split.stream.shuffle(
            min(split.num_examples, _SHUFFLE_BUFFER),
            seed=key[0] * 2**31 + key[1],
            reshuffle_each_iteration=False,
        ).take(count)
        return shuffled.enumerate().map(lambda i, item: (epoch, i, *item))
    with tf.device("CPU"):
        images, labels = map(tf.constant, split.arrays or split.files)
    order = _shuffled(split.num_examples, epoch, base)[:count]
    rows = tf.data.Dataset.from_tensor_slices(order).enumerate()
    return rows.map(
        lambda i, row: (epoch, i, tf.gather(images, row), tf.gather(labels, row))
    )


def _decode(split, image, label):
    return (image if split.decode is None else split.decode(image)), label


def _resize(images, size):
    import tensorflow as tf

    from keras_sda.data.images.resize_images import resize_images

    if images.shape[-3:-1] == (size, size):
        return tf.cast(images, tf.float32)
    return resize_images(images, size)


def _smooth(targets, smoothing):
    # Smoothed here, not in the loss, so that the test loss is the plain one.
    return targets * (1.0 - smoothing) + smoothing / targets.shape[-1]


def _crop_rule(recipe, augmentation, image_size):
    if augmentation == "none":
        return "none"
    if recipe.crop == "auto":
        return "resized" if image_size >= 128 else "pad"
    return recipe.crop


def _make_augmentation(name, recipe, channels):
    if name == "none":
        return None
    if name == "keras_cv":
        from keras_sda.data.streams.keras_cv_augmentation import KerasCVAugmentation

        return KerasCVAugmentation(recipe, channels)
    return KerasAugmentation(recipe, channels)

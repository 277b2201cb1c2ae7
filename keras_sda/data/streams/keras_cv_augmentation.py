"""Augmentation with the layers of keras-cv, an optional extra."""

import contextlib
import sys

from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.data.streams.keras_augmentation import map_images
from keras_sda.utils.optional_import import optional_import


class KerasCVAugmentation:
    """Augments a batch with RandAugment, MixUp and CutMix of keras-cv.

    Use it with `augmentation="keras_cv"`. It follows the same fields of a recipe as
    `KerasAugmentation`; flips and erasing (`RandomFlip`, `RandomCutout`) come from
    keras-cv too. keras-cv 0.9.0 is its last release, so its behaviour is settled.

    Its layers draw from stateful generators and global random operations. They get a
    stateless generator, and while the pipeline is traced their modules see stateless
    operations, so the batches are a pure function of the seed here as well and a
    resumed run repeats them exactly.

    Args:
        recipe: Which augmentations, and how strong.
        channels: Channels of the images; RandAugment is left out unless there are 3.

    Raises:
        InvalidInputError: keras-cv is not installed.

    Example:

    ```python
    options = TrainOptions(recipe="modern", augmentation="keras_cv")
    ```
    """

    def __init__(self, recipe: Augmentation, channels: int):
        layers = optional_import(
            "keras_cv.layers", "augmentation='keras_cv'", "use augmentation='keras'"
        )
        # A seed of 0 would make them share the global generator.
        common = {"seed": 1, "dtype": "float32"}
        self._flip = recipe.flip and layers.RandomFlip("horizontal", **common)
        self._rand_augment = (recipe.rand_augment and channels == 3) and (
            layers.RandAugment(
                value_range=(0, 255),
                augmentations_per_image=recipe.rand_augment_ops,
                magnitude=recipe.rand_augment,
                **common,
            )
        )
        self._erase = recipe.erasing and layers.RandomCutout(0.4, 0.4, **common)
        self._erasing = recipe.erasing
        self._mix_up = recipe.mixup and layers.MixUp(recipe.mixup, **common)
        self._cut_mix = recipe.cutmix and layers.CutMix(recipe.cutmix, **common)

    def __call__(self, images, labels, seed):
        """Augmented float32 images `[N,H,W,C]` and one-hot labels `[N,classes]`."""
        import tensorflow as tf

        shapes = images.shape, labels.shape
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 6))
        if self._flip:
            images = _run(self._flip, images, seeds[0])
        if self._rand_augment:
            images = map_images(
                lambda image, s: _run(self._rand_augment, image, s), images, seeds[1]
            )
        if self._erase:
            # Its draws are per image inside a loop: every image needs its own seed.
            erased = map_images(
                lambda image, s: _run(self._erase, image, s), images, seeds[2]
            )
            draws = tf.random.stateless_uniform(
                [tf.shape(images)[0], 1, 1, 1], seeds[5]
            )
            images = tf.where(draws < self._erasing, erased, images)
        mixed = {"images": images, "labels": labels}
        if self._mix_up and self._cut_mix:
            mixed = tf.cond(
                tf.random.stateless_uniform([], seed=seeds[3]) < 0.5,
                lambda: _run(self._mix_up, mixed, seeds[4]),
                lambda: _run(self._cut_mix, mixed, seeds[4]),
            )
        elif self._mix_up or self._cut_mix:
            mixed = _run(self._mix_up or self._cut_mix, mixed, seeds[4])
        return (
            tf.ensure_shape(mixed["images"], shapes[0]),
            tf.ensure_shape(mixed["labels"], shapes[1]),
        )


class _StatelessRandom:
    """`tf.random` and `tf.random.Generator` for keras-cv: draws of a seed."""

    def __init__(self, seed):
        self._seed = seed
        self._calls = 0

    def __getattr__(self, name):
        import tensorflow as tf

        return getattr(tf.random, name)

    def _next(self):
        import tensorflow as tf

        self._calls += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._calls)

    def uniform(self, shape, minval=0, maxval=None, dtype="float32", **_):
        import tensorflow as tf

        dtype = tf.as_dtype(dtype)
        maxval = 1 if maxval is None else maxval
        return tf.random.stateless_uniform(
            shape,
            self._next(),
            minval=tf.cast(minval, dtype),
            maxval=tf.cast(maxval, dtype),
            dtype=dtype,
        )

    def normal(self, shape, mean=0.0, stddev=1.0, dtype="float32", **_):
        import tensorflow as tf

        return tf.random.stateless_normal(
            shape, self._next(), mean, stddev, tf.as_dtype(dtype)
        )

    def gamma(self, shape, alpha, beta=None, dtype="float32", **_):
        import tensorflow as tf

        return tf.random.stateless_gamma(
            shape, self._next(), alpha, beta, tf.as_dtype(dtype)
        )

    def shuffle(self, value, **_):
        import tensorflow as tf

        return tf.random.experimental.stateless_shuffle(value, self._next())


class _TensorFlow:
    """TensorFlow with another `tf.random`."""

    def __init__(self, random):
        self.random = random

    def __getattr__(self, name):
        import tensorflow as tf

        return getattr(tf, name)


def _run(layer, inputs, seed):
    with _drawing_from(layer, _StatelessRandom(seed)):
        return layer(inputs, training=True)


@contextlib.contextmanager
def _drawing_from(layer, source):
    """Lets `layer` and those inside it draw from `source` while this is open."""
    import tensorflow as tf

    pending = [layer]
    while pending:
        current = pending.pop()
        for value in list(vars(current).values()):
            parts = value if isinstance(value, (list, tuple)) else [value]
            pending.extend(p for p in parts if hasattr(p, "_random_generator"))
        current._random_generator = source
    modules = [
        module for name, module in list(sys.modules.items())
        if name.startswith("keras_cv.") and vars(module).get("tf") is tf
    ]  # fmt: skip
    for module in modules:
        module.tf = _TensorFlow(source)
    try:
        yield
    finally:
        for module in modules:
            module.tf = tf

"""Augmentation with the layers of Keras itself."""

import keras

from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.graph import draw_from


class StatelessSeedGenerator(keras.random.SeedGenerator):
    """A seed generator that derives its seeds from a tensor instead of counting.

    Use it inside tf.data, where the order in which parallel calls reach a counting
    generator is not fixed: there a training run could not be repeated or resumed
    exactly. `make_stateless` puts it into a layer; set `current` before the layer is
    called.

    Args:
        seed: Initial seed of the unused counter. Defaults to 0.

    Example:

    >>> import keras, tensorflow as tf
    >>> flip = keras.layers.RandomFlip("horizontal")
    >>> generator = make_stateless(flip)
    >>> generator.restart(tf.constant([1, 2]))
    >>> first = flip(tf.ones((2, 4, 4, 3)))
    """

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.current = None
        self._calls = 0

    def restart(self, seed) -> None:
        """Continues from an int32 seed tensor of shape [2]."""
        self.current = seed
        self._calls = 0

    def next(self, ordered: bool = True):
        """The next seed: the current one folded with the number of calls."""
        import tensorflow as tf

        self._calls += 1
        return tf.random.experimental.stateless_fold_in(self.current, self._calls)


def make_stateless(layer: keras.Layer) -> StatelessSeedGenerator:
    """Gives a random preprocessing layer, and those inside it, a stateless generator.

    Args:
        layer: A Keras preprocessing layer that has not been called yet.

    Returns:
        The shared `StatelessSeedGenerator`; `restart` it before each call.
    """
    generator = StatelessSeedGenerator()
    stack = [layer]
    while stack:
        current = stack.pop()
        stack.extend(v for v in vars(current).values() if isinstance(v, keras.Layer))
        if hasattr(current, "generator"):
            draw_from(current, generator)
    return generator


class KerasAugmentation:
    """Augments a batch as a recipe says, as a pure function of a seed.

    Use it inside `tf.data.Dataset.map`, as `training_stream` does. The layers are
    `RandomFlip`, `RandAugment`, `RandomErasing`, `MixUp` and `CutMix` of
    `keras.layers`; RandAugment draws its operations for every image anew. All take and
    return pixels from 0 to 255.

    Args:
        recipe: Which augmentations, and how strong.
        channels: Channels of the images; RandAugment is left out unless there are 3.

    Example:

    >>> import tensorflow as tf
    >>> from keras_sda.training import RECIPES
    >>> augment = KerasAugmentation(RECIPES["cifar"], channels=3)
    >>> images, labels = tf.zeros((4, 32, 32, 3)), tf.one_hot([0, 1, 2, 3], 10)
    >>> images, labels = augment(images, labels, seed=tf.constant([0, 1]))
    """

    def __init__(self, recipe: Augmentation, channels: int):
        layers = keras.layers
        self._flip = recipe.flip and self._prepare(layers.RandomFlip, "horizontal")
        self._rand_augment = (recipe.rand_augment and channels == 3) and self._prepare(
            layers.RandAugment,
            value_range=(0, 255),
            num_ops=recipe.rand_augment_ops,
            factor=recipe.rand_augment,
        )
        self._erase = recipe.erasing and self._prepare(
            layers.RandomErasing,
            factor=(recipe.erasing, recipe.erasing),
            scale=(0.02, 0.33),
        )
        self._mix_up = recipe.mixup and self._prepare(layers.MixUp, alpha=recipe.mixup)
        self._cut_mix = recipe.cutmix and self._prepare(
            layers.CutMix, factor=(recipe.cutmix, recipe.cutmix)
        )

    def __call__(self, images, labels, seed):
        """Augmented float32 images `[N,H,W,C]` and one-hot labels `[N,classes]`."""
        import tensorflow as tf

        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
        if self._flip:
            images = _run(self._flip, images, seeds[0])
        if self._rand_augment:
            images = map_images(
                lambda image, s: _run(self._rand_augment, image, s), images, seeds[1]
            )
        if self._erase:
            images = _run(self._erase, images, seeds[2])
        mixed = {"images": images, "labels": labels}
        if self._mix_up and self._cut_mix:
            mixed = tf.cond(
                tf.random.stateless_uniform([], seed=seeds[3]) < 0.5,
                lambda: _run(self._mix_up, mixed, seeds[4]),
                lambda: _run(self._cut_mix, mixed, seeds[4]),
            )
        elif self._mix_up or self._cut_mix:
            mixed = _run(self._mix_up or self._cut_mix, mixed, seeds[4])
        return mixed["images"], mixed["labels"]

    @staticmethod
    def _prepare(layer_class, *args, **kwargs):
        # Pixels stay float32 whatever the dtype policy of the model is.
        layer = layer_class(*args, dtype="float32", **kwargs)
        return layer, make_stateless(layer)


def map_images(function, images, seed):
    """Applies `function(image, seed)` to every image with a seed of its own."""
    import tensorflow as tf

    seeds = tf.random.stateless_uniform(
        [tf.shape(images)[0], 2], seed, minval=None, maxval=None, dtype=tf.int32
    )
    return tf.map_fn(
        lambda item: tf.ensure_shape(function(*item), images.shape[1:]),
        (images, seeds),
        fn_output_signature=tf.TensorSpec(images.shape[1:], images.dtype),
    )


def _run(prepared, inputs, seed):
    layer, generator = prepared
    generator.restart(seed)
    return layer(inputs, training=True)

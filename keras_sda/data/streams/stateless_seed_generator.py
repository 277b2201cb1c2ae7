"""Makes the random Keras layers a pure function of a seed tensor."""

import keras

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

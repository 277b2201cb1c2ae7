"""The small dense layers inside attention layers, made in one place."""

from typing import Any

import keras

from keras_sda.utils import InvalidInputError


def inner_dense(units: int, input_size: int, name: str, **kwargs: Any):
    """Makes a built dense layer in float32 that `model.quantize` passes over.

    Use it for the perceptrons inside a layer. They are small and decide what whole
    maps are multiplied by, so they stay in float32 under every dtype policy. The
    config of the outer layer has no place for what quantization or LoRA would change
    in them: a model saved after that could not be loaded.

    Args:
        units: Integer, size of the output.
        input_size: Integer, number of input features.
        name: Name of the layer.
        **kwargs: Further arguments of `keras.layers.Dense`.

    Returns:
        A `keras.layers.Dense`, built.

    Example:

    >>> from keras_sda.layers.attention.inner_dense import inner_dense
    >>> layer = inner_dense(4, 16, "squeeze")
    >>> tuple(layer.kernel.shape), layer.compute_dtype
    ((16, 4), 'float32')
    """
    layer = Dense(units, dtype="float32", name=name, **kwargs)
    layer.build((None, input_size))
    return layer


class Dense(keras.layers.Dense):
    """A dense layer that quantization and LoRA pass over."""

    # The name of the class is part of the paths in weight files, where layers stand in
    # lists.

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras makes a warning of this kind of error and goes on with the next layer.
        raise NotImplementedError(
            f"Layer {self.path!r} stays in float32: it is a small part of an attention "
            "layer. All other layers are quantized as asked."
        )

    def enable_lora(self, *args, **kwargs):
        raise InvalidInputError(
            f"Layer {self.path!r} has no LoRA: the attention layer that holds it could "
            "not be loaded again. Train the kernel itself."
        )

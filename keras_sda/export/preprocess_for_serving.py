"""Which scaling stands between pixels and a model."""

from collections.abc import Callable

import keras

from keras_sda.graph.as_functional import as_functional
from keras_sda.graph.consumers import consumers
from keras_sda.utils import InvalidInputError

_CHOICES = ("auto", "none", "imagenet")


def preprocess_for_serving(
    model: keras.Model, preprocessing: str, channels: int
) -> Callable:
    """Returns the function that turns 0..255 pixels into the input of the model.

    Use it when a model is wrapped for serving.

    Args:
        model: A functional model with one image input.
        preprocessing: `"none"`: the model takes 0..255. `"imagenet"`: scale to 0..1,
            subtract the ImageNet mean and divide by its deviation (mode "torch" of
            Keras). `"auto"`: "none" where the first layer is `Rescaling` or
            `Normalization`, else "imagenet".
        channels: Number of channels of the model.

    Returns:
        A function from a float32 tensor `(batch, height, width, channels)` to one of
        the same shape.

    Raises:
        InvalidInputError: Unknown `preprocessing`, or "imagenet" (also by "auto") for a
            model without three channels.

    Example:

    >>> import keras
    >>> from keras_sda.export.preprocess_for_serving import preprocess_for_serving
    >>> x = keras.Input((8, 8, 3))
    >>> model = keras.Model(x, keras.layers.Rescaling(1 / 255)(x))
    >>> preprocess_for_serving(model, "auto", 3)(255.0)
    255.0
    """
    if preprocessing not in _CHOICES:
        raise InvalidInputError(
            f"`preprocessing` must be one of {_CHOICES}. "
            f"Received: preprocessing={preprocessing!r}."
        )
    if preprocessing == "none":
        return lambda images: images
    if preprocessing == "auto" and _scales_itself(model):
        return lambda images: images
    if channels != 3:
        raise InvalidInputError(
            f"`preprocessing={preprocessing!r}` means the ImageNet mean and deviation, "
            f"which need 3 channels; model {model.name!r} has {channels} and does not "
            "start with Rescaling or Normalization. Give preprocessing='none' if it "
            "takes values 0..255, or start the model with keras.layers.Rescaling."
        )
    return lambda images: keras.applications.imagenet_utils.preprocess_input(
        images, data_format="channels_last", mode="torch"
    )


def _scales_itself(model):
    uses = consumers(as_functional(model))
    start = next(iter(uses.values()))
    if start.only_consumer is None:
        return False
    first = uses[start.only_consumer].layer
    if isinstance(first, (keras.layers.Rescaling, keras.layers.Normalization)):
        return True
    return isinstance(first, keras.Model) and _scales_itself(first)

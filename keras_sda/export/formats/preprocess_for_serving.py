"""Which scaling stands between pixels and a model."""

from collections.abc import Callable

import keras

from keras_sda.applications.pixel_scaling import MODES, PixelScaling
from keras_sda.utils import InvalidInputError

_CHOICES = ("auto", *MODES)


def preprocess_for_serving(
    model: keras.Model, preprocessing: str, channels: int
) -> Callable:
    """Returns the function that turns 0..255 pixels into the input of the model.

    Use it when a model is wrapped for serving.

    Args:
        model: A functional model with one image input.
        preprocessing: `"none"`: the model takes 0..255. `"imagenet"`: scale to 0..1,
            subtract the ImageNet mean and divide by its deviation (mode "torch" of
            Keras), as the networks of this package expect. `"tf"` and `"caffe"`: as
            some networks of `keras.applications` expect. `"auto"`: as
            `applications.pixel_scaling` has it for the networks of `keras.applications`
            and of this package, "none" where the model scales pixels itself.
        channels: Number of channels of the model.

    Returns:
        A function from a float32 tensor `(batch, height, width, channels)` to one of
        the same shape.

    Raises:
        InvalidInputError: Unknown `preprocessing`, an "auto" that cannot tell, or a
            scaling of three channels for a model that has another number.

    Example:

    >>> import keras
    >>> from keras_sda.export.formats.preprocess_for_serving import (
    ...     preprocess_for_serving
    ... )
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
    if preprocessing == "auto":
        scaling = PixelScaling.of_model(model, channels)
        if scaling is None:
            raise InvalidInputError(
                f"`preprocessing` 'auto' cannot tell what model {model.name!r} with "
                f"{channels} channel(s) expects: it does not start with Rescaling or "
                "Normalization, and is no network of this package or of "
                "keras.applications. Give preprocessing='none' (it takes 0..255), "
                "'imagenet' (as the networks of this package), 'tf' (such as "
                "MobileNetV2) or 'caffe' (such as ResNet50 of keras.applications); or "
                "start the model with keras.layers.Rescaling."
            )
    else:
        scaling = PixelScaling(preprocessing)
    if channels != 3 and scaling.mode in ("imagenet", "caffe"):
        raise InvalidInputError(
            f"`preprocessing={preprocessing!r}` means the scaling of ImageNet, "
            f"which needs 3 channels; model {model.name!r} has {channels}. Give "
            "preprocessing='none' if it takes values 0..255, 'tf' if it takes -1..1, "
            "or start the model with keras.layers.Rescaling."
        )
    return scaling

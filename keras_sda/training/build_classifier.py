"""A network with its normalisation inside, ready for pixels from 0 to 255."""

import inspect
import os
from collections.abc import Callable

import keras
import numpy as np

from keras_sda.applications import load_weights
from keras_sda.utils import InvalidInputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def build_classifier(
    constructor: Callable[..., keras.Model],
    image_size: int,
    channels: int,
    classes: int,
    weights: str | os.PathLike | None = None,
    depth_attention: bool = True,
    synchronized: bool = False,
) -> keras.Model:
    """Builds a classifier that takes raw pixels.

    Use it to train: the saved model then needs no preprocessing but resizing. A
    `Rescaling` layer in front of the network applies the ImageNet mean and standard
    deviation to three channels, and maps 0..255 to -1..1 for any other number.

    Args:
        constructor: A constructor in the style of `keras.applications`.
        image_size: Height and width in pixels.
        channels: Channels of the images.
        classes: Number of classes.
        weights: Weight file to start from, as in `keras_sda.applications.load_weights`.
            Defaults to None, random weights.
        depth_attention: False builds the plain trunk. Defaults to True.
        synchronized: Whether BatchNormalization counts over all devices.

    Returns:
        A functional model: float images `[N, size, size, channels]` from 0 to 255 to
        float32 probabilities `[N, classes]`.

    Raises:
        InvalidInputError: The constructor does not offer what was asked for, or the
            weight file does not fit.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> build_classifier(SDAResNet20, 32, 3, 10).input_shape
    (None, 32, 32, 3)
    """
    options = {}
    if not depth_attention:
        options["depth_attention"] = False
    if synchronized and keras.backend.backend() == "tensorflow":
        # Elsewhere the statistics cover the whole batch anyway.
        options["synchronized"] = True
    missing = sorted(set(options) - _accepted(constructor))
    if "synchronized" in missing:
        # Stock Keras networks: their batch statistics stay per device.
        missing.remove("synchronized")
        del options["synchronized"]
    if missing:
        raise InvalidInputError(
            f"`model` {constructor.__name__} has no option {', '.join(missing)}. "
            "Choose an SDA network, or leave the option at its default."
        )
    if channels == 3:
        mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
        scale, offset = (1 / (255 * std)).tolist(), (-mean / std).tolist()
    else:
        scale, offset = 1 / 127.5, -1.0
    inputs = keras.Input((image_size, image_size, channels), name="image")
    # bfloat16 cannot tell resized pixel values apart, so this layer stays float32.
    x = keras.layers.Rescaling(scale, offset, dtype="float32", name="pixel_scaling")(
        inputs
    )
    model = constructor(input_tensor=x, weights=None, classes=classes, **options)
    if weights is not None:
        # Not by the constructor: those of Keras accept files that do not fit.
        load_weights(model, weights)
    return model


def _accepted(constructor) -> set[str]:
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {"depth_attention", "synchronized", *parameters}
    return set(parameters)

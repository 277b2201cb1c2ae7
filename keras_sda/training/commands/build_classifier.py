"""A network with its normalisation inside, ready for pixels from 0 to 255."""

import functools
import inspect
import os
from collections.abc import Callable

import keras

from keras_sda.applications import load_weights
from keras_sda.applications.pixel_scaling import PixelScaling, scales_itself
from keras_sda.utils import InvalidInputError


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
    `Rescaling` layer in front of the network does what `preprocess_input` of the
    network does: ImageNet mean and standard deviation for those of this package, what
    its module documents for one of `keras.applications`, nothing where the network
    scales pixels itself. Any other number of channels than three is mapped from 0..255
    to -1..1.

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
            f"`model` {name_of(constructor)} has no option {', '.join(missing)}. "
            "Choose an SDA network, or leave the option at its default."
        )
    inputs = keras.Input((image_size, image_size, channels), name="image")
    known = PixelScaling.of_constructor(name_of(constructor), channels)
    # What no table has is built as a network of this package would be.
    scaling = known or PixelScaling("imagenet" if channels == 3 else "tf")
    x = scaling.as_layers(inputs)
    model = constructor(input_tensor=x, weights=None, classes=classes, **options)
    if known is None and scales_itself(model, x):
        model = constructor(
            input_tensor=inputs, weights=None, classes=classes, **options
        )
    if weights is not None:
        # Not by the constructor: those of Keras accept files that do not fit.
        load_weights(model, weights)
    return model


def _accepted(constructor) -> set[str]:
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {"depth_attention", "synchronized", *parameters}
    return set(parameters)


def name_of(constructor: Callable[..., keras.Model]) -> str:
    """Name of a constructor, also of one with fixed arguments."""
    while isinstance(constructor, functools.partial):
        constructor = constructor.func
    return getattr(constructor, "__name__", type(constructor).__name__)

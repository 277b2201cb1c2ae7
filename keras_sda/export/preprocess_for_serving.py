"""Which scaling stands between pixels and a model."""

from collections.abc import Callable

import keras

from keras_sda.graph.as_functional import as_functional
from keras_sda.graph.consumers import consumers
from keras_sda.utils import InvalidInputError

# Our name -> that of keras.applications.imagenet_utils.
_MODES = {"imagenet": "torch", "tf": "tf", "caffe": "caffe"}
_CHOICES = ("auto", "none", *_MODES)


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
            some networks of `keras.applications` expect. `"auto"`: "none" where the
            first layer is `Rescaling` or `Normalization`, "imagenet" for a network of
            this package.
        channels: Number of channels of the model.

    Returns:
        A function from a float32 tensor `(batch, height, width, channels)` to one of
        the same shape.

    Raises:
        InvalidInputError: Unknown `preprocessing`, an "auto" that cannot tell, or a
            scaling of three channels for a model that has another number.

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
    if preprocessing == "auto":
        if _scales_itself(model):
            return lambda images: images
        if not _is_ours(model) and channels == 3:
            raise InvalidInputError(
                f"`preprocessing` 'auto' cannot tell what model {model.name!r} "
                "expects: it does not start with Rescaling or Normalization and is no "
                "network of this package. Give 'none' (it takes 0..255), 'imagenet', "
                "'tf' (such as MobileNetV2) or 'caffe' (such as ResNet50 of "
                "keras.applications)."
            )
        preprocessing = "imagenet"
    if channels != 3:
        raise InvalidInputError(
            f"`preprocessing={preprocessing!r}` means the scaling of ImageNet, "
            f"which needs 3 channels; model {model.name!r} has {channels} and does not "
            "start with Rescaling or Normalization. Give preprocessing='none' if it "
            "takes values 0..255, or start the model with keras.layers.Rescaling."
        )
    return lambda images: keras.applications.imagenet_utils.preprocess_input(
        images, data_format="channels_last", mode=_MODES[preprocessing]
    )


def _is_ours(model):
    names = {layer.name for layer in as_functional(model).layers}
    return {"stem_conv", "stage1_block1_conv1"} <= names


def _scales_itself(model):
    uses = consumers(as_functional(model))
    start = next(iter(uses.values()))
    if start.only_consumer is None:
        return False
    first = uses[start.only_consumer].layer
    if isinstance(first, (keras.layers.Rescaling, keras.layers.Normalization)):
        return True
    return isinstance(first, keras.Model) and _scales_itself(first)

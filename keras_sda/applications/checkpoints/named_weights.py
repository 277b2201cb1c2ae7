"""Weights that have a name, such as `weights="imagenet"`."""

import pathlib

import keras

from keras_sda.applications.checkpoints.download_weights import download_weights
from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.checkpoints.safetensors_weights import load_safetensors
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.utils import InvalidInputError

WEIGHTS_FOLDER = pathlib.Path(__file__).parents[1] / "weights"


def weight_names() -> dict[str, list[str]]:
    """Returns the names that `weights=` knows, each with the networks that have it.

    Example:

    >>> from keras_sda.applications.checkpoints.named_weights import weight_names
    >>> "SDAResNet50" in weight_names()["imagenet"]
    True
    """
    names = {}
    for network, row in PRESETS.items():
        for name in row.get("weights", {}):
            names.setdefault(name, []).append(network)
    return names


def load_named_weights(model: keras.Model, name: str) -> None:
    """Loads published weights into a named network.

    The network is recognised by its layers, so models with preprocessing in front
    work as well. See `load_weights`.

    Args:
        model: A network of `keras_sda.applications` in its named form; classes, image
            size, classifier and `min_width` or `reduction` may differ.
        name: A key of `weights` in the row of the network in `presets.py`.

    Raises:
        InvalidInputError: There are no such weights for the network, they cannot be
            downloaded, or they do not fit.

    Example:

    >>> from keras_sda.applications import SDAResNet20
    >>> from keras_sda.applications.checkpoints.named_weights import load_named_weights
    >>> load_named_weights(SDAResNet20(), "cifar10")
    """
    preset = NetworkSignature.of_model(model).preset
    sources = PRESETS[preset].get("weights", {}) if preset else {}
    if name not in sources:
        raise InvalidInputError(_no_such_weights(name, preset, sources))
    source = sources[name]
    channels = _input_channels(model)
    if channels != 3:
        raise InvalidInputError(
            f"`weights={name!r}` are for images of 3 channels (RGB). Received: a model "
            f"for {channels}. Repeat a grey image three times, or use weights=None."
        )
    if source["source"] == "package":
        path = WEIGHTS_FOLDER / source["file"]
    else:
        path = download_weights(source, name)
    load_safetensors(model, path, any_classes=True)


def _no_such_weights(name, preset, sources):
    if preset:
        text = f"No weights are published under {name!r} for {preset}."
    else:
        text = (
            f"`weights={name!r}` belong to a named network as it is; this model has "
            "other depths, widths or groups, or is none of this package."
        )
    for other, source in sources.items():
        text += f" {preset} has {other!r} (licence: {source['licence']})."
        if "note" in source:
            text += f" {source['note']}"
    known = [
        f"{key!r} for {', '.join(networks)}" for key, networks in weight_names().items()
    ]
    return (
        f"{text} There are {'; '.join(known)}. Otherwise train "
        "with `keras-sda train`, or give the path of a file."
    )


def _input_channels(model):
    return model.get_layer("stem_conv").kernel.shape[2]

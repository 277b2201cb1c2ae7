"""A row of `cifar_presets.py` as a constructor."""

from collections.abc import Callable

import keras

from keras_sda.applications.checkpoints.load_weights import load_weights
from keras_sda.applications.designs.backbone import (
    Parts,
    check_head,
    classify,
    network_inputs,
    pool,
)
from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.presets.presets import FORMS, PRESETS

_DOCUMENTATION = """Builds {name}: {description}

Use it like a constructor of `keras.applications`, as the starting point of a search
or a pruning on small images. {params:,} parameters, {macs:,} MACs.{published}

Args:
    include_top: Whether the model ends in the classifier. Defaults to `True`.
    weights: `None` (random start), or a `.weights.h5` or `.keras` file of this
        network. Defaults to `None`.
    input_tensor: Optional Keras tensor to build on.
    input_shape: Shape of an image `(height, width, channels)`, from {min_size} pixels
        on. Defaults to `{shape}`; without the classifier, sides may be `None`.
    pooling: Without the classifier, `None`, `"avg"` or `"max"`. Defaults to `None`.
    classes: Number of classes. Defaults to `{classes}`.
    classifier_activation: Activation of the classifier; `None` gives logits.
        Defaults to `"softmax"`.
    name: Name of the model. Defaults to `"{snake}"`.
    synchronized: Whether normalisations take their statistics over all replicas of a
        `tf.distribute` strategy. Defaults to `False`.

Returns:
    A functional `keras.Model` of stock layers. Input `(batch, height, width,
    channels)`, output `(batch, classes)`, or the feature map or vector.

Raises:
    InvalidInputError: An argument, or the file of weights, cannot be used.

Example:

>>> from keras_sda.applications import {name}
>>> {name}(classes=7).output_shape
(None, 7)

Source: {source}.
"""


def cifar_constructor(
    preset: str,
    body: Callable,
    description: str,
    top: Callable | None = None,
    normal_classifier: bool = False,
    channels: int = 3,
    min_size: int = 32,
) -> Callable[..., keras.Model]:
    """Makes the constructor of a network from its row in `CIFAR_PRESETS`.

    Args:
        preset: Name of the row, such as `"CIFARVGG16"`; also that of the constructor.
        body: `body(parts, x, stackwise_num_blocks)` returns the last feature map.
        description: What the network is, for its docstring.
        top: `top(parts, x)` returns the vector that the classifier reads. Defaults to
            `None`: the mean over all positions.
        normal_classifier: Whether the classifier starts at a normal distribution.
            Defaults to `False`.
        channels: Channels of the default image. Defaults to `3`.
        min_size: Smallest height and width. Defaults to `32`.

    Returns:
        A function with the arguments of `keras.applications` and `synchronized`.

    Example:

    >>> from keras_sda.applications.designs.cifar_constructor import cifar_constructor
    >>> from keras_sda.applications.families.cifar_vgg import _body
    >>> cifar_constructor("CIFARVGG16", _body, "as published.").__name__
    'CIFARVGG16'
    """
    row = PRESETS[preset]
    form = FORMS[row["form"]]
    shape = (form["default_size"], form["default_size"], channels)
    snake = row["family"] + "".join(filter(str.isdigit, preset.removesuffix("V2")))

    @checked_constructor
    def constructor(
        include_top: bool = True,
        weights=None,
        input_tensor=None,
        input_shape: tuple | None = None,
        pooling: str | None = None,
        classes: int = form["classes"],
        classifier_activation="softmax",
        name: str = snake,
        synchronized: bool = False,
    ) -> keras.Model:
        check_head(include_top, pooling, classes)
        inputs, x = network_inputs(
            input_tensor, input_shape, include_top, shape, min_size
        )
        parts = Parts(synchronized=synchronized)
        x = body(parts, x, row["stackwise_num_blocks"])
        if include_top:
            x = pool(x, "avg") if top is None else top(parts, x)
            x = classify(x, classes, classifier_activation, normal_classifier)
        else:
            x = pool(x, pooling)
        model = keras.Model(inputs, x, name=name)
        if weights is not None:
            load_weights(model, weights)
        return model

    published = ""
    if "published_top1" in row:
        published = (
            f"\nThe authors report {row['published_top1']:.2f} % top-1 on "
            f"{row['published_on']}."
        )
    constructor.__name__ = constructor.__qualname__ = preset
    constructor.__module__ = body.__module__
    constructor.__doc__ = _DOCUMENTATION.format(
        name=preset,
        snake=snake,
        description=description,
        params=row["params"],
        macs=row["macs"],
        published=published,
        classes=form["classes"],
        shape=shape,
        min_size=min_size,
        source=row["source"],
    )
    return constructor

"""A row of `presets.py` as a constructor."""

import textwrap
from collections.abc import Callable

import keras

from keras_sda.applications.designs.checked_constructor import checked_constructor
from keras_sda.applications.presets.presets import FORMS, PRESETS

_DOCUMENTATION = """Builds {name}: {description}

Use it like a constructor of `keras.applications`. {size}{published}

Args:
    include_top: Whether the model ends in the classifier. Defaults to `True`.
    weights: `None` (random start), {weights}a
        `.weights.h5` or `.keras` file of this network, or a `.safetensors` file with
        the parameter names of the authors or of timm. Defaults to `None`.
    input_tensor: Optional Keras tensor to build on.
    input_shape: Shape of an image `(height, width, channels)`, from 32 pixels on.
        Defaults to `({pixels}, {pixels}, 3)`.
    pooling: Without the classifier, `None`, `"avg"` or `"max"`. Defaults to `None`.
    classes: Number of classes. Defaults to `{classes}`.
    classifier_activation: Activation of the classifier; `None` gives logits.
        Defaults to `"softmax"`.
    name: Name of the model. Defaults to `"{snake}"`.
    **options: Any argument of `{generic}`: `depth_attention=False` gives the plain
        trunk, `pyramid_outputs=True` the feature maps of the stages, `reduction`,
        `min_width`, `synchronized`, ...

Returns:
    A functional `keras.Model`. Input `(batch, height, width, channels)`, output
    `(batch, classes)`.

Raises:
    InvalidInputError: An argument, or the file of weights, cannot be used.
{notes}
Example:

>>> from keras_sda.applications import {name}
>>> {name}(input_shape=(64, 64, 3), classes=10).output_shape
(None, 10)

Source: arXiv 2209.10327 (IEEE TAI 2024).
"""

_HUB = (
    'weights="{key}" downloads the trunk once: {repository} on the Hugging Face hub, '
    "licence {licence}, {top1} % top-1 on ImageNet for images of {evaluated_at[size]} "
    "pixels. Depth attention starts at the last block of every stage and the head "
    "normalisation as identity: on the first day the network answers as that trunk "
    "does (the other blocks of a stage share a weight of 0.0001), with the accuracy of "
    "the trunk, not of the paper, and is ready to be fine-tuned. In training mode the "
    "head normalisation takes the statistics of the batch, so the classifier needs "
    "some steps to follow. Images go through preprocess_input. With another number of "
    "classes the trunk is kept and the classifier starts fresh."
)
_PACKAGE = (
    'weights="{key}" come with the package: {top1} % on the {evaluated_at[images]:,} '
    "test images, trained by `{command}` (seed {seed}, {epochs} epochs). They take RGB "
    "images of {evaluated_at[size]} pixels after preprocess_input (the ImageNet mean "
    "and deviation, as in training). With another number of classes everything but the "
    "classifier is kept."
)


def named_constructor(preset: str, generic: Callable) -> Callable[..., keras.Model]:
    """Makes the constructor of a named network from its row in `PRESETS`.

    Args:
        preset: Name of the row, such as `"SDAResNet50"`.
        generic: The constructor of the family, such as `SDAResNet`.

    Returns:
        A function with the arguments of `keras.applications`, and those of `generic`
        as further keywords.

    Example:

    >>> from keras_sda.applications.designs.named_constructor import named_constructor
    >>> from keras_sda.applications import SDAResNet
    >>> named_constructor("SDAResNet50", SDAResNet).__name__
    'SDAResNet50'
    """
    row = PRESETS[preset]
    form = dict(FORMS[row["form"]])
    default_classes = form.pop("classes")
    fixed = {**form, "stackwise_num_blocks": row["stackwise_num_blocks"]}
    if "groups" in row:
        fixed["groups"] = row["groups"]
    snake = preset.lower().replace("sda", "sda_", 1)

    @checked_constructor
    def constructor(
        include_top: bool = True,
        weights=None,
        input_tensor=None,
        input_shape: tuple | None = None,
        pooling: str | None = None,
        classes: int = default_classes,
        classifier_activation="softmax",
        name: str = snake,
        **options,
    ) -> keras.Model:
        return generic(
            **{**fixed, **options},
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
        )

    constructor.__name__ = constructor.__qualname__ = preset
    constructor.__module__ = generic.__module__
    constructor.__doc__ = _DOCUMENTATION.format(
        name=preset,
        generic=generic.__name__,
        snake=snake,
        classes=default_classes,
        pixels=form["default_size"],
        description=_description(row),
        size=_size(row),
        published=_published(row),
        weights="".join(f'`"{key}"`, ' for key in row.get("weights", {})),
        notes="".join(_note(*item) for item in row.get("weights", {}).items()),
    )
    return constructor


def _note(key, source):
    text = (_HUB if source["source"] == "hub" else _PACKAGE).format(key=key, **source)
    text = f"{text} {source.get('note', '')}".rstrip()
    lines = textwrap.wrap(text, 84, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["", "Note:", *(f"    {line}" for line in lines), ""])


def _description(row):
    kind = "CIFAR form" if row["form"] == "cifar" else "ImageNet form"
    text = f"{kind}, stages of {row['stackwise_num_blocks']} blocks"
    if row.get("groups", 1) > 1:
        text += f", 3x3 convolutions in {row['groups']} groups"
    return text + "."


def _size(row):
    if "macs" not in row:
        return ""
    return f"{row['params']:,} parameters, {row['macs']:,} MACs."


def _published(row):
    if "published_top1" not in row:
        return ""
    return f" The paper reports {row['published_top1']} % top-1 on ImageNet."

"""Models that do more than their graph: their preprocessing as layers, or an error."""

import weakref
from typing import Any

import keras

from keras_sda.graph.model.as_functional import as_functional
from keras_sda.graph.model.model_scope import model_scope
from keras_sda.utils import InvalidInputError

# `call` is not among them: `as_functional` asks for it, in nested models as well.
_OWN = (
    "__call__",
    "compute_loss",
    "evaluate",
    "fit",
    "predict",
    "predict_on_batch",
    "predict_step",
    "test_step",
    "train_step",
)
# KerasHub's own overrides do nothing but preprocess.
_HUB_CLASSES = ("Backbone", "PipelineModel", "Task")
_HUB = "keras_hub"

_made = weakref.WeakKeyDictionary()  # Calling layers anew leaves nodes on them.


def unwrapped(model: keras.Model) -> keras.Model:
    """Returns a model that is nothing but its graph: what can be copied and changed.

    Every function that returns another model than it got starts here. What `predict`
    of a class does around the graph would be lost without a word: the preprocessor of
    KerasHub's classifiers comes back as a layer in front, anything else is refused.

    Args:
        model: A functional or built sequential model, or a KerasHub task.

    Returns:
        The model itself where its class adds nothing. For a KerasHub classifier with a
        preprocessor, a functional model over the same layers that starts with its
        scaling, `preprocessor_scaling`, and takes images of the size that the
        preprocessor resizes to.

    Raises:
        InvalidInputError: The class overrides what the graph does not hold, such as
            `predict` or `train_step`, or its preprocessor cannot be layers.

    Example:

    >>> import keras
    >>> from keras_sda.graph import unwrapped
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> unwrapped(model) is model
    True
    """
    if not isinstance(model, keras.Model):
        return model
    is_task, own = False, []
    for kind in type(model).__mro__:
        root = kind.__module__.split(".")[0]
        if root == "keras":
            break
        if root == _HUB and kind.__name__ in _HUB_CLASSES:
            is_task = is_task or kind.__name__ == "Task"
            continue
        own += [name for name in _OWN if name in vars(kind)]
        own += ["preprocess_samples"] if "preprocess_samples" in vars(kind) else []
    if own:
        _refuse(model, f"overrides `{own[0]}()`")
    if type(model).__module__.split(".")[0] == "keras":
        return model
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None:
        return model
    graph = as_functional(model)
    if any(layer is preprocessor for layer in graph.layers):
        return model
    if not is_task:
        _refuse(model, "has a `preprocessor` outside its graph")
    size, scale, offset, policy = _scaling(model, preprocessor)
    shape = _input_shape(model, graph, size)
    if scale is None and offset is None and shape == tuple(graph.inputs[0].shape):
        return model
    key = str((shape, scale, offset, policy))
    if _made.get(model, (None,))[0] != key:
        _made[model] = key, _with_scaling(graph, shape, scale, offset, policy)
    return _made[model][1]


def _refuse(model, reason):
    name = type(model).__name__
    way = "pass keras.Model(model.inputs, model.outputs), the graph alone"
    if getattr(model, "preprocessor", None) is not None:
        way += ", and preprocess its images by hand (model.preprocessor(images))"
    if isinstance(getattr(model, "backbone", None), keras.Model):
        way += "; or take model.backbone"
    raise InvalidInputError(
        f"`model` '{model.name}' of type {name} {reason}, which the result would lack: "
        f"{way}."
    )


def _scaling(model, preprocessor) -> tuple[Any, Any, Any, Any]:
    """Size, scale and offset that a preprocessor of KerasHub applies to images."""
    policy = getattr(preprocessor, "dtype_policy", None)
    if type(preprocessor) is keras.layers.Rescaling:
        return None, preprocessor.scale, preprocessor.offset, policy
    converter = preprocessor
    if _runs(preprocessor, "call", "ImageClassifierPreprocessor"):
        converter = preprocessor.image_converter
        if converter is None:
            return None, None, None, policy
    if not (
        _runs(converter, "call", "ImageConverter")
        and _runs(converter, "_call_python", "ImageConverter")
    ):
        _refuse(
            model,
            f"has a preprocessor of type {type(preprocessor).__name__}, which cannot "
            "be turned into layers",
        )
    values = converter.scale, converter.offset
    is_per_channel = any(isinstance(value, (list, tuple)) for value in values)
    if is_per_channel and converter.data_format == "channels_first":
        _refuse(model, "scales its images per channel, channels first")
    size = converter.image_size
    return (
        None if size is None else tuple(size), converter.scale, converter.offset,
        converter.dtype_policy,
    )  # fmt: skip


def _runs(layer, method, name):
    """Whether a method is that of a class of KerasHub."""
    for kind in type(layer).__mro__:
        if method in vars(kind):
            return kind.__module__.startswith(_HUB) and kind.__name__ == name
    return False


def _input_shape(model, graph, size) -> tuple:
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        _refuse(model, "has a preprocessor and is no classifier of one image")
    shape = list(graph.inputs[0].shape)
    if size is None:
        return tuple(shape)
    first = keras.config.image_data_format() == "channels_first"
    for axis, side in zip((2, 3) if first else (1, 2), size, strict=True):
        if shape[axis] not in (None, side):
            _refuse(
                model,
                f"has a preprocessor that resizes images to {size}, but takes "
                f"{tuple(graph.inputs[0].shape[1:])}",
            )
        # What it would have resized is now of the wrong shape, and an error.
        shape[axis] = side
    return tuple(shape)


def _with_scaling(graph, shape, scale, offset, policy):
    with model_scope(graph):
        return _scaled(graph, shape, scale, offset, policy)


def _scaled(graph, shape, scale, offset, policy):
    old = graph.inputs[0]
    x = inputs = keras.Input(batch_shape=shape, dtype=old.dtype, name=old.name)
    if scale is not None or offset is not None:
        x = keras.layers.Rescaling(
            1.0 if scale is None else _plain(scale),
            0.0 if offset is None else _plain(offset),
            dtype=policy,
            name="preprocessor_scaling",
        )(x)
    # `call` runs the layers one by one: the graph stays flat.
    outputs = graph.call(keras.tree.pack_sequence_as(graph.input, [x]))
    return keras.Model(inputs, outputs, name=graph.name)


def _plain(value):
    return [float(x) for x in value] if isinstance(value, (list, tuple)) else value

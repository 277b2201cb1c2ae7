"""What a loss says about the outputs of a model."""

import functools
from typing import Any

import keras

_LOSSES = {
    "binarycrossentropy": "sigmoid",
    "binaryfocalcrossentropy": "sigmoid",
    "categoricalcrossentropy": "softmax",
    "categoricalfocalcrossentropy": "softmax",
    "kldivergence": "softmax",
    "sparsecategoricalcrossentropy": "softmax",
}


def loss_meaning(loss: Any) -> tuple[str, bool] | None:
    """What a loss takes the outputs of a model for.

    Args:
        loss: A Keras loss: an object, class, function, `functools.partial` or name.

    Returns:
        `"softmax"` or `"sigmoid"`, and whether it takes logits; None for a loss that
        is no cross-entropy of Keras.

    Example:

    >>> from keras_sda.graph.model.loss_meaning import loss_meaning
    >>> loss_meaning("binary_crossentropy")
    ('sigmoid', False)
    """
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None
    keywords = {}
    while isinstance(loss, functools.partial):
        keywords = {**loss.keywords, **keywords}
        loss = loss.func
    if isinstance(loss, type):
        loss = loss()
    if isinstance(loss, keras.losses.Loss):
        kinds = [_LOSSES.get(kind.__name__.lower()) for kind in type(loss).__mro__]
        kind = next((kind for kind in kinds if kind), None)
        keywords = {"from_logits": getattr(loss, "from_logits", False)}
    else:
        module = str(getattr(loss, "__module__", "")).split(".")[0]
        name = getattr(loss, "__name__", "").replace("_", "").lower()
        kind = _LOSSES.get(name) if module == "keras" else None
    if kind is None:
        return None
    return kind, bool(keywords.get("from_logits", False))


def loss_name(loss: Any) -> str:
    """Name of a loss for an error."""
    if isinstance(loss, str):
        return repr(loss)
    return getattr(loss, "__name__", type(loss).__name__)

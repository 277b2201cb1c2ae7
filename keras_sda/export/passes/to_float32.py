"""The same model computed in float32."""

import keras

from keras_sda.graph import clone_edited

_REDUCED = ("mixed_bfloat16", "mixed_float16", "bfloat16", "float16")


def to_float32(model: keras.Model) -> keras.Model:
    """Rebuilds a model that was trained in mixed precision under the float32 policy.

    Use it before export or before comparing numbers: on CPU float32 is the fast type,
    and nothing is lost, as mixed precision keeps its variables in float32.

    Args:
        model: A functional or sequential model.

    Returns:
        A functional model with its own copy of the weights.

    Raises:
        InvalidInputError: `model` is not functional or has no input shape.

    Example:

    >>> import keras
    >>> from keras_sda.export import to_float32
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2, dtype="mixed_bfloat16")(x))
    >>> to_float32(model).layers[-1].compute_dtype
    'float32'
    """
    return clone_edited(model, lambda layer, config: _float32_config(config))


def _float32_config(config):
    """Replaces every reduced dtype policy, those of wrapped layers included."""
    if isinstance(config, dict):
        return {
            key: "float32"
            if key == "dtype" and _policy_name(value) in _REDUCED
            else _float32_config(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_float32_config(value) for value in config]
    return config


def _policy_name(value):
    if isinstance(value, dict) and value.get("class_name") == "DTypePolicy":
        return value["config"]["name"]
    return value if isinstance(value, str) else None

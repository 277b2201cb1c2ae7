"""Keep TensorFlow's graph optimizer working where several layers read one sum."""

import keras

from keras_sda.graph import clone_edited
from keras_sda.graph.model.consumers import consumers


def separate_shared_relus(model: keras.Model) -> keras.Model:
    """Writes ReLUs that share their input with other readers as a maximum with zero.

    Use it before an export. TensorFlow 2.21 fuses convolution, bias, addition and
    ReLU even where others read the sum as well, as selective depth attention does;
    it then finds its own graph broken, prints an error and drops all its fusions. The
    maximum gives the same numbers and is not fused.

    Args:
        model: A functional model.

    Returns:
        A functional model with its own copy of the weights.

    Example:

    >>> import keras
    >>> from keras_sda.export.passes.separate_shared_relus import separate_shared_relus
    >>> x = keras.Input((4,))
    >>> total = keras.layers.Add()([x, x])
    >>> y = keras.layers.Add()([keras.layers.ReLU(name="relu")(total), total])
    >>> model = separate_shared_relus(keras.Model(x, y))
    >>> "relu" in [layer.name for layer in model.layers]
    False
    """
    return clone_edited(model, **_separation(model))


def _separation(model):
    shared = shared_relus(model)

    def call(layer, new, args, kwargs):
        if layer.name in shared:
            return keras.ops.maximum(args[0], 0)
        return new(*args, **kwargs)

    return {"call": call, "nested": _separation}


def shared_relus(model: keras.Model) -> set[str]:
    """Names of the ReLUs that share their input with other readers."""
    uses = consumers(model)
    return {
        reader
        for use in uses.values()
        if len(use.consumers) > 1
        for reader in use.consumers
        if reader in uses and uses[reader].plain and _is_relu(uses[reader].layer)
    }


def _is_relu(layer):
    if type(layer) is keras.layers.ReLU:
        plain = (layer.max_value, layer.negative_slope, layer.threshold)
        return plain == (None, 0, 0)
    return (
        type(layer) is keras.layers.Activation
        and layer.activation is keras.activations.relu
    )

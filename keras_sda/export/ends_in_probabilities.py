"""Whether a classifier gives probabilities or logits."""

import keras
import numpy as np

from keras_sda.graph.consumers import consumers

_PASS_ON = ("Reshape", "Flatten", "Dropout", "Identity")


def ends_in_probabilities(model: keras.Model) -> bool:
    """Tells whether the outputs of a classifier need no softmax any more.

    Use it before serving. The last layer decides: a softmax or sigmoid is one, a layer
    without activation is none. Where the last layer does not tell (an operation, a
    nested model), two random images are computed and their outputs must be
    non-negative and sum to one.

    Args:
        model: A functional model with one input and one output `(batch, classes)`.

    Returns:
        True for probabilities, False for logits.

    Example:

    >>> import keras
    >>> from keras_sda.export.ends_in_probabilities import ends_in_probabilities
    >>> x = keras.Input((4,))
    >>> ends_in_probabilities(keras.Model(x, keras.layers.Dense(2)(x)))
    False
    """
    uses = consumers(model)
    last = [use.layer for use in uses.values() if None in use.consumers][-1]
    while type(last).__name__ in _PASS_ON:
        readers = [use.layer for use in uses.values() if last.name in use.consumers]
        if len(readers) != 1:
            break
        last = readers[0]
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    ):
        return True
    # Without one of these names the layer may hide a softmax: try it.
    if type(last).__name__ in ("Dense", "Activation") and activation in (
        None,
        keras.activations.linear,
    ):
        return False
    shape = [2, *model.inputs[0].shape[1:]]
    images = np.random.default_rng(0).uniform(
        size=[64 if s is None else s for s in shape]
    )
    outputs = keras.ops.convert_to_numpy(
        keras.ops.cast(model(images.astype("float32"), training=False), "float32")
    )
    return bool(np.all(outputs >= 0) and np.allclose(outputs.sum(-1), 1, atol=1e-3))

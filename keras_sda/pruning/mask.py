"""Zero the channels of a plan, at the old shapes."""

import keras
import numpy as np

from keras_sda.graph import rebuild
from keras_sda.pruning.pruning_plan import PruningPlan


def mask(model: keras.Model, plan: PruningPlan) -> keras.Model:
    """Returns a copy of the model in which the channels of a plan are zero.

    Use it to see what a plan does before anything changes shape: the copy gives the
    same outputs as `shrink`. Weights are zeroed where a removed channel is written and
    where it is read, so it does no harm that some activations are not zero at zero.
    Blocks of the plan are left out here as well: not every block can be made zero by
    its weights. For those that were joined with other channels a layer of this package
    gives zeros of their shape.

    Args:
        model: A functional or built sequential model. It is not changed.
        plan: A `PruningPlan` for it.

    Returns:
        A functional `keras.Model` of the same shapes with its own weights, not
        compiled.

    Raises:
        InvalidInputError: The plan does not fit the model.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning import make_plan, mask, shrink
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4, activation="sigmoid")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> plan = make_plan(model, macs=0.5)
    >>> images = np.ones((1, 8))
    >>> bool(np.allclose(mask(model, plan)(images), shrink(model, plan)(images)))
    True
    """
    graph, removed = plan.applied(model)
    kept = graph.kept(removed)

    def zero(value, axis):
        stays = kept.mask(axis.units)
        if axis.role == "carries" or stays.all():
            return value
        shape = [1] * value.ndim
        shape[axis.axis] = -1
        return np.where(stays.reshape(shape), value, np.zeros_like(value))

    return rebuild(graph, zero)

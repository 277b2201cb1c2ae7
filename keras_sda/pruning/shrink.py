"""Remove the channels and blocks of a plan."""

import keras

from keras_sda.graph import remove_channels
from keras_sda.pruning.pruning_plan import PruningPlan


def shrink(model: keras.Model, plan: PruningPlan) -> keras.Model:
    """Returns a smaller model without the channels and blocks of a plan.

    Use it to carry out a plan: fewer filters, smaller kernels, the same computation on
    what is left. Layer names, dtype policies, regularizers, trainable flags, inputs and
    outputs stay. A model of stock Keras layers becomes a model of stock Keras layers.

    Args:
        model: A functional or built sequential model. It is not changed.
        plan: A `PruningPlan` for it.

    Returns:
        A functional `keras.Model` with its own weights, not compiled: fine-tune it as
        any other.

    Raises:
        InvalidInputError: The plan does not fit the model.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.pruning import make_plan, shrink
    >>> model = CIFARResNet20()
    >>> small = shrink(model, make_plan(model, params=0.5))
    >>> small.count_params() <= 0.5 * model.count_params()
    True
    """
    return remove_channels(*plan.applied(model))

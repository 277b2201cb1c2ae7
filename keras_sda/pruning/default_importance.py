"""The criterion where none was named."""

import itertools
from typing import Any

from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ChannelGraph
from keras_sda.pruning.criteria.collect_statistics import sees_all_channels
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.utils import InvalidInputError

# Measured by benchmarks/lite0_reconstruct.py, without any training.
WITHOUT_DATA = (
    "Without images, channels are chosen by their weights alone and no kernel is "
    "fitted: of the 99 % of EfficientNet-Lite0 that leaves 11 % at 0.75 of the MACs, "
    "where 384 images leave 98 %."
)


def default_importance(
    graph: ChannelGraph, data: Any = None, loss: Any = None
) -> tuple[str, Any]:
    """Names the criterion that makes the most of what is at hand.

    Use it through `importance=None`. With targets and a loss that is `"taylor"`, with
    inputs alone `"activation"`, without data, or where nested models hide what arrives,
    `"l1"`.

    Args:
        graph: The channels of the model.
        data: As in `make_plan`. Defaults to `None`.
        loss: As in `make_plan`. Defaults to `None`.

    Returns:
        Name of a criterion, and the data: of an iterator one that has lost nothing.

    Raises:
        InvalidInputError: The data cannot be read or do not fit the model.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.default_importance import default_importance
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(4)(x))
    >>> graph = ChannelGraph(keras.Model(x, y))
    >>> images, labels = np.ones((8, 2)), np.zeros(8, int)
    >>> default_importance(graph, (images, labels))[0]
    'taylor'
    >>> default_importance(graph, images)[0]
    'activation'
    """
    if data is None:
        return "l1", None
    if hasattr(data, "__next__"):
        first = next(data, None)
        if first is None:
            return "activation", data  # whose reader says that it is empty
        found = [first]
        data = itertools.chain(found, data)
    else:
        found = data
    _, targets, _ = FitData(found, graph.model, needs_targets=False).first()
    if targets is not None and (loss is not None or _has_clear_loss(graph.model)):
        return "taylor", data
    return "activation" if sees_all_channels(graph) else "l1", data


def _has_clear_loss(model):
    try:
        ModelLoss(model)
    except InvalidInputError:
        return False
    return True

"""A model that trains some of its variables and pays for open gates."""

from collections.abc import Callable, Iterable
from typing import Any

import keras


class SearchModel(keras.Model):
    """The layers of another model, with a choice of what the optimizer gets.

    Use it through `ChannelSearch`. Setting `layer.trainable = False` instead would put
    batch normalisation into inference mode; here it goes on with batch statistics and
    updates its moving ones, while its scale and offset stay as they are.

    Args:
        inputs: Inputs of the model.
        outputs: Outputs of the model.
        chosen: The variables that are trained.
        penalty: Function without arguments that returns a scalar tensor, added to the
            loss of a training step times `price`. Defaults to `None`.
        price: Start value of the variable `price`. Defaults to `0`.
        **kwargs: `name`.

    Example:

    >>> import keras
    >>> from keras_sda.search.search_model import SearchModel
    >>> x = keras.Input((4,))
    >>> dense = keras.layers.Dense(2)
    >>> model = SearchModel(x, dense(x), chosen=[dense.bias])
    >>> [variable.name for variable in model.trainable_variables]
    ['bias']
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        chosen: Iterable[keras.Variable],
        penalty: Callable[[], Any] | None = None,
        price: float = 0.0,
        **kwargs,
    ):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self._chosen = frozenset(id(variable) for variable in chosen)
        self._penalty = penalty
        # A variable: it is steered without tracing the step anew.
        self.price = keras.Variable(
            float(price), dtype="float32", trainable=False, name="price"
        )
        self.price_memory = keras.Variable(
            0.0, dtype="float32", trainable=False, name="price_memory"
        )

    def _is_chosen(self, variable):
        return id(variable) in getattr(self, "_chosen", ())

    @property
    def trainable_variables(self):
        return [v for v in self.variables if self._is_chosen(v)]

    @property
    def non_trainable_variables(self):
        return [v for v in self.variables if not self._is_chosen(v)]

    @property
    def trainable_weights(self):
        return [v for v in self.weights if self._is_chosen(v)]

    @property
    def non_trainable_weights(self):
        return [v for v in self.weights if not self._is_chosen(v)]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training and self._penalty is not None:
            penalty = keras.ops.cast(self._penalty() * self.price, loss.dtype)
            loss = loss + penalty / _num_replicas()
        return loss


def _num_replicas():
    """Replicas add up their gradients, so each pays its share."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync

"""A model that trains some of its variables and pays for open gates."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_sda.utils.num_replicas import num_replicas


class SearchModel(keras.Model):
    """The layers of another model, with a choice of what the optimizer gets.

    Use it through `ChannelSearch`. Setting `layer.trainable = False` instead would put
    batch normalisation into inference mode; here it goes on with batch statistics and
    updates its moving ones, while its scale and offset stay as they are.

    To callbacks it is the model with gates: it has the same layers and `weights`, and
    `save` and `save_weights` write files that load without this class. Weight files
    hold the price and the optimizer beside that, for `BackupAndRestore`.

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
        self._prices = _Prices(float(price))

    @property
    def price(self) -> keras.Variable:
        """What an open gate costs; a variable, so that no step is traced anew."""
        return self._prices.price

    @property
    def price_memory(self) -> keras.Variable:
        """What `SteerPrice` remembers."""
        return self._prices.memory

    def _is_chosen(self, variable):
        return id(variable) in getattr(self, "_chosen", ())

    @property
    def weights(self):
        # Those of the model with gates, for callbacks that keep and restore them.
        prices = getattr(self, "_prices", None)
        own = [] if prices is None else [id(v) for v in prices.variables]
        return [v for v in super().weights if id(v) not in own]

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

    def save(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs):
        """Writes the model with its gates, as `keras.Model.save` does.

        The file loads as an ordinary functional model. It holds no optimizer: that
        knows a choice of the variables alone.

        Args:
            filepath: See `keras.Model.save`.
            overwrite: Likewise.
            **kwargs: Likewise.
        """
        plain = keras.Model(self.input, self.output, name=self.name)
        plain.save(filepath, overwrite=overwrite, **kwargs)

    def load_own_variables(self, store):
        # Backups of before the prices were a layer of their own hold them here.
        if "0" in store and "1" in store:
            self.price.assign(store["0"])
            self.price_memory.assign(store["1"])

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training and self._penalty is not None:
            penalty = keras.ops.cast(self._penalty() * self.price, loss.dtype)
            loss = loss + penalty / num_replicas()
        return loss


class _Prices(keras.layers.Layer):
    """Holds the prices apart, so that weight files fit the model without them."""

    def __init__(self, price):
        super().__init__(name="prices", dtype="float32")
        self.price, self.memory = (
            self.add_weight(
                shape=(),
                name=name,
                initializer=keras.initializers.Constant(value),
                trainable=False,
            )
            for name, value in (("price", price), ("price_memory", 0.0))
        )
        self.built = True

    def load_own_variables(self, store):
        if "0" in store:  # else a file of before, see `SearchModel`
            super().load_own_variables(store)

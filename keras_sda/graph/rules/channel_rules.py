"""The registry of channel rules: how channels pass through a layer class."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.utils import InvalidInputError

Rule = Callable[[ChannelCall], Channels | list[Channels]]

_REGISTERED: dict[type, Rule] = {}


def register_rule(layer_class: type, rule: Rule) -> None:
    """Says how channels pass through a layer class of your own.

    Use it before building a `ChannelGraph` or pruning, for layers that would otherwise
    be reported as having no rule. It holds for this class, not for its subclasses.

    Args:
        layer_class: A subclass of `keras.layers.Layer` or `keras.Operation`.
        rule: Gets a `ChannelCall` and returns the `Channels` of the output, or a list
            of them. It calls `call.index` for every axis of a weight that follows
            channels and `call.configure` for config entries that count them.

    Raises:
        InvalidInputError: An argument is of the wrong kind.

    Example:

    >>> import keras
    >>> from keras_sda.graph import Channels, register_rule
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.scale = self.add_weight(shape=(shape[-1],))
    ...     def call(self, x):
    ...         return x * self.scale
    >>> def scale_rule(call):
    ...     units = call.units()
    ...     call.index(call.layer.scale, 0, units, "writes")
    ...     return call.inputs[0]
    >>> register_rule(Scale, scale_rule)
    """
    if not isinstance(layer_class, type) or not issubclass(
        layer_class, keras.Operation
    ):
        raise InvalidInputError(
            "`layer_class` must be a subclass of keras.layers.Layer or "
            f"keras.Operation. Received: {layer_class!r}."
        )
    if not callable(rule):
        raise InvalidInputError(f"`rule` must be a function. Received: {rule!r}.")
    _REGISTERED[layer_class] = rule


def find_rule(layer: Any) -> Rule | None:
    """The rule for a layer or operation, or None."""
    registered = _REGISTERED.get(type(layer))
    if registered is not None:
        return registered
    by_class, by_operation, by_name = _built_in()
    module = type(layer).__module__
    if isinstance(layer, keras.layers.Layer):
        return by_class.get(type(layer)) or by_name.get(
            f"{module}.{type(layer).__qualname__}"
        )
    if module.startswith("keras.src.ops"):
        return by_operation.get(type(layer).__name__)
    return None


def is_stock(layer: Any) -> bool:
    """Whether Keras makes the layer or operation, and a rule of this package is used.

    The settings of such a layer are known.
    """
    is_known = type(layer).__module__.startswith("keras.")
    return is_known and type(layer) not in _REGISTERED


@functools.cache
def _built_in():
    from keras_sda.graph.rules import (
        attention_rules,
        layer_rules,
        operation_rules,
        own_layer_rules,
        rearranging_rules,
        recurrent_rules,
        weighted_layer_rules,
        wrapped_call,
    )

    by_class = {
        **layer_rules.RULES,
        **weighted_layer_rules.RULES,
        **recurrent_rules.RULES,
        **attention_rules.RULES,
        **wrapped_call.RULES,
        **own_layer_rules.RULES,
    }
    by_operation = {**operation_rules.RULES, **rearranging_rules.RULES}
    return by_class, by_operation, layer_rules.RULES_BY_NAME

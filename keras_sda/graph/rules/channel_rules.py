"""What is known of a layer class: by its user, by the layer itself, by a table."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_sda.graph.model.keras_internals import full_name
from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.utils import InvalidInputError

Rule = Callable[[ChannelCall], Channels | list[Channels]]

# By class, what users have registered, under the names of the methods that it stands
# for.
_REGISTERED: dict[type, dict[str, Any]] = {}


def register_rule(
    layer_class: type,
    rule: Rule | None = None,
    *,
    compute_macs: Callable[..., int] | None = None,
    keeps_zeros: bool | str | Callable[[Any], bool | str] | None = None,
    portable: Callable[[Any], keras.layers.Layer] | None = None,
    linear_parts: Callable[[Any], list] | None = None,
) -> None:
    """Says how channels pass through a layer class that you cannot change.

    Use it before building a `ChannelGraph` or pruning, for layers that would otherwise
    be reported as having no rule. A class of your own needs no registration: it has
    the methods `follow_channels`, `compute_macs`, `portable` and the attribute
    `keeps_zeros` itself. What is registered comes before these, and these before what
    is known of the layers of Keras. It holds for this class, not for its subclasses.
    Called again, it adds to what is there.

    Args:
        layer_class: A subclass of `keras.layers.Layer` or `keras.Operation`.
        rule: Gets a `ChannelCall` and returns the `Channels` of the output, or a list
            of them. It calls `call.index` for every axis of a weight that follows
            channels and `call.configure` for config entries that count them. May be
            left out where another argument is given.
        compute_macs: Gets the layer, its input shape and its output shape for a batch
            of one, and returns its multiply-accumulates. Defaults to `None`: they are
            counted by what the layer consists of.
        keeps_zeros: Whether a channel that is zero in all inputs that have it is zero
            behind the layer, so that a channel gate may stand before it; `"any"` if
            one input is enough, as in a product. Or a function of the layer that says
            so. Defaults to `None`: nobody knows.
        portable: Gets the layer and returns one with the same name and weights that
            runs everywhere, for `export.split_groups`. Defaults to `None`: the layer
            itself.
        linear_parts: Gets the layer and returns the kernels inside of it that
            `keras_sda.pruning.reconstruct` may fit, see
            `keras_sda.layers.convolution.linear_part`. Defaults to `None`: they stay.

    Raises:
        InvalidInputError: An argument is of the wrong kind.

    Example:

    >>> import keras
    >>> from keras_sda.graph import register_rule
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.scale = self.add_weight(shape=(shape[-1],))
    ...     def call(self, x):
    ...         return x * self.scale
    >>> def scale_rule(call):
    ...     units = call.units()
    ...     call.index(call.layer.scale, 0, units, "writes")
    ...     return call.inputs[0]
    >>> register_rule(Scale, scale_rule, keeps_zeros=True)
    """
    if not isinstance(layer_class, type) or not issubclass(
        layer_class, keras.Operation
    ):
        raise InvalidInputError(
            "`layer_class` must be a subclass of keras.layers.Layer or "
            f"keras.Operation. Received: {layer_class!r}."
        )
    others: dict[str, Any] = {
        "compute_macs": compute_macs, "portable": portable, "linear_parts": linear_parts
    }  # fmt: skip
    for name, function in others.items():
        if function is not None and not callable(function):
            raise InvalidInputError(
                f"`{name}` must be a function. Received: {function!r}."
            )
    if keeps_zeros is not None and not callable(keeps_zeros):
        zeros_kept(keeps_zeros, "`keeps_zeros`")
    others["keeps_zeros"] = keeps_zeros
    given = {name: value for name, value in others.items() if value is not None}
    if not callable(rule) and (rule is not None or not given):
        raise InvalidInputError(f"`rule` must be a function. Received: {rule!r}.")
    if rule is not None:
        given["follow_channels"] = rule
    _REGISTERED.setdefault(layer_class, {}).update(given)


def zeros_kept(value: Any, what: str) -> str:
    """`keeps_zeros` of a layer as `"all"`, `"any"` or `""`.

    Args:
        value: What was registered, or what the layer says.
        what: Whose it is, for the message.

    Raises:
        InvalidInputError: It is none of the values that are allowed.
    """
    if value in ("all", "any"):
        return value
    if not isinstance(value, bool):
        raise InvalidInputError(
            f"{what} must be True, False or 'any'. Received: {value!r}."
        )
    return "all" if value else ""


def own_rule(layer: Any, name: str) -> Any:
    """What a user has registered for a layer, or else what its class says.

    A method holds for subclasses as long as these have no `call` of their own: one
    that has may compute anything.

    Args:
        layer: A layer or operation.
        name: `"follow_channels"`, `"compute_macs"`, `"keeps_zeros"`, `"portable"`, or
            another method that layers may have.

    Returns:
        A function that needs no layer any more, or the value of an attribute. None if
        nobody says anything.

    Example:

    >>> from keras_sda.graph.rules.channel_rules import own_rule
    >>> from keras_sda.layers import GatherChannels
    >>> own_rule(GatherChannels([0, 2]), "keeps_zeros")
    True
    """
    registered = _REGISTERED.get(type(layer), {})
    if name in registered:
        value = registered[name]
        # A channel rule finds the layer in the call.
        has_layer = name == "follow_channels" or not callable(value)
        return value if has_layer else functools.partial(value, layer)
    if name in vars(layer):
        return vars(layer)[name]
    for base in type(layer).__mro__:
        if name in vars(base):
            # None and that of Keras stand for a class that leaves it to others.
            about = getattr(base, "call", None)
            holds = about in (None, keras.layers.Layer.call, type(layer).call)
            return getattr(layer, name) if holds else None
    return None


def find_rule(layer: Any) -> Rule | None:
    """The channel rule for a layer or operation, or None."""
    rule = own_rule(layer, "follow_channels")
    if rule is not None:
        return rule
    by_class, by_operation, by_name = _built_in()
    kind, name = type(layer), full_name(type(layer))
    if isinstance(layer, keras.layers.Layer):
        return by_class.get(kind) or by_name.get(name)
    return by_operation.get(kind.__name__) if name.startswith("keras.ops.") else None


def stock_rule(layer_class: type) -> Rule:
    """The rule for a layer class of Keras.

    Raises:
        InvalidInputError: There is none.
    """
    rule = _built_in()[0].get(layer_class)
    if rule is None:
        raise InvalidInputError(
            "`layer_class` must be a layer class of Keras with a channel rule, such as "
            f"keras.layers.Conv2D. Received: {layer_class!r}."
        )
    return rule


def is_stock(layer: Any) -> bool:
    """Whether Keras makes the layer or operation, and a rule of this package is used.

    The settings of such a layer are known.
    """
    is_known = type(layer).__module__.startswith("keras.")
    return is_known and "follow_channels" not in _REGISTERED.get(type(layer), {})


@functools.cache
def _built_in():
    from keras_sda.graph.rules import (
        attention_rules,
        layer_rules,
        operation_rules,
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
    }
    by_operation = {**operation_rules.RULES, **rearranging_rules.RULES}
    by_name = {**layer_rules.RULES_BY_NAME, **weighted_layer_rules.RULES_BY_NAME}
    return by_class, by_operation, by_name

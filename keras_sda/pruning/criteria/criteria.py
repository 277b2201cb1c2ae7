"""The registry of criteria: the one place that knows them by name."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np

from keras_sda.graph import ChannelGroup
from keras_sda.pruning.criteria.activation import Activation
from keras_sda.pruning.criteria.bn_scale import BNScale
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.criterion import NEEDS, Criterion
from keras_sda.pruning.criteria.discriminant import Discriminant
from keras_sda.pruning.criteria.geometric_median import GeometricMedian
from keras_sda.pruning.criteria.l1 import L1
from keras_sda.pruning.criteria.l2 import L2
from keras_sda.pruning.criteria.linear_dependence import LinearDependence
from keras_sda.pruning.criteria.random import Random
from keras_sda.pruning.criteria.taylor import Taylor
from keras_sda.pruning.criteria.votes import Votes
from keras_sda.utils import InvalidInputError

Given = TypeVar("Given")

CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        L1(),
        L2(),
        BNScale(),
        Taylor(),
        GeometricMedian(),
        Activation(),
        LinearDependence(),
        Discriminant(),
        Votes(),
        Random(),
    )
}
"""Criteria by name. `register_criterion` adds to them."""

_BUILT_IN = frozenset(CRITERIA)


def register_criterion(
    criterion: Given, name: str | None = None, needs: tuple[str, ...] | None = None
) -> Given:
    """Makes a criterion known by its name: to `make_plan`, `prune`, the command line.

    Use it once, after the class or function, also as a decorator. A name of yours may
    be given again, as when a notebook cell runs twice.

    Args:
        criterion: A `Criterion` or a class of them; or a function of a `ChannelGroup`
            and, where it asks for a second argument, of the `ChannelStatistics`, which
            hold what all registered criteria with the same `needs` collect.
        name: What it is called. Defaults to its own `name`, or that of the function.
        needs: For a function, what it wants to see of the data, see `Criterion`.
            Defaults to `("activations",)` if it asks for statistics, else to nothing.

    Returns:
        `criterion`, unchanged.

    Raises:
        InvalidInputError: It is no criterion, or its name or what it needs is not
            usable.

    Example:

    >>> import numpy as np
    >>> from keras_sda.pruning import CRITERIA, register_criterion
    >>> @register_criterion
    ... def last_first(group):
    ...     return -np.arange(group.num_channels)
    >>> "last_first" in CRITERIA
    True
    >>> del CRITERIA["last_first"]
    """
    found = _as_criterion(criterion)
    if found is None:
        raise InvalidInputError(
            "`criterion` must be a Criterion or a function of a ChannelGroup. "
            f"Received: {criterion!r}."
        )
    if isinstance(found, _Function) and needs is not None:
        found.needs = tuple(needs)
    elif needs is not None:
        raise InvalidInputError(
            "`needs` is for functions; a Criterion says it itself. Received: "
            f"needs={needs!r} for {criterion!r}."
        )
    if name is not None:
        found.name = name
    _check(found)
    if found.name in _BUILT_IN:
        raise InvalidInputError(
            f"`name` {found.name!r} is that of a criterion of this package. Choose "
            "another."
        )
    CRITERIA[found.name] = found
    return criterion


def find_criterion(importance: Any) -> Criterion:
    """The criterion that a user has named or given.

    Args:
        importance: Name of a criterion, a `Criterion`, or a function, see
            `register_criterion`.

    Raises:
        InvalidInputError: There is none of this name, or it is none.
    """
    known = isinstance(importance, str) and CRITERIA.get(importance)
    found = known or _as_criterion(importance)
    if found is None:
        raise InvalidInputError(
            f"`importance` must be one of {criterion_names()}, a Criterion or a "
            f"function of a ChannelGroup. Received: importance={importance!r}."
        )
    if isinstance(importance, Criterion):
        _check(found)
    return found


def criterion_names() -> list[str]:
    """The names of all criteria, those that were registered until now among them."""
    return sorted(CRITERIA)


def companions(criterion: Criterion) -> list[Criterion]:
    """The criteria whose statistics a criterion gets to see, itself among them.

    A function has not said how it wants its data, so it gets what others collect.
    """
    if not isinstance(criterion, _Function):
        return [criterion]
    others = [
        other
        for other in CRITERIA.values()
        if other.needs
        and set(other.needs) <= set(criterion.needs)
        and other.name != criterion.name
        and not isinstance(other, _Function)
    ]
    return [criterion, *others]


class _Function(Criterion):
    """A function of a group, and of statistics where it asks for them."""

    def __init__(self, function: Callable):
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._asks = _asks_for_statistics(function)
        self.needs = ("activations",) if self._asks else ()

    def reduce(self, activations: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(activations), axis=1)

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        arguments = (group, statistics) if self._asks else (group,)
        return self._function(*arguments)


def _asks_for_statistics(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions that are written in C
        return False
    places = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
    wanted = [p for p in parameters if p.kind.name in places and p.default is p.empty]
    return len(wanted) > 1


def _as_criterion(value):
    if isinstance(value, type) and issubclass(value, Criterion):
        value = value()
    if isinstance(value, Criterion):
        return value
    return _Function(value) if callable(value) else None


def _check(criterion):
    if not str(criterion.name).isidentifier():
        raise InvalidInputError(
            "`name` of a criterion must be a word of letters, digits and underscores, "
            f"such as 'loudest'. Received: {criterion.name!r}."
        )
    needs = criterion.needs
    if isinstance(needs, str) or any(need not in NEEDS for need in needs):
        raise InvalidInputError(
            f"`needs` of the criterion {criterion.name!r} must be a tuple of some of "
            f"{NEEDS}. Received: {needs!r}."
        )

"""Networks by name."""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from keras_sda.utils import InvalidInputError

Given = TypeVar("Given", bound=Callable[..., Any])

REGISTERED: dict[str, Callable[..., keras.Model]] = {}
"""Networks of the user, by name. `register_model` adds to them."""

# What the commands call a constructor with.
_NEEDED = ("input_tensor", "input_shape", "weights", "classes")


def register_model(constructor: Given, name: str | None = None) -> Given:
    """Makes a network known by its name: to `get_model` and the command line.

    Use it once, after the constructor, also as a decorator. A name of yours may be
    given again, as when a notebook cell runs twice.

    Args:
        constructor: A function that returns a functional model and, as those of
            `keras.applications`, takes `input_tensor`, `input_shape`, `weights` (the
            commands give None) and `classes`.
        name: What it is called. Defaults to the name of the function.

    Returns:
        `constructor`, unchanged.

    Raises:
        InvalidInputError: It is no such function, or its name is taken or no word.

    Example:

    >>> from keras_sda.applications import SDAResNet, get_model, register_model
    >>> from keras_sda.applications.get_model import REGISTERED
    >>> @register_model
    ... def ShortSDAResNet(classes=10, **options):
    ...     return SDAResNet([1, 1], base_width=8, classes=classes, **options)
    >>> get_model("ShortSDAResNet") is ShortSDAResNet
    True
    >>> del REGISTERED["ShortSDAResNet"]
    """
    missing = _not_taken(constructor)
    if missing:
        raise InvalidInputError(
            f"`constructor` must be a function with the arguments {', '.join(_NEEDED)}"
            f", such as keras.applications.ResNet50. Received: {constructor!r}, "
            f"without {', '.join(missing)}."
        )
    found = getattr(constructor, "__name__", None) if name is None else name
    if not isinstance(found, str) or not found.isidentifier():
        raise InvalidInputError(
            "`name` of a network must be a word of letters, digits and underscores, "
            f"such as 'NarrowSDAResNet'. Received: name={name!r} for {constructor!r}."
        )
    if found.lower() in _of_libraries():
        raise InvalidInputError(
            f"`name` {found!r} is that of a network of this package or of "
            "keras.applications. Choose another."
        )
    for other in [x for x in REGISTERED if x.lower() == found.lower()]:
        del REGISTERED[other]
    REGISTERED[found] = constructor
    return constructor


def list_models() -> list[str]:
    """Names of the networks of this package that `get_model` knows.

    Those of `register_model` are not among them.

    Example:

    >>> from keras_sda.applications import list_models
    >>> "SDAResNet50" in list_models()
    True
    """
    from keras_sda.applications.presets.presets import PRESETS

    return sorted(PRESETS)


def get_model(name: str) -> Callable[..., keras.Model]:
    """Returns the constructor of a named network.

    Use it where the name comes from a command line or a file.

    Args:
        name: A name of `list_models()`, of a constructor in `keras.applications`
            such as `"ResNet50"`, or one that `register_model` was given. Upper and
            lower case do not matter.

    Returns:
        The constructor.

    Raises:
        InvalidInputError: There is no such network; the message names similar ones.

    Example:

    >>> from keras_sda.applications import get_model
    >>> get_model("SDAResNet20").__name__
    'SDAResNet20'
    """
    import keras_sda.applications as ours

    known = _of_libraries() | {own.lower(): own for own in REGISTERED}
    if name.lower() in known:
        found = known[name.lower()]
        if found in REGISTERED:
            return REGISTERED[found]
        return getattr(ours if found in list_models() else keras.applications, found)
    similar = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    similar = " or ".join(known[key] for key in similar)
    hint = f" Did you mean {similar}?" if similar else ""
    raise InvalidInputError(
        f"`model` must be the name of a network. Received: {name!r}.{hint} This "
        f"package has {', '.join(list_models())}; the names of keras.applications "
        "work too, and those of register_model once its file was imported."
    )


def _of_libraries():
    """Names of this package and of Keras, by their lower case."""
    stock = [word for word in dir(keras.applications) if word[0].isupper()]
    return {word.lower(): word for word in [*stock, *list_models()]}


def _not_taken(constructor):
    """The arguments that a constructor has to take and does not."""
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except (TypeError, ValueError):
        return list(_NEEDED)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    return [word for word in _NEEDED if word not in {p.name for p in parameters}]

"""Networks by name."""

import difflib
from collections.abc import Callable

import keras

from keras_sda.utils import InvalidInputError


def list_models() -> list[str]:
    """Names of the networks of this package that `get_model` knows.

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
        name: A name of `list_models()`, or of a constructor in `keras.applications`
            such as `"ResNet50"`. Upper and lower case do not matter.

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

    known = {model.lower(): (ours, model) for model in list_models()}
    for attribute in dir(keras.applications):
        if attribute[0].isupper():
            known.setdefault(attribute.lower(), (keras.applications, attribute))
    if name.lower() in known:
        module, attribute = known[name.lower()]
        return getattr(module, attribute)
    similar = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    similar = " or ".join(known[key][1] for key in similar)
    hint = f" Did you mean {similar}?" if similar else ""
    raise InvalidInputError(
        f"`model` must be the name of a network. Received: {name!r}.{hint} This "
        f"package has {', '.join(list_models())}; the names of keras.applications "
        "work too."
    )

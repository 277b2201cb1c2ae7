"""Packages of the extras: imported where they are needed, named where they miss."""

import functools
import importlib
import importlib.util
from types import ModuleType

from absl import logging

from keras_sda.utils.invalid_input_error import InvalidInputError

# By the module: the extra of pyproject.toml that brings it, and its name there.
_EXTRAS = {
    "huggingface_hub": ("hub", "huggingface_hub"),
    "keras_cv": ("keras-cv", "keras-cv"),
    "matplotlib": ("plot", "matplotlib"),
    "tensorboard": ("tensorboard", "tensorboard"),
}


def optional_import(name: str, purpose: str, instead: str = "") -> ModuleType:
    """Imports a package that not every user has, or says how to get it.

    Use it inside the function that needs the package.

    Args:
        name: The module; it or its parent is one that an extra brings.
        purpose: What needs it, the beginning of the error.
        instead: What can be done without it, the end of the error. Defaults to
            nothing.

    Returns:
        The module.

    Raises:
        InvalidInputError: It is not installed. The message names the extra.

    Example:

    >>> from keras_sda.utils.optional_import import optional_import
    >>> optional_import("matplotlib.figure", "A picture").__name__
    'matplotlib.figure'
    """
    package = name.partition(".")[0]
    if not is_installed(package):
        raise InvalidInputError(_missing(package, purpose, instead))
    return importlib.import_module(name)


def has_optional(package: str, purpose: str) -> bool:
    """Whether a package is there; where it is not, logs once how to get it.

    Use it for what a run leaves out without the package.

    Args:
        package: The module, one that an extra brings.
        purpose: What is left out.
    """
    if is_installed(package):
        return True
    warn_once(_missing(package, purpose))
    return False


@functools.cache
def warn_once(text: str) -> None:
    """Logs a warning, once in a process."""
    logging.warning("%s", text)


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # from what hides packages
        return False


def _missing(package, purpose, instead=""):
    extra, distribution = _EXTRAS[package]
    text = f"{purpose} needs {distribution}, which is not installed. Install it with: "
    text += f'pip install "keras-sda[{extra}]"'
    return f"{text}, or {instead}." if instead else f"{text}."

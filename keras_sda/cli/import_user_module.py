"""Modules of users, imported before a command runs."""

import importlib
import os
import sys
import traceback

from keras_sda.utils import InvalidInputError


def import_user_module(name: str) -> None:
    """Imports a module, so that what it registers is known by its name.

    The current folder comes first, as with `python -m`.

    Args:
        name: Its name, such as `"loudest"` for loudest.py or `"package.module"`.

    Raises:
        InvalidInputError: There is no such module, or it fails; the message has its
            error and the line.

    Example:

    >>> from keras_sda.cli.import_user_module import import_user_module
    >>> import_user_module("json")
    """
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        if name[:1] in ("", "."):  # which mean the importing package
            raise ModuleNotFoundError(name=name)
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise InvalidInputError(
                f"`--import` {name}: there is no module {missing!r}, neither in "
                f"{folder} nor among the installed packages. Name it as `import` does, "
                "such as loudest for loudest.py; PYTHONPATH may have its folder."
            ) from error
        # A syntax error has no line of ours, but says its own.
        lines = [
            f" ({line.filename}, line {line.lineno})"
            for line in traceback.extract_tb(error.__traceback__)[1:]
            if "importlib" not in line.filename
        ]
        raise InvalidInputError(
            f"`--import` {name} fails with {type(error).__name__}: {error}"
            f"{lines[0] if lines else ''}. Repair the module."
        ) from error

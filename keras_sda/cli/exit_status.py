"""How a command or a program ends: one line on standard error and a status."""

import sys
from collections.abc import Callable
from typing import Any

from keras_sda.utils import InvalidInputError
from keras_sda.utils.hold_interrupts import Terminated, sigterm_interrupts

USER_ERROR = 2
_INTERRUPTED = 130
_TERMINATED = 143


def exit_status(program: str, run: Callable[[], Any], again: str) -> int:
    """Runs a command; returns the exit status that its process should have.

    Args:
        program: Its name, as errors begin.
        run: What it does.
        again: How interrupted work goes on, a sentence.

    Returns:
        0, or 2 where the input cannot be used, 130 after an interruption (SIGINT,
        Ctrl-C) or 143 after SIGTERM, each with one line on standard error.

    Example:

    >>> from keras_sda.cli.exit_status import exit_status
    >>> exit_status("program", lambda: None, "Start it again.")
    0
    """
    try:
        with sigterm_interrupts():
            run()
    except Terminated:
        write_error(program, f"terminated. {again}")
        return _TERMINATED
    except KeyboardInterrupt:
        write_error(program, f"interrupted. {again}")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `keras-sda profile X | head`.
        sys.stderr.close()
        return 0
    except (InvalidInputError, OSError, ImportError) as error:
        write_error(program, _message(error))
        return USER_ERROR
    return 0


def write_error(program: str, message: str) -> None:
    """Writes the one line."""
    sys.stderr.write(f"{program}: error: {message}\n")


def _message(error):
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())

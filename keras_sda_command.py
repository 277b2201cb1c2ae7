"""The first thing that the command `keras-sda` and the programs run.

It stands beside the package because whatever is imported from the package imports Keras
and its backend first, which takes seconds in which Ctrl-C is pressed.
"""

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Iterator


def main() -> int:
    """Imports the command line and runs it; returns the exit status."""
    with ctrl_c_ends("keras-sda"):
        from keras_sda.cli.main import main as run

    return run()


@contextlib.contextmanager
def ctrl_c_ends(program: str | None = None) -> Iterator[None]:
    """While it lasts, Ctrl-C ends the process at once, with one line and status 130.

    Use it around the slow imports of a program: an exception would go through
    half-imported modules. A signal that is handled in another way stays so.

    Args:
        program: Its name, as the line begins. Defaults to `None`, that of the file
            which runs.
    """

    def end(number, frame):
        name = program or pathlib.Path(sys.argv[0]).stem
        sys.stderr.write(f"{name}: error: interrupted.\n")
        sys.stderr.flush()
        os._exit(130)

    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, handler)

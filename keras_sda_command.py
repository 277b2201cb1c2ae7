"""The first thing that the command `keras-sda` runs.

It stands beside the package because whatever is imported from the package imports Keras
and its backend first, which takes seconds in which Ctrl-C is pressed.
"""

import os
import signal
import sys


def main() -> int:
    """Imports the command line and runs it; returns the exit status."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from keras_sda.cli.main import main as run

    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, handler)
    return run()


def _stop(number, frame):
    """Ends at once: an exception would go through half-imported modules."""
    sys.stderr.write("keras-sda: error: interrupted.\n")
    sys.stderr.flush()
    os._exit(130)

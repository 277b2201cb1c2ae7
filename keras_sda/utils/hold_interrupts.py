"""Ctrl-C and SIGTERM: alike in what they do, and held during short pieces of work."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def hold_interrupts() -> Iterator[None]:
    """Delivers SIGINT and SIGTERM after the block instead of inside it.

    Use it around calls into libraries that lose or change an exception which a signal
    raises in the middle of them: HDF5 calls Python back to write into memory, and what
    is raised there may come out as another error or not at all. Keep the block short.
    Signals that Python does not handle, and other threads, are left alone.

    Example:

    >>> from keras_sda.utils.hold_interrupts import hold_interrupts
    >>> with hold_interrupts():
    ...     pass
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs handlers in the main thread alone.
        return
    received: list[int] = []
    handlers = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(
                    number, lambda number, frame: received.append(number)
                )
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Lets SIGTERM leave a run tidy, unless the caller handles it himself."""

    def terminate(number, frame):
        raise Terminated

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

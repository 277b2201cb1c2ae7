"""Programs with flags of absl, run as the commands of `keras-sda` are."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags

from keras_sda.cli.exit_status import USER_ERROR, exit_status, write_error
from keras_sda.utils import InvalidInputError


def run_program(main: Callable[[Any], Any], again: str = "Start it again.") -> None:
    """Parses the flags, runs a program and ends the process.

    Use it as the last line of a program. Bad flags and bad input are one line and exit
    status 2; Ctrl-C and SIGTERM leave what was done tidy and end with 130 and 143.

    Args:
        main: The program; gets the flags.
        again: How interrupted work goes on. Defaults to `"Start it again."`.

    Example:

    ```python
    flags.DEFINE_string("output", "runs/try", "Folder of the results.")
    if __name__ == "__main__":
        run_program(lambda options: print(options.output))
    ```
    """
    name = pathlib.Path(sys.argv[0]).stem

    def parse(arguments):
        # The parser of absl would end with status 1 and the whole help.
        try:
            return flags.FLAGS(arguments)
        except flags.Error as error:
            write_error(name, " ".join(str(error).split()))
            sys.exit(USER_ERROR)

    def run(words):
        if len(words) > 1:
            raise InvalidInputError(f"Unexpected words: {' '.join(words[1:])}")
        main(flags.FLAGS)

    app.run(
        lambda words: exit_status(name, lambda: run(words), again), flags_parser=parse
    )

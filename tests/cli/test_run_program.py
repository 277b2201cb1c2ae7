"""Programs end as commands do."""

import signal

import pytest

PROGRAM = """
import os, signal, sys
from absl import flags
from keras_sda.cli.run_program import run_program
from keras_sda.utils import InvalidInputError

flags.DEFINE_string("do", "", "What happens.")


def main(options):
    if options.do == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
    if options.do == "SIGINT":
        os.kill(os.getpid(), signal.SIGINT)
    if options.do == "refuse":
        raise InvalidInputError("`do` must be\\nsomething else.")
    if options.do == "full":
        raise OSError(28, "No space left on device", "model.keras")
    print("done", options.do)


if __name__ == "__main__":
    run_program(main, "Go on with --more.")
"""


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--do=this"], 0, ""),
        (["--do=refuse"], 2, "`do` must be something else."),
        (["--do=full"], 2, "model.keras: No space left on device."),
        (["--done=1"], 2, "Unknown command line flag 'done'"),
        (["more"], 2, "Unexpected words: more"),
        (["--do=SIGINT"], 130, "interrupted. Go on with --more."),
        (["--do=SIGTERM"], 143, "terminated. Go on with --more."),
    ],
)
def test_one_line_and_a_status(words, status, line, run_program, tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(PROGRAM)
    before = signal.getsignal(signal.SIGTERM)
    result = run_program(path, *words)
    assert result.returncode == status
    assert signal.getsignal(signal.SIGTERM) is before
    if status:
        (error,) = result.stderr.splitlines()
        assert error.startswith(f"tiny: error: {line}") and not result.stdout
    else:
        assert result.stdout == "done this\n"

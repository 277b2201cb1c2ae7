"""Which files a call runs through."""

import importlib.util
import pathlib

from keras_sda.utils.check_arguments import check_arguments

PROGRAM = pathlib.Path(__file__).parents[2] / "tools" / "files_passed.py"


def test_files_of_a_call():
    spec = importlib.util.spec_from_file_location("files_passed", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    files = program.passed(lambda: check_arguments("count", filters=3))
    assert files == [pathlib.Path("utils/check_arguments.py")]
    assert program.passed(lambda: sorted("abc")) == []

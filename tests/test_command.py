"""The doors of the command and the programs, with stand-ins for slow imports."""

import os
import pathlib
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "applications").glob("*.py"))
INTERRUPTED = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
raise AssertionError("not reached")
"""
RUNS = """
import signal
def main():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return 7
"""


def test_the_script_enters_by_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"keras-sda": "keras_sda_command:main"}
    assert project["tool"]["setuptools"]["py-modules"] == ["keras_sda_command"]


def test_ctrl_c_during_the_import_is_one_line(run_python, tmp_path):
    folder = tmp_path / "keras_sda" / "cli"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        (path / "__init__.py").write_text("")
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
from keras_sda_command import main
sys.exit(main())
"""
    for text, status, error in (
        (INTERRUPTED, 130, "keras-sda: error: interrupted.\n"),
        (RUNS, 7, ""),
    ):
        (folder / "main.py").write_text(text)
        result = run_python(code, check=False, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (status, error)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_ctrl_c_while_a_program_imports_is_one_line(path, run_python, tmp_path):
    for name in ("tensorflow", "keras", "keras_sda"):
        (tmp_path / f"{name}.py").write_text(INTERRUPTED)
    where = {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    result = run_python([path], env=where, check=False, cwd=tmp_path)
    error = f"{path.stem}: error: interrupted.\n"
    assert (result.returncode, result.stdout, result.stderr) == (130, "", error)

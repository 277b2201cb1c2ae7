"""`keras-sda --import`: modules of users that work, and those that do not."""

import sys

import pytest

from keras_sda import cli
from keras_sda.pruning import CRITERIA

CRITERION = """
from keras_sda.pruning import register_criterion

@register_criterion
def of_a_user(group):
    return range(group.num_channels)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder; what is imported from it goes with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("user_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "words", [["--import", "user_one", "prune"], ["prune", "--import=user_one"]]
)
def test_a_criterion_of_a_user_is_a_choice(words, folder, capsys):
    (folder / "user_one.py").write_text(CRITERION)
    (folder / "user_two.py").write_text("import user_one")
    with pytest.raises(SystemExit) as end:
        cli.main(["--import", "user_two", *words, "--help"])
    CRITERIA.pop("of_a_user")
    assert not end.value.code and "of_a_user" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("user_none", None, "there is no module 'user_none', neither in {folder}"),
        ("user_a.py", "", "no module 'user_a.py', neither"),
        ("./user_a.py", "", "Name it as `import` does, such as loudest for loudest.py"),
        ("", None, "there is no module ''"),
        ("user_a", "import user_none", "No module named 'user_none' ({folder}/user_a"),
        ("user_a", "1 +", "SyntaxError: invalid syntax (user_a.py, line 1). Repair"),
        ("user_a", "\n1 / 0", "division by zero ({folder}/user_a.py, line 2)."),
        ("user_a", "exit(0)", "fails with SystemExit: 0 ({folder}/user_a.py, line 1)"),
    ],
)
def test_what_cannot_be_imported_is_one_line(name, text, line, folder, capsys):
    if text is not None:
        (folder / "user_a.py").write_text(text)
    assert cli.main(["--import", name, "list"]) == 2
    output, error = capsys.readouterr()
    (error,) = error.splitlines()
    assert error.startswith("keras-sda: error: `--import` ")
    assert line.format(folder=folder) in error and not output


def test_it_is_not_abbreviated(capsys):
    for words in (["--imp", "json", "list"], ["list", "--imp", "json"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert "--imp" in capsys.readouterr().err

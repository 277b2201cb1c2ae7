"""README and docs: links that lead somewhere, examples and commands that run."""

import functools
import importlib
import itertools
import pathlib
import re
import shlex
import sys
import tomllib

import keras
import numpy as np
import pytest
from test_package import FLOORS

from keras_sda import applications, cli

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"^```(?P<language>\w+)?\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
# Blocks that do not run: each has its reason on the page.
MOST_NOT_RUN = 2


def blocks(page, language):
    """Yields the blocks of a language and the reason why one is not run, or None."""
    for found in BLOCK.finditer(page.read_text()):
        if found["language"] == language:
            yield found["text"], found["reason"]


def has_examples(page):
    return any(True for name in ("python", "bash") for _ in blocks(page, name))


EXAMPLES = [page for page in PAGES if has_examples(page)]


def title(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """The anchors of the headings of a page, as MkDocs and code hosts make them."""
    text = BLOCK.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {re.sub(r"\s+", "-", heading.strip()) for heading in words}


def broken_links(page):
    """Yields the links of a page to files of this repository that lead nowhere."""
    for inline, definition in LINK.findall(BLOCK.sub("", page.read_text())):
        link = inline or definition
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or ROOT not in target.parents:
            yield link
        elif anchor and anchor not in anchors(target):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n\n[a](#a-title) [b](#b) [c](no.md) [d](page.md#a-title)\n"
    )
    assert list(broken_links(page)) == ["#b", "no.md"]


def test_readme_is_short_and_starts_with_pruning():
    assert len(README.read_text().splitlines()) <= 150
    first, _ = next(blocks(README, "python"))
    lines = [line for line in first.splitlines() if line.strip()]
    assert "pruning.prune(" in first
    assert len(lines) <= 5


def public_names():
    """What `__all__` of every room says."""
    doors = sorted((ROOT / "keras_sda").glob("*/__init__.py"))
    rooms = [importlib.import_module(f"keras_sda.{x.parent.name}") for x in doors]
    return {room.__name__.split(".")[1]: set(room.__all__) for room in rooms}


def test_architecture_shows_every_room_on_its_floor():
    text = (ROOT / "docs" / "architecture.md").read_text()
    picture = next(x["text"] for x in BLOCK.finditer(text) if x["language"] == "text")
    shown = {}
    for line in picture.splitlines():
        floor, rooms = line.split(maxsplit=1)
        shown |= {room.split()[0]: int(floor) for room in rooms.split("|")}
    assert shown == {room: floor for room, floor in FLOORS.items() if room != "version"}


def test_few_blocks_are_not_run():
    left_out = [
        f"{title(page)}: {reason}"
        for page in PAGES
        for name in ("python", "bash")
        for _, reason in blocks(page, name)
        if reason
    ]
    assert len(left_out) <= MOST_NOT_RUN, left_out


def tiny_network(weights=None, **options):
    """Stands for the networks of the examples, weights left out."""
    small = {"base_width": 16, "stem_width": 16, "min_width": 4, "classes": 10}
    small["input_shape"] = None if "input_tensor" in options else (32, 32, 3)
    return applications.SDAResNet([2, 1], **{**small, **options})


@pytest.fixture
def tiny_networks(monkeypatch):
    """Every network that an example names is a tiny one."""
    for name in ("SDAResNet20", "CIFARResNet20"):
        monkeypatch.setattr(applications, name, tiny_network)
    trunk = functools.partial(tiny_network, depth_attention=False)
    monkeypatch.setattr(keras.applications, "MobileNetV2", trunk)
    monkeypatch.setattr(applications, "get_model", lambda name: tiny_network)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (12, 12, 1))
    keras.utils.save_img(tmp_path / "digit.png", image, scale=False)
    return tmp_path


def run_python_blocks(page, folder, most=None):
    """Runs the first or all blocks of a page in turn, one epoch of 16 images each.

    A block that starts with `# name.py` is written to that file, for the next ones.
    """
    generator = np.random.default_rng(0)
    names = {
        "__name__": "example",
        "images": generator.normal(size=(16, 32, 32, 3)).astype("float32"),
        "labels": generator.integers(0, 10, 16),
    }
    for text, reason in itertools.islice(blocks(page, "python"), most):
        if reason:
            continue
        file = re.match(r"# (\w+\.py)\n", text)
        if file:
            (folder / file[1]).write_text(text)
            continue
        text = re.sub(r"epochs=\d+", "epochs=1", text)
        if "TrainOptions(" in text:
            text = text.replace('dataset="digits"', 'dataset="digits", epochs=1')
        exec(compile(text, title(page), "exec"), names)


def run_command(words):
    """Runs one line of a page, with one epoch of 64 images."""
    program, *words = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words) <= set(targets)
    elif program == "pip":
        check_installation(words)
    else:
        assert program == "keras-sda"
        words = [
            "1" if previous.endswith("_epochs") else word
            for previous, word in zip(["", *words], words, strict=False)
        ]
        command = words[2] if words[0] == "--import" else words[0]
        if command in ("train", "prune", "search", "group"):
            if "--resume" not in words:
                words += ["--max_train_examples", "64"]
                if command != "prune" or "--fine_tune_epochs" in words:
                    words += ["--batch_size", "32"]
                words += ["--epochs", "1"] if command == "train" else []
                words += ["--form", "lists"] if command == "group" else []
        assert cli.main(words) == 0, words


def check_installation(words):
    """What a line asks pip for is there: the extras, the pins, the folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert words[0] == "install"
    for word in words[1:]:
        extras = re.search(r"\[(.+)\]", word)
        for extra in extras[1].split(",") if extras else ():
            assert extra in project["optional-dependencies"], word
        if word.endswith(".txt"):
            assert (ROOT / word).is_file()


def run_commands(page):
    for text, reason in blocks(page, "bash"):
        if reason:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                run_command(words)


def test_first_example(folder, tiny_networks, capsys):
    run_python_blocks(README, folder, most=1)
    assert "MACs" in capsys.readouterr().out
    small = keras.saving.load_model(folder / "small.keras")
    assert small.count_params() < tiny_network().count_params()


@pytest.mark.large
@pytest.mark.parametrize("page", EXAMPLES, ids=title)
def test_examples(page, folder, tiny_networks):
    run_python_blocks(page, folder)
    run_commands(page)


@pytest.mark.extra_large
def test_examples_of_readme_with_their_own_networks(folder):
    run_python_blocks(README, folder)
    run_commands(README)
    assert (folder / "served" / "digits" / "1" / "saved_model.pb").is_file()


@pytest.mark.large
def test_the_site_is_built_without_a_warning(run_python, tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra [docs]")
    result = run_python([ROOT / "tools/build_docs.py", "--output", tmp_path / "site"])
    assert "WARNING" not in result.stdout + result.stderr
    for room, names in public_names().items():
        page = tmp_path / "site" / "reference" / room / "index.html"
        shown = set(re.findall(rf'id="keras_sda\.{room}\.(\w+)"', page.read_text()))
        assert names - shown == set(), room

"""How pages of the site are put together, without building it."""

import base64
import importlib
import json
import pathlib

import pytest

TOOLS = pathlib.Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """The program, for a repository in a temporary folder."""
    monkeypatch.syspath_prepend(TOOLS)
    module = importlib.import_module("build_docs")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PAGES", tmp_path / "build" / "pages")
    for name in (
        *("docs/guides/a.md", "docs/b.md", "notebooks/n.ipynb", "LICENSE"),
        "keras_sda/pruning/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "README.md").write_text("")
    return module


def test_links_hold_in_the_site(tool):
    text = (
        "[a](docs/guides/a.md#part) [n](notebooks/n.ipynb) [w](https://x.org) [c](#c)\n"
        "[l](LICENSE) [none](no.md)\n\n[b]: docs/b.md\n[w]: https://x.org\n"
    )
    assert tool.rewrite_links(text, tool.ROOT / "README.md") == (
        "[a](guides/a.md#part) [n](notebooks/n.md) [w](https://x.org) [c](#c)\n"
        "[l](source/LICENSE) [none](no.md)\n\n[b]: b.md\n[w]: https://x.org\n"
    )
    assert (tool.PAGES / "source" / "LICENSE").read_text() == "LICENSE"
    guide = tool.ROOT / "docs" / "guides" / "a.md"
    door = "../../keras_sda/pruning/__init__.py"
    text = tool.rewrite_links(f"[r](../../README.md) [b](../b.md) [d]({door})", guide)
    assert text == "[r](../index.md) [b](../b.md) [d](../reference/pruning.md)"


def test_a_notebook_is_a_page_with_its_outputs(tool):
    picture = base64.b64encode(b"picture").decode()
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
        {"output_type": "display_data", "data": {"image/png": picture}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    source = tool.ROOT / "notebooks" / "n.ipynb"
    source.write_text(json.dumps({"cells": cells}))
    text = tool.notebook_text(source)
    assert text.startswith("# Title\n\n```python\nprint(1)\n```\n\n```text\none\ntwo\n")
    assert "](n_1_1.png)" in text
    assert (tool.PAGES / "notebooks" / "n_1_1.png").read_bytes() == b"picture"


def test_docstrings_are_read_as_they_are_meant(tool):
    pytest.importorskip("griffe", reason="needs the extra [docs]")
    style = importlib.import_module("reference_style")
    text = "Sum.\n\nArgs:\n    a, b: Numbers,\n        any.\n\nExample:\n\n>>> 1\n1\n"
    assert style.as_griffe_reads(text) == (
        "Sum.\n\nArgs:\n    a: Numbers,\n        any.\n    b: Numbers,\n        any.\n"
        "\n**Example**\n\n```pycon\n>>> 1\n1\n```"
    )

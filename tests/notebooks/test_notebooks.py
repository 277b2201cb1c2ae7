"""Every notebook runs from top to bottom."""

import functools
import json
import pathlib

import pytest

from keras_sda import applications

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


# The third one packs by the clock, for minutes: it runs below alone.
@pytest.mark.parametrize(
    "path",
    [NOTEBOOKS[0], pytest.param(NOTEBOOKS[1], marks=pytest.mark.large)],
    ids=lambda path: path.stem,
)
def test_cells_on_few_images(path, tmp_path, monkeypatch, capsys):
    """All cells in this process, narrow networks, a tenth of the digits.

    Their accuracy says nothing.
    """
    import matplotlib.pyplot as plt
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    few = images[:180], labels[:180]
    monkeypatch.setattr(datasets, "load_digits", lambda return_X_y: few)
    narrow = {"base_width": 8, "stem_width": 8, "min_width": 4}
    small = functools.partial(applications.SDAResNet, [2, 2, 2], **narrow)
    monkeypatch.setattr(applications, "SDAResNet20", small)
    monkeypatch.chdir(tmp_path)
    cells = [
        "".join(cell["source"])
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    names = {}
    for cell in cells:
        exec(compile(cell, path.name, "exec"), names)
    assert plt.get_fignums()
    plt.close("all")
    text = capsys.readouterr().out
    assert len(names["x_test"]) == 36
    assert 0 <= float(text.split("test accuracy")[-1].split()[0]) <= 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored(path):
    """As `tools/run_notebooks.py` left them: small, with pictures, without errors."""
    assert path.stat().st_size < 300_000
    cells = json.loads(path.read_text())["cells"]
    outputs = [x for cell in cells for x in cell.get("outputs", [])]
    kinds = {x["output_type"] for x in outputs} | {x.get("name") for x in outputs}
    assert not kinds & {"error", "stderr"}
    assert sum("image/png" in x.get("data", {}) for x in outputs) >= 2
    text = "".join("".join(x.get("text", "")) for x in outputs)
    assert float(text.split("test accuracy")[-1].split()[0]) >= 0.9


@pytest.mark.extra_large
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path, monkeypatch):
    # Pictures go into the notebook, as they do for a reader.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra [notebook]")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra [notebook]")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    )
    client.execute()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in
        cell.get("outputs", [])
    )  # fmt: skip
    accuracy = float(text.split("test accuracy")[-1].split()[0])
    assert accuracy >= 0.9
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2

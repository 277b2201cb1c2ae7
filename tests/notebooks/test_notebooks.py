"""Every notebook runs from top to bottom."""

import pathlib

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


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

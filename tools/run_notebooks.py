"""Runs the notebooks and stores what their cells print and draw.

    python tools/run_notebooks.py [notebooks/01_quickstart.ipynb ...]

Each runs from top to bottom in an empty folder, in minutes. Warnings are left out, and
pictures get a palette, so that a notebook stays small. Needs the extra [notebook].
"""

import argparse
import base64
import io
import os
import pathlib
import tempfile

import nbclient
import nbformat
from PIL import Image

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
COLOURS = 64
MOST_BYTES = 300_000


def with_palette(picture):
    """Returns a PNG (base64) with few colours."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def tidy(cell):
    """Leaves what a reader wants to see of a cell."""
    cell.metadata = {}
    outputs, cell.outputs = cell.outputs, []
    for output in outputs:
        last = cell.outputs[-1] if cell.outputs else {}
        if output.get("name") == "stdout" == last.get("name"):
            last["text"] += output["text"]
        elif output.get("name") != "stderr":
            cell.outputs.append(output)
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            output["data"] = {"image/png": with_palette(data["image/png"])}
            output["metadata"] = {}


def run(path):
    """Runs one notebook and writes it back."""
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=3600,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        ).execute()
    notebook.metadata = metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tidy(cell)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)
    if path.stat().st_size > MOST_BYTES:
        print(f"{path.name}: more than {MOST_BYTES:,} bytes, draw smaller pictures")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    # Pictures go into the notebook, as they do for a reader.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        run(path)


if __name__ == "__main__":
    main()

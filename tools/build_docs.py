"""Builds the documentation as a site.

    python tools/build_docs.py [--output build/site]

Puts the pages together in build/pages: `docs/` as it is, README.md, CONTRIBUTING.md and
CHANGELOG.md, the notebooks with their stored outputs, and a page of reference for every
room of the package, which shows what the `__all__` of its door names. Links from one
file of the repository to another become links of the site, those to a door lead to the
reference; a linked file that is no page comes along. Then MkDocs builds the site, and
any warning is an error: a dead link, an unknown anchor, a page without a place, a
docstring that cannot be read. Needs the extra [docs]; TensorFlow and Keras are not
imported, the reference is read from the source.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
# Pages from outside docs/, by the path of their file.
OTHER_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
DEFINITION = re.compile(r"(?<=^\[)([^\]]+\]: )(?!\w+:|#)([^#\s]+)", re.MULTILINE)


def place_of(source):
    """Returns where a file of the repository stands in the site."""
    path = source.relative_to(ROOT)
    if str(path) in OTHER_PAGES:
        return pathlib.PurePath(OTHER_PAGES[str(path)])
    if path.parts[0] == "docs":
        return path.relative_to("docs")
    if path.suffix == ".ipynb":
        return path.with_suffix(".md")
    if path.name == "__init__.py" and path.parent.parent.name == "keras_sda":
        return pathlib.PurePath("reference", f"{path.parent.name}.md")
    return pathlib.PurePath("source") / path


def rewrite_links(text, source):
    """Returns the text of a file with links that hold in the site."""

    def moved(link):
        target = (source.parent / link).resolve()
        if not target.is_file():
            return link  # MkDocs names it
        place = place_of(target)
        if place.parts[0] == "source":
            (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, PAGES / place)
        return os.path.relpath(place, place_of(source).parent)

    text = LINK.sub(lambda found: moved(found[1]), text)
    return DEFINITION.sub(lambda found: found[1] + moved(found[2]), text)


def notebook_text(source):
    """Returns a notebook as Markdown; its pictures are written beside the page."""
    place, lines = PAGES / place_of(source), []
    place.parent.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(json.loads(source.read_text())["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [text, ""]
            continue
        lines += ["```python", text, "```", ""]
        for index, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{place.stem}_{number}_{index}.png"
                picture = base64.b64decode("".join(data["image/png"]))
                (place.parent / name).write_bytes(picture)
                lines += [f"![What the cell above draws]({name})", ""]
            elif printed := "".join(output.get("text", data.get("text/plain", ""))):
                lines += ["```text", printed.rstrip("\n"), "```", ""]
    return "\n".join(lines)


def gather_pages():
    """Fills build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES)
    for source in sorted((ROOT / "docs").rglob("*.md")):
        text = rewrite_links(source.read_text(), source)
        (PAGES / place_of(source)).write_text(text)
    for name, place in OTHER_PAGES.items():
        text = rewrite_links((ROOT / name).read_text(), ROOT / name)
        (PAGES / place).write_text(text)
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = rewrite_links(notebook_text(source), source)
        (PAGES / place_of(source)).write_text(text)
    for door in sorted((ROOT / "keras_sda").glob("*/__init__.py")):
        name = f"keras_sda.{door.parent.name}"
        (PAGES / "reference").mkdir(exist_ok=True)
        (PAGES / place_of(door)).write_text(f"# {name}\n\n::: {name}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=ROOT / "build" / "site", metavar="DIR")
    options = parser.parse_args()
    gather_pages()
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir"]
    status = subprocess.run(
        [sys.executable, *words, pathlib.Path(options.output).resolve()],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    ).returncode
    if status:
        sys.exit(status)
    print(f"site in {options.output}")


if __name__ == "__main__":
    main()

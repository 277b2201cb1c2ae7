"""What MkDocs asks while it builds the site: named in mkdocs.yml."""

import pathlib


def on_config(config):
    """Puts the pages of reference that `build_docs` wrote where the site lists them."""
    pages = sorted((pathlib.Path(config.docs_dir) / "reference").glob("*.md"))
    rooms = [{f"keras_sda.{page.stem}": f"reference/{page.name}"} for page in pages]
    for entry in config.nav:
        if "Reference" in entry:
            entry["Reference"] = rooms
    return config

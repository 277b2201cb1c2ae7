"""Writes the tables of README.md and docs/ from the rows in benchmarks/results.

    python tools/write_results.py [--check]

A page says where a table goes:

    <!-- table: pruning_speed -->
    ... rewritten by this program ...
    <!-- end of table -->

The names are those of `TABLES` in `result_tables`. `--check` writes nothing and fails
where a page is not what the rows say.
"""

import argparse
import pathlib
import re
import sys

from result_tables import TABLES

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL | re.MULTILINE
)


def pages():
    """Returns the files that may ask for tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_tables(text):
    """Returns the text of a page with every table as the rows say."""
    return BLOCK.sub(
        lambda found: f"{found[1]}" + "\n".join(TABLES[found[2]]()) + f"\n{found[3]}",
        text,
    )


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="Write nothing.")
    options = parser.parse_args(words)
    changed = []
    for page in pages():
        text = page.read_text()
        if (wanted := with_tables(text)) != text:
            changed.append(str(page.relative_to(ROOT)))
            if not options.check:
                page.write_text(wanted)
    if options.check and changed:
        sys.exit(f"not what the rows say: {', '.join(changed)}; run this without it")
    print("\n".join(changed) or "every table is what the rows say")


if __name__ == "__main__":
    main()

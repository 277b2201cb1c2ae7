"""Rows of results as CSV: written at once or not at all, and read again."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_sda.utils.atomic_write import atomic_write


def write_rows(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Writes rows as a CSV file, in place of what was there.

    Args:
        rows: At least one row. The columns are those of the last one; a row that lacks
            some leaves them empty.
        path: The CSV file.

    Raises:
        ValueError: A row has a column that the last one lacks.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.utils.csv_rows import read_rows, write_rows
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.csv"
    >>> write_rows([{"rate": 0.5}, {"rate": 0.7, "accuracy": 0.9}], path)
    >>> read_rows(path)
    [{'rate': '0.5', 'accuracy': ''}, {'rate': '0.7', 'accuracy': '0.9'}]
    """
    with atomic_write(path) as temporary:
        temporary.write_text(csv_text(rows), encoding="utf-8")


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """The rows of a CSV file, all values as text; none where there is no file.

    Args:
        path: The CSV file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def csv_text(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> str:
    """Rows as the text of a CSV file.

    Args:
        rows: The rows.
        columns: Names and order of the columns. Defaults to those of the last row.
    """
    text = io.StringIO()
    names = list(rows[-1] if columns is None else columns)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

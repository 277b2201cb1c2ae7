"""Rows of results as CSV: written at once or not at all, and read again."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_sda.utils.files.atomic_write import atomic_write
from keras_sda.utils.invalid_input_error import InvalidInputError


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
    >>> from keras_sda.utils.files.csv_rows import read_rows, write_rows
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

    Raises:
        InvalidInputError: It is no CSV file, or a row has more or fewer cells than
            there are columns.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values() or "" in row:
                raise ValueError(f"row {number} does not fit the columns")
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInputError(
            f"File {path} is damaged ({error}). Delete it, or copy it again."
        ) from error
    return rows


def read_numbers(
    path: str | os.PathLike, texts: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows of a CSV file of numbers, one per epoch; none where there is no file.

    Args:
        path: The CSV file. It has a column `"epoch"` of whole numbers.
        texts: Columns that hold text. Defaults to none.

    Returns:
        A dictionary per row, without the cells that are empty.

    Raises:
        InvalidInputError: It is no CSV file, or a cell is no number.

    Example:

    >>> import pathlib, tempfile
    >>> from keras_sda.utils.files.csv_rows import read_numbers, write_rows
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "history.csv"
    >>> write_rows([{"epoch": 1, "loss": 0.5}], path)
    >>> read_numbers(path)
    [{'epoch': 1, 'loss': 0.5}]
    """
    rows = []
    for number, row in enumerate(read_rows(path), 1):
        try:
            values = {
                name: text if name in texts else _number(text)
                for name, text in row.items()
                if text
            }
            epoch = int(values["epoch"])
            if epoch != values["epoch"]:
                raise ValueError("an epoch that is no whole number")
            rows.append({**values, "epoch": epoch})
        except (ValueError, KeyError, OverflowError) as error:
            reason = "no epoch" if isinstance(error, KeyError) else error
            raise InvalidInputError(
                f"File {path} is damaged (row {number}: {reason}). Delete it, or copy "
                "it again."
            ) from error
    return rows


def _number(text):
    try:
        return int(text)
    except ValueError:
        return float(text)


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

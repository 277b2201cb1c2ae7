"""Reports as files: JSON to be read again, CSV and Markdown to look at."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_sda.utils.atomic_write import atomic_write
from keras_sda.utils.invalid_input_error import InvalidInputError


def write_report(report: Any, folder: str | os.PathLike, name: str = "report") -> None:
    """Writes NAME.csv, NAME.md and NAME.json of a report into a folder.

    Args:
        report: Has `to_csv`, `to_markdown` and `to_json`.
        folder: Where the files go.
        name: Name of the files. Defaults to `"report"`.

    Example:

    ```python
    write_report(report, "runs/small")
    ```
    """
    folder = pathlib.Path(folder)
    for ending, text in (
        ("csv", report.to_csv()),
        ("md", report.to_markdown()),
        ("json", report.to_json() + "\n"),
    ):
        with atomic_write(folder / f"{name}.{ending}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_report(
    folder: str | os.PathLike,
    build: Callable[[dict], Any],
    format_name: str,
    maker: str,
    name: str = "report",
) -> Any:
    """Makes a report of the NAME.json that `write_report` wrote.

    Args:
        folder: A folder, or the JSON file itself.
        build: Makes the report of the contents.
        format_name: What the entry `"format"` has to be; it is taken out.
        maker: What writes such reports, for the error message.
        name: Name of the file. Defaults to `"report"`.

    Raises:
        InvalidInputError: There is no report, or it is damaged.

    Example:

    ```python
    read_report("runs/small", lambda content: Report(**content), "v1", "`prune`")
    ```
    """
    path = pathlib.Path(folder)
    path = path if path.suffix == ".json" else path / f"{name}.json"
    if not path.is_file():
        raise InvalidInputError(
            f"`folder` {str(folder)!r} holds no {path.name}. Name a folder that "
            f"{maker} wrote."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != format_name:
            raise ValueError("another format")
        return build(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            f"`folder` {str(folder)!r}: {path.name} is damaged or of another version "
            f"({error}). Make it again with {maker}."
        ) from error


def markdown_table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table.

    Args:
        header: Names of the columns.
        rows: A cell for each.

    Example:

    >>> from keras_sda.utils.report_files import markdown_table
    >>> markdown_table(["a", "b"], [[1, 2]])
    ['| a | b |', '| --- | --- |', '| 1 | 2 |']
    """
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([str(cell).replace("|", "\\|") for cell in cells] for cells in lines)
    return [f"| {' | '.join(cells)} |" for cells in escaped]

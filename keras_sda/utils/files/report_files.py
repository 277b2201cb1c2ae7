"""Reports as files: JSON to be read again, CSV and Markdown to look at."""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from keras_sda.utils.files.atomic_write import atomic_write
from keras_sda.utils.files.read_json import checked, parse_json
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
    kind: type,
    format_name: str,
    maker: str,
    name: str = "report",
) -> Any:
    """Makes a report of the NAME.json that `write_report` wrote.

    Args:
        folder: A folder, or the JSON file itself.
        kind: The dataclass of the report; its fields say of what types the entries
            are. It has `to_text` and `to_markdown`.
        format_name: What the entry `"format"` has to be; it is taken out.
        maker: What writes such reports, for the error message.
        name: Name of the file. Defaults to `"report"`.

    Raises:
        InvalidInputError: There is no report, or it is damaged.

    Example:

    ```python
    read_report("runs/small", PruningReport, "version 1", "`prune`")
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
        content = checked(parse_json(path.read_text(encoding="utf-8")), dict)
        if content.pop("format", None) != format_name:
            raise ValueError("another format")
        report = checked(content, kind)
        # Entries that are free, such as those of `latency`, are known here only.
        report.to_text()
        report.to_markdown()
        return report
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
    ) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise InvalidInputError(
            f"`folder` {str(folder)!r}: {path.name} is damaged or of another version "
            f"({reason}). Make it again with {maker}."
        ) from error


def markdown_table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table.

    Args:
        header: Names of the columns.
        rows: A cell for each.

    Example:

    >>> from keras_sda.utils.files.report_files import markdown_table
    >>> markdown_table(["a", "b"], [[1, 2]])
    ['| a | b |', '| --- | --- |', '| 1 | 2 |']
    """
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([str(cell).replace("|", "\\|") for cell in cells] for cells in lines)
    return [f"| {' | '.join(cells)} |" for cells in escaped]

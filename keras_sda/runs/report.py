"""What every method says of the model that it made: one report for all."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from keras_sda.utils import InvalidInputError, atomic_write
from keras_sda.utils.files.csv_rows import csv_text
from keras_sda.utils.files.read_json import checked, parse_json

_TOTALS = {"params": "parameters", "macs": "MACs", "ms": "ms per batch"}


@dataclasses.dataclass(frozen=True)
class Report:
    """Totals before and after, and a row per layer.

    Base of the reports of all methods. A subclass is a frozen dataclass that adds its
    own fields and says what differs: the class of its rows, `made`, what `summary`
    tells of a layer, and the columns of its tables.

    Attributes:
        model: Name of the model.
        params_before, params_after: All parameters.
        macs_before, macs_after: Multiply-accumulates of one sample.
        layers: A row per layer, a dataclass with a `name`.
        latency: None, or what was measured: at least `ms_before`, `ms_after` and
            `ratio`.
        settings: How the model was made.
        warnings: What the user should know.

    Example:

    >>> import dataclasses, tempfile
    >>> from keras_sda.runs import Report
    >>> @dataclasses.dataclass(frozen=True)
    ... class Halved(Report):
    ...     format_name, made = "halved, version 1", "halved"
    >>> report = Halved("net", 8, 4, 80, 40, layers=())
    >>> report.after
    {'params': 4, 'macs': 40}
    >>> folder = tempfile.mkdtemp()
    >>> report.save(folder)
    >>> Halved.load(folder) == report
    True
    """

    model: str
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    layers: tuple[Any, ...]
    latency: dict[str, Any] | None = dataclasses.field(default=None, kw_only=True)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)
    warnings: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    # The entry "format" of the JSON file.
    format_name: ClassVar[str] = ""
    # What writes such reports, for the error about a damaged one.
    maker: ClassVar[str] = "`save`"
    # What the method does to a model, behind its name.
    made: ClassVar[str] = "before and after"
    file_name: ClassVar[str] = "report"

    @property
    def before(self) -> dict[str, float]:
        """Totals of the model before: `params`, `macs`, and `ms` where measured."""
        return self._totals("before")

    @property
    def after(self) -> dict[str, float]:
        """Totals of what became of it, by the same names."""
        return self._totals("after")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the CSV file: a dictionary per layer."""
        return [dataclasses.asdict(row) for row in self.layers]

    def compare(self, other: "Report") -> str:
        """This report beside another one, of any method, as a Markdown table.

        Totals come first, what is left as a share of what there was; then, layer by
        layer, what each method made of it.

        Args:
            other: A report, such as one of the same model from another method.

        Raises:
            InvalidInputError: `other` is no report.
        """
        if not isinstance(other, Report):
            raise InvalidInputError(
                f"`other` must be a report, such as prune(...).report. Received: "
                f"{type(other).__name__}."
            )
        both = (self, other)
        rows = []
        for key, name in _TOTALS.items():
            found = [(one.before.get(key), one.after.get(key)) for one in both]
            if any(after is not None for _, after in found):
                rows.append(
                    [name, *(_with_share(*pair) if pair[1] is not None else ""
                             for pair in found)]
                )  # fmt: skip
        told = [one.summaries() for one in both]
        names = merged_names(list(told[0]), list(told[1]))
        rows += [[name, *(one.get(name, "") for one in told)] for name in names]
        header = ["", *(f"{one.model}, {one.made}" for one in both)]
        return "\n".join(markdown_table(header, rows)) + "\n"

    def summaries(self) -> dict[str, str]:
        """By the name of a layer, in a few words, what was made of it."""
        return {row.name: self.summary(row) for row in self.layers}

    def summary(self, row: Any) -> str:
        """What was made of one layer, in a few words.

        Args:
            row: One of `layers`.
        """
        return ""

    def to_text(self) -> str:
        """The totals in a few lines."""
        lines = [f"{self.model}, {self.made}"]
        for key, name in list(_TOTALS.items())[:2]:
            before, after = self.before[key], self.after[key]
            share = _share(before, after) + self.note(key)
            lines.append(f"{name}: {before:,} -> {after:,} ({share})")
        lines += self.details()
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def note(self, key: str) -> str:
        """What is said behind the share of a total, `"params"` or `"macs"`.

        Args:
            key: Which total.
        """
        return ""

    def details(self) -> list[str]:
        """Further lines of `to_text`."""
        return []

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(
            {"format": self.format_name, **dataclasses.asdict(self)},
            indent=1,
            default=str,
        )

    def to_csv(self) -> str:
        """A row per layer, and what else `rows` has."""
        return csv_text(self.rows, self.columns())

    def columns(self) -> list[str]:
        """Columns of the CSV file: those of the last row."""
        return list(self.rows[-1]) if self.rows else ["name"]

    def to_markdown(self) -> str:
        """Totals, layers and settings, as Markdown tables."""
        title, *totals = self.to_text().splitlines()
        lines = [f"# {title}", "", *(f"* {line}" for line in totals)]
        for heading, header, rows in self.tables():
            lines += ["", f"## {heading}", "", *markdown_table(header, rows)]
        if self.settings:
            lines += ["", "## Settings", ""]
            lines += [f"* {key}: {value}" for key, value in self.settings.items()]
        return "\n".join(lines) + "\n"

    def tables(self) -> list[tuple[str, list[str], list[list[Any]]]]:
        """The tables of `to_markdown`: heading, names of the columns, rows of cells."""
        rows = [[row.name, self.summary(row)] for row in self.layers]
        return [("Layers", ["Layer", "Now"], rows)]

    def save(self, folder: str | os.PathLike, name: str | None = None) -> None:
        """Writes NAME.csv, NAME.md and NAME.json into a folder.

        Args:
            folder: Where the files go.
            name: Name of the files. Defaults to `file_name`.
        """
        name = name or self.file_name
        for ending, text in (
            ("csv", self.to_csv()),
            ("md", self.to_markdown()),
            ("json", self.to_json() + "\n"),
        ):
            with atomic_write(pathlib.Path(folder) / f"{name}.{ending}") as temporary:
                temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        """Reads the JSON file that `save` wrote.

        Args:
            folder: The folder, or the JSON file itself.

        Raises:
            InvalidInputError: There is no report, or it is damaged.
        """
        path = pathlib.Path(folder)
        path = path if path.suffix == ".json" else path / f"{cls.file_name}.json"
        if not path.is_file():
            raise InvalidInputError(
                f"`folder` {str(folder)!r} holds no {path.name}. Name a folder that "
                f"{cls.maker} wrote."
            )
        try:
            content = checked(parse_json(path.read_text(encoding="utf-8")), dict)
            if content.pop("format", None) != cls.format_name:
                raise ValueError("another format")
            report = checked(content, cls)
            # Entries that are free, such as those of `latency`, are known here only.
            report.to_text()
            report.to_markdown()
            report.compare(report)
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
                f"`folder` {str(folder)!r}: {path.name} is damaged or of another "
                f"version ({reason}). Make it again with {cls.maker}."
            ) from error

    def _totals(self, when):
        totals = {
            "params": getattr(self, f"params_{when}"),
            "macs": getattr(self, f"macs_{when}"),
        }
        if self.latency is not None:
            totals["ms"] = self.latency[f"ms_{when}"]
        return totals


def markdown_table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table.

    Args:
        header: Names of the columns.
        rows: A cell for each.

    Example:

    >>> from keras_sda.runs.report import markdown_table
    >>> markdown_table(["a", "b"], [[1, 2]])
    ['| a | b |', '| --- | --- |', '| 1 | 2 |']
    """
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([str(cell).replace("|", "\\|") for cell in cells] for cells in lines)
    return [f"| {' | '.join(cells)} |" for cells in escaped]


def merged_names(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The names of one list, and those that only another has, where they stand.

    Args:
        first: Names in order.
        second: Names in order.

    Example:

    >>> from keras_sda.runs.report import merged_names
    >>> merged_names(["a", "c"], ["a", "b", "c"])
    ['a', 'b', 'c']
    """
    merged, known, position = list(first), set(first), 0
    for name in second:
        if name in known:
            position = merged.index(name) + 1
        else:
            merged.insert(position, name)
            position += 1
    return merged


def change(before: Any, after: Any) -> str:
    """Two numbers as a cell: one where they are equal, `"-"` for what is missing.

    Args:
        before: A number, or None.
        after: A number, or None.

    Example:

    >>> from keras_sda.runs.report import change
    >>> change(1000, 500), change(None, 3), change(2, 2), change(None, None)
    ('1,000 -> 500', '- -> 3', '2', '')
    """
    if before is None and after is None:
        return ""
    before, after = (
        "-" if v is None else f"{v:,.3f}" if isinstance(v, float) else f"{v:,}"
        for v in (before, after)
    )
    return before if before == after else f"{before} -> {after}"


def _share(before, after):
    return f"{after / before:.1%}" if before else "-"


def _with_share(before, after):
    return f"{change(before, after)} ({_share(before, after)})"

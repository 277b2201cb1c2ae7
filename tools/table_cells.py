"""Rows of benchmarks/results as Markdown: what `result_tables` is written with."""

import csv
import pathlib
import statistics
import sys

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def rows_of(name, **wanted):
    """Returns the rows of a CSV file in which some columns have some values."""
    with open(RESULTS / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [r for r in rows if all(r[c] == str(v) for c, v in wanted.items())]
    if not found:
        sys.exit(f"{name}.csv has no row with {wanted}")
    return found


def lines_of(header, rows):
    """Returns the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


# What stands in a cell: functions of a row, made from the name of a column.


def plain(column, text="{}"):
    return lambda row: text.format(row[column])


def number(column, text="{:,.0f}"):
    return lambda row: text.format(float(row[column])) if row[column] else ""


def share(column, digits=2):
    """A share as percent."""
    return lambda row: f"{100 * float(row[column]):.{digits}f} %"


def ratio(column):
    return number(column, "{:.2f}")


def milliseconds(column, digits=1):
    return number(column, f"{{:.{digits}f}} ms")


def spread(column):
    """A ratio with its quartiles, where they were measured."""

    def cell(row):
        low, middle, high = (ratio(column + end)(row) for end in ("_low", "", "_high"))
        return f"{middle} ({low} to {high})" if low else middle

    return cell


def either(column, words, other="{}"):
    """Words for some values of a column."""
    return lambda row: words.get(row[column], other.format(row[column]))


def mean_of(values):
    """Mean and standard deviation of shares in percent, or the one there is."""
    values = [100 * float(value) for value in values]
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


class Table:
    """A table with a line for each row of a CSV file.

    Args:
        name: The CSV file.
        columns: Heading to a function of a row, or to the name of a column.
        choose: Function of all rows that returns those to show. Defaults to all.
        wanted: Values of columns that rows must have.
    """

    def __init__(self, name, columns, choose=list, **wanted):
        self.name, self.columns = name, columns
        self.choose, self.wanted = choose, wanted

    def __call__(self):
        cells = [plain(c) if isinstance(c, str) else c for c in self.columns.values()]
        rows = self.choose(rows_of(self.name, **self.wanted))
        return lines_of(list(self.columns), [[c(row) for c in cells] for row in rows])


def once_measured(name, table, command):
    """A table, or how to measure what it shows, where it has no rows yet.

    Args:
        name: The CSV file.
        table: Returns the lines.
        command: What in `benchmarks` writes the rows.
    """

    def lines():
        found = table() if (RESULTS / f"{name}.csv").exists() else []
        if len(found) > 2:  # more than headings
            return found
        return [f"Not measured yet: `python benchmarks/{command}` writes the rows."]

    return lines

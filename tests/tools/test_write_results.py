"""The tables of README and docs are what the rows say."""

import importlib
import pathlib

import pytest

TOOLS = pathlib.Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("write_results")


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("table_cells")


def test_pages_are_up_to_date(tool):
    for page in tool.pages():
        text = page.read_text()
        assert tool.with_tables(text) == text, f"{page}: run tools/write_results.py"


def test_every_table_stands_on_a_page(tool):
    asked = {
        found[2] for page in tool.pages() for found in tool.BLOCK.finditer(
            page.read_text()
        )
    }  # fmt: skip
    assert asked == set(tool.TABLES)


def test_a_table_is_rewritten_and_the_rest_kept(tool, cells):
    text = "a\n<!-- table: pruning_cost -->\nold\n<!-- end of table -->\nb\n"
    lines = tool.with_tables(text).splitlines()
    assert lines[:2] == ["a", "<!-- table: pruning_cost -->"]
    assert lines[-2:] == ["<!-- end of table -->", "b"]
    row = cells.rows_of("pruning_cost", network="ResNet152")[0]
    assert any("ResNet152" in x and row["shrink_seconds"] in x for x in lines)


def test_a_row_that_is_not_there_is_said(cells):
    with pytest.raises(SystemExit, match=r"pruning_cost.csv has no row with"):
        cells.rows_of("pruning_cost", network="none")


def test_a_table_whose_rows_are_not_there_yet_says_how_to_get_them(cells):
    table = cells.Table("pruning_cost", {"network": "network"})
    known = cells.once_measured("pruning_cost", table, "some.py --now")
    absent = cells.once_measured("no_such_rows", table, "some.py --now")
    assert known() == table()
    none = cells.Table("pruning_cost", {"network": "network"}, lambda rows: [])
    empty = cells.once_measured("pruning_cost", none, "some.py --now")
    assert (
        absent()
        == empty()
        == ["Not measured yet: `python benchmarks/some.py --now` writes the rows."]
    )

"""The tiers of tests, and the table of seconds that each run prints."""

import pathlib
import types

import budgets

ROOT = pathlib.Path(__file__).resolve().parents[1]


def report(nodeid, duration):
    return types.SimpleNamespace(nodeid=nodeid, duration=duration)


def test_table_of_rooms(monkeypatch):
    monkeypatch.setitem(budgets.BUDGETS, "graph", 5)
    reports = [
        report("tests/graph/test_consumers.py::test_one", 4.0),
        report("tests/graph/test_consumers.py::test_one", 2.0),
        report("tests/graph/test_consumers.py::test_two[a/b]", 1.0),
        report("tests/test_cli_group.py::test_three", 3.0),
        report("tests/garden/test_tree.py::test_four", 1.0),
    ]
    tier = budgets.name_tier("not large and not extra_large")
    head, first, second, third, total, last = budgets.summarize(reports, 9, tier, 2)
    assert head.split() == ["room", "seconds", "tests", "budget"]
    assert first.split()[:4] == ["graph", "7", "2", "5"] and "OVER" in first
    assert second.split()[:4] == ["command", "line", "3", "1"] and "OVER" not in second
    assert third.startswith("garden") and "no budget" in third
    assert total.split() == ["all", "11", "4"]
    assert last == "9 s in all for quick tests (make test), 2 worker(s)"
    # The budgets are those of the quick tests.
    lines = budgets.summarize(reports, 9, budgets.name_tier(""), 2)
    assert not any("OVER" in line for line in lines)


def test_every_test_file_has_a_room_with_a_budget():
    files = [p.relative_to(ROOT) for p in (ROOT / "tests").rglob("test_*.py")]
    rooms = {budgets.find_room(path) for path in files}
    assert rooms <= set(budgets.BUDGETS)
    assert {"command line", "programs", "package", "pruning"} <= rooms
    # With two workers they fit the 25 minutes which the slow machine has.
    assert sum(budgets.BUDGETS.values()) <= 25 * 60 * 2


def test_make_runs_each_test_in_one_tier():
    text = (ROOT / "Makefile").read_text()
    assert 'test: lint\n\t$(PYTEST) -m "not large and not extra_large"\n' in text
    assert 'test-all: test\n\t$(PYTEST) -m "large or extra_large"\n' in text
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"

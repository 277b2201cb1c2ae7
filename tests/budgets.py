"""What each room of tests may take, and the table that a run prints at its end.

The budgets are for `make test` on a slow machine: two cores of an old server with
AVX2, where all rooms together must fit 25 minutes with two workers, which are
3000 seconds of tests. A fast machine needs a third of that. A room over its budget
is named and nothing fails: a busy machine is no fault of a test. The shares of the
rooms are those of a run on such a machine, cut to what is there.
"""

import pathlib
import time

ROOT = pathlib.Path(__file__).resolve().parent

# Seconds of `make test` (set up, call and tear down, summed over all workers).
BUDGETS = {
    "analysis": 130,
    "applications": 250,
    "benchmarks": 10,
    "cli": 10,
    "command line": 130,
    "data": 80,
    "depth": 60,
    "export": 170,
    "graph": 140,
    "grouping": 380,
    "layers": 150,
    "notebooks": 35,
    "objectives": 15,
    "package": 140,
    "programs": 10,
    "pruning": 390,
    "runs": 30,
    "search": 340,
    "tasks": 20,
    "tools": 20,
    "training": 420,
    "utils": 60,
}


def find_room(path):
    """Returns the first folder of a test file, or what a file at the top is about."""
    parts = pathlib.PurePath(path).parts
    if "tests" in parts:
        parts = parts[parts.index("tests") + 1 :]
    if len(parts) > 1:
        return parts[0]
    if parts[0].startswith("test_cli"):
        return "command line"
    program = (ROOT.parent / "applications" / parts[0].removeprefix("test_")).exists()
    return "programs" if program or "_program" in parts[0] else "package"


def name_tier(expression):
    """Returns which tests `-m` let through, in words."""
    known = {
        "not large and not extra_large": "quick tests (make test)",
        "large or extra_large": "large and extra large tests (second half of test-all)",
        "": "tests of all sizes",
    }
    return known.get(expression, f'tests "{expression}"')


def summarize(reports, wall, tier, workers=1):
    """Returns the lines of the table: seconds, tests and budget of each room.

    Args:
        reports: of pytest, one for each phase of each test.
        wall: seconds of the whole run.
        tier: what `name_tier` said.
        workers: number of processes which ran tests at the same time.
    """
    seconds, tests = {}, {}
    for report in reports:
        room = find_room(report.nodeid.split("::")[0])
        seconds[room] = seconds.get(room, 0) + report.duration
        tests.setdefault(room, set()).add(report.nodeid)
    lines = [f"{'room':<16}{'seconds':>8}{'tests':>7}{'budget':>8}"]
    for room in sorted(seconds, key=seconds.get, reverse=True):
        budget = BUDGETS.get(room)
        line = f"{room:<16}{seconds[room]:8.0f}{len(tests[room]):7}{budget or '-':>8}"
        if budget is None:
            line += "  no budget: add one to tests/budgets.py"
        elif seconds[room] > budget and "quick" in tier:
            line += "  OVER its budget (tests/budgets.py)"
        lines.append(line)
    total = sum(map(len, tests.values()))
    lines.append(f"{'all':<16}{sum(seconds.values()):8.0f}{total:7}")
    lines.append(f"{wall:.0f} s in all for {tier}, {workers} worker(s)")
    return lines


class Clock:
    """Collects what pytest reports and prints the table at the end of a run."""

    def __init__(self):
        self.start = time.monotonic()
        self.reports = []

    def pytest_runtest_logreport(self, report):
        self.reports.append(report)

    def pytest_terminal_summary(self, terminalreporter, config):
        if not self.reports:
            return
        terminalreporter.section("seconds of each room")
        for line in summarize(
            self.reports,
            time.monotonic() - self.start,
            name_tier(config.option.markexpr),
            getattr(config.option, "numprocesses", None) or 1,
        ):
            terminalreporter.line(line)

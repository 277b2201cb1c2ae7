"""The one clock: order, warm-up, further rounds, ratios inside a round."""

import pathlib
import re

import numpy as np
import pytest

from keras_sda.analysis.latency.timer import Timer, quartiles, stopwatch
from keras_sda.utils import InvalidInputError


def steps(calls, **milliseconds):
    """Steps that note that they ran, and claim a time."""

    def make(name, values):
        values = iter(values)
        return lambda: calls.append(name) or next(values)

    return {name: make(name, values) for name, values in milliseconds.items()}


def test_rounds_turn_around_and_warm_up_rounds_do_not_count():
    calls = []
    times = Timer(1, 3).run(steps(calls, a=[90, 1, 2, 3], b=[90, 2, 4, 6]))
    assert calls == ["a", "b", "b", "a"] * 2
    assert times["a"].tolist() == [1, 2, 3]
    assert quartiles(times["b"] / times["a"]) == (2.0, 2.0, 2.0)


def test_further_rounds_until_the_time_is_up():
    one = {"one": lambda: 1.0}
    assert len(Timer(0, 3).run(one)["one"]) == 3
    assert len(Timer(0, 3, seconds=60, most_runs=7).run(one)["one"]) == 7
    times = Timer(0, 2, 0.05, 10**9).run({"one": stopwatch(lambda: None)})["one"]
    assert len(times) > 2


def test_quartiles_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=31)
    assert quartiles(values) == tuple(np.percentile(values, [25, 50, 75]))
    times = iter([90.0, 90.0, 1.0, 5.0, 3.0])
    assert Timer(2, 3).median_ms(lambda: next(times)) == 3.0


@pytest.mark.parametrize("rounds", [(-1, 1), (0, 0), (0.5, 1), (0, 1.5)])
def test_bad_rounds(rounds):
    with pytest.raises(InvalidInputError, match="`num_(warmup|runs)` must be"):
        Timer(*rounds)


def test_nothing_else_reads_the_clock_for_a_time():
    """But for what bounds or logs seconds, such as rows of experiments."""
    root = pathlib.Path(__file__).parents[3] / "keras_sda"
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"perf_counter|time\.time\(|process_time", path.read_text())
    }
    rows = {path for path in found if path.startswith("training/experiments/")}
    assert found - rows <= {"analysis/latency/timer.py", "runs/history_file.py"}

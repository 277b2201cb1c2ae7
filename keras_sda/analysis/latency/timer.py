"""The one clock of the package: functions in turn, round by round."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from keras_sda.utils import InvalidInputError


class Timer:
    """Times functions in turn, so that drift hits all of them alike.

    Use it for everything that is measured in milliseconds. Each round runs every
    function once, in an order that turns around from round to round: ratios that are
    taken inside a round do not depend on a machine that warms up or is shared.

    Args:
        num_warmup: Rounds before the clock counts, compilation included. Defaults to
            `2`.
        num_runs: Timed rounds. Defaults to `30`.
        seconds: Further rounds are timed until this time is up. Defaults to `0.0`,
            none.
        most_runs: Most timed rounds, where there are further ones. Defaults to `101`.

    Raises:
        InvalidInputError: A number of rounds cannot be used.

    Example:

    >>> from keras_sda.analysis.latency.timer import Timer, quartiles, stopwatch
    >>> steps = {"short": stopwatch(lambda: sum(range(9))),
    ...          "long": stopwatch(lambda: sum(range(9999)))}
    >>> times = Timer(num_runs=5).run(steps)
    >>> len(times["long"]), quartiles(times["long"] / times["short"])[1] > 1
    (5, True)
    """

    def __init__(
        self,
        num_warmup: int = 2,
        num_runs: int = 30,
        seconds: float = 0.0,
        most_runs: int = 101,
    ):
        if not isinstance(num_warmup, int) or num_warmup < 0:
            raise InvalidInputError(
                "`num_warmup` must be an integer of at least 0. Received: "
                f"{num_warmup!r}."
            )
        if not isinstance(num_runs, int) or num_runs < 1:
            raise InvalidInputError(
                f"`num_runs` must be a positive integer. Received: {num_runs!r}."
            )
        self._num_warmup, self._num_runs = num_warmup, num_runs
        self._seconds, self._most_runs = seconds, most_runs

    def run(
        self, steps: Mapping[Hashable, Callable[[], float]]
    ) -> dict[Any, np.ndarray]:
        """Runs all rounds.

        Args:
            steps: Functions by name. Each does its work once, to the end, and returns
                the milliseconds that it took: `InferenceStep.time_ms`, or what
                `stopwatch` makes.

        Returns:
            Milliseconds by name, a number per timed round.
        """
        times: dict[Any, list[float]] = {name: [] for name in steps}
        number, end = 0, 0.0
        while self._goes_on(number, end):
            if number == self._num_warmup:
                end = time.monotonic() + self._seconds
            for name in steps if number % 2 == 0 else reversed(list(steps)):
                elapsed = steps[name]()
                if number >= self._num_warmup:
                    times[name].append(elapsed)
            number += 1
        return {name: np.array(values) for name, values in times.items()}

    def _goes_on(self, number, end):
        timed = number - self._num_warmup
        if timed < self._num_runs:
            return True
        return timed < self._most_runs and time.monotonic() < end

    def median_ms(self, step: Callable[[], float]) -> float:
        """Median milliseconds of one function.

        Args:
            step: As in `run`.
        """
        return quartiles(self.run({None: step})[None])[1]


def stopwatch(function: Callable[[], Any]) -> Callable[[], float]:
    """Makes a function that runs another and returns the milliseconds that it took.

    Args:
        function: Returns when its work is done.
    """

    def step() -> float:
        start = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - start)

    return step


def quartiles(values: Any) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile.

    Args:
        values: Numbers, such as the times of one function.
    """
    low, median, high = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return low, median, high

"""Choose the channels that go so that a measured latency is met."""

from collections.abc import Sequence

import numpy as np
from absl import logging

from keras_sda.analysis.latency.inference_step import InferenceStep
from keras_sda.analysis.latency.timer import Timer, quartiles
from keras_sda.graph import ChannelGraph, remove_channels
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.budget.layer_latency import LayerLatency
from keras_sda.pruning.budget.select_channels import RemovalOrder, select_channels
from keras_sda.utils import InvalidInputError

# The measured share may exceed the target by this factor, and fall below it by that.
_ABOVE, _BELOW = 1.02, 0.93
_MAX_ROUNDS = 6


def meet_latency(
    graph: ChannelGraph,
    scores: Sequence[np.ndarray],
    latency: float,
    targets: Sequence[tuple[Cost, float]] = (),
    batch_size: int = 1,
    seconds: float = 60.0,
    **constraints,
) -> np.ndarray:
    """Marks the classes to remove so that the smaller model is fast enough here.

    Tables of the layers of the model (`LayerLatency`) say how much has to go; then the
    smaller model is built and timed in alternation with the large one, and the goal is
    corrected by what was measured, in a few rounds. Use it on an idle machine.

    Args:
        graph: The channels of the model.
        scores: For every group of `graph.groups` one number per channel.
        latency: Share of the latency of the model (up to 1.0), or milliseconds per
            batch.
        targets: Other costs, and what may be left of each, met as well. Defaults to
            none.
        batch_size: Samples per run. Defaults to `1`.
        seconds: Bound on the time for the tables. Defaults to `60`.
        **constraints: See `select_channels`.

    Returns:
        Boolean array over the classes of `graph.units`.

    Raises:
        InvalidInputError: The target cannot be reached; the message gives the floor.

    Example:

    ```python
    graph = ChannelGraph(model)
    scores = [np.arange(group.num_channels) for group in graph.groups]
    removed = meet_latency(graph, scores, 0.5, batch_size=8)
    ```
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInputError(
            f"`batch_size` must be a positive integer. Received: {batch_size!r}."
        )
    start = select_channels(graph, scores, targets, **constraints)
    timing = _Timing(graph, batch_size)
    name = graph.model.name
    logging.info("Latency of %s: %.2f ms per batch.", name, timing.whole_ms)
    share = latency if latency <= 1 else latency / timing.whole_ms
    if share > 1:
        raise InvalidInputError(
            f"`latency` must not exceed that of the model. Received: latency={latency} "
            f"ms; '{name}' takes {timing.whole_ms:.2f} ms per batch of {batch_size} on "
            "this device. Give a share such as 0.5, or fewer milliseconds."
        )
    if share == 1:
        return start
    tables = LayerLatency(graph, timing.whole_ms, batch_size, seconds)
    select = _Selection(graph, scores, targets, tables, constraints)
    best = _search(select, timing, share, name)
    if best is None:
        ratio = timing.ratio(select.floor)
        if ratio > share * _ABOVE:
            raise InvalidInputError(
                f"The target cannot be reached: asked for latency={share:.3f} of "
                f"{timing.whole_ms:.2f} ms; with all channels gone that may go the "
                f"floor was measured as latency={ratio:.3f}, at `batch_size`="
                f"{batch_size}. Ask for more, lower `round_to` and `min_channels`, or "
                "shorten `exclude`."
            )
        best = select.floor
    return best


def _search(select, timing, share, name) -> np.ndarray | None:
    """Corrects the predicted share until the measured one is in the band."""
    aim = share * (_ABOVE + _BELOW) / 2
    goal, best, best_ratio = aim, None, 0.0
    known = [(1.0, 1.0)]  # (predicted share, measured ratio)
    for number in range(1, _MAX_ROUNDS + 1):
        removed, predicted = select(goal)
        ratio = timing.ratio(removed)
        logging.info(
            "Latency of %s, round %d: predicted %.3f, measured %.3f, target %.3f.",
            name, number, predicted, ratio, share,
        )  # fmt: skip
        if ratio <= share * _ABOVE and ratio > best_ratio:
            best, best_ratio = removed, ratio
        if share * _BELOW <= ratio <= share * _ABOVE:
            return removed
        if removed is select.floor and ratio > share * _ABOVE:
            return best
        if any(abs(predicted - before) < 1e-9 for before, _ in known):
            break  # There is no model in between.
        known.append((predicted, ratio))
        goal = _next_goal(known, aim, predicted, ratio)
    return best


def _next_goal(known, aim, predicted, ratio):
    """Between the nearest measurements above and below, else in proportion."""
    above = [pair for pair in known if pair[1] > aim]
    below = [pair for pair in known if pair[1] <= aim]
    if not below:
        return predicted * aim / ratio
    high = min(above, key=lambda pair: pair[1])
    low = max(below, key=lambda pair: pair[1])
    part = (aim - low[1]) / (high[1] - low[1])
    return low[0] + min(max(part, 0.1), 0.9) * (high[0] - low[0])


class _Selection:
    """`select_channels` for a predicted share of the latency and all other targets."""

    def __init__(self, graph, scores, targets, tables, constraints):
        self._graph, self._scores, self._constraints = graph, scores, constraints
        self._targets, self._tables = targets, tables
        self._whole = tables.count(graph.kept())
        order = RemovalOrder(graph, scores, **constraints)
        self.floor = order.removed_at(order.last)

    def __call__(self, goal: float) -> tuple[np.ndarray, float]:
        """Classes to remove, and the latency share that is predicted for them."""
        targets = [*self._targets, (self._tables, goal * self._whole)]
        try:
            removed = select_channels(
                self._graph, self._scores, targets, **self._constraints
            )
        except InvalidInputError:
            removed = self.floor  # as far as it goes
        if np.array_equal(removed, self.floor):
            removed = self.floor
        return removed, self._tables.count(self._graph.kept(removed)) / self._whole


class _Timing:
    """Times smaller models in alternation with the whole one."""

    def __init__(self, graph, batch_size, seconds=6.0):
        self._graph = graph
        self._batch_size = batch_size
        self._timer = Timer(3, 9, seconds)
        self._whole = InferenceStep(graph.model, batch_size)
        self.whole_ms = Timer(3, 9).median_ms(self._whole.time_ms)

    def ratio(self, removed) -> float:
        """Median over the rounds of the time of the smaller model to the whole one."""
        small = InferenceStep(remove_channels(self._graph, removed), self._batch_size)
        steps = {"whole": self._whole.time_ms, "small": small.time_ms}
        times = self._timer.run(steps)
        return quartiles(times["small"] / times["whole"])[1]

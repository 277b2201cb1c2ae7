"""What is left after every step of pruning."""

from typing import Any

from keras_sda.analysis import compare_latency
from keras_sda.graph import ChannelGraph
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.pruning.budget.table_latency import TableLatency


class StepTargets:
    """Targets of every step of `prune`, as shares of what is left before it.

    Args:
        graph: The channels of the whole model.
        targets: What `make_plan` takes as targets, by name; None where there is none.
        steps: Number of steps.
        options: Further arguments of `make_plan`, `batch_size` among them.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.step_targets import StepTargets
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(4)(x)
    >>> graph = ChannelGraph(keras.Model(x, keras.layers.Dense(2)(y)))
    >>> targets = StepTargets(graph, {"macs": 0.25}, 2, {"batch_size": 1})
    >>> targets.at(1, graph), targets.at(2, graph)
    ({'macs': 0.5}, {'macs': 0.25})
    """

    def __init__(self, graph, targets, steps, options):
        self._graph, self._steps = graph, steps
        self._batch_size = options["batch_size"]
        self._table = options.get("latency_table")
        self._budget = [cost for cost, _ in targets.get("budget", ())]
        given = {cost.name: value for cost, value in targets.get("budget", ())}
        given |= {key: value for key, value in targets.items() if key != "budget"}
        self._whole = self._counts(graph)
        self._shares = {key: v for key, v in given.items() if v is not None}
        for key, value in self._shares.items():
            if value > 1:
                share = value / self._size(key)
                is_number = key not in ("macs", "params") or value >= 100
                if share <= 1 and is_number:
                    self._shares[key] = share
                # Else let make_plan say what is wrong with it.

    def at(self, number: int, graph: ChannelGraph) -> dict[str, Any]:
        """The targets of one step, as `make_plan` takes them.

        Args:
            number: The step, from 1.
            graph: The channels of the model before it.
        """
        found, left = {}, self._counts(graph)
        for key, share in self._shares.items():
            if share > 1:
                found[key] = share
                continue
            if key == "latency":
                done = self._latency_ratio(graph) if number > 1 else 1.0
            else:
                done = left[key] / (self._whole[key] or 1)
            found[key] = min(share ** (number / self._steps) / done, 1.0)
        own = [(cost, found.pop(cost.name)) for cost in self._budget]
        return {**found, "budget": own} if own else found

    def _counts(self, graph):
        costs = (MacCost(graph), ParameterCost(graph), *self._budget)
        return {cost.name: cost.count(graph.kept()) for cost in costs}

    def _size(self, key):
        if key != "latency":
            return self._whole[key]
        if self._table is not None:
            return self._table_ms(self._graph)
        result = compare_latency(
            {"whole": self._graph.model}, self._batch_size, num_runs=15
        )
        return result.results["whole"].median_ms

    def _latency_ratio(self, graph):
        if self._table is not None:
            return self._table_ms(graph) / self._table_ms(self._graph)
        models = {"whole": self._graph.model, "now": graph.model}
        return compare_latency(models, self._batch_size, num_runs=15).ratios["now"]

    def _table_ms(self, graph):
        return TableLatency(graph, self._table).count(graph.kept())

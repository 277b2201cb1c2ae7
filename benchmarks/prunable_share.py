"""What share of every keras.applications model could be removed, and what cannot.

    python benchmarks/prunable_share.py

Marks every channel that may go and leaves one per group: what remains is the floor of
`keras_sda.pruning.make_plan`. Nothing runs, no weights are downloaded; takes about ten
minutes. Writes benchmarks/results/prunable_share.csv: one row per model with the share
of multiply-accumulates and parameters that can be removed, the number of groups, the
share of untouchable channels and the commonest reason for it. `python
tools/write_results.py` makes the table for people of it.
"""

import collections
import gc
import pathlib

import keras
import numpy as np

from keras_sda.graph import ChannelGraph
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost
from keras_sda.pruning.budget.select_channels import select_channels
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import write_rows
from keras_sda.version import __version__

RESULT = pathlib.Path(__file__).parent / "results" / "prunable_share.csv"
INPUT_SHAPE = (224, 224, 3)  # for MobileNetV3, which leaves the size open


def floor(graph: ChannelGraph) -> tuple[int, int]:
    """Parameters and MACs with one channel left per group."""
    removed = np.zeros(len(graph.units.pinned), bool)
    for group in graph.groups:
        removed[group.classes[1:]] = True
    # The same as what make_plan can reach.
    costs = ParameterCost(graph), MacCost(graph)
    params, macs = (cost.count(graph.kept(removed)) for cost in costs)
    scores = [np.arange(group.num_channels) for group in graph.groups]
    reached = graph.kept(select_channels(graph, scores, [(costs[1], macs)]))
    if [cost.count(reached) for cost in costs] != [params, macs]:
        raise InvalidInputError(f"{graph.model.name}: the floor is not reached.")
    return params, macs


def main_reason(graph: ChannelGraph) -> str:
    """Why most of the untouchable channels cannot be removed, outputs left out."""
    reasons = collections.Counter()
    for found in graph.untouchable:
        if found.reason != "it is an output of the model":
            reasons[found.reason] += found.num_channels
    return reasons.most_common(1)[0][0] if reasons else ""


def measure(name: str) -> dict:
    """One row."""
    model = getattr(keras.applications, name)(weights=None)
    is_open = None in model.input_shape[1:]
    graph = ChannelGraph(model, INPUT_SHAPE if is_open else None)
    kept = graph.kept()
    all_params, all_macs = ParameterCost(graph).count(kept), MacCost(graph).count(kept)
    params, macs = floor(graph)
    made = sum(len(layer.made) for layer in graph.layers.values())
    stay = sum(found.num_channels for found in graph.untouchable)
    return {
        "model": name,
        "macs": all_macs,
        "params": all_params,
        "removable_macs": round(1 - macs / all_macs, 4),
        "removable_params": round(1 - params / all_params, 4),
        "num_groups": len(graph.groups),
        "untouchable_channels": round(stay / made, 4),
        "main_reason": main_reason(graph),
        "keras": keras.__version__,
        "keras_sda": __version__,
    }


def main():
    rows = []
    for name, function in sorted(vars(keras.applications).items()):
        if name[0].isupper() and callable(function):
            rows.append(measure(name))
            print(rows[-1], flush=True)
            keras.utils.clear_session()
            gc.collect()
    write_rows(rows, RESULT)


if __name__ == "__main__":
    main()

"""What the benchmarks of reconstruction share: a network cut, and cut and refitted."""

import dataclasses
import time

import keras

from keras_sda.pruning import make_plan, prune, shrink


@dataclasses.dataclass(frozen=True)
class Refitted:
    """A network with fewer channels, as it was cut and with its kernels refitted."""

    cut: keras.Model
    small: keras.Model
    plan_seconds: float
    reconstruct_seconds: float

    def seconds(self):
        """Columns of a row."""
        return {
            "plan_seconds": round(self.plan_seconds, 1),
            "reconstruct_seconds": round(self.reconstruct_seconds, 1),
        }


def cut_and_refit(model, criterion, macs, data, looked=None, **options):
    """Chooses channels and removes them, without training.

    Args:
        model: The whole network.
        criterion: Name of the criterion.
        macs: Share of the multiply-accumulates that stays.
        data: Images and labels that kernels are fitted to.
        looked: Those that the criterion looks at. Defaults to `data`.
        **options: Of `prune`, such as `loss`, `scope` and `steps`.
    """
    seconds = []

    def planner(current, **arguments):
        start = time.perf_counter()
        if arguments["data"] is not None and looked is not None:
            arguments["data"] = looked
        plan = make_plan(current, **arguments)
        seconds.append(time.perf_counter() - start)
        return plan

    start = time.perf_counter()
    result = prune(
        model,
        macs=macs,
        importance=criterion,
        data=data,
        planner=planner,
        reconstruct=True,
        **options,
    )
    whole = time.perf_counter() - start
    cut = shrink(model, result.plan)
    return Refitted(cut, result.model, sum(seconds), whole - sum(seconds))

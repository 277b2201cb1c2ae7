"""What `compare_latency` returns."""

import dataclasses
from typing import Any

from keras_sda.analysis.latency.latency_result import LatencyResult


@dataclasses.dataclass(frozen=True)
class LatencyComparison:
    """Times of several models from one run, and their ratios to the first.

    Args:
        results: `LatencyResult` by name.
        ratios: Median over the rounds of the time of a model divided by the time of
            the first model in the same round; 1.0 for the first.
        ratio_iqrs: 25th and 75th percentile of the same.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import compare_latency
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> compare_latency({"a": model, "b": model}, num_runs=3).ratios["a"]
    1.0
    """

    results: dict[str, LatencyResult]
    ratios: dict[str, float]
    ratio_iqrs: dict[str, tuple[float, float]]

    def change(self) -> dict[str, Any]:
        """From the first model to the second, as a report holds it."""
        (_, before), (name, after) = list(self.results.items())[:2]
        return {
            "ms_before": before.median_ms,
            "ms_after": after.median_ms,
            "ratio": self.ratios[name],
            "ratio_iqr": list(self.ratio_iqrs[name]),
            "batch_size": before.batch_size,
            "num_runs": before.num_runs,
            "device": before.device,
            "backend": before.backend,
            "dtype": before.dtype,
            "versions": before.versions,
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)

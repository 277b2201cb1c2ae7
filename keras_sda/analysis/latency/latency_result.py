"""What `measure_latency` returns."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class LatencyResult:
    """Time of one forward pass, and everything needed to read the number.

    Args:
        median_ms: Median over the runs, in milliseconds per batch.
        iqr_ms: 25th and 75th percentile, in milliseconds per batch.
        images_per_second: `batch_size` divided by the median.
        batch_size: Samples per run.
        num_runs: Runs that were timed.
        input_shapes: Shape of each input, with the batch axis.
        device: Processor that ran the model.
        backend: Keras backend.
        dtype: Compute type of the layers with weights; several are joined by `"/"`.
        versions: Versions of Python, Keras and the backend.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import measure_latency
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> result = measure_latency(model, num_warmup=1, num_runs=3)
    >>> result.iqr_ms[0] <= result.median_ms <= result.iqr_ms[1]
    True
    """

    median_ms: float
    iqr_ms: tuple[float, float]
    images_per_second: float
    batch_size: int
    num_runs: int
    input_shapes: tuple[tuple[int, ...], ...]
    device: str
    backend: str
    dtype: str
    versions: dict[str, str]

    def to_text(self) -> str:
        """Returns one line with the time, its spread and where it was measured."""
        low, high = self.iqr_ms
        return (
            f"latency {self.median_ms:.2f} ms (quartiles {low:.2f} to {high:.2f}) for "
            f"{self.batch_size} sample(s), {self.images_per_second:.1f} per second; "
            f"{self.num_runs} runs, {self.dtype}, {self.backend} on {self.device}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)

"""Time several models in alternation, so that drift hits all of them alike."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_sda.analysis.latency.inference_step import InferenceStep
from keras_sda.analysis.latency.latency_comparison import LatencyComparison
from keras_sda.analysis.latency.measure_latency import summarize
from keras_sda.analysis.latency.timer import Timer, quartiles
from keras_sda.utils import InvalidInputError


def compare_latency(
    models: Mapping[str, keras.Model | Callable],
    batch_size: int = 1,
    input_shape: Any = None,
    num_warmup: int = 5,
    num_runs: int = 30,
    jit_compile: bool = False,
) -> LatencyComparison:
    """Measures several models in one run and gives their ratios to the first.

    Use it for every statement that one model is faster than another. Each round
    runs every model once, in an order that turns around from round to round, and the
    ratio is taken inside the round, so a machine that warms up or is shared slows
    all models alike.

    Args:
        models: Keras models or functions by name; the first is the reference.
        batch_size: Samples per run. Defaults to 1.
        input_shape: As in `measure_latency`, for all models.
        num_warmup: Rounds before the clock starts. Defaults to 5.
        num_runs: Timed rounds. Defaults to 30.
        jit_compile: Whether TensorFlow compiles the models through XLA. Defaults to
            `False`.

    Returns:
        A `LatencyComparison`.

    Raises:
        InvalidInputError: `models` is empty, or a count or shape cannot be used.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import compare_latency
    >>> def build(units):
    ...     return keras.Sequential([keras.Input((8,)), keras.layers.Dense(units)])
    >>> result = compare_latency({"small": build(2), "large": build(64)}, num_runs=5)
    >>> list(result.ratios)
    ['small', 'large']
    """
    timer = Timer(num_warmup, num_runs)
    if not isinstance(models, Mapping) or not models:
        raise InvalidInputError(
            "`models` must be a dict from name to model with at least one entry. "
            f"Received: {models!r}."
        )
    steps = {
        name: InferenceStep(model, batch_size, input_shape, jit_compile)
        for name, model in models.items()
    }
    times = timer.run({name: step.time_ms for name, step in steps.items()})
    reference = next(iter(times.values()))
    shares = {name: quartiles(values / reference) for name, values in times.items()}
    return LatencyComparison(
        results={name: summarize(step, times[name]) for name, step in steps.items()},
        ratios={name: middle for name, (_, middle, _) in shares.items()},
        ratio_iqrs={name: (low, high) for name, (low, _, high) in shares.items()},
    )

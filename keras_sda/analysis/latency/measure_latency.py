"""Time the forward pass of a model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sda.analysis.latency.inference_step import (
    InferenceStep,
    device_name,
    versions,
)
from keras_sda.analysis.latency.latency_result import LatencyResult
from keras_sda.analysis.latency.timer import Timer, quartiles


def measure_latency(
    model: keras.Model | Callable,
    batch_size: int = 1,
    input_shape: Any = None,
    num_warmup: int = 5,
    num_runs: int = 30,
    jit_compile: bool = False,
) -> LatencyResult:
    """Measures how long one forward pass takes on this machine.

    Use it on an idle machine for an absolute number; to say that one model is faster
    than another, use `compare_latency`, which is not misled by drift. A Keras model
    runs as its backend would serve it: a `tf.function`, `jax.jit`, or torch without
    gradients. Any other function runs as it is. The input is random and on the
    device before the clock starts; the clock stops when the outputs exist.

    Args:
        model: A Keras model, or a function of its input, such as the signature of an
            export.
        batch_size: Samples per run. Defaults to 1.
        input_shape: Shape of one sample, with or without the batch axis (without it
            for a function); a list of shapes for several inputs. Defaults to `None`,
            the shapes of the model.
        num_warmup: Runs before the clock starts, compilation included. Defaults to 5.
        num_runs: Timed runs. Defaults to 30.
        jit_compile: Whether TensorFlow compiles the model through XLA. Defaults to
            `False`; other backends ignore it.

    Returns:
        A `LatencyResult`, in milliseconds per batch.

    Raises:
        InvalidInputError: A count or shape cannot be used.

    Example:

    >>> import keras
    >>> from keras_sda.analysis import measure_latency
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> result = measure_latency(model, batch_size=4, num_runs=5)
    >>> result.batch_size, result.input_shapes
    (4, ((4, 8),))
    """
    timer = Timer(num_warmup, num_runs)
    step = InferenceStep(model, batch_size, input_shape, jit_compile)
    return summarize(step, timer.run({None: step.time_ms})[None])


def summarize(step: InferenceStep, times_ms: np.ndarray) -> LatencyResult:
    """Makes the result of one model from its times in milliseconds."""
    low, median, high = quartiles(times_ms)
    return LatencyResult(
        median_ms=median,
        iqr_ms=(low, high),
        images_per_second=1e3 * step.batch_size / median,
        batch_size=step.batch_size,
        num_runs=len(times_ms),
        input_shapes=step.input_shapes,
        device=device_name(),
        backend=keras.backend.backend(),
        dtype=step.dtype,
        versions=versions(),
    )

"""One synchronised, compiled forward pass on any backend."""

import platform
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sda.analysis.latency.timer import stopwatch
from keras_sda.graph import all_layers, graph_of, input_specs
from keras_sda.utils import InvalidInputError
from keras_sda.version import __version__


class InferenceStep:
    """A model, its input on the device, and the function that runs it.

    `measure_latency` and `compare_latency` share it: `time_ms` runs once and returns
    when the outputs exist.

    Args:
        model: A Keras model, or any function of one input structure.
        batch_size: Samples per run. Defaults to 1.
        input_shape: Shape of one sample, with or without the batch axis; a list of
            shapes for several inputs. Functions and models without a graph need it.
        jit_compile: Whether TensorFlow compiles through XLA. JAX always does.

    Raises:
        InvalidInputError: `batch_size` or `input_shape` cannot be used.

    Example:

    >>> import keras
    >>> from keras_sda.analysis.latency.inference_step import InferenceStep
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    >>> InferenceStep(model, batch_size=4).time_ms() > 0
    True
    """

    def __init__(
        self,
        model: keras.Model | Callable,
        batch_size: int = 1,
        input_shape: Any = None,
        jit_compile: bool = False,
    ):
        if not callable(model):
            raise InvalidInputError(
                f"`model` must be a Keras model or a function. Received: {model!r}."
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidInputError(
                f"`batch_size` must be a positive integer. Received: {batch_size!r}."
            )
        specs = _specs(model, input_shape, batch_size)
        flat_specs = keras.tree.flatten(specs)
        self.batch_size = batch_size
        self.input_shapes = tuple(tuple(spec.shape) for spec in flat_specs)
        self.dtype = _compute_dtype(model, flat_specs)
        generator = np.random.default_rng(0)
        arrays = [_random_array(generator, spec) for spec in flat_specs]
        tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
        self._inputs = keras.tree.pack_sequence_as(specs, tensors)
        self._run = _compiled(model, jit_compile, self._inputs)

    def time_ms(self) -> float:
        """Runs once and returns the milliseconds until all outputs are there."""
        return stopwatch(lambda: _synchronize(self._run(self._inputs)))()


def device_name() -> str:
    """Name of the processor that the backend uses by default."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            details = tf.config.experimental.get_device_details(gpus[0])
            return details.get("device_name", "GPU")
    elif backend == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform != "cpu":
            return device.device_kind
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return f"CPU {_cpu_name()}"


def versions() -> dict[str, str]:
    """Versions of what a time or a result depends on; and the name of the backend."""
    backend = keras.backend.backend()
    found = {
        "keras_sda": __version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": backend,
        "numpy": np.__version__,
    }
    if backend in sys.modules:
        found[backend] = sys.modules[backend].__version__
    return found


def _specs(model, input_shape, batch_size):
    """Symbolic inputs: from the graph if there is one, else from `input_shape`."""
    graph = graph_of(model)  # A subclassed model can be timed as well, given a shape.
    if graph is not None:
        specs = input_specs(graph, input_shape, batch_size)
        _check_fits(graph, specs)
        return specs
    if input_shape is None:
        raise InvalidInputError(
            "`input_shape` is needed for a function or a model without a graph. Pass "
            "the shape of one sample, for example `input_shape=(224, 224, 3)`."
        )
    single = not any(isinstance(item, (list, tuple)) for item in input_shape)
    shapes = [input_shape] if single else input_shape
    specs = [
        keras.KerasTensor((batch_size, *_without_batch(shape)), dtype="float32")
        for shape in shapes
    ]
    return specs[0] if single else specs


def _check_fits(graph, specs):
    """A model of fixed size can be counted at another size, but not run."""
    for tensor, spec in zip(graph.inputs, keras.tree.flatten(specs), strict=True):
        for built, asked in zip(tensor.shape[1:], spec.shape[1:], strict=True):
            if built not in (None, asked):
                raise InvalidInputError(
                    f"`input_shape` {tuple(spec.shape[1:])} does not fit model "
                    f"{graph.name!r}, which is built for {tuple(tensor.shape[1:])} and "
                    "runs at that size only. Build it with the other input_shape."
                )


def _without_batch(shape):
    if shape and shape[0] is None:
        shape = shape[1:]
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise InvalidInputError(
            f"`input_shape` must hold positive integers. Received: {tuple(shape)!r}."
        )
    return tuple(shape)


def _compute_dtype(model, specs):
    if isinstance(model, keras.Layer):
        layers = [layer for layer in all_layers(model) if layer.weights]
        dtypes = {layer.compute_dtype for layer in layers if layer is not model}
        if dtypes:
            return "/".join(sorted(dtypes))
    return "/".join(sorted({str(spec.dtype) for spec in specs}))


def _random_array(generator, spec):
    dtype = keras.backend.standardize_dtype(spec.dtype)
    if "float" in dtype:
        return generator.standard_normal(spec.shape).astype("float32")
    return np.zeros(spec.shape, dtype)  # Valid as a class, a token and a pixel.


def _compiled(model, jit_compile, inputs):
    """The function that a server would run: compiled, at inference."""
    if not isinstance(model, keras.Model):
        return model
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(
            lambda inputs: model(inputs, training=False), jit_compile=jit_compile
        )
        # Traced here: TensorFlow warns where many models are traced by being called.
        return function.get_concrete_function(inputs)
    if backend == "jax":
        import jax

        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        forward = jax.jit(
            # Weights are arguments: as constants they would be compiled in.
            lambda trainable, others, inputs: model.stateless_call(
                trainable, others, inputs, training=False
            )[0]
        )
        return lambda inputs: forward(trainable, others, inputs)

    import torch

    def forward_without_gradients(inputs):
        with torch.no_grad():
            return model(inputs, training=False)

    return forward_without_gradients


def _synchronize(outputs):
    """Waits until the outputs are computed, which the backend may do later."""
    for output in keras.tree.flatten(outputs):
        module = type(output).__module__.partition(".")[0]
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
        elif module == "tensorflow" and "GPU" in getattr(output, "device", ""):
            import tensorflow as tf

            tf.test.experimental.sync_devices()
        elif module == "torch" and output.is_cuda:
            import torch

            torch.cuda.synchronize()


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()

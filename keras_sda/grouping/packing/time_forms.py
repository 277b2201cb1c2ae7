"""Time the forms of one layer on this device."""

import keras
import numpy as np
from keras import ops

from keras_sda.analysis.latency.inference_step import InferenceStep
from keras_sda.analysis.latency.timer import Timer, quartiles
from keras_sda.grouping.packing.packed_forms import PackedForm

_SETTINGS = "strides padding kernel_size dilation_rate data_format dtype".split()
# A call of a function takes up to milliseconds by itself, most of all where threads
# have to wake up: short layers are called several times in a row.
_LONG_ENOUGH_MS = 8.0
_MOST_CALLS = 4
_MOST_WEIGHTS = 2**24


class FormTimer:
    """Measures forms of layers, each in a model of its own, in alternation.

    Forms that take the same time by their keys are measured once. A bias and a ReLU
    are added to every form: a runtime fuses them into a plain convolution, and
    that is what a form has to beat. Short layers stand in a row, each with weights of
    its own, as in a network; what the row costs without them is taken off.

    Args:
        batch_size: Images per run. Defaults to 1.
        num_runs: Timed rounds. Defaults to 7.

    Example:

    >>> from keras_sda.grouping.packing.packed_forms import packed_forms
    >>> from keras_sda.grouping.packing.time_forms import FormTimer
    >>> from keras_sda.layers import SelfGroupedDense
    >>> layer = SelfGroupedDense(2)
    >>> layer.build((None, 3))
    >>> sorted(FormTimer().times_ms(packed_forms(layer), (3,)))
    ['dense', 'lists']
    """

    def __init__(self, batch_size: int = 1, num_runs: int = 7):
        self._batch_size, self._timer = batch_size, Timer(num_runs=num_runs)
        self._known: dict[tuple, dict[str, float]] = {}

    def times_ms(self, forms: list[PackedForm], shape: tuple) -> dict[str, float]:
        """Median milliseconds of a batch by the name of the form.

        Args:
            forms: Forms of one layer.
            shape: Shape of one input, without the batch.
        """
        settings = {
            key: value for key, value in forms[0].config.items() if key in _SETTINGS
        }
        key = (shape, str(settings), *[form.key for form in forms])
        if key not in self._known:
            self._known[key] = self._measure(forms, shape)
        return self._known[key]

    def _measure(self, forms, shape):
        count = self._count(forms[0], shape)
        steps = {form.name: self._step(form, shape, count) for form in forms}
        steps[None] = self._step(None, shape, count, forms[0].config.get("dtype"))
        times = self._timer.run({name: step.time_ms for name, step in steps.items()})
        medians = {name: quartiles(values)[1] for name, values in times.items()}
        empty = medians.pop(None)
        return {
            name: max(value - empty, 1e-3 * value) / count
            for name, value in medians.items()
        }

    def _count(self, form, shape):
        """How many times a layer is called in a row."""
        step = self._step(form, shape, 1)
        once = Timer(0, 4).run({None: step.time_ms})[None].min()
        size = sum(weight.size for weight in form.weights)
        return int(
            np.clip(
                _LONG_ENOUGH_MS / once,
                1,
                max(1, min(_MOST_CALLS, _MOST_WEIGHTS // max(size, 1))),
            )
        )

    def _step(self, form, shape, count, dtype=None):
        """Calls of a form in a row, or the row alone."""
        layers = []
        if form is not None:
            config = {**form.config, "use_bias": True, "activation": "relu"}
            config.pop("name", None)
            layers = [form.layer_class.from_config(config) for _ in range(count)]
            dtype = layers[0].dtype_policy
        policy = keras.dtype_policies.get(dtype)
        x = y = inputs = keras.Input(shape, dtype=policy.compute_dtype)
        for number in range(count):
            if number:
                x = y = _After(dtype=policy)([x, y])
            if layers:
                y = form.apply(x, layers[number])
        if y is inputs:
            y = keras.layers.Identity(dtype=policy)(y)
        return InferenceStep(keras.Model(inputs, y), self._batch_size)


class _After(keras.layers.Layer):
    """Its first input unchanged, but not before the second one has been computed."""

    def build(self, input_shape):
        # A weight, or the product would be left out.
        self.zero = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        x, y = inputs
        one = y[(slice(None), *[slice(0, 1)] * (len(y.shape) - 1))]
        return x + ops.cast(self.zero, x.dtype) * one

    def compute_output_shape(self, input_shape):
        return input_shape[0]

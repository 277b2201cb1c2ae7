"""Time the forms of one layer on this device."""

import keras
import numpy as np

from keras_sda.analysis.inference_step import InferenceStep
from keras_sda.grouping.packed_forms import PackedForm

_SETTINGS = "strides padding kernel_size dilation_rate data_format dtype".split()


class FormTimer:
    """Measures forms of layers, each in a model of its own, in alternation.

    Forms that take the same time by their keys are measured once. A bias and a ReLU
    are added to every form: a runtime fuses them into a plain convolution, and
    that is what a form has to beat.

    Args:
        batch_size: Images per run. Defaults to 1.
        num_runs: Timed rounds. Defaults to 7.

    Example:

    >>> from keras_sda.grouping.packed_forms import packed_forms
    >>> from keras_sda.grouping.time_forms import FormTimer
    >>> from keras_sda.layers import SelfGroupedDense
    >>> layer = SelfGroupedDense(2)
    >>> layer.build((None, 3))
    >>> sorted(FormTimer().times_ms(packed_forms(layer), (3,)))
    ['dense', 'lists']
    """

    def __init__(self, batch_size: int = 1, num_runs: int = 7):
        self._batch_size, self._num_runs = batch_size, num_runs
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
        steps = {}
        for form in forms:
            config = {**form.config, "use_bias": True, "activation": "relu"}
            layer = form.layer_class.from_config(config)
            x = keras.Input(shape, dtype=layer.compute_dtype)
            model = keras.Model(x, form.apply(x, layer))
            steps[form.name] = InferenceStep(model, self._batch_size)
        times = {name: [] for name in steps}
        for number in range(self._num_runs + 2):
            for name, step in steps.items():
                value = step.time_ms()
                if number >= 2:
                    times[name].append(value)
        return {name: float(np.median(values)) for name, values in times.items()}

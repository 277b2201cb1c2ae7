"""Time single layers of a model on this device."""

import json
import time
from typing import Any

import keras

from keras_sda.analysis.latency.inference_step import InferenceStep
from keras_sda.analysis.latency.layer_widths import one_layer_model
from keras_sda.analysis.latency.timer import Timer
from keras_sda.analysis.macs.macs_rules import count_macs
from keras_sda.graph import LayerCall, layer_calls


class LayerTimer:
    """Measures layers one by one, each in a model of its own.

    Layers of the same class, config and input are measured once. What a call costs
    without any work is taken off. Weights are random: times do not depend on them.

    Args:
        batch_size: Samples per run. Defaults to 1.
        seconds: Time after which `time_ms` gives up and returns None, so that a large
            model takes bounded time. Defaults to 60.
        num_runs: Timed runs of every layer. Defaults to 5.

    Example:

    >>> import keras
    >>> from keras_sda.analysis.latency.layer_timer import LayerTimer
    >>> layer = keras.layers.Dense(4)
    >>> LayerTimer().time_ms(layer, layer.get_config(), (1, 8)) >= 0
    True
    """

    def __init__(self, batch_size: int = 1, seconds: float = 60.0, num_runs: int = 5):
        self._batch_size = batch_size
        self._timer = Timer(num_runs=num_runs)
        self._deadline = time.monotonic() + seconds
        self._times: dict[str, float | None] = {}
        self._overhead = None

    def time_ms(
        self, layer: keras.layers.Layer, config: dict, batch_input_shape: tuple
    ) -> float | None:
        """Milliseconds of one call of a layer with this config, or None.

        None means that the layer cannot be built from its config, or that the time is
        up.

        Args:
            layer: A layer of the class that is meant.
            config: What `from_config` of this class takes.
            batch_input_shape: Shape of its input for one sample, batch axis first.
        """
        known = {key: value for key, value in config.items() if key != "name"}
        key = f"{type(layer).__name__} {batch_input_shape} {_text(known)}"
        if key not in self._times:
            if time.monotonic() > self._deadline:
                return None
            self._times[key] = self._measure(layer, config, batch_input_shape)
        return self._times[key]

    def times_ms(self, model: keras.Model) -> dict[str, float]:
        """Milliseconds of every layer of a model that has multiply-accumulates.

        Layers with several inputs or without a complete config are left out. The
        calls of a shared layer are summed.
        """
        times: dict[str, float] = {}
        for call in timeable_calls(model):
            try:
                config = call.layer.get_config()
            except Exception:  # Layers of users raise many kinds of errors.
                continue
            value = self.time_ms(call.layer, config, call.batch_input_shapes[0])
            if value is not None:
                times[call.name] = times.get(call.name, 0.0) + value
        return times

    def _measure(self, layer, config, shape):
        if self._overhead is None:
            self._overhead = 0.0
            x = keras.Input((1,))
            self._overhead = self._run(keras.Model(x, keras.layers.Identity()(x)), 1)
        try:
            model = one_layer_model(type(layer), config, (None, *shape[1:]))
            return max(self._run(model, shape[0]) - self._overhead, 0.0)
        except (ValueError, TypeError, AttributeError):
            return None  # The layer counts as one that cannot be measured.

    def _run(self, model, leading):
        step = InferenceStep(model, self._batch_size * leading)
        return self._timer.median_ms(step.time_ms)


def timeable_calls(model: keras.Model, input_shape: Any = None) -> list[LayerCall]:
    """Calls of layers with kernels and one input, the most expensive ones first.

    Args:
        model: A functional or built sequential model.
        input_shape: See `layer_calls`. Defaults to `None`.
    """
    calls = []
    for call in layer_calls(model, input_shape):
        macs = count_macs(call) or 0
        has_kernel = any(
            len(weight.shape) > 1 for weight in getattr(call.layer, "weights", ())
        )
        if macs and has_kernel and _takes_one_tensor(call):
            calls.append((macs, call))
    calls.sort(key=lambda pair: -pair[0])
    return [call for _, call in calls]


def _takes_one_tensor(call):
    """Not a list of tensors, be it a list of one."""
    given = [*call.arguments.values(), *call.arguments.get("args", ())]
    is_direct = any(isinstance(value, keras.KerasTensor) for value in given)
    return is_direct and len(call.batch_input_shapes) == 1


def _text(config: Any) -> str:
    return json.dumps(config, sort_keys=True, default=str)

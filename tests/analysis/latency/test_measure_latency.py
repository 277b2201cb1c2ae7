"""measure_latency and compare_latency: what they report and what they refuse."""

import json
import time

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.analysis import compare_latency, measure_latency
from keras_sda.utils import InvalidInputError


def make_model(units=2):
    x = keras.Input((None, None, 3))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    return keras.Model(x, layers.Dense(units)(y))


def test_fields_are_consistent():
    result = measure_latency(make_model(), 4, (8, 8, 3), num_warmup=2, num_runs=9)
    low, high = result.iqr_ms
    assert 0 < low <= result.median_ms <= high
    assert result.images_per_second == pytest.approx(4e3 / result.median_ms)
    assert result.batch_size == 4 and result.num_runs == 9
    assert result.input_shapes == ((4, 8, 8, 3),)
    assert result.backend == keras.backend.backend()
    assert result.dtype == "float32"
    assert result.device and result.versions["keras"] == keras.__version__
    assert json.loads(json.dumps(result.to_dict()))["batch_size"] == 4


def test_mixed_precision_is_reported():
    keras.config.set_dtype_policy("mixed_bfloat16")
    result = measure_latency(make_model(), 1, (8, 8, 3), num_warmup=1, num_runs=2)
    assert result.dtype == "bfloat16"


def test_the_model_is_compiled_once_and_runs_at_inference():
    seen = []

    class Probe(layers.Layer):
        def call(self, inputs, training=None):
            seen.append(training)
            return inputs

    x = keras.Input((4,))
    model = keras.Model(x, Probe()(x))
    seen.clear()
    measure_latency(model, num_warmup=2, num_runs=5)
    assert seen == [False]


def test_multiple_inputs_and_integer_inputs():
    a, b = keras.Input((3,), dtype="int32", name="a"), keras.Input((4,), name="b")
    y = layers.concatenate([layers.Flatten()(layers.Embedding(5, 2)(a)), b])
    result = measure_latency(keras.Model({"a": a, "b": b}, y), 2, num_runs=2)
    assert result.input_shapes == ((2, 3), (2, 4))


def test_a_plain_function_is_timed_as_it_is():
    def sleep(inputs):
        assert tuple(inputs.shape) == (2, 3)
        time.sleep(0.02)
        return np.zeros(1)

    result = measure_latency(sleep, 2, (3,), num_warmup=0, num_runs=3)
    assert result.median_ms >= 20


def test_a_subclassed_model_needs_a_shape():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return 2.0 * inputs

    assert measure_latency(Subclassed(), 2, (3,), num_runs=2).median_ms > 0
    with pytest.raises(InvalidInputError, match="`input_shape` is needed"):
        measure_latency(Subclassed())


def test_comparison_alternates_and_gives_ratios():
    order = []

    def make(name, seconds):
        def function(inputs):
            order.append(name)
            time.sleep(seconds)
            return inputs

        return function

    result = compare_latency(
        {"fast": make("fast", 0.005), "slow": make("slow", 0.05)},
        input_shape=(1,),
        num_warmup=1,
        num_runs=3,
    )
    assert order == ["fast", "slow", "slow", "fast"] * 2
    assert result.ratios["fast"] == 1.0
    assert result.ratios["slow"] > 2
    low, high = result.ratio_iqrs["slow"]
    assert low <= result.ratios["slow"] <= high
    assert result.results["slow"].median_ms >= 50
    assert set(json.loads(json.dumps(result.to_dict()))["results"]) == {"fast", "slow"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_runs": 0}, "num_runs"),
        ({"num_warmup": -1}, "num_warmup"),
        ({"input_shape": None}, "input_shape"),
        ({"input_shape": (8, 8)}, "input_shape"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"input_shape": (8, 8, 3), **arguments}
    with pytest.raises(InvalidInputError, match=message):
        measure_latency(make_model(), **arguments)


def test_bad_models():
    with pytest.raises(InvalidInputError, match="`model`"):
        measure_latency("ResNet50")
    with pytest.raises(InvalidInputError, match="`models`"):
        compare_latency({})
    with pytest.raises(InvalidInputError, match="input_shape"):
        measure_latency(np.sin, input_shape=(-1,))

"""What is made of a model belongs to the distribution strategy of the model."""

import keras
import numpy as np
import pytest
from graph.model_functions import FUNCTIONS, NAMES, build

from keras_sda.graph import model_scope
from keras_sda.search import ChannelSearch, add_channel_gates, channel_gates
from keras_sda.utils import InvalidInputError

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's"
)


@pytest.fixture(scope="module")
def strategy():
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(["CPU:0"], cross_device_ops=reduction)


@pytest.fixture(scope="module")
def model(strategy):
    with strategy.scope():
        return build("nested")


@pytest.mark.parametrize("name", NAMES)
def test_all_surgery_stays_in_the_scope(strategy, model, name):
    prepare, function, _ = FUNCTIONS[name]
    source = model if prepare is None else prepare(model)
    for result in (source, function(source)):
        assert result.distribute_strategy is strategy
        for variable in result.variables:
            assert variable.value.distribute_strategy is strategy, variable.path
    for nested in result.layers:
        if isinstance(nested, keras.Model):
            assert nested.distribute_strategy is strategy


def test_models_without_a_strategy_stay_without():
    result = add_channel_gates(build("nested"))
    assert result._distribute_strategy is None
    with model_scope(result):
        assert not tf.distribute.has_strategy()


def test_sequential_models_that_are_built_later(strategy):
    with strategy.scope():
        model = keras.Sequential(
            [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
            + [keras.layers.ReLU(), keras.layers.Conv2D(2, 3)]
        )
    with strategy.scope():
        model.build((None, 8, 8, 3))
    for name in ("mask", "add_channel_gates", "to_float32"):
        assert FUNCTIONS[name][1](model).distribute_strategy is strategy


def test_one_device(model):
    one = tf.distribute.OneDeviceStrategy("/cpu:0")
    with one.scope():
        other = build("flat")
        with pytest.raises(InvalidInputError, match="another OneDeviceStrategy"):
            add_channel_gates(model)
    assert add_channel_gates(other).distribute_strategy is one


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if FUNCTIONS[name][0] is None]
)
def test_no_function_runs_in_the_scope_of_another_strategy(model, name):
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        with pytest.raises(InvalidInputError, match="another OneDeviceStrategy"):
            FUNCTIONS[name][1](model)


def test_fine_tuning_inside_and_outside_the_scope(strategy):
    with strategy.scope():
        x = keras.Input((6, 6, 3))
        y = keras.layers.Conv2D(4, 3, use_bias=False)(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(y))
        model = keras.Model(x, keras.layers.Dense(2)(y))
    images, labels = np.ones((4, 6, 6, 3), "float32"), np.arange(4) % 2
    found = ChannelSearch(add_channel_gates(model))
    for gate in channel_gates(found.gated):
        gate.s.assign([-1.0, 1.0, 1.0, -1.0])
        gate.beta.assign(1e4)
    small = found.derive().model
    assert small.distribute_strategy is strategy
    options = {"batch_size": 4, "verbose": 0}
    with strategy.scope():
        rows = found.fine_tune((images, labels), 1, **options)
    assert len(rows) == 1 and np.isfinite(rows[0]["loss"])
    small.fit(images, labels, verbose=0)

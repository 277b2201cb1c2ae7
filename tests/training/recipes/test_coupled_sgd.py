import keras
import numpy as np
import pytest

from keras_sda.training import CoupledSGD


def by_hand(nesterov, decay, steps=4, rate=0.1, momentum=0.9):
    """g += decay * w; v = momentum * v - rate * g; w += v, for the loss 0.5 * w**2."""
    weight, velocity = 2.0, 0.0
    for _ in range(steps):
        gradient = weight + decay * weight
        velocity = momentum * velocity - rate * gradient
        step = momentum * velocity - rate * gradient if nesterov else velocity
        weight += step
    return weight


@pytest.mark.parametrize("nesterov", [False, True])
def test_trajectory(nesterov):
    variables = [keras.Variable(2.0, name="kernel"), keras.Variable(2.0, name="bias")]
    optimizer = CoupledSGD(
        0.1, 0.9, nesterov=nesterov, weight_decay=0.5, decay_exclude=["bias"]
    )
    optimizer.build(variables)
    for _ in range(4):
        optimizer.apply([v.value * 1.0 for v in variables], variables)
    kernel, bias = (float(keras.ops.convert_to_numpy(v)) for v in variables)
    np.testing.assert_allclose(kernel, by_hand(nesterov, 0.5), rtol=1e-5)
    np.testing.assert_allclose(bias, by_hand(nesterov, 0.0), rtol=1e-5)
    assert abs(kernel - bias) > 0.05


def test_config_round_trip():
    optimizer = CoupledSGD(0.1, 0.9, True, 1e-4, ["gamma"], use_ema=True)
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["registered_name"] == "keras_sda>CoupledSGD"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.coupled_weight_decay == 1e-4 and copy.decay_exclude == ("gamma",)
    assert copy.use_ema and copy.weight_decay is None


def test_negative_decay():
    with pytest.raises(ValueError, match="weight_decay=-1"):
        CoupledSGD(weight_decay=-1)

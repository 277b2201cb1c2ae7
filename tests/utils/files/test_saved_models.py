"""Files of earlier versions load and predict the same."""

import keras
import numpy as np
import pytest
from saved_models import FOLDER, KINDS, outputs

import keras_sda
from keras_sda.utils import load_model

OUTPUTS = np.load(FOLDER / "outputs.npz")
NAMES = [kind.__name__ for kind in KINDS]


@pytest.mark.parametrize("name", NAMES)
def test_file_of_version_0_1(name):
    expected = OUTPUTS[name]
    assert np.ptp(expected) > 1e-2
    for load in (load_model, keras.saving.load_model):
        model = load(FOLDER / f"{name}.keras")
        np.testing.assert_allclose(outputs(model), expected, atol=1e-6)
    if name == "compiled":
        assert isinstance(model.optimizer, keras_sda.training.CoupledSGD)


def test_every_layer_of_the_package_is_in_a_file():
    found = set()
    for name in NAMES:
        model = keras.saving.load_model(FOLDER / f"{name}.keras")
        found |= {type(layer).__name__ for layer in model._flatten_layers()}
    ours = {
        name
        for name, layer in vars(keras_sda.layers).items()
        if isinstance(layer, type) and issubclass(layer, keras.layers.Layer)
    }
    assert ours - found == set()
    assert [p.stem for p in sorted(FOLDER.glob("*.keras"))] == sorted(NAMES)

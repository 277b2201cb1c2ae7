"""Exports of every family answer like Keras, without XLA and without oneDNN."""

import keras
import pytest
from export.export_checks import run_export_test, with_telling_outputs

from keras_sda import applications

FAMILIES = {
    "SDASENet": {"base_width": 16},
    "SDARes2Net": {"stage_width": 16},
    "SDAPyConv": {"base_width": 64},
    "SDAEPSANet": {"base_width": 64},
    "SDACBAM": {"base_width": 16},
}


def build(name):
    keras.utils.set_random_seed(1)
    model = with_telling_outputs(
        getattr(applications, name)(
            [1, 2], stem_width=8, classes=4, input_shape=(32, 32, 3), **FAMILIES[name]
        ),
        "imagenet",
    )
    # Half the logits: certain networks would hide a difference.
    predictions = model.get_layer("predictions")
    predictions.set_weights([weight / 2 for weight in predictions.get_weights()])
    return model


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_export(name, tmp_path):
    run_export_test(
        build(name),
        tmp_path,
        preprocessing="imagenet",
        clients=("load_client.py",),
    )


@pytest.mark.parametrize("name", ["SDAPyConv", "SDAEPSANet"])
def test_portable_export_runs_without_onednn(name, tmp_path):
    run_export_test(
        build(name),
        tmp_path,
        portable=True,
        preprocessing="imagenet",
        clients=("load_client.py",),
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
    )

"""Exports of every family answer like Keras, without XLA and without oneDNN."""

import keras
import pytest
from export.export_checks import ExportTest, run_client, with_telling_outputs

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


@pytest.fixture(scope="module")
def models():
    return {name: build(name) for name in FAMILIES}


def prepare(models, folder, **options):
    """Exports, beside what they have to answer."""
    tests = []
    for name, model in models.items():
        (folder / name).mkdir()
        tests.append(
            ExportTest(model, folder / name, preprocessing="imagenet", **options)
        )
    return tests


def test_exports(models, tmp_path):
    """All families, loaded by one process which has no Keras."""
    run_client("load_client.py", prepare(models, tmp_path))


@pytest.mark.large
def test_portable_exports_run_without_onednn(models, tmp_path):
    """Those with grouped convolutions."""
    grouped = {name: models[name] for name in ("SDAPyConv", "SDAEPSANet")}
    run_client(
        "load_client.py",
        prepare(grouped, tmp_path, portable=True),
        {"TF_ENABLE_ONEDNN_OPTS": "0"},
    )

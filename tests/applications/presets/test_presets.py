"""Every row of the presets is what its constructor builds."""

import json

import pytest
from test_case import FIXTURES

from keras_sda import applications
from keras_sda.analysis import profile
from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.checkpoints.torch_entries import torch_entries
from keras_sda.applications.presets.presets import PRESETS

# Building a network of 101 or 152 layers takes seconds; one family stands for all.
QUICK = ("SDAResNet20", "SDASENet50", "SDARes2Net50")
BUILT = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.large)
    for name, row in PRESETS.items()
    if row["family"] == "sda_resnet" or name.endswith(("50", "86"))
]


@pytest.mark.parametrize("name", BUILT)
def test_sizes(name):
    row = PRESETS[name]
    model = applications.get_model(name)()
    result = profile(model)
    assert result.trainable_params == row["params"]
    assert result.macs == row["macs"]
    assert not result.unknown
    attention = [layer.name for layer in model.layers if layer.name.endswith("_sda")]
    assert len(attention) == len(row["stackwise_num_blocks"])
    assert f"Builds {name}" in applications.get_model(name).__doc__
    # Its weights are known again, by the names here, of the authors and of timm.
    signature = NetworkSignature.of_model(model)
    assert (signature.preset, signature.attention) == (name, True)
    shapes = {entry.name: entry.shape for entry in torch_entries(model)}
    assert NetworkSignature.of_tensors(shapes) == signature
    if row["family"] in ("sda_resnet", "sda_senet", "sda_res2net"):
        shapes = {entry.name: entry.shape for entry in torch_entries(model, "timm")}
        trunk = NetworkSignature.of_tensors(shapes)
        assert (trunk.preset, trunk.attention) == (name, None)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in PRESETS.items()
        if row["family"] in ("sda_resnet", "sda_senet", "sda_res2net", "sda_pyconv")
        and row["form"] != "cifar"
    ],
)
def test_sizes_are_the_published_ones(name):
    """The reference counts come from the authors' own networks."""
    table = json.loads((FIXTURES / "dev_sda_param_groups.json").read_text())
    table.pop("_about")
    counts = {(row["params"], row["macs"]) for row in table.values()}
    assert (PRESETS[name]["params"], PRESETS[name]["macs"]) in counts


def test_registry():
    assert applications.list_models() == sorted(PRESETS)
    for name in PRESETS:
        assert callable(getattr(applications, name))

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_sda.applications import SDAResNet, load_weights
from keras_sda.applications.safetensors_weights import to_torch_tensors
from keras_sda.utils import InvalidInputError

ARGUMENTS = {
    "stackwise_num_blocks": [1, 2],
    "groups": 4,
    "base_width": 8,
    "stem_width": 8,
    "min_width": 8,
    "classes": 5,
    "input_shape": (32, 32, 3),
}


@pytest.fixture(scope="module")
def model():
    model = SDAResNet(**ARGUMENTS)
    generator = np.random.default_rng(3)
    model.set_weights(
        [generator.uniform(0.5, 1, w.shape).astype("f") for w in model.get_weights()]
    )
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    tensors = to_torch_tensors(model)
    tensors["bn1.num_batches_tracked"] = np.array(7)
    save_file({f"module.{k}": v for k, v in tensors.items()}, folder / "m.safetensors")
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "m.safetensors"])
def test_every_kind_restores_every_tensor(name, model, files):
    again = SDAResNet(**ARGUMENTS, weights=files / name)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_are_the_authors(model):
    names = set(to_torch_tensors(model))
    expected = {
        "conv1.weight",
        "bn1.running_var",
        "stage2.layers.1.conv2.weight",
        "stage1.layers.0.downsample.0.weight",
        "stage1.layers.0.downsample.1.bias",
        "stage2.fc.0.weight",
        "stage2.fc.1.running_mean",
        "stage2.fcs.1.bias",
        "bn2.weight",
        "fc.bias",
    }
    assert expected <= names
    assert to_torch_tensors(model)["stage1.layers.0.conv2.weight"].shape == (8, 2, 3, 3)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "m.safetensors"])
@pytest.mark.parametrize(
    "change, text",
    [
        ({"classes": 6}, "same `classes`"),
        ({"stackwise_num_blocks": [1, 3]}, "missing from the file"),
        ({"stackwise_num_blocks": [1, 1]}, "unexpected in the file"),
        ({"depth_attention": False}, "unexpected in the file"),
        ({"groups": 1}, "of another shape"),
    ],
    ids=str,
)
def test_other_architecture(name, change, text, files):
    with pytest.raises(InvalidInputError, match=text):
        SDAResNet(**{**ARGUMENTS, **change}, weights=files / name)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "m.safetensors"])
def test_truncated_file(name, files, tmp_path):
    data = (files / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInputError, match="cut short"):
        SDAResNet(**ARGUMENTS, weights=path)


@pytest.mark.parametrize(
    "weights, text",
    [
        ("imagnet", "must be None"),
        ("nowhere.keras", "does not exist"),
        (3, "must be None"),
    ],
)
def test_bad_weights(weights, text):
    with pytest.raises(InvalidInputError, match=text):
        SDAResNet(**ARGUMENTS, weights=weights)


def test_empty_file(model, tmp_path):
    path = tmp_path / "empty.keras"
    path.touch()
    with pytest.raises(InvalidInputError, match="empty file"):
        load_weights(model, path)


def test_nothing_is_loaded_when_a_tensor_is_missing(files, tmp_path):
    tensors = load_file(files / "m.safetensors")
    del tensors["module.fc.bias"]
    save_file(tensors, tmp_path / "m.safetensors")
    model = SDAResNet(**ARGUMENTS)
    before = model.get_weights()
    with pytest.raises(InvalidInputError, match="1 missing from the file: fc.bias"):
        load_weights(model, tmp_path / "m.safetensors")
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)

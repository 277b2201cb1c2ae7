import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_sda.applications import (
    SDAResNet,
    SDAResNet20,
    SDAResNet32,
    load_weights,
)
from keras_sda.applications.checkpoints.safetensors_weights import to_torch_tensors
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


KINDS = ["model.keras", "model.weights.h5", "m.safetensors"]


def write(model, path):
    """Writes the weights of a model in the kind that the name of the file asks for."""
    if path.name.endswith(".keras"):
        model.save(path)
    elif path.name.endswith(".h5"):
        model.save_weights(path)
    else:
        save_file(to_torch_tensors(model), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_file_of_another_depth_says_which_network_it_fits(kind, tmp_path):
    path = write(SDAResNet20(), tmp_path / kind)
    with pytest.raises(
        InvalidInputError, match="fits SDAResNet20, and the model is SDAResNet32"
    ):
        SDAResNet32(weights=path)
    with pytest.raises(InvalidInputError, match=r"This file fits SDAResNet20\. "):
        SDAResNet(**ARGUMENTS, weights=path)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_trunk_is_told_from_one_with_attention(kind, tmp_path):
    path = write(SDAResNet20(depth_attention=False), tmp_path / kind)
    text = "fits SDAResNet20 with depth_attention=False, and the model is SDAResNet20"
    with pytest.raises(InvalidInputError, match=text):
        SDAResNet20(weights=path)


@pytest.mark.parametrize("kind", KINDS)
def test_unnamed_networks_are_described(kind, tmp_path):
    path = write(SDAResNet(**ARGUMENTS), tmp_path / kind)
    text = r"holds stages of \[1, 2\] blocks, the model has \[2, 2\]"
    with pytest.raises(InvalidInputError, match=text):
        SDAResNet(**{**ARGUMENTS, "stackwise_num_blocks": [2, 2]}, weights=path)


def test_file_of_something_else(tmp_path):
    save_file({"encoder.weight": np.zeros((2, 2), "f")}, tmp_path / "m.safetensors")
    with pytest.raises(InvalidInputError, match="no stages of residual blocks"):
        SDAResNet20(weights=tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_not_finite(kind, value, tmp_path):
    broken = SDAResNet(**ARGUMENTS)
    variable = broken.get_layer("stage1_block1_bn2").gamma
    variable.assign(np.full(variable.shape, value, "float32"))
    path = write(broken, tmp_path / kind)
    model = SDAResNet(**ARGUMENTS)
    before = model.get_weights()
    with pytest.raises(
        InvalidInputError, match="not finite: tensor '.*bn2.* has 8 of 8 as NaN or inf"
    ):
        load_weights(model, path)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files(dtype, model, tmp_path):
    import ml_dtypes  # noqa: F401  (gives NumPy the dtype bfloat16)

    tensors = {k: v.astype(dtype) for k, v in to_torch_tensors(model).items()}
    save_file(tensors, tmp_path / "m.safetensors")
    again = SDAResNet(**ARGUMENTS, weights=tmp_path / "m.safetensors")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2)


def test_classifier_of_a_file_is_left_out_where_there_is_none(files, model):
    features = SDAResNet(
        **{**ARGUMENTS, "include_top": False}, weights=files / "m.safetensors"
    )
    np.testing.assert_array_equal(
        features.get_layer("stage2_sda").expand.bias,
        model.get_layer("stage2_sda").expand.bias,
    )


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_h5_restores_every_tensor(name, model, tmp_path):
    model.save(tmp_path / name)
    again = SDAResNet(**ARGUMENTS, weights=tmp_path / name)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InvalidInputError, match="missing from the file"):
        SDAResNet(
            **{**ARGUMENTS, "stackwise_num_blocks": [1, 3]}, weights=tmp_path / name
        )


@pytest.mark.parametrize("dtype", ["float16", "float64", ml_dtypes.bfloat16])
def test_floats_of_every_size_are_weights(dtype, model, tmp_path):
    tensors = {k: v.astype(dtype) for k, v in to_torch_tensors(model).items()}
    save_file(tensors, tmp_path / "m.safetensors")
    again = SDAResNet(**ARGUMENTS, weights=tmp_path / "m.safetensors")
    for name, value in to_torch_tensors(again).items():
        np.testing.assert_array_equal(value, tensors[name].astype("float32"))


@pytest.mark.parametrize(
    "dtype", ["int32", "int8", "uint16", "bool", ml_dtypes.float8_e4m3fn]
)
def test_what_is_no_weight_is_refused(dtype, model, tmp_path):
    tensors = dict(to_torch_tensors(model))
    tensors["fc.weight"] = (tensors["fc.weight"] * 100).astype(dtype)
    save_file(tensors, tmp_path / "m.safetensors")
    _refused(tmp_path / "m.safetensors", "floating-point numbers: fc.weight")


def _refused(path, text):
    model = SDAResNet(**ARGUMENTS)
    before = model.get_weights()
    with pytest.raises(InvalidInputError, match=text) as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("bn1.running_var", lambda v: -v, "'bn1.running_var' holds negative"),
        ("fc.bias", lambda v: v.astype("float64") * 1e200, "not finite: tensor 'fc.b"),
        ("fc.bias", lambda v: v[:, None], r"of another shape: fc.bias \(file \(5, 1\)"),
        ("fc.bias", lambda v: v[:0], "of another shape: fc.bias"),
        (
            "conv1.weight",
            lambda v: v.astype("complex64"),
            "floating-point numbers: conv1",
        ),
    ],
)
def test_numbers_that_cannot_be(name, change, text, model, tmp_path):
    tensors = dict(to_torch_tensors(model))
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, tmp_path / "m.safetensors")
    _refused(tmp_path / "m.safetensors", text)


def _stem(kind):
    """The variables of the first normalization in a file."""
    if kind == "model.h5":
        return "model_weights/stem_bn/stem_bn", "moving_variance"
    return "layers/batch_normalization/vars", "3"


@pytest.mark.parametrize("kind", ["model.weights.h5", "model.h5"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda value: -value, "variance 'stem_bn/moving_variance' holds negative"),
        (lambda value: value * np.nan, "not finite: tensor 'stem_bn/moving_variance'"),
        (lambda value: value.astype("int32"), "floating-point numbers: stem_bn"),
        (lambda value: value > 0, "floating-point numbers: stem_bn"),
        (lambda value: value[:3], r"another shape: stem_bn \(file \[\(3,\)"),
        (lambda value: np.array(3.0, "f4"), r"another shape: stem_bn \(file \[\(\)"),
    ],
)
def test_h5_with_odd_weights(kind, change, text, model, tmp_path):
    path = tmp_path / kind
    model.save_weights(path) if "weights" in kind else model.save(path)
    with h5py.File(path, "r+") as file:
        group, name = _stem(kind)
        value = file[group][name][()]
        del file[group][name]
        file[group].create_dataset(name, data=change(value))
    _refused(path, text)


def test_h5_that_claims_terabytes_is_not_read(model, tmp_path):
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        group, name = _stem(path.name)
        del file[group][name]
        file[group].create_dataset(name, (1 << 40,), "float32", chunks=(1024,))
    _refused(path, "claims arrays of 4.0 TiB and stores")


def test_bfloat16_of_keras_is_a_float(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    model = SDAResNet(**ARGUMENTS)
    model.save_weights(tmp_path / "model.weights.h5")
    again = SDAResNet(**ARGUMENTS, weights=tmp_path / "model.weights.h5")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

"""Model files from elsewhere: one loader, one clear line, memory bounded."""

import contextlib
import io
import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import cli
from keras_sda.utils import InvalidInputError, load_model

HUGE = 1 << 40


@pytest.fixture(scope="module")
def model():
    x = keras.Input((8, 8, 1))
    y = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="conv")(x))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.ReLU()(y)))
    return keras.Model(x, layers.Dense(10, activation="softmax", name="top")(y))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("model.keras", "model.h5", "model.hdf5"):
        model.save(folder / name)
    return folder


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def with_config(folder, path, change):
    """A copy of the model whose config is another one."""
    contents = members(folder / "model.keras")
    config = json.loads(contents["config.json"])
    contents["config.json"] = json.dumps(change(config))
    return pack(path, contents)


def with_weights(folder, path, change):
    """A copy of the model whose weights are other ones."""
    contents = members(folder / "model.keras")
    weights = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        change(file)
    contents["model.weights.h5"] = weights.getvalue()
    return pack(path, contents)


def claim(file, place, shape=(HUGE,)):
    """An array that claims a size and stores nothing."""
    if place in file:
        del file[place]
    file.create_dataset(place, shape, "float32", chunks=(1024,) * len(shape))


def refuse(path, text):
    with pytest.raises(InvalidInputError, match=text) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_files_that_keras_reads_are_read(name, model, folder):
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(load_model(folder / name)(images), model(images))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("evaluate", ["--dataset", "digits"]),
        ("profile", []),
        ("export", ["--preprocessing", "none", "--output"]),
        ("prune", ["--macs", "0.7", "--output"]),
        ("group", ["--form", "none", "--output"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_command_reads_h5(command, arguments, folder, tmp_path):
    """Up to the point where the model is there: the work is tested elsewhere."""
    path = str(shutil.copy(folder / "model.hdf5", tmp_path))
    output = [str(tmp_path / "out")] if arguments[-1:] == ["--output"] else []
    assert cli.main([command, path, *arguments, *output]) == 0


def test_search_takes_h5(folder):
    from keras_sda.training.commands.open_classifier import open_classifier
    from keras_sda.training.strategies.make_strategy import make_strategy

    loaded, _ = open_classifier(str(folder / "model.h5"), None, make_strategy())
    assert loaded.output_shape == (None, 10)


def test_a_missing_h5_is_a_missing_file(tmp_path, capsys):
    assert cli.main(["profile", str(tmp_path / "nowhere.h5")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["layers/extra/vars/0", "layers/conv2d/vars/0"])
def test_weights_that_claim_terabytes(place, folder, tmp_path):
    path = with_weights(folder, tmp_path / "a.keras", lambda f: claim(f, place))
    refuse(path, "claims arrays of 4.0 TiB and stores")


def test_h5_that_claims_terabytes(folder, tmp_path):
    path = shutil.copy(folder / "model.h5", tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        claim(file, "model_weights/conv/conv/kernel", (HUGE, HUGE))
    refuse(path, "claims arrays of .* TiB and stores")


def test_weights_in_another_file(folder, tmp_path):
    def change(file):
        kernel = file["layers/dense/vars/0"]
        shape = kernel.shape
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset(
            "0", shape, "float32", external=[("/etc/hostname", 0, 999)]
        )

    refuse(with_weights(folder, tmp_path / "a.keras", change), "kept in another file")


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_zip_bombs(member, folder, tmp_path):
    contents = members(folder / "model.keras")
    contents[member] = b" " * (100 << 20)
    path = pack(tmp_path / "a.keras", contents, zipfile.ZIP_DEFLATED)
    refuse(path, f"{member} claims 104,857,600 bytes and stores")


def test_members_that_claim_more_than_they_hold(folder, tmp_path):
    path = shutil.copy(folder / "model.keras", tmp_path / "a.keras")
    data = bytearray(path.read_bytes())
    # The size in the central directory, of every member.
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 24 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little")
        place = data.find(b"PK\x01\x02", place + 4)
    path.write_bytes(data)
    refuse(path, "claims 4,294,967,280 bytes and stores")


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_deeply_nested_json(member, folder, tmp_path):
    contents = members(folder / "model.keras")
    contents[member] = '{"a":' * 100_000 + "1" + "}" * 100_000
    refuse(pack(tmp_path / "a.keras", contents), "nested too deeply")


def test_deeply_nested_layers(folder, tmp_path):
    def change(config):
        for _ in range(150):
            config = {
                "module": "keras.layers",
                "class_name": "TimeDistributed",
                "config": {"layer": config},
                "registered_name": None,
            }
        return config

    refuse(with_config(folder, tmp_path / "a.keras", change), "cannot be loaded")


def test_deeply_nested_legacy_config(folder, tmp_path):
    path = shutil.copy(folder / "model.h5", tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "[" * 20_000
    refuse(path, "nested too deeply")


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        ("top", "units", HUGE),
        ("conv", "filters", 10**9),
        ("conv", "kernel_size", [10**5, 10**5]),
        ("top", "units", 10**30),
    ],
)
def test_layers_that_are_larger_than_the_weights(layer, key, value, folder, tmp_path):
    def change(config):
        for item in config["config"]["layers"]:
            if item["name"] == layer:
                item["config"][key] = value
        return config

    path = with_config(folder, tmp_path / "a.keras", change)
    refuse(path, f"a layer asks for {key}")


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "3", "{}", '{"class_name": "Functional"}', "\x00\xff", '"a"'],
)
@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_damaged_members(member, content, folder, tmp_path):
    contents = members(folder / "model.keras")
    contents[member] = content
    path = pack(tmp_path / "a.keras", contents)
    with contextlib.suppress(InvalidInputError):  # metadata may be without a version
        load_model(path)


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_members_that_are_missing(missing, folder, tmp_path):
    contents = members(folder / "model.keras")
    del contents[missing]
    refuse(pack(tmp_path / "a.keras", contents), missing)


def test_noise_in_every_place(folder, tmp_path):
    """Whatever a damaged byte does, it is one line or a model."""
    generator = np.random.default_rng(0)
    for name in ("model.keras", "model.h5"):
        data = (folder / name).read_bytes()
        for number in range(15):
            changed = bytearray(data)
            start = int(generator.integers(len(data)))
            noise = generator.bytes(int(generator.integers(1, 40)))
            changed[start : start + len(noise)] = noise
            path = tmp_path / f"{number}_{name}"
            path.write_bytes(changed)
            with contextlib.suppress(InvalidInputError):
                load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_truncated_files(name, share, folder, tmp_path):
    data = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(share * len(data))])
    refuse(path, "damaged|cannot be loaded")


@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "not finite"), (-1.0, "negative")]
)
def test_weights_that_answer_nan(value, text, folder, tmp_path):
    def change(file):
        place = "layers/batch_normalization/vars/3"
        file[place][:1] = value

    path = with_weights(folder, tmp_path / "a.keras", change)
    refuse(path, f"{text}.*|.*{text}")


def test_keras_2_says_how_to_convert(folder, tmp_path):
    contents = members(folder / "model.keras")
    contents["metadata.json"] = json.dumps({"keras_version": "2.15.0"})
    config = json.loads(contents["config.json"])
    config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
    config["class_name"] = "FunctionalOfKeras2"
    contents["config.json"] = json.dumps(config)
    path = pack(tmp_path / "a.keras", contents)
    refuse(path, r"written by Keras 2.15.0. Convert it .*model.save\('model.h5'\)")


def test_saved_model_says_how_to_convert(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    refuse(tmp_path, "SavedModel.*Give the .keras file")
    (tmp_path / "keras_metadata.pb").touch()
    refuse(tmp_path, r"SavedModel.*model.save\('model.h5'\)")


def test_weights_alone_are_no_model(model, tmp_path):
    model.save_weights(tmp_path / "a.weights.h5")
    refuse(tmp_path / "a.weights.h5", "weights and no network")


@pytest.mark.parametrize("name", ["model.onnx", "model.txt", "model"])
def test_other_files(name, tmp_path):
    (tmp_path / name).write_bytes(b"model")
    refuse(tmp_path / name, "must be a .keras file.*.h5")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_the_loss_is_known(name, tmp_path):
    """It tells what the outputs mean."""
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(1)(x))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    model.train_on_batch(np.ones((1, 3)), np.ones((1, 1)))
    model.save(tmp_path / name)
    assert load_model(tmp_path / name).loss.get_config()["from_logits"] is True

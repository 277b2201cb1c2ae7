"""What a server answers to inputs that no client should send; it never ends."""

import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from export.export_checks import FOLDER, signature_tensors
from keras import layers
from PIL import Image

from keras_sda.export import export_saved_model

SHAPE = (32, 32, 1)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    x = keras.Input(SHAPE)
    y = layers.Conv2D(4, 3, use_bias=False)(layers.Rescaling(1 / 255)(x))
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Flatten()(layers.AveragePooling2D(6)(y))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    folder = tmp_path_factory.mktemp("export")
    # Not folded: normalization is what fails on empty batches.
    return export_saved_model(model, folder, fold=False)


def file(image, folder, name):
    Image.fromarray(image).save(folder / name)
    return str(folder / name)


def test_wrong_inputs_are_answered(export, tmp_path):
    """All in one process of the C API, which the last, right call proves alive."""
    generator = np.random.default_rng(0)
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty.png").write_bytes(b"")
    good = file(generator.integers(0, 255, (40, 36), "uint8"), tmp_path, "good.png")
    tensors = signature_tensors(export)
    calls, wanted = [], []

    def call(signature, value, code, dtype=None):
        if isinstance(value, list):
            files = value
        else:
            files = [str(tmp_path / f"{len(calls)}.npy")]
            np.save(files[0], value)
        entry = {"signature": signature, "files": files, **tensors[signature]}
        entry["may_fail"] = True
        if dtype is not None:
            entry["dtype"] = dtype
        calls.append(entry)
        wanted.append(code)

    def images(*shape):
        return np.zeros(shape, "float32")

    def pixels(*shape):
        return np.zeros(shape, "uint8")

    bad = 3  # INVALID_ARGUMENT
    for shape in (
        (32, 32, 1), (32, 32), (1, 32, 32), (1, 16, 16, 1), (1, 33, 32, 1),
        (2, 32, 32, 3), (1, 1, 32, 32, 1), (0, 32, 32, 3), (0,), (1, 0, 0, 1),
    ):  # fmt: skip
        call("serving_default", images(*shape), bad)
    for shape in ((40, 36, 1), (1, 40, 36, 3), (40, 36), (0, 40, 36, 3), (1, 0, 0, 1)):
        call("serve_images", pixels(*shape), bad)
    call("serving_default", pixels(1, 32, 32, 1), bad, dtype=4)
    call("serve_images", images(1, 40, 36, 1), bad, dtype=1)
    for name in ("bad.png", "empty.png"):
        call("serve_bytes", [good, str(tmp_path / name), good], bad)
    call("serving_default", images(0, 32, 32, 1), 0)
    call("serve_images", pixels(0, 40, 36, 1), 0)
    call("serve_images", pixels(0, 0, 0, 1), 0)
    call("serve_bytes", [], 0)
    empty = len(calls)
    call("serve_bytes", [good], 0)
    call("serving_default", images(2, 32, 32, 1), 0)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"export": str(export), "calls": calls}))
    process = subprocess.run(
        [sys.executable, FOLDER / "c_api_client.py", request, tmp_path / "answer.json"],
        capture_output=True,
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"},
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    answers = json.loads((tmp_path / "answer.json").read_text())["results"]
    codes = [result.get("code", 0) for result in answers]
    assert codes == wanted, list(zip(codes, wanted, strict=True))
    for result in answers[empty - 4 : empty]:
        assert {np.shape(value)[0] for value in result.values()} == {0}
    sizes = [len(result["classes"]) for result in answers[empty:]]
    assert sizes == [1, 2]


def test_wrong_inputs_in_this_process(export):
    """The same in Python; before, the process ended here."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(export))
    serve = loaded.signatures["serving_default"]
    for shape in ((32, 32, 1), (1, 16, 16, 1)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(images=tf.zeros(shape))
    answer = serve(images=tf.zeros((0, 32, 32, 1)))
    assert answer["probabilities"].shape == (0, 3)
    assert answer["classes"].shape == answer["scores"].shape == (0, 3)
    answer = loaded.signatures["serve_bytes"](image_bytes=tf.constant([], tf.string))
    assert answer["scores"].shape == (0, 3)


def test_served_files_are_upright(export):
    """The signature of bytes gives what an upright file of the same pixels gives."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(export)).signatures["serve_bytes"]
    pixels = np.zeros((40, 64), "uint8")
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = []
    for image, options in (
        (Image.fromarray(pixels), {"exif": exif}),
        (Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_270), {}),
        (Image.fromarray(pixels), {}),
    ):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=95, **options)
        contents.append(stream.getvalue())
    turned, upright, lying = serve(image_bytes=contents)["probabilities"].numpy()
    np.testing.assert_allclose(turned, upright, atol=1e-3)
    assert np.abs(turned - lying).max() > 2e-3

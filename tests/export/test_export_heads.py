"""Exports of every kind of head: what is served is what the model means."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.export import export_saved_model, predict
from keras_sda.utils import InvalidInputError, load_model

SIZE = (8, 8, 3)
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, *SIZE)).astype("float32")


def build(end, loss=None):
    x = keras.Input(SIZE)
    y = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, end(y))
    if loss is not None:
        model.compile("sgd", loss)
    return model


def wide(units, **options):
    start = keras.initializers.RandomNormal(stddev=5.0, seed=1)
    return layers.Dense(units, kernel_initializer=start, **options)


def serve(folder, images=IMAGES):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["serving_default"](images=tf.constant(images))
    return {name: value.numpy() for name, value in found.items()}


LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.mark.parametrize("units", [1, 3])
def test_logits_of_sigmoids(units, tmp_path):
    model = build(wide(units), LOGITS)
    expected = keras.ops.sigmoid(model(IMAGES))
    served = serve(export_saved_model(model, tmp_path))
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-6)
    assert served["classes"].shape == (3, max(units, 2))


def test_one_unit_has_two_labels(tmp_path):
    dense = layers.Dense(1, activation="sigmoid")
    model = build(dense)
    dense.set_weights([np.ones((3, 1)), np.array([-1.5])])
    images = np.stack([np.zeros(SIZE), np.full(SIZE, 255.0)]).astype("float32")
    for labels, names in ((["cat", "dog"], [b"cat", b"dog"]),
                          (None, [b"class_0", b"class_1"])):  # fmt: skip
        path = export_saved_model(model, tmp_path, labels=labels)
        served = serve(path, images)
        low = 1 / (1 + np.exp(1.5))
        np.testing.assert_allclose(
            served["probabilities"], [[low], [1 - low]], atol=1e-6
        )
        assert served["classes"].tolist() == [names, names[::-1]]
        np.testing.assert_allclose(served["scores"], [[1 - low, low]] * 2, atol=1e-6)
    assert (path / "assets" / "labels.txt").read_text() == "class_0\nclass_1\n"
    top = serve(export_saved_model(model, tmp_path, top_k=1), images)
    assert top["classes"].tolist() == [names[:1], names[1:]]
    with pytest.raises(InvalidInputError, match="one sigmoid unit.*Give two names"):
        export_saved_model(model, tmp_path, labels=["cat"])


def test_predict_names_both_classes_of_one_unit(tmp_path):
    import tensorflow as tf

    dense = layers.Dense(1)
    model = build(dense, LOGITS)
    dense.set_weights([np.ones((3, 1)), np.array([-1.5])])
    for name, value in (("dark.png", 0), ("bright.png", 255)):
        pixels = tf.fill(SIZE, tf.constant(value, tf.uint8))
        (tmp_path / name).write_bytes(tf.io.encode_png(pixels).numpy())
    export = export_saved_model(model, tmp_path / "out", labels=["night", "day"])
    results = predict(export, [tmp_path / "dark.png", tmp_path / "bright.png"])
    best = [result["predictions"][0] for result in results]
    assert [item["class"] for item in best] == ["night", "day"]
    assert [len(result["predictions"]) for result in results] == [2, 2]
    assert best[0]["score"] == pytest.approx(1 / (1 + np.exp(-1.5)), abs=1e-5)


def test_softmax_before_a_cast_is_the_last(tmp_path):
    """Mixed precision as the TensorFlow guide has it."""
    model = build(
        lambda y: layers.Activation("linear", dtype="float32")(
            wide(3, activation="softmax")(y)
        )
    )
    served = serve(export_saved_model(model, tmp_path))
    np.testing.assert_allclose(served["probabilities"], model(IMAGES), atol=1e-6)


def test_unknown_logits_need_activation(tmp_path):
    model = build(wide(3))
    with pytest.raises(InvalidInputError, match="`activation` .--activation."):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    outputs = model(IMAGES)
    for given, expected in (
        ("softmax", keras.ops.softmax(outputs)),
        ("sigmoid", keras.ops.sigmoid(outputs)),
        ("none", outputs),
    ):
        served = serve(export_saved_model(model, tmp_path, activation=given))
        np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)


def test_the_loss_in_the_file_tells(tmp_path):
    """Commands load models without their optimizer, not without their loss."""
    model = build(wide(3), LOGITS)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    served = serve(export_saved_model(loaded, tmp_path))
    expected = keras.ops.sigmoid(model(IMAGES))
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-6)


def test_a_loss_of_the_user_in_the_file_is_passed_over(tmp_path):
    model = build(wide(3, activation="softmax"))
    model.compile("sgd", lambda y, p: keras.ops.mean(p - y))
    model.save(tmp_path / "model.keras")
    served = serve(export_saved_model(load_model(tmp_path / "model.keras"), tmp_path))
    np.testing.assert_allclose(served["probabilities"], model(IMAGES), atol=1e-6)


def test_our_networks_without_softmax_ask(tmp_path):
    """Pruned or loaded, they are not compiled: several labels are as likely."""
    from keras_sda.applications import SDAResNet

    model = SDAResNet(
        [1, 1], base_width=4, stem_width=4, classes=3, input_shape=(32, 32, 3),
        classifier_activation=None,
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="`activation` .*'softmax'"):
        export_saved_model(model, tmp_path)
    assert not list(tmp_path.iterdir())
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    folder = export_saved_model(model, tmp_path, activation="softmax")
    expected = keras.ops.softmax(model(images))
    served = serve(folder, images)
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)


def test_other_models_are_shown_their_way(tmp_path):
    x = keras.Input(SIZE)
    with pytest.raises(InvalidInputError, match=r"model\.export.*fold_batch_norm"):
        export_saved_model(keras.Model(x, layers.Conv2D(2, 3)(x)), tmp_path / "out")

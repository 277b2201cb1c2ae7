"""Checkpoints in timm's layout: same features, and what networks make of them."""

import json

import keras
import numpy as np
import pytest
from absl import logging
from applications.timm_checkpoints import checkpoint, reference
from safetensors.numpy import save_file
from test_case import infer, to_nhwc

from keras_sda import applications
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError

RESNET50 = [3, 4, 6, 3]
SMALL = [1, 2, 1, 1]
FAMILIES = {
    "resnet": applications.SDAResNet,
    "senet": applications.SDASENet,
    "res2net": applications.SDARes2Net,
}


def random_images(number, size):
    shape = (number, 3, size, size)
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def small_model(family, **options):
    options = {"input_shape": (64, 64, 3), "classes": 9, **options}
    return FAMILIES[family](SMALL, **options)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """One small checkpoint per family: tensors and path."""
    folder = tmp_path_factory.mktemp("timm")
    files = {}
    for family in FAMILIES:
        tensors = checkpoint(SMALL, family, classes=9)
        save_file(tensors, folder / f"{family}.safetensors")
        files[family] = (tensors, folder / f"{family}.safetensors")
    return files


@pytest.fixture(scope="module")
def resnet50_folder(tmp_path_factory):
    """A folder with a ResNet-50 of random values, as timm's repositories hold it."""
    folder = tmp_path_factory.mktemp("resnet50")
    save_file(checkpoint(RESNET50), folder / "model.safetensors")
    config = {"architecture": "resnet50", "num_classes": 1000}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_resnet50_agrees_with_keras_hub(resnet50_folder, monkeypatch):
    keras_hub = pytest.importorskip("keras_hub", reason="in the test extra")
    import huggingface_hub

    theirs = keras_hub.models.ResNetBackbone.from_preset(str(resnet50_folder))
    images = to_nhwc(random_images(2, 64))
    expected = infer(theirs, images)
    options = {"include_top": False, "input_shape": (64, 64, 3)}
    plain = applications.SDAResNet50(
        weights=resnet50_folder / "model.safetensors", depth_attention=False, **options
    )
    features = infer(plain, images)
    assert np.abs(features - expected).max() < 1e-4

    asked = []

    def download(**arguments):
        asked.append(arguments)
        return str(resnet50_folder / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = applications.SDAResNet50(weights="imagenet", pooling="avg", **options)
    assert asked[0]["repo_id"] == "timm/resnet50.a1_in1k"
    assert asked[0]["filename"] == "model.safetensors"
    vector, pooled = infer(model, images), expected.mean((1, 2))
    assert np.abs(vector - pooled).max() < 1e-2 * np.abs(pooled).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_trunk_agrees_with_the_reference(family, small_files):
    tensors, path = small_files[family]
    images = random_images(2, 64)
    features, logits = reference(tensors, images, SMALL, family)
    model = small_model(
        family, weights=path, depth_attention=False, classifier_activation=None
    )
    probe = keras.Model(
        model.input, [model.get_layer("stage4_block1_out").output, model.output]
    )
    ours, ours_logits = infer(probe, to_nhwc(images))
    assert np.abs(ours - to_nhwc(features)).max() < 1e-4
    assert np.abs(ours_logits - logits).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_depth_attention_starts_as_the_trunk(family, small_files):
    tensors, path = small_files[family]
    images = random_images(8, 64)
    _, logits = reference(tensors, images, SMALL, family)
    model = small_model(family, weights=path, classifier_activation=None)
    ours = infer(model, to_nhwc(images))
    assert np.abs(ours - logits).max() < 1e-3
    np.testing.assert_array_equal(ours.argmax(-1), logits.argmax(-1))
    attention = model.get_layer("stage2_sda")
    weights = attention.compute_attention([np.ones((1, 2, 2, 512), "float32")] * 2)
    np.testing.assert_allclose(weights[0, :, 0], [1e-5, 0.99999], rtol=1e-3)


def test_attention_learns_from_the_first_step_on(small_files):
    model = small_model("resnet", weights=small_files["resnet"][1])
    attention = model.get_layer("stage2_sda")
    before = keras.ops.convert_to_numpy(attention.expand.kernel)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)  # one step
    images = to_nhwc(random_images(8, 64))
    model.fit(images, np.arange(8), batch_size=8, verbose=0)
    after = keras.ops.convert_to_numpy(attention.expand.kernel)
    assert np.abs(after - before).max() > 0


def test_other_classes_keep_the_trunk_and_say_so_once(small_files, monkeypatch):
    tensors, path = small_files["resnet"]
    said = []
    monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
    model = small_model("resnet", weights=path, classes=4)
    assert model.output_shape == (None, 4)
    assert len(said) == 1
    text = said[0][0] % said[0][1:]
    assert "9 classes and the model has 4" in text and "'predictions'" in text
    np.testing.assert_array_equal(
        model.get_layer("stage4_block1_conv3").get_weights()[0],
        tensors["layer4.0.conv3.weight"].transpose(2, 3, 1, 0),
    )
    # The same number of classes says nothing.
    small_model("resnet", weights=path)
    assert len(said) == 1


def test_file_without_a_classifier(tmp_path):
    save_file(checkpoint(SMALL, classes=0), tmp_path / "m.safetensors")
    model = small_model("resnet", weights=tmp_path / "m.safetensors", classes=4)
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"include_top": False},
        {"include_top": False, "pooling": "max"},
        {"include_top": False, "pyramid_outputs": True},
        {"input_shape": (96, 80, 3)},
        {"min_width": 8, "reduction": 32},
    ],
    ids=str,
)
def test_forms_of_the_network(options, small_files):
    tensors, path = small_files["resnet"]
    model = small_model("resnet", weights=path, **options)
    np.testing.assert_array_equal(
        model.get_layer("stem_conv").get_weights()[0],
        tensors["conv1.weight"].transpose(2, 3, 1, 0),
    )
    for layer in model.layers:
        if isinstance(layer, SelectiveDepthAttention):
            assert not np.any(layer.expand.kernel)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"input_shape": (64, 64, 1)}, r"conv1.weight .*number of input channels"),
        ({"base_width": 32}, "of another shape"),
        ({"groups": 4}, "of another shape"),
    ],
    ids=str,
)
def test_networks_that_do_not_fit(options, text, small_files):
    with pytest.raises(InvalidInputError, match=text):
        small_model("resnet", weights=small_files["resnet"][1], **options)


def test_another_family_in_timms_layout(small_files):
    with pytest.raises(InvalidInputError, match="unexpected in the file.*se.fc1"):
        small_model("resnet", weights=small_files["senet"][1])
    with pytest.raises(InvalidInputError, match="missing from the file.*convs.0"):
        small_model("res2net", weights=small_files["resnet"][1])


def test_timm_file_says_which_network_it_fits(resnet50_folder):
    with pytest.raises(
        InvalidInputError, match="fits SDAResNet50, and the model is SDAResNet20"
    ):
        applications.SDAResNet20(weights=resnet50_folder / "model.safetensors")

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.training import (
    RECIPES,
    Recipe,
    evaluation_stream,
    load_image_dataset,
    training_stream,
)
from keras_sda.utils import InvalidInputError


def colour_dataset(kind):
    """24 colour images as arrays, or as a stream of single images."""
    random = np.random.RandomState(0)
    images = random.randint(0, 255, (24, 32, 32, 3)).astype("uint8")
    labels = np.arange(24) % 3
    split = ImageSplit(24, arrays=(images, labels))
    if kind == "stream":
        split = ImageSplit(24, stream=split.dataset())
    shape = (32, 32, 3) if kind == "arrays" else None
    return ImageDataset("colours", ("a", "b", "c"), 3, shape, split, split)


def batches(data, recipe, **options):
    options = {"epochs": 3, "seed": 5, "batch_size": 8, **options}
    stream = training_stream(data, recipe, 32, **options)
    return list(stream.as_numpy_iterator())


def same(first, second):
    return all(
        np.array_equal(a, b)
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one, two, strict=True)
    )


WAYS = [("arrays", "keras"), ("arrays", "none"), ("stream", "none")]
WAYS.append(pytest.param("stream", "keras", marks=pytest.mark.large))
if importlib.util.find_spec("keras_cv"):
    WAYS.append(("arrays", "keras_cv"))
    WAYS.append(pytest.param("stream", "keras_cv", marks=pytest.mark.large))


@pytest.mark.parametrize(("kind", "augmentation"), WAYS)
def test_batches_depend_on_seed_epoch_and_step_alone(kind, augmentation):
    data, recipe = colour_dataset(kind), RECIPES["modern"]
    if kind == "stream":
        recipe = dataclasses.replace(recipe, crop="resized")
    whole = batches(data, recipe, augmentation=augmentation)
    assert len(whole) == 9
    assert same(whole, batches(data, recipe, augmentation=augmentation))
    late = batches(data, recipe, augmentation=augmentation, start_epoch=2)
    assert same(whole[6:], late)
    assert not same(whole[:3], whole[3:6])
    assert not same(whole, batches(data, recipe, augmentation=augmentation, seed=6))
    images, labels = whole[0]
    assert images.shape == (8, 32, 32, 3) and images.dtype == "float32"
    assert images.min() >= 0 and images.max() <= 255
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-5)


def test_order_of_a_stream_is_free_of_the_global_seed():
    data, recipe = colour_dataset("stream"), RECIPES["modern"]
    orders = []
    for seed in (0, 9):
        keras.utils.set_random_seed(seed)
        orders.append(batches(data, recipe, seed=0))
    assert same(*orders)
    assert not same(orders[0][:3], orders[0][3:6])


def test_every_image_comes_once_per_epoch():
    data = colour_dataset("arrays")
    recipe = Recipe("plain", epochs=1, batch_size=8, learning_rate=0.1)
    seen = batches(data, recipe, epochs=1, augmentation="none")
    sums = sorted(image.sum() for images, _ in seen for image in images)
    expected = sorted(image.sum() for image in data.train_split.arrays[0].astype("f4"))
    np.testing.assert_allclose(sums, expected)


def test_crops_differ_within_a_batch():
    data = load_image_dataset("digits", max_train_examples=16)
    recipe = Recipe("pad", 1, 16, 0.1, crop="pad", pad=3)
    images = np.full((16, 8, 8, 1), 200, "uint8")
    split = ImageSplit(16, arrays=(images, np.zeros(16, "int64")))
    data = dataclasses.replace(data, train_split=split)
    (cropped, _), *_ = batches(data, recipe, batch_size=16, epochs=1)
    corners = {tuple((image[:, :, 0] > 0).any(1)) for image in cropped}
    assert len(corners) > 3


def test_mixing_gives_soft_labels_and_keras_layers_augment_each_image():
    recipe = Recipe("mix", 1, 8, 0.1, mixup=1.0, label_smoothing=0.1)
    (_, labels), *_ = batches(colour_dataset("arrays"), recipe, epochs=1)
    assert ((labels > 0.04) & (labels < 0.9)).sum() >= 6
    flip = Recipe("flip", 1, 24, 0.1, flip=True)
    data = colour_dataset("arrays")
    (images, _), *_ = batches(data, flip, batch_size=24, epochs=1)
    source = data.train_split.arrays[0].astype("float32")
    kept = sum(any(np.array_equal(i, s) for s in source) for i in images)
    assert 4 < kept < 20


def test_small_images_reach_the_model_size(shared_data):
    for name in ("digits", "mnist"):
        data = load_image_dataset(name, data_dir=shared_data, max_train_examples=64)
        (images, labels), *_ = batches(data, RECIPES["digits"], epochs=1)
        assert images.shape == (8, 32, 32, 1) and labels.shape == (8, 10)
        assert images.max() > 150
    test = next(iter(evaluation_stream(data, 32, 100)))
    assert test[0].shape == (100, 32, 32, 1) and test[1].shape == (100, 10)


def test_photographs_from_files(shared_data):
    data = load_image_dataset(str(shared_data / "imagenette_folder"))
    stream = training_stream(data, RECIPES["sda_imagenet"], 64, 4, epochs=1)
    images, labels = next(iter(stream))
    assert images.shape == (4, 64, 64, 3) and images.numpy().std() > 10
    images, labels = next(iter(evaluation_stream(data, 64, 7)))
    assert images.shape == (7, 64, 64, 3) and labels.shape == (7, 10)


def test_batch_larger_than_the_data():
    with pytest.raises(InvalidInputError, match="batch_size=99, 24 images"):
        batches(colour_dataset("arrays"), RECIPES["cifar"], batch_size=99)


def test_missing_keras_cv_says_how_to_get_it(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "keras_cv" else real(n)
    )
    with pytest.raises(InvalidInputError, match=r'pip install "keras-sda\[keras-cv\]"'):
        batches(colour_dataset("arrays"), RECIPES["cifar"], augmentation="keras_cv")

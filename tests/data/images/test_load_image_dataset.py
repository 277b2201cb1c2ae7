import sys

import numpy as np
import pytest
from PIL import Image

from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.images.load_image_dataset import check_labels
from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.training import load_image_dataset
from keras_sda.utils import InvalidInputError


def write_images(folder, count, size=(20, 16), offset=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = np.full((*size, 3), (index * 7 + offset) % 255, "uint8")
        Image.fromarray(pixels).save(folder / f"{offset}_{index}.png")


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 6), ("val", 2)):
        for offset, name in enumerate(("cat", "dog")):
            write_images(tmp_path / "pets" / part / name, count, offset=offset)
    return tmp_path / "pets"


def test_digits_are_split_evenly_and_always_alike():
    data = load_image_dataset("digits")
    assert (data.num_train, data.num_test, data.channels) == (1437, 360, 1)
    images, labels = data.train_split.arrays
    assert images.dtype == "uint8" and images.max() == 255
    assert min(np.bincount(data.test_split.arrays[1])) >= 34
    again = load_image_dataset("digits").train_split.arrays
    np.testing.assert_array_equal(again[1], labels)
    image, label = next(iter(data.train))
    assert image.shape == (8, 8, 1) and label.dtype == "int64"


def test_first_examples_only():
    data = load_image_dataset("digits", max_train_examples=50)
    assert data.num_train == 50 and len(list(data.train)) == 50
    assert data.num_test == 360


def test_folder_with_test_part(folder):
    data = load_image_dataset(str(folder))
    assert data.class_names == ("cat", "dog")
    assert (data.num_train, data.num_test) == (12, 4)
    shapes = {tuple(image.shape) for image, _ in data.train}
    assert shapes == {(20, 16, 3)}
    assert sorted(int(label) for _, label in data.test) == [0, 0, 1, 1]
    named = load_image_dataset("pets", data_dir=folder.parent)
    assert named.num_train == 12


def test_folder_without_test_part_is_split_by_name(tmp_path):
    write_images(tmp_path / "a", 40)
    write_images(tmp_path / "b", 40, offset=1)
    data = load_image_dataset(str(tmp_path))
    assert data.num_train + data.num_test == 80
    assert 5 <= data.num_test <= 30
    assert set(data.train_split.files[1]) == {0, 1}
    first = set(data.test_split.files[0])
    assert first == set(load_image_dataset(str(tmp_path)).test_split.files[0])
    assert not first & set(data.train_split.files[0])


def test_damaged_files_are_named_and_skipped(folder):
    cat = folder / "train" / "cat"
    (cat / "empty.jpg").write_bytes(b"")
    (cat / "notes.txt").write_text("not an image")
    good = sorted(cat.glob("*.png"))[0]
    Image.open(good).save(cat / "cut.jpg")
    data = (cat / "cut.jpg").read_bytes()
    (cat / "cut.jpg").write_bytes(data[: len(data) // 2])
    for name in (".DS_Store", "labels.json", "list.CSV", "README.md"):
        (cat / name).write_text("ignored")
    loaded = load_image_dataset(str(folder))
    names = [path.rsplit("/", 1)[1] for path in loaded.skipped_files]
    assert names == ["cut.jpg", "empty.jpg"]
    assert loaded.num_train == 12
    with pytest.raises(InvalidInputError, match="2 of 18 file.*cut.jpg.*strict"):
        load_image_dataset(str(folder), strict=True)


def test_folders_that_cannot_be_used(folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidInputError, match="0 class folder"):
        load_image_dataset(str(tmp_path / "none"))
    for name in "ab":
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="no training images"):
        load_image_dataset(str(tmp_path / "empty"))
    write_images(folder / "val" / "fox", 1)
    with pytest.raises(InvalidInputError, match=r"\['fox'\] that train/ lacks"):
        load_image_dataset(str(folder))
    with pytest.raises(InvalidInputError, match="folder that does not exist"):
        load_image_dataset(str(tmp_path / "missing" / "place"))


def test_labels_out_of_range():
    images = np.zeros((3, 8, 8, 1), "uint8")
    split = ImageSplit(3, arrays=(images, np.array([0, 7, 1])))
    with pytest.raises(
        InvalidInputError, match="example 1 has label 7, expected 0 to 4"
    ):
        check_labels(split, 5, "mine")


def test_absent_dataset_names_every_way_out(tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError) as error:
        load_image_dataset("cifar100", data_dir=tmp_path)
    for part in ("--data_dir", "TFDS_DATA_DIR", "--download", "--dataset digits"):
        assert str(error.value).count(part) == 1
    assert str(tmp_path / "downloads" / "manual") in str(error.value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(InvalidInputError, match="elsewhere"):
        load_image_dataset("mnist")
    with pytest.raises(InvalidInputError, match="Did you mean 'cifar10'"):
        load_image_dataset("cifar_10", data_dir=tmp_path)
    with pytest.raises(InvalidInputError, match="Did you mean 'digits'"):
        load_image_dataset("digts", data_dir=tmp_path)


@pytest.mark.parametrize(("limit", "part"), [(1 << 30, "train"), (0, "test")])
def test_damaged_records(shared_data, tmp_path, monkeypatch, limit, part):
    """Small parts are read into memory at once, streams when they are used."""
    module = sys.modules["keras_sda.data.images.load_tfds"]
    monkeypatch.setattr(module, "_MEMORY_LIMIT", limit)
    source = shared_data / "mnist" / "3.0.1"
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        cut = f"-{part}." in path.name
        (folder / path.name).write_bytes(path.read_bytes()[: 30000 if cut else None])
    pattern = f"`dataset` 'mnist': the {part} part in .*{folder}.*truncated.*copy"
    with pytest.raises(InvalidInputError, match=pattern):
        data = load_image_dataset("mnist", data_dir=tmp_path)
        with reading_errors(data.name, part, data.folder):
            sum(1 for _ in data.test)
    for path in folder.glob("*tfrecord*"):
        path.unlink()
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_image_dataset("mnist", data_dir=tmp_path)


def test_prepared_datasets(shared_data):
    mnist = load_image_dataset("mnist", data_dir=shared_data, max_train_examples=10)
    assert (mnist.image_shape, mnist.num_train) == ((28, 28, 1), 10)
    assert (mnist.num_test, len(mnist.class_names)) == (10000, 10)
    photos = load_image_dataset("imagenette_mini", data_dir=shared_data)
    assert (photos.num_train, photos.num_test) == (1300, 400)
    assert photos.class_names[9] == "parachute"
    image, label = next(iter(photos.train))
    assert image.shape == (224, 224, 3) and image.dtype == "uint8"
    with pytest.raises(InvalidInputError, match="class folder"):
        load_image_dataset("coco_mini", data_dir=shared_data)

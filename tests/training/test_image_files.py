"""Image files as cameras and strangers make them, and folders of them."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_sda.data.images.decode_image import decode_image
from keras_sda.data.images.load_image_folder import load_image_folder
from keras_sda.export import predict
from keras_sda.export.formats.read_labels import read_labels
from keras_sda.runs.output_folder import read_run
from keras_sda.training import load_image_dataset
from keras_sda.utils import InvalidInputError

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 5, 3), "uint8")
PIXELS = PIXELS.repeat(16, 0).repeat(16, 1)


def encoded(kind="JPEG", orientation=None, **options):
    stream = io.BytesIO()
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def exif_segment(order, orientation, offset=8):
    """An EXIF part of its own making, with another entry before."""
    end = ">" if order == b"MM" else "<"
    text = order + struct.pack(end + "HI", 42, offset) + bytes(offset - 8)
    text += struct.pack(end + "H", 2) + struct.pack(end + "HHII", 0x010F, 2, 4, 0)
    text += struct.pack(end + "HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    return segment(0xFFE1, b"Exif\0\0" + text)


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def png(width, height):
    def chunk(name, data):
        text = struct.pack(">I", len(data)) + name + data
        return text + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


def patched(data, place, text):
    return data[:place] + text + data[place + len(text) :]


@pytest.fixture(scope="module")
def decode():
    import tensorflow as tf

    return tf.function(
        lambda data: decode_image(data),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 0, 9])
def test_orientation(decode, orientation):
    data = encoded(orientation=orientation, quality=95)
    image = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_allclose(decode(data).numpy().astype(int), image, atol=4)


def test_where_the_orientation_stands(decode):
    plain = encoded()
    comment = segment(0xFFFE, b"no Exif here")
    other = segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0Exif")
    big, little = exif_segment(b"MM", 6), exif_segment(b"II", 8)
    turned, lying = (80, 48, 3), (48, 80, 3)
    for name, inserted, shape in (
        ("big endian", big, turned),
        ("little endian", little, turned),
        ("far", exif_segment(b"II", 8, 900), turned),
        ("behind others", comment + other + big, turned),
        ("none", comment + other, lying),
        ("beyond the end", exif_segment(b"II", 8)[:-14] + bytes(14), lying),
        ("long", segment(0xFFE2, bytes(65000)) * 2 + big, turned),
    ):
        assert decode(plain[:2] + inserted + plain[2:]).shape == shape, name
    behind = plain.index(b"\xff\xdb")
    assert decode(plain[:behind] + little + plain[behind:]).shape == turned
    for kind in ("PNG", "GIF", "BMP", "WEBP"):
        assert decode(encoded(kind)).shape == lying, kind


def bombs():
    jpeg = encoded()
    lossless, lossy = encoded("WEBP", lossless=True), encoded("WEBP")
    width = struct.pack("<I", (16383 - 1) | (16383 - 1) << 14)
    return {
        "png": png(20000, 20000),
        "png of most": png(2**31 - 1, 2**31 - 1),
        "jpeg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, b"\xea\x60\xea\x60"),
        "gif": patched(encoded("GIF"), 6, struct.pack("<HH", 60000, 60000)),
        "bmp": patched(encoded("BMP"), 18, struct.pack("<ii", 30000, -30000)),
        "webp": patched(lossy, 26, struct.pack("<HH", 16383, 16383)),
        "webp lossless": patched(lossless, 21, width),
    }


@pytest.mark.parametrize("kind", bombs())
def test_images_of_too_many_pixels_are_not_decoded(decode, kind):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 134,217,728"):
        decode(bombs()[kind])


def test_limit_can_be_set(monkeypatch):
    import tensorflow as tf

    monkeypatch.setenv("KERAS_SDA_MAX_PIXELS", str(48 * 80))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        assert decode_image(encoded(kind)).shape == (48, 80, 3)
    monkeypatch.setenv("KERAS_SDA_MAX_PIXELS", str(48 * 80 - 1))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than 3,839"):
            decode_image(encoded(kind))
    monkeypatch.setenv("KERAS_SDA_MAX_PIXELS", "many")
    with pytest.raises(InvalidInputError, match="must be a positive integer.*'many'"):
        decode_image(encoded())


def test_predict_names_the_file(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "large.png").write_bytes(png(20000, 20000))
    (tmp_path / "text.png").write_bytes(b"hello")
    with pytest.raises(InvalidInputError, match=r"large.png has more than 134,217,728"):
        predict(tmp_path, tmp_path / "large.png")
    with pytest.raises(InvalidInputError, match="text.png is no image"):
        predict(tmp_path, tmp_path / "text.png")


def fill(folder, count, data=None):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        content = data or encoded("PNG")
        (folder / f"{folder.name}{index}.png").write_bytes(content)


def test_folder_of_turned_and_large_images(tmp_path):
    fill(tmp_path / "a", 2, encoded(orientation=6))
    fill(tmp_path / "b", 2)
    (tmp_path / "b" / "large.png").write_bytes(png(20000, 20000))
    data = load_image_folder(tmp_path)
    shapes = {int(y): tuple(x.shape) for x, y in data.train.concatenate(data.test)}
    assert shapes == {0: (80, 48, 3), 1: (48, 80, 3)}
    assert data.skipped_files == (str(tmp_path / "b" / "large.png"),)
    with pytest.raises(InvalidInputError, match="1 of 5 file.*more than 134,217,728"):
        load_image_folder(tmp_path, strict=True)


def test_every_class_is_divided(tmp_path):
    counts = {"a": 20, "b": 5, "c": 2, "d": 1, "e": 11}
    for name, count in counts.items():
        fill(tmp_path / name, count)
    data = load_image_folder(tmp_path)
    tests = np.bincount(data.test_split.files[1], minlength=5).tolist()
    trained = np.bincount(data.train_split.files[1], minlength=5).tolist()
    assert tests == [4, 1, 1, 0, 2]
    assert trained == [16, 4, 1, 1, 9]
    again = load_image_folder(tmp_path)
    assert list(again.test_split.files[0]) == list(data.test_split.files[0])
    # Another class takes no image from the training to the test part or back.
    fill(tmp_path / "f", 10)
    later = load_image_folder(tmp_path)
    chosen = [x for x in later.test_split.files[0] if os.sep + "f" + os.sep not in x]
    assert chosen == list(data.test_split.files[0])


def test_split_of_earlier_versions(tmp_path):
    """About a fifth by the hash of the name, in which a class may be missing."""
    for name in "ab":
        fill(tmp_path / name, 6)
    data = load_image_dataset(str(tmp_path), split="by_name")
    names = [path.rsplit(os.sep, 1)[1] for path in data.test_split.files[0]]
    assert names == OLD_TEST
    (tmp_path / "run").mkdir()
    stored = {"model": "m", "dataset": "d", "command": "train"}
    (tmp_path / "run" / "options.json").write_text(json.dumps(stored))
    # Runs that were split so are not gone on with by another rule.
    with pytest.raises(InvalidInputError, match="earlier version"):
        read_run(tmp_path / "run")


# What load_image_folder of commit cd455f2 chose.
OLD_TEST = ["a0.png"]


def test_classes_without_images_are_named(tmp_path):
    fill(tmp_path / "a", 5)
    fill(tmp_path / "b", 1, b"no image")
    (tmp_path / "c").mkdir()
    with pytest.raises(InvalidInputError, match=r"2 class\(es\) have no .*'b', 'c'"):
        load_image_folder(tmp_path)
    for name in ("a", "b"):
        fill(tmp_path / "two" / "train" / name, 2 if name == "a" else 0)
        fill(tmp_path / "two" / "test" / name, 2)
    with pytest.raises(InvalidInputError, match=r"no training images .*: 'b'"):
        load_image_folder(tmp_path / "two")


def test_names_that_are_no_text(tmp_path):
    fill(tmp_path / "data" / "a", 3)
    fill(tmp_path / "data" / "b", 3)
    root = os.fsencode(tmp_path / "data")
    os.rename(root + b"/a/a0.png", root + b"/a/caf\xe9.png")
    with open(root + b"/a/bad\xe9.png", "wb") as file:
        file.write(b"no image")
    data = load_image_folder(tmp_path / "data")
    assert data.num_train + data.num_test == 6
    assert sum(1 for _ in data.train) == data.num_train
    assert [name.rsplit("/", 1)[1] for name in data.skipped_files] == [r"bad\udce9.png"]
    os.rename(root + b"/b", root + b"/b\xe9")
    with pytest.raises(InvalidInputError, match="no line of text in UTF-8.*Rename"):
        load_image_folder(tmp_path / "data")
    os.rename(root + b"/b\xe9", root + b"/b\nb")
    with pytest.raises(InvalidInputError, match="no line of text in UTF-8"):
        load_image_folder(tmp_path / "data")


@pytest.mark.parametrize("name", ["", " ", "\t\n", None, 7, "a\0b"])
def test_empty_dataset(name, tmp_path, monkeypatch):
    for folder in "ab":
        fill(tmp_path / folder, 2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="`dataset` "):
        load_image_dataset(name)
    assert load_image_dataset(".").num_train == 2


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfcat\nd\xc3\xb6g\n",
        b"cat\r\nd\xc3\xb6g\r\n\r\n",
        b"cat\rd\xc3\xb6g",
        b"cat\nd\xc3\xb6g\n \n\n",
    ],
)
def test_labels_of_every_system(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt", 2) == ["cat", "dög"]


def test_labels_that_cannot_be_used(tmp_path, caplog):
    path = tmp_path / "labels.txt"
    for content, match in (
        ("cat\ndog\n".encode("utf-16"), "UTF-16"),
        (b"cat\nd\xf6g\n", "no UTF-8 at byte 5"),
        (b"cat\n\ndog\n", "holds 3 names"),
        (b"cat\n \na\xe2\x80\xa8b\n", "name 1 is"),
        (b"cat\ndog\x0bhouse\n", "one line of text"),
        (b"", "holds 0 names"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=match) as error:
            read_labels(path, 3 if b"\xe2\x80" in content else 2)
        assert "\n" not in str(error.value)
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read_labels(["cat", "d\udcf6g"], 2)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_labels(tmp_path, 2)

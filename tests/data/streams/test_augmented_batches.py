"""Batches that are cropped and mirrored in numpy."""

import numpy as np

from keras_sda.training import AugmentedBatches


def test_every_image_is_cropped_and_mirrored_on_its_own():
    image = np.arange(1, 17, dtype="uint8").reshape(4, 4, 1)
    images, labels = np.repeat(image[None], 64, 0), np.arange(64)
    batches = AugmentedBatches(images, labels, 64, pad=1, flip=True)
    found, numbers = batches[0]
    assert sorted(numbers) == list(range(64)) and found.dtype == np.float32
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    expected = set()
    for row in range(3):
        for column in range(3):
            crop = padded[row : row + 4, column : column + 4]
            expected |= {crop.tobytes(), crop[:, ::-1].tobytes()}
    seen = {one.astype("uint8").tobytes() for one in found}
    assert seen <= expected and len(seen) > 12


def test_plain_and_repeatable():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (10, 4, 4, 3), "uint8")
    labels = np.arange(10)
    plain = AugmentedBatches(images, labels, 4)
    assert [len(plain[number][1]) for number in range(len(plain))] == [4, 4, 2]
    for number in range(3):
        found, numbers = plain[number]
        np.testing.assert_array_equal(found, images[numbers])
    first = AugmentedBatches(images, labels, 4, seed=5, pad=2, flip=True)
    one = first[1][0]
    first.on_epoch_end()
    later = AugmentedBatches(images, labels, 4, seed=5, epoch=1, pad=2, flip=True)
    np.testing.assert_array_equal(first[1][0], later[1][0])
    assert not np.array_equal(one, first[1][0])

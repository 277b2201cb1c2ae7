"""What the trainer knows about a dataset."""

import dataclasses
from typing import Any

from keras_sda.data.images.image_split import ImageSplit


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """A labelled image dataset with a training and a test part.

    Made by `load_image_dataset`.

    Args:
        name: The name it was asked for.
        class_names: One name per class, in the order of the labels.
        channels: Channels per image.
        image_shape: `(height, width, channels)`, or None when the sizes differ.
        train_split: The training part.
        test_split: The test part.
        skipped_files: Files that could not be decoded and are left out.
        folder: Where the data lies, for messages. Defaults to `""`, not in files.

    Example:

    >>> from keras_sda.training import load_image_dataset
    >>> data = load_image_dataset("digits")
    >>> data.image_shape, data.num_train + data.num_test
    ((8, 8, 1), 1797)
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    image_shape: tuple[int, int, int] | None
    train_split: ImageSplit
    test_split: ImageSplit
    skipped_files: tuple[str, ...] = ()
    folder: str = ""

    @property
    def default_size(self) -> int:
        """Height and width to train at: that of the images, at least 32, else 224."""
        return max(32, *self.image_shape[:2]) if self.image_shape else 224

    @property
    def num_train(self) -> int:
        """Number of training images."""
        return self.train_split.num_examples

    @property
    def num_test(self) -> int:
        """Number of test images."""
        return self.test_split.num_examples

    @property
    def train(self) -> Any:
        """`tf.data.Dataset` of `(uint8 image [h, w, c], int64 label)`."""
        return self.train_split.dataset()

    @property
    def test(self) -> Any:
        """`tf.data.Dataset` of `(uint8 image [h, w, c], int64 label)`."""
        return self.test_split.dataset()

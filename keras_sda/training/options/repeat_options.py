"""What the options of every repetition of a published table have in common."""

import dataclasses

from keras_sda.data.images.image_arrays import load_image_arrays
from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.training.options.checked_options import CheckedOptions, option


@dataclasses.dataclass(frozen=True)
class RepeatOptions(CheckedOptions):
    """Recipe, images and folder of the repetition of a published table.

    Use it as the base of the options of one experiment.

    Args:
        recipe: Name of the published recipe.
        model: Network, instead of that of the recipe.
        dataset: Images, instead of those of the recipe.
        data_dir: Folder of the prepared TensorFlow Datasets.
        arrays: Files of `save_image_arrays` instead of a dataset, with commas.
        batch_size: Images per step, instead of those of the recipe.
        max_train_examples: Use the first N training images.
        seed: Seed of weights, order and augmentation.
        output: Folder of the results.

    Raises:
        InvalidInputError: A value is not usable, with the nearest valid name.

    Example:

    ```python
    images = RepeatOptions(dataset="digits").load()
    ```
    """

    recipe: str = option("", "Published recipe.")
    model: str | None = option(None, "Network, instead of that of the recipe.")
    dataset: str | None = option(None, "Images, instead of those of the recipe.")
    data_dir: str | None = option(None, "Folder of the prepared TensorFlow Datasets.")
    arrays: str = option("", "Files of arrays instead of a dataset, with commas.")
    batch_size: int | None = option(None, "Instead of the recipe's.", positive=True)
    max_train_examples: int | None = option(None, "Use the first N.", positive=True)
    seed: int = option(0, "Seed of weights, order and augmentation.", least=0)
    output: str = option("runs/repeat", "Folder of the results.")

    @property
    def published_dataset(self) -> str:
        """Name of the images of the recipe."""
        raise TypeError(f"{type(self).__name__} must define `published_dataset`.")

    def load(self) -> ImageDataset:
        """The images of `arrays`, or of a dataset by its name.

        Raises:
            InvalidInputError: There are none.
        """
        name, count = self.dataset or self.published_dataset, self.max_train_examples
        if self.arrays:
            return load_image_arrays(self.listed("arrays"), name, count)
        return load_image_dataset(
            name, data_dir=self.data_dir, max_train_examples=count
        )

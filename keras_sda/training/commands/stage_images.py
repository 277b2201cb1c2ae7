"""Images for the stages of a search, on every backend."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.streams.augmented_batches import AugmentedBatches
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.data.streams.training_stream import steps_per_epoch, training_stream
from keras_sda.tasks import Classification, Task
from keras_sda.training.recipes.recipes import RECIPES, default_recipe

_LARGEST_IN_MEMORY = 64


class StageImages:
    """Training and test images of one dataset, as `ChannelSearch` takes them.

    Small images in memory are padded, cropped and mirrored in numpy, which needs no
    TensorFlow; others come from `training_stream`. What is done to them is that of the
    training recipe that suits the dataset.

    Args:
        dataset: The images.
        batch_size: Images per step, at most all of them.
        size: Height and width in pixels. Defaults to `None`, those of the dataset.

    Attributes:
        dataset: The dataset.
        size: Height and width in pixels.
        batch_size: Images per step.
        steps: Steps per epoch.

    Example:

    ```python
    images = StageImages(load_image_dataset("cifar10"), batch_size=128)
    data, options = images.stage(epochs=100, seed=0)
    search.train_weights(data, 100, **options)
    ```
    """

    def __init__(self, dataset: ImageDataset, batch_size: int, size: int | None = None):
        self.dataset, self.size = dataset, size or dataset.default_size
        self.recipe = dataclasses.replace(
            RECIPES[default_recipe(dataset.name, self.size)], label_smoothing=0.0
        )
        self.batch_size = min(batch_size, dataset.num_train)
        self.in_memory = (
            dataset.train_split.arrays is not None and self.size <= _LARGEST_IN_MEMORY
        )
        if self.in_memory:
            self.steps = -(-dataset.num_train // self.batch_size)
            self._train = self._sized(dataset.train_split.arrays)
            self._test = self._sized(dataset.test_split.arrays)
        else:
            self.steps = steps_per_epoch(dataset, self.batch_size)

    def stage(
        self, epochs: int, seed: int, task: Task | None = None
    ) -> tuple[Any, dict]:
        """The data of one stage and its options, with the test images.

        Args:
            epochs: Passes over the training images.
            seed: Seed of order and augmentation.
            task: What the streams are for. Defaults to None: one-hot classes.
        """
        options = {"batch_size": self.batch_size, "validation_data": self.test(task)}
        if self.in_memory:
            recipe = self.recipe

            def stream(start):
                images, labels = self._train
                return AugmentedBatches(
                    images, labels, self.batch_size, seed, start, recipe.pad,
                    recipe.flip,
                )  # fmt: skip

            return stream, options

        make = training_stream if task is None else task.training_stream

        def read(start):
            return make(
                self.dataset, self.recipe, self.size, self.batch_size, epochs,
                seed=seed, start_epoch=start,
            )  # fmt: skip

        return read, {**options, "steps_per_epoch": self.steps}

    def test(self, task: Task | None = None) -> Any:
        """The test images in batches, as `evaluate` takes them.

        Args:
            task: As in `stage`. Defaults to None.
        """
        if not self.in_memory:
            make = evaluation_stream if task is None else task.evaluation_stream
            return make(self.dataset, self.size, self.batch_size)
        # Of one size, so that nothing is compiled twice.
        count = self.dataset.num_test
        batch_size = max(n for n in range(1, 1001) if count % n == 0)
        images, labels = self._test
        return AugmentedBatches(images, labels, batch_size)

    def test_arrays(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The test images in batches, with their class numbers."""
        data = self.test()
        if self.in_memory:
            yield from (data[number] for number in range(len(data)))
            return
        for images, targets in data:
            yield images.numpy(), targets.numpy().argmax(-1)

    def accuracy(self, model: keras.Model) -> float:
        """Share of the test images whose class a model names.

        Args:
            model: A classifier that takes pixels from 0 to 255.
        """
        right = total = 0
        task = Classification.of(model)
        for images, labels in self.test_arrays():
            outputs = model.predict_on_batch(images)
            right += int((task.class_numbers(outputs) == labels).sum())
            total += len(labels)
        return right / total

    def _sized(self, arrays):
        images, labels = arrays
        if images.shape[1:3] != (self.size, self.size):
            images = keras.ops.image.resize(images, (self.size, self.size))
            images = np.clip(keras.ops.convert_to_numpy(images), 0, 255)
        return images, labels

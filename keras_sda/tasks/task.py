"""What a command asks about the outputs of a network, and nobody else answers."""

import abc
from typing import Any, ClassVar

import keras

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.reading_errors import reading_errors
from keras_sda.data.streams.augmentation import Augmentation


class Task(abc.ABC):
    """Loss, metrics, streams and evaluation that fit a network and its data.

    Base of all tasks. Train, fine-tune, evaluate, prune, search and group ask their
    task for whatever depends on what the outputs mean, so that another kind of output
    needs a task, not commands of its own. A subclass says which models it takes
    (`check_model`), and what `loss`, `metrics` and the streams are; `compile` and
    `evaluate` are the same for all.

    Attributes:
        name: Name of the task.

    Example:

    ```python
    class Regression(Task):
        name = "regress"

        def loss(self):
            return keras.losses.MeanSquaredError()
        ...

    fine_tune_classifier(model, data, 32, recipe, 3, "backup", task=Regression())
    ```
    """

    name: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def check_model(cls, model: keras.Model, path: Any, dataset: ImageDataset) -> int:
        """Height and width of the images that a model takes.

        Args:
            model: The model.
            path: Where it came from, for messages.
            dataset: The images.

        Raises:
            InvalidInputError: Its inputs or outputs do not fit the dataset.
        """

    @abc.abstractmethod
    def loss(self) -> keras.losses.Loss:
        """The loss for the outputs and the targets of the streams."""

    @abc.abstractmethod
    def metrics(self, full: bool = False) -> list[keras.metrics.Metric]:
        """New metrics; the first one is what a run is judged by.

        Args:
            full: Also those that only an evaluation shows. Defaults to `False`.
        """

    @abc.abstractmethod
    def training_stream(
        self,
        dataset: ImageDataset,
        recipe: Augmentation,
        image_size: int,
        batch_size: int,
        epochs: int,
        **options: Any,
    ) -> Any:
        """Batches to train on, as a function of the seed, the epoch and the step.

        Args:
            dataset: The images.
            recipe: How they are changed.
            image_size: Height and width in pixels.
            batch_size: Images per batch.
            epochs: The stream ends after this epoch.
            **options: See `data.training_stream`.
        """

    @abc.abstractmethod
    def evaluation_stream(
        self, dataset: ImageDataset, image_size: int, batch_size: int
    ) -> Any:
        """All test images in order.

        Args:
            dataset: The images.
            image_size: Height and width in pixels.
            batch_size: Images per batch.
        """

    def compile(
        self, model: keras.Model, optimizer: Any = None, full: bool = False
    ) -> None:
        """Compiles a model with loss and metrics of the task.

        Args:
            model: The model.
            optimizer: A Keras optimizer. Defaults to `None`, where nothing is trained.
            full: See `metrics`.
        """
        model.compile(optimizer or "sgd", loss=self.loss(), metrics=self.metrics(full))

    def evaluate(
        self,
        model: keras.Model,
        dataset: ImageDataset,
        image_size: int,
        batch_size: int = 128,
        full: bool = False,
    ) -> dict[str, float]:
        """Loss and metrics on the test images; the model is compiled.

        Args:
            model: The model.
            dataset: The images.
            image_size: Height and width in pixels.
            batch_size: Images per step. Defaults to `128`.
            full: See `metrics`.
        """
        self.compile(model, full=full)
        stream = self.evaluation_stream(dataset, image_size, batch_size)
        with reading_errors(dataset.name, "test", dataset.folder):
            results = model.evaluate(stream, verbose=0, return_dict=True)
        return {name: float(value) for name, value in results.items()}

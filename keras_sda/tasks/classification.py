"""One class per image, or several labels: the one answer to what outputs mean."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.streams.augmentation import Augmentation
from keras_sda.data.streams.evaluation_stream import evaluation_stream
from keras_sda.data.streams.training_stream import training_stream
from keras_sda.graph import Head, find_head
from keras_sda.tasks.task import Task
from keras_sda.utils import InvalidInputError

_TINY = 1e-7


class Classification(Task):
    """What follows from the head of a classifier.

    Use `Classification.of` wherever the outputs of a classifier are trained, measured
    or read; nothing else may guess. Outputs are those of

    * a softmax: one class per image,
    * several sigmoids: each stands for itself. On images of one class each, the best
      one counts;
    * one sigmoid: two classes, of which it is the probability of the second.

    Each may come as probabilities or as logits.

    Args:
        head: What the outputs mean.

    Attributes:
        head: The same.
        one_unit: Whether one unit stands for two classes.
        num_classes: Number of class names.

    Raises:
        InvalidInputError: The head is a softmax over one unit.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.tasks import Classification
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(1, activation="sigmoid")(x))
    >>> task = Classification.of(model)
    >>> task.num_classes, task.loss().name
    (2, 'binary_crossentropy')
    >>> task.class_numbers(np.array([[0.2], [0.9]])).tolist()
    [0, 1]
    """

    name = "classify"

    def __init__(self, head: Head):
        if head.kind == "softmax" and head.num_units == 1:
            raise InvalidInputError(
                f"{head.layer!r} is a softmax over one unit, which is always 1. Give "
                "the model a sigmoid for two classes, or one unit per class."
            )
        self.head = head
        self.one_unit = head.task == "binary"
        self.num_classes = head.num_classes

    @classmethod
    def of(
        cls,
        model: keras.Model,
        activation: str | None = None,
        exclusive: bool | None = True,
        advice: str = "",
    ) -> "Classification":
        """Reads what the outputs of a model mean; see `graph.find_head`.

        Args:
            model: A functional or built sequential model with one output
                `(batch, units)`.
            activation: What somebody who knows has said. Defaults to `None`.
            exclusive: Whether every image has exactly one class, which tells what
                several logits mean; None where that is not known. Defaults to `True`.
            advice: Closing sentence of the error. Defaults to how to give
                `activation`.

        Raises:
            InvalidInputError: It cannot be known, or `activation` contradicts the
                model.
        """
        return cls(find_head(model, activation, exclusive, advice))

    @classmethod
    def check_model(cls, model: keras.Model, path: Any, dataset: ImageDataset) -> int:
        """Height and width of the images that a classifier takes.

        Args:
            model: The model.
            path: Where it came from, for messages.
            dataset: The images.

        Raises:
            InvalidInputError: Images or classes do not fit it.
        """
        inputs, outputs = model.input_shape, model.output_shape
        classes = len(dataset.class_names)
        if (
            not isinstance(inputs, tuple)
            or len(inputs) != 4
            or inputs[-1] != dataset.channels
            or inputs[1] != inputs[2]
            or inputs[1] is None
        ):
            raise InvalidInputError(
                f"`model_path` {path} takes {inputs}; `dataset` {dataset.name!r} needs "
                f"a model of square images with {dataset.channels} channel(s)."
            )
        if len(outputs) != 2:
            raise InvalidInputError(
                f"`model_path` {path} does not return classes: its output has the "
                f"shape {outputs}, expected (None, {classes})."
            )
        if outputs[-1] != classes and (outputs[-1], classes) != (1, 2):
            two = "; one sigmoid unit stands for two" if outputs[-1] == 1 else ""
            raise InvalidInputError(
                f"`model_path` {path} has {outputs[-1]} classes, `dataset` "
                f"{dataset.name!r} has {classes}. Give a model with one output per "
                f"class{two}."
            )
        return inputs[1]

    def loss(self, one_hot: bool = True) -> keras.losses.Loss:
        """The cross-entropy that fits.

        Args:
            one_hot: Whether the targets have the shape of the outputs, as those of
                the streams do; else they are class numbers. Defaults to `True`.
        """
        return self.head.loss(one_hot)

    def metrics(
        self, full: bool = False, one_hot: bool = True
    ) -> list[keras.metrics.Metric]:
        """The accuracy, that of the best class; for one unit at even odds.

        Args:
            full: Also that of the five best, where there are more. Defaults to
                `False`.
            one_hot: As in `loss`.
        """
        kinds = keras.metrics
        if self.one_unit:
            return [_OneUnitAccuracy(self.head.from_logits)]
        if not one_hot:
            return [kinds.SparseCategoricalAccuracy(name="accuracy")]
        found = [kinds.CategoricalAccuracy(name="accuracy")]
        if full and self.num_classes > 5:
            found.append(kinds.TopKCategoricalAccuracy(5, name="top_5_accuracy"))
        return found

    def targets(self, one_hot: Any) -> Any:
        """One-hot targets, smoothed or mixed ones too, in the shape of the outputs.

        Args:
            one_hot: `(batch, classes)`, an array or tensor.
        """
        return one_hot[:, 1:] if self.one_unit else one_hot

    def training_stream(
        self,
        dataset: ImageDataset,
        recipe: Augmentation,
        image_size: int,
        batch_size: int,
        epochs: int,
        **options: Any,
    ) -> Any:
        """`data.training_stream` with targets in the shape of the outputs."""
        return self._shaped(
            training_stream(dataset, recipe, image_size, batch_size, epochs, **options)
        )

    def evaluation_stream(
        self, dataset: ImageDataset, image_size: int, batch_size: int
    ) -> Any:
        """`data.evaluation_stream` with targets in the shape of the outputs."""
        return self._shaped(evaluation_stream(dataset, image_size, batch_size))

    def probabilities(self, outputs: Any) -> Any:
        """Float32 probabilities from the outputs of the model, of the same shape.

        Args:
            outputs: `(batch, units)`.
        """
        return self.head.probabilities(outputs)

    def loss_and_chance(
        self, model: keras.Model, stream: Iterable[Any]
    ) -> tuple[float, float]:
        """The cross-entropy on some images, and the least of one that sees none.

        The latter always names how frequent the classes are.

        Args:
            model: The model. It is not compiled.
            stream: Batches of images and targets, as those of `training_stream`;
                smoothed targets count as the class that they are highest for.
        """
        numbers, losses = [], []
        for images, targets in stream:
            found = both_classes(self.probabilities(model(images, training=False)))
            found = ops.convert_to_numpy(found)
            right = ops.convert_to_numpy(both_classes(targets)).argmax(-1)
            numbers.append(right)
            chances = found[np.arange(len(found)), right]
            losses.append(-np.log(np.maximum(chances, _TINY)))
        _, counts = np.unique(np.concatenate(numbers), return_counts=True)
        shares = counts / counts.sum()
        loss = float(np.concatenate(losses).mean(dtype="float64"))
        return loss, float(-(shares * np.log(shares)).sum())

    def class_numbers(self, outputs: Any) -> np.ndarray:
        """The class that the model names for every image.

        Args:
            outputs: `(batch, units)`, what the model returned.
        """
        outputs = ops.convert_to_numpy(outputs)
        if self.one_unit:
            return (outputs[:, 0] > _even_odds(self.head.from_logits)).astype(int)
        return outputs.argmax(-1)

    def _shaped(self, stream):
        if not self.one_unit:
            return stream
        return stream.map(lambda images, targets: (images, self.targets(targets)))


def both_classes(probabilities: Any) -> Any:
    """A column per class: one unit is the probability of the second of two.

    Args:
        probabilities: `(batch, units)`.

    Example:

    >>> import numpy as np
    >>> from keras_sda.tasks.classification import both_classes
    >>> np.asarray(both_classes(np.array([[0.25]]))).tolist()
    [[0.75, 0.25]]
    """
    if probabilities.shape[-1] != 1:
        return probabilities
    return ops.concatenate([1 - probabilities, probabilities], axis=-1)


def _even_odds(from_logits):
    return 0.0 if from_logits else 0.5


@keras.saving.register_keras_serializable("keras_sda", "OneUnitAccuracy")
class _OneUnitAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of the images on whose side of even odds the one unit is.

    `BinaryAccuracy` of Keras takes neither logits nor smoothed targets.
    """

    def __init__(self, from_logits=False, name="accuracy", dtype=None):
        super().__init__(_right_side, name, dtype, odds=_even_odds(from_logits))
        self.from_logits = from_logits

    def get_config(self):
        return {
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }


def _right_side(targets, outputs, odds):
    targets = ops.reshape(ops.cast(targets, "float32"), ops.shape(outputs))
    same = ops.equal(targets > 0.5, outputs > odds)
    return ops.mean(ops.cast(same, "float32"), axis=-1)

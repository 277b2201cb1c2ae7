"""A model that learns from its labels and from what another model answers."""

import os
from collections.abc import Callable
from typing import Any

import keras

from keras_sda.graph import as_functional
from keras_sda.utils.num_replicas import num_replicas


class DistilledModel(keras.Model):
    """The layers of a student, trained with a part of the loss from a teacher.

    Made by `Distillation.wrap`; compile and fit it as you would the student, which is
    trained in place. Sample and class weights count in both parts, penalties of the
    layers in full. What is measured (`evaluate`, `val_loss`) is the loss of the labels
    alone.

    To callbacks it is the student: it has the same layers and `weights`, the teacher is
    in no file, and `save` writes the student.

    `keras.distillation.Distiller` is another model around both: its weight files and
    backups hold the teacher, it makes the teacher untrainable, leaves sample weights
    and penalties out, and asks the teacher in every evaluation.

    Args:
        student: A functional or built sequential classifier.
        teacher: Gives outputs for inputs; not trained.
        loss: Of the outputs of the teacher and of the student, a Keras loss.
        weight: Share of that loss, above 0 and up to 1; the labels have the rest.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.objectives import Distillation
    >>> def network():
    ...     x = keras.Input((4,))
    ...     return keras.Model(x, keras.layers.Dense(3, activation="softmax")(x))
    >>> student, teacher = network(), network()
    >>> model = Distillation(teacher, weight=1.0).wrap(student)
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> history = model.fit(np.ones((8, 4)), np.zeros(8), verbose=0)
    >>> len(model.weights) == len(student.weights)
    True
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: Callable[[Any], Any],
        loss: keras.losses.Loss,
        weight: float,
    ):
        graph = as_functional(student)
        super().__init__(inputs=graph.input, outputs=graph.output, name=student.name)
        # Functions, which Keras does not look into: the teacher is no part of this.
        self._plain = lambda: student
        self._teach = lambda inputs: keras.ops.stop_gradient(teacher(inputs))
        self._distance, self._share = loss, weight

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        distance = self._distance(self._teach(x), y_pred, sample_weight)
        distance = keras.ops.cast(distance, loss.dtype)
        penalties = [keras.ops.cast(value, loss.dtype) for value in self.losses]
        labels = loss - sum(penalties) / num_replicas()
        return loss + self._share * (distance - labels)

    def save(
        self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs
    ) -> None:
        """Writes the student as it is, without this optimizer.

        Args:
            filepath: As in `keras.Model.save`.
            overwrite: Likewise.
            **kwargs: Likewise.
        """
        self._plain().save(filepath, overwrite=overwrite, **kwargs)

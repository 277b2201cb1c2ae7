"""Training on with what a larger network says as a second target."""

import dataclasses
from typing import Any

import keras

from keras_sda.graph import Head, as_functional
from keras_sda.objectives.distillation_loss import DistillationLoss
from keras_sda.objectives.distilled_model import DistilledModel
from keras_sda.tasks import Classification
from keras_sda.utils import InvalidInputError, model_digest
from keras_sda.utils.check_arguments import check_arguments


@dataclasses.dataclass(frozen=True, eq=False)
class Distillation:
    """Who teaches a network that is trained on, and how much that counts.

    Use it where a network was made smaller: the whole one has learned more than the
    labels say, such as which wrong class is the next best. Give it to
    `fine_tune_classifier` or `ChannelSearch.fine_tune`, or call `wrap` around a model
    that you compile and fit yourself.

    Args:
        teacher: A trained classifier that takes what the student takes and returns as
            many outputs. It is not changed, nor saved with the student.
        weight: Share of the loss that the teacher gives, above 0 and up to 1; the
            labels give the rest. Defaults to `0.5`.
        temperature: How much the probabilities are softened before they are compared,
            see `DistillationLoss`. Defaults to `4`.
        head: What the outputs of both mean, where the models do not show it; see
            `graph.find_head`. Defaults to `None`: both do.

    Raises:
        InvalidInputError: An argument is of another kind.

    Example:

    >>> import keras_sda
    >>> from keras_sda.objectives import Distillation
    >>> model = keras_sda.applications.LeNet()
    >>> small = keras_sda.pruning.prune(model, macs=0.5).model
    >>> distilled = Distillation(model).wrap(small)
    >>> distilled.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    >>> # distilled.fit(images, labels); then small.save("small.keras")

    Source: arXiv 1503.02531, section 2.
    """

    teacher: keras.Model
    weight: float = 0.5
    temperature: float = 4.0
    head: Head | None = None

    def __post_init__(self):
        if not isinstance(self.teacher, keras.Model):
            raise InvalidInputError(
                "`teacher` must be a trained Keras model. Received: "
                f"teacher={self.teacher!r:.80}."
            )
        check_arguments("number", weight=self.weight, temperature=self.temperature)
        if self.weight > 1:
            raise InvalidInputError(
                "`weight` is a share of the loss, above 0 and up to 1. Received: "
                f"weight={self.weight!r}."
            )

    def wrap(self, student: keras.Model) -> keras.Model:
        """A model to compile and fit in place of the student, which it trains.

        Args:
            student: A functional or built sequential classifier.

        Returns:
            A `DistilledModel`.

        Raises:
            InvalidInputError: Inputs or outputs of the teacher are others, it shares a
                variable with the student, or what outputs mean cannot be known.
        """
        self._check(student)
        mine = self.head or Classification.of(student, exclusive=None).head
        theirs = self._teacher_head()
        if theirs.kind != mine.kind:
            raise InvalidInputError(
                f"`teacher` '{self.teacher.name}' ends in a {theirs.kind}, "
                f"'{student.name}' in a {mine.kind}: their outputs do not mean the "
                "same. Give a teacher of the same kind."
            )
        loss = DistillationLoss(
            mine.kind, mine.from_logits, theirs.from_logits, self.temperature
        )
        teacher = self.teacher
        return DistilledModel(
            student, lambda inputs: teacher(inputs, training=False), loss, self.weight
        )

    def settings(self) -> dict[str, Any]:
        """What a training depends on, as a run notes it."""
        return {
            "teacher": model_digest(self.teacher),
            "weight": self.weight,
            "temperature": self.temperature,
        }

    def _teacher_head(self):
        try:
            return Classification.of(self.teacher, exclusive=None).head
        except InvalidInputError:
            if self.head is None:
                raise
            return self.head

    def _check(self, student):
        pairs = as_functional(self.teacher), as_functional(student)
        for name in ("inputs", "outputs"):
            theirs, mine = (
                [tuple(tensor.shape) for tensor in getattr(graph, name)]
                for graph in pairs
            )
            if not _fit(theirs, mine):
                raise InvalidInputError(
                    f"`teacher` '{self.teacher.name}' has {name} of the shapes "
                    f"{theirs}, '{student.name}' of {mine}. Give a teacher for the "
                    "same images and classes, such as the network that it was made of."
                )
        known = {id(variable) for variable in self.teacher.variables}
        if any(id(variable) in known for variable in student.variables):
            raise InvalidInputError(
                f"`teacher` '{self.teacher.name}' shares variables with "
                f"'{student.name}' and would change with it. Give a copy, such as "
                "`keras.models.clone_model` with the same weights."
            )


def _fit(one, other):
    """Whether shapes are the same, as far as both are known."""
    return len(one) == len(other) and all(
        len(a) == len(b)
        and all(None in pair or len(set(pair)) == 1 for pair in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )

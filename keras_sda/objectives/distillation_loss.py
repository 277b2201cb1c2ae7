"""How far the outputs of one classifier are from those of another."""

from typing import Any

import keras
from keras import ops

from keras_sda.utils import InvalidInputError
from keras_sda.utils.check_arguments import check_arguments

KINDS = ("softmax", "sigmoid")
# Below it a probability counts as this: the logarithm stays finite in float32. One
# minus a probability is no finer than 6e-8.
_LEAST = {"softmax": 1e-30, "sigmoid": 1e-7}


@keras.saving.register_keras_serializable(package="keras_sda")
class DistillationLoss(keras.losses.Loss):
    """Divergence of softened probabilities, teacher to student, times temperature².

    Use it through `Distillation`, or as any Keras loss with the outputs of the teacher
    as targets. Both sides become logits, are divided by the temperature, and are
    compared by the Kullback-Leibler divergence: over the classes of a softmax, unit by
    unit (and averaged) for sigmoids. The factor keeps its gradients as large as those
    of the cross-entropy.

    `keras.distillation.LogitsDistillation` takes logits of a softmax only: of
    probabilities it takes the softmax again, of one sigmoid unit the softmax is always
    1, and it knows no sample weights.

    Args:
        kind: `"softmax"` or `"sigmoid"`: what turns logits into probabilities. Defaults
            to `"softmax"`.
        from_logits: Whether the outputs of the student are logits. Defaults to `False`.
        teacher_from_logits: Whether those of the teacher are. Defaults to `False`.
        temperature: What logits are divided by. Defaults to `4`.
        reduction: As in other Keras losses.
        name: Likewise.
        **kwargs: `dtype`.

    Shapes: targets and outputs are `(batch, units)`.

    Raises:
        InvalidInputError: `kind` is unknown or `temperature` is not positive.

    Example:

    >>> import numpy as np
    >>> from keras_sda.objectives import DistillationLoss
    >>> loss = DistillationLoss("sigmoid", temperature=1.0)
    >>> teacher, student = np.array([[0.75]]), np.array([[0.5]])
    >>> round(float(loss(teacher, student)), 4)  # 0.75 log 1.5 + 0.25 log 0.5
    0.1308

    Source: arXiv 1503.02531, section 2.
    """

    def __init__(
        self,
        kind: str = "softmax",
        from_logits: bool = False,
        teacher_from_logits: bool = False,
        temperature: float = 4.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "distillation_loss",
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        if kind not in KINDS:
            raise InvalidInputError(
                f"`kind` must be one of {KINDS}. Received: kind={kind!r}."
            )
        check_arguments("number", temperature=temperature)
        self.kind, self.temperature = kind, float(temperature)
        self.from_logits = from_logits
        self.teacher_from_logits = teacher_from_logits

    def call(self, y_true, y_pred):
        teacher = self._logits(y_true, self.teacher_from_logits)
        student = self._logits(y_pred, self.from_logits)
        teacher, student = teacher / self.temperature, student / self.temperature
        if self.kind == "softmax":
            terms = ops.softmax(teacher) * (
                ops.log_softmax(teacher) - ops.log_softmax(student)
            )
            divergence = ops.sum(terms, axis=-1)
        else:
            terms = [
                ops.sigmoid(side * teacher)
                * (ops.log_sigmoid(side * teacher) - ops.log_sigmoid(side * student))
                for side in (1.0, -1.0)
            ]
            divergence = ops.mean(terms[0] + terms[1], axis=-1)
        return self.temperature**2 * divergence

    def _logits(self, outputs: Any, from_logits: bool) -> Any:
        if from_logits:
            return outputs
        least = _LEAST[self.kind]
        logits = ops.log(ops.maximum(outputs, least))
        if self.kind == "sigmoid":
            logits = logits - ops.log(ops.maximum(1 - outputs, least))
        return logits

    def get_config(self):
        return {
            **super().get_config(),
            "kind": self.kind,
            "from_logits": self.from_logits,
            "teacher_from_logits": self.teacher_from_logits,
            "temperature": self.temperature,
        }

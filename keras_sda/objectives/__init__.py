"""What a network is trained for beside its labels: to answer as another one does."""

from keras_sda.objectives.distillation import Distillation
from keras_sda.objectives.distillation_loss import DistillationLoss
from keras_sda.objectives.distilled_model import DistilledModel

__all__ = ["Distillation", "DistillationLoss", "DistilledModel"]

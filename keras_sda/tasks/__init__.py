"""What a network is trained and measured for: loss, metrics, streams, evaluation."""

from keras_sda.tasks.classification import Classification
from keras_sda.tasks.task import Task

__all__ = ["Classification", "Task"]

"""Keras 3 convolutional networks that adapt to scale and to budget.

* `keras_sda.applications`: networks in the style of `keras.applications`.
* `keras_sda.layers`: the layers that they are made of.
* `keras_sda.graph`: the functional model as data.
* `keras_sda.depth`: selective depth attention for models that were built without it.
* `keras_sda.analysis`: parameters, multiply-accumulates, latency.
* `keras_sda.objectives`: a loss beside the labels: what a larger network answers.
* `keras_sda.pruning`: removal of channels from any functional model, structurally.
* `keras_sda.search`: channel gates that are learned, then removed (DNAL).
* `keras_sda.grouping`: filters that form groups and read fewer channels (SG-CNN).
* `keras_sda.data`: image datasets, augmentation, streams.
* `keras_sda.runs`: a run on disk that can be resumed, and the reports of all methods.
* `keras_sda.tasks`: what a network is trained and measured for.
* `keras_sda.training`: recipes, strategies, and the commands as functions.
* `keras_sda.export`: SavedModels for TF Serving, and their client.

Importing it imports Keras, and TensorFlow only where that is the Keras backend.
"""

from keras_sda import (
    analysis,
    applications,
    data,
    depth,
    export,
    graph,
    grouping,
    layers,
    objectives,
    pruning,
    runs,
    search,
    tasks,
    training,
)
from keras_sda.version import __version__

__all__ = [
    "__version__",
    "analysis",
    "applications",
    "data",
    "depth",
    "export",
    "graph",
    "grouping",
    "layers",
    "objectives",
    "pruning",
    "runs",
    "search",
    "tasks",
    "training",
]

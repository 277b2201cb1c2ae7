"""Remove channels from functional Keras models, structurally."""

from keras_sda.pruning.criteria.criteria import CRITERIA
from keras_sda.pruning.make_plan import make_plan
from keras_sda.pruning.mask import mask
from keras_sda.pruning.prune import PruningResult, prune
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.pruning.pruning_report import LayerChange, PruningReport
from keras_sda.pruning.shrink import shrink

__all__ = [
    "CRITERIA",
    "LayerChange",
    "PruningPlan",
    "PruningReport",
    "PruningResult",
    "make_plan",
    "mask",
    "prune",
    "shrink",
]

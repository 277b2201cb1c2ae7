"""Remove channels from functional Keras models, structurally."""

from keras_sda.pruning.blocks.block_importance import block_importance
from keras_sda.pruning.blocks.removable_blocks import Block, removable_blocks
from keras_sda.pruning.blocks.remove_blocks import remove_blocks
from keras_sda.pruning.budget.cost import Cost
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics
from keras_sda.pruning.criteria.collect_statistics import collect_statistics
from keras_sda.pruning.criteria.criteria import CRITERIA, register_criterion
from keras_sda.pruning.criteria.criterion import Criterion
from keras_sda.pruning.make_plan import make_plan
from keras_sda.pruning.mask import mask
from keras_sda.pruning.prune import PruningResult, prune
from keras_sda.pruning.pruning_plan import PruningPlan
from keras_sda.pruning.pruning_report import LayerChange, PruningReport
from keras_sda.pruning.recalibrate import recalibrate
from keras_sda.pruning.reconstruct import reconstruct
from keras_sda.pruning.shrink import shrink

__all__ = [
    "Block",
    "CRITERIA",
    "ChannelStatistics",
    "Cost",
    "Criterion",
    "LayerChange",
    "PruningPlan",
    "PruningReport",
    "PruningResult",
    "block_importance",
    "collect_statistics",
    "make_plan",
    "mask",
    "prune",
    "recalibrate",
    "reconstruct",
    "register_criterion",
    "removable_blocks",
    "remove_blocks",
    "shrink",
]

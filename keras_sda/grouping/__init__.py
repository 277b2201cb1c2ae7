"""SG-CNN: filters that read alike form groups, and groups read fewer channels."""

from keras_sda.grouping.clusters.balanced_groups import BalancedGroups, balanced_groups
from keras_sda.grouping.clusters.cluster_filters import FilterClusters, cluster_filters
from keras_sda.grouping.clusters.group_mask import GroupMask, group_mask
from keras_sda.grouping.clusters.importance_vectors import importance_vectors
from keras_sda.grouping.find_groupable_layers import (
    GroupableLayer,
    find_groupable_layers,
)
from keras_sda.grouping.group_and_fine_tune import (
    FineTunedGroups,
    group_and_fine_tune,
)
from keras_sda.grouping.grouping_recipes import GROUPING_RECIPES, GroupingRecipe
from keras_sda.grouping.grouping_report import (
    GroupedLayer,
    GroupingReport,
    LayerLeftAlone,
)
from keras_sda.grouping.grouping_steps import GroupingStep, grouping_steps
from keras_sda.grouping.packing.pack import PackingResult, pack
from keras_sda.grouping.packing.packing_report import PackedLayer, PackingReport
from keras_sda.grouping.plot_filter_matrix import plot_filter_matrix
from keras_sda.grouping.plot_group_sizes import plot_group_sizes
from keras_sda.grouping.published_counts import PublishedCounts, published_counts
from keras_sda.grouping.published_groupings import PUBLISHED_GROUPINGS
from keras_sda.grouping.self_group import GroupingResult, self_group

__all__ = [
    "GROUPING_RECIPES",
    "PUBLISHED_GROUPINGS",
    "BalancedGroups",
    "FilterClusters",
    "FineTunedGroups",
    "GroupMask",
    "GroupableLayer",
    "GroupedLayer",
    "GroupingRecipe",
    "GroupingReport",
    "GroupingResult",
    "GroupingStep",
    "LayerLeftAlone",
    "PackedLayer",
    "PackingReport",
    "PackingResult",
    "PublishedCounts",
    "balanced_groups",
    "cluster_filters",
    "find_groupable_layers",
    "group_and_fine_tune",
    "group_mask",
    "grouping_steps",
    "importance_vectors",
    "pack",
    "plot_filter_matrix",
    "plot_group_sizes",
    "published_counts",
    "self_group",
]

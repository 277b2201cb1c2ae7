"""The functional model as data: the only folder that knows how Keras stores a graph."""

from keras_sda.graph.channels.channel_graph import ChannelGraph, Untouchable
from keras_sda.graph.channels.channel_group import ChannelGroup, GroupPart
from keras_sda.graph.channels.channel_trace import ChannelStep, ChannelTrace
from keras_sda.graph.channels.frozen_note import frozen_note
from keras_sda.graph.channels.inner_calls import inner_calls
from keras_sda.graph.channels.residual_branches import (
    ResidualBranch,
    residual_branches,
    sum_terms,
)
from keras_sda.graph.edit.clone_edited import (
    check_own_variables,
    clone_edited,
    uncompiled,
)
from keras_sda.graph.edit.edit_terms import edit_terms
from keras_sda.graph.edit.expand_blocks import (
    expand_blocks,
    expand_known_blocks,
    unfold_models,
    unfolded,
)
from keras_sda.graph.edit.permute_channels import permute_channels
from keras_sda.graph.edit.rebuild import rebuild
from keras_sda.graph.edit.remove_channels import remove_channels
from keras_sda.graph.edit.swapped_biases import swapped_bias_note, swaps_bias
from keras_sda.graph.model.as_functional import (
    as_functional,
    distributed_model,
    graph_of,
)
from keras_sda.graph.model.convolutions import CONVOLUTIONS, is_convolution
from keras_sda.graph.model.find_head import Head, find_head
from keras_sda.graph.model.graph_runner import GraphRunner, RunnerCall
from keras_sda.graph.model.input_specs import input_specs
from keras_sda.graph.model.keras_internals import (
    all_layers,
    attention_projections,
    draw_from,
    full_name,
    variable_index,
)
from keras_sda.graph.model.layer_call import LayerCall
from keras_sda.graph.model.layer_calls import layer_calls
from keras_sda.graph.model.model_graph import GraphNode, ModelGraph
from keras_sda.graph.model.model_scope import model_scope
from keras_sda.graph.model.shortcut_convolutions import shortcut_convolutions
from keras_sda.graph.model.unwrapped import unwrapped
from keras_sda.graph.rules.channel_call import ChannelCall
from keras_sda.graph.rules.channel_rules import register_rule
from keras_sda.graph.rules.unit_table import Channels, Kept

__all__ = [
    "CONVOLUTIONS",
    "ChannelCall",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelStep",
    "ChannelTrace",
    "Channels",
    "GraphNode",
    "GraphRunner",
    "GroupPart",
    "Head",
    "Kept",
    "LayerCall",
    "ModelGraph",
    "ResidualBranch",
    "RunnerCall",
    "Untouchable",
    "all_layers",
    "as_functional",
    "attention_projections",
    "check_own_variables",
    "clone_edited",
    "distributed_model",
    "draw_from",
    "edit_terms",
    "find_head",
    "expand_blocks",
    "expand_known_blocks",
    "frozen_note",
    "full_name",
    "graph_of",
    "inner_calls",
    "input_specs",
    "is_convolution",
    "layer_calls",
    "model_scope",
    "permute_channels",
    "rebuild",
    "register_rule",
    "remove_channels",
    "residual_branches",
    "shortcut_convolutions",
    "sum_terms",
    "swapped_bias_note",
    "swaps_bias",
    "uncompiled",
    "unfold_models",
    "unfolded",
    "unwrapped",
    "variable_index",
]

"""The functional model as data: the only folder that knows how Keras stores a graph."""

from keras_sda.graph.as_functional import as_functional
from keras_sda.graph.attention_rules import attention_projections
from keras_sda.graph.channel_call import ChannelCall
from keras_sda.graph.channel_graph import ChannelGraph, Untouchable
from keras_sda.graph.channel_group import ChannelGroup, GroupPart
from keras_sda.graph.channel_rules import register_rule
from keras_sda.graph.channel_trace import ChannelStep, ChannelTrace
from keras_sda.graph.channels import Channels
from keras_sda.graph.check_own_variables import check_own_variables
from keras_sda.graph.clone_edited import clone_edited, uncompiled
from keras_sda.graph.convolutions import CONVOLUTIONS
from keras_sda.graph.expand_blocks import (
    expand_blocks,
    expand_known_blocks,
    unfold_models,
    unfolded,
)
from keras_sda.graph.find_head import Head, find_head
from keras_sda.graph.frozen_note import frozen_note
from keras_sda.graph.inner_calls import inner_calls
from keras_sda.graph.input_specs import input_specs
from keras_sda.graph.layer_call import LayerCall
from keras_sda.graph.layer_calls import layer_calls
from keras_sda.graph.model_graph import GraphNode, ModelGraph
from keras_sda.graph.model_scope import model_scope
from keras_sda.graph.permute_channels import permute_channels
from keras_sda.graph.rebuild import rebuild
from keras_sda.graph.remove_channels import remove_channels
from keras_sda.graph.shortcut_convolutions import shortcut_convolutions
from keras_sda.graph.swapped_biases import swapped_bias_note, swaps_bias
from keras_sda.graph.unwrapped import unwrapped

__all__ = [
    "CONVOLUTIONS",
    "ChannelCall",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelStep",
    "ChannelTrace",
    "Channels",
    "GraphNode",
    "GroupPart",
    "Head",
    "LayerCall",
    "ModelGraph",
    "Untouchable",
    "as_functional",
    "attention_projections",
    "check_own_variables",
    "clone_edited",
    "find_head",
    "expand_blocks",
    "expand_known_blocks",
    "frozen_note",
    "inner_calls",
    "input_specs",
    "layer_calls",
    "model_scope",
    "permute_channels",
    "rebuild",
    "register_rule",
    "remove_channels",
    "shortcut_convolutions",
    "swapped_bias_note",
    "swaps_bias",
    "uncompiled",
    "unfold_models",
    "unfolded",
    "unwrapped",
]

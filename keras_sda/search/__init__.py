"""DNAL: gates on every channel, three stages of training, the smaller network."""

from keras_sda.search.channel_search import ChannelSearch
from keras_sda.search.gates.add_channel_gates import (
    add_channel_gates,
    channel_gates,
    remove_channel_gates,
)
from keras_sda.search.gates.cost_loss import cost_loss, expected_cost
from keras_sda.search.gates.find_gate_positions import GatePosition, find_gate_positions
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.gates.gate_penalty import gate_schedule
from keras_sda.search.gates.gate_regularizer import gate_regularizer
from keras_sda.search.masks.derive import (
    DerivationResult,
    close_gates,
    derive,
    open_channels,
)
from keras_sda.search.masks.fit_to_budget import fit_to_budget
from keras_sda.search.plot_search import plot_search
from keras_sda.search.published_searches import PUBLISHED_SEARCHES
from keras_sda.search.search_log import SearchLog
from keras_sda.search.search_recipes import SEARCH_RECIPES, SearchRecipe
from keras_sda.search.search_stage import SearchStage

__all__ = [
    "ChannelSearch",
    "DerivationResult",
    "GateCost",
    "GatePosition",
    "PUBLISHED_SEARCHES",
    "SEARCH_RECIPES",
    "SearchLog",
    "SearchRecipe",
    "SearchStage",
    "add_channel_gates",
    "channel_gates",
    "close_gates",
    "cost_loss",
    "derive",
    "expected_cost",
    "find_gate_positions",
    "fit_to_budget",
    "gate_regularizer",
    "gate_schedule",
    "open_channels",
    "plot_search",
    "remove_channel_gates",
]

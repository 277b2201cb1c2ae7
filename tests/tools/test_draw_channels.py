"""The picture of README.md is what its program draws."""

import importlib.util
import pathlib

from keras_sda.graph import ChannelGraph
from keras_sda.pruning import make_plan

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "draw_channels.py"


def test_picture_is_up_to_date():
    spec = importlib.util.spec_from_file_location("draw_channels", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    graph = ChannelGraph(tool.build_model())
    plan = make_plan(graph.model, macs=0.5)
    assert tool.draw(tool.rows_of(graph, plan)) == tool.PICTURE.read_text()
    gone = {name: list(removed) for name, *_, removed in tool.rows_of(graph, plan)}
    assert gone["stem"] == gone["conv2"] == gone["add"] != []

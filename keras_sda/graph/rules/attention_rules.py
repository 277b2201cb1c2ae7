"""Channel rules of attention layers: a head is a unit."""

import numpy as np
from keras import layers

from keras_sda.graph.model.keras_internals import (
    all_layers,
    attention_projections,
)
from keras_sda.graph.rules.channel_call import READS, WRITES, ChannelCall
from keras_sda.graph.rules.unit_table import Channels
from keras_sda.graph.rules.wrapped_call import argument_positions, pin_masks


def multi_head_attention(call: ChannelCall) -> list[Channels]:
    """Reads channels and makes heads, whole ones, and new channels out of them."""
    layer = call.layer
    if not _is_plain(layer):
        return call.pinned_outputs("its kernels are quantized or have LoRA")
    out = attention_projections(layer)["output"].kernel
    if len(out.shape) != 3:
        return call.pinned_outputs("its output has several axes of channels")
    units = _read(call)
    heads = call.new_units(layer.num_heads)
    _projections(call, units, heads, heads)
    made = call.new_units(out.shape[-1])
    _project_output(call, heads, made)
    call.configure("num_heads", lambda kept: kept.count(heads))
    given = layer.get_config()["output_shape"]

    def output_shape(kept):
        # Without one the layer gives as many channels as its query has.
        if given is None and kept.count(made) == kept.count(units["query"]):
            return None
        return (kept.count(made),)

    call.configure("output_shape", output_shape)
    return _outputs(call, made, heads)


def grouped_query_attention(call: ChannelCall) -> list[Channels]:
    """Like `multi_head_attention`; a key head takes the query heads that share it."""
    layer = call.layer
    if not _is_plain(layer):
        return call.pinned_outputs("its kernels are quantized or have LoRA")
    units = _read(call)
    key_heads = call.new_units(layer.num_key_value_heads)
    heads = np.repeat(key_heads, layer.num_query_heads // len(key_heads))
    _projections(call, units, heads, key_heads)
    # Keras wants as many channels of the value, and gives as many.
    call.couple(units["query"], units["value"])
    made = call.new_units(len(units["query"]))
    call.couple(made, units["query"])
    _project_output(call, heads, made)
    call.configure("num_query_heads", lambda kept: kept.count(heads))
    call.configure("num_key_value_heads", lambda kept: kept.count(key_heads))
    return _outputs(call, made, heads)


def _read(call):
    """The units along the last axis of query, value and key."""
    positions = argument_positions(call)
    pin_masks(call, positions)
    units = {
        name: call.units(positions[name][0], -1)
        for name in ("query", "value", "key")
        if positions.get(name)
    }
    units.setdefault("key", units["value"])
    return units


def _projections(call, units, heads, key_heads):
    projections = attention_projections(call.layer)
    for name, read, written in (
        ("query", units["query"], heads),
        ("key", units["key"], key_heads),
        ("value", units["value"], key_heads),
        ("gate", units["query"], heads),
    ):
        dense = projections.get(name)
        if dense is not None:
            call.index(dense.kernel, 0, read, READS)
            call.index(dense.kernel, 1, written, WRITES)
            call.index(dense.bias, 0, written, WRITES)


def _project_output(call, heads, made):
    dense = attention_projections(call.layer)["output"]
    call.index(dense.kernel, 0, heads, READS)
    call.index(dense.kernel, -1, made, WRITES)
    call.index(dense.bias, 0, made, WRITES)


def _outputs(call, made, heads):
    outputs = [Channels(len(call.output_shapes[0]) - 1, made)]
    if len(call.output_shapes) > 1:
        scores = call.output_shapes[1]
        # Their axes are as the layer says only for sequences.
        if len(call.output_shapes[0]) == 3:
            outputs.append(Channels(1, heads))
        else:
            call.pin(heads, "it gives out the scores of all heads")
            outputs.append(
                Channels(
                    len(scores) - 1,
                    call.pinned_units(scores[-1] or 0, "these are attention scores"),
                )
            )
    return outputs


def _is_plain(layer):
    return not any(
        getattr(dense, "lora_enabled", False)
        or getattr(dense, "quantization_mode", None)
        for dense in all_layers(layer)
    )


def attention(call: ChannelCall) -> list[Channels]:
    """Pins channels: the products of query and key run over all of them."""
    return call.pinned_outputs("attention without heads works across channels")


RULES = {
    layers.MultiHeadAttention: multi_head_attention,
    layers.GroupQueryAttention: grouped_query_attention,
    layers.Attention: attention,
    layers.AdditiveAttention: attention,
}

"""Small models with parts nested in every way, and all that makes models of models."""

import keras
import numpy as np
import pytest
from keras import layers
from pruning.surgery_checks import randomize

from keras_sda import depth, export, grouping, pruning, search
from keras_sda.export.passes.replace_grouped_convolutions import (
    replace_grouped_convolutions,
)
from keras_sda.graph import (
    ChannelGraph,
    clone_edited,
    expand_blocks,
    permute_channels,
    rebuild,
    unfold_models,
)


@keras.saving.register_keras_serializable("test_own_variables")
class Subclassed(keras.Model):
    """A model with code of its own, which comes back from its config."""

    def __init__(self, filters=8, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.convolution = layers.Conv2D(filters, 1)

    def build(self, shape):
        self.convolution.build(shape)

    def call(self, x):
        return keras.ops.relu(self.convolution(x))

    def get_config(self):
        return {"filters": self.filters, "name": self.name}


@keras.saving.register_keras_serializable("test_own_variables")
class Holder(keras.layers.Layer):
    """A layer with a model inside, which its config describes, or hands on as it is."""

    def __init__(self, inner, described=True, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.described = inner, described

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        inner = self.inner
        if self.described:
            inner = keras.saving.serialize_keras_object(inner)
        config = {"inner": inner, "described": self.described}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        inner = config.pop("inner")
        if isinstance(inner, dict):
            inner = keras.saving.deserialize_keras_object(inner)
        return cls(inner, **config)


class Forgetful(keras.Model):
    """A model whose config lacks what it is made of."""

    def __init__(self, convolution, **kwargs):
        super().__init__(**kwargs)
        self.convolution = convolution

    def call(self, x):
        return self.convolution(x)


def unit(x, filters=8, size=3, **options):
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def inner(name=None, shape=(6, 6, 8)):
    x = keras.Input(shape)
    return keras.Model(x, unit(unit(x, 4), 8), name=name)


def nested(x):
    return inner()(x)


def nested_twice(x):
    outer = keras.Input((6, 6, 8))
    return keras.Model(outer, inner()(unit(outer)))(x)


def shared_layer(x):
    layer = layers.Conv2D(8, 3, padding="same")
    return layer(layer(x))


def shared_with_nested(x):
    layer, start = layers.Conv2D(8, 3, padding="same"), keras.Input((6, 6, 8))
    return layer(keras.Model(start, layer(unit(start)))(x))


def shared_nested(x):
    part, start = inner(), keras.Input((6, 6, 8))
    return part(keras.Model(start, part(unit(start)))(x))


def sequential(x):
    return keras.Sequential(
        [keras.Input((6, 6, 8)), layers.Conv2D(8, 1), layers.BatchNormalization()]
    )(x)


def time_distributed(x):
    y = layers.TimeDistributed(inner())(layers.Reshape((1, 6, 6, 8))(x))
    return layers.Reshape((6, 6, 8))(y)


def bidirectional(x):
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    return layers.Reshape((6, 6, 8))(y(layers.Reshape((36, 8))(x)))


NESTINGS = {
    "flat": unit,
    "nested": nested,
    "nested_twice": nested_twice,
    "shared_layer": shared_layer,
    "shared_with_nested": shared_with_nested,
    "shared_nested": shared_nested,
    "sequential": sequential,
    "subclassed": lambda x: Subclassed(name="part")(x),
    "subclassed_in_nested": lambda x: keras.Model(
        start := keras.Input((6, 6, 8)), Subclassed()(start)
    )(x),
    "time_distributed": time_distributed,
    "bidirectional": bidirectional,
    "holder": lambda x: Holder(inner())(x),
    "dropout": lambda x: layers.Dropout(0.5, seed=3)(layers.GaussianNoise(0.1)(x)),
}


def build(*kinds):
    """A residual network with these parts in it."""
    x = keras.Input((6, 6, 3))
    y = unit(x)
    for kind in kinds:
        y = NESTINGS[kind](y)
    y = unit(y)
    y = layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(y)
    for _ in range(2):
        y = layers.ReLU()(layers.Add()([y, layers.BatchNormalization()(unit(y))]))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    randomize(model)
    return model


def gated(model):
    made = search.add_channel_gates(model)
    for gate in search.channel_gates(made):
        gate.s.assign(np.where(np.arange(gate.channels) % 3, 1.0, -1.0))
        gate.beta.assign(1e4)
    return made


def underlined(model):
    """With names that TensorFlow refuses, in nested models as well."""

    def edit(layer, config):
        is_convolution = type(layer) is layers.Conv2D
        return {**config, "name": f"_{layer.name}"} if is_convolution else config

    return clone_edited(model, edit)


def masked(model):
    return grouping.self_group(model, conv_rate=0.5, dense_rate=0.5).model


def plan(model):
    return pruning.make_plan(model, params=0.9)


def without_a_block(model):
    return pruning.remove_blocks(model, pruning.removable_blocks(model)[0].name)


def mixed(model):
    graph = ChannelGraph(model)
    return permute_channels(graph, np.arange(len(graph.units.pinned)))


# What a function gets, of the model; what it does; whether the outputs stay.
FUNCTIONS = {
    "mask": (None, lambda m: pruning.mask(m, plan(m)), False),
    "shrink": (None, lambda m: pruning.shrink(m, plan(m)), False),
    "remove_blocks": (None, without_a_block, False),
    "expand_blocks": (None, expand_blocks, True),
    "expand_no_blocks": (None, lambda m: expand_blocks(m, ["nothing."]), True),
    "unfold_models": (None, unfold_models, True),
    "rebuild": (None, lambda m: rebuild(ChannelGraph(m), lambda v, _: v), True),
    "permute_channels": (None, mixed, True),
    "add_channel_gates": (None, search.add_channel_gates, True),
    "remove_channel_gates": (gated, search.remove_channel_gates, False),
    "derive": (gated, lambda m: search.derive(m).model, False),
    "self_group": (None, masked, False),
    "pack": (masked, lambda m: grouping.pack(m, form="lists").model, True),
    "attach": (None, lambda m: depth.attach(m, min_width=2), True),
    "fold_batch_normalization": (None, export.fold_batch_normalization, True),
    "split_groups": (None, export.split_groups, True),
    "rename_for_tensorflow": (underlined, export.rename_for_tensorflow, True),
    "rename_nothing": (None, export.rename_for_tensorflow, True),
    "to_float32": (None, export.to_float32, True),
    "separate_shared_relus": (None, export.separate_shared_relus, True),
    "replace_grouped_convolutions": (None, replace_grouped_convolutions, True),
}
# These go the way of another one, so that the large tests are enough.
_LIKE_OTHERS = "mask rebuild permute_channels remove_channel_gates split_groups".split()
_LIKE_OTHERS += ["rename_nothing", "expand_no_blocks"]
NAMES = [
    pytest.param(name, marks=pytest.mark.large) if name in _LIKE_OTHERS else name
    for name in FUNCTIONS
]

"""Settings and constants that count channels: cut with them, or the channels stay."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruning.surgery_checks import (
    assert_outputs_close,
    flat_outputs,
    random_plan,
    randomize,
)

from keras_sda.graph import ChannelGraph, register_rule
from keras_sda.graph.rules import counted_settings
from keras_sda.graph.rules.channel_rules import _REGISTERED, _built_in
from keras_sda.graph.rules.counted_settings import OF_POSITIONS, OF_VALUES
from keras_sda.layers import GroupedConv2D, PyramidalConv2D, SqueezeExcite2D
from keras_sda.pruning import mask, prune, shrink
from keras_sda.utils import InvalidInputError

C = 6
register = keras.saving.register_keras_serializable("keras_sda_counted")


def values(*shape):
    count = int(np.prod(shape or (C,)))
    return np.linspace(0.3, 1.1, count, dtype="float32").reshape(shape or (C,))


def constant(*shape):
    return keras.initializers.Constant(values(*shape))


@register
class Offsets(keras.initializers.Initializer):
    """An initializer with a list, as users write them."""

    def __init__(self, offsets):
        self.offsets = list(offsets)

    def __call__(self, shape, dtype=None):
        return ops.cast(np.array(self.offsets), dtype or "float32") * ops.ones(shape)

    def get_config(self):
        return {"offsets": self.offsets}


@register
def six_values(shape, dtype=None):
    return ops.cast(values() * np.ones(shape), dtype or "float32")


@register
def small_values(shape, dtype=None):
    return ops.ones(shape, dtype=dtype) * 0.1


@register
class Bounds(keras.constraints.Constraint):
    """A constraint with a bound per filter."""

    def __init__(self, bounds):
        self.bounds = [float(x) for x in bounds]

    def __call__(self, w):
        return ops.minimum(w, np.array(self.bounds, "float32"))

    def get_config(self):
        return {"bounds": self.bounds}


@register
class Weighted(keras.regularizers.Regularizer):
    """A regularizer with a factor per filter."""

    def __init__(self, factors):
        self.factors = [float(x) for x in factors]

    def __call__(self, x):
        return ops.sum(ops.square(x) * np.array(self.factors, "float32"))

    def get_config(self):
        return {"factors": self.factors}


@register
class Sparse(keras.regularizers.Regularizer):
    """A regularizer without anything per channel."""

    def __call__(self, x):
        return 0.01 * ops.sum(ops.abs(x))

    def get_config(self):
        return {}


def conv(**arguments):
    return layers.Conv2D(C, 3, padding="same", **arguments)


def called(layer, **arguments):
    return lambda x: layer(x, **arguments)


MAX = keras.constraints.MaxNorm
MIN_MAX = keras.constraints.MinMaxNorm
KERNEL = [0, 1, 2]

# What is put behind a convolution with C channels; whether its channels can go.
CUT = {
    "dropout": lambda: layers.Dropout(0.3, noise_shape=(None, 1, 1, C)),
    "dropout_all": lambda: layers.Dropout(0.3, noise_shape=(None, 8, 8, C)),
    "dropout_of_one": lambda: layers.Dropout(0.3, noise_shape=(None, 8, 8, 1)),
    "alpha_dropout": lambda: layers.AlphaDropout(0.3, noise_shape=(2, 1, 1, C)),
    "spatial_dropout": lambda: layers.SpatialDropout2D(0.3),
    "seeded_dropouts": lambda: keras.Sequential(
        [keras.Input((8, 8, C)), layers.GaussianDropout(0.2, seed=3),
         layers.Dropout(0.2, noise_shape=(None, 1, 1, C), seed=4)]
    ),
    "gamma": lambda: layers.BatchNormalization(gamma_initializer=constant()),
    "statistics": lambda: layers.BatchNormalization(
        moving_mean_initializer=constant(), moving_variance_initializer=constant(),
        beta_initializer=constant(1), beta_constraint=MAX(values(1), axis=[]),
    ),
    "constant_kernel": lambda: conv(kernel_initializer=constant(3, 3, C, C)),
    "constant_filters": lambda: conv(
        kernel_initializer=constant(C), bias_initializer=constant()
    ),
    "constant_inputs": lambda: conv(kernel_initializer=constant(1, 1, C, 1)),
    "constant_list": lambda: conv(
        bias_initializer=keras.initializers.Constant([0.5] * C)
    ),
    "max_norm": lambda: conv(kernel_constraint=MAX(values(), axis=KERNEL)),
    "max_norm_of_one": lambda: conv(kernel_constraint=MAX(2.0, axis=KERNEL)),
    "min_max_norm": lambda: conv(
        kernel_constraint=MIN_MAX(values() / 2, values(), axis=KERNEL)
    ),
    "unit_norm": lambda: conv(kernel_constraint=keras.constraints.UnitNorm(KERNEL)),
    "transposed": lambda: layers.Conv2DTranspose(
        C, 3, 2, padding="same", output_padding=1,
        kernel_initializer=constant(C, C), bias_initializer=constant(),
    ),
    "depthwise": lambda: layers.DepthwiseConv2D(
        3, depthwise_initializer=constant(C, 1), bias_initializer=constant(),
        depthwise_constraint=MAX(values(C, 1), axis=[0, 1]),
    ),
    "separable": lambda: layers.SeparableConv2D(
        C, 3, depthwise_initializer=constant(C, 1),
        pointwise_initializer=constant(C, C), bias_initializer=constant(),
    ),
    "dense": lambda: layers.Dense(
        C, kernel_initializer=constant(C, C), kernel_constraint=MAX(values(), axis=0)
    ),
    "einsum_dense": lambda: layers.EinsumDense(
        "nhwc,cd->nhwd", (8, 8, C), bias_axes="d", bias_initializer=constant()
    ),
    "grouped": lambda: GroupedConv2D(
        C, 3, groups=2, use_bias=True, kernel_initializer=constant(3, C),
        bias_initializer=constant(),
    ),
    "prelu": lambda: layers.PReLU(
        alpha_initializer=constant(), shared_axes=[1, 2],
        alpha_constraint=MAX(values(), axis=[]),
    ),
    "prelu_everywhere": lambda: layers.PReLU(alpha_initializer=constant(8, 8, C)),
    "group_normalization": lambda: layers.GroupNormalization(
        -1, gamma_initializer=constant(), beta_initializer=constant()
    ),
    "own_initializer": lambda: conv(bias_initializer=small_values),
    "own_regularizers": lambda: conv(
        kernel_regularizer=Sparse(), activity_regularizer=Sparse()
    ),
    "keras_regularizers": lambda: conv(
        kernel_regularizer=keras.regularizers.L1L2(0.1, 0.1), activity_regularizer="l2"
    ),
    "rescaling_of_one": lambda: layers.Rescaling([0.5], [0.1]),
    "rescaling_positions": lambda: layers.Rescaling(values(8, 8, 1)),
    "clip": lambda: lambda x: ops.clip(x, values() - 1, values()),
    "clip_of_a_list": lambda: lambda x: ops.clip(x, [-1.0] * C, values(8, 8, C)),
    "clip_of_one": lambda: lambda x: ops.clip(x, values(1) - 1, values(8, 8, 1)),
    "times_one": lambda: lambda x: x * values(1) + np.ones((1, 8, 8, 1), "float32"),
    "where_one": lambda: lambda x: ops.where(x > 0, x, values(8, 1)),
    "multiply_of_one": lambda: lambda x: layers.Multiply()([x, values(1, 8, 8, 1)]),
    "softmax_of_positions": lambda: called(
        layers.Softmax(axis=1), mask=np.tri(8, dtype=bool).reshape(8, 8, 1)
    ),
    "reshape": lambda: lambda x: layers.Reshape((8, 8, C))(layers.Reshape((64, C))(x)),
    "permute": lambda: lambda x: layers.Permute((2, 3, 1))(
        layers.Permute((3, 1, 2))(x)
    ),
    "cropping": lambda: layers.Cropping2D(((1, 0), (0, 1))),
    "up_sampling": lambda: layers.UpSampling2D((1, 2), interpolation="bilinear"),
}  # fmt: skip
STAYS = {
    "own_initializer": (
        lambda: conv(bias_initializer=Offsets([0.1] * C)),
        "its bias_initializer 'Offsets' has one entry per channel",
    ),
    "initializer_function": (
        lambda: conv(bias_initializer=six_values),
        "its bias_initializer 'six_values'",
    ),
    "own_constraint": (
        lambda: conv(kernel_constraint=Bounds([0.1] * C)),
        "its kernel_constraint 'Bounds'",
    ),
    "own_regularizer": (
        lambda: conv(bias_regularizer=Weighted(values())),
        "its bias_regularizer 'Weighted'",
    ),
    "activity_regularizer": (
        lambda: conv(activity_regularizer=Weighted(values())),
        "its activity_regularizer 'Weighted'",
    ),
    "rescaling": (lambda: layers.Rescaling(1.0, values().tolist()), "constant of its"),
    "normalization": (
        lambda: layers.Normalization(mean=values(), variance=values()),
        "statistics of the data",
    ),
    "threshold": (lambda: lambda x: ops.threshold(x, values(), 0.0), "constants"),
    "nan_to_num": (lambda: lambda x: ops.nan_to_num(x, nan=values()), "constants"),
    "initial": (
        lambda: lambda x: ops.max(x, 1, keepdims=True, initial=values()),
        "array of constants",
    ),
    "add": (lambda: lambda x: ops.add(values(8, 1, C), x), "array of constants"),
    "maximum": (lambda: lambda x: ops.maximum(x, ops.zeros((C,))), "constants"),
    "where": (lambda: lambda x: ops.where(x > 0, x, ops.full((C,), 0.1)), "constants"),
    "multiply_layer": (
        lambda: lambda x: layers.Multiply()([x, values(1, 1, 1, C)]),
        "array of constants",
    ),
    "concatenate_layer": (
        lambda: lambda x: layers.Concatenate()([x, np.ones((2, 8, 8, 3), "float32")]),
        "array of constants",
    ),
    "softmax_mask": (
        lambda: called(layers.Softmax(axis=1), mask=np.ones((8, 8, C), bool)),
        "array of constants",
    ),
    "pyramid": (
        lambda: PyramidalConv2D(
            [3, 3], [3, 5], groups=[1, 1], kernel_initializer=Offsets([0.1] * 3)
        ),
        None,
    ),
}


def build(function):
    x = keras.Input((8, 8, 3), name="x")
    y = function(layers.Conv2D(C, 3, padding="same", name="a")(x))
    y = layers.Conv2D(5, 3, padding="same", name="z")(y)
    y = layers.GlobalAveragePooling2D()(layers.Activation("sigmoid")(y))
    return keras.Model(x, layers.Dense(2, name="predictions")(y))


def saved_and_loaded(model, small, folder):
    """The small model from its file, unless Keras cannot save the large one either."""
    try:
        small.save(folder / "model.keras")
    except NotImplementedError:  # an operation with an array
        with pytest.raises(NotImplementedError):
            model.save(folder / "model.keras")
        return small
    return keras.saving.load_model(folder / "model.keras")


def prune_and_train(model, tmp_path, inputs=None, tolerance=1e-5):
    """Pruned is masked, trains a step, and comes back from its file."""
    randomize(model)
    if inputs is None:
        inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    graph = ChannelGraph(model)
    plan = random_plan(graph, 0, 0.4)
    small = shrink(model, plan)
    expected = flat_outputs(mask(model, plan), inputs)
    assert_outputs_close(flat_outputs(small, inputs), expected, tolerance)
    again = saved_and_loaded(model, small, tmp_path)
    assert_outputs_close(flat_outputs(again, inputs), expected, tolerance)
    again.compile("sgd", "mse", run_eagerly=True, jit_compile=False)
    targets = [np.zeros(x.shape) for x in expected]
    targets = targets if len(targets) > 1 else targets[0]
    again.fit(inputs, targets, batch_size=2, verbose=0)
    return plan, small


# Several in one model, one behind the other; those that change the size at the end.
LAST = (
    "clip clip_of_a_list clip_of_one up_sampling depthwise separable cropping "
    "transposed grouped"
).split()
FIRST = [name for name in CUT if name not in LAST]
CHAINS = [*(FIRST[k : k + 9] for k in range(0, len(FIRST), 9)), LAST]


@pytest.mark.parametrize("names", CHAINS, ids=lambda names: names[0])
def test_settings_are_cut_in_a_chain_of_layers(names, tmp_path):
    def body(x):
        for name in names:
            x = CUT[name]()(conv()(x))
        return x

    model = build(body)
    plan, _ = prune_and_train(model, tmp_path, tolerance=3e-5)
    assert len(plan.remove) >= 3
    untouchable = ChannelGraph(model).untouchable
    assert [entry.layer for entry in untouchable] == ["predictions"]


def test_every_array_that_counts_channels_is_named(tmp_path):
    def body(x):
        # These fix the number of samples or change the size.
        order = {"concatenate_layer": -1, "multiply_layer": 1, "initial": 2}
        for name in sorted(STAYS, key=lambda name: order.get(name, 0)):
            x = layers.Conv2D(C, 3, padding="same", name=f"before_{name}")(x)
            x = STAYS[name][0]()(x)
        return x

    model = build(body)
    found = {u.layer: u.reason for u in ChannelGraph(model).untouchable}
    for name, (_, reason) in STAYS.items():
        own = name.startswith("own") or name in (
            "initializer_function", "activity_regularizer", "pyramid",
        )  # fmt: skip
        reasons = found.values() if own else [found[f"before_{name}"]]
        assert any((reason or "one entry per channel") in x for x in reasons), name
    plan, _ = prune_and_train(model, tmp_path, tolerance=3e-5)
    assert "a" in plan.remove and "z" in plan.remove


@pytest.mark.large
@pytest.mark.parametrize("name", CUT)
def test_settings_are_cut_with_the_channels(name, tmp_path):
    plan, small = prune_and_train(build(CUT[name]()), tmp_path)
    assert len(plan.remove["a"]) == 3 or name in ("grouped", "depthwise")
    assert "z" in plan.remove
    assert small.get_layer("a").filters == C - len(plan.remove["a"])


@pytest.mark.large
@pytest.mark.parametrize("name", STAYS)
def test_channels_that_an_array_counts_stay_by_name(name, tmp_path):
    function, reason = STAYS[name]
    model = build(function())
    plan, _ = prune_and_train(model, tmp_path)
    assert list(plan.remove) == ["z"] or name in (
        "own_initializer", "initializer_function", "own_constraint", 
        "own_regularizer", "activity_regularizer", "pyramid",
    )  # fmt: skip
    reasons = {u.layer: u.reason for u in ChannelGraph(model).untouchable}
    reasons.pop("predictions")
    assert reasons, "nothing is reported"
    for found in reasons.values():
        assert (reason or "one entry per channel") in found


SEQUENCES = {
    "conv": lambda: layers.TimeDistributed(
        layers.Conv1D(
            C, 3, padding="same", bias_initializer=constant(),
            kernel_constraint=MAX(values(), axis=[0, 1]),
        )
    ),
    "normalization": lambda: layers.TimeDistributed(
        layers.BatchNormalization(gamma_initializer=constant())
    ),
    "dropout": lambda: layers.TimeDistributed(
        layers.Dropout(0.3, noise_shape=(None, 1, C))
    ),
    "own": lambda: layers.TimeDistributed(
        layers.Dense(C, bias_initializer=Offsets([0.1] * C), name="inner")
    ),
    "lstm": lambda: in_time(
        layers.LSTM(
            C, return_sequences=True, bias_initializer=constant(4 * C),
            unit_forget_bias=False, kernel_initializer=constant(C, 4 * C),
            recurrent_constraint=MAX(values(4 * C), axis=0),
        )
    ),
    "bidirectional": lambda: in_time(
        layers.Bidirectional(
            layers.GRU(
                C, return_sequences=True, bias_initializer=constant(2, 3 * C),
                recurrent_initializer=constant(C, 1), dropout=0.1,
            ),
            merge_mode="sum",
        )
    ),
    "attention": lambda: lambda x: layers.MultiHeadAttention(
        2, 3, bias_initializer="ones", kernel_constraint=MAX(2.0)
    )(x, x),
    "attention_mask": lambda: lambda x: in_time(
        lambda y: layers.MultiHeadAttention(2, 3)(y, y, attention_mask=np.tri(16))
    )(x),
    "attention_of_constants": lambda: lambda x: layers.MultiHeadAttention(
        2, 3, kernel_initializer=constant(1, 1, 1), output_shape=C
    )(x, x),
}  # fmt: skip


def in_time(layer):
    return lambda x: ops.reshape(layer(ops.reshape(x, (-1, 16, C))), (-1, 4, 4, C))


QUICK = ("conv", "dropout", "own", "attention_mask")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.large)
        for name in SEQUENCES
    ],
)
def test_settings_inside_of_wrappers_and_cells(name, tmp_path):
    x = keras.Input((4, 4, 3), name="x")
    y = layers.Dense(C, name="a")(x)
    y = layers.Dense(5, name="z")(SEQUENCES[name]()(y))
    model = keras.Model(x, layers.Dense(2)(ops.mean(y, (1, 2))))
    inputs = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    plan, _ = prune_and_train(model, tmp_path, inputs)
    assert {"a", "z"} <= set(plan.remove)
    inner = [u for u in ChannelGraph(model).untouchable if "Offsets" in u.reason]
    assert len(inner) == (name == "own")


def test_values_of_constants_and_bounds_follow_the_channels():
    model = build(
        conv(
            name="b",
            bias_initializer=constant(),
            kernel_constraint=MAX(values(), axis=KERNEL),
        )
    )
    graph = ChannelGraph(model)
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.units.classes[graph.layers["b"].made[[0, 3]]]] = True
    from keras_sda.graph import remove_channels

    layer = remove_channels(graph, removed).get_layer("b")
    left = values()[[1, 2, 4, 5]]
    np.testing.assert_array_equal(layer.bias_initializer.value, left)
    np.testing.assert_array_equal(layer.kernel_constraint.max_value, left)


def test_the_cases_of_the_issue():
    """Both gave a model that could not be trained, or not even be called."""
    for function in (
        layers.Dropout(0.3, noise_shape=(None, 1, 1, C)),
        lambda x: ops.clip(x, -values(), values()),
    ):
        small = prune(build(function), macs=0.7).model
        small(np.zeros((1, 8, 8, 3), "float32"))
        small.compile("sgd", "mse", run_eagerly=True)
        small.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0)


def test_a_shared_dropout_fits_both_of_its_inputs(tmp_path):
    x = keras.Input((8, 8, 3), name="x")
    shared = layers.Dropout(0.3, noise_shape=(None, 1, 1, C))
    a, b = (shared(layers.Conv2D(C, 1, name=name)(x)) for name in "ab")
    y = layers.GlobalAveragePooling2D()(layers.Concatenate()([a, b]))
    model = keras.Model(x, layers.Dense(2, name="predictions")(y))
    plan, _ = prune_and_train(model, tmp_path)
    assert plan.remove["a"] == plan.remove["b"]


def test_the_mask_of_a_softmax_follows_its_input(tmp_path):
    x = keras.Input((8, 8, 3), name="x")
    a, b = (layers.Conv2D(C, 1, name=name)(x) for name in "ab")
    y = layers.Softmax(axis=1)(a, mask=b > 0)
    y = layers.Conv2D(4, 1, name="z")(y)
    model = keras.Model(x, layers.GlobalAveragePooling2D()(y))
    graph = ChannelGraph(model)
    assert [group.writers for group in graph.groups] == [("b", "a")]


def test_channels_first_noise_and_constants():
    from keras_sda.graph import remove_channels

    x = keras.Input((3, 8, 8), name="x")
    first = {"data_format": "channels_first"}
    y = layers.Conv2D(C, 3, name="a", **first)(x)
    y = layers.Dropout(0.3, noise_shape=(None, C, 1, 1), name="drop")(y)
    y = y * np.ones((1, 1, 6), "float32")  # six positions, not channels
    y = layers.Conv2D(2, 1, name="z", **first)(y)
    graph = ChannelGraph(keras.Model(x, layers.GlobalAveragePooling2D(**first)(y)))
    removed = np.zeros(len(graph.units.pinned), bool)
    removed[graph.groups[0].classes[:2]] = True
    small = remove_channels(graph, removed)
    assert small.get_layer("drop").noise_shape == (None, 4, 1, 1)


class Scaled(layers.Layer):
    """A layer that users give a rule."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def call(self, x):
        return x * 2.0

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("widht", lambda kept: 1, "configures 'widht', which its get_config.* lacks"),
        (3, lambda kept: 1, "configures 3, which its get_config.* lacks"),
        ("width", 4, "`value` must be a function of a `Kept`"),
        ("width", None, "`value` must be a function of a `Kept`"),
    ],
)
def test_configure_checks_its_arguments(key, value, words):
    def rule(call):
        call.configure(key, value)
        return call.inputs[0]

    register_rule(Scaled, rule)
    try:
        with pytest.raises(InvalidInputError, match=f"layer 'scaled'.*{words}"):
            ChannelGraph(build(Scaled(C, name="scaled")))
    finally:
        del _REGISTERED[Scaled]


def test_configure_is_not_for_operations():
    class Twice(keras.Operation):
        def call(self, x):
            return x * 2

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    def rule(call):
        call.configure("width", lambda kept: 1)
        return call.inputs[0]

    register_rule(Twice, rule)
    try:
        with pytest.raises(InvalidInputError, match="call.rewrite"):
            ChannelGraph(build(Twice(name="twice")))
    finally:
        del _REGISTERED[Twice]


def test_a_layer_that_cannot_be_made_smaller_is_named():
    class Six(Scaled):
        def build(self, shape):
            if shape[-1] != C:
                raise ValueError("six channels, please")

    register_rule(Six, lambda call: call.inputs[0])
    try:
        model = build(Six(C, name="six"))
        with pytest.raises(InvalidInputError, match="'six' .*six channels, please"):
            shrink(model, random_plan(ChannelGraph(model), 0, 0.5))
    finally:
        del _REGISTERED[Six]


# Parameters of layers that hold no array, or whose arrays a rule speaks of.
PLAIN = set(
    """activity_regularizer antialias beta bottleneck_filters center channels
    crop_to_aspect_ratio depth_multiplier drop_path_rate dropout epsilon equation
    fill_mode fill_value filters flash_attention gate_activation gate_units
    gptq_unpacked_column_size groups head_dim height implementation init_values
    interpolation invert keepdims kernel_sizes key_dim kwargs l1 l2 lora_alpha
    lora_rank max_value mean min_width mode momentum n name negative_slope num_heads
    num_key_value_heads num_query_heads offset pad_to_aspect_ratio projection_dim
    quantization_config rate reduction renorm renorm_clipping renorm_momentum scale
    score_mode seed sliding embeddings_initializer go_backwards input_dim
    input_length mask_zero merge_mode output_dim recurrent_activation
    recurrent_dropout reset_after return_sequences return_state stateful
    unit_forget_bias unroll weights sliding_window stddev synchronized threshold units
    use_bias use_cudnn use_gate use_scale value_dim variance width alpha""".split()
)
PLAIN_OF_OPERATIONS = set(
    """args kwargs name keepdims dtype mode approximate sparse ragged decimals
    strides block_size bottom_cropping bottom_padding left_cropping left_padding num
    right_cropping right_padding sigma target_height target_width top_cropping
    top_padding""".split()
)


def test_every_setting_of_every_known_class_has_been_looked_at():
    """A new rule whose layer has a new setting has to say what it is."""
    by_class, by_operation, _ = _built_in()
    unknown = set()
    for layer_class in by_class:
        if layer_class.__module__.startswith("keras."):
            for key in list(inspect.signature(layer_class).parameters):
                kind = key.rpartition("_")[2]
                if kind not in ("initializer", "regularizer", "constraint"):
                    unknown |= {key} - PLAIN - OF_POSITIONS
    modules = (keras.src.ops.numpy, keras.src.ops.nn, keras.src.ops.math)
    for name in by_operation:
        for module in (*modules, keras.src.ops.core, keras.src.ops.image):
            if hasattr(module, name):
                keys = set(inspect.signature(getattr(module, name)).parameters)
                unknown |= keys - OF_VALUES - OF_POSITIONS - PLAIN_OF_OPERATIONS
    assert sorted(unknown - PLAIN) == []


def random_layer(kind, generator):
    """A layer of a class with settings that may count channels, at random."""

    def maybe(value):
        return {} if generator.random() < 0.5 else value

    def array(*shape):
        return [constant(*shape), "zeros", small_values][generator.integers(3)]

    def bound(axis):
        return MAX([values(), 1.5][generator.integers(2)], axis=axis)

    bias = maybe({"bias_initializer": array()})
    if kind == "conv":
        return conv(
            **bias,
            **maybe({"kernel_constraint": bound(KERNEL)}),
            **maybe({"kernel_initializer": array(C, C)}),
            **maybe({"kernel_regularizer": Sparse()}),
            groups=int(generator.choice([1, 2, 6])) if not bias else 1,
        )
    if kind == "normalization":
        return layers.BatchNormalization(
            **maybe({"gamma_initializer": array()}),
            **maybe({"beta_initializer": array()}),
            **maybe({"moving_mean_initializer": array()}),
            **maybe({"gamma_constraint": bound([])}),
        )
    if kind == "dropout":
        shape = [None, *(int(generator.choice([1, n])) for n in (8, 8, C))]
        return layers.Dropout(0.4, noise_shape=tuple(shape))
    if kind == "dense":
        return layers.Dense(
            C, **bias, **maybe({"kernel_constraint": bound(0)}), activation="tanh"
        )
    if kind == "squeeze":
        return SqueezeExcite2D(4)
    if kind == "separable":
        return layers.SeparableConv2D(
            C, 3, padding="same", **bias,
            **maybe({"pointwise_constraint": bound(KERNEL)}),
            **maybe({"depthwise_initializer": array(C, 1)}),
        )  # fmt: skip
    shape = [[C], [1], [8, 1], [8, 8, 1], [1, 1, C]][generator.integers(5)]
    return lambda x: [ops.add, ops.multiply, ops.maximum][generator.integers(3)](
        x, values(*shape)
    )


KINDS = "conv normalization dropout dense squeeze separable constant".split()


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(k, marks=pytest.mark.large) for k in range(2, 8))]
)
def test_random_settings(seed, tmp_path):
    generator = np.random.default_rng(seed)
    chosen = generator.choice(KINDS, 3)

    def body(x):
        for kind in chosen:
            x = random_layer(kind, generator)(x)
        return x

    prune_and_train(build(body), tmp_path)


# What a class needs beside its arrays, and the rank of its input.
WEIGHTED = {
    "Conv1D": (3, {"filters": C, "kernel_size": 3}),
    "Conv2D": (4, {"filters": C, "kernel_size": 3, "groups": 2}),
    "Conv3D": (5, {"filters": C, "kernel_size": 1}),
    "Conv1DTranspose": (3, {"filters": C, "kernel_size": 3}),
    "Conv2DTranspose": (4, {"filters": C, "kernel_size": 2, "strides": 2}),
    "Conv3DTranspose": (5, {"filters": C, "kernel_size": 1}),
    "DepthwiseConv1D": (3, {"kernel_size": 3, "depth_multiplier": 2}),
    "DepthwiseConv2D": (4, {"kernel_size": 3}),
    "SeparableConv1D": (3, {"filters": C, "kernel_size": 3}),
    "SeparableConv2D": (4, {"filters": C, "kernel_size": 3, "depth_multiplier": 2}),
    "Dense": (3, {"units": C}),
    "EinsumDense": (
        3, {"equation": "abc,cd->abd", "output_shape": (4, C), "bias_axes": "d"},
    ),
    "BatchNormalization": (4, {}),
    "GroupNormalization": (4, {"groups": -1}),
    "PReLU": (4, {"shared_axes": [1]}),
    "LSTM": (3, {"units": C, "return_sequences": True}),
    "GRU": (3, {"units": C, "return_sequences": True}),
    "SimpleRNN": (3, {"units": C, "return_sequences": True}),
    "ConvLSTM1D": (4, {"filters": C, "kernel_size": 1, "return_sequences": True}),
    "ConvLSTM2D": (5, {"filters": C, "kernel_size": 1, "return_sequences": True}),
}  # fmt: skip


def random_functions(layer_class, arguments, rank, generator):
    """Arguments of a layer, functions with arrays for its weights among them."""
    plain = layer_class(**arguments)
    plain(keras.Input((4,) * (rank - 2) + (C,)))
    found = dict(arguments)
    for key in inspect.signature(layer_class).parameters:
        weight, kind = counted_settings._weight(plain, key), key.rpartition("_")[2]
        if weight is None or generator.random() < 0.4:
            continue
        last = weight.shape[-1]
        shape = [weight.shape, (last,), (1,)][generator.integers(3)]
        axes = list(range(len(weight.shape) - 1))
        if kind == "initializer":
            found[key] = [constant(*shape), small_values][generator.integers(2)]
        elif kind == "constraint":
            found[key] = [
                MAX(values(last), axis=axes), MIN_MAX(0.1, values(1), axis=axes),
                Bounds([0.5] * last),
            ][generator.choice(3, p=[0.5, 0.3, 0.2])]  # fmt: skip
        elif kind == "regularizer":
            found[key] = [Sparse(), Weighted(values(last))][
                generator.choice(2, p=[0.8, 0.2])
            ]
    return found


@pytest.mark.large
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", WEIGHTED)
def test_random_functions_of_every_class_with_weights(name, seed, tmp_path):
    rank, arguments = WEIGHTED[name]
    generator = np.random.default_rng([seed, len(name)])
    layer_class = getattr(layers, name)
    functions = random_functions(layer_class, arguments, rank, generator)
    if "LSTM" in name:  # which asks for a part of its bias otherwise
        functions["unit_forget_bias"] = "bias_initializer" not in functions
    x = keras.Input((4,) * (rank - 2) + (3,), name="x")
    y = layer_class(**functions)(layers.Dense(C, name="a")(x))
    y = layers.Dense(5, name="z")(y)
    y = ops.mean(y, tuple(range(1, rank - 1)))
    model = keras.Model(x, layers.Dense(2)(y))
    inputs = generator.normal(size=(2, *(4,) * (rank - 2), 3)).astype("float32")
    prune_and_train(model, tmp_path, inputs)


def test_every_class_with_weights_has_been_tried():
    tried = {*WEIGHTED, "Embedding", "MultiHeadAttention", "GroupedQueryAttention"}
    pinned = {"LayerNormalization", "RMSNormalization", "Normalization"}
    for layer_class in _built_in()[0]:
        keys = inspect.signature(layer_class).parameters
        if layer_class.__module__.startswith("keras.") and any(
            key.endswith("_initializer") for key in keys
        ):
            name = layer_class.__name__
            assert name in tried | pinned | {"ConvLSTM3D"}, name

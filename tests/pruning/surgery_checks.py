"""What must hold whenever channels are removed from a model."""

import functools

import keras
import numpy as np

from keras_sda.analysis import profile
from keras_sda.graph import ChannelGraph
from keras_sda.pruning import PruningPlan, mask, shrink
from keras_sda.pruning.budget.mac_cost import MacCost
from keras_sda.pruning.budget.parameter_cost import ParameterCost


def run_surgery_test(
    model,
    inputs=None,
    plan=0,
    fraction=None,
    tolerance=1e-5,
    tmp_path=None,
    reload=True,
    exact_macs=True,
    input_shape=None,
    export=True,
):
    """Removes channels and compares the small model with the masked one.

    Args:
        model: A functional model. Its weights are replaced by random ones.
        inputs: What the model is called with. Defaults to random arrays.
        plan: A `PruningPlan`, the seed of a random one, or a function of the model and
            its `ChannelGraph` that makes one.
        fraction: Share of every group that a random plan removes. Defaults to another
            random one for every group.
        tolerance: Allowed difference, relative to outputs larger than 1.
        tmp_path: Folder to save the small model in and load it from, if given; it is
            exported there as well, and the export called.
        reload: Whether Keras can load such a model at all.
        exact_macs: Whether `MacCost` must be exact, not within 2 %.
        input_shape: What to count for, where the model leaves its size open.
        export: Whether to export it, if there is a `tmp_path`: most of the time.

    Returns:
        The small model and its plan.
    """
    randomize(model)
    inputs = random_inputs(model) if inputs is None else inputs
    weights = [keras.ops.convert_to_numpy(v).copy() for v in model.weights]
    outputs = flat_outputs(model, inputs)
    graph = ChannelGraph(model, input_shape)
    if callable(plan):
        plan = plan(model, graph)
    if not isinstance(plan, PruningPlan):
        plan = random_plan(graph, plan, fraction)
    masked, small = mask(model, plan), shrink(model, plan)

    expected = flat_outputs(masked, inputs)
    assert_outputs_close(flat_outputs(small, inputs), expected, tolerance)
    for one, other in zip(expected, outputs, strict=True):
        assert np.isfinite(one).all() and np.isfinite(other).all()
    difference = max(np.ptp(a - b) for a, b in zip(expected, outputs, strict=True))
    assert difference > 1e-4, "the plan makes no difference: the test shows nothing"
    assert masked.count_params() == model.count_params()

    kept = graph.kept(plan.classes(graph))
    params, macs = ParameterCost(graph).count(kept), MacCost(graph).count(kept)
    counted = profile(small, input_shape)
    assert small.count_params() == params < model.count_params()
    if counted.params == params:  # the profile leaves what it does not know out
        allowed = 1 if exact_macs else 0.02 * macs + 1
        assert abs(counted.macs - macs) <= allowed, (counted.macs, macs)

    check_same_settings(model, small)
    assert_same_structure(model, small)
    for value, variable in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    if tmp_path is not None and reload:
        path = tmp_path / "small.keras"
        small.save(path)
        reloaded = keras.saving.load_model(path)
        assert_outputs_close(flat_outputs(reloaded, inputs), expected, tolerance)
        again = shrink(model, plan)
        for one, other in zip(again.weights, reloaded.weights, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
            )
    if tmp_path is not None and export:
        received = flat_exported(small, inputs, tmp_path / "export")
        assert_outputs_close(received, expected, tolerance)
    return small, plan


def randomize(model, seed=1):
    """Gives every weight random values, so that nothing is zero or one by chance."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.name
        if "variance" in name or "gamma" in name or "scale" in name or "std" in name:
            value = generator.uniform(0.5, 1.5, shape)
        elif len(shape) < 2:
            value = generator.normal(0, 0.5, shape)
        else:
            fan_in = max(np.prod(shape[:-1]), 1)
            if "depthwise" in variable.path:
                fan_in = max(np.prod(shape[:-2]), 1)
            value = generator.normal(0, 1.2 / np.sqrt(fan_in), shape)
        variable.assign(value)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights


def random_inputs(model, seed=2, batch_size=2):
    """Random arrays in the structure that the model is called with."""
    generator = np.random.default_rng(seed)
    return keras.tree.map_structure(
        lambda x: generator.normal(
            size=[batch_size, *[size or 8 for size in x.shape[1:]]]
        ).astype("float32"),
        model.input,
    )


def random_plan(graph, seed=0, fraction=None):
    """Removes a share of every group, at random; every group keeps a channel."""
    generator = np.random.default_rng(seed)
    removed = np.zeros(len(graph.units.pinned), bool)
    for group in graph.groups:
        share = generator.uniform(0.2, 1) if fraction is None else fraction
        count = min(int(np.ceil(share * group.num_channels)), group.num_channels - 1)
        removed[generator.permutation(group.classes)[:count]] = True
    assert removed.any(), "nothing can be removed"
    return PruningPlan.from_classes(graph, removed)


def flat_exported(model, inputs, folder):
    """The outputs of a SavedModel of the model, loaded without Keras.

    `model.export` leaves `training` open, with which Keras runs what follows a Resizing
    layer in training mode, whatever the model.
    """
    import tensorflow as tf

    signature = keras.tree.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), model.input
    )
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda x: model(x, training=False), [signature])
    archive.write_out(str(folder), verbose=False)
    loaded = tf.saved_model.load(str(folder))
    return [np.asarray(x) for x in keras.tree.flatten(loaded.serve(inputs))]


def flat_outputs(model, inputs):
    """The outputs at inference, as flat float64 arrays."""
    call = functools.partial(model, training=False)
    if keras.backend.backend() == "jax":
        import jax

        call = jax.jit(call)  # compiling every operation by itself takes long
    return [
        keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")).astype("float64")
        for x in keras.tree.flatten(call(inputs))
    ]


def assert_outputs_close(actual, expected, tolerance):
    """Compares flat outputs, relative to their size where it exceeds 1."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        scale = max(np.abs(other).max(), 1)
        difference = np.abs(one - other).max() / scale
        assert difference <= tolerance, f"differs by {difference}"


def check_same_settings(old, new):
    """Names, flags, policies and regularizers survive, in nested models too."""
    assert old.name == new.name
    old, new = _layers(old), _layers(new)
    assert [layer.name for layer in new] == [layer.name for layer in old]
    for before, after in zip(old, new, strict=True):
        assert before.trainable == after.trainable, before.name
        if isinstance(before, keras.Model) and hasattr(before, "layers"):
            check_same_settings(before, after)
            continue
        assert type(before) is type(after)
        config, changed = before.get_config(), after.get_config()
        for key in config:
            if key.endswith(("regularizer", "initializer", "constraint", "dtype")):
                assert config[key] == changed[key], (before.name, key)
        for one, other in zip(before.weights, after.weights, strict=True):
            assert one.trainable == other.trainable, one.path
            assert one.dtype == other.dtype, one.path


def _layers(model):
    # A nested Sequential model comes back as a functional one, which lists its input.
    return [x for x in model.layers if not isinstance(x, keras.layers.InputLayer)]


def assert_same_structure(old, new):
    """Inputs and outputs keep their structure, names, shapes and types."""
    for one, other in ((old.input, new.input), (old.output, new.output)):
        keras.tree.assert_same_structure(one, other)
        pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
        for before, after in pairs:
            assert tuple(before.shape) == tuple(after.shape)
            assert before.dtype == after.dtype
    names = [
        [x.name for x in model.layers if isinstance(x, keras.layers.InputLayer)]
        for model in (old, new)
    ]
    assert isinstance(old, keras.Sequential) or names[0] == names[1]

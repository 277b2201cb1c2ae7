"""The shared checks: one per kind of thing."""

import json
import pathlib

import keras
import numpy as np

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"


def load_golden(name):
    """Returns the arrays and the configuration of a file of reference vectors."""
    arrays = dict(np.load(FIXTURES / f"{name}.npz"))
    config = json.loads(str(arrays.pop("config")))
    return arrays, config


def to_nhwc(x):
    return np.transpose(x, (0, 2, 3, 1))


def to_hwio(kernel):
    return np.transpose(kernel, (2, 3, 1, 0))


def assert_close(actual, expected, tolerance=1e-4, name=""):
    actual = keras.ops.convert_to_numpy(actual)
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    difference = np.abs(actual - expected).max()
    assert difference <= tolerance, f"{name}: differs by {difference}"


def infer(model, inputs):
    """What `predict` returns, without the seconds in which it traces a graph."""
    return keras.tree.map_structure(
        keras.ops.convert_to_numpy, model(inputs, training=False)
    )


def run_layer_test(
    layer_class,
    init_kwargs,
    inputs,
    expected_shape,
    num_weights,
    tmp_path,
    trains=True,
):
    """What every layer must do: build, run, describe itself, train, save and load."""
    layer = layer_class(**init_kwargs)
    config = layer.get_config()
    json.dumps(config)
    for key in init_kwargs:
        assert key in config, f"{key} is missing from get_config()"
    clone = layer_class.from_config(config)
    assert clone.get_config() == config

    outputs = layer(inputs)
    assert tuple(outputs.shape) == expected_shape
    assert len(layer.weights) == num_weights
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), inputs)
    if isinstance(inputs, list):
        shapes = [tuple(x.shape) for x in inputs]
    else:
        shapes = tuple(inputs.shape)
    assert tuple(layer.compute_output_shape(shapes)) == expected_shape

    # As part of a functional model: same numbers, saved and loaded, trained.
    symbolic = [keras.Input(x.shape[1:]) for x in keras.tree.flatten(inputs)]
    is_list = isinstance(inputs, list)
    model = keras.Model(symbolic, layer(symbolic if is_list else symbolic[0]))
    before = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(
        before, keras.ops.convert_to_numpy(layer(inputs)), atol=1e-5
    )
    path = tmp_path / f"{layer.name}.keras"
    model.save(path)
    reloaded = keras.saving.load_model(path)
    np.testing.assert_allclose(reloaded.predict(inputs, verbose=0), before, atol=1e-6)
    model.compile("sgd", "mse")
    old = [keras.ops.convert_to_numpy(v).copy() for v in layer.trainable_variables]
    model.fit(inputs, np.zeros(before.shape), epochs=1, verbose=0)
    moved = [
        np.abs(keras.ops.convert_to_numpy(v) - o).max() > 0
        for v, o in zip(layer.trainable_variables, old, strict=True)
    ]
    assert any(moved) == trains, "no trainable variable moved"

    # Under mixed precision the output follows the policy.
    mixed = layer_class.from_config({**config, "dtype": "mixed_bfloat16"})
    half = mixed(keras.tree.map_structure(lambda x: keras.ops.array(x), inputs))
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"


def run_application_test(
    constructor, tmp_path, size=32, classes=7, pyramid=None, **options
):
    """What every network must do: run, drop its top, keep its names, save and load."""
    model = constructor(input_shape=(size, size, 3), classes=classes, **options)
    assert isinstance(model, keras.Model) and hasattr(model, "get_layer")
    for name in ("stem_conv", "stage1_block1_conv1", "avg_pool", "predictions"):
        model.get_layer(name)
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    y = infer(model, x)
    assert y.shape == (2, classes)
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)

    path = tmp_path / "model.keras"
    model.save(path)
    reloaded = keras.saving.load_model(path)
    np.testing.assert_allclose(infer(reloaded, x), y, atol=1e-6)
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    for file in (path, weights):
        again = constructor(
            input_shape=(size, size, 3), classes=classes, weights=file, **options
        )
        np.testing.assert_allclose(infer(again, x), y, atol=1e-6)

    body = constructor(
        include_top=False, input_shape=(None, None, 1), pooling="avg", **options
    )
    features = body.predict(x[..., :1], verbose=0)
    assert features.shape == (2, body.output_shape[-1])
    if pyramid:
        maps = constructor(
            include_top=False,
            input_shape=(size, size, 3),
            pyramid_outputs=True,
            **options,
        ).output
        assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == pyramid

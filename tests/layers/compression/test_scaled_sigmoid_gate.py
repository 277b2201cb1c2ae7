"""Channel gates: reference values, modes without a new trace, other backends."""

import importlib.util

import keras
import numpy as np
import pytest
from test_case import FIXTURES, run_layer_test

from keras_sda.layers import ScaledSigmoidGate
from keras_sda.utils import InvalidInputError


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(FIXTURES / "dev_dnal_gate.npz"))


@pytest.fixture
def build_gate(golden):
    def build(beta, mode="soft"):
        gate = ScaledSigmoidGate(mode=mode, beta=float(beta))
        gate.build((None, len(golden["s"])))
        gate.s.assign(golden["s"])
        return gate

    return build


def gated_model(**kwargs):
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = ScaledSigmoidGate(name="gate", **kwargs)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize(
    "kwargs, trains",
    [
        ({"mode": "soft", "beta": 3.0}, True),
        ({"mode": "binary"}, False),
        ({"mode": "bypass", "beta": 2.0, "axis": 1}, False),
    ],
)
def test_layer(kwargs, trains, tmp_path):
    run_layer_test(
        ScaledSigmoidGate,
        kwargs,
        np.random.normal(size=(4, 5, 6, 8)).astype("f"),
        expected_shape=(4, 5, 6, 8),
        num_weights=4,
        tmp_path=tmp_path,
        trains=trains,
    )


def test_golden_gates(golden, build_gate):
    """Stable up to beta * s in the ten thousands, with the published derivative."""
    import tensorflow as tf

    ones = np.ones((1, len(golden["s"])), "f")
    for i, beta in enumerate(golden["beta"]):
        gate = build_gate(beta)
        with tf.GradientTape() as tape:
            output = gate(ones)
        gradient = tape.gradient(output, gate.s.value)
        np.testing.assert_allclose(gate.gates(), golden["gate"][i], atol=1e-6)
        np.testing.assert_allclose(output[0], golden["gate"][i], atol=1e-6)
        expected = golden["dgate_ds"][i]
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * expected.max())
        keep = np.asarray(gate.gates()) > 0.9
        np.testing.assert_array_equal(keep, golden["keep"][i])


def test_the_threshold_is_strict():
    gate = ScaledSigmoidGate()
    gate.build((None, 3))
    threshold = np.log(9.0)
    gate.s.assign([threshold - 1e-3, threshold + 1e-3, 0.0])
    assert (np.asarray(gate.gates()) > 0.9).tolist() == [False, True, False]


def test_modes():
    gate = ScaledSigmoidGate()
    x = np.random.normal(size=(2, 3, 3, 4)).astype("f")
    np.testing.assert_array_equal(gate(x), x)
    gate.s.assign([-1.0, 0.0, 1.0, 2.0])
    gate.beta.assign(5.0)
    mask = np.array([1, 0, 1, 1], "f")
    gate.mask.assign(mask)
    soft = mask / (1 + np.exp(-5 * np.array([-1, 0, 1, 2])))
    for mode, factors in (("soft", soft), ("binary", mask), ("bypass", np.ones(4))):
        gate.set_mode(mode)
        assert gate.mode == mode
        np.testing.assert_allclose(gate(x), x * factors, atol=1e-6)
        np.testing.assert_allclose(gate.factors(), factors, atol=1e-6)


def test_vectors():
    gate = ScaledSigmoidGate(mode="soft")
    np.testing.assert_allclose(gate(np.ones((3, 4), "f")), np.full((3, 4), 0.5))


def test_no_mode_traces_a_function_anew():
    import tensorflow as tf

    gate = ScaledSigmoidGate(mode="soft")
    gate.build((None, 2))
    gate.mask.assign([1, 0])
    traces = []

    @tf.function
    def run(x):
        traces.append(1)
        return gate(x)

    x = np.ones((1, 2), "f")
    for mode, expected in (
        ("soft", [0.5, 0]),
        ("binary", [1, 0]),
        ("bypass", [1, 1]),
        ("soft", [0.5, 0]),
    ):
        gate.set_mode(mode)
        np.testing.assert_allclose(run(x)[0], expected)
    assert len(traces) == 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_no_mode_traces_training_anew(jit_compile):
    """Soft gates learn in the very step in which the other modes leave them alone."""
    model = gated_model()
    gate = model.get_layer("gate")
    traces = []
    call = gate.call

    def counted(inputs, training=None):
        traces.append(1)
        return call(inputs, training=training)

    gate.call = counted
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    x = np.random.normal(size=(8, 6, 6, 3)).astype("f")
    y = np.random.normal(size=(8, 2)).astype("f")
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    traced = len(traces)
    for mode, learns in (("binary", False), ("soft", True), ("bypass", False)):
        gate.set_mode(mode)
        gate.beta.assign(2.0)
        before = np.array(gate.s), np.array(model.get_layer("conv").kernel)
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        assert (np.abs(np.array(gate.s) - before[0]).max() > 0) == learns
        after = np.array(model.get_layer("conv").kernel)
        assert np.abs(after - before[1]).max() > 0
    assert len(traces) == traced


def test_a_closed_channel_gets_no_gradient():
    import tensorflow as tf

    model = gated_model(mode="binary")
    gate = model.get_layer("gate")
    gate.mask.assign([1, 0, 1, 0])
    x = np.random.normal(size=(8, 6, 6, 3)).astype("f")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True) ** 2)
    gamma = tape.gradient(loss, model.get_layer("bn").gamma.value)
    assert (np.abs(gamma) > 0).tolist() == [True, False, True, False]


def test_state_is_saved(tmp_path):
    model = gated_model()
    gate = model.get_layer("gate")
    gate.s.assign([1, -2, 3, -4])
    gate.mask.assign([1, 0, 1, 0])
    gate.beta.assign(251.0)
    gate.set_mode("binary")
    x = np.random.normal(size=(2, 6, 6, 3)).astype("f")
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    fresh = gated_model()
    fresh.load_weights(tmp_path / "m.weights.h5")
    cloned = keras.models.clone_model(model)
    assert cloned.get_layer("gate").mode == "binary"
    for other in (keras.saving.load_model(tmp_path / "m.keras"), fresh):
        loaded = other.get_layer("gate")
        assert loaded.mode == "binary" and float(loaded.beta) == 251
        np.testing.assert_array_equal(loaded.s, gate.s)
        np.testing.assert_array_equal(loaded.mask, gate.mask)
        np.testing.assert_allclose(other.predict(x, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    """Gates are computed in float32: half precision could not tell them apart."""
    gate = ScaledSigmoidGate(mode="soft", dtype=policy)
    half = policy.removeprefix("mixed_")
    gates, dtypes = gate.gates, set()

    def recorded():
        dtypes.add(keras.backend.standardize_dtype(gates().dtype))
        return gates()

    gate.gates = recorded
    for mode in ("soft", "binary", "bypass"):
        outputs = gate(np.ones((1, 4, 4, 3), "f"))
        gate.set_mode(mode)
        assert keras.backend.standardize_dtype(outputs.dtype) == half
    assert dtypes == {"float32"}
    gate.beta.assign(1e4)
    gate.s.assign([2.1e-4, 2.2e-4, 9.0])
    assert (np.asarray(gate.gates()) > 0.9).tolist() == [False, True, True]


@pytest.mark.large
def test_mirrored(run_python):
    """The mode holds on all devices, also when it changes between two epochs."""
    code = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from keras_sda.layers import ScaledSigmoidGate
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    gate = ScaledSigmoidGate()
    model = keras.Sequential([keras.Input((4,)), gate, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
x, y = np.random.default_rng(0).normal(size=(8, 4)).astype("f"), np.ones((8, 1), "f")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
learned = []
for mode in ("bypass", "soft", "binary"):
    gate.set_mode(mode)
    before = np.array(gate.s)
    model.fit(data, epochs=1, verbose=0)
    learned.append(bool(np.abs(np.array(gate.s) - before).max() > 0))
gate.mask.assign(np.zeros(4))
output = model.predict(data, verbose=0)
print(learned, bool(np.allclose(output, np.array(model.layers[-1].bias))))
"""
    output = run_python(code, env={"KERAS_BACKEND": "tensorflow"}).stdout
    assert "[False, True, False] True" in output


OTHER_BACKEND = """
import sys, numpy as np, keras
from keras_sda.layers import ScaledSigmoidGate
data = dict(np.load(sys.argv[1]))
out = {}
gate = ScaledSigmoidGate(mode="soft", beta=2.5)
gate.build(data["x"].shape)
gate.s.assign(data["s"])
gate.mask.assign(data["mask"])
model = keras.Sequential([keras.Input(data["x"].shape[1:]), gate,
                          keras.layers.GlobalAveragePooling2D()])
model.compile(keras.optimizers.SGD(0.5), "mse")
for mode in ("soft", "binary", "bypass"):
    gate.set_mode(mode)
    out[mode] = gate(data["x"])
    model.fit(data["x"], data["y"], verbose=0)
    out[mode + "_s"] = np.array(keras.ops.convert_to_numpy(gate.s))
    gate.s.assign(data["s"])
np.savez(sys.argv[2], **{k: keras.ops.convert_to_numpy(v) for k, v in out.items()})
print("backend", keras.backend.backend(), "tensorflow" in sys.modules)
"""


@pytest.mark.large
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (the test extra installs JAX only)")
    generator = np.random.default_rng(1)
    x = generator.normal(size=(4, 3, 3, 5)).astype("f")
    y = generator.normal(size=(4, 5)).astype("f")
    s = generator.normal(size=5).astype("f")
    mask = np.array([1, 1, 0, 1, 1], "f")
    np.savez(tmp_path / "in.npz", x=x, y=y, s=s, mask=mask)
    script = tmp_path / "run.py"
    script.write_text(OTHER_BACKEND)
    result = run_python(
        [script, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={"KERAS_BACKEND": backend},
    )
    assert f"backend {backend}" in result.stdout
    if backend == "jax":
        assert "backend jax False" in result.stdout
    actual = dict(np.load(tmp_path / "out.npz"))
    gates = 1 / (1 + np.exp(-2.5 * s))
    for mode, factors in (("soft", gates * mask), ("binary", mask), ("bypass", 1)):
        np.testing.assert_allclose(actual[mode], x * factors, atol=1e-6, err_msg=mode)
    pooled = x.mean((1, 2))
    error = 2 * (pooled * gates * mask - y) / y.size
    slope = 2.5 * gates * (1 - gates) * mask
    moved = s - 0.5 * (error * pooled).sum(0) * slope
    np.testing.assert_allclose(actual["soft_s"], moved, atol=1e-6)
    for mode in ("binary", "bypass"):
        np.testing.assert_array_equal(actual[f"{mode}_s"], s)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: ScaledSigmoidGate("hard"), "`mode` must be one of"),
        (lambda: ScaledSigmoidGate().set_mode("hard"), "`mode` must be one of"),
        (lambda: ScaledSigmoidGate(beta=0), "`beta`"),
        (lambda: ScaledSigmoidGate(beta=float("nan")), "`beta`"),
        (lambda: ScaledSigmoidGate(beta="1"), "`beta`"),
        (lambda: ScaledSigmoidGate()(keras.Input((4, None))), "number of channels"),
        (lambda: ScaledSigmoidGate(axis=3)(np.ones((2, 3))), "number of channels"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()


def two_gates(mode):
    """Two gates, one of them on a map; channels of both are closed."""
    x = keras.Input((6, 6, 3))
    first = ScaledSigmoidGate(mode, beta=2.0, axis=-1, name="first")
    y = keras.layers.ReLU()(first(keras.layers.Conv2D(4, 3)(x)))
    y = keras.layers.GlobalAveragePooling2D()(y)
    second = ScaledSigmoidGate(mode, axis=-1, name="second")
    model = keras.Model(x, keras.layers.Dense(2)(second(y)))
    for gate in (first, second):
        gate.s.assign([0.5, -1.0, 2.0, 0.0])
        gate.mask.assign([1.0, 0.0, 1.0, 1.0])
    return model


@pytest.mark.parametrize("mode", ["soft", "binary", "bypass"])
def test_inference_has_no_branches_and_the_numbers_of_training(mode):
    """Exporters (ONNX, LiteRT) know arithmetic, and no switch on a variable."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the branches are those of TensorFlow")
    model = two_gates(mode)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    serve = tf.function(lambda inputs: model(inputs, training=False))
    graph = serve.get_concrete_function(tf.TensorSpec((None, 6, 6, 3))).graph
    functions = graph.as_graph_def().library.function
    types = {op.type for op in graph.get_operations()}
    types |= {node.op for function in functions for node in function.node_def}
    assert not {t for t in types if "If" in t or "Case" in t or "Switch" in t}, types
    np.testing.assert_array_equal(serve(x), model(x, training=True))


def test_gated_models_run_in_onnx(tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    for mode in ("soft", "binary", "bypass"):
        model = two_gates(mode)
        expected = model(x, training=False)
        path = str(tmp_path / f"{mode}.onnx")
        model.export(path, format="onnx", verbose=False)
        session = runtime.InferenceSession(path)
        (answer,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(answer, expected, atol=1e-6)

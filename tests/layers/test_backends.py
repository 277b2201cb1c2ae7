"""The layers give the same numbers on the other backends, each in its own process."""

import importlib.util

import numpy as np
import pytest

CODE = """
import sys, numpy as np, keras
from keras_sda.layers import GroupedConv2D, SelectiveDepthAttention
from keras_sda.applications import SDAResNet
data = dict(np.load(sys.argv[1]))
x, out = data["x"], {}
for implementation in ("auto", "split", "native"):
    conv = GroupedConv2D(16, 3, groups=4, strides=2, implementation=implementation)
    conv.build((None, 9, 9, 8))
    conv.set_weights([data["kernel"], data["bias"]])
    out["conv_" + implementation] = conv(x)
sda = SelectiveDepthAttention(min_width=4)
sda.build([(None, 9, 9, 8)] * 3)
sda.set_weights([data[f"sda{i}"] for i in range(7)])
out["sda"] = sda([x, x * x, -x])
out["attention"] = sda.compute_attention([x, x * x, -x])
for dtype in ("bfloat16", "float16"):
    half = GroupedConv2D(16, 3, groups=4, strides=2, dtype=dtype)
    half.build((None, 9, 9, 8))
    half.set_weights(conv.get_weights())
    out[dtype] = keras.ops.cast(half(x), "float32")
if keras.backend.backend() != "jax":  # that trains it in test_package.py
    model = SDAResNet([1, 2], groups=8, base_width=8, stem_width=8, classes=3,
                      input_shape=(32, 32, 3))
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("f")
    history = model.fit(images, np.eye(3)[[0, 1, 2, 0]], epochs=1, verbose=0)
    out["loss"] = np.array(history.history["loss"])
np.savez(sys.argv[2], **{k: keras.ops.convert_to_numpy(v) for k, v in out.items()})
print("backend", keras.backend.backend(), "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path, run_python):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (the test extra installs JAX only)")
    from keras_sda.layers import GroupedConv2D, SelectiveDepthAttention

    x = np.random.normal(size=(2, 9, 9, 8)).astype("f")
    conv = GroupedConv2D(16, 3, groups=4, strides=2)
    sda = SelectiveDepthAttention(min_width=4)
    blocks = [x, x * x, -x]
    expected = {f"conv_{name}": conv(x) for name in ("auto", "split", "native")}
    expected["sda"] = sda(blocks)
    expected["attention"] = sda.compute_attention(blocks)
    weights = {f"sda{i}": w for i, w in enumerate(sda.get_weights())}
    kernel, bias = conv.get_weights()
    np.savez(tmp_path / "in.npz", x=x, kernel=kernel, bias=bias, **weights)
    script = tmp_path / "run.py"
    script.write_text(CODE)
    result = run_python(
        [script, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={"KERAS_BACKEND": backend},
    )
    assert f"backend {backend}" in result.stdout
    if backend == "jax":
        assert "backend jax False" in result.stdout  # TensorFlow was not imported
    actual = dict(np.load(tmp_path / "out.npz"))
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, atol=1e-5, err_msg=name)
    for dtype in ("bfloat16", "float16"):
        np.testing.assert_allclose(actual[dtype], expected["conv_auto"], atol=0.05)
    if backend != "jax":
        assert np.isfinite(actual["loss"]).all()

"""The reference vectors: importance, clusters, masks, outputs, training."""

import keras
import numpy as np
import pytest
from test_case import FIXTURES, to_hwio, to_nhwc

from keras_sda.grouping import (
    cluster_filters,
    group_mask,
    importance_vectors,
    published_counts,
    self_group,
)
from keras_sda.layers import SelfGroupedConv2D, SelfGroupedDense
from keras_sda.training.recipes.coupled_sgd import CoupledSGD

layers = keras.layers


def load(name):
    return dict(np.load(FIXTURES / f"dev_sgcnn_{name}.npz"))


def to_keras(weight):
    return to_hwio(weight) if weight.ndim == 4 else weight.T


def one_layer(arrays, case, plain=False):
    """A model of one layer, with or without a mask; and the input of its data."""
    weight, bias = arrays[f"{case}_weight"], arrays.get(f"{case}_bias")
    values = [to_keras(weight)] + ([] if bias is None else [bias])
    x = arrays[f"{case}_x"]
    options = {"use_bias": bias is not None, "name": "layer"}
    if weight.ndim == 4:
        x = to_nhwc(x)
        cls = layers.Conv2D if plain else SelfGroupedConv2D
        layer = cls(
            len(weight),
            weight.shape[2:],
            strides=int(arrays.get(f"{case}_stride", 1)),
            **options,
        )
        inputs = keras.Input(x.shape[1:])
        pad = int(arrays.get(f"{case}_pad", 1))
        model = keras.Model(inputs, layer(layers.ZeroPadding2D(pad)(inputs)))
    else:
        layer = (layers.Dense if plain else SelfGroupedDense)(len(weight), **options)
        inputs = keras.Input(x.shape[1:])
        model = keras.Model(inputs, layer(inputs))
    layer.set_weights(values + layer.get_weights()[len(values) :])
    return model, x


def outputs(model, x):
    y = keras.ops.convert_to_numpy(model(x))
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y


@pytest.mark.parametrize("case", "ABCD")
def test_one_shot(case):
    arrays = load("oneshot")
    kernel = to_keras(arrays[f"{case}_weight"])
    vectors = importance_vectors(kernel)
    np.testing.assert_allclose(vectors, arrays[f"{case}_importance"], atol=1e-5)
    start = vectors[arrays[f"{case}_init_idx"]]
    clusters = cluster_filters(vectors, init_centroids=start)
    np.testing.assert_array_equal(clusters.labels, arrays[f"{case}_labels"])
    np.testing.assert_allclose(
        clusters.centroids, arrays[f"{case}_centroids"], atol=1e-5
    )
    assert clusters.num_iterations == arrays[f"{case}_n_iter"]
    if f"{case}_lasso" in arrays:
        norms = np.sqrt((kernel.astype("float64") ** 2).sum(axis=(0, 1, 2)))
        np.testing.assert_allclose(norms.sum(), arrays[f"{case}_lasso"], rtol=1e-5)
    model, x = one_layer(arrays, case)
    for number, rate in enumerate(arrays["rates"]):
        found = group_mask(clusters.centroids, clusters.labels, rate)
        np.testing.assert_array_equal(found.mask, arrays[f"{case}_mask"][number])
        np.testing.assert_array_equal(found.bits, arrays[f"{case}_bin"][number])
        assert abs(found.threshold - arrays[f"{case}_thr"][number]) < 1e-5
        model.get_layer("layer").set_groups(found.mask.T, clusters.labels)
        np.testing.assert_allclose(
            outputs(model, x), arrays[f"{case}_y"][number], atol=1e-5
        )
        counts = published_counts(model)
        assert counts.params == arrays[f"{case}_params"][number]
        assert counts.macs == arrays[f"{case}_macs"][number]


@pytest.mark.parametrize("case", "ABCD")
def test_one_shot_through_self_group(case):
    arrays = load("oneshot")
    model, x = one_layer(arrays, case, plain=True)
    start = arrays[f"{case}_importance"][arrays[f"{case}_init_idx"]]
    for number, rate in enumerate(arrays["rates"]):
        result = self_group(
            model,
            conv_rate=rate / 100,
            dense_rate=rate / 100,
            layers=["layer"],
            init_centroids={"layer": start},
        )
        layer = result.model.get_layer("layer")
        np.testing.assert_array_equal(layer.mask, arrays[f"{case}_mask"][number].T)
        np.testing.assert_array_equal(layer.labels, arrays[f"{case}_labels"])
        row = result.report.layers[0]
        assert abs(row.threshold - arrays[f"{case}_thr"][number]) < 1e-5
        assert row.published_params == arrays[f"{case}_params"][number]
        assert row.published_macs == arrays[f"{case}_macs"][number]
        np.testing.assert_allclose(
            outputs(result.model, x), arrays[f"{case}_y"][number], atol=1e-5
        )


def test_progressive_every_step():
    arrays = load("progressive")
    mask = None
    for step, percent in enumerate(arrays["E_steps"]):
        vectors = importance_vectors(to_hwio(arrays["E_weights"][step]), mask)
        np.testing.assert_allclose(vectors, arrays["E_importance"][step], atol=1e-5)
        start = vectors[arrays["E_init_idx"][step]]
        clusters = cluster_filters(vectors, init_centroids=start)
        np.testing.assert_array_equal(clusters.labels, arrays["E_labels"][step])
        np.testing.assert_allclose(
            clusters.centroids, arrays["E_centroids"][step], atol=1e-5
        )
        found = group_mask(clusters.centroids, clusters.labels, percent, mask)
        mask = found.mask
        np.testing.assert_array_equal(found.bits, arrays["E_bin"][step])
        np.testing.assert_array_equal(mask, arrays["E_mask"][step])
        assert abs(found.threshold - arrays["E_thr"][step]) < 1e-5
        assert abs(1 - mask.mean() - arrays["E_pruned_fraction"][step]) < 1e-6
        assert len(np.unique(mask, axis=0)) == arrays["E_distinct_rows"][step]


def progressive_model(weight):
    inputs = keras.Input((6, 6, 14))
    y = layers.Conv2D(20, 3, padding="same", use_bias=False, name="conv")(inputs)
    model = keras.Model(inputs, y)
    model.get_layer("conv").set_weights([to_hwio(weight)])
    return model


@pytest.mark.parametrize("regroup", ["every_step", "once"])
def test_progressive_through_self_group(regroup):
    """The masked model goes on from its masks; the weights change in between."""
    arrays = load("progressive")
    case = "E" if regroup == "every_step" else "F"
    model = progressive_model(arrays["E_weights"][0])
    for step, percent in enumerate(arrays["E_steps"]):
        layer = model.get_layer("conv")
        weights = layer.get_weights()
        layer.set_weights([to_hwio(arrays["E_weights"][step]), *weights[1:]])
        options = {}
        if regroup == "every_step":
            start = arrays["E_importance"][step][arrays["E_init_idx"][step]]
            options["init_centroids"] = {"conv": start}
        elif step == 0:
            options["labels"] = {"conv": arrays["F_labels"]}
        result = self_group(
            model, percent / 100, regroup=regroup, layers=["conv"], **options
        )
        model, row = result.model, result.report.layers[0]
        mask = np.asarray(model.get_layer("conv").mask).T
        np.testing.assert_array_equal(mask, arrays[f"{case}_mask"][step])
        assert abs(row.threshold - arrays[f"{case}_thr"][step]) < 1e-5
        if case == "F":
            assert row.num_masks <= row.num_groups == 4
    if case == "E":
        assert row.num_masks == arrays["E_distinct_rows"][-1]
        np.testing.assert_allclose(
            outputs(model, to_nhwc(arrays["E_x"])), arrays["E_y"], atol=1e-5
        )


def test_progressive_once():
    arrays = load("progressive")
    mask = None
    for step, percent in enumerate(arrays["E_steps"]):
        vectors = importance_vectors(to_hwio(arrays["E_weights"][step]), mask)
        clusters = cluster_filters(vectors, labels=arrays["F_labels"])
        np.testing.assert_allclose(
            clusters.centroids, arrays["F_centroids"][step], atol=1e-5
        )
        found = group_mask(clusters.centroids, clusters.labels, percent, mask)
        mask = found.mask
        np.testing.assert_array_equal(found.bits, arrays["F_bin"][step])
        np.testing.assert_array_equal(mask, arrays["F_mask"][step])


def test_ties():
    arrays = load("corner")
    for number, rate in enumerate(arrays["T_rates"]):
        found = group_mask(arrays["T_centroids"], arrays["T_labels"], rate)
        np.testing.assert_array_equal(found.mask, arrays["T_mask"][number])
        np.testing.assert_array_equal(found.bits, arrays["T_bin"][number])
        assert found.threshold == pytest.approx(arrays["T_thr"][number], abs=1e-5)


def test_empty_cluster_and_restarts():
    arrays = load("corner")
    points = arrays["M_points"]
    found = cluster_filters(points, init_centroids=arrays["M_init"])
    np.testing.assert_array_equal(found.labels, arrays["M_labels"])
    np.testing.assert_allclose(found.centroids, arrays["M_centroids"], atol=1e-5)
    assert found.inertia == pytest.approx(float(arrays["M_inertia"]), rel=1e-5)
    assert found.num_iterations == arrays["M_n_iter"]
    runs = [cluster_filters(points, init_centroids=x) for x in arrays["N_inits"]]
    for run, labels in zip(runs, arrays["N_labels"], strict=True):
        np.testing.assert_array_equal(run.labels, labels)
    inertia = [run.inertia for run in runs]
    np.testing.assert_allclose(inertia, arrays["N_inertia"], rtol=1e-5)
    assert np.argmin(inertia) == arrays["N_best"]


def test_optimizer_trajectory():
    """Coupled decay moves cut weights, gradients do not."""
    arrays = load("corner")
    x = keras.Input((5, 5, 4))
    layer = SelfGroupedConv2D(5, 3, padding="same", name="layer")
    model = keras.Model(x, layer(x))
    kernel = to_hwio(arrays["J_weight0"])
    layer.set_weights(
        [kernel, arrays["J_bias0"], arrays["J_mask"].T, np.zeros(5, "int32")]
    )
    data = to_nhwc(arrays["J_x"]), to_nhwc(arrays["J_target"])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    loss = model.train_on_batch(*data)
    assert float(loss) == pytest.approx(float(arrays["J_loss0"]), rel=1e-5)
    gradient = kernel - np.asarray(layer.kernel)
    np.testing.assert_allclose(gradient, to_hwio(arrays["J_grad0"]), atol=1e-5)
    assert (gradient[:, :, arrays["J_mask"].T == 0] == 0).all()
    layer.set_weights([kernel, arrays["J_bias0"], *layer.get_weights()[2:]])
    for step, expected in enumerate(arrays["J_weight_traj"]):
        if step % 2 == 0:  # a new optimizer every epoch
            model.compile(
                CoupledSGD(
                    float(arrays["J_lr"]),
                    momentum=float(arrays["J_momentum"]),
                    weight_decay=float(arrays["J_weight_decay"]),
                ),
                "mse",
            )
        model.train_on_batch(*data)
        np.testing.assert_allclose(layer.kernel, to_hwio(expected), atol=1e-5)
    np.testing.assert_allclose(layer.bias, arrays["J_bias_final"], atol=1e-5)


def network(arrays):
    """The small network of the reference, dense."""

    def conv(y, name, strides=1, pad=0):
        weight, bias = arrays[f"w_{name}.weight"], arrays.get(f"w_{name}.bias")
        if pad:
            y = layers.ZeroPadding2D(pad)(y)
        layer = layers.Conv2D(
            len(weight), weight.shape[2], strides, use_bias=bias is not None, name=name
        )
        y = layer(y)
        layer.set_weights([to_hwio(weight)] + ([] if bias is None else [bias]))
        return y

    def norm(y, name):
        layer = layers.BatchNormalization(epsilon=1e-5, name=name)
        y = layer(y)
        keys = "weight", "bias", "running_mean", "running_var"
        layer.set_weights([arrays[f"w_{name}.{key}"] for key in keys])
        return y

    x = keras.Input((8, 8, 3))
    u = layers.ReLU()(norm(conv(x, "stem", pad=1), "bn0"))
    v = layers.ReLU()(norm(conv(u, "c1"), "bn1"))
    t = norm(conv(v, "c2", 2, 1), "bn2")
    t = layers.Add(name="add")([t, norm(conv(u, "short", 2), "bns")])
    y = layers.GlobalAveragePooling2D()(layers.ReLU()(t))
    fc = layers.Dense(7, name="fc")
    model = keras.Model(x, fc(y), name="small")
    fc.set_weights([arrays["w_fc.weight"].T, arrays["w_fc.bias"]])
    return model


def test_network():
    arrays = load("net")
    model, x = network(arrays), to_nhwc(arrays["x"])
    np.testing.assert_allclose(model(x), arrays["dense_logits"], atol=1e-5)
    dense = published_counts(model)
    assert (dense.params, dense.macs) == (arrays["dense_params"], arrays["dense_macs"])
    result = self_group(model, 0.5, 0.5, num_groups=4)
    assert [row.name for row in result.report.layers] == ["c1", "c2", "fc"]
    assert {row.name: row.reason for row in result.report.left_alone} == {
        "stem": "it is a stem: no layer with a kernel comes before it",
        "short": "it is the projection of the shortcut to 'add'",
    }
    for tag in ("p50", "p80"):
        for name in ("c1", "c2", "fc"):
            mask = arrays[f"{tag}_mask_{name}"].T
            result.model.get_layer(name).set_groups(mask)
        np.testing.assert_allclose(result.model(x), arrays[f"{tag}_logits"], atol=1e-5)
        counts = published_counts(result.model)
        assert counts.params == arrays[f"{tag}_params"]
        assert counts.macs == arrays[f"{tag}_macs"]

"""What must hold whenever a masked model is packed."""

import types
import unittest.mock

import keras
import numpy as np
from pruning.surgery_checks import (
    assert_outputs_close,
    flat_exported,
    flat_outputs,
    random_inputs,
    randomize,
)
from pruning.zoo import conv, image_model

from keras_sda.analysis import profile
from keras_sda.export import fold_batch_normalization
from keras_sda.graph import ChannelGraph
from keras_sda.grouping import GroupingReport, pack, self_group
from keras_sda.layers.compression.self_grouped import SelfGrouped

FORMS = ("lists", "grouped", "dense", "auto")
_NAMES = ("dense", "grouped", "lists", "lists_8", "lists_4", "lists_2")


def run_pack_test(
    model,
    forms=FORMS,
    prepare=None,
    tolerance=1e-5,
    tmp_path=None,
    reload=True,
    export=True,
    masked=None,
    inputs=None,
    **options,
):
    """Groups and packs a model, and compares what is packed with what is masked.

    Args:
        model: A functional model. Its weights are replaced by random ones.
        forms: What `pack` is asked for. `"auto"` runs with times that are made up, so
            that every layer has another winner.
        prepare: Gets the masked model, to change its masks. Defaults to nothing.
        tolerance: Allowed difference, relative to outputs larger than 1.
        tmp_path: Folder to save the packed models in and load them from, and to export
            them to with folded normalization, if given.
        reload: Whether Keras can load such a model at all.
        export: Whether to export as well.
        masked: The masked model, if there is one: `model` is not used.
        inputs: What the model is called with. Defaults to random arrays.
        **options: For `self_group`.

    Returns:
        The masked model, and by form the `PackingResult`.
    """
    if masked is None:
        randomize(model)
        options = {"conv_rate": 0.6, "dense_rate": 0.5, "num_groups": 3, **options}
        masked = self_group(model, **options).model
    if prepare:
        prepare(masked)
    inputs = random_inputs(masked) if inputs is None else inputs
    weights = [keras.ops.convert_to_numpy(v).copy() for v in masked.weights]
    expected = flat_outputs(masked, inputs)
    assert all(np.isfinite(value).all() for value in expected)
    results = {}
    for form in forms:
        result = results[form] = pack_with_made_up_times(masked, form)
        check_packed(masked, result, form)
        actual = flat_outputs(result.model, inputs)
        assert_outputs_close(actual, expected, tolerance)
        if tmp_path is not None and export:
            folded = fold_batch_normalization(result.model)
            received = flat_exported(folded, inputs, tmp_path / f"{form}_export")
            assert_outputs_close(received, expected, max(tolerance, 2e-5))
        if tmp_path is not None and reload:
            result.model.save(tmp_path / f"{form}.keras")
            loaded = keras.saving.load_model(tmp_path / f"{form}.keras")
            assert_outputs_close(flat_outputs(loaded, inputs), actual, 1e-6)
    for value, variable in zip(weights, masked.weights, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    return masked, results


def pack_with_made_up_times(
    masked, form, ratio=0.5, trims=(0.995, 0.999), seed=0, **options
):
    """`pack` without a clock: the times of forms are random numbers.

    Args:
        masked: The masked model.
        form: For `pack`.
        ratio: Latency of the whole packed model beside the dense one.
        trims: Latencies of the dense model without its unread channels, and with
            numbers of channels that are multiples of 8.
        seed: Of the times.
        **options: For `pack`.
    """
    generator = np.random.default_rng(seed)
    ratios = {"dense": 1.0, "trimmed": trims[0], "rounded": trims[1], "packed": ratio}
    compared = types.SimpleNamespace(ratios=ratios)
    where = "keras_sda.grouping.packing"
    with (
        unittest.mock.patch(
            f"{where}.time_forms.FormTimer.times_ms",
            lambda self, forms, shape: {
                one.name: float(generator.uniform(0.5, 2)) for one in forms
            },
        ),
        unittest.mock.patch(
            f"{where}.pack.compare_latency", lambda *args, **kwargs: compared
        ),
    ):
        return pack(masked, form=form, **options)


def check_packed(masked, result, form):
    """The packed model and its report agree, with each other and with the masks."""
    packed, report = result.model, result.report
    assert not any(isinstance(x, SelfGrouped) for x in packed._flatten_layers())
    old, new = layer_names(masked), layer_names(packed)
    moved = [name for name in new if name not in old]
    assert [name for name in new if name in old] == old
    assert all(name.endswith(("_input_order", "_output_order")) for name in moved)

    records = ChannelGraph(masked).layers
    grouped = GroupingReport.of(masked)
    assert [row.name for row in report.layers] == [x.name for x in grouped.layers]
    assert (report.params_before, report.macs_before) == (
        grouped.params_before,
        grouped.macs_before,
    )
    counted = profile(packed)
    assert (report.params_after, report.macs_after) == (counted.params, counted.macs)
    assert report.params_after <= report.params_before
    assert report.macs_after <= report.macs_before
    for row in report.layers:
        layer = records[row.name].layer
        assert row.form in _NAMES
        assert row.filters <= layer.mask.shape[1]
        assert row.channels <= layer.mask.shape[0]
        assert row.kept <= row.computed <= row.filters * row.channels
        if form == "lists" and row.kept:
            assert row.form == "lists"
        if row.form in ("lists", "grouped"):
            assert row.kept == row.computed
        if row.form == "dense" or form == "dense":
            assert row.form == "dense" and row.computed == row.filters * row.channels
            assert not row.gathers and not row.reorders
        if form == "auto":
            fastest = min(row.ms.values())
            assert row.ms[row.form] == fastest or row.form == "dense"
            assert row.ms[row.form] <= row.ms["dense"]
        else:
            assert not row.ms
    if form == "lists" and not report.unread:
        # What the masks leave, and no more.
        assert report.macs_after == grouped.macs_after
        assert report.params_after == grouped.params_after
    assert len(report.to_csv().splitlines()) == len(report.layers) + 1
    assert report.to_markdown().count("\n| ") == len(report.layers) + 2


def layer_names(model):
    """Names of all layers but inputs, in order; those of nested models as well."""
    names = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        names.append(layer.name)
        if isinstance(layer, keras.Model):
            names += layer_names(layer)
    return names


def cut_at_random(masked, share=0.5, seed=0, silent=True):
    """Gives every filter another mask; some read nothing, some channels are unread."""
    generator = np.random.default_rng(seed)
    for record in ChannelGraph(masked).layers.values():
        if not isinstance(record.layer, SelfGrouped):
            continue
        shape = tuple(record.layer.mask.shape)
        mask = generator.random(shape) > share
        if silent:
            mask[:, generator.random(shape[1]) < 0.2] = False
            mask[generator.random(shape[0]) < 0.3] = False
        mask[0, 0] = True
        record.layer.set_groups(mask, np.arange(shape[1]) % 3)


def masked_network():
    """Three convolutions, the last two masked."""
    model = image_model(lambda x: conv(conv(conv(x, 8), 8), 8))
    randomize(model)
    return self_group(model, 0.6, 0.5, num_groups=4).model

"""The report on disk, and what `pack` refuses."""

import json

import numpy as np
import pytest
from grouping.pack_checks import masked_network, pack_with_made_up_times

from keras_sda import applications
from keras_sda.grouping import PackingReport, pack, self_group
from keras_sda.utils import InvalidInputError


def test_report_file(tmp_path):
    report = pack_with_made_up_times(masked_network(), "auto").report
    report.save(tmp_path)
    assert PackingReport.load(tmp_path) == report
    report.save(tmp_path, "other")
    assert PackingReport.load(tmp_path / "other.json") == report
    names = {"packing", "other"}
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.{ending}" for name in names for ending in ("json", "csv", "md")
    }
    text = (tmp_path / "packing.md").read_text()
    row = report.layers[0]
    assert f"| {row.name} | {row.form} | {row.filters} x {row.channels} |" in text
    assert f"| {row.ms['dense']} | {row.ms[row.form]} |" in text
    assert "latency beside all layers dense: 0.500" in report.to_text()
    for content in ("{", json.dumps({"format": "other"}), "[]"):
        (tmp_path / "packing.json").write_text(content)
        with pytest.raises(InvalidInputError, match="packing.json is damaged"):
            PackingReport.load(tmp_path)
    with pytest.raises(InvalidInputError, match="holds no packing.json"):
        PackingReport.load(tmp_path / "nothing")


def test_a_model_that_is_not_masked():
    model = applications.LeNet()
    with pytest.raises(InvalidInputError, match="not masked. Call grouping.self_group"):
        pack(model)
    masked = self_group(model, 0.5, 0.5).model
    packed = pack(masked, form="lists").model
    with pytest.raises(InvalidInputError, match="not masked"):
        pack(packed)
    for layer in masked.layers:
        if hasattr(layer, "set_groups"):
            layer.set_groups(
                np.ones(layer.mask.shape), np.zeros(layer.labels.shape, int)
            )
    with pytest.raises(InvalidInputError, match="have no groups yet"):
        pack(masked)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"form": "fast"}, "`form` must be one of"),
        ({"form": None}, "`form`"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"batch_size": True}, "`batch_size`"),
        ({"num_runs": 1.5}, "`num_runs`"),
    ],
)
def test_bad_arguments(options, text):
    with pytest.raises(InvalidInputError, match=text):
        pack(applications.LeNet(), **options)

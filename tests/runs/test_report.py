"""One report for all methods: files, old files, two beside each other."""

import dataclasses
import json
import pathlib

import pytest

from keras_sda.grouping import GroupingReport, PackingReport
from keras_sda.pruning import LayerChange, PruningReport
from keras_sda.runs import Report
from keras_sda.utils import InvalidInputError

# As commit 67c8846 wrote them, of one tiny network, pruned, grouped and packed.
OLD = pathlib.Path(__file__).parents[1] / "fixtures" / "reports"
KINDS = {"pruning": PruningReport, "grouping": GroupingReport, "packing": PackingReport}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    bits: int


@dataclasses.dataclass(frozen=True)
class QuantizedReport(Report):
    """A method of the user: the fields, the name, and what is told of a layer."""

    layers: tuple[Row, ...]
    scheme: str

    format_name = "quantized, version 1"
    made = "quantized"
    file_name = "quantized"

    def summary(self, row):
        return f"{row.bits} bits"


def quantized(**changes):
    report = QuantizedReport(
        "tiny",
        8,
        8,
        90,
        90,
        (Row("conv", 4), Row("other", 8)),
        "int",
        settings={"a": 1},
    )
    return dataclasses.replace(report, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_old_files_load(kind, tmp_path):
    """And say in every form what they said."""
    path = OLD / f"{kind}.json"
    report = KINDS[kind].load(path)
    old = json.loads(path.read_text())
    now = json.loads(report.to_json())
    assert {key: now[key] for key in old} == old
    assert now.get("latency") == old.get("latency")
    # What reports have learned to say since is empty.
    assert not any(now[key] for key in set(now) - set(old))
    assert report.to_csv() == (OLD / f"{kind}.csv").read_text()
    lines = (OLD / f"{kind}.md").read_text().splitlines()
    assert [line for line in lines if line not in report.to_markdown()] == []
    report.save(tmp_path)
    assert KINDS[kind].load(tmp_path) == report


def test_before_and_after():
    report = PruningReport.load(OLD / "pruning.json")
    assert set(report.before) == {"params", "macs", "ms"} == set(report.after)
    assert report.before["macs"] == report.macs_before
    assert report.after["ms"] == report.latency["ms_after"]
    assert set(PackingReport.load(OLD / "packing.json").after) == {"params", "macs"}


def test_two_methods_side_by_side():
    pruned = PruningReport.load(OLD / "pruning.json")
    grouped = GroupingReport.load(OLD / "grouping.json")
    table = pruned.compare(grouped).splitlines()
    assert table[0] == "|  | tiny, before and after | tiny, self-grouped |"
    cells = {row[0]: row[1:] for row in ([x.strip() for x in line.split("|")[1:-1]]
                                         for line in table)}  # fmt: skip
    share = f"{grouped.macs_after / grouped.macs_before:.1%}"
    assert cells["MACs"][1].endswith(f"({share})")
    assert cells["ms per batch"] == ["2.000 -> 1.000 (50.0%)", ""]
    first = pruned.layers[0]
    assert cells["conv"][0] == f"{first.channels_before} -> {first.channels_after}"
    assert "groups" in cells["conv2"][1] and "kept" in cells["conv2"][1]
    own = pruned.compare(quantized())
    assert "| 4 bits |" in own and "| other |  | 8 bits |" in own
    with pytest.raises(InvalidInputError, match="`other` must be a report"):
        pruned.compare("runs/other")


def test_a_report_of_a_new_method(tmp_path):
    report = quantized()
    report.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"quantized.{ending}" for ending in ("json", "csv", "md")
    }
    assert QuantizedReport.load(tmp_path) == report
    assert (tmp_path / "quantized.csv").read_text() == "name,bits\nconv,4\nother,8\n"
    text = (tmp_path / "quantized.md").read_text()
    assert text.startswith("# tiny, quantized\n") and "| conv | 4 bits |" in text
    assert "* a: 1" in text
    report.save(tmp_path, "second")
    assert QuantizedReport.load(tmp_path / "second.json") == report
    quantized(layers=()).save(tmp_path)
    assert QuantizedReport.load(tmp_path).rows == []


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "quantized, version 2"},
        {"params_after": "8"},
        {"latency": {"ratio": 0.5}},
        {"latency": {"ms_before": "long", "ms_after": 1.0}},
        {"layers": [{"name": "conv"}]},
        {"more": 1},
    ],
)
def test_damaged_files_are_one_line(changed, tmp_path):
    content = {**json.loads(quantized().to_json()), **changed}
    (tmp_path / "quantized.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="quantized.json is damaged") as error:
        QuantizedReport.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_report_of_another_method_is_not_taken(tmp_path):
    quantized().save(tmp_path, "report")
    for kind in (PruningReport, GroupingReport):
        with pytest.raises(InvalidInputError, match="another format"):
            kind.load(tmp_path)
    with pytest.raises(InvalidInputError, match="holds no packing.json"):
        PackingReport.load(tmp_path)


def test_a_layer_without_a_counterpart():
    row = LayerChange("new", "Conv2D", None, 3, None, 9, None, 90)
    report = PruningReport("tiny", 1, 9, 1, 90, (row,))
    assert "| new | - -> 3 | - -> 3 |" in report.compare(report)

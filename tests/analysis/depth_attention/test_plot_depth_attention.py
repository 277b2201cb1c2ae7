"""The picture of depth attention, and the table of its numbers."""

import csv

import keras
import numpy as np
import pytest

from keras_sda.analysis import (
    DepthAttentionWeights,
    depth_attention_table,
    plot_depth_attention,
)
from keras_sda.utils import InvalidInputError


@pytest.fixture
def attention():
    generator = np.random.default_rng(0)
    weights = {
        f"stage{s}_sda": generator.dirichlet([2] * k, (12, 5)).transpose(0, 2, 1)
        for s, k in ((1, 3), (2, 4), (3, 14))
    }
    names = {n: [f"{n}_{k}" for k in range(w.shape[1])] for n, w in weights.items()}
    return DepthAttentionWeights(weights, names)


def test_table_holds_means_and_spread(attention):
    groups = np.arange(12) % 3
    rows = depth_attention_table(attention, groups, ["small", "middle", "large"])
    assert len(rows) == 3 * (3 + 4 + 14)
    chosen = attention["stage2_sda"][groups == 2].mean(axis=2)
    mine = [r for r in rows if r["stage"] == "stage2_sda" and r["group"] == "large"]
    assert [row["block"] for row in mine] == [1, 2, 3, 4]
    assert mine[0]["block_name"] == "stage2_sda_0"
    assert {row["num_images"] for row in rows} == {4}
    np.testing.assert_allclose([r["mean"] for r in mine], chosen.mean(axis=0))
    np.testing.assert_allclose([r["std"] for r in mine], chosen.std(axis=0, ddof=1))
    np.testing.assert_allclose(
        [r["standard_error"] for r in mine], chosen.std(axis=0, ddof=1) / 2
    )
    assert sum(row["mean"] for row in mine) == pytest.approx(1)


def test_table_without_groups_names_and_spread(attention):
    plain = {"mix": attention["stage1_sda"][:1]}
    rows = depth_attention_table(plain)
    assert {row["group"] for row in rows} == {"all images"}
    assert [row["block_name"] for row in rows] == ["block1", "block2", "block3"]
    assert all(np.isnan(row["std"]) for row in rows)
    rows = depth_attention_table(attention, [7] * 6 + [3] * 6)
    assert list(dict.fromkeys(row["group"] for row in rows)) == ["3", "7"]


@pytest.mark.parametrize(
    "groups, names",
    [
        (None, None),
        (np.arange(12) % 3, ["small", "middle", "large"]),
        (np.arange(12) % 8, None),
        (np.arange(12), {k: f"class {k}" for k in range(12)}),
    ],
    ids=["all", "3", "8", "12"],
)
def test_picture_and_csv(attention, tmp_path, groups, names):
    path = tmp_path / "new" / "attention.png"
    rows = plot_depth_attention(attention, path, groups, names, title="Test", columns=2)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "attention.csv",
        "attention.png",
    ]
    picture = keras.utils.img_to_array(keras.utils.load_img(path))
    assert picture.shape[0] > 400 and picture.shape[1] > 400
    # Lines in each quarter but the last, which has no stage to show.
    middle = picture[80:-80]
    half, side = len(middle) // 2, middle.shape[1] // 2
    for part in (middle[:half, :side], middle[:half, side:], middle[half:, :side]):
        assert part.std() > 10
    assert middle[half + 40 : -60, side + 40 :].std() == 0
    with path.with_suffix(".csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    assert [float(r["mean"]) for r in table] == [r["mean"] for r in rows]


def test_what_is_drawn(attention, tmp_path, monkeypatch):
    import matplotlib.figure

    drawn = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda self, *args, **options: (
            drawn.append(self) or save(self, *args, **options)
        ),
    )
    rows = plot_depth_attention(attention, tmp_path / "a.png", np.arange(12) % 2)
    panels = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in panels] == list(attention)
    for axes, stage in zip(panels, attention, strict=True):
        for name in ("0", "1"):
            (bars,) = (c for c in axes.containers if c.get_label() == name)
            want = [
                r["mean"] for r in rows if r["stage"] == stage and r["group"] == name
            ]
            np.testing.assert_allclose(bars.lines[0].get_ydata(orig=False), want)
    assert {t.get_text() for t in drawn[0].legends[0].get_texts()} == {
        "equal weights",
        "0",
        "1",
    }


def test_bad_input(attention, tmp_path):
    path = tmp_path / "a.png"
    for arguments, text in (
        (({}, path), "at least one stage"),
        (([1], path), "`attention`"),
        (({"a": np.zeros((2, 3))}, path), r"\(2, 3\)"),
        (({"a": np.zeros((2, 3, 1)), "b": np.zeros((3, 3, 1))}, path), "equally many"),
        ((attention, path, [0, 1]), "one integer for each of the 12"),
        ((attention, path, np.zeros(12)), "float64"),
        ((attention, path, np.arange(12), ["one"]), r"Missing: \[1, 2"),
        ((attention, tmp_path / "a.pdf"), ".png"),
        ((attention, path, None, None, None, 0), "columns"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            plot_depth_attention(*arguments)
    assert list(tmp_path.iterdir()) == []

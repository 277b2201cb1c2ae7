"""From a saved model to a table, and from a filled-in table to a smaller model."""

import json

import keras
import pytest

from keras_sda import cli
from keras_sda.utils.files.csv_rows import read_rows, write_rows

layers = keras.layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, what was asked for it, and a table that somebody filled in."""
    folder = tmp_path_factory.mktemp("cli")
    x = keras.Input((6, 6, 1))
    y = layers.Conv2D(8, 3, name="a", activation="relu")(x)
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, name="b")(y))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    model.save(folder / "model.keras")
    words = ["latency-table", folder / "model.keras", "--output", folder / "phone"]
    assert cli.main([str(word) for word in words]) == 0
    rows = read_rows(folder / "phone" / "latency.csv")
    rows = [{**row, "ms": 2 * float(row["share"])} for row in rows]
    write_rows(rows, folder / "filled.csv")
    return folder


def prune(folder, table, *more):
    words = ["prune", folder / "model.keras", "--output", folder / "small", *more]
    words += ["--latency_table", table] if table else []
    return cli.main([str(word) for word in words])


def test_table_and_prune(folder, capsys):
    assert prune(folder, folder / "filled.csv", "--latency", "0.5") == 0
    plan = json.loads((folder / "small" / "plan.json").read_text())
    assert plan["expected"]["latency_before"] == 6
    assert plan["expected"]["latency"] <= 3
    assert plan["settings"]["latency_unit"] == "ms, by table filled.csv"
    capsys.readouterr()
    assert cli.main(["report", str(folder / "small")]) == 0
    assert "latency by table: 6.00 -> " in capsys.readouterr().out
    small = keras.saving.load_model(folder / "small" / "model.keras")
    assert small.get_layer("b").filters < 8


@pytest.mark.parametrize(
    ("table", "more", "text"),
    [
        ("filled.csv", ("--macs", "0.5"), "`latency_table` (--latency_table) needs"),
        ("phone/latency.csv", ("--latency", "0.5"), "has no time yet"),
        ("none.csv", ("--latency", "0.5"), "is no file"),
        ("filled.csv", ("--latency", "0.001"), "cannot be reached"),
    ],
)
def test_bad_tables_write_nothing(folder, capsys, tmp_path, table, more, text):
    output = ("--output", tmp_path / "new")
    assert prune(folder, folder / table, *more, *output) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("keras-sda: error: ") and text in error
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_and_help(folder, capsys):
    words = ["latency-table", folder / "model.keras", "--output", folder / "phone"]
    assert cli.main([str(word) for word in words]) == 2
    assert "is not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        cli.main(["latency-table", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "example: keras-sda latency-table" in text


@pytest.mark.large
@pytest.mark.parametrize(
    ("kind", "ending"), [("saved_model", ""), ("litert", ".tflite")]
)
def test_formats_of_devices(folder, tmp_path, kind, ending):
    words = ["latency-table", folder / "model.keras", "--output", tmp_path / "t"]
    words += ["--format", kind, "--batch_size", "2"]
    assert cli.main([str(word) for word in words]) == 0
    rows = read_rows(tmp_path / "t" / "latency.csv")
    for row in rows:
        name = f"{row['key']}-{float(row['share']):.6g}{ending}"
        assert (tmp_path / "t" / "models" / name).exists()
    assert len(list((tmp_path / "t" / "models").iterdir())) == len(rows)

"""Every file that is read again, damaged in every way: one line, never a traceback."""

import copy
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda import cli, grouping, pruning, training
from keras_sda.export import export_saved_model, predict
from keras_sda.runs.history_file import HistoryFile, read_history
from keras_sda.runs.manifest import Manifest
from keras_sda.runs.output_folder import read_run
from keras_sda.runs.read_metrics import read_metrics
from keras_sda.runs.run import Run
from keras_sda.training import resumed_options
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_numbers, write_rows

VALUES = [None, "text", [1], {"a": {"b": []}}, -1, 0.5, True, 10**400, float("nan")]
SIZES = {"params_before": 9, "params": 5, "macs_before": 90, "macs": 50}
METRICS = {
    "train": {"accuracy": 0.5, "loss": 1.0, "params": 3},
    "prune": {
        **SIZES, "accuracy": 0.5, "accuracy_before": 0.6, "accuracy_pruned": 0.4,
        "latency": {"ratio": 0.5}, "fine_tune_epochs": 2, "options": {"macs": 0.5},
    },
    "search": {
        **SIZES, "accuracy": 0.5, "accuracy_before": 0.6, "accuracy_derived": 0.4,
        "channels_before": 8, "channels": 4, "epochs": {"fine_tune": 1},
    },
    "group": {
        **SIZES, "accuracy": 0.5, "accuracy_before": 0.6, "accuracy_grouped": 0.4,
        "published_params": 4, "published_macs": 40, "params_packed": 5,
        "macs_packed": 50, "forms": {"dense": 1}, "options": {"conv_rate": 0.5},
    },
}  # fmt: skip
OPTIONS = {
    "train": training.TrainOptions,
    "prune": training.PruneOptions,
    "search": training.SearchOptions,
    "group": training.GroupOptions,
}


def damages(text):
    """Names and contents of damaged copies of a text file."""
    data = text.encode()
    yield "empty", b""
    yield "half", data[: len(data) // 2]
    yield "noise", np.random.default_rng(0).bytes(300)
    yield "zeros", bytes(len(data))
    yield "noise inside", data[: len(data) // 3] + b"\xff\x00\xfe" + data[-9:]
    yield "twice", data + data
    yield "another encoding", text.encode("utf-16")


def json_damages(text):
    """The same, and every entry removed or of another type."""
    yield from damages(text)
    for root in ("null", "3", "[]", "{}", '"text"', "[[[]]]", "NaN", "1" * 5000):
        yield root[:9], root.encode()
    yield "deep", b'{"a":' * 100_000
    content = json.loads(text)
    for path in _paths(content):
        removed = copy.deepcopy(content)
        del _at(removed, path[:-1])[path[-1]]
        yield f"without {path}", json.dumps(removed).encode()
        for value in VALUES:
            changed = copy.deepcopy(content)
            _at(changed, path[:-1])[path[-1]] = value
            yield f"{path}={str(value)[:20]}", json.dumps(changed).encode()


def _paths(content, path=()):
    """All entries, of lists the first."""
    if len(path) > 4:
        return
    items = content.items() if isinstance(content, dict) else []
    if isinstance(content, list) and content:
        items = [(0, content[0])]
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _at(content, path):
    for key in path:
        content = content[key]
    return content


def csv_damages(text):
    """The same for a table."""
    yield from damages(text)
    lines = text.splitlines()
    yield "no header", "\n".join(lines[1:]).encode()
    yield "header alone", lines[0].encode()
    for index in range(len(lines[0].split(","))):
        for value in ("", "text", "nan", "1e999", '"', "1" * 400, "-1", "0.5", "[]"):
            for row in (0, 1, -1):
                cells = [line.split(",") for line in lines]
                cells[row][index] = value
                changed = "\n".join(",".join(line) for line in cells)
                yield f"{index},{row}={value[:9]}", changed.encode()
        for row in (0, 1):
            cells = [line.split(",") for line in lines]
            del cells[row][index]
            yield f"{index},{row} gone", "\n".join(map(",".join, cells)).encode()


def check(path, cases, *readers):
    """All readers of all damaged copies give an answer or one clear line."""
    good = path.read_bytes()
    wrong, refused = [], 0
    for name, content in cases:
        path.write_bytes(content)
        for reader in readers:
            try:
                reader()
            except InvalidInputError as error:
                refused += 1
                # A name in the message may hold one; the command line makes it one.
                if not str(error).strip():
                    wrong.append((name, "no message"))
            except Exception as error:
                wrong.append((name, type(error).__name__, str(error)[:80]))
    path.write_bytes(good)
    assert not wrong, wrong[:20]
    assert refused > 5
    for reader in readers:
        reader()


@pytest.fixture
def command(capsys):
    """Runs the command line: status 0, or 2 with one line."""

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        if status == 0:
            return
        assert status == 2 and error.count("keras-sda: error: ") == 1, error
        assert error.endswith("\n") and error.strip().count("\n") == 0, error
        raise InvalidInputError(error)

    return run


@pytest.fixture(scope="module")
def model():
    x = keras.Input((8, 8, 1))
    y = layers.ReLU()(layers.Conv2D(4, 3, name="conv")(x))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv2")(y))
    y = layers.Dense(10, activation="softmax", name="top")(y)
    return keras.Model(x, y, name="tiny")


@pytest.fixture(scope="module")
def reports(model, tmp_path_factory):
    """A folder for every kind of report."""
    folder = tmp_path_factory.mktemp("reports")
    result = pruning.prune(model, macs=0.7)
    (folder / "prune").mkdir()
    timed = {"ms_before": 2.0, "ms_after": 1.0, "ratio": 0.5, "batch_size": 1}
    timed |= {"dtype": "float32", "backend": "tensorflow", "device": "cpu"}
    dataclasses.replace(result.report, latency=timed).save(folder / "prune")
    grouped = grouping.self_group(model, num_groups=2, conv_rate=0.5)
    (folder / "group").mkdir()
    grouped.report.save(folder / "group")
    grouping.pack(grouped.model, "lists").report.save(folder / "group")
    for name in ("prune", "group"):
        (folder / name / "metrics.json").write_text(json.dumps(METRICS[name]))
    pruning.make_plan(model, macs=0.7).save(folder / "plan.json")
    return folder


@pytest.mark.parametrize("kind", ["prune", "group"])
def test_reports(kind, reports, command):
    folder = reports / kind
    path = folder / "report.json"
    cases = list(json_damages(path.read_text()))
    load = {"prune": pruning.PruningReport, "group": grouping.GroupingReport}[kind].load
    check(path, cases, lambda: load(folder).to_csv())
    # Reading options takes the command line longer than reading a report.
    check(path, cases[::9], lambda: command("report", folder, "--layers"))


def test_packing_reports(reports):
    path = reports / "group" / "packing.json"
    check(
        path,
        json_damages(path.read_text()),
        lambda: grouping.PackingReport.load(path).to_csv(),
    )


def test_plans(model, reports):
    path = reports / "plan.json"

    def use():
        plan = pruning.PruningPlan.load(path)
        pruning.mask(model, plan) if len(plan.remove) > 99 else plan.to_json()

    check(path, json_damages(path.read_text()), use)


def test_plan_of_the_command_line(model, reports, command, tmp_path):
    model.save(tmp_path / "model.keras")
    path = reports / "plan.json"
    cases = list(json_damages(path.read_text()))
    arguments = ["prune", tmp_path / "model.keras", "--plan", path, "--overwrite"]
    check(path, cases[:16], lambda: command(*arguments, "--output", tmp_path / "out"))


@pytest.mark.parametrize("kind", METRICS)
def test_metrics(kind, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS[kind]))
    check(path, json_damages(path.read_text()), lambda: read_metrics(tmp_path, kind))


@pytest.mark.parametrize("kind", METRICS)
def test_resuming_a_finished_run(kind, tmp_path, command):
    """metrics.json and run.json through the command line."""
    model = "SDAResNet20" if kind in ("train", "search") else "model.keras"
    target = {"macs": 0.5} if kind == "prune" else {}
    target |= {"target_macs": 0.5} if kind == "search" else {}
    options = OPTIONS[kind](
        model=model, dataset="digits", output=str(tmp_path), **target
    )
    Manifest(
        f"keras-sda {kind}", dataclasses.asdict(options), {"model": "ab"},
        ["model.keras"], finished=True,
    ).write(tmp_path)  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS[kind]))
    for name in ("metrics.json", "run.json"):
        path = tmp_path / name
        cases = list(json_damages(path.read_text()))
        # What says that it is finished is not taken away: it would begin again.
        cases = [case for case in cases if "'finished'" not in case[0]]
        check(path, cases[:16] + cases[16::12], lambda: command(
            kind, "--resume", "--output", tmp_path))  # fmt: skip
    check(
        path,
        json_damages(path.read_text()),
        lambda: read_run(tmp_path, kind),
        lambda: resumed_options(tmp_path, {}, OPTIONS[kind]),
    )


def test_history(tmp_path):
    path = tmp_path / "history.csv"
    rows = [
        {"epoch": epoch, "seconds": 0.5, "loss": 0.25, "val_accuracy": 0.5}
        for epoch in (1, 2, 3)
    ]
    write_rows(rows, path)

    def draw():
        rows = read_history(path)
        assert all(type(row["epoch"]) is int for row in rows)

    check(path, csv_damages(path.read_text()), draw, lambda: HistoryFile(path, 2))


def test_an_epoch_is_written_beside_odd_columns(model, tmp_path):
    """A column that this version does not know does not end the training."""
    path = tmp_path / "history.csv"
    write_rows([{"epoch": 1, "old_loss": 0.5}, {"epoch": 2, "old_loss": 0.5}], path)
    history = HistoryFile(path, 1)
    model.compile("sgd", "mse")
    history.set_model(model)
    history.on_epoch_begin(1)
    history.on_epoch_end(1, {"loss": 0.25})
    assert [row.get("loss") for row in read_history(path)] == [None, 0.25]


def test_curves_of_rows_with_gaps(tmp_path):
    from keras_sda.training.commands.draw_curves import draw_curves

    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "val_loss": 0.5}]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_logs_of_a_search(tmp_path):
    path = tmp_path / "gates.csv"
    write_rows([{"epoch": 1, "gate": "bn1_gate", "channels": 8, "mean": 0.5}] * 2, path)
    check(path, csv_damages(path.read_text()), lambda: read_numbers(path, ("gate",)))


def test_stages_of_a_run(tmp_path):
    settings = {"epochs": 3, "price": 0.5, "stages": ["weights"]}

    def use():
        with Run(tmp_path, "test").opened() as run:
            stage = run.stage("weights", settings)
            stage.fact("accuracy", float)
            return stage.is_finished

    with Run(tmp_path, "test").opened() as run:
        run.stage("weights", settings).note(accuracy=0.5)
        run.manifest.stages["weights"].finished = True
        run.save()
    path = tmp_path / "run.json"
    check(path, json_damages(path.read_text()), use)


def test_weights_of_a_finished_stage(model, tmp_path):
    with Run(tmp_path, "test").opened() as run:
        stage = run.stage("weights")
    stage.finish(model)
    path = tmp_path / "weights" / "final.weights.h5"
    data = path.read_bytes()
    for content in (b"", b"noise", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="final.weights.h5 cannot be used"):
            stage.load(model)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("served")
    export_saved_model(model, folder, labels=list("0123456789"), preprocessing="none")
    image = folder / "image.png"
    image.write_bytes(tf.io.encode_png(np.zeros((8, 8, 1), "uint8")).numpy())
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets/labels.txt",
    ],
)
@pytest.mark.parametrize("damage", ["half", "noise", "empty", "gone"])
def test_exports(name, damage, served, tmp_path, command):
    folder = shutil.copytree(served / "1", tmp_path / "1")
    data = (folder / name).read_bytes()
    generator = np.random.default_rng(0)
    content = {"half": data[: len(data) // 2], "noise": generator.bytes(500)}
    (folder / name).write_bytes(content.get(damage, b""))
    if damage == "gone":
        (folder / name).unlink()
    with pytest.raises(InvalidInputError):
        predict(tmp_path, served / "image.png")
    with pytest.raises(InvalidInputError):
        command("predict", tmp_path, served / "image.png")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset that TensorFlow Datasets has prepared."""
    import tensorflow_datasets as tfds

    class TinyImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=["a", "b"]),
                }
            )
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(),
                "test": self._generate_examples(),
            }

        def _generate_examples(self):
            for number in range(4):
                image = np.full((8, 8, 1), number, "uint8")
                yield number, {"image": image, "label": number % 2}

    folder = tmp_path_factory.mktemp("tfds")
    TinyImages(data_dir=str(folder)).download_and_prepare()
    return folder


def test_metadata_of_tfds(prepared):
    folder = prepared / "tiny_images" / "1.0.0"

    def load():
        data = training.load_image_dataset("tiny_images", data_dir=prepared)
        assert data.num_train

    for name in ("dataset_info.json", "features.json"):
        path = folder / name
        cases = list(json_damages(path.read_text()))
        check(path, cases[:16] + cases[16::12], load)


@pytest.mark.parametrize("damage", ["half", "noise", "empty", "gone", "claims"])
def test_records_of_tfds(damage, prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "data")
    path = next(folder.glob("*/*/*train*.tfrecord*"))
    data = path.read_bytes()
    content = {
        "half": data[: len(data) // 2],
        "noise": bytes([*data[:40], *([7] * 30), *data[70:]]),
        "claims": (1 << 40).to_bytes(8, "little") + data[8:],
    }
    path.write_bytes(content.get(damage, b""))
    if damage == "gone":
        path.unlink()
    with pytest.raises(InvalidInputError, match="tiny_images"):
        training.load_image_dataset("tiny_images", data_dir=folder)

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from training.tiny_training import train_tiny

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.data.images.image_split import ImageSplit
from keras_sda.data.images.load_tfds import check_stream
from keras_sda.runs.epoch_backup import EpochBackup
from keras_sda.runs.history_file import read_history
from keras_sda.training import TrainOptions, evaluate_classifier, train_classifier
from keras_sda.utils import InvalidInputError, WeightsFile


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    return folder, train_tiny(folder, epochs=2, mixed_precision="mixed_bfloat16")


def test_results(finished):
    folder, metrics = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.weights.h5",
        "curves.png",
        "history.csv",
        "labels.txt",
        "logs",
        "metrics.json",
        "model.keras",
        "run.json",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    rows = read_history(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert metrics["accuracy"] == pytest.approx(rows[-1]["val_accuracy"], abs=1e-6)
    assert metrics["best_accuracy"] >= metrics["accuracy"]
    assert metrics["seconds"] == pytest.approx(sum(r["seconds"] for r in rows), abs=0.1)
    assert metrics["versions"]["keras"] == keras.version()
    assert metrics["params"] > 500 and metrics["macs"] > 1000
    assert (folder / "labels.txt").read_text().split() == list("0123456789")
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list((folder / "logs").rglob("events*"))
    assert keras.config.dtype_policy().name == "float32"


def test_saved_model_takes_raw_pixels_and_has_no_optimizer(finished):
    folder, metrics = finished
    model = keras.saving.load_model(folder / "model.keras")
    assert not model.compiled and model.output.dtype == "float32"
    assert model.layers[1].name == "pixel_scaling"
    probabilities = model.predict(np.full((2, 32, 32, 1), 255.0), verbose=0)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-3)
    model.load_weights(folder / "best.weights.h5")


def test_evaluate(finished, tmp_path):
    folder, metrics = finished
    results = evaluate_classifier(folder / "model.keras", "digits", batch_size=100)
    assert results["num_images"] == 360
    assert results["accuracy"] == pytest.approx(metrics["accuracy"], abs=0.01)
    assert results["top_5_accuracy"] >= results["accuracy"]
    with pytest.raises(InvalidInputError, match="does not exist"):
        evaluate_classifier(tmp_path / "absent.keras")
    (tmp_path / "bad.keras").write_bytes(b"no archive")
    with pytest.raises(InvalidInputError, match="damaged"):
        evaluate_classifier(tmp_path / "bad.keras")


def test_evaluate_on_another_dataset(finished, shared_data):
    folder, _ = finished
    with pytest.raises(InvalidInputError, match="3 channel"):
        evaluate_classifier(folder / "model.keras", "cifar10", data_dir=shared_data)


def test_finished_run_is_not_trained_again(finished):
    folder, metrics = finished
    messages = []
    options = {"epochs": 2, "mixed_precision": "mixed_bfloat16", "resume": True}
    again = train_tiny(folder, **options, log=messages.append)
    assert again == metrics and any("complete" in text for text in messages)


def test_folder_in_use(finished):
    folder, _ = finished
    with pytest.raises(InvalidInputError, match="not empty.*--resume.*--overwrite"):
        train_tiny(folder)
    with pytest.raises(InvalidInputError, match="seed was 3, now 4"):
        train_tiny(
            folder, epochs=2, mixed_precision="mixed_bfloat16", seed=4, resume=True
        )
    assert (folder / "model.keras").is_file()


def test_overwrite_keeps_foreign_files(finished, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    (copy / "notes.txt").write_text("mine")
    metrics = train_tiny(copy, epochs=1, overwrite=True)
    assert metrics["epochs"] == 1
    assert len(read_history(copy / "history.csv")) == 1
    assert (copy / "notes.txt").read_text() == "mine"


def test_resume_where_there_is_no_run(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="no run.json.*Leave `resume` out"):
        train_tiny(tmp_path, resume=True)


def inject(monkeypatch, on_epoch_begin):
    """Runs a function at the start of every epoch."""
    module = sys.modules["keras_sda.training.commands.train_classifier"]

    class Injector(module.SeedPerEpoch):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            on_epoch_begin(self.model, epoch)

    monkeypatch.setattr(module, "SeedPerEpoch", Injector)


def test_divergence_in_the_first_epoch_leaves_nothing(tmp_path):
    message = r"diverged.* in epoch 1, step \d+.*lower `learning_rate`.*no backup yet"
    with pytest.raises(InvalidInputError, match=message):
        train_tiny(tmp_path / "run", learning_rate=1e37)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ema", [False, True])
def test_divergence_later_says_how_to_go_on(tmp_path, monkeypatch, ema):
    def spoil(model, epoch):
        if epoch == 1:
            model.get_layer("classifier").bias.assign([np.inf] * 10)

    run = tmp_path / "run"
    with monkeypatch.context() as context:
        inject(context, spoil)
        with pytest.raises(InvalidInputError, match="in epoch 2") as error:
            train_tiny(run, learning_rate=0.5, ema=ema)
    words = str(error.value).split()
    weights = words[words.index("--weights") + 1]
    rate = words[words.index("--learning_rate") + 1]
    assert len(read_history(run / "history.csv")) == 1
    backup = str(run / "backup" / "training" / "epoch0001.weights.h5")
    assert (weights, rate) == (backup, "0.05")
    metrics = train_tiny(
        tmp_path / "new", weights=weights, learning_rate=float(rate), ema=ema, epochs=1
    )
    assert metrics["options"]["weights"] == backup


def test_resume_of_a_run_that_was_interrupted_before_its_first_backup(
    tmp_path, monkeypatch
):
    def interrupt(model, epoch):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        inject(context, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "run", epochs=1)
    assert not (tmp_path / "run" / "backup").exists()
    metrics = train_tiny(tmp_path / "run", epochs=1, resume=True)
    assert metrics["epochs"] == 1 and (tmp_path / "run" / "model.keras").is_file()


def test_skipped_files_are_all_named(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(20):
            pixels = np.full((32, 32, 3), index, "uint8")
            path = tmp_path / "pets" / name / f"{index}.png"
            keras.utils.save_img(path, pixels, scale=False)
    bad = [tmp_path / "pets" / "cat" / f"bad{index}.jpg" for index in range(7)]
    for path in bad:
        path.write_bytes(b"no image")
    run = tmp_path / "run"
    metrics = train_tiny(
        run, dataset=str(tmp_path / "pets"), image_size=32, batch_size=8, epochs=1
    )
    assert metrics["skipped_files"] == 7
    names = (run / "skipped_files.txt").read_text().splitlines()
    assert names == sorted(map(str, bad))


def test_damaged_stream_in_fit(tmp_path, shared_data):
    source = shared_data / "imagenette_mini" / "1.0.0"
    folder = tmp_path / "data" / "imagenette_mini" / "1.0.0"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        cut = "-train." in path.name
        (folder / path.name).write_bytes(path.read_bytes()[: 400000 if cut else None])
    message = f"'imagenette_mini': the train part in .*{folder}.*copy the dataset again"
    options = {"dataset": "imagenette_mini", "data_dir": str(tmp_path / "data")}
    with pytest.raises(InvalidInputError, match=message):
        train_tiny(tmp_path / "run", **options, image_size=32, seed=0)
    assert not (tmp_path / "run").exists()


def test_wrong_label_in_a_stream(tmp_path, monkeypatch):
    import tensorflow as tf

    module = sys.modules["keras_sda.training.commands.classifier_run"]
    images = np.zeros((64, 32, 32, 3), "uint8")
    labels = np.r_[np.zeros(60), [0, 9, 0, 0]].astype("int64")
    stream = tf.data.Dataset.from_tensor_slices((images, labels))
    split = ImageSplit(64, stream=check_stream(stream, 2, "mine train"))
    data = ImageDataset("mine", ("a", "b"), 3, (32, 32, 3), split, split)
    monkeypatch.setattr(module, "load_image_dataset", lambda *_, **__: data)
    with pytest.raises(InvalidInputError, match="`dataset` mine train: label out of"):
        train_tiny(tmp_path / "run")


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(InvalidInputError, match="must be a folder"):
        train_tiny(blocker)
    with pytest.raises(OSError, match="cannot be written"):
        train_tiny(blocker / "below")
    usage = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="Free some space"):
        train_tiny(tmp_path / "full")
    assert not (tmp_path / "full").exists()


def test_disk_that_fills_up_in_the_second_epoch(run_python, tmp_path):
    """A real refusal by the system: no file may grow above 40 kB."""
    program = f"""
import resource, sys
sys.path.insert(0, "tests")
from training.tiny_training import train_tiny
module = sys.modules["keras_sda.training.commands.train_classifier"]
class Filler(module.SeedPerEpoch):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))
module.SeedPerEpoch = Filler
try:
    train_tiny({str(tmp_path / "run")!r})
except OSError as error:
    print("refused:", error)
"""
    result = run_python(program)
    assert "refused: `output`" in result.stdout and "file too large" in result.stdout
    assert "Exception ignored" not in result.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not names & {"model.keras", "metrics.json"}
    assert not [name for name in names if name.startswith(".")]
    newest = EpochBackup(tmp_path / "run" / "backup" / "training").newest
    assert newest.name == "epoch0001.weights.h5"
    assert WeightsFile(newest).problem() == ""


def test_unusable_arguments_leave_no_folder(tmp_path):
    output = str(tmp_path / "run")
    with pytest.raises(InvalidInputError, match="SDAResNet20"):
        train_classifier(TrainOptions(model="SDAResNet21", output=output))
    with pytest.raises(InvalidInputError, match="`weights` names a file that does not"):
        train_classifier(TrainOptions(weights="absent.weights.h5", output=output))
    with pytest.raises(InvalidInputError, match="No weights are published under"):
        train_classifier(TrainOptions(weights="imagenet", output=output))
    with pytest.raises(InvalidInputError, match="is not prepared in"):
        train_classifier(
            TrainOptions(dataset="mnist", data_dir=str(tmp_path), output=output)
        )
    assert not (tmp_path / "run").exists()


def test_virtual_devices_too_late(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be set any more"):
        train_tiny(tmp_path / "run", strategy="mirrored", virtual_devices=3)


def test_start_weights(finished, tmp_path):
    best = str(finished[0] / "best.weights.h5")
    metrics = train_tiny(tmp_path / "run", epochs=1, weights=best)
    assert metrics["options"]["weights"] == best


def test_start_weights_that_do_not_fit_a_network_of_keras(finished, tmp_path):
    options = {"model": "MobileNet", "output": str(tmp_path / "run")}
    with pytest.raises(InvalidInputError, match="best.weights.h5"):
        best = str(finished[0] / "best.weights.h5")
        train_classifier(TrainOptions(weights=best, **options))
    assert not (tmp_path / "run").exists()


def test_absl_program(run_program, tmp_path):
    program = "applications/train_classifier.py"
    text = run_program(program, "--help").stdout
    assert "--[no]download" in text and "--batch_size" in text
    for flag, message in (
        ("--epochs=0", "`epochs` must be greater than 0"),
        ("--epochs=many", "--epochs=many"),
    ):
        result = run_program(program, flag, f"--output={tmp_path / 'run'}")
        assert result.returncode == 2
        assert message in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr

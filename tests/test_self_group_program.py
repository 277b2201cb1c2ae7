"""The program of the published groupings, on JAX with TensorFlow absent."""

import csv
import pathlib

import numpy as np
import pytest

PROGRAM = """
import importlib.util, sys
from importlib.machinery import PathFinder
class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = ("tensorflow", "tensorflow_datasets", "tensorboard", "keras_cv")
        if name.split(".")[0] not in hidden:
            return PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden
sys.path.insert(0, {tests!r})
from absl import flags
from training.tiny_search_run import tiny_classifier
spec = importlib.util.spec_from_file_location("self_group_program", {program!r})
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
experiments = "keras_sda.training.experiments."
sys.modules[experiments + "repeated_runs"].get_model = lambda name: tiny_classifier
flags.FLAGS(["program", *{words!r}])
options = program.build(program.RepeatGroupingOptions, flags.FLAGS)
# Killed, as it were, when it is to be packed.
module = sys.modules[experiments + "repeat_grouping"]
pack, calls = module.pack, []
def fails(*arguments):
    calls.append(1)
    if len(calls) == 1:
        raise RuntimeError("stop")
    return pack(*arguments)
module.pack = fails
try:
    program.repeat_grouping(options, print)
except RuntimeError:
    print("stopped")
first = program.repeat_grouping(options, print)
again = program.repeat_grouping(options, print)
assert "tensorflow" not in sys.modules and again == first
print("rows", len(first), "packed", len(calls))
"""


@pytest.mark.large
def test_groups_arrays_without_tensorflow(run_python, tmp_path):
    pytest.importorskip("jax")
    root = pathlib.Path(__file__).parents[1]
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 120)
    images = generator.integers(0, 90, (120, 32, 32, 1)).astype("uint8")
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] += 150
    path = tmp_path / "bars.npz"
    np.savez(
        path, x_train=images[:80], y_train=labels[:80], x_test=images[80:],
        y_test=labels[80:],
    )  # fmt: skip
    words = [
        f"--output={tmp_path / 'run'}", f"--arrays={path}", "--train_epochs=2",
        "--fine_tune_epochs=2", "--batch_size=16", "--rates=0.75",
    ]  # fmt: skip
    program = PROGRAM.format(
        tests=str(root / "tests"),
        program=str(root / "applications" / "self_group.py"),
        words=words,
    )
    output = run_python(program, env={"KERAS_BACKEND": "jax"}).stdout
    assert "stopped" in output and "rows 1 packed 2" in output
    # The whole network is trained once, its groups are not trained again.
    assert output.count("Epoch 1/2") == 2
    with (tmp_path / "run" / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["published_accuracy"] == "0.954"
    assert row["published_params_millions"] == "1.71"
    assert row["conv_rate"] == row["dense_rate"] == "0.75"
    assert row["train_images"] == "80" and row["test_images"] == "40"
    assert row["accuracy"] == row["accuracy_packed"]
    assert int(row["macs_packed"]) <= int(row["macs"]) < int(row["macs_whole"])
    folder = tmp_path / "run" / "0.75_0.75_global"
    assert {path.name for path in folder.iterdir()} == {
        "groups.png", "model.keras", "packed.keras", "packing.csv", "packing.json",
        "packing.md", "report.csv", "report.json", "report.md",
    }  # fmt: skip


def test_bad_flags_are_one_line(run_program, tmp_path):
    program = "applications/self_group.py"
    np.savez(tmp_path / "bad.npz", x_train=np.zeros(3))
    for words, text in (
        (["--rates=70"], "For 70 % give 0.7"),
        ([f"--arrays={tmp_path / 'bad.npz'}"], "does not hold"),
    ):
        result = run_program(program, *words)
        (line,) = result.stderr.strip().splitlines()[-1:]
        assert result.returncode == 2 and text in line, result.stderr
        assert "Traceback" not in result.stderr

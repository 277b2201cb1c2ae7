"""The program of the published searches, on JAX with TensorFlow absent."""

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
spec = importlib.util.spec_from_file_location("search_channels", {program!r})
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
sys.modules["keras_sda.training.experiments.repeated_runs"].get_model = (
    lambda name: tiny_classifier
)
flags.FLAGS(["program", *{words!r}])
options = program.build(program.RepeatSearchOptions, flags.FLAGS)
first = program.repeat_search(options, print)
again = program.repeat_search(options, print)
assert "tensorflow" not in sys.modules and again == first
print("rows", len(first))
"""


@pytest.mark.large
@pytest.mark.parametrize("prices", [[1e-5], [1e-5, 5e-5]])
def test_searches_arrays_without_tensorflow(prices, run_python, tmp_path):
    pytest.importorskip("jax")
    root = pathlib.Path(__file__).parents[1]
    generator = np.random.default_rng(0)
    paths = []
    for part in range(2):
        labels = generator.integers(0, 10, 60)
        images = generator.integers(0, 90, (60, 32, 32, 1)).astype("uint8")
        for image, label in zip(images, labels, strict=True):
            image[3 * label : 3 * label + 3] += 150
        paths.append(str(tmp_path / f"part{part}.npz"))
        np.savez(
            paths[-1], x_train=images[:40], y_train=labels[:40], x_test=images[40:],
            y_test=labels[40:],
        )  # fmt: skip
    words = [
        f"--output={tmp_path / 'run'}", f"--arrays={','.join(paths)}",
        "--dataset=bars", "--weight_epochs=1", "--architecture_epochs=2",
        "--fine_tune_epochs=1", "--batch_size=16",
        f"--lambda_arch={','.join(map(str, prices))}",
    ]  # fmt: skip
    program = PROGRAM.format(
        tests=str(root / "tests"),
        program=str(root / "applications" / "search_channels.py"),
        words=words,
    )
    output = run_python(program, env={"KERAS_BACKEND": "jax"}).stdout
    count = len(prices)
    assert f"rows {count}" in output and output.count(": done") == count
    with (tmp_path / "run" / "results.csv").open() as file:
        one, *more = rows = list(csv.DictReader(file))
    published = [row["published_accuracy"] for row in rows]
    assert published == ["0.9376", "0.9375"][:count]
    # Ten steps of the gates instead of 7820.
    assert float(one["price"]) == pytest.approx(1e-5 * 782)
    assert one["train_images"] == "80" and one["test_images"] == "40"
    assert int(one["macs"]) <= int(one["macs_before"])
    assert all(int(two["macs"]) <= int(one["macs"]) for two in more)
    folder = tmp_path / "run" / "lambda_1e-05"
    for name in ("model.keras", "report.json", "search.csv", "search.png"):
        assert (folder / name).is_file()
    assert not list(folder.rglob("*.weights.h5"))


def test_bad_flags_are_one_line(run_program, tmp_path):
    program = "applications/search_channels.py"
    np.savez(tmp_path / "bad.npz", x_train=np.zeros(3))
    for words, text in (
        (["--lambda_arch=1e-4", "--target_macs=0.5"], "not both"),
        ([f"--arrays={tmp_path / 'bad.npz'}"], "does not hold"),
    ):
        result = run_program(program, *words)
        (line,) = result.stderr.strip().splitlines()[-1:]
        assert result.returncode == 2 and text in line, result.stderr
        assert "Traceback" not in result.stderr

"""`prune(folder=)`: a call that was interrupted goes on and ends in the same bits."""

import pathlib
import signal

import keras
import numpy as np
import pytest
from pruning.tiny_prune import prune_tiny, tiny_data, tiny_network, train

from keras_sda.runs import EpochBackup, Run
from keras_sda.utils import InvalidInputError

PROGRAM = pathlib.Path(__file__).with_name("tiny_prune.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return prune_tiny(tmp_path_factory.mktemp("whole"))


def check_same(result, whole):
    assert result.plan == whole.plan and result.plans == whole.plans
    assert result.report.layers == whole.report.layers
    assert len(result.model.weights) == len(whole.model.weights)
    for one, other in zip(result.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def forbidden(model):
    raise AssertionError("a finished step was trained again")


@pytest.mark.parametrize("step", [1, 3])
def test_an_interrupted_call_goes_on(step, whole, tmp_path):
    calls = []

    def interrupted(model):
        calls.append(model)
        if len(calls) == step:
            raise KeyboardInterrupt
        train(model)

    with pytest.raises(KeyboardInterrupt):
        prune_tiny(tmp_path, interrupted)
    keras.utils.set_random_seed(99)  # as another process draws
    trained = []

    def fine_tune(model, name):
        trained.append(name)
        train(model)

    check_same(prune_tiny(tmp_path, fine_tune), whole)
    assert trained == [f"step{number}" for number in range(step, 4)]
    check_same(prune_tiny(tmp_path, forbidden), whole)


@pytest.mark.large
def test_a_killed_call_goes_on(whole, run_python, tmp_path):
    result = run_python([PROGRAM, tmp_path], check=False)
    assert result.returncode == -signal.SIGKILL
    assert (tmp_path / "step1" / "model.keras").is_file()
    check_same(prune_tiny(tmp_path), whole)


def test_a_step_that_goes_on_inside(tmp_path):
    """With a backup of its own, in the folder of the step."""
    epochs = []

    def fine_tune(model, name):
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        backup = EpochBackup(tmp_path / name)
        start = backup.restore(model)
        epochs.append((name, start))
        model.fit(*tiny_data(), epochs=2, initial_epoch=start, verbose=0,
                  callbacks=[backup])  # fmt: skip
        if len(epochs) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_tiny(tmp_path, fine_tune, steps=2)
    with pytest.raises(InvalidInputError, match="params was 0.4, now 0.3"):
        prune_tiny(tmp_path, fine_tune, steps=2, params=0.3)
    prune_tiny(tmp_path, fine_tune, steps=2)
    assert epochs == [("step1", 0), ("step1", 2), ("step2", 0)]
    assert not list(tmp_path.rglob("*.weights.h5"))


def test_other_arguments_are_refused(whole, tmp_path):
    prune_tiny(tmp_path, steps=1)
    images, labels = tiny_data()
    other = tiny_network()
    other.get_layer("conv1").bias.assign(np.ones(8))
    before = sorted(tmp_path.rglob("*"))
    for changes, text in (
        ({"params": 0.5}, "settings: params was 0.4, now 0.5. Repeat the call"),
        ({"steps": 2}, "steps was 1, now 2"),
        ({"exclude": ["conv1"]}, r"exclude was \[\], now \['conv1'\]"),
        ({"importance": "l1"}, "importance was 'taylor', now 'l1'"),
        ({"model": other}, "another starting model"),
        ({"data": (images + 1, labels)}, "other data"),
    ):
        with pytest.raises(InvalidInputError, match=text) as error:
            prune_tiny(tmp_path, forbidden, **{"steps": 1, **changes})
        assert str(tmp_path) in str(error.value)
        assert sorted(tmp_path.rglob("*")) == before
    with Run(tmp_path / "other", "ChannelSearch").opened() as run:
        run.settle("weights", {"epochs": 1})
    with pytest.raises(InvalidInputError, match="of `ChannelSearch`, not of `prune`"):
        prune_tiny(tmp_path / "other", forbidden)


def test_as_long_as_nothing_is_finished_arguments_may_change(tmp_path):
    def fails(model):
        raise RuntimeError("memory")

    for params in (0.4, 0.6):
        with pytest.raises(RuntimeError):
            prune_tiny(tmp_path, fails, params=params)
    result = prune_tiny(tmp_path, params=0.6, steps=1)
    assert 0.5 < result.report.params_after / result.report.params_before <= 0.6
    with pytest.raises(InvalidInputError, match="floor"):
        prune_tiny(tmp_path / "new", forbidden, params=0.001)

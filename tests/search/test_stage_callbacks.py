"""Callbacks of Keras in the stages of a search."""

import keras
import numpy as np
import pytest

from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.search.search_model import SearchModel

layers = keras.layers


@pytest.fixture(autouse=True, scope="module")
def eager():
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def gated_network():
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn")(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(y))
    y = layers.Dense(2, activation="softmax")(y)
    return add_channel_gates(keras.Model(x, y))


def data():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, 6, 6, 2)).astype("float32")
    return images, generator.integers(0, 2, 8)


def run(search, stage, **options):
    options = {"epochs": 1, "batch_size": 4, "verbose": 0, **options}
    if stage == "learn_architecture":
        options["lambda_arch"] = 1e-3
    return getattr(search, stage)(data(), **options)


@pytest.mark.parametrize("stage", ["train_weights", "learn_architecture"])
def test_checkpoints_load(stage, tmp_path):
    gated = gated_network()
    files = [tmp_path / "whole.keras", tmp_path / "part.weights.h5"]
    seen = []
    callbacks = [
        keras.callbacks.ModelCheckpoint(files[0]),
        keras.callbacks.ModelCheckpoint(files[1], save_weights_only=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(None)),
    ]
    run(ChannelSearch(gated), stage, callbacks=callbacks)
    images, _ = data()
    expected = gated.predict(images, verbose=0)
    loaded = keras.saving.load_model(files[0])
    assert type(loaded) is type(gated) and not hasattr(loaded, "optimizer")
    assert [x.name for x in loaded.layers] == [x.name for x in gated.layers]
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-5)
    fresh = gated_network()
    assert not np.allclose(fresh.predict(images, verbose=0), expected, rtol=1e-5)
    fresh.load_weights(files[1])
    np.testing.assert_allclose(fresh.predict(images, verbose=0), expected, rtol=1e-5)
    # What a callback sees has the weights of the model with gates, in their order.
    model = SearchModel(gated.input, gated.output, chosen=[])
    assert [id(w) for w in model.weights] == [id(w) for w in gated.weights]
    assert {model.price.path, model.price_memory.path} <= {
        v.path for v in model.non_trainable_variables
    }


def test_checkpoints_of_fine_tuning_load(tmp_path):
    search = ChannelSearch(gated_network())
    search.gates[0].s.assign([1.0, -9.0, 1.0])
    result = search.derive(max_half_open=1.0, threshold=0.4)
    path = tmp_path / "small.keras"
    callbacks = [keras.callbacks.ModelCheckpoint(path)]
    run(search, "fine_tune", callbacks=callbacks)
    images, _ = data()
    np.testing.assert_allclose(
        keras.saving.load_model(path).predict(images, verbose=0),
        result.model.predict(images, verbose=0),
        rtol=1e-5,
    )


def test_best_weights_come_back_and_rates_follow():
    gated = gated_network()
    seen, rates = [], []
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1)

    class Worse(keras.callbacks.Callback):
        """Makes every epoch look worse than the one before."""

        def on_epoch_begin(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

        def on_epoch_end(self, epoch, logs=None):
            logs["loss"] = float(epoch)
            seen.append(self.model.get_weights())

    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    run(ChannelSearch(gated), "train_weights", epochs=9, callbacks=[Worse(), stop])
    assert len(seen) == 2  # stopped after one epoch without gain
    for found, best, _ in zip(gated.get_weights(), *seen, strict=True):
        np.testing.assert_array_equal(found, best)
    assert any((a != b).any() for a, b in zip(*seen, strict=True))
    rates.clear()
    run(ChannelSearch(gated), "train_weights", epochs=3, callbacks=[Worse(), plateau])
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05], rtol=1e-5)
    rates.clear()
    run(ChannelSearch(gated), "train_weights", epochs=2, callbacks=[schedule, Worse()])
    np.testing.assert_allclose(rates, [0.1, 0.05], rtol=1e-5)


def test_tensorboard_and_model_functions(tmp_path):
    """Whatever looks at `self.model` sees one that can be cloned and summed up."""
    shown = []

    class Look(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.summary(print_fn=shown.append)
            shown.append(keras.models.clone_model(self.model).count_params())

    gated = gated_network()
    board = keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1)
    run(ChannelSearch(gated), "train_weights", callbacks=[board, Look()])
    assert list((tmp_path / "logs" / "train").glob("events*"))
    assert shown[-1] == gated.count_params() and len(shown) > 1


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_backup_and_restore(tmp_path):
    """A stage that Keras's own callback resumes ends as one that was not stopped."""
    whole, parts = gated_network(), gated_network()
    options = {"target_macs": 0.7, "epochs": 3, "batch_size": 4, "verbose": 0}
    ChannelSearch(whole).learn_architecture(data(), **options)

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        ChannelSearch(parts).learn_architecture(
            data(), callbacks=[backup(), Interrupt()], **options
        )
    ChannelSearch(parts).learn_architecture(data(), callbacks=[backup()], **options)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_backups_of_before_load(tmp_path):
    """Where the prices were variables of the model itself."""

    class Before(SearchModel):
        def save_own_variables(self, store):
            store["0"], store["1"] = np.float32(0.25), np.float32(-2.0)

    gated = gated_network()
    old = Before(gated.input, gated.output, chosen=[])
    old._prices.save_own_variables = lambda store: None
    old.save_weights(tmp_path / "epoch0001.weights.h5")
    new = SearchModel(gated.input, gated.output, chosen=[])
    new.load_weights(tmp_path / "epoch0001.weights.h5")
    assert (float(new.price), float(new.price_memory)) == (0.25, -2.0)

"""One matrix: whatever `model.fit` takes means the same to all that is given data."""

import keras
import numpy as np
import pytest

from keras_sda.analysis import depth_attention
from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ChannelGraph
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.pruning import CRITERIA, collect_statistics
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.utils import InvalidInputError

layers = keras.layers


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Tracing is not what is tested, and takes longer than the few steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


COUNT, BATCH = 8, 4


class Batches(keras.utils.PyDataset):
    """Batches of a tuple of arrays, as tuples or lists."""

    def __init__(self, arrays, kind=tuple, endless=False, **kwargs):
        super().__init__(**kwargs)
        self.arrays, self.kind, self.endless = arrays, kind, endless

    @property
    def num_batches(self):
        return None if self.endless else COUNT // BATCH

    def __getitem__(self, index):
        rows = slice(index % 2 * BATCH, index % 2 * BATCH + BATCH)
        return self.kind(cut(array, rows) for array in self.arrays)


class Loader:
    """What can be gone through again and knows its length, as DataLoaders of torch."""

    def __init__(self, arrays):
        self.batches = Batches(arrays, list)

    def __len__(self):
        return 2

    def __iter__(self):
        return (self.batches[index] for index in range(2))


def cut(array, rows):
    if isinstance(array, dict):
        return {name: entry[rows] for name, entry in array.items()}
    if isinstance(array, (list, tuple)):
        return type(array)(entry[rows] for entry in array)
    return array[rows]


def stream(arrays):
    import tensorflow as tf

    arrays = tuple(tuple(a) if isinstance(a, list) else a for a in arrays)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def tensors(value):
    import tensorflow as tf

    return tf.nest.map_structure(tf.constant, value)


def every_kind(inputs, labels):
    """The same samples, twice in batches of four, in all forms."""
    arrays = (inputs, labels)
    pairs = Batches(arrays)
    return {
        "list of arrays": [inputs, labels],
        "tensors": tensors(arrays),
        "labels as list": (inputs, labels.tolist()),
        "labels as column": (inputs, labels[:, None]),
        "weights of one": (inputs, labels, np.ones(COUNT)),
        "PyDataset": pairs,
        "PyDataset of lists": Batches(arrays, list),
        "PyDataset with workers": Batches(arrays, workers=2),
        "PyDataset with weights": Batches((*arrays, np.ones(COUNT))),
        "tf.data": stream(arrays),
        "tf.data with weights": stream((*arrays, np.ones(COUNT))),
        "tf.data of unknown length": stream(arrays).filter(lambda *_: True),
        "generator": (pairs[index] for index in range(2)),
        "iterator of lists": iter([list(pairs[0]), list(pairs[1])]),
        "list of batches": [pairs[0], pairs[1]],
        "list of lists": [list(pairs[0]), list(pairs[1])],
        "loader": Loader(arrays),
    }


def single():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(COUNT, 6, 6, 2)).astype("float32")
    return inputs, generator.integers(0, 2, COUNT)


def pair():
    inputs, labels = single()
    other = np.random.default_rng(1).normal(size=(COUNT, 3)).astype("float32")
    return inputs, other, labels


def network(two=False):
    keras.utils.set_random_seed(3)
    x, z = keras.Input((6, 6, 2), name="image"), keras.Input((3,), name="extra")
    y = layers.Conv2D(4, 3, use_bias=False, name="a")(x)
    first = y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(4, 3, padding="same", name="b")(y)
    y = SelectiveDepthAttention(2, name="sda")([first, y])
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.Concatenate()([y, z]) if two else y
    y = layers.Dense(2, activation="softmax", name="classes")(y)
    return keras.Model([x, z] if two else x, y)


def gated_network():
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn")(y))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(y))
    y = layers.Dense(2, activation="softmax")(y)
    return add_channel_gates(keras.Model(x, y))


def importances(model, data, importance):
    graph = ChannelGraph(model)
    loss = "sparse_categorical_crossentropy"
    found = collect_statistics(graph, [CRITERIA[importance]], data, loss)
    if importance == "activation":
        return np.concatenate(found[importance]) / found.num_samples
    scores = [CRITERIA[importance].score(group, found) for group in graph.groups]
    return np.concatenate(scores)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def in_batches():
    inputs, labels = single()
    return [(inputs[:BATCH], labels[:BATCH]), (inputs[BATCH:], labels[BATCH:])]


KINDS = list(every_kind(*single()))
STREAMS = KINDS[KINDS.index("PyDataset") :]


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_importance(model, importance):
    inputs, labels = single()
    halves = [importances(model, (inputs[s], labels[s]), importance)
              for s in (slice(0, BATCH), slice(BATCH, None))]  # fmt: skip
    whole = importances(model, (inputs, labels), importance)
    assert whole.any()
    for kind, data in every_kind(inputs, labels).items():
        expected = np.mean(halves, 0) if kind in STREAMS else whole
        found = importances(model, data, importance)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8, err_msg=kind)


def test_several_inputs(model):
    image, extra, labels = pair()
    two = network(two=True)
    expected = importances(two, ((image, extra), labels), "taylor")
    halves = np.mean([
        importances(two, ((image[s], extra[s]), labels[s]), "taylor")
        for s in (slice(0, BATCH), slice(BATCH, None))
    ], 0)  # fmt: skip
    by_name = {"extra": extra, "image": image}
    for number, inputs in enumerate(([image, extra], (image, extra), by_name)):
        for data in ((inputs, labels), [inputs, labels]):
            found = importances(two, data, "taylor")
            np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=number)
        batches = Batches((inputs, labels))
        for data in (
            batches,
            [batches[0], batches[1]],
            stream((inputs, labels)),
            Batches((inputs, labels), list),
        ):
            found = importances(two, data, "taylor")
            np.testing.assert_allclose(found, halves, rtol=1e-4, err_msg=number)
        for data in (inputs, (inputs, labels), [inputs], batches):
            found = importances(two, data, "activation")
            assert np.isfinite(found).all() and found.any()


def test_attention():
    """Inputs of the same shape are told apart by their names, not by the alphabet."""
    x, z = keras.Input((6, 6, 2), name="z"), keras.Input((6, 6, 2), name="a")
    first = layers.Conv2D(4, 3, padding="same")(x)
    second = layers.Conv2D(4, 3, padding="same")(z)
    model = keras.Model([x, z], SelectiveDepthAttention(2, name="sda")([first, second]))
    image, labels = single()
    other = image[::-1] * 3
    expected = depth_attention(model, [image, other])["sda"]
    for data in (
        (image, other),
        {"z": image, "a": other},
        {"a": other, "z": image},
        ([image, other], labels),
        Batches(([image, other], labels)),
        stream(({"z": image, "a": other}, labels)),
    ):
        found = depth_attention(model, data, batch_size=3)["sda"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


GATED = []


def trained(data, **options):
    """Weights after two epochs of the first stage."""
    if not GATED:  # made once; every training starts from the same weights
        model = gated_network()
        GATED.extend([model, model.get_weights()])
    GATED[0].set_weights(GATED[1])
    search = ChannelSearch(GATED[0])
    options = {"epochs": 2, "batch_size": BATCH, "verbose": 0, **options}
    search.train_weights(data, **options)
    return np.concatenate([w.ravel() for w in search.gated.get_weights()])


def test_training(in_batches):
    """Arrays are shuffled by seed and epoch, streams are taken as they come."""
    inputs, labels = single()
    by_array, by_stream = trained((inputs, labels)), trained(in_batches)
    assert not np.allclose(by_array, by_stream, rtol=1e-6)
    for kind, data in every_kind(inputs, labels).items():
        once = hasattr(data, "__next__")
        options = {}
        if once:
            data = (batch for _ in range(2) for batch in in_batches)
            options["steps_per_epoch"] = 2
        expected = by_stream if kind in STREAMS else by_array
        np.testing.assert_allclose(
            trained(data, **options), expected, rtol=1e-4, atol=1e-6, err_msg=kind
        )
    endless = {
        "PyDataset": Batches((inputs, labels), endless=True),
        "tf.data": stream((inputs, labels)).repeat(),
    }
    for kind, data in endless.items():
        found = trained(data, steps_per_epoch=2)
        np.testing.assert_allclose(found, by_stream, rtol=1e-4, atol=1e-6, err_msg=kind)
        with pytest.raises(InvalidInputError, match="never ends.*`steps_per_epoch`"):
            trained(data)
        with pytest.raises(InvalidInputError, match="never ends"):
            list(FitData(data, gated_network()).batches())
    with pytest.raises(InvalidInputError, match="read once, but is needed for 2 ep"):
        trained(iter(in_batches))


def test_weights_weigh(model, in_batches):
    """A weight of 0 is a sample that is not there, class weights are sample weights."""
    inputs, labels = single()
    by_class = {0: 0.25, 1: 4.0}
    weights = np.array([by_class[label] for label in labels])
    plain, expected = trained((inputs, labels)), trained((inputs, labels, weights))
    assert np.abs(plain - expected).max() > 1e-3
    found = trained((inputs, labels), class_weight=by_class)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    one_hot = keras.utils.to_categorical(labels, 2)
    found = trained((inputs, one_hot), class_weight=by_class)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    expected = trained(stream((inputs, labels, weights)))
    assert np.abs(expected - trained(in_batches)).max() > 1e-3
    # Class 1 is left out of the dict: it has weight 1, in each kind of stream.
    for data in (
        Batches((inputs, labels)), stream((inputs, labels)), in_batches,
        stream((inputs, one_hot)), Loader((inputs, labels)),
        Batches((inputs, labels[:, None])),
    ):  # fmt: skip
        found = trained(data, class_weight=by_class)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    half = trained(stream((inputs, labels)), class_weight={0: 0.5})
    same = trained(stream((inputs, labels, np.where(labels == 0, 0.5, 1))))
    np.testing.assert_allclose(half, same, rtol=1e-4, atol=1e-6)
    # Of a batch with weights 0 and 2, half is not there and the mean stays the same.
    chosen = (inputs[::2], labels[::2])
    masked = (inputs, labels, np.tile([2.0, 0.0], BATCH))
    np.testing.assert_allclose(
        importances(model, masked, "taylor"),
        importances(model, chosen, "taylor"),
        rtol=1e-4,
    )


def test_validation_data(in_batches):
    inputs, labels = single()
    seen = []
    for data, options in (
        ((inputs, labels.tolist()), {}),
        ([inputs, labels], {}),
        (Batches((inputs, labels), list), {}),
        (in_batches, {}),
        (stream((inputs, labels)).repeat(), {"validation_steps": 2}),
    ):
        search = ChannelSearch(gated_network())
        rows = search.train_weights(
            (inputs, labels), 1, batch_size=BATCH, verbose=0, validation_data=data,
            **options,
        )  # fmt: skip
        seen.append(rows[-1]["val_loss"])
    np.testing.assert_allclose(seen, seen[0], rtol=1e-4)
    with pytest.raises(InvalidInputError, match="`validation_data` never ends"):
        trained((inputs, labels), validation_data=stream((inputs, labels)).repeat())
    with pytest.raises(InvalidInputError, match="`validation_data` is an iterator"):
        trained((inputs, labels), validation_data=iter(in_batches))


def test_later_stages():
    inputs, labels = single()
    kept, losses = [], []
    for data in ((inputs, labels, np.ones(COUNT)), (inputs, labels.tolist())):
        search = ChannelSearch(gated_network())
        options = {"batch_size": BATCH, "verbose": 0, "class_weight": {1: 3.0}}
        if len(data) == 3:
            weights = np.where(labels == 1, 3.0, 1.0)
            data, options = (inputs, labels, weights), {**options, "class_weight": None}
        search.learn_architecture(data, 2, lambda_arch=1e-3, **options)
        result = search.derive(threshold=0.4, max_half_open=1.0)
        rows = search.fine_tune(data, 1, **options)
        kept.append(result.kept)
        losses.append(rows[-1]["loss"])
    assert kept[0] == kept[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_class_weight_is_a_setting(tmp_path):
    inputs, labels = single()
    search = ChannelSearch(gated_network(), tmp_path)
    search.train_weights((inputs, labels), 1, verbose=0, class_weight={0: 2.0})
    with pytest.raises(InvalidInputError, match="other settings: class_weight"):
        search.train_weights((inputs, labels), 1, verbose=0, class_weight={0: 3.0})


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        ("all", {"class_weight": {0: 2.0}}, "`class_weight` and the sample weights"),
        ("pair", {"class_weight": [1, 2]}, "must be a dict from class to weight"),
        ("pair", {"class_weight": {0: "much"}}, "must be a dict from class to weight"),
        ("samples", {}, r"does not fit.*\(None, 6, 6, 2\).*single samples"),
        ("inputs", {}, "must hold targets as well"),
        ("short", {}, "as many targets"),
        ("four", {}, "of 4 entries"),
        ("words", {}, "no array of numbers"),
        ("ragged", {}, "no array of numbers"),
        ("text", {}, "Received: str"),
        ("empty", {}, "`data` is empty"),
        ("nothing", {}, "`data` is missing"),
        ("no batches", {}, "`data` is empty"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_line(data, options, match):
    inputs, labels = single()
    given = {
        "all": (inputs, labels, np.ones(COUNT)),
        "pair": (inputs, labels),
        "samples": stream((inputs, labels)).unbatch(),
        "inputs": inputs,
        "short": (inputs, labels[:5]),
        "four": (inputs, labels, labels, labels),
        "words": (inputs, np.array(["cat"] * COUNT)),
        "ragged": (inputs, [[0, 1], [1]] * (COUNT // 2)),
        "text": "cifar10",
        "empty": (),
        "nothing": None,
        "no batches": iter(()),
    }[data]
    with pytest.raises(InvalidInputError, match=match) as error:
        trained(given, epochs=1, **options)
    assert "\n" not in str(error.value)

"""Streams of batches in the forms that `model.fit` takes on every backend."""

import keras
import numpy as np


class ConvertedBatches(keras.utils.PyDataset):
    """Another PyDataset, whose batches are tuples all the way down."""

    def __init__(self, data, convert):
        super().__init__(
            workers=data.workers,
            use_multiprocessing=data.use_multiprocessing,
            max_queue_size=data.max_queue_size,
        )
        self._data, self._convert = data, convert

    @property
    def num_batches(self):
        return self._data.num_batches

    def __getitem__(self, index):
        return self._convert(self._data[index])

    def on_epoch_begin(self):
        self._data.on_epoch_begin()

    def on_epoch_end(self):
        self._data.on_epoch_end()


class ListedBatches(keras.utils.PyDataset):
    """A list of batches, in their order."""

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches[index]


def generate_batches(stream, convert, endless):
    """Batch after batch; what can be read again is, where steps are counted."""
    while True:
        for batch in stream:
            yield convert(batch)
        if not endless or hasattr(stream, "__next__"):
            return


def weighted_tf_data(stream, class_weight, classes):
    """A tf.data stream whose samples weigh as their classes do."""
    if class_weight is None:
        return stream
    import tensorflow as tf

    count = max([classes or 1, *(key + 1 for key in class_weight)])
    table = np.array([class_weight.get(i, 1.0) for i in range(count)], "float32")

    def weigh(*batch):
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
        labels = keras.tree.flatten(targets)[0]
        if labels.shape.rank is None or labels.shape.rank > 1:
            one_hot = labels.shape.rank is not None and labels.shape[-1] != 1
            labels = tf.argmax(labels, -1) if one_hot else tf.reshape(labels, [-1])
        if labels.dtype.is_floating:
            labels = tf.round(labels)
        return inputs, targets, tf.gather(table, tf.cast(labels, "int64"))

    return stream.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)


def without_none(batch):
    """A batch without the entries at its end that are None."""
    inputs, targets, weights = batch
    if weights is not None:
        return inputs, targets, weights
    return (inputs,) if targets is None else (inputs, targets)

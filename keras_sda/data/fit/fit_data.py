"""What `model.fit` takes as data, read in one way wherever data go in."""

import itertools
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import (
    class_labels,
    is_number,
    is_numbers,
    leaves,
    map_arrays,
    shape_of,
    suits,
    to_array,
)
from keras_sda.data.fit.fit_streams import (
    ConvertedBatches,
    ListedBatches,
    generate_batches,
    weighted_tf_data,
    without_none,
)
from keras_sda.utils.invalid_input_error import InvalidInputError


class FitData:
    """Samples in any form that `model.fit` takes, and in some that it does not.

    Use it in everything that is given data, so that all forms mean the same:

    * `(inputs, targets)` or `(inputs, targets, sample_weight)`, inputs alone where no
      targets are needed; arrays, tensors of the backend or lists of numbers, and
      tuples, lists or dicts of them where a model has several inputs or outputs;
    * a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list of batches, a generator or
      any other iterable of batches, such as a DataLoader of torch. A batch is a tuple
      or a list as above.

    Args:
        data: The data.
        model: The model, with `inputs` and `outputs`, that they are for.
        name: Name of the argument, for messages. Defaults to `"data"`.
        needs_targets: Whether inputs alone are an error. Defaults to `True`.

    Attributes:
        arrays: `(inputs, targets, sample_weight)` as NumPy arrays, with None for what
            is not there, or None where the data are a stream of batches.

    Raises:
        InvalidInputError: There is no data, it cannot be read or does not fit `model`.

    Example:

    >>> import keras
    >>> from keras_sda.data.fit.fit_data import FitData
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> data = FitData((np.zeros((5, 3)), [0, 1, 0, 1, 0]), model)
    >>> [len(targets) for _, targets, _ in data.batches(4)]
    [4, 1]
    """

    def __init__(
        self,
        data: Any,
        model: keras.Model,
        name: str = "data",
        needs_targets: bool = True,
    ):
        self.name = name
        self._model_name = model.name
        self._inputs = [(t.name, tuple(t.shape)) for t in model.inputs]
        self._num_outputs = len(model.outputs)
        self._classes = model.outputs[0].shape[-1] if model.outputs[0].shape else None
        self._needs_targets = needs_targets
        self.arrays: Any = None
        self._stream: Any = None
        self._first: Any = None
        if data is None or (isinstance(data, (list, tuple)) and not len(data)):
            raise InvalidInputError(
                f"`{name}` {'is missing' if data is None else 'is empty'}: {self._give}"
            )
        if _is_array(data) or isinstance(data, (Mapping, tuple)):
            self._take_arrays(data)
        elif isinstance(data, list) and not self._is_list_of_batches(data):
            self._take_arrays(data)
        elif isinstance(data, (str, bytes)) or not _is_iterable(data):
            raise InvalidInputError(
                f"`{name}` must be `(inputs, targets)` arrays or an iterable of "
                f"batches. Received: {type(data).__name__}."
            )
        else:
            self._stream = data

    def first(self, values: bool = False) -> tuple[Any, Any, Any]:
        """The first batch `(inputs, targets, sample_weight)`, which is not lost.

        Of a `tf.data.Dataset` only the specifications: reading it would change what
        its shuffling gives later.

        Args:
            values: Whether to read it nevertheless. Defaults to `False`.
        """
        if values and _is_tf_data(self._stream):
            return self._checked(next(iter(self._stream.take(1)), None))
        if self._first is None:
            stream = self._stream
            if self.arrays is not None:
                self._first = self.arrays
            elif _is_tf_data(stream):
                self._first = self._checked(stream.element_spec, convert=False)
            elif isinstance(stream, keras.utils.PyDataset):
                batch = None if stream.num_batches == 0 else stream[0]
                self._first = self._checked(batch)
            else:
                iterator = iter(stream)
                batch = next(iterator, None)
                if hasattr(stream, "__next__") and batch is not None:
                    self._stream = itertools.chain([batch], iterator)
                self._first = self._checked(batch)
        return self._first

    def batches(
        self, batch_size: int = 32, endless: bool = False
    ) -> Iterator[tuple[Any, Any, Any]]:
        """All batches `(inputs, targets, sample_weight)` once, as NumPy arrays.

        Args:
            batch_size: Samples per batch where the data are arrays. Defaults to `32`.
            endless: Whether data may go on for ever, because the caller stops.
                Defaults to `False`.

        Raises:
            InvalidInputError: The data never end, or a batch does not fit the model.
        """
        if self.arrays is not None:
            size = len(leaves(self.arrays)[0])
            for start in range(0, size, batch_size):
                yield map_arrays(lambda a, s=start: a[s : s + batch_size], self.arrays)
            return
        if self._is_endless() and not endless:
            raise InvalidInputError(
                f"`{self.name}` never ends: it repeats itself. Take a part, as in "
                f"`{self.name}.take(32)`."
            )
        stream = dataset = self._stream
        if isinstance(dataset, keras.utils.PyDataset):
            dataset.on_epoch_begin()
            count = dataset.num_batches
            numbers = itertools.count() if count is None else range(count)
            stream = (dataset[index] for index in numbers)
        is_empty = True
        for batch in stream:
            is_empty = False
            yield self._checked(batch)
        if is_empty:
            self._checked(None)

    def for_fit(
        self,
        epochs: int,
        steps: int | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> tuple[Any, int | None]:
        """A stream in a form that `model.fit` takes, and its steps per epoch.

        Args:
            epochs: How many epochs read it.
            steps: Steps per epoch; `None` (default) for all batches in each.
            class_weight: Weight of the samples of every class. Defaults to `None`.

        Returns:
            A `tf.data.Dataset`, a `PyDataset` or a generator of tuples; and `steps`,
            or the number that is needed with it.

        Raises:
            InvalidInputError: An epoch would never end, or find nothing left; or
                `class_weight` does not suit the data.
        """
        stream = self._stream
        option = "steps_per_epoch" if self.name == "data" else "validation_steps"
        if steps is None and self._is_endless():
            raise InvalidInputError(
                f"`{self.name}` never ends: say with `{option}` how many batches are "
                "an epoch."
            )
        is_sized = hasattr(stream, "__len__")
        is_known = _is_tf_data(stream) or isinstance(stream, keras.utils.PyDataset)
        if steps is None and epochs > 1 and not is_sized and not is_known:
            raise InvalidInputError(
                f"`{self.name}` is an iterator of unknown length, which can be read "
                f"once, but is needed for {epochs} epochs. Give arrays, a list of "
                "batches, a PyDataset or a tf.data.Dataset; or an iterator that goes "
                f"on, with `{option}`."
            )
        self.first()  # Say now what does not fit.
        weigh = self.weigh(class_weight)
        if _is_tf_data(stream):
            return weighted_tf_data(stream, class_weight, self._classes), steps

        def convert(batch):
            return without_none(weigh(*self._checked(batch)))

        stream = self._stream  # `first` has put back what it took
        if isinstance(stream, keras.utils.PyDataset):
            return ConvertedBatches(stream, convert), steps
        if isinstance(stream, list):
            return ConvertedBatches(ListedBatches(stream), convert), steps
        if steps is None and is_sized:
            steps = len(stream)
        return generate_batches(stream, convert, endless=steps is not None), steps

    def weigh(self, class_weight: Mapping[int, float] | None) -> Callable:
        """A function of a batch that puts class weights into its sample weights.

        Args:
            class_weight: Weight by class number; classes that are not in it have 1.
                None leaves batches as they are.

        Raises:
            InvalidInputError: It is no such dict, there are sample weights as well, or
                the model has several outputs.
        """
        if class_weight is None:
            return lambda *batch: batch
        problem = ""
        if not isinstance(class_weight, Mapping) or not all(
            isinstance(key, numbers.Integral) and is_number(value)
            for key, value in class_weight.items()
        ):
            problem = f"must be a dict from class to weight, got {class_weight!r}"
        elif self._num_outputs != 1:
            problem = f"needs one output, the model has {self._num_outputs}"
        elif self.first()[2] is not None:
            problem = f"and the sample weights in `{self.name}` exclude each other"
        if problem:
            raise InvalidInputError(
                f"`class_weight` {problem}. Give for example class_weight={{0: 1.0, "
                "1: 5.0}, or a weight per sample: (inputs, targets, sample_weight)."
            )

        def weigh(inputs, targets, _):
            (targets_of_one_output,) = leaves(targets)
            labels = class_labels(targets_of_one_output)
            weights = [class_weight.get(int(label), 1.0) for label in labels]
            return inputs, targets, np.array(weights, "float32")

        return weigh

    def in_order(self, inputs: Any) -> list:
        """The arrays of a batch in the order of the inputs of the model."""
        names = [name for name, _ in self._inputs]
        if isinstance(inputs, Mapping) and set(names) <= set(inputs):
            return [inputs[name] for name in names]
        return leaves(inputs)

    @property
    def _give(self):
        what = "(inputs, targets)" if self._needs_targets else "inputs"
        return (
            f"give {what} arrays or an iterable of batches of them. An iterator that "
            "was read before has to be made anew."
        )

    def _take_arrays(self, data):
        self.arrays = self._checked(data)
        sizes = {len(array) for array in leaves(self.arrays)}
        if len(sizes) != 1 or 0 in sizes:
            raise InvalidInputError(
                f"`{self.name}` must hold as many targets (and sample weights) as "
                f"inputs, and some. Received arrays of {sorted(sizes)} samples."
            )

    def _is_list_of_batches(self, data):
        def fits(batch):
            inputs, targets, _ = self._parts(batch)
            return self._fits(inputs) and not (self._needs_targets and targets is None)

        if all(isinstance(batch, tuple) for batch in data):
            # Else the inputs and the targets of a model that has two of each.
            return fits(data[0]) or not self._fits(data[0])
        return not is_numbers(data) and all(map(fits, data))

    def _parts(self, batch):
        """What of a batch are inputs, targets and weights."""
        if _is_array(batch) or not isinstance(batch, (tuple, list)):
            return batch, None, None
        whole = 1 <= len(batch) <= 3
        if whole and (self._fits(batch[0]) or not self._fits(batch)):
            return (*batch, None, None)[:3]
        if whole or self._fits(batch):
            return batch, None, None
        raise InvalidInputError(
            f"`{self.name}` must consist of (inputs, targets) or (inputs, targets, "
            f"sample_weight). Received a {type(batch).__name__} of {len(batch)} "
            "entries."
        )

    def _is_endless(self):
        if _is_tf_data(self._stream):
            return int(self._stream.cardinality()) == -1
        is_dataset = isinstance(self._stream, keras.utils.PyDataset)
        return is_dataset and self._stream.num_batches is None

    def _checked(self, batch, convert=True):
        """A batch as NumPy arrays, if it fits the model."""
        if batch is None:
            raise InvalidInputError(f"`{self.name}` is empty: {self._give}")
        inputs, targets, weights = self._parts(batch)
        if targets is None and self._needs_targets:
            raise InvalidInputError(
                f"`{self.name}` must hold targets as well: give `(inputs, targets)` "
                "arrays or an iterable of such batches. Received inputs alone."
            )
        if convert:
            inputs, targets, weights = map(self._to_arrays, (inputs, targets, weights))
        if not self._fits(inputs):
            received = [shape_of(array) for array in leaves(inputs)]
            expected = [shape for _, shape in self._inputs]
            hint = ""
            if len(received) == len(expected) and all(
                len(r) == len(e) - 1 for r, e in zip(received, expected, strict=True)
            ):
                hint = (
                    " These look like single samples: put them into batches, as "
                    "`array[None]` does."
                )
            raise InvalidInputError(
                f"`{self.name}` does not fit model {self._model_name!r}: its inputs "
                f"{[name for name, _ in self._inputs]} have the shape(s) {expected}. "
                f"Received: {received}.{hint}"
            )
        return inputs, targets, weights

    def _fits(self, inputs):
        shapes = [shape_of(leaf) for leaf in self.in_order(inputs)]
        return len(shapes) == len(self._inputs) and all(
            suits(shape, wanted)
            for shape, (_, wanted) in zip(shapes, self._inputs, strict=True)
        )

    def _to_arrays(self, value):
        try:
            return map_arrays(to_array, value)
        except (ValueError, TypeError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidInputError(
                f"`{self.name}` holds something that is no array of numbers "
                f"({reason[:150]}). Give NumPy arrays or dense tensors of one shape "
                "per sample."
            ) from error


def is_stream_function(data: Any) -> bool:
    """Whether data are a function of the first epoch that returns a stream."""
    return callable(data) and not isinstance(data, (FitData, keras.utils.PyDataset))


def _is_tf_data(value):
    return hasattr(value, "element_spec") and callable(
        getattr(value, "cardinality", None)
    )


def _is_iterable(value):
    if isinstance(value, keras.utils.PyDataset):
        return True
    try:
        iter(value)
    except TypeError:
        return False
    return True


def _is_array(value):
    """Whether a value is one array, tensor or table."""
    return (
        hasattr(value, "shape")
        and not _is_tf_data(value)
        and not isinstance(value, keras.utils.PyDataset)
    ) or is_numbers(value)

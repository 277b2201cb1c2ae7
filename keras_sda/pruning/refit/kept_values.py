"""The values of a model at a cut, for every batch."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_sda.data.fit.array_structures import leaves, map_arrays
from keras_sda.graph import GraphRunner

# So many numbers of one model are kept, a gigabyte in float32.
_MOST = 2**28


class KeptValues:
    """Goes through a model layer by layer without running it from the start each time.

    Args:
        runner: Runs the model; its weights may change behind the cut.
        batches: Inputs of the model, batch by batch.

    Attributes:
        num_samples: How many samples there are.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.graph import GraphRunner
    >>> from keras_sda.pruning.refit.kept_values import KeptValues
    >>> x = keras.Input((2,))
    >>> y = keras.layers.ReLU()(x)
    >>> runner = GraphRunner(keras.Model(x, keras.layers.Dense(1)(y)))
    >>> values = KeptValues(runner, [-np.ones((3, 2))])
    >>> values.advance(1)
    >>> float(np.sum(values.value(0, runner.calls[1].inputs[0])))
    0.0
    """

    def __init__(self, runner: GraphRunner, batches: Sequence[Any]):
        self._runner = runner
        self._position = 0
        self._values = [runner.given(inputs) for inputs in batches]
        self.num_samples = sum(len(leaves(inputs)[0]) for inputs in batches)

    def value(self, batch: int, number: int) -> Any:
        """One tensor for one batch.

        Args:
            batch: Number of the batch.
            number: Number of the tensor in the runner.
        """
        return self._runner.run(self._values[batch], [number])[number]

    def advance(self, position: int) -> None:
        """Keeps what the calls from a position on need, where that is little.

        Args:
            position: What comes before it has its last weights.
        """
        places = range(self._position + 1, position + 1)
        sizes = {k: self._runner.size(self._runner.frontier(k)) for k in places}
        best = min(sizes, key=lambda place: (sizes[place], -place), default=None)
        if best is None or sizes[best] * self.num_samples > _MOST:
            return
        wanted, kept, size = self._runner.frontier(best), [], 0
        for values in self._values:
            found = self._runner.run(values, wanted)
            # Tensors of the backend: every copy to an array and back takes time.
            kept.append(map_arrays(keras.ops.stop_gradient, found))
            # Where the model leaves the size of images open, this alone tells.
            size += sum(math.prod(x.shape) for x in kept[-1].values())
            if size > _MOST:
                return
        self._values = kept
        self._position = best

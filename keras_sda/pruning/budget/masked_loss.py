"""The loss of a model on some samples, with channels at zero."""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import leaves
from keras_sda.graph import ChannelGraph, ChannelGroup, GraphRunner, rebuild
from keras_sda.graph.edit.masked_weights import MaskedWeights
from keras_sda.graph.model.keras_internals import mask_of
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.pruning.refit.calibration_batches import calibration_batches
from keras_sda.pruning.refit.kept_values import KeptValues

_MOST = 1e30


class MaskedLoss:
    """What the loss is when channels go, measured without building smaller models.

    A copy of the model is made once. Its weights are zeroed where removed channels are
    written and read, as `keras_sda.pruning.mask` does, and it runs at inference.

    Args:
        graph: The channels of the model.
        data: Anything that `model.fit` takes, with targets. Of arrays some samples are
            drawn, of streams the first are taken.
        loss: A Keras loss or its name, see `ModelLoss`. Defaults to `None`.
        seed: Of what is drawn. Defaults to `0`.
        max_samples: At most so many samples are looked at. Defaults to `256`.
        needed_by: Who needs the loss, for the message. Defaults to `"scope='loss'"`.

    Attributes:
        num_runs: How often the samples went through the model, or through a part of it.

    Raises:
        InvalidInputError: There are no targets, they do not fit, or nobody knows the
            loss.

    Example:

    >>> import keras
    >>> from keras_sda.graph import ChannelGraph
    >>> from keras_sda.pruning.budget.masked_loss import MaskedLoss
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, kernel_initializer="ones")(x)
    >>> y = keras.layers.Dense(1, kernel_initializer="ones")(y)
    >>> graph = ChannelGraph(keras.Model(x, y))
    >>> loss = MaskedLoss(graph, (np.ones((4, 2)), np.full((4, 1), 6.0)), "mse")
    >>> removed = np.zeros(len(graph.units.pinned), bool)
    >>> removed[graph.groups[0].classes[0]] = True
    >>> loss(0 * removed), loss(removed)
    (0.0, 4.0)
    """

    def __init__(
        self,
        graph: ChannelGraph,
        data: Any,
        loss: Any = None,
        seed: int = 0,
        max_samples: int = 256,
        needed_by: str = "scope='loss'",
    ):
        self.num_runs = 0
        self._graph = graph
        self._loss = ModelLoss(graph.model, loss, needed_by=needed_by)
        batches = calibration_batches(
            data, graph.model, max_samples, needs_targets=True, seed=seed
        )
        self._inputs = [inputs for inputs, *_ in batches]
        self._targets = [
            (self._loss.targets(targets, weights), len(leaves(inputs)[0]))
            for inputs, targets, weights in batches
        ]
        # New layers draw seeds, but what comes after a plan must not depend on whether
        # it was made or read from a file.
        state = random.getstate()
        copy = rebuild(graph, lambda value, axis: value)
        random.setstate(state)
        self._runner = GraphRunner(copy)
        self._masks = MaskedWeights(graph, copy)
        self._kept: KeptValues | None = None
        self._whole: tuple[float, float] | None = None
        # A mask of time steps travels with the tensors, and is lost if these are kept.
        self._can_keep = not any(
            mask_of(tensor) is not None
            for call in self._runner.calls
            for tensor in call.node.output_tensors
        )

    def whole(self, model: keras.Model | None = None) -> tuple[float, float]:
        """The loss before the cut, and that of a model which looks at nothing.

        The latter always gives what `model` gives on average.

        Args:
            model: Another model for the same samples. Defaults to that of the graph.

        Returns:
            Both losses; the second is NaN where outputs have no common shape.
        """
        if model is None and self._whole is not None:
            return self._whole
        runner = self._runner if model is None else GraphRunner(model)
        self._masks.zero(np.zeros(len(self._graph.units.pinned), bool))
        self.num_runs += 1
        sums: list[Any] = []

        def outputs_of(number):
            found = self._run(runner, number)
            sums.append([_array(value).sum(0, dtype="float64") for value in found])
            return found

        before = self._mean(outputs_of)
        chance = self._constant(sums)
        if model is None:
            self._whole = before, chance
        return before, chance

    def __call__(self, removed: np.ndarray) -> float:
        """The loss without the channels of some classes.

        Args:
            removed: Boolean array over the classes of `graph.units`.

        Returns:
            The mean over the samples; infinite where it is no number.
        """
        self._masks.zero(removed)
        return self._number(lambda number: self._run(self._runner, number))

    def expected(
        self, removed: np.ndarray, model: keras.Model | None = None
    ) -> dict[str, float]:
        """What a plan says of the loss.

        Args:
            removed: As above.
            model: See `whole`. Defaults to `None`.

        Returns:
            `loss_before`, `loss`, and `loss_chance` of a model which looks at nothing,
            where there is one; nothing where the loss before the cut is no number.
        """
        before, chance = self.whole(model)
        if not np.isfinite(before):
            return {}
        # A number that every reader of JSON takes.
        found = {"loss_before": before, "loss": min(self(removed), _MOST)}
        return {**found, "loss_chance": chance} if np.isfinite(chance) else found

    def behind(self, removed: np.ndarray, position: int) -> float:
        """The same, running only what stands behind a position.

        Positions must not fall from call to call.

        Args:
            removed: As above; of groups whose `position` is not before this one.
            position: Number of calls of the model that are not touched.
        """
        if not self._can_keep:
            return self(removed)
        if self._kept is None:
            self._kept = KeptValues(self._runner, self._inputs)
        kept = self._kept
        self._masks.zero(np.zeros_like(removed))
        kept.advance(position)
        self._masks.zero(removed)
        outputs = self._runner.outputs
        return self._number(lambda number: [kept.value(number, x) for x in outputs])

    def position(self, group: ChannelGroup) -> int:
        """The first call of the model that changes with the channels of a group."""
        mine = {id(self._masks.twins[id(part.variable)]) for part in group.parts
                if part.role != "carries"}  # fmt: skip
        for call in self._runner.calls:
            weights = getattr(call.layer, "weights", ())
            if any(id(weight) in mine for weight in weights):
                return call.index
        return 0

    def _constant(self, sums):
        shapes = {tuple(array.shape for array in arrays) for arrays in sums}
        if len(shapes) > 1:
            return float("nan")
        count = sum(size for _, size in self._targets)
        means = [sum(arrays) / count for arrays in zip(*sums, strict=True)]

        def constant(number):
            size = self._targets[number][1]
            return [np.broadcast_to(x, (size, *x.shape)).astype("f4") for x in means]

        return self._mean(constant)

    def _run(self, runner, number):
        values = runner.given(self._inputs[number])
        found = runner.run(values, runner.outputs)
        return [found[x] for x in runner.outputs]

    def _mean(self, outputs_of: Callable[[int], list[Any]]) -> float:
        total = count = 0
        for number, (targets, size) in enumerate(self._targets):
            value = self._loss(outputs_of(number), targets)
            total += size * float(keras.ops.convert_to_numpy(value))
            count += size
        return total / count

    def _number(self, outputs_of):
        self.num_runs += 1
        found = self._mean(outputs_of)
        return found if np.isfinite(found) else float("inf")


def _array(value):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")))

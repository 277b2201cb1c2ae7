"""What a channel is worth: the base of all criteria."""

from typing import Any

import numpy as np

from keras_sda.graph import ChannelGraph, ChannelGroup
from keras_sda.pruning.criteria.channel_statistics import ChannelStatistics, SeenBatch

NEEDS = ("activations", "gradients", "labels", "moments")


class Criterion:
    """Says how much each channel of a group is worth; those with low scores go first.

    Use it as the base of a criterion of your own, which is one file: `score`, and where
    data have a say, `needs` and what is kept of every batch. `register_criterion` makes
    it known to `make_plan`, `prune` and the command line by its name. The data are read
    once, batch by batch, for all criteria together; the model runs at inference.

    Attributes:
        name: What users call it.
        needs: What it wants to see of the data, any of

            * `"activations"`: what the layers with kernels read, as `reduce` leaves it;
            * `"gradients"`: the slope of the loss for every weight;
            * `"labels"`: the class of every sample, as an integer;
            * `"moments"`: the mean product of every two channels of each tensor that
              such layers read, `ChannelStatistics.moments`.

            Defaults to `()`: it looks at the weights alone, and data are refused.
        relative: Whether scores mean something only within their group, so that
            `scope="global"` has to divide them by its mean. Defaults to `True`.
        num_samples_wanted: With fewer samples one line of the log warns, because the
            scores depend on which samples they are. Defaults to `0`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_sda.pruning import Criterion, make_plan
    >>> class Loudest(Criterion):
    ...     name = "loudest"
    ...     needs = ("activations",)
    ...     def reduce(self, activations):
    ...         return keras.ops.max(keras.ops.abs(activations), axis=1)
    ...     def score(self, group, statistics):
    ...         values = statistics.per_channel(group, statistics[self.name])
    ...         return np.array([np.mean(value or [0.0]) for value in values])
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(3, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(1)(y))
    >>> kernel = np.array([[1.0, -9.0, 2.0], [1.0, 9.0, 2.0]])
    >>> _ = model.get_layer("hidden").kernel.assign(kernel)
    >>> plan = make_plan(model, params=0.7, importance=Loudest(), data=np.ones((4, 2)))
    >>> plan.remove
    {'hidden': [1]}
    """

    name: str = ""
    needs: tuple[str, ...] = ()
    relative: bool = True
    num_samples_wanted: int = 0

    def reduce(self, activations: Any) -> Any:
        """What is kept of the activations of one tensor, inside of the graph.

        Written with `keras.ops`, so that only what it returns takes memory and time on
        the way out of the model.

        Args:
            activations: float32 tensor of shape (batch, positions, channels); a tensor
                without positions has one.

        Returns:
            A tensor with the batch as its first axis. Defaults to `activations`.
        """
        return activations

    def collect(self, graph: ChannelGraph, batch: SeenBatch) -> Any:
        """What one batch says. It is added up over the batches.

        Args:
            graph: The channels of the model.
            batch: The batch, with what `needs` names.

        Returns:
            An array, or a list or dict of arrays, of the same shapes for every batch.
            Defaults to the sum over the samples of what `reduce` left of each tensor.
        """
        return [values.astype("float64").sum(0) for values in batch.activations]

    def finish(self, graph: ChannelGraph, statistics: ChannelStatistics) -> Any:
        """What is made of it once all batches have been seen.

        The place for work that is the same for all groups, and for saying that the data
        tell nothing.

        Args:
            graph: The channels of the model.
            statistics: All that was collected, moments and numbers of samples as well.

        Returns:
            What `score` finds under `statistics[self.name]`. Defaults to the sums.
        """
        return statistics[self.name]

    def score(self, group: ChannelGroup, statistics: ChannelStatistics) -> np.ndarray:
        """One number per channel of a group, low for those that go first.

        Args:
            group: Channels that can be removed one by one, with all the weights that
                they live in, of as many layers as there are.
            statistics: What was collected; `statistics[self.name]` is one's own.

        Returns:
            float array of shape `(group.num_channels,)`, finite.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `score`.")

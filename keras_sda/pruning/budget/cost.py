"""What a model costs, as a function of the channels that it keeps."""

from typing import Protocol, runtime_checkable

from keras_sda.graph import Kept


@runtime_checkable
class Cost(Protocol):
    """Anything that says what is left of a model's cost when channels go.

    Use it to plan for something that this package does not count: energy, the memory of
    a device, times that were measured elsewhere. Give it to `make_plan` or `prune` with
    a target, `budget=[(cost, 0.5)]`. `ParameterCost`, `MacCost`, `BitCost`,
    `LayerLatency` and `TableLatency` are costs of this kind.

    Attributes:
        name: What it counts, for messages and plans, such as `"energy"`.

    Example:

    >>> import keras
    >>> from keras_sda.pruning import make_plan
    >>> class Energy:
    ...     name = "energy"
    ...     def count(self, kept):
    ...         return 1.5 * kept.channels("hidden")
    >>> x = keras.Input((8,))
    >>> y = keras.layers.Dense(6, name="hidden")(x)
    >>> model = keras.Model(x, keras.layers.Dense(2)(y))
    >>> plan = make_plan(model, budget=[(Energy(), 0.5)])
    >>> plan.expected["energy_before"], plan.expected["energy"]
    (9.0, 4.5)
    """

    name: str

    def count(self, kept: Kept) -> float:
        """The cost of what is left, in any unit.

        Args:
            kept: The channels that stay: `kept.channels(layer)` says how many of a
                layer, `kept.share(units)` which share of some units of a graph.

        Returns:
            A number. It must not grow when channels go.
        """
        ...

"""The price of open gates."""

from typing import Any

from keras import ops

from keras_sda.utils import InvalidInputError

_KINDS = ("plain", "scaled", "macs", "latency")


def gate_regularizer(
    s: Any, kind: str = "plain", beta: Any = 1.0, macs: Any = None
) -> Any:
    """Returns what the gates of one layer add to the loss of the architecture stage.

    * `"plain"`: the sum of sigmoid(s), as the authors' code has it. The pressure on a
      gate does not depend on beta;
    * `"scaled"`: the sum of sigmoid(beta * s), the gates themselves. The pressure grows
      with beta near `s = 0` and vanishes elsewhere;
    * `"macs"`: sigmoid(s) times the weight of each gate, such as the MACs that go with
      its channel over the mean of all gates;
    * `"latency"`: the same with the time that goes with its channel.

    Args:
        s: The numbers of the gates, float of shape `(channels,)`.
        kind: One of the four. Defaults to `"plain"`.
        beta: Scale of the gates, for `"scaled"`. Defaults to `1`.
        macs: Weight of every gate, for `"macs"` and `"latency"`: shape `(channels,)` or
            a number. Defaults to `None`.

    Returns:
        A scalar tensor, float32. Multiply it by lambda and add it over the layers.

    Raises:
        InvalidInputError: The kind is unknown, or `macs` is missing.

    Example:

    >>> import numpy as np
    >>> from keras_sda.search.gates.gate_regularizer import gate_regularizer
    >>> float(gate_regularizer(np.zeros(8)))
    4.0

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) and the authors' code;
    `"macs"` and `"latency"` are ours.
    """
    if kind not in _KINDS:
        raise InvalidInputError(
            f"`kind` must be one of {_KINDS}. Received: kind={kind!r}."
        )
    s = ops.cast(s, "float32")
    if kind == "scaled":
        return ops.sum(ops.sigmoid(ops.cast(beta, "float32") * s))
    gates = ops.sigmoid(s)
    if kind in ("macs", "latency"):
        if macs is None:
            raise InvalidInputError(
                f"`kind={kind!r}` needs `macs`, a weight for every gate. Received: "
                "None."
            )
        gates = gates * ops.cast(macs, "float32")
    return ops.sum(gates)

"""One call of one layer in a functional graph."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import keras

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer or operation, with every shape known.

    `layer_calls` makes these; code that reads a model (profiles, pruning) takes them.

    Args:
        layer: The `keras.Layer`, or the `keras.Operation` of a `keras.ops` function.
        name: Path of the layer, such as `"encoder/conv1"` inside a nested model.
        batch_input_shapes: Shape of each input tensor for a batch of one sample, with
            the leading axis. That axis is more than 1 where the graph moves other
            axes into it, as `TimeDistributed` or a split into windows does.
        batch_output_shapes: The same for each output tensor.
        call_index: 0 for the first call of the layer, 1 for the second of a shared
            layer, and so on.
        arguments: Call arguments by name, tensors as `keras.KerasTensor` with the
            leading axis. Arguments that were not given are absent.

    Example:

    >>> import keras
    >>> from keras_sda.graph import layer_calls
    >>> x = keras.Input((8, 8, 3))
    >>> model = keras.Model(x, keras.layers.Conv2D(4, 3, name="conv")(x))
    >>> call = layer_calls(model)[0]
    >>> call.name, call.input_shapes, call.output_shapes
    ('conv', ((8, 8, 3),), ((6, 6, 4),))
    """

    layer: keras.Operation
    name: str
    batch_input_shapes: tuple[Shape, ...]
    batch_output_shapes: tuple[Shape, ...]
    call_index: int = 0
    arguments: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({}), repr=False
    )

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shape of each input tensor, without the leading axis."""
        return tuple(shape[1:] for shape in self.batch_input_shapes)

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Shape of each output tensor, without the leading axis."""
        return tuple(shape[1:] for shape in self.batch_output_shapes)

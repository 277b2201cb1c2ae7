"""Who reads the output of a layer: the question that folding asks of a model."""

import dataclasses

import keras


@dataclasses.dataclass
class LayerUse:
    """How one layer (or operation) is used inside one functional model.

    Attributes:
        layer: The layer or `keras.Operation`.
        num_calls: How often the model calls it.
        plain: Whether every call is `layer(x)` with one tensor and nothing else that
            changes the result, such as `training=True`.
        training: Whether a call sets `training` to something else than False.
        consumers: Names of the layers that read its outputs, once per reading; `None`
            stands for an output of the model.
    """

    layer: object
    num_calls: int = 0
    plain: bool = True
    training: bool = False
    consumers: list[str | None] = dataclasses.field(default_factory=list)

    @property
    def only_consumer(self) -> str | None:
        """Name of the reader where there is one call and one reading, else `None`."""
        if self.num_calls == 1 and len(self.consumers) == 1:
            return self.consumers[0]
        return None


def consumers(model: keras.Model) -> dict[str, LayerUse]:
    """Lists the readers of every layer of a functional model.

    Use it to decide whether two neighbouring layers may become one. Calls of a layer
    outside `model` do not count; a nested model is one layer.

    Args:
        model: A functional Keras model.

    Returns:
        A dict from layer name to `LayerUse`, in the order of execution.

    Example:

    >>> import keras
    >>> from keras_sda.graph.consumers import consumers
    >>> x = keras.Input((4,), name="x")
    >>> model = keras.Model(x, keras.layers.Dense(2, name="predictions")(x))
    >>> consumers(model)["x"].only_consumer
    'predictions'
    """
    uses = {}
    producers = {}
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
    ]
    for node in nodes:
        use = uses.setdefault(node.operation.name, LayerUse(node.operation))
        use.num_calls += 1
        use.plain = use.plain and _is_plain(node)
        use.training = use.training or _is_set(node.arguments.kwargs.get("training"))
        for tensor in node.outputs:
            producers[id(tensor)] = use
    for node in nodes:
        # The inputs of a model count as given, whatever they were made of before.
        if not node.is_input:
            for tensor in node.input_tensors:
                if id(tensor) in producers:
                    producers[id(tensor)].consumers.append(node.operation.name)
    for tensor in model.outputs:
        producers[id(tensor)].consumers.append(None)
    return uses


def _is_plain(node):
    arguments = node.arguments
    if node.is_input:
        return True
    return (
        len(arguments.args) == 1
        and isinstance(arguments.args[0], keras.KerasTensor)
        and not any(_is_set(value) for value in arguments.kwargs.values())
    )


def _is_set(value):
    return value is not None and value is not False

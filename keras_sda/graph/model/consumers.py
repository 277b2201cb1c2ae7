"""Who reads the output of a layer: the question that folding asks of a model."""

import dataclasses

import keras

from keras_sda.graph.model.model_graph import ModelGraph


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
    >>> from keras_sda.graph.model.consumers import consumers
    >>> x = keras.Input((4,), name="x")
    >>> model = keras.Model(x, keras.layers.Dense(2, name="predictions")(x))
    >>> consumers(model)["x"].only_consumer
    'predictions'
    """
    graph = ModelGraph(model)
    uses = {}
    for node in graph.nodes:
        use = uses.setdefault(node.name, LayerUse(node.layer))
        use.num_calls += 1
        use.plain = use.plain and _is_plain(node)
        use.training = use.training or _is_set(node.kwargs.get("training"))
    for node in graph.nodes:
        for source, _ in node.inputs:
            uses[graph.nodes[source].name].consumers.append(node.name)
    for source, _ in graph.outputs:
        uses[graph.nodes[source].name].consumers.append(None)
    return uses


def _is_plain(node):
    if node.is_input:
        return True
    return (
        len(node.args) == 1
        and isinstance(node.args[0], keras.KerasTensor)
        and not any(_is_set(value) for value in node.kwargs.values())
    )


def _is_set(value):
    return value is not None and value is not False

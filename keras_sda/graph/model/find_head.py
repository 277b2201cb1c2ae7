"""What the outputs of a classifier mean."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.graph.model.as_functional import graph_of
from keras_sda.graph.model.loss_meaning import loss_meaning, loss_name
from keras_sda.graph.model.model_graph import ModelGraph
from keras_sda.utils import InvalidInputError

ACTIVATIONS = ("softmax", "sigmoid", "none")

# What changes neither the numbers of an output nor their meaning at inference.
_PASS_ON = frozenset(
    "ActivityRegularization AlphaDropout Cast Dropout ExpandDims Flatten "
    "GaussianDropout GaussianNoise GetItem GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalAveragePooling3D Identity Permute Reshape "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D Squeeze Transpose".split()
)
# Logits stay logits here; probabilities do not stay probabilities.
_SCALES = frozenset(
    "Add BatchNormalization Divide LayerNormalization Multiply Negative Rescaling "
    "Subtract TrueDivide".split()
)
_PRODUCTS = frozenset("Dot Einsum Matmul Tensordot".split())
# Layers and operations by class, functions by name.
_KINDS = {
    "hardsigmoid": "sigmoid",
    "logsigmoid": "log_sigmoid",
    "logsoftmax": "log_softmax",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "softmaxv2": "softmax",  # tf.nn.softmax
    "sparsemax": "softmax",
    "sparsesigmoid": "sigmoid",
}
_LIBRARIES = ("keras", "keras_hub", "keras_sda", "tensorflow", "jax", "torch")


@dataclasses.dataclass(frozen=True)
class Head:
    """What the outputs of a classifier mean.

    Attributes:
        kind: The function between logits and probabilities: `"softmax"` (one class per
            image) or `"sigmoid"` (every unit for itself).
        from_logits: Whether it is still to be applied; else the outputs are
            probabilities.
        num_units: Number of outputs.
        layer: Name of the layer or operation that makes them.

    Example:

    >>> from keras_sda.graph import Head
    >>> Head("sigmoid", False, 1, "predictions").task
    'binary'
    """

    kind: str
    from_logits: bool
    num_units: int
    layer: str

    @property
    def task(self) -> str:
        """`"multi-class"`, `"binary"` (one unit) or `"multi-label"`."""
        if self.kind == "softmax":
            return "multi-class"
        return "binary" if self.num_units == 1 else "multi-label"

    @property
    def num_classes(self) -> int:
        """Number of class names: one sigmoid unit stands for two."""
        return 2 if self.task == "binary" else self.num_units

    def probabilities(self, outputs: Any) -> Any:
        """Float32 probabilities from the outputs of the model, of the same shape."""
        outputs = keras.ops.cast(outputs, "float32")
        if not self.from_logits:
            return outputs
        function = keras.ops.softmax if self.kind == "softmax" else keras.ops.sigmoid
        return function(outputs)

    def loss(self, one_hot: bool = True) -> keras.losses.Loss:
        """The cross-entropy that fits.

        Args:
            one_hot: Whether the targets have the shape of the outputs; else they are
                class numbers. Defaults to `True`.
        """
        losses = keras.losses
        if self.kind == "sigmoid":
            return losses.BinaryCrossentropy(from_logits=self.from_logits)
        if one_hot:
            return losses.CategoricalCrossentropy(from_logits=self.from_logits)
        return losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)


def find_head(
    model: keras.Model,
    activation: str | None = None,
    exclusive: bool | None = None,
    advice: str = "",
) -> Head:
    """Tells what the outputs of a classifier mean: probabilities or logits, of what.

    Use it wherever a loss or probabilities are needed; nothing else may guess. The end
    of the graph decides: a softmax or sigmoid as layer, operation or `activation=`, in
    a nested model too, before a Reshape, a cast, Dropout or a linear Activation. Where
    it ends in logits, the loss that the model is compiled with tells of what.

    Args:
        model: A functional or built sequential model with one output
            `(batch, units)`.
        activation: What somebody who knows has said: `"softmax"` or `"sigmoid"` is
            what turns the outputs into probabilities, `"none"` (or `"linear"`) says
            that they are probabilities. Defaults to `None`: look at the model.
        exclusive: What the labels tell: whether every image has exactly one class.
            Defaults to `None`: unknown.
        advice: Closing sentence of the error. Defaults to how to give `activation`.

    Returns:
        A `Head`.

    Raises:
        InvalidInputError: The meaning cannot be known, or `activation` contradicts the
            model.

    Example:

    >>> import keras
    >>> from keras_sda.graph import find_head
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(1)(x))
    >>> model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    >>> head = find_head(model)
    >>> head.kind, head.from_logits, head.task, head.num_classes
    ('sigmoid', True, 'binary', 2)
    """
    if activation is not None and activation not in (*ACTIVATIONS, "linear"):
        raise InvalidInputError(
            f"`activation` must be one of {ACTIVATIONS}. Received: "
            f"activation={activation!r}."
        )
    reader = _Reader(model)
    units, name = reader.num_units, reader.layer

    def head(kind, from_logits):
        return Head(kind, from_logits, units, name)

    kind = reader.kind
    if kind in ("softmax", "sigmoid"):
        if activation in ("softmax", "sigmoid") and activation != kind:
            raise InvalidInputError(
                f"`activation`={activation!r} contradicts the model: {model.name!r} "
                f"ends in a {kind} ({name!r}). Leave `activation` out."
            )
        return head(kind, False)
    if activation in ("none", "linear"):
        return head("softmax" if reader.sums_to_one() else "sigmoid", False)
    if kind is None and reader.sums_to_one():
        return head("softmax", False)
    if activation is not None:
        return head(activation, True)
    if kind == "log_softmax":
        return head("softmax", True)  # softmax(log(p)) is p.
    meaning = loss_meaning(reader.loss)
    if meaning is not None and not (meaning[0] == "softmax" and units == 1):
        link, from_logits = meaning
        if from_logits or (kind is None and reader.are_probabilities()):
            return head(link, from_logits)
        because = f"its loss {loss_name(reader.loss)} takes probabilities"
    elif kind == "linear" and exclusive and units > 1:
        return head("softmax", True)
    elif kind == "linear" and exclusive is False:
        return head("sigmoid", True)
    elif reader.loss is None:
        because = "is not compiled with a loss that would tell"
    else:
        because = f"its loss {loss_name(reader.loss)} does not tell"
    raise InvalidInputError(
        f"What the outputs of model {model.name!r} mean cannot be known: it ends in "
        f"{name!r}, which shows neither a softmax nor a sigmoid, and {because}. "
        + (
            advice
            or "Give `activation` (--activation): 'softmax' (logits, one class per "
            "image), 'sigmoid' (logits, one unit for two classes, or several labels "
            "per image) or 'none' (the outputs are probabilities)."
        )
    )


def check_loss(model: keras.Model, loss: Any, index: int = 0) -> None:
    """Raises where a cross-entropy would take logits for probabilities.

    Args:
        model: A functional model.
        loss: A Keras loss, for one of its outputs.
        index: Number of that output. Defaults to `0`.

    Raises:
        InvalidInputError: The output ends in a linear layer, and the loss takes
            probabilities.
    """
    meaning = loss_meaning(loss)
    if meaning is None or meaning[1]:
        return
    reader = _Reader(model, index)
    if reader.kind == "linear":
        raise InvalidInputError(
            f"`loss` {loss_name(loss)} takes probabilities, but {reader.layer!r} of "
            f"model {model.name!r} gives logits. Give a loss object with "
            "from_logits=True, such as "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True)."
        )


class _Reader:
    """The end of a model: `kind`, `layer`, `num_units` and the `loss`."""

    def __init__(self, model, index=0):
        self._model, self._index = model, index
        self.loss = _single(getattr(model, "loss", None))
        graph = ModelGraph(model)
        self.num_units = graph.model.outputs[index].shape[-1]
        source = graph.outputs[index]
        self.layer = graph.nodes[source[0]].name
        self._named = False
        kind = self._kind(graph, *source)
        self.kind = None if isinstance(kind, int) else kind

    def _kind(self, graph, index, position):
        """What makes a tensor: a kind, None, or the number of the input it is."""
        node = graph.nodes[index]
        if node.is_input:
            tensor = node.output_tensors[position]
            return next(i for i, x in enumerate(graph.model.inputs) if x is tensor)

        def of_input(number):
            return self._kind(graph, *node.inputs[number])

        layer = node.layer
        inner = graph_of(layer)
        if inner is not None:
            nested = ModelGraph(inner)
            kind = self._kind(nested, *nested.outputs[position])
            if self.loss is None:
                self.loss = _single(getattr(layer, "loss", None))
            return of_input(kind) if isinstance(kind, int) else kind
        if not self._named:
            self.layer = node.name
        kind, name = None, _class_name(layer)
        if name in _PASS_ON or _is_linear_activation(layer):
            return of_input(0)
        self._named = True
        if name in ("Average", "Concatenate", "Maximum"):
            kinds = {of_input(i) for i in range(len(node.inputs))}
            same = kinds.pop() if len(kinds) == 1 else None
            allowed = ("softmax", "sigmoid", "linear") if name == "Average" else (
                "sigmoid", "linear"
            )  # fmt: skip
            return same if same in allowed else None
        if name in _SCALES:
            kinds = {of_input(i) for i in range(len(node.inputs))}
            return "linear" if kinds == {"linear"} else None
        if name in _PRODUCTS:
            return "linear"
        kind = _own_kind(layer, name)
        if kind in ("softmax", "log_softmax"):
            axis = getattr(layer, "axis", -1) if name != "Dense" else -1
            shape = node.output_tensors[0].shape
            if not isinstance(axis, int) or shape[axis] != self.num_units:
                return None  # over something else than the classes
        return kind

    @functools.cached_property
    def _values(self):
        """Outputs for random images, or None where it cannot be tried."""
        inputs = self._model.inputs
        if len(inputs) != 1 or "float" not in str(inputs[0].dtype):
            return None
        shape = [inputs[0].shape[0] or 2, *inputs[0].shape[1:]]
        values = np.random.default_rng(0).uniform(
            size=[64 if size is None else size for size in shape]
        )
        outputs = self._model(values.astype("float32"), training=False)
        outputs = keras.ops.cast(keras.tree.flatten(outputs)[self._index], "float32")
        return keras.ops.convert_to_numpy(outputs)

    def are_probabilities(self):
        values = self._values
        if values is None:
            return True  # what the loss says cannot be tried
        return bool(np.all(values >= 0) and np.all(values <= 1 + 1e-3))

    def sums_to_one(self):
        if self.num_units == 1 or self._values is None:
            return False
        if not self.are_probabilities():
            return False
        return bool(np.allclose(self._values.sum(-1), 1, atol=1e-2))


def _class_name(layer):
    """Name of the known class whose `call` runs, or "" for code of the user."""
    for kind in type(layer).__mro__:
        if kind.__module__.split(".")[0] in _LIBRARIES:
            return kind.__name__
        if "call" in vars(kind) or "__call__" in vars(kind):
            break
    return ""


def _is_linear_activation(layer):
    if _class_name(layer) != "Activation":
        return False
    return _function_kind(layer.activation) == "linear"


def _own_kind(layer, name):
    """What a layer or operation makes of its inputs."""
    kind = _KINDS.get(name.lower())
    if kind is not None:
        return kind
    if name in ("SpectralNormalization", "TimeDistributed"):
        return _own_kind(layer.layer, _class_name(layer.layer))
    if not name or not hasattr(layer, "activation"):
        return None
    kind = _function_kind(layer.activation)
    is_weighted = hasattr(layer, "kernel") or "Dense" in name or "Conv" in name
    # A recurrent layer goes on after its activation.
    if kind == "linear" and not is_weighted or hasattr(layer, "cell"):
        return None
    return kind


def _function_kind(function):
    if function is None:
        return "linear"
    if isinstance(function, keras.layers.Layer):
        if _class_name(function) in ("Identity", "Activation") and hasattr(
            function, "activation"
        ):
            return _function_kind(function.activation)
        return _KINDS.get(_class_name(function).lower())
    module = str(getattr(function, "__module__", "")).split(".")[0]
    name = getattr(function, "__name__", "").replace("_", "").lower()
    if module not in _LIBRARIES:
        return None
    return "linear" if name == "linear" else _KINDS.get(name)


def _single(loss):
    """The loss of a model with one output, out of its list or dict."""
    if isinstance(loss, Mapping):
        loss = list(loss.values())
    if isinstance(loss, (list, tuple)):
        return loss[0] if len(loss) == 1 else None
    return loss

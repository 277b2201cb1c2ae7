"""Read the weights that selective depth attention gives to the blocks."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_sda.data.fit.array_structures import to_array
from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ModelGraph, as_functional, graph_of
from keras_sda.layers import SelectiveDepthAttention
from keras_sda.utils import InvalidInputError


class DepthAttentionWeights(dict[str, np.ndarray]):
    """The weights of the blocks, stage by stage: a dict that also knows the blocks.

    Args:
        weights: Name of the layer to float32 array `(images, K, channels)`, which
            sums to one over axis 1; in the order in which the layers run.
        block_names: Name of the layer to the names of the K layers that feed it, in
            the order of axis 1.

    Example:

    >>> import numpy as np
    >>> from keras_sda.analysis import DepthAttentionWeights
    >>> weights = {"stage1_sda": np.full((1, 2, 4), 0.5, "float32")}
    >>> result = DepthAttentionWeights(weights, {"stage1_sda": ("add1", "add2")})
    >>> result["stage1_sda"].shape, result.block_names["stage1_sda"]
    ((1, 2, 4), ('add1', 'add2'))
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        block_names: Mapping[str, tuple[str, ...]],
    ):
        super().__init__(weights)
        self.block_names = dict(block_names)


def depth_attention(
    model: keras.Model, images: Any, batch_size: int = 32
) -> DepthAttentionWeights:
    """Returns, for every image, how much each block of each stage counts.

    Use it to see which depths, and so which receptive fields, a network prefers for
    which images. The model runs at inference and is not changed; memory holds the
    feature maps of one batch and the result.

    Args:
        model: A functional or built sequential model that holds
            `SelectiveDepthAttention` layers, such as a network of
            `keras_sda.applications`; also inside nested functional models.
        images: Array `(images, height, width, channels)` as the model takes it; for a
            model with several inputs a tuple, list or dict of arrays; or anything else
            that `model.fit` takes, such as a `tf.data.Dataset`. Targets are not needed
            and not looked at.
        batch_size: Images per step where they are arrays. Defaults to `32`.

    Returns:
        A dict from the name of the attention layer, in the order in which the layers
        run, to a float32 array `(images, K, channels)` that sums to one over axis 1.
        Its attribute `block_names` names the K layers behind axis 1. A layer inside a
        nested model is called `"nested/layer"`, the second call of a shared layer
        `"layer (call 2)"`.

    Raises:
        InvalidInputError: The model has no graph or no such layer, or the images do
            not fit it.

    Example:

    >>> import numpy as np
    >>> from keras_sda.analysis import depth_attention
    >>> from keras_sda.applications import SDAResNet20
    >>> attention = depth_attention(SDAResNet20(), np.zeros((2, 32, 32, 3)))
    >>> {name: weights.shape for name, weights in attention.items()}
    {'stage1_sda': (2, 3, 16), 'stage2_sda': (2, 3, 32), 'stage3_sda': (2, 3, 64)}
    >>> attention.block_names["stage1_sda"]
    ('stage1_block1_add', 'stage1_block2_add', 'stage1_block3_add')

    Source: arXiv 2209.10327 (IEEE TAI 2024), the weights of step "select".
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidInputError(
            f"`batch_size` must be a positive integer. Received: {batch_size!r}."
        )
    probe = _Probe(model)
    if not probe.names:
        raise InvalidInputError(
            f"`model` '{model.name}' has no SelectiveDepthAttention layer in its graph "
            "(or hides it in a subclassed or wrapped layer). Take a network of "
            "keras_sda.applications with depth_attention=True, or attach the attention "
            "with keras_sda.depth.attach."
        )
    model = as_functional(model)
    images = _stacked(images, model)
    data = FitData(images, model, "images", needs_targets=False)
    # XLA takes longer to compile than these few passes to run; JAX has nothing else.
    probe.compile(jit_compile=keras.backend.backend() == "jax")
    parts, size = [], 0
    for inputs, _, _ in data.batches(batch_size):
        arrays = data.in_order(inputs)
        count = len(arrays[0])
        size = max(size, count)
        # The last batch is filled up, so that the graph is compiled once.
        rows = np.arange(size) % count
        weights = probe.predict_on_batch([array[rows] for array in arrays])
        parts.append([np.asarray(w, "float32")[:count] for w in weights])
    return DepthAttentionWeights(
        {
            name: np.concatenate([part[i] for part in parts])
            for i, name in enumerate(probe.names)
        },
        dict(zip(probe.names, probe.block_names, strict=True)),
    )


class _Probe(keras.Model):
    """Runs a model up to its attention layers and returns their weights.

    It shares the layers of the model. New calls in the symbolic graph would leave
    traces in them, so the attention is computed outside of it.
    """

    def __init__(self, model, prefix=""):
        super().__init__(name="probe")
        graph = ModelGraph(model)
        self.names, self.block_names = [], []
        self.readers = []
        tensors = []
        for node in graph.nodes:
            number = node.call_index + 1
            name = prefix + node.name + ("" if number == 1 else f" (call {number})")
            if isinstance(node.layer, SelectiveDepthAttention):
                reader = _Reader(node.layer)
                self.names.append(name)
                self.block_names.append(
                    tuple(graph.nodes[source].name for source, _ in node.inputs)
                )
            elif graph_of(node.layer) is not None:
                reader = _Probe(node.layer, f"{name}/")
                self.names += reader.names
                self.block_names += reader.block_names
                if not reader.names:
                    continue
            else:
                continue
            self.readers.append(reader)
            tensors.append(list(node.input_tensors))
        self.trunk = keras.Model(graph.model.inputs, tensors) if tensors else None
        self.built = True  # all its layers are: Keras would trace it once to see

    def call(self, inputs):
        outputs = []
        maps = self.trunk(inputs, training=False)
        maps = [maps] if len(self.readers) == 1 else maps  # Keras unpacks lists of one
        for reader, tensors in zip(self.readers, maps, strict=True):
            outputs += reader(tensors)
        return outputs


class _Reader(keras.layers.Layer):
    def __init__(self, layer):
        super().__init__(name="reader", dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def call(self, inputs):
        return [self.layer.compute_attention(inputs, training=False)]


def _stacked(images, model):
    """A list of single images as one array."""
    rank = len(model.inputs[0].shape) - 1
    if isinstance(images, list) and len(model.inputs) == 1:
        shapes = {tuple(getattr(image, "shape", ())) for image in images}
        if len(shapes) == 1 and len(max(shapes)) == rank:
            return np.stack([to_array(image) for image in images])
    return images

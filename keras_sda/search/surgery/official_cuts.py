"""What the published masks hide from the readers of a residual sum."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.graph import ChannelTrace, ModelGraph
from keras_sda.graph.model.convolutions import is_convolution
from keras_sda.search.surgery.keeps_zeros import keeps_zeros
from keras_sda.search.surgery.prepared_model import CallKey, prepared_model
from keras_sda.search.surgery.surgery_layers import AlignedAdd, FixedGate
from keras_sda.search.surgery.zero_flow import ZeroFlow


def official_cuts(
    gated: keras.Model, masks: Mapping[str, np.ndarray]
) -> dict[CallKey, np.ndarray]:
    """Finds the layers that lose sight of channels which only a shortcut carries.

    The published routine zeroes in the layer behind every gate the columns of closed
    channels. Behind a gate in front of a residual sum that layer reads the sum, where
    the shortcut may still carry them.

    Args:
        gated: A model with gates.
        masks: For every gate whether each channel stays.

    Returns:
        By layer name and number of the call of a reader, the channels that it sees.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.search import add_channel_gates
    >>> from keras_sda.search.surgery.official_cuts import official_cuts
    >>> model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3),
    ...                                     include_top=False)
    >>> gated = add_channel_gates(model)
    >>> mask = np.arange(256) < 10
    >>> cuts = official_cuts(gated, {"conv2_block1_3_bn_gate": mask})
    >>> [(name, int(seen.sum())) for (name, _), seen in cuts.items()]
    [('conv2_block2_1_conv', 10)]

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the authors' code.
    """
    trace = ChannelTrace(prepared_model(gated, masks))
    everything = {
        number: np.ones(len(step.outputs[0]), bool)
        for number, step in enumerate(trace.steps)
        if type(step.node.layer) is FixedGate
    }
    is_gated = ~ZeroFlow(trace).read(everything)
    nodes = ModelGraph(trace.model)
    seen = {}  # output of a step: for every class of it whether readers see it
    cuts = {}
    for number, step in enumerate(trace.steps):
        if type(step.node.layer) is AlignedAdd:
            visible = _branches(trace, nodes, step)
            if visible is not None:
                seen[number, 0] = dict(zip(step.outputs[0], visible, strict=True))
            continue
        source = step.sources[0] if len(step.sources) == 1 else None
        if source not in seen:
            continue
        if keeps_zeros(step.node) and len(step.outputs) == 1:
            seen[number, 0] = seen[source]
        elif _is_cut(step, is_gated):
            mask = np.array([seen[source].get(c, True) for c in step.inputs[0]])
            if not mask.all():
                cuts[step.name, step.node.call_index] = mask
    return cuts


def _branches(trace, nodes, step):
    """The channels that the gated branches of a sum keep, or None."""
    masks = []
    makers = [source for source, _ in step.node.inputs]
    for source, maker in zip(step.sources, makers, strict=True):
        layer = None if source is None else trace.steps[source[0]].node.layer
        # What another term is made of is the shortcut.
        is_shortcut = any(
            other != maker and nodes.depends_on(other, maker) for other in makers
        )
        if type(layer) is FixedGate and not is_shortcut:
            masks.append(np.array(layer.mask))
    return np.logical_or.reduce(masks) if masks else None


def _is_cut(step, is_gated):
    """Masked layers are: dense ones, and convolutions with a gate of their own."""
    if isinstance(step.node.layer, keras.layers.Dense):
        return True
    return is_convolution(step.node.layer) and bool(is_gated[step.outputs[0]].any())

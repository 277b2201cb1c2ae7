"""Which variables a stage of the search trains."""

import keras

from keras_sda.graph import all_layers
from keras_sda.graph.model.convolutions import is_convolution
from keras_sda.layers import ScaledSigmoidGate


def stage_variables(
    gated: keras.Model, stage: str, train_dense: bool = True
) -> list[keras.Variable]:
    """Lists the variables that the optimizer of a stage gets.

    * `"weights"`: everything that is trainable but the gates;
    * `"architecture"`: the gates, and with `train_dense` whatever is neither of a
      convolution nor of the normalisation of a feature map, as in the authors' code:
      dense layers and normalisations of vectors.

    Args:
        gated: A model with gates.
        stage: `"weights"` or `"architecture"`.
        train_dense: See above. Defaults to `True`.

    Returns:
        Variables in the order of the layers.

    Example:

    >>> import keras
    >>> from keras_sda.search import add_channel_gates
    >>> from keras_sda.search.stage_variables import stage_variables
    >>> from keras_sda.applications import CIFARResNet20
    >>> model = CIFARResNet20()
    >>> gated = add_channel_gates(model)
    >>> chosen = stage_variables(gated, "architecture")
    >>> sorted({v.name for v in chosen})
    ['bias', 'kernel', 's']

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the authors' code.
    """
    gates, frozen = set(), set()
    for layer in all_layers(gated):
        if isinstance(layer, ScaledSigmoidGate):
            gates.update(id(variable) for variable in layer.weights)
        elif is_convolution(layer) or _normalises_maps(layer):
            frozen.update(id(variable) for variable in layer.weights)
    chosen = []
    for variable in gated.trainable_variables:
        is_gate = id(variable) in gates
        if stage == "weights":
            take = not is_gate
        else:
            take = is_gate or (train_dense and id(variable) not in frozen)
        if take:
            chosen.append(variable)
    return chosen


def _normalises_maps(layer):
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    spec = getattr(layer, "input_spec", None)
    return getattr(spec, "ndim", None) != 2

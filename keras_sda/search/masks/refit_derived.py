"""The derived model takes over what gates let through that are neither 0 nor 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.graph import ChannelTrace
from keras_sda.pruning.refit.refit_kernels import refit_kernels
from keras_sda.pruning.refit.refit_row import RefitRow
from keras_sda.search.gates.add_channel_gates import channel_gates
from keras_sda.search.surgery.remove_closed_channels import SmallerModel, closed_gates
from keras_sda.search.surgery.surgery_layers import AlignedAdd

# A gate that is nearer to 0 or 1 is there.
_DECIDED = 1e-6
_HALF = 0.5


def refit_derived(
    gated: keras.Model,
    masks: Mapping[str, np.ndarray],
    small: SmallerModel,
    batches: Sequence[Any],
    is_exact: bool = True,
    seed: int = 0,
) -> list[RefitRow]:
    """Fits the derived model to what the gated one gives as it is.

    What an open gate multiplies its channel by goes into the normalization before it.
    Then every kernel is fitted to what it gave in the gated model, from what it reads
    in the derived one. Use it through `derive`.

    Args:
        gated: The model with gates, in the mode that they have.
        masks: For every gate, by name, whether each channel stays.
        small: What `remove_closed_channels` made of it. The weights of its model are
            changed.
        batches: Inputs of the model, batch by batch.
        is_exact: Whether the two models are the same where all gates are 0 or 1.
            Defaults to `True`.
        seed: Of the choice of positions. Defaults to `0`.

    Returns:
        A `RefitRow` for every kernel that was fitted or that reads removed channels;
        none where there is nothing to take over.

    Example:

    ```python
    small = remove_closed_channels(gated, masks)
    rows = refit_derived(gated, masks, small, calibration_batches(images, gated))
    ```
    """
    factors = {
        gate.name: keras.ops.convert_to_numpy(gate.factors())
        for gate in channel_gates(gated)
    }
    if is_exact and all(
        np.abs(factor - masks[name]).max() <= _DECIDED
        for name, factor in factors.items()
    ):
        logging.info("%s: all gates are 0 or 1, nothing is to be fitted.", gated.name)
        return []
    _scale_open_channels(small, factors)
    return refit_kernels(
        small.trace,
        small.removed,
        small.model,
        batches,
        seed=seed,
        whole=gated,
        held=small.held,
    )


def _scale_open_channels(small, factors):
    """Puts the gates of channels that stay into the normalizations before them."""
    names = {layer.name for layer in small.model.layers}
    done = set()
    for number, gone in closed_gates(small.trace).items():
        step = small.trace.steps[number]
        source = step.sources[0]
        before = None if source is None else small.trace.steps[source[0]]
        if before is None or before.name not in names or before.name in done:
            continue
        layer = small.model.get_layer(before.name)
        if type(layer) is not keras.layers.BatchNormalization or layer.gamma is None:
            continue
        done.add(before.name)
        factor = factors[step.name]
        if not _is_added(small.trace, number):
            # What a gate closed and the budget opened passes as a whole: it is worth
            # something to a reader that is fitted, and could not learn at zero.
            factor = np.where(factor < _HALF, 1.0, factor)
        factor = np.where(gone, 1.0, factor)[~small.removed[step.inputs[0]]]
        for variable in (layer.gamma, layer.beta):
            if variable is not None:
                value = keras.ops.convert_to_numpy(variable)
                variable.assign(value * factor.astype(value.dtype))


def _is_added(trace: ChannelTrace, number: int) -> bool:
    """Whether a sum reads the output of a step as it is."""
    return any(
        type(step.node.layer) is AlignedAdd and (number, 0) in step.sources
        for step in trace.steps
    )

"""From trained gates to the smaller network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.graph import clone_edited, input_specs
from keras_sda.pruning import PruningPlan, PruningReport
from keras_sda.pruning.refit.calibration_batches import (
    calibration_batches,
    check_reconstruct,
)
from keras_sda.pruning.refit.refit_row import RefitRow
from keras_sda.search.gates.add_channel_gates import channel_gates, remove_channel_gates
from keras_sda.search.masks.refit_derived import refit_derived
from keras_sda.search.masks.round_masks import check_round_to, round_masks
from keras_sda.search.surgery.remove_closed_channels import remove_closed_channels
from keras_sda.utils import InvalidInputError


@dataclasses.dataclass(frozen=True)
class DerivationResult:
    """What `derive` returns.

    Attributes:
        model: The smaller model, not compiled. Fine-tune it as any other.
        report: A `keras_sda.pruning.PruningReport`: layers, parameters and
            multiply-accumulates before and after.
        kept: For every gate the channels that it keeps.
        constants: Names of the sums in which a branch became one number per channel.
        silenced: By batch normalisation, how many closed channels had to stay because
            others, tied to them, do; they are zero.
        plan: Which channels went, layer by layer. Where every term of a sum keeps the
            same ones, nothing is silenced and no branch is gone, `pruning.shrink` makes
            the same network of the model without gates; where the terms differ or a
            branch is gone it refuses.
        branches: By the name of a sum, the last layers of its branches that are gone:
            those of `constants`, and those whose last gate closed, such as operations
            of a supernet. In the report's settings they are `removed_branches`.
    """

    model: keras.Model
    report: PruningReport
    kept: dict[str, list[int]]
    constants: tuple[str, ...]
    silenced: dict[str, int]
    plan: PruningPlan
    branches: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def derive(
    gated: keras.Model,
    threshold: float = 0.9,
    residual: str = "exact",
    max_half_open: float = 0.25,
    input_shape: Any = None,
    round_to: int = 1,
    reconstruct: bool | None = None,
    data: Any = None,
) -> DerivationResult:
    """Returns the physically smaller model that the gates have chosen.

    Use it after the architecture stage, `ChannelSearch.learn_architecture`. Channels
    whose gate is above the threshold stay, with their weights; the others go, and so
    do the gates. The result computes what the gated model does in its binary mode. It
    holds stock Keras layers, and `ScatterChannels` where a branch keeps other channels
    than the sum that it joins. A branch whose last gate closes altogether is gone, and
    so is a block whose branches all are. One that closes further inside becomes one
    number per channel (a `Rescaling` layer).

    Args:
        gated: A model with trained gates. It is not changed.
        threshold: Gates must be above it to stay open. Defaults to `0.9`.
        residual: `"exact"`: readers of a residual sum see every channel that one of its
            terms keeps. `"official"`: they see only the channels that the last branch
            keeps, as the published masks have it; that changes what the network
            computes and needs fine-tuning. Defaults to `"exact"`.
        max_half_open: Share of the gates that may lie between `1 - threshold` and
            `threshold`: these are closed although they let something through. Defaults
            to `0.25`.
        input_shape: Shape of one sample that the report counts for; needed where the
            model leaves it open. Defaults to `None`.
        round_to: Every gate keeps a multiple of so many channels, or all it has:
            those with the largest `s` are opened until it does, and one that closed
            entirely stays closed. What `"exact"` readers of a sum see, of terms that
            keep different channels, may be no multiple: the report names these layers.
            Defaults to `1`.
        reconstruct: Whether the kernels that stay are fitted, without training, to
            what the gated model computes as it is, in the mode that its gates have:
            see `keras_sda.pruning.reconstruct`. They take over what closed gates still
            let through, and normalizations what open ones scale. Where every gate is 0
            or 1 the result is exact without it, and nothing changes (but for
            `residual="official"`). Defaults to `None`: where there are `data`.
        data: Images for `reconstruct`, some 512 of them, as in `model.fit`; labels are
            not looked at. Defaults to `None`.

    Returns:
        A `DerivationResult`.

    Raises:
        InvalidInputError: The gates are untrained or too many are half open, the
            network would be a constant, an argument is wrong, or the data do not fit
            the model.

    Example:

    ```python
    gated = add_channel_gates(model)
    ...  # train the weights, then the gates: see ChannelSearch
    result = derive(gated)
    print(result.report.to_text())
    result.model.save("small.keras")
    ```

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022), the derivation.
    """
    if residual not in ("exact", "official"):
        raise InvalidInputError(
            "`residual` must be 'exact' or 'official'. Received: "
            f"residual={residual!r}."
        )
    check_round_to(round_to)
    check_reconstruct(reconstruct, data)
    masks = open_channels(gated, threshold)
    check_trained(gated, threshold, max_half_open)
    masks = round_masks(channel_gates(gated), masks, round_to)
    settings = {"threshold": threshold, "residual": residual, "round_to": round_to}
    return derive_masks(gated, masks, residual, settings, input_shape, data)


def derive_masks(
    gated: keras.Model,
    masks: Mapping[str, np.ndarray],
    residual: str = "exact",
    settings: Mapping[str, Any] | None = None,
    input_shape: Any = None,
    data: Any = None,
    seed: int = 0,
) -> DerivationResult:
    """`derive` for masks that have been chosen in another way.

    Args:
        gated: A model with gates.
        masks: For every gate, by name, whether each channel stays.
        residual: See `derive`.
        settings: Goes into the report.
        input_shape: See `derive`.
        data: Images that the kernels are fitted with. Defaults to `None`, they stay.
        seed: Of the choice of images and positions. Defaults to `0`.
    """
    batches = [] if data is None else calibration_batches(data, gated, seed=seed)
    small = remove_closed_channels(gated, masks, residual)
    settings = {"method": "channel gates", **(settings or {})}
    refits: list[RefitRow] = []
    if data is not None:
        is_exact = residual == "exact"
        refits = refit_derived(gated, masks, small, batches, is_exact, seed)
        settings["reconstruct"] = bool(refits)  # or nothing was to be fitted
    if small.branches:
        settings["removed_branches"] = small.branches
    report = PruningReport.of(
        _at_shape(remove_channel_gates(gated), input_shape),
        _at_shape(small.model, input_shape),
        settings=settings,
        refits=refits,
    )
    for text in report.warnings:
        logging.warning("%s: %s.", gated.name, text)
    kept = {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
    if small.silenced:
        logging.info(
            "%s: closed channels that had to stay, and are zero: %s",
            gated.name,
            ", ".join(f"{name} {count}" for name, count in small.silenced.items()),
        )
    plan = dataclasses.replace(
        small.plan,
        settings=report.settings,
        expected={
            "params_before": report.params_before,
            "params": report.params_after,
            "macs_before": report.macs_before,
            "macs": report.macs_after,
        },
    )
    return DerivationResult(
        small.model, report, kept, small.constants, small.silenced, plan, small.branches
    )


def _at_shape(model, input_shape):
    """A copy for inputs of known shape, since the report has to count."""
    if input_shape is None:
        return model
    specs = keras.tree.flatten(input_specs(model, input_shape))
    shapes = [(None, *spec.shape[1:]) for spec in specs]
    return clone_edited(model, input_shapes=shapes)


def open_channels(gated: keras.Model, threshold: float = 0.9) -> dict[str, np.ndarray]:
    """For every gate which channels are above the threshold, strictly.

    Args:
        gated: A model with gates.
        threshold: From 0 to 1. Defaults to `0.9`.

    Returns:
        Boolean arrays by the name of the gate; channels that its mask closed before
        stay closed.

    Example:

    >>> from keras_sda.applications import CIFARResNet20
    >>> from keras_sda.search import add_channel_gates, open_channels
    >>> model = CIFARResNet20()
    >>> masks = open_channels(add_channel_gates(model), threshold=0.4)
    >>> all(mask.all() for mask in masks.values())
    True
    """
    if isinstance(threshold, bool) or not 0 < threshold < 1:
        raise InvalidInputError(
            "`threshold` must be a number between 0 and 1. "
            f"Received: threshold={threshold!r}."
        )
    masks = {}
    for gate in channel_gates(gated):
        values = keras.ops.convert_to_numpy(gate.gates())
        mask = keras.ops.convert_to_numpy(gate.mask) > 0
        if not np.isfinite(values).all():
            raise InvalidInputError(
                f"`gated`: gate {gate.name!r} has numbers that are not finite. The "
                "search diverged: train the gates again with a lower learning rate."
            )
        masks[gate.name] = mask & (values > threshold)
    return masks


def close_gates(gated: keras.Model, threshold: float = 0.9, round_to: int = 1) -> None:
    """Sets the masks of the gates and their binary mode, in place.

    Use it to look at what `derive` will compute before anything changes shape.

    Args:
        gated: A model with trained gates.
        threshold: See `derive`.
        round_to: Likewise.

    Example:

    ```python
    close_gates(gated)
    gated.evaluate(images, labels)  # what derive(gated).model gives
    ```
    """
    masks = open_channels(gated, threshold)
    masks = round_masks(channel_gates(gated), masks, round_to)
    for gate in channel_gates(gated):
        gate.mask.assign(masks[gate.name].astype("float32"))
        gate.set_mode("binary")


def check_trained(gated: keras.Model, threshold: float, max_half_open: float) -> None:
    """Raises `InvalidInputError` where gates are untrained or half open."""
    gates = channel_gates(gated)
    values = np.concatenate(
        [keras.ops.convert_to_numpy(gate.gates()) for gate in gates]
    )
    masks = np.concatenate([keras.ops.convert_to_numpy(gate.mask) for gate in gates])
    numbers = np.concatenate([keras.ops.convert_to_numpy(gate.s) for gate in gates])
    if not numbers.any():
        raise InvalidInputError(
            f"`gated` '{gated.name}': its {len(values)} gates are untrained (all at "
            "0.5). Run the architecture stage first: ChannelSearch.learn_architecture."
        )
    low = min(threshold, 1 - threshold)
    half_open = int(((values > low) & (values <= threshold) & (masks > 0)).sum())
    if half_open > max_half_open * len(values):
        beta = max(float(keras.ops.convert_to_numpy(gate.beta)) for gate in gates)
        raise InvalidInputError(
            f"`gated` '{gated.name}': {half_open} of {len(values)} gates are half "
            f"open, between {low:g} and {threshold:g}, at beta={beta:g}. Finish the "
            "architecture stage, whose beta goes up to 10000, or train it longer or "
            "with a higher learning rate. To close them all the same: max_half_open=1."
        )

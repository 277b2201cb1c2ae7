"""What a network loses with each of its blocks."""

import collections
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.data.fit.array_structures import leaves, map_arrays
from keras_sda.data.fit.fit_data import FitData
from keras_sda.graph import ChannelGraph, edit_terms, expand_known_blocks
from keras_sda.graph.channels.joined_channels import joined_classes
from keras_sda.graph.edit.masked_weights import MaskedWeights
from keras_sda.pruning.blocks.distance_correlation import distance_correlation
from keras_sda.pruning.blocks.removable_blocks import check_block_count, find_blocks
from keras_sda.pruning.criteria.loss.model_loss import ModelLoss
from keras_sda.utils import InvalidInputError

# Enough for distance correlations; their cost grows with the square.
_MAX_SAMPLES = 256
_MIN_SAMPLES = 8
# Longer maps are averaged over positions: 32 MB a block.
_MAX_NUMBERS = 1 << 15


def block_importance(
    model: keras.Model, data: Any, how: str = "loss", loss: Any = None
) -> dict[str, float]:
    """Says for every removable block what it is worth; low ones go first.

    Use it before `remove_blocks`, or before `make_plan(blocks=...)`. The model runs at
    inference and is not changed.

    Args:
        model: A functional or built sequential model.
        data: Anything that `model.fit` takes. `"loss"` reads all of it, once, and runs
            the model on every batch once per block and once more. `"dependence"` looks
            at the first 256 samples and needs no targets.
        how: `"loss"`: how much the loss rises when the block is left out.
            `"dependence"`: the distance correlation of what the block adds and what the
            model returns; maps of more than 32,768 numbers count as their means over
            positions. Compare it between blocks for one number of samples only.
            Defaults to `"loss"`.
        loss: For `"loss"`, a Keras loss or its name, a list or a dict of them for
            several outputs. Defaults to that of the compiled model, else to the
            cross-entropy of its head, where that is clear.

    Returns:
        A number by name of the block, in the order of execution.

    Raises:
        InvalidInputError: No block can go, data or loss are missing or do not fit,
            `how` is unknown, or the model returns numbers that are not finite.

    Example:

    >>> import keras, numpy as np
    >>> from keras_sda.pruning import block_importance
    >>> x = keras.Input((2,))
    >>> y = keras.layers.Dense(2, kernel_initializer="zeros")(x)
    >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, y]))
    >>> block_importance(model, (np.ones((4, 2)), np.zeros((4, 2))), loss="mse")
    {'sum': 0.0}

    Source: Soltani et al., ICPR 2020 (dependence of layers and output); distance
    correlation as in arXiv 2201.11209.
    """
    if how not in ("loss", "dependence"):
        raise InvalidInputError(
            f"`how` must be 'loss' or 'dependence'. Received: how={how!r}."
        )
    if how == "dependence" and loss is not None:
        raise InvalidInputError(
            "`loss` would not be looked at: how='dependence' compares what blocks and "
            "model return. Leave `loss` out, or choose how='loss'."
        )
    of_model = ModelLoss(model, loss, "how='loss'") if how == "loss" else None
    reader = FitData(data, model, needs_targets=how == "loss")
    probed = _ProbedModel(expand_known_blocks(model))
    if of_model is not None:
        return _losses(probed, reader, of_model)
    return _dependences(probed, reader)


def least_important_blocks(
    model: keras.Model, blocks: Any, data: Any = None, loss: Any = None
) -> tuple[str, ...]:
    """Names of the blocks that `make_plan(blocks=...)` asks for.

    Args:
        model: See `block_importance`.
        blocks: Names, or how many of those that the loss rises least without.
        data: For a number, see `block_importance`. Defaults to `None`.
        loss: Likewise.

    Raises:
        InvalidInputError: It is neither, there are fewer blocks, or data or loss are
            missing.
    """
    if not isinstance(blocks, int) or isinstance(blocks, bool):
        names: Any = [blocks] if isinstance(blocks, str) else blocks
        if not isinstance(names, Collection) or not all(
            isinstance(name, str) for name in names
        ):
            raise InvalidInputError(
                "`blocks` must be a list of names of `removable_blocks(model)`, or how "
                f"many of the least important go. Received: blocks={blocks!r}."
            )
        return tuple(dict.fromkeys(names))
    if not blocks:
        return ()
    found = block_importance(model, data, "loss", loss)
    check_block_count(model, blocks, len(found))
    logging.info("%s: the loss rises without %s.", model.name, found)
    return tuple(sorted(found, key=found.__getitem__)[:blocks])


def _losses(probed, reader, loss):
    names = [None, *probed.names]
    logging.info(
        "%s: every batch runs through the model %d times, once without each of its %d "
        "blocks.", probed.model.name, len(names), len(probed.names),
    )  # fmt: skip
    sums, count = np.zeros(len(names)), 0
    for number, (inputs, targets, weights) in enumerate(reader.batches(), 1):
        expected = loss.targets(targets, weights)
        size = len(leaves(inputs)[0])
        for place, name in enumerate(names):
            probed.skip(name)
            outputs = probed.model.predict_on_batch(inputs)
            value = float(keras.ops.convert_to_numpy(loss(outputs, expected)))
            if name is None and not np.isfinite(value):
                raise InvalidInputError(
                    f"`data`: the loss of model {probed.model.name!r} on batch "
                    f"{number} is {value}. Look for values that are not finite in the "
                    "data and in the weights."
                )
            sums[place] += value * size
        count += size
        logging.log_every_n_seconds(
            logging.INFO, "%s: %d samples done.", 20, probed.model.name, count
        )
    rises = (sums[1:] - sums[0]) / count
    # Without a block the numbers may overflow: then it is worth everything.
    rises[np.isnan(rises)] = np.inf
    return dict(zip(probed.names, rises.tolist(), strict=True))


def _dependences(probed, reader):
    seen = {name: [] for name in probed.names}
    outputs, count = [], 0
    for inputs, _, _ in reader.batches():
        most = _MAX_SAMPLES - count
        inputs = map_arrays(lambda x, most=most: x[:most], inputs)
        returned, terms = probed.record(inputs)
        outputs.append(returned)
        for name, term in terms.items():
            seen[name].append(term)
        count += len(returned)
        if count >= _MAX_SAMPLES:
            break
    if count < _MIN_SAMPLES:
        raise InvalidInputError(
            f"`data` holds {count} samples. how='dependence' needs at least "
            f"{_MIN_SAMPLES}, and is too high for few: give {_MAX_SAMPLES}."
        )
    if count < _MAX_SAMPLES // 4:
        logging.warning(
            "%s: distance correlations of %d samples are too high; give %d.",
            probed.model.name, count, _MAX_SAMPLES,
        )  # fmt: skip
    whole = np.concatenate(outputs)
    if not np.isfinite(whole).all():
        raise InvalidInputError(
            f"`data`: model {probed.model.name!r} returns numbers that are not finite "
            "for it. Look for such values in the data and in the weights."
        )
    return {
        name: distance_correlation(np.concatenate(seen[name]), whole)
        for name in probed.names
    }


class _ProbedModel:
    """A copy of a model with a probe on the term of every removable block."""

    def __init__(self, model):
        found = find_blocks(model)
        if not found:
            raise InvalidInputError(
                f"`model` '{model.name}' has no block that can go: no sum or "
                "concatenation of it has a term beside a shortcut without weights. See "
                "`removable_blocks`."
            )
        self._probes = {
            block.name: _Probe(name=f"block_probe_{number}")
            for number, (block, _) in enumerate(found)
        }
        places: dict = collections.defaultdict(dict)
        for block, branch in found:
            for node, position in branch.places:
                key = id(branch.model), (node.name, node.call_index)
                places[key][position] = block.name
        changes: dict = collections.defaultdict(dict)
        for (owner, key), names in places.items():
            changes[owner][key] = self._put_in(names)
        self.names = list(self._probes)
        self.model = edit_terms(model, changes)
        # Without what a block joins to others, their readers look at nothing there.
        self._joined: dict[str, Any] = {}
        if any(branch.is_joined for _, branch in found):
            graph = ChannelGraph(model)
            self._masks = MaskedWeights(graph, self.model)
            self._nothing = np.zeros(len(graph.units.pinned), bool)
            for block, branch in found:
                if branch.is_joined:
                    gone = self._nothing.copy()
                    gone[joined_classes(graph, branch.places)] = True
                    self._joined[block.name] = gone

    def _put_in(self, names):
        return lambda terms: [
            self._probes[names[k]](term) if k in names else term
            for k, term in enumerate(terms)
        ]

    def skip(self, name):
        """Leaves out one block from now on, or none."""
        for own, probe in self._probes.items():
            probe.passes.assign(own != name or own in self._joined)
        if self._joined:
            self._masks.zero(self._joined.get(name, self._nothing))

    def record(self, inputs):
        """What the model returns for a batch, and what every block adds."""
        for probe in self._probes.values():
            probe.seen = []
        returned = keras.tree.flatten(self.model(inputs, training=False))
        vectors = np.concatenate([_vectors(x) for x in returned], axis=1)
        return vectors, {
            # A nested model that is called twice adds twice.
            name: np.concatenate(probe.seen, axis=1)
            for name, probe in self._probes.items()
        }


class _Probe(keras.layers.Layer):
    """Passes a tensor on or stops it, and remembers what came through."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.seen = None

    def build(self, input_shape):
        self.passes = self.add_weight(
            shape=(), dtype="bool", initializer="ones", trainable=False, name="passes"
        )

    def call(self, inputs):
        if self.seen is not None:
            self.seen = [*self.seen, _vectors(inputs)]
        return keras.ops.where(self.passes, inputs, keras.ops.zeros_like(inputs))


def _vectors(tensor):
    """A vector per sample, of the means over positions where it would be too long."""
    value = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    if value.ndim > 2 and value[0].size > _MAX_NUMBERS:
        first = keras.config.image_data_format() == "channels_first"
        channel_axis = 1 if first else value.ndim - 1
        axes = [k for k in range(1, value.ndim) if k != channel_axis]
        value = value.mean(axis=tuple(axes))
    return value.reshape(len(value), -1)

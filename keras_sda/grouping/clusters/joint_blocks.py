"""Blocks of channels that several layers share."""

import collections
import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from keras_sda.grouping.clusters.assign_blocks import assign_blocks


@dataclasses.dataclass(frozen=True, eq=False)
class BlockLayer:
    """One layer for `joint_blocks`.

    Attributes:
        vectors: Importance, of shape (filters, channels).
        made: What the filters are divided as: layers with equal keys share blocks.
        read: The same for the channels.
        made_slots: For every filter its place in what is divided.
        read_slots: The same for every channel.
    """

    vectors: np.ndarray
    made: Hashable
    read: Hashable
    made_slots: np.ndarray
    read_slots: np.ndarray


def joint_blocks(
    layers: Sequence[BlockLayer],
    num_blocks: int,
    seed: int = 0,
    num_restarts: int = 2,
    crossed: Sequence[tuple[Hashable, Hashable]] = (),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divides filters and channels into blocks, so that block reads block.

    Use it where layers read and write the same tensor, such as a residual stream: it
    has one order of channels, so their groups have to agree, or each would need its
    channels gathered. What is divided is improved in turn, each time as well as
    possible given the others, until the kept importance does not grow.

    Args:
        layers: The layers; those without a common key are independent.
        num_blocks: Number of blocks; divides all numbers of filters and channels.
        seed: Seed of the starts. Defaults to `0`.
        num_restarts: Random starts besides the first. Defaults to `2`.
        crossed: Pairs of keys that divide the same slots, each block of one into equal
            parts of all blocks of the other, so that what the blocks know is mixed.
            Defaults to none.

    Returns:
        For every layer the block of each filter and of each channel.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping.clusters.joint_blocks import BlockLayer, joint_blocks
    >>> vectors = np.kron([[1, 0], [0, 1]], np.ones((2, 2)))
    >>> places = np.arange(4)
    >>> layer = BlockLayer(vectors, "stream", "stream", places, places)
    >>> made, read = joint_blocks([layer], 2)[0]
    >>> bool(np.all(made == read) and made[0] == made[1] != made[2])
    True

    Source: an extension of arXiv 2009.13803 of our own.
    """
    partner = dict([*crossed, *[pair[::-1] for pair in crossed]])
    parts = _connected(layers, partner)
    result: list[Any] = [None] * len(layers)
    for part in parts:
        solver = _Solver([layers[index] for index in part], num_blocks, partner)
        starts = num_restarts if solver.size <= 1_000_000 else 0
        best: Any = None
        kept = -1.0
        for number in range(starts + 1):
            blocks = solver.start(np.random.default_rng([seed, number]), number == 0)
            value = solver.improve(blocks)
            if value > kept:
                best, kept = blocks, value
        for index in part:
            layer = layers[index]
            result[index] = (
                best[layer.made][layer.made_slots],
                best[layer.read][layer.read_slots],
            )
    return result


class _Solver:
    def __init__(self, layers, num_blocks, partner):
        self.count, self.partner = num_blocks, partner
        self.size = max(layer.vectors.size for layer in layers)
        self.lengths = {}
        self.uses = collections.defaultdict(list)
        for layer in layers:
            # In the order of the slots.
            ordered = np.empty(layer.vectors.shape)
            ordered[np.ix_(layer.made_slots, layer.read_slots)] = layer.vectors
            self.lengths[layer.made], self.lengths[layer.read] = ordered.shape
            self.uses[layer.made].append((ordered, layer.read))
            self.uses[layer.read].append((ordered.T, layer.made))

    def start(self, generator, by_largest):
        """Equal blocks: at random, or alike in what the largest layer weighs."""
        blocks = {}
        for key, length in self.lengths.items():
            blocks[key] = self.assign(
                key, generator.random((length, self.count)), blocks
            )
            if by_largest:
                largest = max((own[0] for own in self.uses[key]), key=np.size)
                blocks[key] = self.alike(key, largest, blocks, generator)
        return blocks

    def alike(self, key, vectors, blocks, generator):
        """Rows of a block resemble each other: a few rounds of k-means."""
        centroids = vectors[generator.choice(len(vectors), self.count, replace=False)]
        for _ in range(5):
            nearness = vectors @ centroids.T - 0.5 * (centroids**2).sum(axis=1)
            labels = self.assign(key, nearness, blocks)
            centroids = np.stack(
                [vectors[labels == k].mean(axis=0) for k in range(self.count)]
            )
        return labels

    def assign(self, key, profit, blocks):
        """The best blocks; of a crossed key within each block of its partner."""
        other = blocks.get(self.partner.get(key))
        if other is None:
            return assign_blocks(profit)
        labels = np.empty(len(profit), int)
        for block in range(self.count):
            rows = np.flatnonzero(other == block)
            labels[rows] = assign_blocks(profit[rows])
        return labels

    def improve(self, blocks):
        """Improves the blocks in place; returns the importance that they keep."""
        kept = -1.0
        while True:
            value = 0.0
            for key in self.lengths:
                profit = sum(
                    own @ np.eye(self.count)[blocks[other]]
                    for own, other in self.uses[key]
                    if other != key
                )
                for own, other in self.uses[key]:
                    if other == key:  # a layer that reads what it writes
                        profit = profit + own @ np.eye(self.count)[blocks[key]]
                blocks[key] = self.assign(key, profit, blocks)
                value += profit[np.arange(len(profit)), blocks[key]].sum()
            if value <= kept * (1 + 1e-6):
                return value
            kept = value


def _connected(layers, partner):
    """Lists of layers that depend on each other through common or crossed keys."""
    parts: list[tuple[set, list[int]]] = []
    for index, layer in enumerate(layers):
        keys, members = {layer.made, layer.read}, [index]
        keys |= {partner[key] for key in keys if key in partner}
        rest = []
        for other_keys, other_members in parts:
            if other_keys & keys:
                keys, members = keys | other_keys, other_members + members
            else:
                rest.append((other_keys, other_members))
        parts = [*rest, (keys, members)]
    return [members for _, members in parts]

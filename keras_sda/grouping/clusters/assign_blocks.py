"""Put rows into blocks of one size at a high total profit."""

import numpy as np

# Up to here the best assignment is found exactly; its time grows with the cube.
_EXACT = 64


def assign_blocks(profit: np.ndarray) -> np.ndarray:
    """For every row a block, every block as often.

    Up to 64 rows the assignment is the best one; beyond that it starts from the rows
    that lose most by their second choice, and swaps rows between two blocks until that
    gains nothing.

    Args:
        profit: What each row brings in each block, of shape (rows, blocks); the number
            of blocks divides that of the rows.

    Returns:
        Integer array, the block of each row.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping.clusters.assign_blocks import assign_blocks
    >>> assign_blocks(np.array([[3.0, 0.0], [2.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    array([0, 1, 0, 1])
    """
    rows, blocks = profit.shape
    size = rows // blocks
    if rows <= _EXACT:
        from scipy.optimize import linear_sum_assignment

        places = np.repeat(profit, size, axis=1)
        return linear_sum_assignment(places, maximize=True)[1] // size
    labels = _by_regret(profit, size)
    for _ in range(50):
        if not sum(
            _swap(profit, labels, first, second)
            for first in range(blocks)
            for second in range(first)
        ):
            break
    return labels


def _by_regret(profit, size):
    best = np.sort(profit, axis=1)[:, ::-1]
    regret = best[:, 0] - best[:, min(1, profit.shape[1] - 1)]
    room = np.full(profit.shape[1], size)
    labels = np.empty(len(profit), int)
    for row in np.argsort(-regret, kind="stable"):
        block = int(np.argmax(np.where(room > 0, profit[row], -np.inf)))
        labels[row] = block
        room[block] -= 1
    return labels


def _swap(profit, labels, first, second):
    """Swaps the rows of two blocks that gain by it; returns how many pairs."""
    here, there = (np.flatnonzero(labels == block) for block in (first, second))
    gain = profit[:, second] - profit[:, first]
    here = here[np.argsort(-gain[here], kind="stable")]
    there = there[np.argsort(gain[there], kind="stable")]
    pairs = int((gain[here] - gain[there] > 1e-9 * np.abs(profit).max()).sum())
    labels[here[:pairs]], labels[there[:pairs]] = second, first
    return pairs

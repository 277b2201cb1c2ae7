"""Which filters of a masked layer read the same channels."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class FilterList:
    """Filters that read the same channels.

    Attributes:
        channels: Places of the channels, ascending.
        filters: Places of the filters, ascending.
    """

    channels: tuple[int, ...]
    filters: tuple[int, ...]

    @property
    def cost(self) -> int:
        """Connections."""
        return len(self.channels) * len(self.filters)


def filter_lists(mask: np.ndarray) -> list[FilterList]:
    """Sorts the filters of a mask into lists with the same channels.

    Args:
        mask: Zeros and ones of shape (channels, filters).

    Returns:
        Lists in the order of their first filters; filters that read nothing make the
        last one.

    Example:

    >>> import numpy as np
    >>> from keras_sda.grouping.filter_lists import filter_lists
    >>> [x.filters for x in filter_lists(np.array([[1, 0, 1], [1, 1, 1]]))]
    [(0, 2), (1,)]
    """
    mask = np.asarray(mask) > 0
    rows = np.packbits(mask.T, axis=1)
    _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    number = number.reshape(-1)
    lists = []
    for index in np.argsort(first):
        channels = np.flatnonzero(mask[:, first[index]])
        filters = np.flatnonzero(number == index)
        lists.append(FilterList(tuple(channels.tolist()), tuple(filters.tolist())))
    lists.sort(key=lambda own: not own.channels)
    return lists


def merged_lists(lists: list[FilterList], count: int) -> list[FilterList]:
    """Joins lists until `count` are left; what is read too much has zero weights.

    In every step the two are joined that need the fewest connections more.

    Args:
        lists: What `filter_lists` returns.
        count: Lists to keep, besides the one that reads nothing.

    Example:

    >>> from keras_sda.grouping.filter_lists import FilterList, merged_lists
    >>> lists = [FilterList((k,), (k,)) for k in (0, 0, 9)]
    >>> [x.channels for x in merged_lists(lists, 2)]
    [(9,), (0,)]
    """
    idle = [own for own in lists if not own.channels]
    lists = [own for own in lists if own.channels]
    while len(lists) > count:
        pairs = [
            (_joined(a, b).cost - a.cost - b.cost, i, j)
            for i, a in enumerate(lists)
            for j, b in enumerate(lists[:i])
        ]
        _, i, j = min(pairs)
        new = _joined(lists[i], lists[j])
        lists = [own for k, own in enumerate(lists) if k not in (i, j)] + [new]
    return lists + idle


def _joined(a, b):
    return FilterList(
        tuple(sorted({*a.channels, *b.channels})),
        tuple(sorted({*a.filters, *b.filters})),
    )

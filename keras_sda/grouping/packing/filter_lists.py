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
    >>> from keras_sda.grouping.packing.filter_lists import filter_lists
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

    >>> from keras_sda.grouping.packing.filter_lists import FilterList, merged_lists
    >>> lists = [FilterList((k,), (k,)) for k in (0, 0, 9)]
    >>> [x.channels for x in merged_lists(lists, 2)]
    [(9,), (0,)]
    """
    idle = [own for own in lists if not own.channels]
    lists = [own for own in lists if own.channels]
    if len(lists) <= count:
        return lists + idle
    return _Joiner(lists).down_to(count) + idle


# Keys of pairs hold the extra connections above the number of the earlier list.
_SHIFT = 22
_NEVER = np.iinfo(np.int64).max


class _Joiner:
    """Finds the cheapest pair of lists without looking at all pairs again.

    A list is numbered when it is made, so that numbers are ordered as the lists are. A
    row holds the pairs of one list with all earlier ones. The best of a row is known,
    or is out of date and then no better than what is noted: it is looked up again only
    when the row seems to have the best pair of all.
    """

    def __init__(self, lists):
        count = 1 + max(own.channels[-1] for own in lists)
        self._lists = list(lists)
        self._reads = np.zeros((len(lists), count), "float32")
        for row, own in zip(self._reads, lists, strict=True):
            row[list(own.channels)] = 1
        self._filters = np.array([len(own.filters) for own in lists])
        self._numbers = np.arange(len(lists))
        self._is_left = np.ones(len(lists), bool)
        self._pairs = self._keys(np.arange(len(lists)))
        self._pairs[np.triu_indices(len(lists))] = _NEVER
        self._best = self._pairs.min(1)
        self._is_old = np.zeros(len(lists), bool)

    def down_to(self, count):
        """The lists that are left, in order."""
        for number in range(len(self._lists), 2 * len(self._lists) - count):
            self._join(*self._cheapest(), number)
        places = np.flatnonzero(self._is_left)
        places = places[np.argsort(self._numbers[places])]
        return [self._lists[place] for place in places]

    def _keys(self, places):
        """Of these lists with every list: what joining them adds, then who it is."""
        sizes = self._reads.sum(1)
        both = (self._reads[places] @ self._reads.T).astype("int64")
        own, others = sizes[places].astype("int64"), sizes.astype("int64")
        filters = self._filters[places]
        added = (others - both) * filters[:, None]
        added += (own[:, None] - both) * self._filters
        return (added << _SHIFT) + self._numbers

    def _cheapest(self):
        while True:
            added = self._best >> _SHIFT
            rows = np.flatnonzero(added == added.min())
            row = rows[np.argmin(self._numbers[rows])]
            if not self._is_old[row]:
                return row, int(np.argmin(self._pairs[row]))
            self._best[row] = self._pairs[row].min()
            self._is_old[row] = False

    def _join(self, later, earlier, number):
        """Puts both in place of the later one."""
        for place in (later, earlier):
            # Nobody finds them any more; rows that had chosen one look again.
            self._is_old |= (self._best & ((1 << _SHIFT) - 1)) == self._numbers[place]
            self._pairs[:, place] = _NEVER
        self._lists[later] = _joined(self._lists[later], self._lists[earlier])
        self._reads[later] = np.maximum(self._reads[later], self._reads[earlier])
        self._filters[later] += self._filters[earlier]
        self._numbers[later] = number
        self._is_left[earlier] = False
        self._pairs[earlier] = self._best[earlier] = _NEVER
        self._is_old[earlier] = False
        row = self._keys(np.array([later]))[0]
        row[~self._is_left] = _NEVER
        row[later] = _NEVER
        self._pairs[later], self._best[later] = row, row.min()
        self._is_old[later] = False


def _joined(a, b):
    return FilterList(
        tuple(sorted({*a.channels, *b.channels})),
        tuple(sorted({*a.filters, *b.filters})),
    )

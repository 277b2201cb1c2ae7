"""Lists of filters are joined as by looking at all pairs, without doing that."""

import itertools
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_sda.grouping import pack, self_group
from keras_sda.grouping.packing import filter_lists as module
from keras_sda.grouping.packing import packed_forms
from keras_sda.grouping.packing.filter_lists import (
    FilterList,
    filter_lists,
    merged_lists,
)


def joined_by_all_pairs(lists, count):
    """In every step the first of the cheapest pairs of all."""
    idle = [own for own in lists if not own.channels]
    lists = [own for own in lists if own.channels]
    while len(lists) > count:
        pairs = []
        for i, j in itertools.combinations(range(len(lists)), 2):
            a, b = lists[j], lists[i]
            new = len({*a.channels, *b.channels}) * (len(a.filters) + len(b.filters))
            pairs.append((new - a.cost - b.cost, j, i))
        _, j, i = min(pairs)
        a, b = lists[j], lists[i]
        new = FilterList(
            tuple(sorted({*a.channels, *b.channels})),
            tuple(sorted({*a.filters, *b.filters})),
        )
        lists = [own for k, own in enumerate(lists) if k not in (i, j)] + [new]
    return lists + idle


def masks():
    generator = np.random.default_rng(0)
    for share in (0.05, 0.3, 0.7):
        yield generator.random((9, 25)) < share
    yield np.eye(24)  # every pair costs the same
    yield np.tril(np.ones((20, 20)))
    yield np.repeat(np.eye(4), 5, axis=1)[:, generator.permutation(20)]
    yield np.concatenate([np.zeros((6, 3)), generator.random((6, 15)) < 0.4], 1)
    yield np.zeros((4, 5))


@pytest.mark.parametrize("mask", list(masks()), ids=lambda mask: str(mask.shape))
def test_same_lists_as_by_looking_at_all_pairs(mask):
    lists = filter_lists(mask)
    for count in (1, 2, 5, 8, 100):
        expected = joined_by_all_pairs(lists, count)
        assert merged_lists(lists, count) == expected
        # From a longer list of lists the way is the same.
        assert merged_lists(merged_lists(lists, 8), min(count, 8)) == (
            expected if count <= 8 else merged_lists(lists, 8)
        )


def test_one_union_per_step(monkeypatch):
    """512 groups: 130,000 pairs, and as many again in each of 504 steps, were built."""
    lists = filter_lists(np.random.default_rng(0).random((96, 512)) < 0.2)
    calls = []
    joined = module._joined
    monkeypatch.setattr(
        module, "_joined", lambda *pair: calls.append(1) or joined(*pair)
    )
    merged = merged_lists(lists, 8)
    assert len(merged) == 8 and len(calls) == len(lists) - 8
    assert sorted(f for own in merged for f in own.filters) == list(range(512))


@pytest.fixture(scope="module")
def masked():
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(12, 3, activation="relu", name="a")(x)
    y = layers.Conv2D(12, 1, activation="relu", name="b")(y)
    y = layers.Conv2D(12, 1, name="c")(y)
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    return self_group(
        model, conv_rate=0.6, dense_rate=0.0, num_groups=6, balance=None
    ).model


@pytest.mark.parametrize("form", ["lists", "dense", "grouped"])
def test_only_the_form_that_is_asked_for_is_made(masked, form, monkeypatch):
    def never(*args):
        raise AssertionError("another form was made")

    monkeypatch.setattr(packed_forms, "merged_lists", never)
    if form != "dense":
        monkeypatch.setattr(packed_forms, "dense_form", never)
    else:
        monkeypatch.setattr(packed_forms, "list_form", never)
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    lines = []
    packed = pack(masked, form, log=lines.append).model
    np.testing.assert_allclose(packed(images), masked(images), atol=1e-5)
    assert not lines


def test_progress_while_forms_are_timed(masked, monkeypatch):
    class Timer:
        """Times nothing: what is said of it is the subject."""

        def __init__(self, *args):
            pass

        def times_ms(self, forms, shape):
            return {form.name: 1.0 for form in forms}

    monkeypatch.setattr(
        sys.modules["keras_sda.grouping.packing.pack"], "FormTimer", Timer
    )
    lines = []
    result = pack(masked, log=lines.append)
    names = [row.name for row in result.report.layers]
    assert len(lines) == 2 * len(names) == 4  # once for each order of channels
    for number, name in enumerate(names, 1):
        for line in (lines[number - 1], lines[number + 1]):
            start = f"Timed layer {number} of 2, {name}: dense 1.000, lists 1.000"
            assert line.startswith(start) and line.endswith(" ms")

"""Groups of one size: found where they are, better than chance elsewhere."""

import numpy as np
import pytest
from keras_networks import make_cifar_resnet

from keras_sda.grouping import balanced_groups, importance_vectors, self_group
from keras_sda.utils import InvalidInputError


def blocks(filters, channels, count, noise=0.05, seed=0):
    """Importance of a shuffled grouped layer."""
    generator = np.random.default_rng(seed)
    vectors = np.kron(np.eye(count), np.ones((filters // count, channels // count)))
    vectors += noise * generator.random(vectors.shape)
    rows, columns = generator.permutation(filters), generator.permutation(channels)
    return vectors[rows][:, columns]


@pytest.mark.parametrize("balance", ["disjoint", "equal"])
@pytest.mark.parametrize("shape", [(24, 16, 4), (16, 64, 2), (12, 36, 3)])
def test_finds_groups_that_are_there(balance, shape):
    vectors = blocks(*shape)
    count = shape[2]
    found = balanced_groups(vectors, count, rate=1 - 1 / count, balance=balance)
    np.testing.assert_array_equal(found.mask, vectors > 0.5)
    assert found.kept_importance == pytest.approx(
        vectors[vectors > 0.5].sum() / vectors.sum()
    )
    assert (np.bincount(found.labels) == shape[0] // count).all()


def test_disjoint_groups_of_noise():
    vectors = np.random.default_rng(1).random((32, 48))
    found = balanced_groups(vectors, rate=0.7)
    assert found.num_groups == 4  # 1/4 is the first share below 30 % that divides both
    assert (np.bincount(found.labels) == 8).all()
    bits = np.unique(found.mask, axis=0)
    assert bits.shape == (4, 48) and (bits.sum(axis=0) == 1).all()
    assert (bits.sum(axis=1) == 12).all()
    assert found.kept_importance > 0.26  # chance is 0.25
    again = balanced_groups(vectors, rate=0.7)
    np.testing.assert_array_equal(again.mask, found.mask)
    assert balanced_groups(vectors, rate=0.5).num_groups == 2


def test_equal_groups_of_noise():
    vectors = np.random.default_rng(1).random((32, 72))
    found = balanced_groups(vectors, rate=0.7, balance="equal")
    assert found.num_groups == 16
    assert set(found.mask.sum(axis=1)) == {24}  # 21.6, as a multiple of 8
    fixed = balanced_groups(vectors, rate=0.8, balance="equal", labels=found.labels)
    np.testing.assert_array_equal(fixed.labels, found.labels)
    assert set(fixed.mask.sum(axis=1)) == {16}
    assert not (fixed.mask & ~found.mask).any()


@pytest.mark.parametrize(
    "balance, shares", [("disjoint", (1 / 2, 1 / 4)), ("equal", (1 / 2, 1 / 4))]
)
def test_models(balance, shares):
    """Also step by step: groups are split, or lose channels."""
    model = make_cifar_resnet()
    first = self_group(model, 0.5, 0.0, balance=balance)
    second = self_group(first.model, 0.7, 0.0, balance=balance)
    for a, b in zip(first.report.layers, second.report.layers, strict=True):
        assert a.kept_share == pytest.approx(shares[0], abs=0.01)
        assert b.kept_share == pytest.approx(shares[1], abs=0.07)
        assert len(set(b.group_sizes)) == len(set(b.group_channels)) == 1
        assert b.num_masks <= b.num_groups and a.threshold is None
        old, new = (np.asarray(r.model.get_layer(a.name).mask) for r in (first, second))
        assert (new <= old).all()
        kernel = np.asarray(model.get_layer(a.name).kernel)
        vectors = importance_vectors(kernel)
        share = vectors[new.T > 0].sum() / vectors.sum()
        assert b.kept_importance == pytest.approx(share)
    if balance == "disjoint":
        assert second.report.layers[-1].group_channels == (16,) * 4


def test_layers_that_do_not_divide():
    model = make_cifar_resnet()  # 64 channels, 10 classes: no 4 groups
    report = self_group(model, 0.5, 0.7, balance="disjoint").report
    assert report.left_alone[-1].name == "predictions"
    assert "divides both 10 filters and 64 channels" in report.left_alone[-1].reason
    with pytest.raises(InvalidInputError, match="'predictions'.*divides both"):
        self_group(model, 0.5, 0.7, balance="disjoint", layers=["predictions"])
    diverse = self_group(model, 0.5, 0.0).model
    with pytest.raises(InvalidInputError, match="groups of its own"):
        self_group(diverse, 0.7, 0.0, balance="disjoint")


@pytest.mark.parametrize(
    "options, text",
    [
        ({"balance": "square"}, "`balance`"),
        ({"rate": 1.0}, "`rate`"),
        ({"num_groups": 5}, "does not divide"),
        ({"labels": [0] * 10 + [1] * 14, "balance": "equal"}, "one size"),
    ],
)
def test_bad_input(options, text):
    with pytest.raises(InvalidInputError, match=text):
        balanced_groups(np.ones((24, 16)), **options)

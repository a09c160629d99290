"""Promises of the raw digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from sae_nb.data import digits


def test_digits_are_scikit_learns():
    """Pictures and labels are those of load_digits, ink scaled to [0, 1]."""
    bunch = load_digits()
    record = digits()
    assert len(record) == 1797
    assert torch.equal(record.images * 16, torch.from_numpy(bunch.images).float())
    assert record.digit.tolist() == bunch.target.tolist()


def test_splits_are_fixed_and_disjoint():
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1400, 397)
    assert torch.equal(train.handwriting, digits("train").handwriting)
    assert not set(train.handwriting.tolist()) & set(test.handwriting.tolist())
    assert torch.equal(test.images, digits().images[test.handwriting])

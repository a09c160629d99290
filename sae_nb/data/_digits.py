"""scikit-learn's real handwritten digits, and the fixed split that keeps test handwriting unseen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import checked, one_of
from sae_nb.data._records import Record

Split = Literal["train", "test", "all"]

N_HANDWRITINGS = 1797
N_TRAIN_HANDWRITINGS = 1400
_SPLIT_SEED = 0


@dataclass(frozen=True, repr=False)
class Digits(Record):
    """The raw 8×8 handwritten digits of one split; ink is between 0 (paper) and 1 (full ink).

    `handwriting` is the row of each image in scikit-learn's ``load_digits``.

    Example
    -------
    >>> digits("test").images.shape
    torch.Size([397, 8, 8])
    """

    images: Float[Tensor, "n 8 8"]
    digit: Int[Tensor, " n"]
    handwriting: Int[Tensor, " n"]


@lru_cache(maxsize=1)
def _load_handwriting() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32) / 16.0)
    return images, torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))


def handwriting_rows(split: str) -> Int[Tensor, " n"]:
    """Return rows of ``load_digits`` that belong to a split, in ascending order.

    The split is one fixed permutation of the 1797 digits: 1400 to train on, 397 to test with.
    """
    order = np.random.default_rng(_SPLIT_SEED).permutation(N_HANDWRITINGS)
    parts = {
        "train": order[:N_TRAIN_HANDWRITINGS],
        "test": order[N_TRAIN_HANDWRITINGS:],
        "all": order,
    }
    return torch.from_numpy(np.sort(parts[one_of(split, parts, name="split")]))


@checked
def digits(split: Split = "all") -> Digits:
    """Return the 1797 real handwritten digits that come with scikit-learn, 8×8 grey levels each.

    Parameters
    ----------
    split
        ``"train"`` (1400), ``"test"`` (397, other handwriting) or ``"all"``.

    Example
    -------
    >>> record = digits()
    >>> len(record), float(record.images.max())
    (1797, 1.0)
    """
    rows = handwriting_rows(split)
    images, digit = _load_handwriting()
    return Digits(images=images[rows], digit=digit[rows], handwriting=rows)

"""Promises of `tiny-looped`: it adds, and what comes from further below needs more loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.models._looped_adder import pair_ids


@pytest.fixture(scope="module")
def adder() -> LiveModel:
    return sn.load_model("tiny-looped", device="cpu")


def test_it_adds_what_people_type(adder: LiveModel) -> None:
    """The lowest place first; texts of different lengths do not touch each other."""
    texts = ["8+6 7+9 4+5 0+0", "1+1 0+0"]
    answer = adder(texts).as_subclass(Tensor)
    assert answer[0].argmax(-1).tolist() == [4, 7, 0, 1]
    assert answer[1, :2].argmax(-1).tolist() == [2, 0]
    torch.testing.assert_close(answer[1, :2], adder(texts[1:]).as_subclass(Tensor)[0])


def test_longer_carries_need_more_loops(adder: LiveModel) -> None:
    """99…9 + 1 and 99…9 + 0 look alike above their lowest place until the carry can have come there."""
    n = range(1, 12)
    nines = [10**i - 1 for i in n]
    ids = pair_ids(nines * 2, [1] * 11 + [0] * 11, places=12)
    path = sn.dynamics.answer_path(adder, ids)
    total = [f"{nine + more:012d}"[::-1] for more in (1, 0) for nine in nines]
    right = torch.tensor([[int(digit) for digit in one] for one in total])
    assert torch.equal(torch.as_tensor(path.own).view(22, 12), right)
    settles = path.settles.reshape(2, 11, 12)
    ends = [int(settles[:, i - 1, i].max()) for i in n]  # the place of the leading 1 or 0
    assert all(i <= end <= i + 1 for end, i in zip(ends, n, strict=True)), ends
    assert path.gate is not None
    assert path.gate.shape == (6, 22 * 12)
    assert path.gate[0].mean() < path.gate[-1].mean()


def test_it_is_looped_and_its_gate_is_read(adder: LiveModel) -> None:
    """Twelve runs of two blocks; gates are what the module's own loops give."""
    assert (adder.n_layers, len(set(adder.layers["module"]))) == (12, 2)
    ids = pair_ids([478, 5], [596, 7], places=5)
    own = adder.module.loops(ids)
    names = [f"exit_gate.{i}" for i in range(6)]
    found = sn.capture(adder, ids, [*names, "resid_post.11"], progress=False)
    for name, (_, gate) in zip(names, own, strict=True):
        torch.testing.assert_close(found[name].x[:, 0], gate.detach().flatten())
    torch.testing.assert_close(found["resid_post.11"].x, own[-1][0].detach().flatten(0, 1))

"""Rows that are made when they are read are used as rows in memory are."""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.activations._rows import MadeRows


def test_they_are_rows() -> None:
    """Read, chosen, split, cast and joined, with the numbers of a tensor; nothing is kept until `.x` is asked for."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    asked = []

    def make(index: slice | torch.Tensor) -> torch.Tensor:
        asked.append(index)
        return x[index].clone()

    where = {"sample": torch.arange(20) // 2, "position": torch.arange(20) % 2}
    made = Activations(MadeRows(20, make, x[:0]), **where)
    plain = Activations(x, **where)
    assert (made.shape, made.d_in, len(made)) == ((20, 3), 3, 20)
    assert not asked
    part, other = made[5:9], plain[5:9]
    assert not asked
    assert torch.equal(part.x, other.x)
    mask = made.sample % 3 == 0
    assert torch.equal(made.subset(mask)[[3, 0, 3]].x, plain.subset(mask)[[3, 0, 3]].x)
    for one, two in zip(made.split(0.5, seed=1), plain.split(0.5, seed=1), strict=True):
        assert torch.equal(one.x, two.x)
    both = [next(iter(acts.batches(7))) for acts in (made, plain)]
    assert torch.equal(*both)
    assert torch.equal(sn.concatenate([made, plain]).x, torch.cat([x, x]))
    assert made.to(dtype=torch.float64).x.dtype == torch.float64
    assert made.x is made.x


def test_examples_make_theirs_and_are_shared() -> None:
    """Two openings of the same examples have one copy of samples and codes; rows are codes times atoms."""
    name = "tiny-gpt/resid_post.3"
    one, two, sae = sn.load_examples(name), sn.load_examples(name), sn.load_sae(name)
    assert one.acts is two.acts
    assert one.codes is two.codes
    rows = one.codes[:50] @ sae.dictionary + sae.bias.detach()
    torch.testing.assert_close(one.acts[:50].x, rows)

"""Promises of BitDenoiser: rules of parity, what a bit's network sees, and what of a rule is learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import BitDenoiser, even_strings, group_parity, parity_posterior
from sae_nb_studies.lab._bit_denoiser import strings_from


def test_groups_keep_the_rule_and_bits_are_otherwise_free() -> None:
    drawn = even_strings(4000, 6, 3, seed=1)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert group_parity(drawn, 3) == 1
    assert drawn.mean(dim=0).abs().max() < 0.1
    assert group_parity(drawn, 2) == pytest.approx(0.5, abs=0.05)
    assert group_parity(even_strings(4000, 6, 1), 3) == pytest.approx(0.5, abs=0.05)
    drawn[0, 0] *= -1
    assert group_parity(drawn[:1], 3) == 0.5


@pytest.mark.parametrize(("seen", "reach"), [(1, 0), (3, 1), (5, 2), (None, 7)])
def test_a_bit_is_guessed_from_its_field(seen: int | None, reach: int) -> None:
    model = BitDenoiser(seen, depth=1, width=4).fit(even_strings(20, 8, 2), steps=2)
    y = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    guess = model.network(y, torch.ones(1, 1))[0, 3]
    moved = torch.autograd.grad(guess, y)[0][0] != 0
    assert moved.nonzero().flatten().tolist() == [i for i in range(8) if abs(i - 3) <= reach]


def perfect(y: Tensor, sigma: float) -> Tensor:
    return parity_posterior(y.reshape(-1, 4), sigma).mean.reshape(y.shape)


def test_a_perfect_denoiser_makes_strings_that_keep_the_rule() -> None:
    assert group_parity(strings_from(perfect, 200, 8, 32, seed=0), 4) > 0.99
    alone = strings_from(lambda y, sigma: (y / sigma**2).tanh(), 500, 8, 32, seed=0)
    assert group_parity(alone, 4) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_pairs_are_learned_from_three_bits_and_not_from_one() -> None:
    known = even_strings(2000, 4, 2)
    near, alone = (
        BitDenoiser(seen, width=24).fit(known, steps=250, batch_size=128) for seen in (3, 1)
    )
    assert group_parity(near.sample(500), 2) > 0.9
    assert group_parity(alone.sample(500), 2) < 0.65
    assert near.rule_learned(2).share > alone.rule_learned(2).share + 0.2


def test_errors_lie_between_those_without_and_with_the_rule() -> None:
    """As no denoiser is better than the perfect one; that shares come of it is shown."""
    model = BitDenoiser(1, depth=1, width=4).fit(even_strings(50, 4, 2), steps=2)
    found = model.rule_learned(2, sigmas=(0.5, 1.0), n=4000)
    assert (found.perfect < found.without).all()
    assert (found.perfect < found.error).all()
    worth = (found.without - found.perfect).sum()
    assert found.share == pytest.approx((found.without - found.error).sum() / worth)
    assert len(found.plot().data) == 3

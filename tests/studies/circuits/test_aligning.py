"""Alignment: exact where variables are planted, inverse maps invert, and a twin that learned nothing is at chance."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb_studies.circuits import Algorithm, Alignment, align
from sae_nb_studies.circuits._aligning import shuffled
from sae_nb_studies.circuits._maps import Couplings, Rotation

PLAIN: dict[str, Any] = {"steps": 1, "n_pairs": 400, "n_bootstrap": 50}


def signs() -> Algorithm:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    return Algorithm(
        inputs=x,
        variables=("first", "second"),
        read=lambda x: (bool(x[0] > 0), bool(x[1] > 0)),
        answer=lambda first, second: int(first == second),
    )


class Product(nn.Module):
    """Says yes where two of its units have a product above 0, and `turn` is between the input and the units."""

    def __init__(self, turn: torch.Tensor) -> None:
        super().__init__()
        self.place = nn.Linear(4, 4, bias=False)
        self.place.weight.data.copy_(turn)
        self.turn = turn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        units = self.place(x) @ self.turn
        product = 20 * units[:, 0] * units[:, 1]
        return torch.stack([-product, product], dim=1)


def turned(seed: int = 3) -> torch.Tensor:
    drawn = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn)[0]


@cache
def found(kind: Any, steps: int = 300) -> Alignment:
    model = sn.wrap(Product(turned()))
    twin = sn.wrap(Product(turned()))
    twin.module.turn = torch.zeros(4, 4)
    return align(model, signs(), "place", map=kind, twin=twin, size=1, steps=steps, batch_size=64)


def test_units_that_are_the_variables_are_found_without_learning() -> None:
    model = sn.wrap(Product(torch.eye(4)))
    same = align(model, signs(), "place", map="identity", size=1, **PLAIN)
    assert same.interchange == 1.0
    assert (same.by_variable.model == 1.0).all()
    assert same.by_variable.variables.tolist() == ["first", "first and second", "second"]
    assert same.unchanged == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_a_rotation_finds_variables_that_lie_askew() -> None:
    assert found("linear").interchange > 0.9 > found("identity").interchange
    assert found("linear").twin < 0.65
    low, high = found("linear").accuracy.loc["model", ["low", "high"]]
    assert low <= found("linear").interchange <= high
    assert found("linear").losses[0][-20:].mean() < found("linear").losses[0][:20].mean()


@pytest.mark.slow
def test_an_invertible_network_finds_them_too() -> None:
    assert found("mlp").interchange > 0.85
    assert len(found("mlp").figure().data) == 2


@pytest.mark.parametrize("width", [2, 5])
def test_maps_invert_exactly(width: int) -> None:
    x = torch.randn(30, width, generator=torch.Generator().manual_seed(1))
    for made in (Rotation(width), Couplings(x)):
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
            h = made(x)
            assert torch.allclose(made.inverse(h), x, atol=1e-4)
            assert not torch.allclose(h, x, atol=1e-2)


def test_a_twin_has_the_same_numbers_in_another_order() -> None:
    model = sn.load_model("tiny-induction", device="cpu")
    before = [parameter.clone() for parameter in model.parameters()]
    twin = shuffled(model, 0)
    for was, own, other in zip(before, model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(was, own)
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)
    assert not torch.equal(model([[0, 5, 6, 5]]), twin([[0, 5, 6, 5]]))


@pytest.mark.slow
def test_of_a_sequence_one_position_is_exchanged() -> None:
    """The word that tiny-induction says lies at the last position of its last place, whole."""
    model, rng = sn.load_model("tiny-induction", device="cpu"), np.random.default_rng(0)
    letters = np.stack([rng.permutation(26)[:8] + 2 for _ in range(60)])
    ids = torch.from_numpy(np.pad(np.concatenate([letters, letters[:, :3]], 1), ((0, 0), (1, 0))))
    algorithm = Algorithm(
        inputs=ids, variables=("next",), read=lambda row: int(row[4]), answer=lambda word: word
    )
    whole = align(model, algorithm, "resid_post.1", map="identity", size=64, **PLAIN)
    assert whole.interchange == whole.accuracy.clean.iloc[0] > 0.9
    early = align(model, algorithm, "resid_post.1", map="identity", size=64, position=2, **PLAIN)
    assert early.interchange < 0.3

"""T-SAE: any one-step SAE with high-level atoms that should be alike at neighbouring tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.temporal import SequenceRows
from sae_nb.training import TrainConfig, train
from sae_nb_studies.architectures import TSAE
from sae_nb_studies.architectures._t_sae import BASES, HIGH
from sae_nb_studies.temporal import lag_cosine

D, N, K = 12, 40, 4


def made(base: str = "BatchTopK", **settings: Any) -> TSAE:
    own = {"k": K} if base.endswith("TopK") else {}
    return TSAE(D, N, base=base, generator=torch.Generator().manual_seed(0), **own, **settings)


def loss_of(sae: TSAE, x: Tensor) -> Any:
    return sae.training_loss(x, torch.zeros(N, dtype=torch.long), 100, 0.5)


@pytest.fixture
def x() -> Tensor:
    """Texts with half of the dimensions the same at every token, and the louder half new at each."""
    draws = torch.Generator().manual_seed(1)
    slow = torch.randn(60, 1, D // 2, generator=draws).expand(60, 20, D // 2)
    return 5 + torch.cat([slow, 1.5 * torch.randn(60, 20, D // 2, generator=draws)], dim=2)


@pytest.mark.parametrize("base", BASES)
def test_the_loss_is_its_formula_over_every_base(base: str, x: Tensor) -> None:
    """Dense codes, cosines of all pairs of one text and the next, and log-softmax on the diagonal."""
    sae = made(base)
    sae.initialise(x.flatten(0, 1))
    rows = SequenceRows.of(x[:4, :5].flatten(0, 1), [5, 5, 5, 5])
    loss = loss_of(sae, rows)
    z = loss.codes.to_dense()
    plain = rows.as_subclass(Tensor)
    high = z[:, : sae.n_high]
    shares = [
        (plain - codes @ sae.dictionary[: codes.shape[1]] - sae.bias).square().sum()
        / (20 * sae.scaling.variance)
        for codes in (high, z)
    ]
    assert torch.allclose(loss.parts["high level"], shares[0], rtol=1e-4)
    assert torch.allclose(loss.parts["reconstruction"], shares[1], rtol=1e-4)
    texts = high.reshape(4, 5, -1)
    later, earlier = texts[:, 1:].flatten(0, 1), texts[:, :-1].flatten(0, 1)
    cosines = torch.cosine_similarity(later[:, None], earlier[None], dim=2) / sae.temperature
    both = cosines.log_softmax(dim=1).diagonal() + cosines.log_softmax(dim=0).diagonal()
    assert torch.allclose(loss.parts["contrast"], -both.mean() / 2, atol=1e-4)
    weighted = HIGH * shares[0] + (1 - HIGH) * shares[1] + sae.contrast * loss.parts["contrast"]
    if base in ("TopK", "BatchTopK", "AbsTopK"):  # the others have terms of their own
        assert torch.allclose(loss.total, weighted, rtol=1e-4)


def test_no_pair_crosses_a_text(x: Tensor) -> None:
    """Batches are pairs of one text's neighbours, also where tokens are left out or lone; a lone row has no pair."""
    sae = made(contrast=1.0)
    sae.initialise(x.flatten(0, 1))
    position = torch.tensor([0, 1, 2, 5, 6, 0, 1])
    acts = Activations.from_tensor(
        x.flatten(0, 1)[:7], sample=torch.tensor([0] * 5 + [1] * 2), position=position
    )
    train(sae, acts, TrainConfig(steps=2, batch_size=4), progress=False)
    alone = SequenceRows.of(x[:, 0], [1] * 60)
    assert float(loss_of(sae, alone).parts["contrast"]) == 0
    with pytest.raises(ValueError, match="in order of time"):
        train(sae, acts[torch.tensor([1, 0, 2, 3, 4, 5, 6])], TrainConfig(steps=1), progress=False)


def test_training_makes_high_level_codes_alike_at_neighbours(x: Tensor) -> None:
    """More than without the term, and more than where the rows are shuffled."""
    ends = {}
    shuffled = x.flatten(0, 1)[torch.randperm(1200, generator=torch.Generator().manual_seed(2))]
    for name, contrast, rows in (("own", 0.3, x), ("none", 0.0, x), ("strangers", 0.3, shuffled)):
        sae = made(contrast=contrast)
        train(sae, rows, TrainConfig(steps=80, batch_size=200), progress=False)
        with torch.no_grad():
            ends[name] = lag_cosine(sae.encode(x).to_dense()[..., : sae.n_high])
    assert ends["own"] > max(ends["none"], ends["strangers"]) + 0.3


def test_levels_add_up_and_bad_input_is_refused(x: Tensor) -> None:
    sae = made(n_high=6)
    codes = sae.encode(x)
    high, low = sae.high_level(codes), sae.low_level(codes)
    assert int(high.atoms.max()) < 6 <= int(low.atoms.min())
    assert torch.allclose(high.to_dense() + low.to_dense(), codes.to_dense())
    assert high.shape == codes.shape
    with pytest.raises(ValueError, match=r"`n_high` must be fewer than n_atoms=40, got 40"):
        made(n_high=N)
    with pytest.raises(ValueError, match=r"`base` must be one of"):
        TSAE(D, N, K, base="Matryoshka")
    assert sn.TSAE is TSAE

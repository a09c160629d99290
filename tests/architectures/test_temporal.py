"""Temporal: what a prediction may see, what it leaves, and what it is without attention."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.architectures._temporal import NOVEL
from sae_nb.temporal import SequenceRows

D_IN, N_ATOMS, K, TIME = 12, 40, 4, 9


def build(**settings: Any) -> sn.Temporal:
    sae = sn.Temporal(D_IN, N_ATOMS, K, generator=torch.Generator().manual_seed(0), **settings)
    return sae.eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(6, TIME, D_IN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("n_layers", "strict", "seen"), [(1, True, 5), (2, True, 5), (1, False, 6)]
)
def test_a_strict_prediction_sees_the_past_and_the_published_form_the_present_too(
    x: torch.Tensor, n_layers: int, strict: bool, seen: int
) -> None:
    sae = build(strict=strict, n_layers=n_layers)
    leaf = x.clone().requires_grad_()
    sae.predict(leaf).codes[:, 5].square().sum().backward()
    reached = leaf.grad.abs().sum(dim=(0, 2)) > 0
    assert reached.tolist() == [True] * seen + [False] * (9 - seen)


def test_the_published_residual_is_orthogonal_to_the_prediction(x: torch.Tensor) -> None:
    sae = build()
    with torch.no_grad():
        parts = sae.predict(x)
    predicted = parts.codes @ sae.dictionary
    assert torch.allclose(predicted, parts.predicted, atol=1e-5)
    along = (predicted * parts.residual).sum(dim=-1)
    assert float(along.abs().max()) < 1e-4 * float(x.square().sum(dim=-1).max())


@pytest.mark.parametrize("novel", ["TopK", "BatchTopK", "ReLU"])
def test_without_attention_it_is_the_plain_sae(x: torch.Tensor, novel: str) -> None:
    sae = build(n_layers=0, novel=novel)
    budget = {"l0": K} if novel == "ReLU" else {"k": K}
    plain = getattr(sn, novel)(D_IN, N_ATOMS, **budget).eval()
    plain.load_state_dict({n: t for n, t in sae.state_dict().items() if n != "longest_trained"})
    assert torch.equal(sae(x), plain(x))
    assert torch.equal(sae.encode(x).values, plain.encode(x).values)
    silent = torch.full((N_ATOMS,), 100)
    rows = x.flatten(0, 1)
    losses = [one.training_loss(rows, silent, 100, 0.5).total for one in (sae, plain)]
    assert torch.allclose(*losses, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("novel", NOVEL)
@pytest.mark.parametrize("tied", [False, True])
def test_every_option_learns_and_is_saved(
    x: torch.Tensor, tmp_path: Path, novel: str, tied: bool
) -> None:
    sae = build(novel=novel, tied=tied, n_layers=2, prescale=0.5, bottleneck_factor=2)
    result = sn.train(sae, x, sn.TrainConfig(steps=30, batch_size=54), progress=False)
    assert result.history[-1].loss < result.history[0].loss
    sae.save(tmp_path / "sae")
    again = sn.load_sae(tmp_path / "sae")
    assert again.settings() == sae.settings()
    assert isinstance(again, sn.Temporal)
    assert torch.equal(again(x), sae(x))
    if novel == "none":
        assert sae.encode(x).nnz == 0


@torch.no_grad()
def test_parts_add_up_whatever_the_shape_of_the_sequences(x: torch.Tensor) -> None:
    """The novel code decoded, and what no code holds; a matrix is one sequence, a vector has no past."""
    for novel in ("TopK", "none"):
        sae = build(novel=novel)
        for part in (x, x[0], x[0, 0], x[:2, None]):
            gain, rest = sae.uncoded(part)
            codes = sae.encode(part)
            assert (gain, codes.shape) == (1, (*part.shape[:-1], N_ATOMS))
            torch.testing.assert_close(sae(part), sae.decode(codes) + rest)
        torch.testing.assert_close(sae(x)[0], sae(x[0]))
        torch.testing.assert_close(sae(x)[:, 0], torch.stack([sae(one[0]) for one in x]))
    predicted = sae.predict(x).predicted
    torch.testing.assert_close(sae(x), predicted + sae.bias)  # of the last, with nothing novel
    silent = torch.full((N_ATOMS,), 100)
    loss = sae.training_loss(x.flatten(0, 1), silent, 100, 0.5)
    assert (sae.encode(x).nnz, float(loss.parts["auxiliary"])) == (0, 0)


def test_tied_rows_begin_as_the_atoms_and_are_as_long_as_their_gain() -> None:
    sae = build(tied=True)
    sae.encoder.bias.data.fill_(1.0)
    sae.encoder.rescale_(3.0)
    torch.testing.assert_close(sae.encoder.weight, 3 * sae.operator.atoms())
    assert sae.encoder.bias.tolist() == [3] * N_ATOMS
    sae.encoder.start_from_(sae.dictionary)
    torch.testing.assert_close(sae.encoder.weight, sae.operator.atoms())
    assert not sae.encoder.bias.any()


def test_a_fitted_threshold_leaves_k_on_average(x: torch.Tensor) -> None:
    sae = build(novel="BatchTopK")
    sae.initialised.fill_(True)
    for k in (K, 2):
        sae.fit_threshold(x, k)
        assert sae.encode(x).nnz / 54 == pytest.approx(k, abs=0.1)


@pytest.mark.slow
def test_tied_rows_stay_along_the_atoms(x: torch.Tensor) -> None:
    for tied in (True, False):
        sae = build(tied=tied)
        sn.train(sae, x, sn.TrainConfig(steps=20, batch_size=54), progress=False)
        cosine = torch.cosine_similarity(sae.encoder.weight, sae.dictionary, dim=1).abs()
        assert bool((cosine > 1 - 1e-5).all()) == tied


def test_a_copy_of_tied_rows_follows_the_atoms_of_the_copy(x: torch.Tensor) -> None:
    sae = build(tied=True)
    expected, copied = sae.encode(x).values, copy.deepcopy(sae)
    copied.operator.weight.data.neg_()
    assert torch.equal(copied.encoder.weight, -sae.encoder.weight)
    assert torch.equal(sae.encode(x).values, expected)


def test_padding_is_no_part_of_the_loss(x: torch.Tensor) -> None:
    sae = build(aux_weight=0.0)
    rows = SequenceRows.of(torch.cat([x[0], x[1, :4]]), [TIME, 4])
    silent = torch.zeros(N_ATOMS, dtype=torch.int64)
    together = sae.training_loss(rows, silent, 100, 0.5)
    alone = [sae.training_loss(part, silent, 100, 0.5) for part in (x[0], x[1, :4])]
    weighted = (alone[0].total * TIME + alone[1].total * 4) / (TIME + 4)
    assert torch.allclose(together.total, weighted, rtol=1e-5)
    assert torch.allclose(together.x_hat, torch.cat([one.x_hat for one in alone]), atol=1e-5)


def test_contexts_longer_than_trained_are_said_and_read_in_windows(x: torch.Tensor) -> None:
    sae = build()
    sn.train(sae, x, sn.TrainConfig(steps=2, batch_size=54), progress=False)
    assert int(sae.longest_trained) == TIME
    longer = torch.cat([x[:1], x[1:2]], dim=1)
    with pytest.warns(UserWarning, match=f"each token sees the last {TIME} alone"):
        read = sae(longer)
    older = longer.clone()
    older[:, 0] += 5.0
    with pytest.warns(UserWarning, match="longer than any"):
        assert torch.allclose(sae(older)[:, -1], read[:, -1], atol=1e-5)


def test_other_tokens_pass_through_and_are_no_past(x: torch.Tensor) -> None:
    sae, keep = build(), torch.ones(6, TIME, dtype=torch.bool)
    keep[0, :3] = False
    keep[1] = False
    x[0, :3] = 1e4
    out = sae.reconstruct(x, keep)
    assert torch.equal(out[1], x[1])
    assert torch.equal(out[0, :3], x[0, :3])
    assert torch.allclose(out[0, 3:], sae(x[0, 3:]), atol=1e-5)
    assert torch.allclose(out[2:], sae(x[2:]), atol=1e-5)

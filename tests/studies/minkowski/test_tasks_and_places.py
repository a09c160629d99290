"""Attribution is exact for a linear head; planted border, elsewhere and register atoms score 1, others 0."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.minkowski import (
    border_band,
    elsewhere_scores,
    footprint_entropy,
    linear_probe,
    position_subspace,
    recruit,
    share_on,
    subspace_coherence,
)

DRAWS = torch.Generator().manual_seed(0)
ATOMS = torch.randn(20, 6, generator=DRAWS)
Z = torch.relu(torch.randn(50, 20, generator=DRAWS))
CODES = SparseCodes.from_dense(Z)
HEAD = torch.randn(3, 6, generator=DRAWS)


def test_importance_sums_to_the_mean_logit_of_the_reconstruction() -> None:
    found = recruit(CODES, ATOMS, HEAD)
    assert torch.allclose(found.importance.sum(dim=0), (Z @ ATOMS @ HEAD.T).mean(dim=0), atol=1e-4)


def test_importance_is_what_taking_an_atom_out_costs() -> None:
    without = Z.clone()
    without[:, 7] = 0
    lost = ((Z - without) @ ATOMS @ HEAD.T).mean(dim=0)
    assert torch.allclose(recruit(CODES, ATOMS, HEAD).importance[7], lost, atol=1e-5)


@pytest.mark.slow
def test_it_is_exact_on_a_real_head_and_sae() -> None:
    model = sn.load_model("tiny-vit")
    acts = sn.capture(model, sn.data.scenes(4), "norm", progress=False)
    sae = sn.TopK(acts.d_in, 64, 8, generator=torch.Generator().manual_seed(0)).eval()
    codes = sae.encode(acts.x)
    weight = model.get_module("digit").weight.detach()
    nothing = sae.decode(SparseCodes.from_dense(torch.zeros(1, 64)))
    with torch.no_grad():
        logits = ((sae.decode(codes) - nothing) @ weight.T).mean(dim=0)
    assert torch.allclose(
        recruit(codes, sae.dictionary, weight).importance.sum(dim=0), logits, atol=1e-4
    )


def test_recruited_counts_atoms_that_share() -> None:
    """One atom: 1; four equal ones: 4. The top atom is the one that adds most."""
    z = torch.zeros(2, 20)
    z[:, :4] = 1
    found = recruit(SparseCodes.from_dense(z), torch.ones(20, 6), torch.ones(2, 6))
    assert torch.allclose(found.n_recruited, torch.tensor([4.0, 4.0]), atol=1e-3)
    assert set(found.top(0, 4).tolist()) == {0, 1, 2, 3}


def test_coherence_of_a_shared_direction_is_one() -> None:
    atoms = torch.randn(40, 30, generator=torch.Generator().manual_seed(1))
    atoms[:6] = atoms[0]
    found = subspace_coherence(atoms, torch.arange(6), among=torch.arange(6, 40))
    assert found.value == pytest.approx(1, abs=1e-5)
    assert found.floor < 0.3
    assert found.spectrum[0] == pytest.approx(1, abs=1e-5)
    same = subspace_coherence(atoms, torch.arange(10, 16), among=torch.arange(6, 40))
    assert abs(same.value - same.floor) < 4 * same.floor_sd


def test_a_probe_separates_what_can_be_separated() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 5 + 3
    for y in ((x[:, 0] > 3).long(), x[:, :3].argmax(dim=1)):
        weight, bias = linear_probe(x, y, strength=100.0)
        assert weight.shape == (int(y.max()) + 1, 4)
        assert ((x @ weight.T + bias).argmax(dim=1) == y).float().mean() > 0.9


MASK = torch.zeros(2, 8, 8, dtype=torch.bool)
MASK[0, 2:6, 2:6] = True
MASK[1, 3:7, 1:5] = True
BAND = border_band(MASK)


def planted(*fires: torch.Tensor) -> SparseCodes:
    return SparseCodes.from_dense(2.0 * torch.stack([f.flatten().float() for f in fires], dim=1))


def test_the_band_is_one_token_on_either_side() -> None:
    """A square of 4 has 12 tokens on its rim and 20 around it; a full mask has no edge."""
    assert int(BAND[0].sum()) == 12 + 20
    assert not border_band(torch.ones(1, 8, 8, dtype=torch.bool)).any()
    assert not border_band(torch.zeros(1, 8, 8, dtype=torch.bool)).any()


def test_planted_border_atoms_score_one() -> None:
    codes = planted(BAND, ~BAND, torch.ones_like(BAND), torch.zeros_like(BAND))
    scores = share_on(codes, BAND.flatten())
    assert scores[:3].tolist() == [1.0, 0.0, 0.5]
    assert scores[3].isnan()


def test_planted_elsewhere_atoms_are_found() -> None:
    """Fires off the object and needs it; one that stays when it is gone, and one on the object, are not."""
    there = planted(~MASK, ~MASK, MASK, ~MASK)
    gone = planted(torch.zeros_like(MASK), ~MASK, torch.zeros_like(MASK), ~MASK & MASK)
    scores = elsewhere_scores(there, gone, MASK.flatten())
    assert scores.off_ratio.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert scores.dependence[[0, 1, 3]].tolist() == [1.0, 0.0, 1.0]
    assert scores.elsewhere.tolist() == [True, False, False, True]


def test_pictures_without_their_digit_differ_only_there() -> None:
    """Same background, disc and noise; labels kept, masks empty; any piece of the stream."""
    shown = sn.data.scenes(20, seed=3, split="test", start=250)
    blank = sn.data.scenes_without_digit(20, seed=3, split="test", start=250)
    changed = (shown.images != blank.images).any(dim=1)
    assert changed[shown.mask].all()
    far = torch.nn.functional.max_pool2d(shown.mask[:, None].float(), 5, 1, 2)[:, 0] == 0
    assert not changed[far].any()
    assert torch.equal(shown.digit, blank.digit)
    assert not blank.patch_mask.any()


def test_footprints_of_one_place_and_of_all() -> None:
    place = torch.tensor([0] + [1] * 4 + [2] * 64)
    codes = planted(place == 1, torch.ones(69), place != 2)
    assert torch.allclose(
        footprint_entropy(codes, place, 3), torch.tensor([0.0, 1.0, 0.6309]), atol=1e-3
    )


def test_planted_position_is_read_and_removed() -> None:
    draws = torch.Generator().manual_seed(0)
    patch = torch.arange(6400) % 64
    place = torch.stack([patch // 8, patch % 8], dim=1).float() - 3.5
    basis = torch.linalg.qr(torch.randn(12, 2, generator=draws)).Q.T
    x = place @ basis + 0.3 * torch.randn(6400, 12, generator=draws)
    found = position_subspace(x, patch, (8, 8))
    assert found.r2 > 0.95
    assert found.rank == pytest.approx(2, abs=0.3)
    assert torch.linalg.matrix_norm(found.directions @ basis.T).item() ** 2 > 1.9
    assert position_subspace(found.remove(x), patch, (8, 8)).r2 < 0.1
    shuffled = patch[torch.randperm(6400, generator=draws)]
    assert position_subspace(x, shuffled, (8, 8)).r2 < 0.1

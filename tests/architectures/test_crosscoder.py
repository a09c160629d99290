"""One code for several sites: what is shared, what is of one site, and what a crosscoder is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES
from sae_nb.architectures._crosscoder import SELECTIONS

D_1, D_2, N_CONCEPTS, N_ATOMS = 16, 20, 24, 32
LOUD = 50.0


def strengths(n: int = 2000, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, N_CONCEPTS, generator=generator) < 0.06
    return on * (1 + torch.rand(n, N_CONCEPTS, generator=generator))


def sites(n: int = 2000, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Two sites of the same concepts, the second fifty times as loud; the first six are of site 1 alone,
    the next six of site 2. And where each concept lives: 0, 1, or 0.5."""
    z = strengths(n, seed)
    shared = torch.Generator().manual_seed(99)
    first, second = (
        torch.nn.functional.normalize(torch.randn(N_CONCEPTS, width, generator=shared), dim=1)
        for width in (D_1, D_2)
    )
    lives = torch.full((N_CONCEPTS,), 0.5)
    lives[:6], lives[6:12] = 0.0, 1.0
    first, second = first * (lives < 1)[:, None], second * (lives > 0)[:, None]
    return [z @ first + 3, LOUD * (z @ second) - 100], lives


def build(base: str = "BatchTopK", seed: int = 0, **settings: Any) -> Any:
    counted = {"JumpReLU": {"l0": 2}, "ReLU": {}}.get(base, {"k": 2})
    generator = torch.Generator().manual_seed(seed)
    return sn.Crosscoder([D_1, D_2], N_ATOMS, base=base, generator=generator, **counted | settings)


@pytest.mark.slow
@pytest.mark.parametrize("base", SELECTIONS)
def test_every_selection_can_crosscode(base: str) -> None:
    c, (x, _) = build(base), sites()
    assert isinstance(c, sn.Crosscoder)
    assert isinstance(c, ARCHITECTURES[base])
    sn.train(c, x, steps=150, batch_size=256, progress=False)
    for part, rebuilt in zip(x, c(x), strict=True):
        assert sn.evaluation.explained_variance(part, rebuilt.detach()) > 0.8


@pytest.mark.slow
def test_atoms_live_where_their_concepts_do() -> None:
    """A concept of one site gets an atom near 0 or 1, a shared one near the middle, in spite of the units."""
    c, (x, lives) = build(), sites()
    sn.train(c, x, steps=600, batch_size=256, progress=False, seed=0)
    z = c.encode(x).to_dense().detach()
    correlation = torch.corrcoef(torch.cat([strengths(), z], dim=1).T)[:N_CONCEPTS, N_CONCEPTS:]
    best, atom = correlation.nan_to_num().max(dim=1)
    found = best > 0.95
    assert int(found.sum()) >= 16
    away = (c.difference()[atom] - lives).abs()[found]
    assert float((away < 0.1).double().mean()) > 0.85
    assert float(away.median()) < 0.02
    assert torch.equal(c.difference(), c.shares()[:, 1])


def test_the_units_of_a_site_change_nothing_but_its_dictionary() -> None:
    x, _ = sites()
    moved = [x[0], 1000 * x[1] + 5]
    plain, other = build("TopK"), build("TopK")
    for one, data in ((plain, x), (other, moved)):
        one.initialise(data, torch.Generator().manual_seed(0))
    one, two = plain.encode(x).to_dense(), other.encode(moved).to_dense()
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(1000 * plain.dictionaries[1], other.dictionaries[1])
    torch.testing.assert_close(plain.dictionaries[0], other.dictionaries[0])
    torch.testing.assert_close(plain.difference(), other.difference())


def test_with_one_site_it_is_a_relu_sae() -> None:
    x = sites(500)[0][0]
    ours = sn.Crosscoder([D_1], N_ATOMS, base="ReLU", generator=torch.Generator().manual_seed(0))
    theirs = sn.ReLU(D_1, N_ATOMS, generator=torch.Generator().manual_seed(0))
    silent = torch.zeros(N_ATOMS, dtype=torch.int64)
    found = []
    for sae in (ours.double(), theirs.double()):
        sae.initialise(x.double(), torch.Generator().manual_seed(0))
        loss = sae.training_loss(x.double(), silent, 100, 0.5)
        loss.total.backward()
        sae.before_optimiser_step()
        found.append((loss, sae.operator.weight.grad))
    for part in ("reconstruction", "l1"):
        assert float(found[0][0].parts[part]) == pytest.approx(float(found[1][0].parts[part]))
    torch.testing.assert_close(found[0][1], found[1][1])


def test_the_loss_is_the_published_one() -> None:
    """Σ_m ‖(x_m − x̂_m) / u_m‖² and λ Σ_j z_j Σ_m ‖d_jm‖ of dense codes, and every gradient."""
    c, (x, _) = build("ReLU", sparsity=0.3), sites(300)
    c = c.double()
    rows = torch.cat(x, dim=1).double()
    c.initialise(rows)
    with torch.no_grad():
        c.encoder.bias.add_(0.01)  # its first value lets one entry begin at exactly 0
    silent = torch.zeros(N_ATOMS, dtype=torch.int64)
    ours = torch.autograd.grad(c.training_loss(rows, silent, 100, 0.5).total, list(c.parameters()))
    unit, weight = c.operator.unit, c.operator.weight
    z = (((rows - c.bias) / unit) @ c.encoder.weight.T + c.encoder.bias).relu()
    missed = ((rows - c.bias) / unit - z @ weight).square().sum()
    norms = sum(part.norm(dim=1) for part in weight.split([D_1, D_2], dim=1))
    dense = missed / (300 * (D_1 + D_2)) + 0.3 * (z * norms).sum() / (300 * (D_1 + D_2) ** 0.5)
    for one, two in zip(ours, torch.autograd.grad(dense, list(c.parameters())), strict=True):
        torch.testing.assert_close(one, two)
    spread = [part.var(dim=0, unbiased=False).sum() for part in x]
    by_site = c.operator.unit.split([D_1, D_2])
    shares = [s / u[0].square() for s, u in zip(spread, by_site, strict=True)]
    assert float(shares[0]) == pytest.approx(float(shares[1]), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sn.Crosscoder, sn.UniversalSAE])
def test_it_trains_from_the_live_model(kind: Any) -> None:
    """A stream of its hook points, as sides of one row; streams of other widths are refused."""
    model = sn.load_model("tiny-gpt")
    prose = [str(text) for text in sn.data.prose()][:12]
    stream = sn.stream(model, prose, ["resid_post.1", "resid_post.3"], buffer=500)
    c = kind([128, 128], 64, 4, generator=torch.Generator().manual_seed(0))
    result = sn.train(c, stream, steps=10, batch_size=128, progress=False)
    assert result.history[-1].r2 > (0.2 if kind is sn.Crosscoder else 0)
    with pytest.raises(ValueError, match=r"widths of Crosscoder, \[16, 20\].*got \[128, 128\]"):
        sn.train(build(), stream, steps=1, progress=False)


def test_dead_atoms_return_as_residuals_of_all_sites() -> None:
    c, (x, _) = build(revival="resample"), sites(300)
    c.initialise(x)
    silent = torch.full((N_ATOMS,), 1000, dtype=torch.int64)
    c.training_loss(torch.cat(x, dim=1), silent, 1000, 0.1)
    assert c.to_resample is not None
    atoms, directions = c.to_resample
    assert torch.allclose(directions.norm(dim=1), torch.ones(len(atoms)), atol=1e-5)
    quiet = directions[:, :D_1].norm(dim=1)
    assert float(quiet.median()) > 0.3
    c.after_optimiser_step()
    torch.testing.assert_close(c.operator.weight[atoms], directions)


@pytest.mark.slow
def test_a_report_measures_all_sites() -> None:
    c, (x, _) = build(), sites()
    sn.train(c, x, steps=100, batch_size=128, progress=False)
    report = sn.evaluate(c, x, n_bootstrap=0)
    rows = torch.cat(x, dim=1)
    assert report.r2.value == pytest.approx(
        sn.evaluation.explained_variance(rows, c(rows).detach()), abs=1e-6
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: x, ValueError, r"list for Crosscoder.*2 hook points.*\[16, 20\], got one"),
        (lambda x, y: [x], ValueError, "one entry per hook point, 2, got 1"),
        (lambda x, y: [x, y[:7]], ValueError, r"row 7 is sample 7 .*missing.*\(2000 and 7 rows"),
        (lambda x, y: [y, x], ValueError, r"widths of Crosscoder, \[16, 20\].*got \[20, 16\]"),
        (lambda x, y: [x, "y"], TypeError, r"`data\[1\]` must be activations or rows.*got str"),
        (lambda x, y: [x, y.index_fill(0, torch.tensor([3]), torch.nan)], ValueError, "row 3"),
    ],
)
def test_data_that_are_not_its_sites_are_refused(change: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        sn.train(build(), change(*sites()[0]), steps=1, progress=False)

"""Classical factorisations: what each is defined by, and that each is used like an SAE."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import sae_nb as sn
from sae_nb.classical import METHODS, Classical, fit_classical
from sae_nb.classical._fitting import archetypal_analysis, convex_nmf, far_apart
from sae_nb.classical._semi_nmf import semi_nmf

N, D = 300, 8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def mixtures() -> tuple[Tensor, Tensor]:
    corners = 4 * torch.linalg.qr(draw(D, D, seed=1)).Q[:5] + 3
    weights = torch.distributions.Dirichlet(torch.full((5,), 0.5))
    torch.manual_seed(0)
    x = weights.sample((N,)).double() @ corners
    return torch.cat([x, corners]), corners


def start(x: Tensor, n_atoms: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    nearest = torch.randint(n_atoms, (len(x),), generator=generator)
    return torch.nn.functional.one_hot(nearest, n_atoms).double()


def test_pca_leaves_exactly_the_small_eigenvalues() -> None:
    x = draw(N, D) @ draw(D, D, seed=2)
    pca = fit_classical(x, "PCA", 3)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T.numpy()))
    left = (x - pca(x.float()).detach().double()).square().sum() / (N - 1)
    assert float(left) == pytest.approx(eigenvalues[:-3].sum(), rel=1e-4)
    assert torch.allclose(pca.dictionary @ pca.dictionary.T, torch.eye(3), atol=1e-5)
    assert int(fit_classical(x, "PCA", 3, k=2).encode(x.float()).l0.max()) == 2


def test_k_means_gives_the_nearest_centroid() -> None:
    x = draw(N, D)
    model = fit_classical(x, "KMeans", 7)
    codes = model.encode(x.float())
    assert codes.l0.unique().tolist() == [1]
    assert codes.values.unique().tolist() == [1.0]
    distances = torch.cdist(x.float(), model.dictionary)
    chosen = distances.gather(1, codes.atoms.long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, distances.amin(dim=1))


def far_from_the_origin() -> tuple[Tensor, Tensor]:
    """Rows whose distances are a ten-thousandth of their norms, and these distances in float64."""
    x = 100 + 0.01 * torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    return x, (x.double()[:, None] - x.double()).norm(dim=2)


def test_the_nearest_centroid_is_nearest_however_far_away_all_are() -> None:
    """Alone and in a batch, where products of rows round more than the rows lie apart."""
    x, distance = far_from_the_origin()
    model = Classical(16, 10, method="KMeans")
    with torch.no_grad():
        model.operator.weight.copy_(x[::20])
    nearest = distance[:, ::20].argmin(dim=1)
    for size in (5, 200):
        found = torch.cat([model.encode(rows).atoms.long() for rows in x.split(size)])
        assert torch.equal(found, nearest)


def test_rows_far_apart_are_chosen_once_each() -> None:
    x, distance = far_from_the_origin()
    chosen = far_apart(x, 20, torch.Generator().manual_seed(1)).tolist()
    for n in range(1, 20):
        left = distance[:, chosen[:n]].amin(dim=1)
        assert float(left[chosen[n]]) == pytest.approx(float(left.max()), rel=1e-4)


def test_nmf_finds_planted_parts_and_refuses_negative_data() -> None:
    parts = draw(4, D, seed=3).abs() * (draw(4, D, seed=4) > 0)
    x = draw(N, 4, seed=5).abs() @ parts
    model = fit_classical(x, "NMF", 4, n_steps=500)
    assert bool((model.dictionary >= 0).all())
    assert bool((model.encode(x.float()).values >= 0).all())
    assert sn.evaluation.explained_variance(x.float(), model(x.float())) > 0.99
    with pytest.raises(ValueError, match=r"must be ≥ 0 for NMF, got -"):
        fit_classical(draw(N, D), "NMF", 4)


@pytest.mark.parametrize("n_atoms", [3, 12])
def test_multiplicative_steps_never_get_worse(n_atoms: int) -> None:
    x = draw(120, D) + 1
    for method in (semi_nmf, convex_nmf):
        errors = np.array(method(x, start(x, n_atoms), 60)[1])
        assert (np.diff(errors) <= 1e-9 * errors[0]).all()
        assert errors[-1] < 0.9 * errors[0]


def test_semi_nmf_reaches_the_rank_bound_on_data_of_its_form() -> None:
    x = draw(N, 3, seed=6).abs() @ draw(3, D, seed=7)
    model = fit_classical(x, "SemiNMF", 3, n_steps=400)
    assert sn.evaluation.explained_variance(x.float(), model(x.float())) > 0.98
    assert bool((model.encode(x.float()).values >= 0).all())


def test_convex_nmf_atoms_are_mixtures_of_rows() -> None:
    x = draw(60, D) + 0.5
    model = fit_classical(x, "ConvexNMF", 5)
    for atom in model.dictionary.double():
        _, rest = nnls(x.T.numpy(), atom.numpy())
        assert rest < 1e-4 * float(atom.norm())


@pytest.mark.slow
def test_archetypes_are_the_planted_corners(mixtures: tuple[Tensor, Tensor]) -> None:
    x, corners = mixtures
    model = fit_classical(x, "ArchetypalAnalysis", 5)
    distance = torch.cdist(corners.float(), model.dictionary)
    assert sorted(distance.argmin(dim=1).tolist()) == list(range(5))
    assert float(distance.min(dim=1).values.max()) < 0.05 * float(torch.pdist(corners).min())
    assert sn.evaluation.explained_variance(x.float(), model(x.float())) > 0.999
    sums = model.encode(x.float()).to_dense().sum(dim=1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    generator = torch.Generator().manual_seed(0)
    _, errors = archetypal_analysis(x, 4, n_steps=30, generator=generator)
    assert (np.diff(errors) <= 1e-9 * errors[0]).all()


@pytest.mark.slow
def test_archetypes_lie_in_the_hull() -> None:
    x = draw(100, 3)
    model = fit_classical(x, "ArchetypalAnalysis", 6)
    hull = np.vstack([x.T.numpy(), np.ones(len(x))])
    for atom in model.dictionary.double().numpy():
        _, rest = nnls(hull, np.append(atom, 1.0))
        assert rest < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_is_saved_evaluated_and_repeatable(method: str, tmp_path: Path) -> None:
    acts = sn.Activations.from_tensor(draw(N, D).abs().float())
    model, again = (fit_classical(acts, method, 6, n_steps=20) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(model.dictionary, again.dictionary)
    model.save(tmp_path / "m")
    loaded = sn.load_sae(tmp_path / "m")
    assert isinstance(loaded, Classical)
    assert torch.equal(loaded.encode(acts.x).to_dense(), model.encode(acts.x).to_dense())
    report = sn.evaluate(model, acts, n_bootstrap=0)
    assert report["r2"].value > 0.2
    assert bool(model.initialised)

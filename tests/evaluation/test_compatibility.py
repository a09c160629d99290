"""Other libraries' formulas, written again as their code has them (dense, batch at once), to 1e-6."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import as_published, published_formulas

KINDS = ("plain", "offset", "scaled", "massive", "biased")


def pair(kind: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 12, generator=generator, dtype=torch.float64)
    x_hat = x + 0.5 * torch.randn(500, 12, generator=generator, dtype=torch.float64)
    if kind == "offset":
        shift = 3 * torch.randn(12, generator=generator, dtype=torch.float64)
        return x + shift, x_hat + shift
    if kind == "scaled":
        return 5 * x, 5 * x_hat
    if kind == "massive":
        x[::100] *= 300
        return x, x_hat
    return (x, x_hat + 0.5) if kind == "biased" else (x, x_hat)


# dictionary_learning, evaluation.py


def dictionary_learning(x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
    l2_loss = torch.linalg.norm(x - x_hat, dim=-1).mean()
    x_normed = x / torch.linalg.norm(x, dim=-1, keepdim=True)
    x_hat_normed = x_hat / torch.linalg.norm(x_hat, dim=-1, keepdim=True)
    total_variance = torch.var(x, dim=0).sum()
    residual_variance = torch.var(x - x_hat, dim=0).sum()
    x_hat_norm_squared = torch.linalg.norm(x_hat, dim=-1, ord=2) ** 2
    x_dot_x_hat = (x * x_hat).sum(dim=-1)
    return {
        "l2_loss": l2_loss,
        "cossim": (x_normed * x_hat_normed).sum(dim=-1).mean(),
        "l2_ratio": (torch.linalg.norm(x_hat, dim=-1) / torch.linalg.norm(x, dim=-1)).mean(),
        "frac_variance_explained": 1 - residual_variance / total_variance,
        "relative_reconstruction_bias": x_hat_norm_squared.mean() / x_dot_x_hat.mean(),
    }


# SAELens 6.18 and SAEBench, evals.py


def saelens(x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
    resid_sum_of_squares = (x - x_hat).pow(2).sum(dim=-1)
    total_sum_of_squares = (x - x.mean(dim=0)).pow(2).sum(dim=-1)
    mse = resid_sum_of_squares / len(x)
    mean_sum_of_squares = x.pow(2).sum(dim=-1).mean(dim=0)
    mean_act_per_dimension = x.pow(2).mean(dim=0)
    total_variance = mean_sum_of_squares - mean_act_per_dimension.mean(dim=0) ** 2
    x_hat_norm, x_norm = torch.norm(x_hat, dim=-1), torch.norm(x, dim=-1)
    return {
        "explained_variance_legacy": (1 - resid_sum_of_squares / total_sum_of_squares).mean(),
        "explained_variance": 1 - resid_sum_of_squares.mean(dim=0) / total_variance,
        "mse": mse.mean(),
        "cossim": ((x / x_norm[:, None]) * (x_hat / x_hat_norm[:, None])).sum(dim=-1).mean(),
        "relative_reconstruction_bias": x_hat_norm.pow(2).mean() / (x * x_hat).sum(-1).mean(),
    }


# overcomplete, metrics.py; SAE-Dark-Matter, utils.py


def overcomplete(x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
    mse = (x - x_hat).square().mean()
    l2_err = (x - x_hat).square().sum(-1).sqrt()
    return {
        "r2_score": 1 - mse / (x - x.mean()).square().mean(),
        "avg_l2_loss": l2_err.mean(),
        "avg_l1_loss": torch.abs(x - x_hat).sum(-1).mean(),
        "relative_avg_l2_loss": (l2_err / (x.square().sum(-1).sqrt() + 1e-6)).mean(),
    }


def dark_matter(x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
    ss_res = torch.sum((x - x_hat) ** 2, dim=0)
    ss_tot = torch.sum((x - torch.mean(x, dim=0)) ** 2, dim=0)
    return {"r_squared": torch.mean(1 - ss_res / ss_tot)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", [dictionary_learning, saelens, overcomplete, dark_matter])
def test_reconstruction_equals_the_library_s_own_code(kind, library):
    """To 1e-6, on plain, shifted, scaled and biased data and with massive rows."""
    x, x_hat = pair(kind)
    for name, expected in library(x, x_hat).items():
        found = as_published(f"{library.__name__}.{name}", x=x, x_hat=x_hat)
        assert found == pytest.approx(float(expected), rel=1e-6), name


def signed_codes() -> tuple[Tensor, SparseCodes]:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(60, 20, generator=generator) * (torch.rand(60, 20, generator=generator) < 0.2)
    z[:, 0] = 0
    z[:, 1] = 0
    z[0, 1], z[1, 1] = 2.0, -2.0  # active twice, sum zero
    z[z.abs().sum(dim=1) == 0, 2] = 1.0
    return z.double(), SparseCodes.from_dense(z)


def test_codes_are_counted_as_the_library_counts():
    z, codes = signed_codes()
    c = z.shape[1]
    l1, l2 = z.abs().sum(-1), z.square().sum(-1).sqrt()
    expected = {
        "saelens.l0": (z > 0).double().sum(-1).mean(),
        "saebench.l0": (z != 0).double().sum(-1).mean(),
        "dictionary_learning.l0": (z != 0).double().sum(-1).mean(),
        "overcomplete.l0": (z != 0).double().mean(),
        "saelens.l1": z.sum(-1).mean(),
        "overcomplete.l1": z.abs().sum(-1).mean(),
        "dictionary_learning.l1_loss": z.norm(p=1, dim=-1).mean(),
        "dictionary_learning.frac_alive": z.bool().any(dim=0).sum() / c,
        "overcomplete.hoyer": ((c**0.5 - l1 / l2) / (c**0.5 - 1)).mean(),
        "overcomplete.dead_codes": (z.sum(0) == 0).double().mean(),
    }
    for name, value in expected.items():
        assert as_published(name, codes=codes) == pytest.approx(float(value), rel=1e-6), name
    assert as_published("overcomplete.dead_codes", codes=codes) == pytest.approx(2 / 20)
    assert as_published("dictionary_learning.frac_alive", codes=codes) == pytest.approx(19 / 20)


def test_a_dictionary_is_compared_as_the_library_does():
    """overcomplete's Hungarian loss, a sum; the paper's spectral interference."""
    from scipy.optimize import linear_sum_assignment

    generator = torch.Generator().manual_seed(0)
    d, other = torch.randn(2, 20, 8, generator=generator, dtype=torch.float64)
    cost = 1 - (d / d.norm(dim=1, keepdim=True)) @ (other / other.norm(dim=1, keepdim=True)).T
    expected = float(cost.numpy()[linear_sum_assignment(cost.numpy())].sum())
    found = as_published("overcomplete.cosine_hungarian_loss", dictionary=d, other=other)
    assert found == pytest.approx(expected, rel=1e-6)
    ours = sn.evaluation.stability([d.float(), other.float()]).value
    assert found == pytest.approx(20 * (1 - ours), rel=1e-5)
    z, codes = signed_codes()
    whole = torch.relu(-(z.T @ z) * (d @ d.T))
    found = as_published("archetypal.negative_interference", codes=codes, dictionary=d)
    assert found == pytest.approx(float(torch.linalg.matrix_norm(whole, 2)), rel=1e-6)


def test_scale_moves_only_what_it_is_said_to_move():
    """Scaling x and x̂ leaves every R² as it is but SAELens 6.18's (evaluation.md §24)."""
    x, x_hat = pair("plain")
    for name in published_formulas():
        if name.endswith(("explained_variance", "r2", "r2_score", "r_squared", "legacy")):
            once = as_published(name, x=x, x_hat=x_hat)
            scaled = as_published(name, x=5 * x, x_hat=5 * x_hat)
            moved = abs(once - scaled) > 1e-9
            assert moved == (name in {"saelens.explained_variance", "saebench.explained_variance"})


def test_an_entry_of_strength_zero_counts_for_no_atom() -> None:
    """Two rows with the entries 1, 0 and −2 of four atoms."""
    codes = SparseCodes.from_dense(torch.tensor([[1.0, 9, 0, 0], [0, 0, -2, 0]]))
    codes = codes.with_values(torch.where(codes.values == 9, 0.0, codes.values))
    wanted = {"saelens.l0": 0.5, "saebench.l0": 1.0, "overcomplete.l0": 2 / 8, "saelens.l1": -0.5,
              "dictionary_learning.l0": 1.0, "overcomplete.l1": 1.5}  # fmt: skip
    for name, value in wanted.items():
        assert as_published(name, codes=codes) == pytest.approx(value), name

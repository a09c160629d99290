"""R² and its kin against plain numpy, in every chunking, and where definitions part ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.evaluation import explained_variance
from sae_nb.evaluation.report import _reconstruction
from sae_nb.evaluation.report._reconstruction import (
    Moments,
    ReconstructionSums,
    reconstruction_values,
)


def pair(n: int = 400, d: int = 6, noise: float = 0.5, offset: float = 0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator) * torch.linspace(0.5, 2, d)
    x = x + offset * torch.randn(d, generator=generator)
    x_hat = x + noise * torch.randn(n, d, generator=generator)
    return x, x_hat


def summed(x, x_hat, sizes, order=None) -> ReconstructionSums:
    order = torch.arange(len(x)) if order is None else order
    moments = Moments(x.shape[1])
    for rows in torch.split(order, sizes):
        moments.update(x[rows])
    sums = ReconstructionSums(moments, 10)
    for rows in torch.split(order, sizes):
        sums.update(x[rows], x_hat[rows], (rows % 10).numpy())
    return sums


def by_hand(x, x_hat) -> dict[str, float]:
    x, h = x.double().numpy(), x_hat.double().numpy()
    mean = x.mean(axis=0)
    sse, sst = ((x - h) ** 2).sum(axis=1), ((x - mean) ** 2).sum(axis=1)
    norms = np.linalg.norm(x, axis=1), np.linalg.norm(h, axis=1)
    c, ch = x - mean, h - mean
    kept = np.argsort(norms[0])[: len(x) - len(x) // 1000]
    return {
        "r2": 1 - sse.sum() / sst.sum(),
        "fvu": sse.sum() / sst.sum(),
        "mse": sse.mean(),
        "cosine": np.mean((x * h).sum(1) / (norms[0] * norms[1])),
        "cosine_centred": np.mean(
            (c * ch).sum(1) / (np.linalg.norm(c, axis=1) * np.linalg.norm(ch, axis=1))
        ),
        "norm_ratio": np.mean(norms[1] / norms[0]),
        "shrinkage_gamma": (h**2).sum() / (x * h).sum(),
        "r2_per_dimension": np.mean(1 - ((x - h) ** 2).sum(0) / ((x - mean) ** 2).sum(0)),
        "fvu_token_median": np.median(sse / sst),
        "fvu_trimmed": sse[kept].sum() / sst[kept].sum(),
    }


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_streamed_sums_equal_plain_numpy(offset):
    x, x_hat = pair(n=2500, offset=offset)
    expected, found = by_hand(x, x_hat), reconstruction_values(summed(x, x_hat, 300))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.slow
def test_any_split_and_order_gives_the_same_sums():
    """Chan's merge in fp64: chunk sizes and order change nothing above 1e-9."""
    x, x_hat = pair(offset=100.0)
    whole = reconstruction_values(summed(x, x_hat, 400))
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    for sizes, order in ((7, None), (1, None), (64, shuffled), ([1, 2, 397], shuffled)):
        again = reconstruction_values(summed(x, x_hat, sizes, order))
        for name, value in whole.items():
            assert again[name] == pytest.approx(value, abs=1e-9), name


def test_moments_are_the_mean_and_the_variance():
    x, _ = pair(offset=1000.0)
    moments = Moments(6)
    for part in torch.split(x, 37):
        moments.update(part)
    np.testing.assert_allclose(moments.mean.numpy(), x.double().numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.m2.numpy() / 400, x.double().numpy().var(axis=0), rtol=1e-9)


def test_a_constant_dimension_is_left_out_of_the_per_dimension_mean():
    x, x_hat = pair()
    x[:, 2] = x_hat[:, 2] = 7.0
    found = reconstruction_values(summed(x, x_hat, 64))
    others = [0, 1, 3, 4, 5]
    expected = by_hand(x[:, others], x_hat[:, others])["r2_per_dimension"]
    assert found["r2_per_dimension"] == pytest.approx(expected, rel=1e-6)


def trap(kind: str):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 256, generator=generator)
    noise = 0.5 * torch.randn(4000, 256, generator=generator)
    if kind == "offset":
        x = x + 3 * torch.randn(256, generator=generator)
    if kind == "scaled":
        x, noise = 5 * x, 5 * noise
    x_hat = x + noise
    return (x, x_hat + 0.5) if kind == "biased" else (x, x_hat)


def test_every_definition_on_three_rows_by_hand():
    """Errors (−1 0), (0 0), (0 3) of (0 0), (2 0), (4 9), whose mean is (2 3)."""
    x = torch.tensor([[0.0, 0], [2, 0], [4, 9]])
    x_hat = torch.tensor([[1.0, 0], [2, 0], [4, 6]])
    expected = {
        "r2_pooled": 1 - 10 / (8 + 54),
        "r2_perdim": (7 / 8 + 45 / 54) / 2,
        "r2_varratio": 1 - (1 / 3 + 3) / (4 + 27),
        "r2_pertoken": (12 / 13 + 1 + 31 / 40) / 3,
        "r2_scalar": 1 - 10 / 63.5,
        "r2_uncentred": 1 - 10 / 101,
        "ev_saelens618": 1 - 10 / (101 - 3 * (101 / 6) ** 2),
    }
    for definition, value in expected.items():
        assert explained_variance(x, x_hat, definition) == pytest.approx(value), definition
    constant = torch.cat([x, torch.full((3, 1), 4.0)], dim=1)
    found = explained_variance(constant, torch.cat([x_hat, constant[:, 2:]], dim=1), "r2_perdim")
    assert found == pytest.approx(expected["r2_perdim"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooled", "varratio", "pertoken", "scalar", "uncentred", "saelens618"),
    [
        ("zero mean", 0.751, 0.751, 0.749, 0.751, 0.751, 0.750),
        ("offset", 0.750, 0.750, 0.748, 0.976, 0.977, 0.976),
        ("scaled", 0.750, 0.750, 0.748, 0.750, 0.750, 0.723),
        ("biased", 0.499, 0.750, 0.495, 0.499, 0.499, 0.497),
    ],
)
def test_definitions_part_ways_where_they_are_known_to(
    kind, pooled, varratio, pertoken, scalar, uncentred, saelens618
):
    """The trap table: a scalar mean inflates offset data, a variance ratio forgives a bias."""
    x, x_hat = trap(kind)
    expected = {
        "r2_pooled": pooled,
        "r2_varratio": varratio,
        "r2_pertoken": pertoken,
        "r2_scalar": scalar,
        "r2_uncentred": uncentred,
        "ev_saelens618": saelens618,
    }
    for definition, value in expected.items():
        # The offset's own draw moves the inflated values by a few thousandths.
        assert explained_variance(x, x_hat, definition) == pytest.approx(value, abs=0.005)


def test_massive_rows_hide_a_bad_reconstruction_from_pooled_r2_only():
    """1 % of rows with a huge norm: pooled says 1.000, the token median says a fifth is unexplained."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 64, generator=generator)
    x[::100] *= 300
    x_hat = x + 0.5 * torch.randn(4000, 64, generator=generator)
    found = reconstruction_values(summed(x, x_hat, 500))
    assert found["r2"] > 0.999
    assert found["fvu_token_median"] == pytest.approx(0.205, abs=0.02)
    assert found["fvu_trimmed"] < 0.01


def test_sums_of_dimensions_are_kept_for_few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups 0, 2 and 4 together, and 1 and 3."""
    monkeypatch.setattr(_reconstruction, "_DIM_GROUPS", 2)
    x = torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
    moments = Moments(2)
    moments.update(x)
    sums = ReconstructionSums(moments, 5)
    sums.update(x, torch.zeros(5, 2), np.arange(5))
    assert sums.sse_dim.tolist() == [[1 + 25 + 81, 4 + 36 + 100], [9 + 49, 16 + 64]]
    assert sums.sst_dim.tolist() == [[32, 32], [8, 8]]

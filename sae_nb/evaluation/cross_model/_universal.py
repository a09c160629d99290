"""Are atoms shared? Firing entropy, co-firing over the true union, and reconstruction across models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csc_matrix
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.checks import between, check_count, check_k, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.cross_model._matching import check_aligned, check_same_rows
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.evaluation.report._reconstruction import explained_variance

# -------------------------------------------------------------------------------------------------
# A universal SAE: one code for several models on the same inputs, each with its own encoder and decoder.
#
# z = TopK(relu((x_i − μ_i) W_i / s_i + b_i)) from a model i drawn for each batch, and
# Σ_j ‖x_j − x̂_j(z)‖² / ‖x_j − μ_j‖² over all models j is what is minimised.


@checked
class UniversalSAE(nn.Module):
    """Encoders and decoders of several models around one dictionary of shared codes.

    Widths, means and scales are read from the aligned activations, and the first atoms are rows of
    them, drawn by `seed`.

    Raises
    ------
    TypeError, ValueError: If activations are not aligned, or counts do not fit.
    """

    def __init__(self, acts: Sequence[Activations], n_atoms: int, k: int, *, seed: int = 0) -> None:
        super().__init__()
        check_aligned(acts)
        self.n_atoms = check_count(n_atoms, name="n_atoms")
        self.k = check_k(k, n_atoms)
        self.n_models = len(acts)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(acts[0]), (n_atoms,), generator=generator)
        self.encoders, self.dictionaries = nn.ParameterList(), nn.ParameterList()
        for number, one in enumerate(acts):
            x = one.x.detach().float()
            mean = x.mean(dim=0)
            scale = (x - mean).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
            self.register_buffer(f"mean_{number}", mean)
            self.register_buffer(f"scale_{number}", scale)
            noise = 0.1 * torch.randn(n_atoms, x.shape[1], generator=generator) / x.shape[1] ** 0.5
            start = (x[rows] - mean) / scale + noise
            start = start / start.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self.dictionaries.append(nn.Parameter(start.clone()))
            self.encoders.append(nn.Parameter(start.T.clone()))
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(n_atoms)) for _ in acts)

    def standardised(self, model: int, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Return (x − μ) / s of one model, by its place in the list."""
        return (x.float() - self.get_buffer(f"mean_{model}")) / self.get_buffer(f"scale_{model}")

    def dense_codes(self, model: int, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n n_atoms"]:
        """Return the shared code that one model's activations ask for, zeros included."""
        pre = (self.standardised(model, x) @ self.encoders[model] + self.bias[model]).relu()
        values, atoms = pre.topk(self.k, dim=1)
        return torch.zeros_like(pre).scatter(1, atoms, values)

    @checked
    @torch.no_grad()
    def encode(self, model: int, x: Float[Tensor, "n d_in"]) -> SparseCodes:
        """Return the shared code that one model's activations ask for."""
        model = check_count(model, name="model", at_least=0, at_most=self.n_models - 1)
        x = check_matrix(x, d_in=self.encoders[model].shape[0])
        dense = (self.dense_codes(model, part) for part in torch.split(x, 4096))
        return SparseCodes.concatenate(map(SparseCodes.from_dense, dense))

    @checked
    def decode(self, model: int, codes: SparseCodes) -> Float[Tensor, "n d_in"]:
        """Return one model's activations, decoded from any model's code."""
        model = check_count(model, name="model", at_least=0, at_most=self.n_models - 1)
        parts = [
            codes.rows(slice(start, start + 4096)).to_dense() @ self.dictionaries[model]
            for start in range(0, codes.n_rows, 4096)
        ]
        scale = self.get_buffer(f"scale_{model}")
        return torch.cat(parts) * scale + self.get_buffer(f"mean_{model}")

    def loss(self, model: int, x: Sequence[Float[Tensor, "n d_in"]]) -> Float[Tensor, ""]:
        """Return the mean over models of the share of energy missed by the code of one, given all their x."""
        z = self.dense_codes(model, x[model])
        missed = [
            (self.standardised(j, rows) - z @ self.dictionaries[j]).square().sum(dim=1).mean()
            for j, rows in enumerate(x)
        ]
        return torch.stack(missed).mean()

    @torch.no_grad()
    def normalise(self) -> None:
        """Scale each atom, over all models together, to norm √M; a model's own part may be zero."""
        squares = torch.stack([d.square().sum(dim=1) for d in self.dictionaries]).mean(dim=0)
        for dictionary in self.dictionaries:
            dictionary /= squares.sqrt().clamp_min(1e-12)[:, None]


@checked
def train_universal(
    acts: Sequence[Activations],
    *,
    n_atoms: int,
    k: int,
    steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> UniversalSAE:
    """Train shared codes for several models on aligned activations: the same rows of each.

    Each step of Adam encodes with one model, drawn at random, and decodes to all.

    Raises
    ------
    TypeError, ValueError: If activations are not aligned, or counts do not fit.

    Source
    ------
    Thasarathan et al., "Universal sparse autoencoders", arXiv 2502.03714.

    Example
    -------
    >>> x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    >>> acts = [Activations.from_tensor(x), Activations.from_tensor(x @ torch.ones(4, 3))]
    >>> train_universal(acts, n_atoms=8, k=2, steps=3).n_models
    2
    """
    check_count(steps, name="steps")
    check_count(batch_size, name="batch_size")
    between(learning_rate, 0, 1e3, name="learning_rate", ends="(]")
    sae = UniversalSAE(acts, n_atoms, k, seed=seed)
    optimiser = torch.optim.Adam(sae.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    x = [one.x.detach().float() for one in acts]
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(len(x[0]), (batch_size,), generator=generator)
            model = int(torch.randint(len(x), (), generator=generator))
            optimiser.zero_grad()
            loss = sae.loss(model, [one[rows] for one in x])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sae.normalise()
    return sae.eval()


# -------------------------------------------------------------------------------------------------
# Are atoms shared? Firing entropy, co-firing over the true union, and reconstruction across models.


@dataclass(frozen=True, kw_only=True, eq=False)
class Universality(Measurement):
    """How far a code is shared by the models it is made from.

    `value` is the mean over atoms that fire of rows in which all models fire, over rows in which any
    does; its floor is the same with the rows of the models shuffled against each other.
    """

    entropy: Float[np.ndarray, " n_atoms"]
    """FE: 1 where all models fire equally often, 0 where one alone fires; NaN where none does."""

    overlap: Float[np.ndarray, " n_atoms"]
    """Rows in which all models fire, over rows in which any does: the true union."""

    cofiring: Float[np.ndarray, "n_atoms models"]
    fires: Float[np.ndarray, "n_atoms models"]
    """CFP: share of one model's firings in which all the others fire too; rows in which each fires."""

    r2: Float[np.ndarray, "models models"] | None
    r2_floor: Float[np.ndarray, "models models"] | None
    """R² of model j's activations from model i's code, and with rows shuffled; None of codes alone."""

    def __repr__(self) -> str:
        text = (
            f"Universality(all fire in {self.value:.3f} of the rows in which any does, shuffled "
            f"{self.floor:.3f}; firing entropy {np.nanmean(self.entropy):.3f}"
        )
        if self.r2 is None:
            return text + ")"
        own, across = np.diag(self.r2).mean(), self.r2[~np.eye(len(self.r2), dtype=bool)].mean()
        return f"{text}; R² own {own:.3f}, across {across:.3f})"


@checked
def compare_firing(
    codes: Sequence[SparseCodes], *, n_bootstrap: int = 1000, seed: int = 0
) -> Universality:
    """Compare where the same atoms fire in several models' codes of the same rows.

    With f_km the rows in which atom k fires for model m, p_km = f_km / Σ_m f_km:
    FE_k = −Σ_m p_km log p_km / log M; CFP_km = #(all fire) / f_km; overlap_k = #(all) / #(any).

    Parameters
    ----------
    codes
        One per model, of one dictionary of shared codes.

    Raises
    ------
    ValueError: If rows or dictionaries differ, or nothing fires.

    Source
    ------
    Thasarathan et al., "Universal sparse autoencoders", arXiv 2502.03714. Their code divides by the
    sum of firings instead of the union, which cannot exceed 1 / M.

    Example
    -------
    >>> z = SparseCodes.from_dense(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]))
    >>> compare_firing([z, z]).value
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    check_same_rows(codes)
    widths = {one.n_atoms for one in codes}
    if len(widths) > 1:
        raise ValueError(
            f"`codes` must be of one shared dictionary, got {sorted(widths)} atoms. Use match_latents "
            "for SAEs that were trained apart."
        )
    fired = [_fired(one) for one in codes]
    fires = np.stack([np.asarray(f.sum(axis=0)).ravel() for f in fired], axis=1).astype(float)
    every, overlap = _overlap(fired)
    alive, generator = np.isfinite(overlap), np.random.default_rng(seed)
    moved = [f.tocsr()[generator.permutation(f.shape[0])].tocsc() for f in fired[1:]]
    floor = np.nanmean(_overlap([fired[0], *moved])[1])
    return Universality.of(
        resampling.mean("cofiring_union", overlap[alive], floor=floor, unit="atoms"),
        seconds=round(time.perf_counter() - start, 3),
        entropy=_entropy(fires),
        overlap=overlap,
        cofiring=np.divide(every[:, None], fires, out=np.full_like(fires, np.nan), where=fires > 0),
        fires=fires,
        r2=None,
        r2_floor=None,
    )


@checked
def measure_universality(
    sae: UniversalSAE, acts: Sequence[Activations], *, n_bootstrap: int = 1000, seed: int = 0
) -> Universality:
    """Compare firing, and decode each model's activations from every model's code.

    Parameters
    ----------
    acts
        Aligned activations of its models, in order; ones it was not trained on.

    Raises
    ------
    TypeError, ValueError: If activations are not aligned, or are not those of its models.

    Example
    -------
    >>> from sae_nb.evaluation import train_universal
    >>> x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    >>> acts = [Activations.from_tensor(x), Activations.from_tensor(2 * x)]
    >>> found = measure_universality(train_universal(acts, n_atoms=8, k=2, steps=3), acts)
    >>> found.r2.shape
    (2, 2)
    """
    check_aligned(acts)
    if len(acts) != sae.n_models:
        raise ValueError(
            f"`acts` must be of the {sae.n_models} models of the SAE, in order, got {len(acts)}."
        )
    codes = [sae.encode(i, one.x) for i, one in enumerate(acts)]
    found = compare_firing(codes, n_bootstrap=n_bootstrap, seed=seed)
    order = torch.randperm(len(acts[0]), generator=torch.Generator().manual_seed(seed))
    r2, floor = np.zeros((2, len(acts), len(acts)))
    with torch.no_grad():
        for i, one in enumerate(codes):
            for j, target in enumerate(acts):
                x, x_hat = target.x.float(), sae.decode(j, one)
                r2[i, j] = explained_variance(x, x_hat)
                floor[i, j] = explained_variance(x, x_hat[order])
    return replace(found, r2=r2, r2_floor=floor)


def _fired(codes: SparseCodes) -> csc_matrix:
    table = codes.to_scipy().tocsc()
    table.eliminate_zeros()
    table.data = np.ones(len(table.data), dtype=np.int32)
    return table


def _overlap(
    fired: Sequence[csc_matrix],
) -> tuple[Float[np.ndarray, " n_atoms"], Float[np.ndarray, " n_atoms"]]:
    """Rows in which all fire, and their share of those in which any does; NaN where none does."""
    total = sum(fired[1:], fired[0]).tocsc()
    column = np.repeat(np.arange(total.shape[1]), np.diff(total.indptr))
    union = np.bincount(column, minlength=total.shape[1]).astype(float)
    every = np.bincount(column, weights=total.data == len(fired), minlength=total.shape[1])
    return every, np.divide(every, union, out=np.full_like(union, np.nan), where=union > 0)


def _entropy(fires: Float[np.ndarray, "n_atoms models"]) -> Float[np.ndarray, " n_atoms"]:
    total = fires.sum(axis=1, keepdims=True)
    p = np.divide(fires, total, out=np.zeros_like(fires), where=total > 0)
    log = np.log(np.where(p > 0, p, 1.0))
    entropy = -(p * log).sum(axis=1) / np.log(fires.shape[1])
    return np.where(total[:, 0] > 0, np.maximum(entropy, 0.0), np.nan)

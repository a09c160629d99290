"""The score of noisy images in wavelets: features of each coefficient, weighed in closed form by moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, check_data, checked
from sae_nb.findings import Finding
from sae_nb_studies.lab._patch_mosaic import white_noise

if TYPE_CHECKING:
    from pandas import DataFrame

Gates = Literal["linear", "cubic", "self", "neighbours"]

WIDTHS = (1.0, 2.0, 4.0)
"""Of the gates, in standard deviations of the noise."""

AT_ONCE = 2048
"""Patches whose features are in memory together."""

ORIENTATIONS = ("vertical", "horizontal", "diagonal")
"""Edges that a band answers to."""

Bands = dict[str, Float[Tensor, "n rows columns"]]


@checked
def wavelet_score(
    patches: Float[Tensor, "n height width"],
    sigma: Annotated[float, Between(1e-6, 1e6)],
    *,
    gates: Gates = "neighbours",
    levels: Count = 3,
    seed: Seed = 0,
) -> WaveletScore:
    """Fit the score of patches with Gaussian noise, one Haar coefficient at a time, by Stein's identity.

    The score of a noisy coefficient y is s = c · φ(y), and the c of least error needs no clean data:
    c = −E[φφᵀ]⁻¹ E[∂φ/∂y]. With φ = y alone it is the Wiener filter; gates y exp(−y² / 2τ²) let large
    coefficients pass and shrink small ones, which is what a soft threshold does. All coefficients of a band
    share their c.

    Parameters
    ----------
    patches
        Clean, of one size.
    sigma
        Standard deviation of the noise, from 1e-6 to 1e6.
    gates
        Features besides 1 and y: "linear" none; "cubic" y³; "self" gates by the coefficient itself, of
        width σ, 2σ and 4σ; "neighbours" also by the energy of those around, next to and above it.
    levels
        Of the Haar transform.
    seed
        Draws the noise.

    Raises
    ------
    ValueError: If the sides cannot be halved `levels` times.

    Source
    ------
    After arXiv 2606.08309, of which we had the abstract: an orthonormal wavelet basis, features of
    coefficients, Stein's identity. Theirs are polynomials; gates and the sharing within a band are ours.

    Example
    -------
    >>> steps = torch.arange(16.0)
    >>> edges = torch.stack([(steps > i).float().expand(16, 16) for i in range(15)]).repeat(8, 1, 1)
    >>> noisy = edges + 0.1 * torch.randn(120, 16, 16, generator=torch.Generator().manual_seed(1))
    >>> linear, gated = (wavelet_score(edges, 0.1, gates=g) for g in ("linear", "self"))
    >>> error = [float((s.denoise(noisy) - edges).square().mean()) for s in (linear, gated)]
    >>> error[1] < 0.7 * error[0]
    True
    """
    clean = check_data(patches, name="patches").detach().double()
    _check_sides(clean, levels)
    noisy = clean + sigma * white_noise(clean.shape, seed).to(clean)
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for part in torch.split(noisy, AT_ONCE):
        for name, _, features, slopes in _features(haar(part, levels), gates, sigma):
            gram, slope = sums.get(name, (0, 0))
            sums[name] = (gram + features @ features.T, slope + slopes.sum(dim=1))
    weights = {name: -torch.linalg.lstsq(*_whitened(*both)).solution for name, both in sums.items()}
    return WaveletScore(
        sigma=sigma, gates=gates, levels=levels, weights=weights, moments=_moments(clean, levels)
    )


class WaveletScore(Finding):
    """Weights of features of Haar coefficients; made by `wavelet_score`."""

    sigma: float
    gates: Gates
    levels: int
    weights: dict[str, Float[Tensor, " n_features"]]
    """c of every band, "diagonal 1" (finest) to "mean"."""
    moments: DataFrame
    """Variance and kurtosis (3 for a Gaussian) of clean coefficients, a row per level, from fine to coarse."""

    @checked
    def score(self, x: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
        """∇ log p of noisy patches, as far as the features see it.

        Raises
        ------
        TypeError, ValueError: If `x` is not of floating-point numbers, or its sides cannot be halved so often.
        """
        rows = check_data(x, name="x").detach().double()
        _check_sides(rows, self.levels)
        parts = []
        for part in torch.split(rows, AT_ONCE):
            bands = haar(part, self.levels)
            found = {
                name: (self.weights[name].to(band) @ features).view_as(band)
                for name, band, features, _ in _features(bands, self.gates, self.sigma)
            }
            parts.append(_back(found, self.levels))
        return torch.cat(parts).to(x.dtype)

    @checked
    def denoise(self, x: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
        """Return best guess of clean patches, x + σ² s(x) (Tweedie)."""
        return x + self.sigma**2 * self.score(x)

    @checked
    def shrinkage(
        self, y: Float[Tensor, " n"], band: str = "vertical 1", *, energy: float | None = None
    ) -> Float[Tensor, " n"]:
        """Return the denoised value of a noisy coefficient.

        Parameters
        ----------
        y
            Its values.
        band
            Whose weights.
        energy
            Mean square of its noisy neighbours; None: σ², noise alone.

        Raises
        ------
        ValueError: If there is no such band.
        """
        if band not in self.weights:
            raise ValueError(f"`band` must be one of {', '.join(self.weights)}, got {band!r}.")
        if energy is not None and not energy >= 0:
            raise ValueError(f"`energy` must be at least 0, got {energy}.")
        values = y.double()
        around = torch.full_like(values, self.sigma**2 if energy is None else energy)
        features, _ = _gated(values, around, self.gates, self.sigma)
        return (values + self.sigma**2 * (self.weights[band].to(values) @ features)).to(y.dtype)

    @checked
    def threshold(self, band: str = "vertical 1") -> float:
        """Return soft threshold nearest to the learned shrinkage, for coefficients up to 5σ among quiet
        neighbours.
        """
        y = torch.linspace(-5, 5, 201, dtype=torch.float64) * self.sigma
        learned = self.shrinkage(y, band)
        candidates = torch.linspace(0, 5, 201, dtype=torch.float64) * self.sigma
        soft = y.sign() * (y.abs() - candidates[:, None]).clamp(min=0)
        return float(candidates[(soft - learned).square().mean(dim=1).argmin()])

    @checked
    def figure(self, band: str = "vertical 1") -> Any:
        """Draw the learned shrinkage of a band, by quiet and loud neighbours, and the next soft threshold."""
        from sae_nb.figures import framed, line, theme

        y = torch.linspace(-6, 6, 121, dtype=torch.float64)
        at = y * self.sigma
        curves = {"learned, quiet neighbours": self.shrinkage(at, band)}
        if self.gates == "neighbours":
            curves["learned, loud neighbours"] = self.shrinkage(at, band, energy=25 * self.sigma**2)
        cut = self.threshold(band)
        drawn = [
            line(name, y.tolist(), (curve / self.sigma).tolist(), colour=colour)
            for (name, curve), colour in zip(curves.items(), theme.PALETTE, strict=False)
        ]
        soft = at.sign() * (at.abs() - cut).clamp(min=0) / self.sigma
        name = f"soft threshold {cut / self.sigma:.1f} σ"
        drawn.append(
            line(name, y.tolist(), soft.tolist(), colour=theme.CONTROL, dash=theme.CONTROL_DASH)
        )
        return framed(drawn, x="noisy coefficient, in σ", y="what is left of it, in σ", height=380)

    @property
    def headline(self) -> str:
        """Gates, levels, noise and threshold."""
        return (
            f"{self.gates}, {self.levels} levels, σ = {self.sigma:g}; "
            f"threshold {self.threshold() / self.sigma:.1f} σ"
        )


def haar(x: Tensor, levels: int) -> Bands:
    """Return orthonormal Haar coefficients: three bands a level, from the finest, and "mean"."""
    bands: Bands = {}
    for level in range(1, levels + 1):
        a, b, c, d = (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
        details = ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2)
        names = (f"{orientation} {level}" for orientation in ORIENTATIONS)
        bands |= dict(zip(names, details, strict=True))
        x = (a + b + c + d) / 2
    return bands | {"mean": x}


def _back(bands: Bands, levels: int) -> Float[Tensor, "n height width"]:
    """Images of Haar coefficients."""
    x = bands["mean"]
    for level in range(levels, 0, -1):
        v, h, d = (bands[f"{orientation} {level}"] for orientation in ORIENTATIONS)
        upper = torch.stack([x + v + h + d, x - v + h - d], dim=-1).flatten(2)
        lower = torch.stack([x + v - h - d, x - v - h + d], dim=-1).flatten(2)
        x = torch.stack([upper, lower], dim=2).flatten(1, 2) / 2
    return x


def _features(
    bands: Bands, gates: Gates, sigma: float
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Every band, its features and their slopes along the coefficient itself, (features, coefficients)."""
    for name, band in bands.items():
        energy = _energy(bands, name) if gates == "neighbours" else band
        yield name, band, *_gated(band.flatten(), energy.flatten(), gates, sigma)


def _gated(y: Tensor, energy: Tensor, gates: Gates, sigma: float) -> tuple[Tensor, Tensor]:
    features, slopes = [torch.ones_like(y), y], [torch.zeros_like(y), torch.ones_like(y)]
    if gates == "cubic":
        features, slopes = [*features, y**3], [*slopes, 3 * y**2]
    for width in WIDTHS if gates in ("self", "neighbours") else ():
        around = 2 * (width * sigma) ** 2
        own, steep = torch.exp(-(y**2) / around), 1 - 2 * y**2 / around
        features, slopes = [*features, y * own], [*slopes, own * steep]
        if gates == "neighbours":
            others = torch.exp(-energy / around)
            features = [*features, y * others, y * own * others]
            slopes = [*slopes, others, own * steep * others]
    return torch.stack(features), torch.stack(slopes)


def _energy(bands: Bands, name: str) -> Tensor:
    """Return mean square of those around in the band, in the two bands next to, and in the one above."""
    square = bands[name].square()
    total = F.avg_pool2d(square[:, None], 3, 1, 1, divisor_override=1)[:, 0] - square
    count = F.avg_pool2d(torch.ones_like(square[:1, None]), 3, 1, 1, divisor_override=1)[:, 0] - 1
    found = [total / count.clamp(min=1)]
    if name != "mean":
        orientation, level = name.split()
        found += [bands[f"{o} {level}"].square() for o in ORIENTATIONS if o != orientation]
        above = bands.get(f"{orientation} {int(level) + 1}")
        if above is not None:
            wide = above.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
            found.append(wide.square() / 4)  # a coarser coefficient is about twice as large
    return torch.stack(found).mean(dim=0)


def _whitened(gram: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The normal equations with a trace of ridge: features of gates far from the data are nearly the same."""
    return gram + 1e-9 * gram.diagonal().mean() * torch.eye(len(gram)).to(gram), slope


def _moments(clean: Tensor, levels: int) -> DataFrame:
    import pandas as pd

    bands, rows = haar(clean, levels), {}
    for level in range(1, levels + 1):
        z = torch.cat([bands[f"{orientation} {level}"].flatten() for orientation in ORIENTATIONS])
        z = z - z.mean()
        variance = z.square().mean()
        kurtosis = z.pow(4).mean() / variance.square().clamp(min=1e-300)
        rows[level] = {"variance": float(variance), "kurtosis": float(kurtosis)}
    return pd.DataFrame(rows).T.rename_axis("level")


def _check_sides(patches: Tensor, levels: int) -> None:
    height, width = patches.shape[1:]
    if height % 2**levels or width % 2**levels:
        raise ValueError(
            f"Patches must have sides that can be halved {levels} times, got {height} × {width}. Cut them to "
            f"multiples of {2**levels}, or use fewer `levels`."
        )

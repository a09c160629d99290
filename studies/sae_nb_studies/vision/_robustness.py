"""Corrupted images: are they noticed, by an SAE or by simpler scores, and what can still be read from them?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sae_nb.activations import check_one_place, reconstruction
from sae_nb.capturing import capture
from sae_nb.checks import (
    Resamples,
    Seed,
    Share,
    as_tensor,
    between,
    check_real,
    checked,
    one_of,
    same_length,
)
from sae_nb.findings import Finding
from sae_nb.statistics import auroc, bootstrap_counts, logistic_probe, percentile_interval
from sae_nb_studies.vision._complexity import averages
from sae_nb_studies.vision._sobol import numbers_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

Corruption = Literal["noise", "blur", "contrast", "occlusion"]
CORRUPTIONS: tuple[Corruption, ...] = ("noise", "blur", "contrast", "occlusion")
SCORES = ("error", "firing", "pca error", "mahalanobis", "softmax")
"""Two by the SAE, three without one."""

READS = ("codes", "activations")
FEWEST_PER_SET = 10
_SHRINKAGE = 0.1


@checked(leave=("images",))
def corrupt(
    images: Float[Tensor, "n channels rows columns"],
    kind: Corruption,
    strength: Share,
    *,
    seed: Seed = 0,
) -> Float[Tensor, "n channels rows columns"]:
    """Spoil images, in [0, 1], by a strength from 0, which leaves them as they are, to 1.

    "noise": Gaussian, of standard deviation strength / 2. "blur": a Gaussian of strength / 10 of the
    image's width. "contrast": 1 − strength of each image's distance from its mean is kept. "occlusion": a
    grey square somewhere that covers strength / 2 of the image.

    Raises
    ------
    ValueError: If images are not four-dimensional or not in [0, 1].

    Example
    -------
    >>> images = torch.zeros(1, 3, 8, 8)
    >>> corrupt(images, "occlusion", 0.5)[0, 0].mean()  # a quarter is grey
    tensor(0.1250)
    """
    s = strength
    x = _pictures(images)
    generator = torch.Generator().manual_seed(seed)
    if s == 0:
        return x.clone()
    if kind == "noise":
        return (x + s / 2 * torch.randn(x.shape, generator=generator).to(x)).clamp(0, 1)
    if kind == "contrast":
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (1 - s) * (x - mean)
    return _blurred(x, s / 10 * x.shape[-1]) if kind == "blur" else _occluded(x, s / 2, generator)


def _pictures(images: Any) -> Tensor:
    x = as_tensor(getattr(images, "images", images), name="images")
    x = numbers_of(x if x.is_floating_point() else x.float() / 255, "images")
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(
            f"`images` must have shape (n, channels, rows, columns), got {tuple(x.shape)}. One image "
            "alone is image[None]."
        )
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ValueError(
            f"`images` must lie in [0, 1], got {float(x.min()):.3g} … {float(x.max()):.3g}. Pass pixels, "
            "not what the model's preprocessing makes of them."
        )
    return x


def _blurred(x: Tensor, sigma: float) -> Tensor:
    reach = max(round(3 * sigma), 1)
    weight = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).to(x)
    weight = weight / weight.sum()
    flat = x.flatten(0, 1)[:, None]
    # Edges repeat: reflection needs an image wider than the blur reaches.
    padded = torch.nn.functional.pad(flat, (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weight.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(rows, weight.view(1, 1, 1, -1)).view(x.shape)


def _occluded(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    rows, columns = x.shape[-2:]
    high, wide = (max(round(share**0.5 * size), 1) for size in (rows, columns))
    at = torch.rand(len(x), 2, generator=generator)
    top, left = (at * torch.tensor([rows - high + 1, columns - wide + 1])).long().T
    y, z = torch.arange(rows)[:, None], torch.arange(columns)
    first, begin = top[:, None, None], left[:, None, None]
    hidden = (y >= first) & (y < first + high) & (z >= begin) & (z < begin + wide)
    return x.masked_fill(hidden[:, None].to(x.device), 0.5)


class Robustness(Finding):
    """The effect of corruption on an image's codes and activations; made by `robustness`."""

    detection: DataFrame
    """A corruption, strength and score per row: auroc of corrupted against clean images, with low and high
    (95 % over resamples of the images). "error" and "firing" are the SAE's, the others need none."""

    probes: DataFrame | None
    """A corruption, strength and what is read per row: accuracy of a probe learned on clean images, with low
    and high, kept (as a share of the clean accuracy) and floor (the share of the commonest label); None
    without labels."""

    n_images: int

    @property
    def table(self) -> DataFrame:
        """AUROC by corruption and strength, a column per score."""
        return self.detection.pivot(
            index=["corruption", "strength"], columns="score", values="auroc"
        )[list(SCORES)]

    def plot(self) -> Any:
        """Draw AUROC over strength, a line per score, a plot per corruption."""
        from sae_nb.figures import category_style, line, side_by_side

        kinds = list(dict.fromkeys(self.detection["corruption"]))
        figure = side_by_side(kinds, y="AUROC, corrupted against clean", height=300)
        for column, kind in enumerate(kinds, start=1):
            for i, score in enumerate(SCORES):
                of = self.detection
                some = of[(of["corruption"] == kind) & (of["score"] == score)]
                colour, symbol = category_style(i)
                one = line(score, some["strength"], some["auroc"], colour=colour, symbol=symbol)
                one.update(showlegend=column == 1, legendgroup=score)
                figure.add_trace(one, row=1, col=column)
        return figure.update_yaxes(range=[0, 1.02])

    @property
    def headline(self) -> str:
        """The mean AUROC of every score."""
        means = self.detection.groupby("score")["auroc"].mean()
        said = ", ".join(f"{score} {means[score]:.3f}" for score in SCORES)
        return f"{self.n_images} images, mean AUROC: {said}"


class _Read(NamedTuple):
    """The kept values of a set of images."""

    codes: csr_matrix  # mean over patches
    fires: csr_matrix
    means: Float[np.ndarray, "n d_in"]
    error: Float[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"]
    doubt: Float[np.ndarray, " n"]


class _Subspace(NamedTuple):
    """The mean of the reference's patches, and principal components that explain what the SAE does of them."""

    mean: Float[Tensor, " d_in"]
    components: Float[Tensor, "q d_in"]


@checked(leave=("images", "reference", "labels", "reference_labels"))
@torch.no_grad()
def robustness(
    model: LiveModel,
    sae: SparseAutoencoder,
    images: Any,
    hook_point: str,
    *,
    reference: Any,
    labels: Shaped[Tensor, " n"] | None = None,
    reference_labels: Shaped[Tensor, " m"] | None = None,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    strengths: Sequence[float] = (0.2, 0.5, 0.8),
    n_bootstrap: Resamples = 200,
    seed: Seed = 0,
) -> Robustness:
    """Corrupt images and ask which score notices, and whether probes of codes outlast those of activations.

    Scores, larger for what is odd:

    - "error": the share of an image's activations, around the reference's mean, that the SAE leaves.
    - "firing": −Σ log P of which atoms fire, each by its own rate in the reference.
    - "pca error": the share that principal components leave, in the number that explains what the SAE does.
    - "mahalanobis": distance of the mean activation. "softmax": one minus the largest probability.

    Class and register tokens are left out. Probes are logistic regressions on means over patches.

    Parameters
    ----------
    images
        Clean images, in [0, 1], that are judged and corrupted.
    hook_point
        Hook point that the SAE reads.
    reference
        Other clean images: rates, mean, covariance and probes are learned from them alone.
    labels, reference_labels
        Labels for probes; without both there are none.
    corruptions, strengths
        As `corrupt` takes them.
    n_bootstrap, seed
        Resamples of the images for intervals; of the corruptions and resamples.

    Raises
    ------
    TypeError, ValueError: If the model reads text, the SAE is not of this place, there are fewer than ten
        images in a set, or labels do not match.

    Source
    ------
    Ours. The scores without an SAE: arXiv 1610.02136 (largest softmax) and, with one Gaussian for all classes,
    arXiv 1807.03888 (Mahalanobis).

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> images = sn.data.scenes(24).images
    >>> found = robustness(
    ...     model, sae, images[:12], "resid_post.6", reference=images[12:],
    ...     corruptions=["noise"], strengths=[1.0], n_bootstrap=0,
    ... )
    >>> bool(found.table["error"].iloc[0] > 0.9), found.probes is None
    (True, True)
    """
    if model.modality.is_text:
        raise ValueError(f"`model` must read images, {model.name} reads text. Use a vision model.")
    check_one_place(sae)
    kinds = [one_of(kind, CORRUPTIONS, name="corruptions") for kind in corruptions]
    levels = [between(check_real(s, name="strengths"), 0, 1, name="strengths") for s in strengths]
    if not kinds or not levels:
        raise ValueError("There must be a corruption and a strength at least, got none.")
    clean_images, others = _pictures(images), _pictures(reference)
    for name, some in (("images", clean_images), ("reference", others)):
        if len(some) < FEWEST_PER_SET:
            raise ValueError(
                f"`{name}` must be at least {FEWEST_PER_SET} images, got {len(some)}. Pass more."
            )
    truths = _labels(labels, reference_labels, len(clean_images), len(others))
    first = _rows(model, sae, others, hook_point)
    subspace = _subspace(first)

    def read(some: Tensor) -> _Read:
        return _read(_rows(model, sae, some, hook_point), subspace)

    learned = _Learned(_read(first, subspace), truths)
    n = len(clean_images)
    draws = np.concatenate([np.ones((1, n)), bootstrap_counts(n, n_bootstrap, seed)])
    clean = read(clean_images)
    own = learned.scores(clean)
    detection, probes = [], learned.judged(clean, draws, "clean", 0.0)
    for i, kind in enumerate(kinds):
        for s in levels:
            spoiled = read(corrupt(clean_images, kind, s, seed=seed + i))
            detection += _detected(own, learned.scores(spoiled), draws, kind, s)
            probes += learned.judged(spoiled, draws, kind, s)
    return Robustness(detection=_frame(detection), probes=_with_kept(_frame(probes)), n_images=n)


def _labels(
    labels: Any, reference_labels: Any, n: int, m: int
) -> tuple[np.ndarray, np.ndarray] | None:
    if (labels is None) != (reference_labels is None):
        raise ValueError("Probes need `labels` and `reference_labels`, got one of them. Pass both.")
    if labels is None:
        return None
    own, other = (np.asarray(torch.as_tensor(y).cpu()) for y in (labels, reference_labels))
    same_length(own, n, name="labels", per="image")
    same_length(other, m, name="reference_labels", per="image of `reference`")
    if len(np.unique(other)) < 2:
        raise ValueError(
            "`reference_labels` must hold two classes at least, got one. Pass more images."
        )
    return own, other


class _Rows(NamedTuple):
    """Patches of some images, the SAE's codes of them, and the model's answers."""

    x: Float[Tensor, "m d_in"]
    x_hat: Float[Tensor, "m d_in"]
    codes: csr_matrix
    sample: Tensor
    logits: Float[Tensor, "n outcomes"]


def _rows(model: LiveModel, sae: SparseAutoencoder, images: Tensor, hook_point: str) -> _Rows:
    acts: Any = capture(model, images, hook_point, drop_first=False, progress=False)
    acts = acts[acts.position >= model.prefix_tokens]
    codes = sae.encode(acts)
    x, x_hat = (part.double().cpu() for part in (acts.x, reconstruction(sae, codes, acts)))
    return _Rows(x, x_hat, codes.to_scipy(), acts.sample.cpu(), model(images).double().cpu())


def _subspace(rows: _Rows) -> _Subspace:
    mean = rows.x.mean(dim=0)
    _, s, v = torch.linalg.svd(rows.x - mean, full_matrices=False)
    left = (rows.x - rows.x_hat).square().sum() / (rows.x - mean).square().sum().clamp_min(1e-300)
    explained = s.square().cumsum(0) / s.square().sum().clamp_min(1e-300)
    n = int((explained < 1 - left).sum()) + 1
    # All of them would leave nothing of anything.
    return _Subspace(mean, v[: max(min(n, len(v) - 1), 1)])


def _read(rows: _Rows, subspace: _Subspace) -> _Read:
    pool = averages(rows.sample, len(rows.logits))
    centred = rows.x - subspace.mean
    outside = centred - centred @ subspace.components.T @ subspace.components
    whole, error, residual = (
        pool @ part.square().sum(dim=1).numpy() for part in (centred, rows.x - rows.x_hat, outside)
    )
    whole = np.maximum(whole, 1e-300)
    return _Read(
        codes=(pool @ rows.codes).tocsr(),
        fires=(pool @ abs(rows.codes) > 0).tocsr(),
        means=pool @ rows.x.numpy(),
        error=error / whole,
        residual=residual / whole,
        doubt=1 - rows.logits.softmax(dim=1).amax(dim=1).numpy(),
    )


class _Learned:
    """Statistics of clean images of the reference, and probes of their labels."""

    def __init__(self, read: _Read, truths: tuple[np.ndarray, np.ndarray] | None) -> None:
        n = len(read.error)
        self.rate = (np.asarray(read.fires.sum(axis=0)).ravel() + 0.5) / (n + 1)
        self.mean = read.means.mean(axis=0)
        spread = np.cov(read.means, rowvar=False).reshape(len(self.mean), -1)
        even = np.trace(spread) / len(spread) * np.eye(len(spread))
        self.precision = np.linalg.pinv((1 - _SHRINKAGE) * spread + _SHRINKAGE * even)
        self.truths, self.probes = truths, {}
        if truths is not None:
            # Codes stay sparse: they are scaled, not centred, and so are activations.
            probe = partial(logistic_probe, centred=False, inverse_penalty=0.1, max_iter=500)
            self.probes = {name: probe(_table(read, name), truths[1]) for name in READS}

    def scores(self, read: _Read) -> dict[str, Float[np.ndarray, " n"]]:
        """Return how odd each image is, by every score."""
        odds = np.log(self.rate) - np.log1p(-self.rate)
        away = read.means - self.mean
        return {
            "error": read.error,
            "pca error": read.residual,
            "firing": -(read.fires @ odds) - np.log1p(-self.rate).sum(),
            "mahalanobis": np.einsum("ni,ij,nj->n", away, self.precision, away),
            "softmax": read.doubt,
        }

    def judged(
        self, read: _Read, draws: Float[np.ndarray, "draws n"], kind: str, strength: float
    ) -> list[dict[str, Any]]:
        """Return accuracy of each probe."""
        if self.truths is None:
            return []
        truth, learned_from = self.truths
        floor = np.unique(learned_from, return_counts=True)
        common = float((truth == floor[0][floor[1].argmax()]).mean())
        rows = []
        for name, probe in self.probes.items():
            right = probe.predict(_table(read, name)) == truth
            rows.append(
                {"corruption": kind, "strength": strength, "reads": name}
                | _spread("accuracy", draws @ right / draws.sum(axis=1))
                | {"floor": common}
            )
        return rows


def _table(read: _Read, name: str) -> Any:
    return read.codes if name == "codes" else read.means


def _detected(
    clean: dict[str, np.ndarray],
    spoiled: dict[str, np.ndarray],
    draws: Float[np.ndarray, "draws n"],
    kind: str,
    strength: float,
) -> list[dict[str, Any]]:
    """AUROC of every score; an image and its corrupted copy are drawn together."""
    truth = np.repeat([False, True], draws.shape[1])
    weights = np.tile(draws, (1, 2))
    return [
        {"corruption": kind, "strength": strength, "score": score}
        | _spread("auroc", auroc(np.concatenate([clean[score], spoiled[score]]), truth, weights))
        for score in SCORES
    ]


def _spread(name: str, values: Float[np.ndarray, " draws"]) -> dict[str, float]:
    """The first value, and 95 % of the others."""
    low, high = percentile_interval(values[1:])
    return {name: float(values[0]), "low": low, "high": high}


def _frame(rows: list[dict[str, Any]]) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def _with_kept(probes: DataFrame) -> DataFrame | None:
    if not len(probes):
        return None
    clean = probes[probes["corruption"] == "clean"].set_index("reads")["accuracy"]
    kept = probes["accuracy"] / probes["reads"].map(clean).clip(lower=1e-12)
    return probes.assign(kept=kept)

"""Feature complexity: how late in depth a feature can be read off linearly, and whether the answer uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import check_one_place
from sae_nb.capturing import capture
from sae_nb.checks import (
    Between,
    Resamples,
    Seed,
    check_atom,
    check_integers,
    check_matrix,
    checked,
    same_length,
)
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.statistics import (
    bootstrap_counts,
    bootstrap_interval,
    percentile_intervals,
    rank_correlation,
)

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

MOST_ATOMS = 100
"""Number of atoms measured unless they are named: those that fire in the most images."""


class FeatureComplexity(Plotted):
    """K = 1 − mean over layers of held-out R²: 0 where the first layer has the feature, 1 where none has."""

    HEADLINE = (
        "{atoms.len} features over {layers.len} layers, mean {complexity.nanmean:.3f}, random "
        "{random:.3f}, shuffled {shuffled:.3f}"
    )

    atoms: tuple[int, ...]
    layers: tuple[str, ...]
    r2: Float[np.ndarray, "layers features"]
    """Of ridge regressions from each layer, on held-out samples, at least 0; NaN: the feature is constant."""

    complexity: Float[np.ndarray, " features"]
    interval: Float[np.ndarray, "features 2"]
    """95 % over resamples of the held-out samples."""

    shuffled: float
    """Mean complexity of the same features of other samples: near 1, what finds nothing reaches."""

    random: float
    """Mean complexity of random directions that fire as often as the atoms; NaN where there are none."""

    importance: Float[np.ndarray, " features"]
    """Mean |gradient × strength| on the likeliest logit; NaN where it was not measured."""

    n_bootstrap: int
    seed: int

    @property
    def relation(self) -> dict[str, float]:
        """Spearman correlation of complexity and importance over features, with its 95 % interval."""
        known = np.isfinite(self.complexity) & np.isfinite(self.importance)
        k, g = self.complexity[known], self.importance[known]
        if len(k) < 3:
            return {"spearman": np.nan, "low": np.nan, "high": np.nan, "n": len(k)}
        low, high = bootstrap_interval(
            (k, g), rank_correlation, n_resamples=self.n_bootstrap, seed=self.seed
        )
        return {"spearman": rank_correlation(k, g), "low": low, "high": high, "n": len(k)}

    @property
    def table(self) -> pd.DataFrame:
        """One row per feature, the most complex first."""
        import pandas as pd

        columns = {
            "complexity": self.complexity,
            "low": self.interval[:, 0],
            "high": self.interval[:, 1],
            "importance": self.importance,
        }
        frame = pd.DataFrame(columns, index=pd.Index(self.atoms, name="atom"))
        return frame.sort_values("complexity", ascending=False, kind="stable")

    @property
    def chart(self) -> Chart:
        """Complexity against importance, a point per feature."""
        names = tuple(f"atom {i}" for i in self.atoms)
        series = (Points("atoms", self.complexity, self.importance, text=names),)
        return Chart(series=series, x="complexity", y="importance", marks=True)

    def plot_layers(self, n: int = 4) -> Any:
        """Draw R² over layers for features from the simplest to the most complex."""
        from sae_nb.figures import category_style, framed, line

        known = np.flatnonzero(np.isfinite(self.complexity))
        order = known[np.argsort(self.complexity[known], kind="stable")]
        traces = []
        for i, place in enumerate(np.linspace(0, len(order) - 1, min(n, len(order))).round()):
            colour, symbol = category_style(i)
            chosen = order[int(place)]
            name = f"atom {self.atoms[chosen]}"
            traces.append(line(name, self.layers, self.r2[:, chosen], colour=colour, symbol=symbol))
        return framed(traces, x="layer", y="held-out R²", height=300)


@checked
@torch.no_grad()
def complexity_of(
    layers: Sequence[Float[Tensor, "n d"]],
    features: Float[Tensor, "n c"],
    *,
    groups: Int[Tensor, " n"] | None = None,
    held_out: Annotated[float, Between(0, 1, "()")] = 0.3,
    ridge: Annotated[float, Between(0, 1, "(]")] = 1e-3,
    n_bootstrap: Resamples = 200,
    seed: Seed = 0,
) -> FeatureComplexity:
    """Measure how complex features are, given the states that they are computed from.

    K(z) = 1 − (1/L) Σ_l R²_l, R²_l of a ridge regression from layer l to z on held-out samples, at least 0. One
    Cholesky factor per layer serves all features.

    Parameters
    ----------
    layers
        States of each layer before the features', first to last, rows aligned with those of `features`.
    features
        Quantities to be read, a column each.
    groups
        Sample of each row, so that none is on both sides; None: every row is a sample.
    held_out
        Share of the samples that R² is measured on.
    ridge
        Penalty, in units of the mean variance of a layer's columns.
    n_bootstrap, seed
        Resamples of the held-out samples for the intervals; of the split, the shuffle and the resamples.

    Raises
    ------
    ValueError: If lengths differ, there are fewer than four samples, or numbers are not finite.

    Source
    ------
    "Understanding Visual Feature Reliance through the Lens of Complexity", arXiv 2407.06076: V-information
    with linear-Gaussian decoders, which for standardised z is R². Held-out and clipped is ours.

    Example
    -------
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> late = torch.stack([x[:, 0], x[:, 0] * x[:, 1]], dim=1)
    >>> complexity_of([x, torch.cat([x, late], dim=1)], late).complexity.round(1).tolist()
    [0.0, 0.5]
    """
    if len(layers) == 0:
        raise ValueError("`layers` must hold at least one layer's states, got none.")
    z = check_matrix(features, name="features").double().cpu()
    states = [check_matrix(x, name="layers").double().cpu() for x in layers]
    for x in states:
        same_length(x, len(z), name="layers", per="row of `features`")
    of = torch.arange(len(z)) if groups is None else groups.cpu()
    same_length(of, len(z), name="groups", per="row of `features`")
    samples, of = torch.unique(of, return_inverse=True)
    if len(samples) < 4:
        raise ValueError(
            f"`features` must be of at least 4 samples, got {len(samples)}. Pass more."
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)
    n_test = min(max(round(held_out * len(samples)), 2), len(samples) - 2)
    place = torch.full((len(samples),), -1)
    place[order[:n_test]] = torch.arange(n_test)
    test = place[of]  # which held-out sample a row is of; −1: one to learn from
    # Rows of other samples, as the same features would be if they had nothing to do with these states.
    rows = torch.cat((z, z[torch.randperm(len(z), generator=generator)]), dim=1)
    errors, total = zip(*(_errors(x, rows, test, n_test, ridge) for x in states), strict=True)
    c = z.shape[1]
    counts = np.concatenate([np.ones((1, n_test)), bootstrap_counts(n_test, n_bootstrap, seed)])
    r2 = np.stack(
        [_r2(e, t, counts) for e, t in zip(errors, total, strict=True)]
    )  # (layers, draws, 2c)
    k = 1 - r2.mean(axis=0)
    return FeatureComplexity(
        atoms=tuple(range(c)),
        layers=tuple(str(i) for i in range(len(states))),
        r2=r2[:, 0, :c],
        complexity=k[0, :c],
        interval=percentile_intervals(k[1:, :c]).T,
        shuffled=_mean(k[0, c:]),
        random=float("nan"),
        importance=np.full(c, np.nan),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def _errors(
    x: Tensor, z: Tensor, test: Tensor, n_test: int, ridge: float
) -> tuple[Float[np.ndarray, "n_test c"], Float[np.ndarray, "n_test c"]]:
    """Squared errors, and squared distances from the mean, of each held-out sample."""
    learn = test < 0
    mean, target = x[learn].mean(dim=0), z[learn].mean(dim=0)
    a, b = x[learn] - mean, z[learn] - target
    gram = a.T @ a
    guard = ridge * gram.diagonal().mean().clamp_min(1e-12)
    factor = torch.linalg.cholesky(gram + guard * torch.eye(len(gram), dtype=gram.dtype))
    weight = torch.cholesky_solve(a.T @ b, factor)
    held = z[~learn]
    wrong = held - target - (x[~learn] - mean) @ weight
    by_sample = torch.zeros(2, n_test, z.shape[1], dtype=z.dtype)
    by_sample[0].index_add_(0, test[~learn], wrong.square())
    by_sample[1].index_add_(0, test[~learn], (held - held.mean(dim=0)).square())
    return by_sample[0].numpy(), by_sample[1].numpy()


def _r2(errors: np.ndarray, total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """R² ≥ 0 in each resample; NaN where nothing varies."""
    above, below = counts @ errors, counts @ total
    ratio = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 1e-12)
    return np.clip(1 - ratio, 0, None)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


@checked(leave=("atoms",))
@torch.no_grad()
def feature_complexity(
    model: LiveModel,
    sae: SparseAutoencoder,
    images: Any,
    hook_point: str,
    *,
    atoms: Sequence[int] | None = None,
    layers: Sequence[str] | None = None,
    n_bootstrap: Resamples = 200,
    seed: Seed = 0,
) -> FeatureComplexity:
    """Measure how late in depth each atom can be read off linearly, and how much the answer uses it.

    States and codes are averaged over all tokens of an image. Importance is the mean over images of
    |Σ_t z_t ⟨∂y/∂x_t, d⟩|, y the logit of the likeliest class.

    Parameters
    ----------
    images
        As the model reads them: some hundreds, more than the model is wide.
    hook_point
        Hook point that the SAE reads.
    atoms
        Atoms to measure; None: the 100 that fire in the most images.
    layers
        Hook points that are read from, first to last; None: the embedding and every block before.
    n_bootstrap, seed
        As in `complexity_of`.

    Returns
    -------
    FeatureComplexity
        `.complexity`, `.r2`, `.importance`, `.relation` between both, `.table`, `.plot()`.

    Raises
    ------
    TypeError, ValueError: If the model reads text, nothing lies before the hook point, or no atom fires.

    Source
    ------
    As `complexity_of`; the random directions are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> images = sn.data.scenes(12).images
    >>> found = feature_complexity(model, sae, images, "resid_post.6", atoms=[2, 3], n_bootstrap=0)
    >>> found.layers[0], found.r2.shape
    ('embed', (7, 2))
    """
    if model.modality.is_text:
        raise ValueError(f"`model` must read images, {model.name} reads text. See complexity_of.")
    check_one_place(sae)
    before = _layers_before(model, hook_point, layers)
    chosen = (
        None
        if atoms is None
        else [check_atom(i, sae.n_atoms, name="atoms") for i in check_integers(atoms, name="atoms")]
    )
    # A dict, because there are two points at least.
    read: Any = capture(
        model,
        images,
        [*before, hook_point],
        gradient_of=lambda answers: answers.flatten(1).amax(dim=1).sum(),
        drop_first=False,
        progress=False,
    )
    here = read[hook_point]
    codes = sae.encode(here).to_scipy().tocsc()
    sample = here.sample.cpu()
    n = int(sample.max()) + 1
    pool = averages(sample, n)
    if chosen is None:
        chosen = _most_frequent(abs(pool) @ abs(codes) > 0)
    if not chosen:
        raise ValueError(
            "`sae` must have an atom that fires on `images`, got none. Pass more images."
        )
    some = codes[:, chosen]
    z = torch.from_numpy((pool @ some).toarray())
    generator = torch.Generator().manual_seed(seed)
    rates = torch.from_numpy(np.asarray((some != 0).mean(axis=0)).ravel())
    random = torch.from_numpy(pool @ _random_features(here.x, rates, generator).numpy())
    states = [torch.from_numpy(pool @ read[name].x.cpu().double().numpy()) for name in before]
    both = complexity_of(
        states, torch.cat((z, random), dim=1).double(), n_bootstrap=n_bootstrap, seed=seed
    )
    c = len(chosen)
    return FeatureComplexity(
        atoms=tuple(chosen),
        layers=tuple(before),
        r2=both.r2[:, :c],
        complexity=both.complexity[:c],
        interval=both.interval[:c],
        shuffled=both.shuffled,
        random=_mean(both.complexity[c:]),
        importance=_importance(here.gradient, some, sae.dictionary[chosen], pool),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def _layers_before(model: LiveModel, hook_point: str, layers: Sequence[str] | None) -> list[str]:
    """The hook points that are read, all of them before this one."""
    point = model.hook_point(hook_point)
    before = _before(model, point) if layers is None else [str(model.hook_point(n)) for n in layers]
    if not before:
        raise ValueError(
            f"`hook_point` must lie behind some layer, and nothing is known before {hook_point!r}. Pass "
            "layers=."
        )
    if hook_point in before:
        raise ValueError(
            f"`layers` must lie before {hook_point!r}, got it among them. Leave it out."
        )
    return before


def _most_frequent(fires: Any) -> list[int]:
    """The atoms that fire on the most images, of a sparse table (images, n_atoms)."""
    n_images = np.asarray(fires.sum(axis=0)).ravel()
    order = np.argsort(-n_images, kind="stable")[:MOST_ATOMS].tolist()
    return [i for i in order if n_images[i] > 0]


def _importance(
    gradient: Any, codes: Any, dictionary: Float[Tensor, "c d_in"], pool: Any
) -> Float[np.ndarray, " c"]:
    """Mean over images of |Σ gradient · atom × code|, the sum over an image's places."""
    pull = gradient.cpu().double() @ dictionary.cpu().double().T
    effect = np.asarray((pool @ codes.multiply(pull.numpy())).toarray())
    places = np.asarray((pool != 0).sum(axis=1)).reshape(-1, 1)
    return np.asarray(np.abs(effect * places).mean(axis=0))


def _before(model: LiveModel, point: Any) -> list[str]:
    """The embedding and the output of every block before a hook point's."""
    points = model.hook_points()
    if point.layer is None:
        return []
    first = [str(p) for p in points if p == "embed"]
    return first + [str(p) for p in points if p.kind == "resid_post" and p.layer < point.layer]


def averages(sample: Tensor, n: int) -> Any:
    """(n, rows) sparse: the mean over each sample's rows."""
    from scipy.sparse import csr_matrix

    of = sample.numpy()
    size = np.bincount(of, minlength=n)
    return csr_matrix((1 / size[of], (of, np.arange(len(of)))), shape=(n, len(of)))


def _random_features(x: Tensor, rates: Tensor, generator: torch.Generator) -> Tensor:
    """Random directions, rectified so that they fire as often as atoms do."""
    x = x.cpu().double()
    drawn = torch.randn(x.shape[1], len(rates), generator=generator, dtype=torch.float64)
    score = x @ drawn
    rank = ((1 - rates) * (len(x) - 1)).long().clamp(0, len(x) - 1)
    level = score.sort(dim=0).values.gather(0, rank[None])
    return (score - level).clamp_min(0)

"""Insertion, deletion and μFidelity of pixel attributions, under several baselines, none of which is right.

The order of attributions by such a score depends on what removed pixels are replaced with; a baseline that
removes information makes images that the model never saw. So every score is given under every baseline, with
both of the baseline's own numbers, and how far the scores agree on which attribution is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Resamples, Seed, as_tensor, at_least, check_finite, checked, one_of
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.models import run
from sae_nb.statistics import bootstrap_counts, percentile_interval, rank_correlation
from sae_nb_studies.vision._curves import area, walk
from sae_nb_studies.vision._fillers import Baseline, Filling, filling, visualised
from sae_nb_studies.vision._pixels import AT_ONCE, PixelHead, Pixels

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.models import LiveModel

METRICS = ("insertion", "deletion", "mu")
GRID, SUBSET = 9, 0.2
"""Cells along a side, and the share of them that μFidelity takes away at a time. As xplique has it."""

RANDOM = "random"


class PixelFidelity(Plotted):
    """Scores of attributions by metric and baseline, what each baseline does, and how the scores agree."""

    maps: tuple[str, ...]
    """Attributions by name; the last, "random", is the floor."""

    baselines: tuple[str, ...]
    scores: Float[np.ndarray, "metrics baselines maps n"]
    """Higher is better: area of insertion, minus the area of deletion, μFidelity; of every image."""

    insertion: Float[np.ndarray, "baselines maps steps"]
    deletion: Float[np.ndarray, "baselines maps steps"]
    """Mean logit as pixels come in, or go, the most important first."""

    left: Float[np.ndarray, " baselines"]
    """Σ over classes of sigmoid(logit), mean along a random deletion: lower, more information is removed."""

    certain: Float[np.ndarray, " baselines"]
    """1 − entropy of the answer to the same images over the greatest: 0 where all is removed. Ours."""

    unusual: Float[np.ndarray, " baselines"]
    """Distance of those images to the nearest natural one, as a multiple of that between natural ones."""

    made: Float[Tensor, "channels h w"] | None
    """The image of the baseline "visualised", in [0, 1]; None without it."""

    n_bootstrap: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """A row per metric, baseline and attribution: score with its interval, and what a random one has."""
        import pandas as pd

        counts = bootstrap_counts(self.scores.shape[-1], self.n_bootstrap, self.seed)
        rows = []
        for i, metric in enumerate(METRICS):
            for j, baseline in enumerate(self.baselines):
                for k, name in enumerate(self.maps):
                    mine = self.scores[i, j, k]
                    low, high = percentile_interval(counts @ mine / len(mine))
                    random = float(self.scores[i, j, -1].mean())
                    rows.append((metric, baseline, name, float(mine.mean()), low, high, random))
        columns = ["metric", "baseline", "map", "score", "low", "high", "simpler"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def of_baselines(self) -> pd.DataFrame:
        """A row per baseline: what it leaves of the answer, and how unusual its images are to the model."""
        import pandas as pd

        index = pd.Index(self.baselines, name="baseline")
        axes = {"left": self.left, "certain": self.certain, "unusual": self.unusual}
        return pd.DataFrame(axes, index=index)

    @property
    def agreement(self) -> pd.DataFrame:
        """Spearman correlation between the orders that two scores give the attributions, mean over images.

        The random one is left out; NaN with fewer than two others.
        """
        import pandas as pd

        names = [f"{m}, {b}" for m in METRICS for b in self.baselines]
        # (scores, images, attributions)
        flat = self.scores[:, :, :-1].reshape(len(names), len(self.maps) - 1, -1).transpose(0, 2, 1)
        matrix = np.full((len(names), len(names)), np.nan)
        if flat.shape[2] >= 2:
            for i, one in enumerate(flat):
                for j, other in enumerate(flat):
                    each = [rank_correlation(a, b) for a, b in zip(one, other, strict=True)]
                    known = [value for value in each if np.isfinite(value)]
                    matrix[i, j] = np.mean(known) if known else np.nan
        return pd.DataFrame(matrix, index=names, columns=names)

    @property
    def chart(self) -> Chart:
        """Answer that each baseline leaves, against how unusual its images are."""
        series = tuple(
            Points(name, [unusual], [left])
            for name, unusual, left in zip(self.baselines, self.unusual, self.left, strict=True)
        )
        return Chart(
            series=series, x="unusual to the model (natural: 1)", y="answer left", marks=True
        )

    def plot_curves(self, baseline: str) -> Any:
        """Draw insertion (solid) and deletion (dotted) of every attribution under one baseline."""
        from sae_nb.figures import category_style, framed, line, theme

        at = self.baselines.index(one_of(baseline, self.baselines, name="baseline"))
        share = np.linspace(0, 1, self.insertion.shape[2])
        traces = []
        for i, name in enumerate(self.maps):
            colour, _ = category_style(i)
            colour = theme.CONTROL if name == RANDOM else colour
            traces.append(line(f"{name}, insertion", share, self.insertion[at, i], colour=colour))
            traces.append(
                line(f"{name}, deletion", share, self.deletion[at, i], colour=colour, dash="dot")
            )
        return framed(traces, x="share of pixels", y="logit", height=320)

    @property
    def headline(self) -> str:
        """Maps and baselines compared, and the agreement of their orders."""
        values = self.agreement.to_numpy()
        off = values[~np.eye(len(values), dtype=bool)]
        agree = float(np.nanmean(off)) if np.isfinite(off).any() else float("nan")
        said = f"{', '.join(self.maps)}; {', '.join(self.baselines)}"
        return f"{said}; orders agree by {agree:.2f}"


@checked(leave=("maps", "outcome"))
@torch.no_grad()
def pixel_fidelity(
    model: LiveModel,
    images: Any,
    maps: Mapping[str, Float[Tensor, "n rows columns"]],
    *,
    outcome: int | Sequence[int] | None = None,
    baselines: Sequence[str] = ("zero", "mean", "blur", "noise", "inpaint"),
    features: str | None = None,
    n_steps: Count = 10,
    n_masks: Annotated[int, at_least(3)] = 64,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> PixelFidelity:
    """Measure attributions of pixels by insertion, deletion and μFidelity, under several baselines.

    Insertion starts at the baseline and brings in the most important pixels first; deletion takes them away.
    μFidelity is the Spearman correlation, over random sets of cells, between the attribution in a set and the
    logit lost without it.

    Parameters
    ----------
    images
        As the model reads them, of one size.
    maps
        Attributions by name, one number per pixel, or per cell of a coarser grid that divides the image.
    outcome
        Logit to explain, for all or for each image; None: of each image the one that the model finds
        likeliest.
    baselines
        Of "zero", "mean" (colour), "blur", "noise", "inpaint" (ROAD's noisy linear imputation), "visualised"
        (one image, made by feature visualisation so that the model's features are faint) and "random phase"
        (what that one begins with, its control).
    features
        Hook point between whose mean states images are compared, and whose mean state "visualised" makes
        faint; None: after the last block, or the answer.
    n_steps
        Steps of insertion and deletion.
    n_masks
        Random sets of μFidelity.
    n_bootstrap, seed
        Resamples of images for intervals; of everything drawn.

    Returns
    -------
    PixelFidelity
        `.table`, `.of_baselines` (axes of each baseline), `.agreement`, `.plot()`, `.plot_curves()`.

    Raises
    ------
    TypeError, ValueError: If the model reads no images or gives no row of logits, sizes of images differ, a
        map is not of these images, or a baseline is unknown.

    Source
    ------
    Petsiuk et al., "RISE", arXiv 1806.07421; μFidelity: arXiv 2005.00631; ROAD: arXiv 2202.00449; settings as
    in xplique. Both axes of a baseline and the agreement of orders after "Back to the baseline" (its
    README), as is the image "visualised": its notebooks take the phases and magnitudes of a spectrum down the
    gradient of mean |feature| before the answer; crops and steps are those of `maximise`. Distances as
    multiples of natural ones, certainty, the random map and Jacobi's sweeps are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, images = sn.load_model("tiny-vit"), sn.data.scenes(2).images
    >>> maps = {"bright": images.mean(dim=1), "dark": -images.mean(dim=1)}
    >>> found = pixel_fidelity(model, images, maps, baselines=["zero"], n_steps=2, n_masks=4)
    >>> found.maps, found.scores.shape
    (('bright', 'dark', 'random'), (3, 1, 3, 2))
    """
    names = [one_of(b, get_args(Baseline), name="baselines") for b in baselines]
    if not names:
        raise ValueError("`baselines` must name at least one, got none. Leave it out for all.")
    pixels = Pixels.of(model, images)
    x = pixels.x.clamp(0, 1)
    generator = torch.Generator().manual_seed(seed)
    drawn = _checked_maps(maps, x)
    drawn[RANDOM] = torch.rand(len(x), x[0, 0].numel(), generator=generator)
    head = PixelHead(pixels, x, outcome)
    sets = _sets(n_masks, x, generator)
    point = features or _last(model)
    natural = _states(pixels, x, point)
    parts, made = [], None
    for name in names:
        fill = _fill(pixels, x, name, point, generator)
        if name == "visualised":
            made = fill[0].reshape(x.shape[1:])  # type: ignore[index]
        parts.append(_under(head, x, fill, drawn, sets, n_steps, (point, natural)))
    scores, curves, axes = zip(*parts, strict=True)
    left, certain, unusual = np.array(axes).T
    both = np.stack(curves)  # (baselines, maps, 2, steps)
    return PixelFidelity(
        maps=tuple(drawn),
        baselines=tuple(names),
        scores=np.stack(scores, axis=1),
        insertion=both[:, :, 0],
        deletion=both[:, :, 1],
        left=left,
        certain=certain,
        unusual=unusual,
        made=made,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def _fill(
    pixels: Pixels, x: Tensor, name: Baseline, point: str | None, generator: torch.Generator
) -> Filling:
    """Replacement of pixels; of the model's own making if it is "visualised"."""
    if name != "visualised":
        return filling(x, name, generator)
    made, _ = visualised(x, lambda some: _mean_states(pixels, some, point, grad=True), generator)
    return made.expand_as(x).flatten(2)


def _checked_maps(maps: Any, x: Tensor) -> dict[str, Float[Tensor, "n pixels"]]:
    """Attributions at the size of the images, flat."""
    if not isinstance(maps, Mapping) or not maps:
        raise TypeError(
            f"`maps` must be attributions by name, {{name: (n, rows, columns)}}, got {type(maps).__name__}."
        )
    if RANDOM in maps:
        raise ValueError(f'`maps` must not use the name "{RANDOM}", which is the floor. Rename it.')
    found = {}
    for name, given in maps.items():
        tensor = as_tensor(given, name=f"maps[{name!r}]").detach().float().cpu()
        size = tuple(x.shape[2:])
        fits = tensor.ndim == 3 and len(tensor) == len(x)
        if not fits or any(s % max(t, 1) or not t for s, t in zip(size, tensor.shape[1:])):
            raise ValueError(
                f"`maps[{name!r}]` must have one number per pixel of {len(x)} images, ({len(x)}, {size[0]}, "
                f"{size[1]}), or per cell of a grid that divides them, got {tuple(tensor.shape)}."
            )
        check_finite(tensor.flatten(1), name=f"maps[{name!r}]")
        for axis in (0, 1):
            tensor = tensor.repeat_interleave(size[axis] // tensor.shape[axis + 1], dim=axis + 1)
        found[str(name)] = tensor.flatten(1)
    return found


def _last(model: LiveModel) -> str | None:
    return f"resid_post.{model.n_layers - 1}" if model.n_layers else None


def _states(pixels: Pixels, x: Tensor, point: str | None) -> Float[Tensor, "n d"]:
    """Mean states of images at a hook point, or the answers."""
    parts = [_mean_states(pixels, some, point) for some in torch.split(x, AT_ONCE)]
    return torch.cat(parts).float().cpu()


def _mean_states(
    pixels: Pixels, x: Tensor, point: str | None, *, grad: bool = False
) -> Float[Tensor, "n d"]:
    """Of images of one pass; `grad` keeps the way back to them."""
    if point is None:
        return pixels.answers(x, grad=grad)
    ran = run(pixels.model, pixels.batch(x), read=point, grad=grad, answer=False)
    return ran.states[point].mean(dim=1)


def _sets(n_masks: int, x: Tensor, generator: torch.Generator) -> Float[Tensor, "masks pixels"]:
    """Random sets of cells as pixels: 1 where one is taken away."""
    cells = torch.zeros(n_masks, GRID * GRID)
    order = torch.rand(n_masks, GRID * GRID, generator=generator).argsort(dim=1)
    cells.scatter_(1, order[:, : round(SUBSET * GRID * GRID)], 1.0)
    rows, columns = (torch.arange(s) * GRID // s for s in x.shape[2:])
    return cells.view(-1, GRID, GRID)[:, rows][:, :, columns].flatten(1)


def _under(
    head: PixelHead,
    x: Tensor,
    fill: Filling,
    maps: Mapping[str, Float[Tensor, "n pixels"]],
    sets: Float[Tensor, "masks pixels"],
    n_steps: int,
    bank: tuple[str | None, Tensor],
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Scores (metrics, maps, n), curves (maps, 2, steps), and the axes of one baseline."""
    codes = x.flatten(2)
    counts = torch.linspace(0, codes.shape[2], n_steps + 1).round().long()
    kept = (sets == 0)[None, :, None].expand(len(x), -1, 1, -1)
    put = fill(kept) if callable(fill) else fill[:, None]
    drop = head.clean[:, None] - head(torch.where(kept, codes[:, None], put))
    scores, curves = [], []
    for one in maps.values():
        order = one.argsort(dim=1, descending=True, stable=True)
        both = walk(head, codes, fill, order, counts)
        mu = [
            rank_correlation(a.numpy(), b.numpy()) for a, b in zip(one @ sets.T, drop, strict=True)
        ]
        scores.append([area(both[0]), -area(both[1]), np.nan_to_num(mu)])
        curves.append(both.mean(axis=1))
    axes = _axes(head, codes, fill, maps[RANDOM], counts, bank)
    return np.array(scores).transpose(1, 0, 2), np.stack(curves), axes


def _axes(
    head: PixelHead,
    codes: Tensor,
    fill: Filling,
    order: Float[Tensor, "n pixels"],
    counts: Int[Tensor, " steps"],
    bank: tuple[str | None, Tensor],
) -> tuple[float, float, float]:
    """Return how much of the answer, and how sure a one, random deletions leave, and how unusual they are."""
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)
    kept = (rank[:, None] >= counts[1:, None])[:, :, None]  # something is missing in each
    put = fill(kept) if callable(fill) else fill[:, None]
    variants = torch.where(kept, codes[:, None], put)
    logits = head.logits(variants)
    left = float(logits.sigmoid().sum(dim=2).mean())
    shares = logits.softmax(dim=2)
    entropy = float(torch.special.entr(shares).sum(dim=2).mean())
    certain = 1 - entropy / max(float(np.log(shares.shape[2])), 1e-12)
    point, natural = bank
    apart = torch.cdist(natural, natural).fill_diagonal_(torch.inf).amin(dim=1)
    seen = _states(head._pixels, head.images(variants), point)
    away = torch.cdist(seen, natural).amin(dim=1)
    usual = float(apart[apart.isfinite()].mean()) if len(natural) > 1 else float("nan")
    unusual = float(away.mean()) / max(usual, 1e-12) if np.isfinite(usual) else float("nan")
    return left, certain, unusual

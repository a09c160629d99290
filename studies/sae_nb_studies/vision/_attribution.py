"""The pixels a model's answer depends on, by masks or by gradients, and whether another training agrees.

Sobol and occlusion fade regions of a grid to a baseline and need no gradient; the others follow the gradient of
one logit back to the pixels. All are a few lines here, so that masks, baselines and units are one for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sae_nb.checks import Count, Resamples, Seed, as_tensor, at_least, check_count, checked
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted
from sae_nb.statistics import bootstrap_counts, percentile_interval, rank_correlation
from sae_nb_studies.vision._fillers import filling
from sae_nb_studies.vision._pixels import AT_ONCE, PixelHead, Pixels
from sae_nb_studies.vision._sobol import sobol

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.models import LiveModel

Method = Literal["sobol", "occlusion", "gradient", "integrated", "smooth"]
Baseline = Literal["zero", "mean", "blur", "noise"]
"""Of those of `pixel_fidelity`, the ones that do not depend on what is kept."""

CELLS = 8
"""Regions along a side at most, where the model has no patches."""

NOISE = 0.1
"""Sd of SmoothGrad's noise, of the range of a pixel; the paper has 0.1 to 0.2."""

TOP = 0.1
"""Share of the cells whose attribution `table` adds up."""


class PixelAttribution(Finding):
    """Maps of the places in each image that are evidence for one outcome; made by `attribution`."""

    maps: Float[Tensor, "n rows columns"]
    """One number per region ("sobol", "occlusion") or per pixel; "occlusion" and "integrated" are signed."""

    method: Method
    images: Float[Tensor, "n channels height width"]
    """In [0, 1]."""

    logits: Float[Tensor, "n outcomes"]
    outcomes: Int[Tensor, " n"]
    """The model's answer to each image, and which of its logits the map explains."""

    model_name: str
    outcome_names: tuple[str, ...]
    n_runs: int
    """Passes through the model for each image, forward, or forward and back."""

    @checked
    def on_grid(self, rows: int, columns: int) -> Float[Tensor, "n rows columns"]:
        """Return means over the cells of a coarser grid, such as a model's patches."""
        check_count(rows, name="rows", at_most=self.maps.shape[1])
        check_count(columns, name="columns", at_most=self.maps.shape[2])
        return adaptive_avg_pool2d(self.maps, (rows, columns))

    @property
    def table(self) -> pd.DataFrame:
        """One row per image; `edges` and `centre` are what maps that know no model would say.

        `logit` is that of the outcome; `top` the share of |attribution| in the strongest tenth of the cells;
        `edges` and `centre` the rank correlation of the map with how much neighbouring pixels differ, and with
        closeness to the middle.
        """
        import pandas as pd

        rows, columns = self.maps.shape[1:]
        flat = self.maps.flatten(1).abs()
        strongest = flat.topk(max(round(TOP * flat.shape[1]), 1), dim=1).values.sum(dim=1)
        edges = adaptive_avg_pool2d(edges_of(self.images), (rows, columns)).flatten(1).numpy()
        centre = _centre(rows, columns).flatten().numpy()
        maps = self.maps.flatten(1).numpy()
        data = {
            "outcome": [self.outcome_names[i] for i in self.outcomes.tolist()],
            "logit": self.logits.gather(1, self.outcomes[:, None])[:, 0].tolist(),
            "top": (strongest / flat.sum(dim=1).clamp_min(1e-12)).tolist(),
            "edges": [rank_correlation(a, b) for a, b in zip(maps, edges, strict=True)],
            "centre": [rank_correlation(a, centre) for a in maps],
        }
        return pd.DataFrame(data).rename_axis("image")

    @checked
    def plot(
        self,
        image: int = 0,
        *,
        concepts: Float[Tensor, "n n_concepts rows columns"] | None = None,
        n: Count = 3,
    ) -> Any:
        """Draw an image and its map; next to them the n strongest maps of `concepts`, such as
        `Craft.heatmaps`.

        Raises
        ------
        ValueError: If there is no such image, or the maps of concepts are of other images.
        """
        from sae_nb.figures import image_and_maps

        i = check_count(image, name="image", at_least=0, at_most=len(self.maps) - 1)
        drawn: dict[str, np.ndarray] = {self.method: self.maps[i].numpy()}
        if concepts is not None:
            heat = as_tensor(concepts, name="concepts").detach().float().cpu()
            if heat.ndim != 4 or len(heat) != len(self.maps):
                raise ValueError(
                    f"`concepts` must have maps of the same {len(self.maps)} images, (n, n_concepts, rows, "
                    f"columns), got {tuple(heat.shape)}. Use craft(…).heatmaps."
                )
            order = heat[i].sum(dim=(1, 2)).argsort(descending=True, stable=True)[:n]
            drawn |= {f"concept {j}": heat[i, j].numpy() for j in order.tolist()}
        title = f"image {i}: {self.outcome_names[int(self.outcomes[i])]}"
        return image_and_maps((title, self.images[i]), drawn)

    @property
    def headline(self) -> str:
        """Method, images, size of the maps, runs."""
        n, rows, columns = self.maps.shape
        return (
            f"{self.method}: {n} images of {self.model_name}, {rows} × {columns}; "
            f"{self.n_runs} runs an image"
        )


@checked(leave=("outcome",))
@torch.no_grad()
def attribution(
    model: LiveModel,
    image: Any,
    method: Method = "sobol",
    *,
    outcome: int | Sequence[int] | None = None,
    grid: tuple[int, int] | None = None,
    baseline: Baseline = "mean",
    n_designs: Annotated[int, at_least(2)] = 32,
    n_steps: Count = 32,
    seed: Seed = 0,
) -> PixelAttribution:
    """Map which parts of images a logit depends on.

    "sobol": total Sobol index of each region of a grid, x ⊙ m + b ⊙ (1 − m) under masks m of `sobol`'s design.
    "occlusion": the logit lost when a region alone is replaced with the baseline. "gradient": max over
    channels of |∂y/∂x|. "integrated": Σ over channels of (x − b) ⊙ ∂y/∂x, averaged from the baseline b to x;
    the map adds up to y(x) − y(b). "smooth": as "gradient", of ∂y/∂x averaged over images with noise.

    Parameters
    ----------
    image
        One image or several of one size, as the model reads them.
    outcome
        Logit to explain, for all or for each image; None: of each image the one that the model finds
        likeliest.
    grid
        Rows and columns of regions of "sobol" and "occlusion", which divide the image; None: as the model's
        patches.
    baseline
        Replacement of a region: black, the mean colour of all images, an image of coarse means, or even
        noise.
    n_designs
        Of "sobol", which runs the model n_designs × (regions + 2) times for each image.
    n_steps
        Points of "integrated", noisy copies of "smooth".
    seed
        Of masks and noise.

    Returns
    -------
    PixelAttribution
        `.maps` for `pixel_fidelity`, `.table` with what simpler maps say, `.plot(concepts=…)`.

    Raises
    ------
    TypeError, ValueError: If the model reads no images, gives no row of logits or no gradient, sizes of images
        differ, or the grid does not divide them.

    Source
    ------
    Sobol: "Look at the variance!", arXiv 2111.04138; regions as large as patches, and the estimator of `sobol`,
    are ours. Occlusion: arXiv 1311.2901. Gradient: arXiv 1312.6034. Integrated gradients: arXiv 1703.01365,
    here at midpoints. SmoothGrad: arXiv 1706.03825.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, images = sn.load_model("tiny-vit"), sn.data.scenes(2).images
    >>> found = attribution(model, images, "occlusion")
    >>> found.maps.shape, found.n_runs
    (torch.Size([2, 8, 8]), 65)
    """
    single = isinstance(image, Tensor | np.ndarray) and image.ndim == 3
    pixels = Pixels.of(model, image[None] if single else image)
    x = pixels.x.clamp(0, 1)
    rows, columns = _checked_grid(grid, model.patch_grid, tuple(x.shape[2:]))
    head = PixelHead(pixels, x, outcome)
    generator = torch.Generator().manual_seed(seed)
    fill = filling(x, baseline, generator)
    if callable(fill):
        raise TypeError("A baseline of attributions is one image.")
    task = _Task(
        pixels=pixels,
        head=head,
        x=x,
        baseline=fill.reshape(len(fill), *x.shape[1:]).expand_as(x),
        grid=(rows, columns),
        n_designs=n_designs,
        n_steps=n_steps,
        seed=seed,
        generator=generator,
    )
    maps, n_runs = MAKERS[method](task)
    names = model.class_names or [str(i) for i in range(head.answered.shape[1])]
    return PixelAttribution(
        maps=maps.float().cpu(),
        method=method,
        images=x.cpu(),
        logits=head.answered,
        outcomes=head.outcomes,
        model_name=model.name,
        outcome_names=tuple(str(name) for name in names),
        n_runs=n_runs,
    )


def _checked_grid(
    grid: tuple[int, int] | None, patches: tuple[int, int] | None, size: tuple[int, ...]
) -> tuple[int, int]:
    """Regions that divide an image."""
    if grid is None:
        if patches is not None and not any(s % p for s, p in zip(size, patches)):
            return patches
        most = [max(c for c in range(1, min(CELLS, s) + 1) if s % c == 0) for s in size]
        return most[0], most[1]
    rows, columns = (check_count(part, name="grid") for part in grid)
    if size[0] % rows or size[1] % columns:
        raise ValueError(
            f"`grid` must divide images of {size[0]} × {size[1]} pixels, got {rows} × {columns}. Leave it out "
            "for the model's patches."
        )
    return rows, columns


# -------------------------------------------------------------------------------------------------
# The methods.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """Some images, what answers about them, and what regions become."""

    pixels: Pixels
    head: PixelHead
    x: Float[Tensor, "n channels height width"]
    baseline: Float[Tensor, "n channels height width"]
    grid: tuple[int, int]
    n_designs: int
    n_steps: int
    seed: int
    generator: torch.Generator

    def masked(self, masks: Float[Tensor, "n m regions"]) -> Float[Tensor, "n m"]:
        """Return answers with every region faded to the baseline by its mask."""
        return torch.stack([self._of(i, own) for i, own in enumerate(masks)])

    def _of(self, i: int, masks: Float[Tensor, "m regions"]) -> Float[Tensor, " m"]:
        height, width = self.x.shape[2:]
        parts = []
        for some in torch.split(masks.to(self.x), AT_ONCE):
            cells = some.view(len(some), 1, *self.grid)
            whole = cells.repeat_interleave(height // self.grid[0], dim=2)
            whole = whole.repeat_interleave(width // self.grid[1], dim=3)
            variants = self.x[i] * whole + self.baseline[i] * (1 - whole)
            parts.append(self.pixels.answers(variants)[:, self.head.outcomes[i]].cpu())
        return torch.cat(parts)

    def slopes(
        self, x: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """∂y/∂x of each image's own outcome, at other pixels."""
        parts = []
        for some, of in zip(torch.split(x, AT_ONCE), torch.split(self.head.outcomes, AT_ONCE)):
            with torch.enable_grad():
                pixels = some.detach().clone().requires_grad_()
                logits = self.pixels.answers(pixels, grad=True)
                own = logits.gather(1, of.to(logits.device)[:, None]).sum()
                if not own.requires_grad:
                    raise ValueError(
                        f"`model` must let gradients through for this method, and {self.pixels.model.name} "
                        'does not. Use method="occlusion" or "sobol".'
                    )
                parts.append(torch.autograd.grad(own, pixels)[0])
        return torch.cat(parts)

    def mean_slopes(self, variant: Callable[[int], Tensor]) -> Tensor:
        """∂y/∂x averaged over `n_steps` variants of the images."""
        total = torch.zeros_like(self.x)
        for step in range(self.n_steps):
            total += self.slopes(variant(step))
        return total / self.n_steps


def _sobol(task: _Task) -> tuple[Tensor, int]:
    """Every region is a concept of strength 1; its mask is how much of it stays."""
    whole = torch.ones(len(task.x), task.grid[0] * task.grid[1])
    found = sobol(task.masked, whole, n_designs=task.n_designs, n_bootstrap=0, seed=task.seed)
    return torch.from_numpy(found.per_input).view(-1, *task.grid), found.n_runs


def _occlusion(task: _Task) -> tuple[Tensor, int]:
    n_regions = task.grid[0] * task.grid[1]
    masks = (1 - torch.eye(n_regions)).expand(len(task.x), -1, -1)
    lost = task.head.clean[:, None] - task.masked(masks)
    return lost.view(-1, *task.grid), n_regions + 1


def _gradient(task: _Task) -> tuple[Tensor, int]:
    return task.slopes(task.x).abs().amax(dim=1), 1


def _integrated(task: _Task) -> tuple[Tensor, int]:
    away = task.x - task.baseline
    along = task.mean_slopes(lambda step: task.baseline + (step + 0.5) / task.n_steps * away)
    return (away * along).sum(dim=1), task.n_steps


def _smooth(task: _Task) -> tuple[Tensor, int]:
    def noisy(_step: int) -> Tensor:
        drawn = torch.randn(task.x.shape, generator=task.generator)
        return task.x + NOISE * drawn.to(task.x)

    return task.mean_slopes(noisy).abs().amax(dim=1), task.n_steps


MAKERS: dict[Method, Callable[[_Task], tuple[Tensor, int]]] = {
    "sobol": _sobol,
    "occlusion": _occlusion,
    "gradient": _gradient,
    "integrated": _integrated,
    "smooth": _smooth,
}
"""By name: the maps, and passes for each image."""


def edges_of(x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n h w"]:
    """Return how much each pixel differs from the ones after it, below and to the right."""
    grey = x.mean(dim=1)
    down = grey.diff(dim=1, append=grey[:, -1:]).abs()
    return down + grey.diff(dim=2, append=grey[:, :, -1:]).abs()


def _centre(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """Closeness to the middle."""
    y, x = (torch.linspace(-1, 1, size) for size in (rows, columns))
    return -(y[:, None].square() + x.square())


# -------------------------------------------------------------------------------------------------
# Do two trainings of a model look at the same place, as far as they give the same answers?


class AttributionStability(Plotted):
    """The agreement of two models' maps, and of their answers; made by `attribution_stability`."""

    maps: Float[np.ndarray, " n"]
    """Rank correlation of both maps of each image; NaN where one of them is constant."""

    shuffled: Float[np.ndarray, " n"]
    """The same with the other model's map of another image, mean over draws: the floor."""

    predictions: Float[np.ndarray, " n"]
    """Rank correlation of both rows of logits of each image."""

    same: Bool[np.ndarray, " n"]
    """Whether both find the same outcome likeliest."""

    method: Method
    model_names: tuple[str, str]
    n_bootstrap: int
    seed: int

    @property
    def relative(self) -> float:
        """Agreement of maps as a share of the agreement of answers; beyond 1, maps agree more."""
        return self._row(self.maps, np.zeros((0, len(self.maps))), self.predictions)[0]

    @property
    def table(self) -> pd.DataFrame:
        """Agreement of maps, of shuffled maps and of answers, each with its 95 % interval over images.

        `relative` is that of maps by that of answers; `where they agree` and `where they differ` are maps of
        the images that both models answer alike, or not.
        """
        import pandas as pd

        counts = bootstrap_counts(len(self.maps), self.n_bootstrap, self.seed)
        rows = {
            "maps": self._row(self.maps, counts),
            "shuffled maps": self._row(self.shuffled, counts),
            "answers": self._row(self.predictions, counts),
            "relative": self._row(self.maps, counts, self.predictions),
            "shuffled, relative": self._row(self.shuffled, counts, self.predictions),
            "where they agree": self._row(np.where(self.same, self.maps, np.nan), counts),
            "where they differ": self._row(np.where(self.same, np.nan, self.maps), counts),
        }
        columns = ["agreement", "low", "high"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    @staticmethod
    def _row(
        values: np.ndarray, counts: np.ndarray, by: np.ndarray | None = None
    ) -> tuple[float, float, float]:
        """A mean over images, or a ratio of two, with its interval; NaN where nothing is known."""

        def mean(weights: np.ndarray, of: np.ndarray) -> np.ndarray:
            known = np.isfinite(of)
            total = weights[:, known].sum(axis=1)
            sums = weights[:, known] @ of[known]
            return np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0)

        def ratio(weights: np.ndarray) -> np.ndarray:
            top = mean(weights, values)
            with np.errstate(divide="ignore", invalid="ignore"):
                return top if by is None else top / mean(weights, by)

        value = float(ratio(np.ones((1, len(values))))[0])
        if not np.isfinite(value):
            return value, np.nan, np.nan
        return value, *percentile_interval(ratio(counts))

    @property
    def chart(self) -> Chart:
        """Agreement of maps against agreement of answers, a point an image, and that of shuffled maps."""
        series = (
            Points("shuffled maps", self.predictions, self.shuffled, control=True),
            Points("maps", self.predictions, self.maps),
        )
        return Chart(series=series, x="agreement of answers", y="agreement of maps", marks=True)

    @property
    def headline(self) -> str:
        """Agreement of maps and of answers."""
        rows = self.table["agreement"]
        return (
            f"{self.method}, {' and '.join(self.model_names)}: maps "
            f"{rows['maps']:.2f} (shuffled {rows['shuffled maps']:.2f}), answers {rows['answers']:.2f}, "
            f"relative {rows['relative']:.2f}"
        )


@checked
def attribution_stability(
    one: PixelAttribution,
    other: PixelAttribution,
    *,
    n_shuffles: Count = 20,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> AttributionStability:
    """Compare the maps that two trainings of a model give of the same images.

    Maps of models that answer differently should differ, so their agreement (rank correlation per image) is
    set in relation to that of the answers (rank correlation of the logits). The floor pairs maps of different
    images: it holds what all maps share, such as a liking for the middle.

    Parameters
    ----------
    one, other
        Of the same images, method and size of maps, by two models with the same outcomes. Give both the same
        `outcome`, or each explains its own answer.
    n_shuffles
        Draws of other images for the floor.
    n_bootstrap, seed
        Resamples of images for intervals; of everything drawn.

    Raises
    ------
    ValueError: If images, methods, sizes or numbers of outcomes differ, or there is one image alone.

    Source
    ------
    After "How good is your explanation?", arXiv 2009.04521, which asks for agreement where predictions agree.
    Ours: rank correlation, the ratio, the floor of shuffled maps.

    Example
    -------
    >>> import sae_nb as sn
    >>> images = sn.data.scenes(3).images
    >>> a, b = (attribution(sn.load_model(name), images, "gradient") for name in ("tiny-vit", "tiny-vit-plain"))
    >>> found = attribution_stability(a, b, n_bootstrap=10)
    >>> found.maps.shape, round(attribution_stability(a, a, n_bootstrap=0).relative, 3)
    ((3,), 1.0)
    """
    _check_pair(one, other)
    a, b = (found.maps.flatten(1).numpy() for found in (one, other))
    n, generator = len(a), np.random.default_rng(seed)
    # A shift of a random order pairs each image with another.
    orders = [
        (order, np.roll(order, 1))
        for order in (generator.permutation(n) for _ in range(n_shuffles))
    ]
    shuffled = np.full((n_shuffles, n), np.nan)
    for draw, (mine, theirs) in enumerate(orders):
        shuffled[draw, mine] = [rank_correlation(a[i], b[j]) for i, j in zip(mine, theirs)]
    logits = [found.logits.numpy() for found in (one, other)]
    return AttributionStability(
        maps=np.array([rank_correlation(*pair) for pair in zip(a, b)]),
        shuffled=shuffled.mean(axis=0),
        predictions=np.array([rank_correlation(*pair) for pair in zip(*logits)]),
        same=logits[0].argmax(axis=1) == logits[1].argmax(axis=1),
        method=one.method,
        model_names=(one.model_name, other.model_name),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def _check_pair(one: PixelAttribution, other: PixelAttribution) -> None:
    """Refuse maps that cannot be compared."""
    if one.method != other.method or one.maps.shape != other.maps.shape:
        raise ValueError(
            "`other` must be maps of the same method and size, "
            f"{one.method} {tuple(one.maps.shape)}, got {other.method} {tuple(other.maps.shape)}. Make both "
            "with the same settings."
        )
    same_size = one.images.shape == other.images.shape
    if not same_size or not torch.allclose(one.images, other.images, atol=1e-3):
        raise ValueError(
            "`other` must be maps of the same images, got other ones. Give both models the same."
        )
    if one.logits.shape != other.logits.shape:
        raise ValueError(
            f"`other` must be of a model with the same outcomes, {one.logits.shape[1]}, got "
            f"{other.logits.shape[1]}."
        )
    if len(one.maps) < 2:
        raise ValueError(
            "`one` must have maps of two images at least, got 1: maps are compared with those of other images."
        )

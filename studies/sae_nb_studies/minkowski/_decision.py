"""Is it a Minkowski sum? Held-out R² and vertex off-support together, with rivals and a null.

off-support = median over vertices of the distance to the nearest row / the rows' own median of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import TopK
from sae_nb.checks import Between, Count, Seed, check_matrix, checked
from sae_nb.evaluation import explained_variance
from sae_nb.findings import Finding
from sae_nb.training import TrainConfig, train
from sae_nb_studies.minkowski._block_archetypes import BlockArchetypes, check_tiles, rows_of
from sae_nb_studies.minkowski._fitting_blocks import BlockConfig, fit_block_archetypes, hull_of_rows

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.activations import Activations


NEAR_BEST = 0.99
"""Share of the best R² that block archetypes must reach (inferred)."""

BELOW_NULL = 0.8
"""Off-support must be at most this share of the null's smallest: equal ones differ by chance. Ours."""

USED = 0.01
"""Mixture weight from which an archetype counts as used, for the k of the TopK rival. Ours."""

ROWS_FOR_DISTANCES = 4000
FREE = BlockConfig(tightness=(0.0, 0.0), learning_rate=0.05, start="rows")


@dataclass(frozen=True, kw_only=True)
class HullScore:
    """R² of a model, and the distance of its corners from the data (see `off_support`)."""

    r2: float
    """On rows that it was not fitted to."""

    off_support: float | None
    """None where the model has no corners."""


class Decision(Finding, eq=True):
    """Block archetypes and their rivals, and whether the data look like a Minkowski sum."""

    scores: Mapping[str, HullScore]
    """"block", "free AA", "AA of rows", "TopK", and "Gaussian null 0" …"""

    block: BlockArchetypes
    """The fit to the data."""

    reasons: tuple[str, ...]
    """Reasons for rejecting it; empty if it was accepted."""

    @property
    def accepted(self) -> bool:
        """Whether every condition is met."""
        return not self.reasons

    @property
    def null_off_support(self) -> float:
        """Smallest off-support of block archetypes fitted to Gaussians of the same covariance."""
        return _null_off_support(self.scores)

    @property
    def table(self) -> pd.DataFrame:
        """R² and off-support by model."""
        import pandas as pd

        rows = {name: (s.r2, s.off_support) for name, s in self.scores.items()}
        table = pd.DataFrame.from_dict(rows, "index", columns=["held-out R²", "off-support"])
        return table.rename_axis("model")

    @property
    def headline(self) -> str:
        """The verdict, with the reasons against it."""
        verdict = "accepted" if self.accepted else f"not accepted: {'; '.join(self.reasons)}"
        return f"Minkowski sum {verdict}"

    @property
    def below(self) -> tuple[pd.DataFrame]:
        """The scores of every model."""
        return (self.table,)


@checked(leave=("x",))
@torch.no_grad()
def off_support(
    vertices: Float[Tensor, "n_vertices d_in"],
    x: Float[Tensor, "n d_in"],
    *,
    max_rows: int = ROWS_FOR_DISTANCES,
    seed: Seed = 0,
) -> float:
    """Measure the distance of corners from the data, in units of the distance between rows.

    median_v min_i ‖v − x_i‖ / median_i min_{j ≠ i} ‖x_i − x_j‖. 0 if corners are rows; a hull that
    fits loosely has large values.

    Parameters
    ----------
    max_rows
        Rows compared, drawn at random if there are more: distances depend on their number.

    Raises
    ------
    TypeError, ValueError: If widths differ, or there are fewer than two distinct rows.

    Source
    ------
    Inferred (ours) from what arXiv 2510.08638 needs: R² alone cannot identify a Minkowski sum, since any
    data fit into a large enough simplex.

    Example
    -------
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> off_support(x[:2], x), off_support(torch.tensor([[5.0], [7.0]]), x)
    (0.0, 2.0)
    """
    rows = check_matrix(x).float()
    corners = check_matrix(vertices, name="vertices", d_in=rows.shape[1]).float()
    if len(rows) > max_rows:
        generator = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=generator)[:max_rows]]
    # Differences, not products: the distance of a corner to itself is then exactly 0.
    distances = partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist")
    unit = distances(rows, rows).fill_diagonal_(torch.inf).amin(dim=1).median()
    if unit == 0 or len(rows) < 2:
        raise ValueError(
            "`x` must have distinct rows to measure distances by, got rows of which half or more have "
            "a copy. Remove copies with x.unique(dim=0)."
        )
    return float(distances(corners, rows).amin(dim=1).median() / unit)


@checked
def gaussian_like(
    x: Float[Tensor, "n d_in"], n: Count | None = None, *, seed: Seed = 0
) -> Float[Tensor, "n d_in"]:
    """Return rows of a Gaussian with the mean and covariance of the data: the null without any corners.

    Example
    -------
    >>> x = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) @ torch.eye(2, 4)
    >>> bool(gaussian_like(x)[:, 2:].abs().max() < 1e-3)
    True
    """
    rows = check_matrix(x)
    generator = torch.Generator().manual_seed(seed)
    middle = rows.mean(dim=0, dtype=torch.float64)
    # Mixtures of centred rows have their covariance, whatever its rank.
    n = len(rows) if n is None else n
    _, singular, directions = torch.linalg.svd(rows.double() - middle, full_matrices=False)
    drawn = torch.randn(n, len(singular), generator=generator, dtype=torch.float64)
    scale = singular / max(len(rows) - 1, 1) ** 0.5
    return (middle + (drawn.to(scale) * scale) @ directions).to(rows)


@checked
def decide(
    x: Activations | Float[Tensor, "n d_in"],
    tile_sizes: Sequence[int],
    config: BlockConfig | None = None,
    *,
    n_active: int | None = None,
    held_out: Annotated[float, Between(0, 1, "()")] = 1 / 3,
    n_nulls: Count = 3,
    topk_steps: int = 400,
) -> Decision:
    """Judge whether rows look like a Minkowski sum of small hulls.

    Block archetypes are accepted if (1) their held-out R² is at least 0.99 of the best rival's, (2)
    their off-support is below that of every rival whose R² is as good (at least 0.99 of theirs), and
    (3) at most 0.8 of the smallest off-support of block archetypes fitted to Gaussians of the same
    covariance. Rivals have the same number of archetypes: free archetypal analysis, archetypal analysis
    in the hull of rows, and a TopK SAE with the number of active atoms that block archetypes use.
    Accepting is not a proof: states of the last layer alone do not identify a decomposition.

    Parameters
    ----------
    tile_sizes
        Archetypes of each tile.
    config
        Of the block fit; its seed is that of every draw.
    held_out
        Share of rows that R² is measured on.
    n_nulls
        Gaussians.
    topk_steps
        Of the rival's training; 0 leaves it out.

    Source
    ------
    arXiv 2510.08638 states the hypothesis; the statistic and its limits are inferred (ours).
    """
    config = BlockConfig() if config is None else config
    rows = rows_of(x).float()
    sizes = check_tiles(tile_sizes)
    fitted, judged = _split(rows, held_out, config.seed)
    block = fit_block_archetypes(fitted, sizes, config, n_active=n_active)
    free = replace(FREE, seed=config.seed, n_steps=config.n_steps)
    models = {
        "block": block,
        "free AA": fit_block_archetypes(fitted, (sum(sizes),), free),
        "AA of rows": hull_of_rows(fitted, sum(sizes), seed=config.seed),
    }
    scores = {name: _score(model, fitted, judged) for name, model in models.items()}
    if topk_steps:
        r2 = _topk_r2(block, fitted, judged, topk_steps, config.seed)
        scores["TopK"] = HullScore(r2=r2, off_support=None)
    for i in range(n_nulls):
        drawn, fresh = _split(gaussian_like(rows, seed=config.seed + i), held_out, config.seed)
        null = fit_block_archetypes(drawn, sizes, config, n_active=n_active)
        scores[f"Gaussian null {i}"] = _score(null, drawn, fresh)
    return Decision(scores=scores, block=block, reasons=tuple(_reasons(scores)))


def _split(x: Tensor, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    n = round(held_out * len(x))
    return x[order[n:]], x[order[:n]]


def _score(model: BlockArchetypes, fitted: Tensor, judged: Tensor) -> HullScore:
    return HullScore(
        r2=explained_variance(judged, model(judged)),
        off_support=off_support(model.vertices(), fitted),
    )


def _topk_r2(
    block: BlockArchetypes, fitted: Tensor, judged: Tensor, steps: int, seed: int
) -> float:
    """A TopK SAE with the same number of atoms and of active ones."""
    used = (block.encode(judged).mixtures > USED).sum(dim=1).float().mean()
    k = min(max(round(float(used)), 1), block.n_archetypes)
    generator = torch.Generator().manual_seed(seed)
    sae = TopK(fitted.shape[1], block.n_archetypes, k, generator=generator)
    config = TrainConfig(steps=steps, batch_size=min(256, len(fitted)), seed=seed)
    train(sae, fitted, config, progress=False)
    with torch.no_grad():
        return explained_variance(judged, sae(judged))


def _reasons(scores: Mapping[str, HullScore]) -> list[str]:
    """Return the reasons against it, in words with numbers."""
    block, reasons = scores["block"], []
    if block.off_support is None:
        return ["block archetypes have no corners"]
    kinds = {name: score for name, score in scores.items() if not name.startswith("Gaussian")}
    rivals = {name: score for name, score in kinds.items() if name != "block"}
    name, best = max(rivals.items(), key=lambda pair: pair[1].r2)
    if block.r2 < NEAR_BEST * best.r2:
        reasons.append(f"R² {block.r2:.3f} is below {NEAR_BEST:g} of {name}'s {best.r2:.3f}")
    for name, rival in rivals.items():
        tighter = rival.off_support is not None and rival.off_support <= block.off_support
        if tighter and rival.r2 >= NEAR_BEST * block.r2:
            reasons.append(
                f"{name} is as good (R² {rival.r2:.3f}) with corners nearer to the data "
                f"({rival.off_support:.2f} against {block.off_support:.2f})"
            )
    null = _null_off_support(scores)
    if block.off_support > BELOW_NULL * null:
        reasons.append(
            f"off-support {block.off_support:.2f} is above {BELOW_NULL:g} of a Gaussian's {null:.2f}"
        )
    return reasons


def _null_off_support(scores: Mapping[str, HullScore]) -> float:
    nulls = [score for name, score in scores.items() if name.startswith("Gaussian")]
    return min(null.off_support for null in nulls if null.off_support is not None)

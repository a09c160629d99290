"""A label that two latents predict: one more reliable, the other easier to see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, at_least, between, checked, same_length
from sae_nb.data import Record


@dataclass(frozen=True, repr=False)
class PlantedShortcuts(Record):
    """Rows with a label, and the two latents that it can be read off.

    `latents` are (core, shortcut); `conflict` marks where their signs differ, `optimal` is the answer
    of the best classifier on both; `directions` are their directions in `x`.

    Example
    -------
    >>> data = planted_shortcuts(1000)
    >>> core, shortcut = ((z > 0) == data.label.bool() for z in data.latents.T)
    >>> bool(core.float().mean() > shortcut.float().mean())
    True
    """

    x: Float[Tensor, "n d_in"]
    label: Int[Tensor, " n"]
    latents: Float[Tensor, "n 2"]
    conflict: Bool[Tensor, " n"]
    optimal: Int[Tensor, " n"]
    directions: Float[Tensor, "2 d_in"]
    predictivity: tuple[float, float]
    availability: tuple[float, float]

    shared = ("directions", "predictivity", "availability")

    @checked
    def bias(self, answers: Int[Tensor, " n"]) -> float:
        """Return how much more often answers follow the shortcut against the core than the best ones do.

        The share of the conflicts where the answer is the side of the shortcut, less that of `optimal`: 0 for
        the best classifier, negative for one that leans on the core too much, NaN without conflicts.

        Parameters
        ----------
        answers
            0 or 1 for each row.

        Raises
        ------
        ValueError: If there is not an answer for each row.
        """
        same_length(answers, len(self), name="answers", per="row")
        side = (self.latents[:, 1] > 0).long()[self.conflict]
        shares = [
            (one[self.conflict].to(side) == side).double().mean() for one in (answers, self.optimal)
        ]
        return float(shares[0] - shares[1])

    @checked
    def on_grid(
        self,
        n: Annotated[int, at_least(2)] = 30,
        reach: Annotated[float, Between(0, 1e6, "(]")] = 3.0,
    ) -> PlantedShortcuts:
        """Return n × n rows whose latents cover a square evenly, from −reach to reach, without noise.

        Where a classifier is asked everywhere, not only where the data are, as bias is measured in the paper;
        `label` is the best answer there.

        Raises
        ------
        ValueError: If `n` is not 2 or more, or `reach` not above 0.
        """
        steps = torch.linspace(-1, 1, n) * reach
        latents = torch.cartesian_prod(steps, steps)
        conflict, optimal = _answered(latents, _means(self.predictivity))
        x = (latents * torch.tensor(self.availability)) @ self.directions
        return replace(
            self, x=x, label=optimal, latents=latents, conflict=conflict, optimal=optimal
        )


@checked
def planted_shortcuts(
    n: Count,
    *,
    predictivity: tuple[float, float] = (0.9, 0.85),
    availability: tuple[float, float] = (0.1, 1.0),
    d_in: Annotated[int, at_least(2)] = 100,
    noise: Annotated[float, Between(0, 1e6)] = 0.0,
    seed: Seed = 0,
) -> PlantedShortcuts:
    """Draw rows whose label a core latent predicts better, while a shortcut is easier to see.

    y = ±1 evenly, z_i = Φ⁻¹(p_i) y + ε_i with ε standard normal, so that the sign of z_i is y with probability
    p_i; x = Σ_i a_i z_i w_i + noise, w orthonormal. The best classifier is linear in z, whatever a is.

    Parameters
    ----------
    predictivity
        p of core and shortcut, from one half to below 1.
    availability
        a of both: how large each is in x, above 0.
    d_in
        At least 2.
    noise
        Sd of what is added to every coordinate.
    seed
        Of the rows; the directions are those of the size.

    Raises
    ------
    ValueError: If a number is out of its range.

    Source
    ------
    After "On the foundations of shortcut learning", arXiv 2310.16228: predictivity and availability (there:
    amplification) of two latents, asked on a grid. Theirs also nests a latent in random layers.

    Example
    -------
    >>> data = planted_shortcuts(6, availability=(1.0, 2.0))
    >>> torch.allclose(data.x @ data.directions.T, data.latents * torch.tensor([1.0, 2.0]), atol=1e-5)
    True
    >>> data.bias(data.optimal), len(data.on_grid(5))
    (0.0, 25)
    """
    for p, a in zip(predictivity, availability, strict=True):
        between(p, 0.5, 1, name="predictivity", ends="[)")
        between(a, 0, 1e6, name="availability", ends="(]")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(d_in, 2, generator=torch.Generator().manual_seed(d_in))
    directions = torch.linalg.qr(drawn).Q.T
    label = torch.randint(2, (n,), generator=generator)
    means = _means(predictivity)
    latents = means * (2 * label - 1)[:, None] + torch.randn(n, 2, generator=generator)
    x = (latents * torch.tensor(availability)) @ directions
    x = x + noise * torch.randn(n, d_in, generator=generator)
    conflict, optimal = _answered(latents, means)
    return PlantedShortcuts(
        x=x,
        label=label,
        latents=latents,
        conflict=conflict,
        optimal=optimal,
        directions=directions,
        predictivity=predictivity,
        availability=availability,
    )


def _means(predictivity: tuple[float, float]) -> Float[Tensor, " 2"]:
    """Φ⁻¹(p): where a normal of sd 1 is on the label's side with probability p."""
    return torch.special.ndtri(torch.tensor(predictivity, dtype=torch.float64)).float()


def _answered(
    latents: Float[Tensor, "n 2"], means: Float[Tensor, " 2"]
) -> tuple[Bool[Tensor, " n"], Int[Tensor, " n"]]:
    """Where the latents disagree, and what the best classifier of both answers (a linear discriminant)."""
    return latents[:, 0] * latents[:, 1] < 0, (latents @ means > 0).long()

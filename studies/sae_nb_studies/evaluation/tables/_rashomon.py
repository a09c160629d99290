"""How strongly two columns interact, in every one of many models that are nearly as good as a given one.

L is the mean loss, φ_S how much it grows when columns S are shuffled over the rows, together; the score of a
pair is φ_ij − φ_i − φ_j. Models near the given f are f(m ∘ x), a factor per column: columns one at a time,
and in pairs, are scaled up and down until their losses, measured apart, add up to shares of ε, what a loss may
be above that of f. Models whose own loss is above L(f) + ε are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Positive, Seed, as_tensor, checked
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

Predict = Callable[[Tensor], Tensor]
Pair = tuple[int, int]

WIDEST = 4.0
"""Factors of a column lie between 2 to the power of −4 and of 4; where even these cost less, they are taken."""

SURE = 3.0
"""Standard errors beyond zero from which a pair interacts. Ours."""


class InteractionCloud(Finding):
    """Scores of interaction of all pairs in nearly equally good models; made by `interaction_cloud`."""

    HEADLINE = (
        "{n_models} models within {epsilon:.3g} of a loss of {loss:.3g}; of {table.len} pairs of columns "
        "{table.interacts.sum} interact in all of them, whose scores differ up to {width:.0%}"
    )

    loss: float
    """Of the given model: mean squared error."""

    epsilon: float
    """By how much a model of the set may be worse."""

    factors: Float[np.ndarray, "models columns"]
    """m of each model; the first is the given one."""

    losses: Float[np.ndarray, " models"]
    scores: Float[np.ndarray, "pairs models"]
    errors: Float[np.ndarray, "pairs models"]
    """Standard errors of the scores, over rows."""

    pairs: tuple[Pair, ...]
    halos: tuple[Float[np.ndarray, "angles 2"], ...]
    """Of each pair: angle (radians), and loss above the given model's as a share of ε, where the two columns'
    own losses add up to one."""

    @property
    def n_models(self) -> int:
        """Models in the set, the given one among them."""
        return len(self.losses)

    @property
    def table(self) -> pd.DataFrame:
        """`first`, `second`, `score` (of the given model), `least`, `most`, `error`, `interacts`."""
        import pandas as pd

        least, most = self.scores.min(axis=1), self.scores.max(axis=1)
        above = (self.scores - SURE * self.errors).min(axis=1) > 0
        below = (self.scores + SURE * self.errors).max(axis=1) < 0
        first, second = np.array(self.pairs).T
        columns: dict[str, Any] = {"first": first, "second": second, "score": self.scores[:, 0]}
        columns |= {"least": least, "most": most, "error": self.errors[:, 0]}
        return pd.DataFrame(columns | {"interacts": above | below})

    @property
    def width(self) -> float:
        """Of the pair that interacts most: range of its scores, over the given model's."""
        rows = self.table
        row = rows.iloc[int(np.argmax(np.abs(rows.score)))]
        return float((row.most - row.least) / abs(row.score)) if row.score else 0.0

    def plot(self) -> Any:
        """Draw each pair's scores, a mark for each model; the given one's as a cross."""
        from sae_nb.figures import Chart, Points, draw_chart

        names = [f"{i} × {j}" for i, j in self.pairs]
        cloud = Points(
            "nearly as good", self.scores.ravel(), np.repeat(names, self.n_models).tolist()
        )
        given = Points("the given model", self.scores[:, 0], names)
        frame: dict[str, Any] = {"x": "score of interaction", "height": 120 + 22 * len(names)}
        return draw_chart(Chart(series=(cloud, given), marks=True, cuts=(0.0,), **frame))

    def halo(self, first: int, second: int) -> Any:
        """Draw the halo of a pair: its models' loss by direction, and the circle of two that add up.

        Right and up the columns are scaled up, left and down they are scaled down; where the halo leaves the
        circle, the two do more, or less, together.
        """
        from sae_nb.figures import Chart, Points, draw_chart

        pair = (min(first, second), max(first, second))
        if pair not in self.pairs:
            raise ValueError(f"`first`, `second` must be two columns, got {first} and {second}.")
        angle, radius = self.halos[self.pairs.index(pair)].T
        angle, radius = np.append(angle, angle[0]), np.append(radius, radius[0])
        measured = Points("measured", radius * np.cos(angle), radius * np.sin(angle), line=True)
        circle = Points("adding up", np.cos(angle), np.sin(angle), control=True, line=True)
        titles: dict[str, Any] = {
            "x": f"column {pair[0]}, shares of ε",
            "y": f"column {pair[1]}, shares of ε",
        }
        axis = {"scaleanchor": "x", "scaleratio": 1}
        return draw_chart(Chart(series=(measured, circle), height=420, yaxis=axis, **titles))


@checked(leave=("predict", "x", "y"))
def interaction_cloud(
    predict: Predict,
    x: Float[Tensor, "n columns"],
    y: Float[Tensor, " n"],
    *,
    share: Positive = 0.1,
    steps: Count = 4,
    n_shuffles: Count = 8,
    seed: Seed = 0,
) -> InteractionCloud:
    """Score how columns interact in a model, and in many that predict nearly as well.

    Parameters
    ----------
    predict
        Rows (n, columns) to numbers (n,): the given model.
    share
        ε as a share of its loss.
    steps
        Parts into which ε is divided: each pair has 4 (steps − 1) models, by how much of ε is each one's.
    n_shuffles
        Shuffles of the rows that a loss is averaged over, the same in all models.

    Raises
    ------
    ValueError: If shapes do not fit, or the model makes no errors, so that none can be nearly as good.

    Source
    ------
    Li, Wang, Deng and Barnard, "Exploring the cloud of feature interaction scores in a Rashomon set", arXiv
    2305.10181: the score, masks on a reference model, and the halo. Bisection for the factors, standard errors
    and the count of pairs are ours.

    Example
    -------
    >>> import torch
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    >>> model = lambda x: x[:, 0] * x[:, 1] + x[:, 2]
    >>> noise = 0.5 * torch.randn(400, generator=torch.Generator().manual_seed(1))
    >>> cloud = interaction_cloud(model, x, model(x) + noise)
    >>> cloud.table[["first", "second"]][cloud.table.interacts].to_numpy().tolist()
    [[0, 1]]
    """
    x, y = as_tensor(x).float(), as_tensor(y).float()
    if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] < 2:
        raise ValueError(
            f"`x` must be (rows, columns) with two columns or more and `y` (rows,), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}. Pass one number per row as `y`."
        )
    scorer = _Scorer(predict, x, y, n_shuffles, seed)
    loss = scorer.loss(torch.ones(x.shape[1]))
    if not loss > 0:
        raise ValueError(
            "`predict` must make errors, as ε is a share of its loss, and makes none. Pass held-out rows, with "
            "their noise."
        )
    epsilon, pairs = share * loss, tuple(combinations(range(x.shape[1]), 2))
    shares = np.linspace(0, 1, steps + 1)
    reach = scorer.reach(loss, epsilon * shares)
    found = [torch.ones(x.shape[1])]
    found += [
        _scaled(x.shape[1], {i: m}) for i, sides in enumerate(reach) for m in sides[:, 1:].ravel()
    ]
    halos = []
    for pair in pairs:
        masks, angles = _around(x.shape[1], pair, reach)
        halos.append((angles, np.array([(scorer.loss(m) - loss) / epsilon for m in masks])))
        found += masks[4:-4]  # at both ends one column alone is scaled
    losses = np.array([scorer.loss(m) for m in found])
    inside = losses <= loss + epsilon * (1 + 1e-6)
    scored = [scorer.scores(m, pairs) for m, kept in zip(found, inside, strict=True) if kept]
    return InteractionCloud(
        loss=loss,
        epsilon=epsilon,
        factors=torch.stack(found).numpy()[inside],
        losses=losses[inside],
        scores=np.array([score for score, _ in scored]).T,
        errors=np.array([error for _, error in scored]).T,
        pairs=pairs,
        halos=tuple(np.stack(halo, axis=1)[np.argsort(halo[0])] for halo in halos),
    )


def _scaled(n: int, factors: dict[int, float]) -> Float[Tensor, " columns"]:
    mask = torch.ones(n)
    for column, factor in factors.items():
        mask[column] = factor
    return mask


def _around(
    n: int, pair: Pair, reach: Float[np.ndarray, "columns 2 shares"]
) -> tuple[list[Tensor], np.ndarray]:
    """Return models of two scaled columns whose own losses are to add up to ε, and their angles."""
    last = reach.shape[2] - 1
    masks, angles = [], []
    for of_first, (up, over) in product(range(last + 1), product((0, 1), (0, 1))):
        masks.append(
            _scaled(
                n,
                {
                    pair[0]: reach[pair[0], up, of_first],
                    pair[1]: reach[pair[1], over, last - of_first],
                },
            )
        )
        angles.append(np.arctan2((1 - 2 * over) * (last - of_first), (1 - 2 * up) * of_first))
    return masks, np.array(angles)


class _Scorer:
    """Losses of models f(m ∘ x), also where columns are shuffled; shuffles are the same for all."""

    def __init__(self, predict: Predict, x: Tensor, y: Tensor, n_shuffles: int, seed: int) -> None:
        self.predict, self.x, self.y = predict, x, y
        draws = torch.Generator().manual_seed(seed)
        self.orders = [torch.randperm(len(x), generator=draws) for _ in range(n_shuffles)]

    @torch.no_grad()
    def errors(self, x: Float[Tensor, "n columns"]) -> Float[np.ndarray, " n"]:
        """Return squared errors row by row."""
        return (self.predict(x).float() - self.y).square().double().numpy()

    def loss(self, mask: Float[Tensor, " columns"]) -> float:
        """Return the mean squared error of a model."""
        return float(self.errors(self.x * mask).mean())

    def scores(
        self, mask: Float[Tensor, " columns"], pairs: tuple[Pair, ...]
    ) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
        """Return φ_ij − φ_i − φ_j of each pair, and its standard error.

        A row acts twice: with others' values in it, and by lending its own.
        """
        x = self.x * mask
        own = self.errors(x)
        single = [self._shuffled(x, (i,)) for i in range(x.shape[1])]
        rows = np.stack([self._shuffled(x, (i, j)) - single[i] - single[j] for i, j in pairs])
        return (rows + own).mean(axis=1), (2 * rows + own).std(axis=1) / np.sqrt(len(x))

    def _shuffled(self, x: Tensor, columns: tuple[int, ...]) -> Float[np.ndarray, " n"]:
        """Return the errors with columns shuffled, half at the row and half at the one that lent the values."""
        total = np.zeros(len(x))
        for order in self.orders:
            lent = x.clone()
            lent[:, columns] = x[order][:, columns]
            errors = self.errors(lent)
            total += errors
            np.add.at(total, order.numpy(), errors)
        return total / (2 * len(self.orders))

    def reach(self, loss: float, targets: np.ndarray) -> Float[np.ndarray, "columns 2 shares"]:
        """Return, of each column scaled up and down, the factors at which the loss has grown by so much."""
        n = self.x.shape[1]
        found = np.ones((n, 2, len(targets)))
        for column, side in product(range(n), (0, 1)):
            sign = 1 - 2 * side
            for at, target in enumerate(targets):
                low, high = 0.0, WIDEST
                for _ in range(14):
                    middle = (low + high) / 2
                    grown = self.loss(_scaled(n, {column: 2.0 ** (sign * middle)})) - loss
                    low, high = (middle, high) if grown <= target else (low, middle)
                found[column, side, at] = 2.0 ** (sign * low) if at else 1.0
        return found

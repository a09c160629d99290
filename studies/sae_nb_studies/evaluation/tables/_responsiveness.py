"""How often a change of one column, to a value that it can have, turns an answer into a wanted one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Count, as_tensor, checked, shown
from sae_nb.circuits import one_input, written_at
from sae_nb.findings import Finding
from sae_nb.models import run

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

Values = Callable[[float], Sequence[float]] | Sequence[float] | None
"""What a column can be set to: the same for all rows, a function of what it is, or None for nothing."""

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of an atom's strengths where it fires, that it is set to; and 0."""


class Responsiveness(Finding):
    """Shares of values that lead to the wanted answer; of `responsiveness` and `atom_responsiveness`."""

    HEADLINE = (
        "of {n_rows} rows with another answer {recourse:.0%} have a column that can bring the wanted one; "
        "a column does by {mean:.0%} of its values"
    )

    names: tuple[str, ...]
    """Of columns, or atoms by number."""

    rows: np.ndarray
    """Rows whose answer is not the wanted one: the others need no change and have no scores."""

    scores: Float[np.ndarray, "rows columns"]
    """Share of the values that lead to the wanted answer; 0 where there is none to change to."""

    n_values: np.ndarray
    """(rows, columns): values that were tried, other than what the column is."""

    @property
    def n_rows(self) -> int:
        """Rows scored."""
        return len(self.rows)

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(self.scores.mean()) if self.scores.size else 0.0

    @property
    def recourse(self) -> float:
        """Share of rows that some single change turns; the predictions of the others are fixed."""
        return float((self.scores > 0).any(axis=1).mean()) if len(self.rows) else 0.0

    @property
    def table(self) -> pd.DataFrame:
        """Per column: `column`, `score` (mean), `responsive` (share of rows), `values` (mean number)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "column": self.names,
                "score": self.scores.mean(axis=0),
                "responsive": (self.scores > 0).mean(axis=0),
                "values": self.n_values.mean(axis=0),
            }
        )

    def without_recourse(self, ranking: Float[np.ndarray, "rows columns"], n: int = 1) -> float:
        """Return the share of rows whose n columns of highest `ranking` all have score 0.

        `ranking` is an attribution of the same rows: reasons that are given, and by which nothing can be done.
        """
        ranking = np.asarray(ranking)
        if ranking.shape != self.scores.shape or not 1 <= n <= len(self.names):
            raise ValueError(
                f"`ranking` must be {self.scores.shape} and `n` from 1 to {len(self.names)}, got "
                f"{ranking.shape} and {n}. Rank the rows in `rows`."
            )
        first = np.argsort(-ranking, axis=1, kind="stable")[:, :n]
        return float((np.take_along_axis(self.scores, first, axis=1) == 0).all(axis=1).mean())

    def plot(self) -> Any:
        """Draw each row's scores, a colour per column."""
        from sae_nb.figures import heatmaps, named_ticks

        hover = "row %{y}, %{x}: %{z:.0%} of its values"
        frame: dict[str, Any] = {"y": "row", "height": 360}
        figure = heatmaps({"": self.scores}, ends=(0.0, 1.0), hover=hover, bar="share", **frame)
        return figure.update_xaxes(named_ticks(self.names))


@checked(leave=("predict", "x", "values", "wanted"))
def responsiveness(
    predict: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n columns"],
    values: Sequence[Values],
    *,
    wanted: int = 1,
    names: Sequence[str] | None = None,
) -> Responsiveness:
    """Try, in every row that is answered otherwise, each column's values one by one.

    Parameters
    ----------
    predict
        Rows (n, columns) to answers (n,), integers or booleans.
    values
        Per column what it can be set to.
    wanted
        Answer that is to be reached.

    Raises
    ------
    ValueError: If there is not one entry of `values` per column, or no row is answered otherwise.

    Source
    ------
    Cheon, Wernerfelt, Friedler and Ustun, "Feature Responsiveness Scores", arXiv 2410.22598: the probability
    that a change of a feature reaches a target prediction, under what can be changed. All values are tried
    here, one column at a time and all equally likely.

    Example
    -------
    >>> import torch
    >>> approve = lambda x: x[:, 0] + 2 * x[:, 1] > 2.5
    >>> found = responsiveness(approve, torch.tensor([[0.0, 0.0], [1.0, 0.0]]), [[0, 1, 2, 3], [0, 1]])
    >>> found.scores.round(2).tolist()
    [[0.33, 0.0], [0.33, 1.0]]
    """
    x = as_tensor(x).float()
    if x.ndim != 2 or len(values) != x.shape[1]:
        raise ValueError(
            f"`values` must have an entry per column of `x`, got {len(values)} for {shown(tuple(x.shape))}. "
            "Pass None for a column that cannot be changed."
        )
    others = (predict(x) != wanted).nonzero()[:, 0].tolist()
    if not others:
        raise ValueError(
            "`x` must hold a row that is answered otherwise, and holds none. Pass others."
        )
    scores, counts = np.zeros((2, len(others), x.shape[1]))
    tried, places = [], []
    for at, row in enumerate(others):
        for column, can_be in enumerate(values):
            now = float(x[row, column])
            options = [] if can_be is None else can_be(now) if callable(can_be) else can_be
            options = [float(value) for value in options if float(value) != now]
            counts[at, column] = len(options)
            for value in options:
                changed = x[row].clone()
                changed[column] = value
                tried.append(changed)
                places.append((at, column))
    if tried:
        reached = (predict(torch.stack(tried)) == wanted).double().numpy()
        np.add.at(scores, tuple(np.array(places).T), reached)
    return Responsiveness(
        names=tuple(map(str, names or range(x.shape[1]))),
        rows=np.array(others),
        scores=scores / np.maximum(counts, 1),
        n_values=counts,
    )


@checked(leave=("sae", "text"))
def atom_responsiveness(
    sae: SparseAutoencoder,
    model: LiveModel,
    text: str,
    seen: Activations,
    *,
    wanted: int,
    n_atoms: Count = 64,
    quantiles: Sequence[float] = QUANTILES,
) -> Responsiveness:
    """Set atoms, one at a time, to strengths that they have elsewhere: is the wanted token then the next?

    An atom is set at the last position, by adding (v − z) d to what the model has there.

    Parameters
    ----------
    seen
        Activations at the SAE's hook point, whose strengths an atom can have.
    wanted
        Number of a token.
    n_atoms
        So many of those that fire most often in `seen`.
    quantiles
        Of an atom's strengths where it fires, that are tried; and 0 (out).

    Raises
    ------
    ValueError: If the token is the answer as it is, or no atom fires in `seen`.

    Source
    ------
    `responsiveness`, of atoms in place of columns: ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> seen = sn.capture(gpt, sn.data.stories(4, seed=0).texts, "resid_post.3", progress=False)
    >>> token = int(gpt(["One day she went to"])[0, -1].topk(2).indices[1])
    >>> atom_responsiveness(sae, gpt, "One day she went to", seen, wanted=token, n_atoms=4).scores.shape
    (1, 4)
    """
    batch, place = one_input(model, text, name="text"), written_at(sae, model)
    clean = run(model, batch, read=[place])
    answer = clean.answer.one()
    if int(answer.reshape(-1, answer.shape[-1])[-1].argmax()) == wanted:
        raise ValueError("`wanted` must not be the answer as it is. Pass another token's number.")
    codes = sae.encode(as_tensor(seen.x)).to_dense().detach().float()
    fires = (codes > 0).sum(dim=0)
    atoms = [int(a) for a in fires.argsort(descending=True, stable=True)[:n_atoms] if fires[a]]
    if not atoms:
        raise ValueError("`seen` must let an atom fire, and none does. Pass more texts.")
    now = sae.encode(clean.states[str(place)][0, -1:]).to_dense()[0].detach().float()
    changes, owner = [], []
    for i, atom in enumerate(atoms):
        strengths = codes[:, atom][codes[:, atom] > 0]
        levels = [0.0, *torch.quantile(strengths, torch.tensor(list(quantiles))).tolist()]
        moved = [level - float(now[atom]) for level in levels if level != float(now[atom])]
        changes += [move * sae.dictionary[atom].detach() for move in moved]
        owner += [i] * len(moved)
    reached = _reached(model, batch, place, torch.stack(changes), wanted)
    counts = np.bincount(owner, minlength=len(atoms))
    return Responsiveness(
        names=tuple(map(str, atoms)),
        rows=np.array([0]),
        scores=(np.bincount(owner, weights=reached, minlength=len(atoms)) / np.maximum(counts, 1))[
            None
        ],
        n_values=counts[None],
    )


_TOGETHER = 64
"""Changes that are made in one pass, each in a copy of the text of its own: bounds the memory."""


@torch.no_grad()
def _reached(
    model: LiveModel, batch: Any, place: Any, changes: Float[Tensor, "m d"], wanted: int
) -> Float[np.ndarray, " m"]:
    """Return 1 where the model answers as wanted when a change is added at the last position."""
    found = []
    for some in torch.split(changes, _TOGETHER):

        def moved(x: Tensor, by: Tensor = some) -> Tensor:
            x = x.clone()
            x[:, -1] += by.to(x)
            return x

        ran = run(model, batch.copies(len(some)), put=[(place, moved)], answer="end")
        answers = (ran.answer.one(i) for i in range(len(some)))
        found += [int(one.reshape(-1, one.shape[-1])[-1].argmax()) == wanted for one in answers]
    return np.array(found, float)

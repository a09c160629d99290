"""The dimension of texts: how many directions the activations of one text's tokens spread into, locally.

Every text is read for the same number of tokens, because the estimate rises with their number. Source:
"Unveiling Intrinsic Dimension of Texts: from Academic Abstract to Creative Story", which finds
scientific texts lowest and fiction highest; ours reads any hook point, and compares with the share of
distinct tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.capturing import text_rows
from sae_nb.checks import Count, Seed, at_least, checked, same_length
from sae_nb.corpora import Documents
from sae_nb.findings import Finding
from sae_nb.geometry import local_dimensions
from sae_nb.statistics import correlation_p, q_values, rank_correlation, ranks_of
from sae_nb_studies.geometry import tree_dimension, two_nn_dimension

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from sae_nb.models import LiveModel

_FEWEST = 40  # rows that a tree's growth is read from
_Z = 1.96


class TextDimension(Finding):
    """The dimension of each text; made by `text_dimension`."""

    dimension: Float[np.ndarray, " n"]
    """Of each text; NaN where it has fewer than `length` tokens, or no finite one: the tree of its tokens grows
    as fast as their number."""

    length: int
    """Tokens read of each text."""

    hook_point: str
    """Hook point at which they were read."""

    table: DataFrame
    """A text per row: text, group, tokens (it has), dimension, distinct (share of different tokens among
    those read)."""

    groups: DataFrame
    """A group per row, least dimension first: group, n, dimension (mean), low and high (95 %), distinct."""

    simpler: DataFrame
    """Result of a count: Spearman's ρ of the dimension with `distinct` and with `tokens`, and its p."""

    @property
    def headline(self) -> str:
        """Number of texts, and their dimensions."""
        held = self.dimension[~np.isnan(self.dimension)]
        without = int((self.table["tokens"] >= self.length).sum()) - len(held)
        return (
            f"{len(held)} texts of {self.length} tokens at {self.hook_point}: "
            f"{held.mean():.1f} on average, {held.min():.1f} to {held.max():.1f}"
        ) + (f"; {without} more have no finite dimension" if without else "")

    @checked
    def atoms(self, docs: Documents, *, min_count: Count = 5) -> DataFrame:
        """Return atoms by the correlation of their strength in a text with its dimension.

        Parameters
        ----------
        docs
            The same texts, read by an SAE.
        min_count
            Atoms of fewer texts are left out.

        Returns
        -------
        DataFrame
            atom, label, count (of texts), r (Pearson's, with the dimension's rank), q (Benjamini and
            Hochberg), and the word at which it peaks.

        Raises
        ------
        ValueError: If there are other texts in `docs`, fewer than 3 that are long enough, or no atom fires
            in enough of them.
        """
        import pandas as pd

        if len(docs) != len(self.dimension):
            raise ValueError(
                f"`docs` must hold the {len(self.dimension)} texts that were measured, got {len(docs)}. "
                "Pass the same texts to sn.uses.documents."
            )
        there = ~np.isnan(self.dimension)
        if there.sum() < 3:
            raise ValueError(
                f"A correlation must have at least 3 texts of {self.length} tokens, got {there.sum()}. "
                "Measure more texts."
            )
        matrix = docs.matrix[there]
        counts = np.bincount(matrix.indices, minlength=docs.n_atoms)
        often = np.flatnonzero(counts >= min_count)
        if not len(often):
            raise ValueError(
                f"An atom must fire in at least min_count={min_count} of the texts, got at most "
                f"{counts.max()}. Lower it, or pass more texts."
            )
        r = column_correlations(matrix[:, often], ranks_of(self.dimension[there], digits=12))
        table = pd.DataFrame(
            {
                "atom": often,
                "label": [docs.label(int(atom)) for atom in often],
                "count": counts[often],
                "r": r,
                "q": q_values(correlation_p(r, int(there.sum()))),
            }
        )
        table = table.iloc[np.argsort(-np.abs(r), kind="stable")].reset_index(drop=True)
        table["word"] = docs.peak_words(table["atom"].to_numpy())
        return table


def column_correlations(
    columns: csr_matrix, target: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " m"]:
    """Compute Pearson's r of every sparse column with a number per row; 0 for a column that never changes."""
    columns = columns.astype(np.float64)
    centred = target - target.mean()
    mean = np.asarray(columns.mean(axis=0)).ravel()
    variance = np.asarray(columns.multiply(columns).mean(axis=0)).ravel() - mean**2
    covariance = np.asarray(columns.T @ centred).ravel() / len(centred)
    scale = np.sqrt(np.maximum(variance, 0) * (centred**2).mean())
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-12)


@checked(leave=("texts", "hook_point"))
def text_dimension(
    model: LiveModel,
    texts: Sequence[Any],
    hook_point: str | None = None,
    *,
    length: Annotated[int, at_least(_FEWEST)] = 128,
    groups: Sequence[Any] | None = None,
    estimator: Literal["tree", "two_nn", "local"] = "tree",
    batch_size: int | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> TextDimension:
    """Estimate the intrinsic dimension of the activations of each text's first tokens.

    Parameters
    ----------
    texts
        Inputs for `capture`: texts, or lists of tokens. One batch at a time is held.
    hook_point
        None: the residual stream after the last block.
    length
        Tokens read of each text, besides those that `capture` drops; shorter texts get NaN, and so does a text
        whose dimension would be infinite.
    groups
        The kind of each text, such as its genre: their means are then compared.
    estimator
        "tree": `sn.geometry.tree_dimension`; "two_nn": `two_nn_dimension`; "local": the median of
        `local_dimensions` at 20 neighbours.
    seed
        Of the subsets of tokens that "tree" draws.

    Returns
    -------
    TextDimension
        `.table` of texts, `.groups`, `.simpler`; `.atoms(docs)` lists the atoms that go with it.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point.
    ValueError: If the model reads no texts, no text is long enough or has a finite dimension, or groups are of
    another number.

    Source
    ------
    "Unveiling Intrinsic Dimension of Texts: from Academic Abstract to Creative Story"; the estimator:
    Tulchinskii et al., arXiv 2306.04723. Ours reads the same number of tokens of every text.

    Example
    -------
    >>> import sae_nb as sn
    >>> stories = sn.data.stories(6, seed=0).texts
    >>> result = text_dimension(sn.load_model("tiny-gpt"), stories, length=40, progress=False)
    >>> bool(1 < result.dimension[0] < 40), list(result.groups.columns)
    (True, ['group', 'n', 'dimension', 'low', 'high', 'distinct'])
    """
    if model.tokenizer is None:
        raise ValueError(
            f"`model` must read texts, got {model.name}, which has no tokenizer. Load a language model."
        )
    if groups is not None:
        same_length(groups, len(texts), name="groups", per="text")
    point = hook_point if hook_point is not None else f"resid_post.{(model.n_layers or 1) - 1}"
    measure = _ESTIMATORS[estimator]
    rows = []
    for text in text_rows(model, texts, point, batch_size=batch_size, progress=progress):
        whole = len(text.x) >= length
        ids = text.token_ids[text.position[:length]].tolist()
        rows.append(
            {
                "tokens": len(text.x),
                "dimension": _finite(measure(text.x[:length], seed)) if whole else np.nan,
                "distinct": len(set(ids)) / length if whole else np.nan,
            }
        )
    if not any(row["tokens"] >= length for row in rows):
        raise ValueError(
            f"A text must have at least length={length} tokens besides those dropped, got at most "
            f"{max(row['tokens'] for row in rows)}. Lower `length`, or pass longer texts."
        )
    if all(np.isnan(row["dimension"]) for row in rows):
        raise ValueError(
            f"A text must have a finite dimension by {estimator!r}, got none. Raise `length`, or take another "
            "estimator."
        )
    kinds = ["all"] * len(rows) if groups is None else [str(kind) for kind in groups]
    return _summed_up(rows, kinds, length, str(model.hook_point(point)))


_ESTIMATORS: dict[str, Callable[[Tensor, int], float]] = {
    "tree": lambda x, seed: tree_dimension(x, seed=seed),
    "two_nn": lambda x, _: two_nn_dimension(x),
    "local": lambda x, _: float(local_dimensions(x, 20).median()),
}


def _finite(dimension: float) -> float:
    return dimension if np.isfinite(dimension) else np.nan


def _summed_up(
    rows: Sequence[dict[str, Any]], kinds: Sequence[str], length: int, point: str
) -> TextDimension:
    import pandas as pd

    table = pd.DataFrame(rows)
    table.insert(0, "text", np.arange(len(rows)))
    table.insert(1, "group", kinds)
    held = table.dropna()
    by_group = held.groupby("group", sort=False)
    groups = by_group.agg(
        n=("dimension", "size"), dimension=("dimension", "mean"), distinct=("distinct", "mean")
    ).reset_index()
    error = _Z * by_group["dimension"].sem().to_numpy()
    groups.insert(3, "low", groups["dimension"] - error)
    groups.insert(4, "high", groups["dimension"] + error)
    simpler = []
    for name in ("distinct", "tokens"):
        rho = rank_correlation(held["dimension"], held[name]) if len(held) > 2 else np.nan
        simpler.append({"count": name, "rho": rho, "p": correlation_p(rho, len(held))})
    return TextDimension(
        dimension=table["dimension"].to_numpy(float),
        length=length,
        hook_point=point,
        table=table,
        groups=groups.sort_values("dimension", ignore_index=True),
        simpler=pd.DataFrame(simpler),
    )

"""Atoms of images and atoms of captions that are joined: which pairs split one thing between two modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.checks import Count, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb_studies.evaluation import Bridge, SplitDictionary

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder


MOST_WIDTH, LEAST_WIDTH = 7.0, 1.5
"""Of the strongest bridge's line and of very weak ones', CSS pixels."""


class BridgeView(Finding):
    """The strongest bridges between two modalities, and which of them join atoms that serve one side each."""

    HEADLINE = (
        "{table.len} bridges shown, {n_split} split pairs in all; bridge {bridge:.3f}, pairs "
        "shuffled {bridge.floor:.3f}"
    )

    bridge: Bridge
    split: SplitDictionary
    modalities: tuple[str, str]
    table: pd.DataFrame
    """A bridge per row, the strongest first, up to half of them split pairs however weak.

    Both atoms, the score, what shuffled pairs would have (simpler), m of both atoms (1: all of an atom's
    strength is in the first modality), and the kind: "shared" (one atom), "split" (an atom of the first
    modality alone with one of the second alone), "mixed"."""

    n_split: int
    """Split pairs among all bridges that are above their floor."""

    def plot(self) -> Any:
        """Draw atoms of both modalities and the bridges between them; wider, the stronger."""
        from sae_nb.figures import framed, line, named_ticks, theme

        rows = self.table
        # Each atom where it is first in the table, so that the bridge of a shared atom is level.
        places = [_first_rows(rows[name]) for name in ("first", "second")]
        inks = {"shared": theme.PREDICTED, "split": theme.NOVEL, "mixed": theme.CONTROL}
        named: set[str] = set()
        traces = []
        for row in rows.itertuples():
            ends = [places[0][row.first], places[1][row.second]]
            width = max(
                MOST_WIDTH * row.score / max(float(rows["score"].max()), 1e-12), LEAST_WIDTH
            )
            hover = f"{row.first} – {row.second}: {row.score:.3g}"
            trace = line(row.kind, [0, 1], ends, colour=inks[row.kind], width=width, hover=hover)
            traces.append(trace.update(showlegend=row.kind not in named, legendgroup=row.kind))
            named.add(row.kind)
        for x, side, words in zip((0, 1), places, ("middle left", "middle right")):
            dots = line(
                "atoms", [x] * len(side), list(side.values()), colour=theme.NEUTRAL, width=0
            )
            dots.update(mode="markers+text", text=[str(a) for a in side], textposition=words)
            traces.append(dots.update(showlegend=False))
        bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
        figure = framed(traces, height=26 * len(rows) + 90)
        figure.update_yaxes(range=[len(rows), -1], **bare)
        ticks = named_ticks(f"atoms of {name}s" for name in self.modalities)
        return figure.update_xaxes(range=[-0.3, 1.3], showgrid=False, zeroline=False, **ticks)


@checked(leave=("codes", "dictionary"))
def bridge_view(
    codes: Sequence[SparseCodes],
    dictionary: SparseAutoencoder,
    *,
    n: Count = 20,
    alone: float = 0.95,
    modalities: tuple[str, str] = ("image", "caption"),
) -> BridgeView:
    """Return the strongest bridges between two modalities, and which of them are split pairs.

    A split pair is one concept with two atoms: one that fires for the first modality alone and one that
    fires for the second alone, on the same pairs and along nearly the same direction.

    Parameters
    ----------
    codes, dictionary, alone
        As for `evaluation.bridge_score` and `evaluation.modality_scores`.
    n
        Bridges in the table and the figure.
    modalities
        Name of one row of each.

    Source
    ------
    Papadimitriou et al., arXiv 2504.11695. The kinds of bridges are ours.

    Example
    -------
    >>> import torch
    >>> image = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> text = SparseCodes.from_dense(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> atoms = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> bridge_view([image, text], atoms).table["kind"].tolist()
    ['split', 'shared']
    """
    import pandas as pd

    from sae_nb_studies.evaluation import bridge_score, modality_scores

    bridge = bridge_score(codes, dictionary, n_bootstrap=0)
    split = modality_scores(codes, alone=alone, n_bootstrap=0)
    m = np.nan_to_num(split.scores, nan=0.5)
    kinds = _kinds(bridge, m, alone)
    apart = (kinds == "split") & _above(bridge)
    order = _shown(bridge.scores, apart, n)
    columns = {
        "first": bridge.first,
        "second": bridge.second,
        "score": bridge.scores,
        "simpler": bridge.floors,
        "m of first": m[bridge.first],
        "m of second": m[bridge.second],
        "kind": kinds,
    }
    return BridgeView(
        bridge=bridge,
        split=split,
        modalities=modalities,
        table=pd.DataFrame({name: column[order] for name, column in columns.items()}),
        n_split=int(apart.sum()),
    )


def _first_rows(atoms: Sequence[int]) -> dict[int, int]:
    """The row in which each atom is first."""
    found: dict[int, int] = {}
    for row, atom in enumerate(atoms):
        found.setdefault(int(atom), row)
    return found


def _shown(
    scores: Float[np.ndarray, " edges"], apart: Bool[np.ndarray, " edges"], n: int
) -> Int[np.ndarray, " n"]:
    """The strongest, of which up to half are split pairs, however weak those are."""
    order = np.argsort(-scores, kind="stable")
    split = order[apart[order]][: n // 2]
    others = order[~np.isin(order, split)][: n - len(split)]
    chosen = np.concatenate([split, others])
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _above(bridge: Bridge) -> Bool[np.ndarray, " edges"]:
    """Bridges that shuffled pairs would not have."""
    return bridge.scores > np.maximum(bridge.floors, 0)


def _kinds(bridge: Bridge, m: Float[np.ndarray, " n_atoms"], alone: float) -> np.ndarray:
    """Shared, split or mixed, of every bridge."""
    apart = (m[bridge.first] >= alone) & (m[bridge.second] <= 1 - alone)
    return np.where(bridge.first == bridge.second, "shared", np.where(apart, "split", "mixed"))

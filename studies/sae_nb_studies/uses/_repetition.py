"""Atoms that rise when a text repeats itself: z at the last occurrence of an n-gram minus z at the first.

r_j = mean over repeated n-grams g of z_j(last end of g) − z_j(first end of g): the token is the same, and so
are those before it, so what differs is that it was there before. Source: Qwen-Scope, arXiv 2605.11887, which
takes a repeated token; the n-gram, and the floor of tokens that come again without their n-gram, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing import text_rows
from sae_nb.checks import Count, checked
from sae_nb.corpora import check_labels
from sae_nb.findings import Finding
from sae_nb.generation import check_writer

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

Pairs = list[tuple[int, int]]
"""Positions of a first and a last occurrence."""


class Repetition(Finding):
    """The atoms that rise from the first to the last occurrence of an n-gram; made by `repetition`."""

    table: DataFrame
    """Atoms that fired at any of these places, the most risen first: atom, label, rise, first and last (mean
    strengths), rises (share of the n-grams where it is stronger at the last), floor (the rise at tokens that
    come again without their n-gram)."""

    n_repeats: int
    """Repeated n-grams, over all texts."""

    n_plain: int
    """Tokens that come again without their n-gram: what the floor is a mean over."""

    @property
    def atom(self) -> int:
        """The atom that rises most."""
        return int(self.table["atom"].iloc[0])

    @checked
    def plot(self, n: Count = 12) -> Any:
        """Draw the rise of the first `n` atoms, with its floor."""
        from sae_nb.figures import category_style, framed, line, theme

        head = self.table.head(n)
        names = [f"atom {atom}" for atom in head["atom"]]
        colour, symbol = category_style(0)
        traces = [
            line("rise", names, head["rise"], colour=colour, symbol=symbol, width=0),
            line(
                "floor", names, head["floor"], colour=theme.CONTROL, symbol="line-ew-open", width=0
            ),
        ]
        for trace in traces:
            trace.update(mode="markers")
        return framed(traces, y="strength, last − first", height=280)

    @property
    def headline(self) -> str:
        """The atom that rises most, and its floor."""
        best = self.table.iloc[0]
        return (
            f"{self.n_repeats} repeated n-grams; atom {self.atom} rises most, by "
            f"{best['rise']:.3g}; floor {best['floor']:.3g}"
        )


@checked(leave=("texts", "labels"))
def repetition(
    model: LiveModel,
    sae: SparseAutoencoder,
    texts: Any,
    hook_point: str,
    *,
    n_gram: Count = 4,
    labels: Mapping[int, str] | None = None,
    batch_size: int | None = None,
) -> Repetition:
    """Find the atoms that rise when a text repeats itself.

    One batch at a time is run and encoded; of it, only the rows of repeated tokens are kept.

    Parameters
    ----------
    texts
        Texts or token ids, with some that go round in circles, such as what the model writes at temperature 0.
    n_gram
        Tokens that must come again in the same order.
    labels
        Names of atoms.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If no text repeats an n-gram.
    HookPointNotFound: If there is no such hook point.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = repetition(model, sae, "the lists of the lists of the lists of the lists of", "resid_post.3")
    >>> found.n_repeats > 0, bool(found.table["rise"][0] > 0)
    (True, True)
    """
    check_writer(model, sae, hook_point)
    names = check_labels(labels, sae.n_atoms)
    sums = _Sums(sae)
    for text in text_rows(model, texts, hook_point, batch_size=batch_size):
        seen = set(text.position.tolist())
        repeated, plain = _pairs(text.token_ids.tolist(), n_gram)
        for pairs, into in ((repeated, sums.repeated), (plain, sums.plain)):
            kept = [pair for pair in pairs if set(pair) <= seen]
            if kept:
                sums.add(into, text.x, text.position, kept)
    if not sums.repeated["n"]:
        raise ValueError(
            f"`texts` must repeat {n_gram} tokens somewhere, and none does. Pass texts that go round in "
            "circles, or a smaller n_gram."
        )
    return sums.result(names)


def _pairs(ids: Sequence[int], n: int) -> tuple[Pairs, Pairs]:
    """First and last ends of n-grams that come again; and of tokens that come again outside of these."""
    grams: dict[tuple[int, ...], list[int]] = {}
    for end in range(n - 1, len(ids)):
        grams.setdefault(tuple(ids[end - n + 1 : end + 1]), []).append(end)
    repeated = [(ends[0], ends[-1]) for ends in grams.values() if len(ends) > 1]
    inside = {
        place
        for ends in grams.values()
        if len(ends) > 1
        for end in ends
        for place in range(end - n + 1, end + 1)
    }
    tokens: dict[int, list[int]] = {}
    for place, token in enumerate(ids):
        if place not in inside:
            tokens.setdefault(token, []).append(place)
    return repeated, [(places[0], places[-1]) for places in tokens.values() if len(places) > 1]


class _Sums:
    """Sums over pairs, atom by atom."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.sae = sae
        self.repeated, self.plain = self._empty(), self._empty()

    def _empty(self) -> dict[str, Any]:
        zeros = {name: np.zeros(self.sae.n_atoms) for name in ("first", "last", "rises")}
        return {"n": 0} | zeros

    def add(
        self,
        into: dict[str, Any],
        x: Float[Tensor, "m d_in"],
        position: Int[Tensor, " m"],
        pairs: Pairs,
    ) -> None:
        """Add the pairs of one text."""
        place = {int(p): i for i, p in enumerate(position)}
        codes = []
        for side in (0, 1):
            rows = x[[place[pair[side]] for pair in pairs]].to(self.sae.dictionary)
            with torch.no_grad():
                codes.append(self.sae.encode(rows).to_scipy())
        first, last = codes
        into["n"] += len(pairs)
        into["first"] += np.asarray(first.sum(axis=0)).ravel()
        into["last"] += np.asarray(last.sum(axis=0)).ravel()
        into["rises"] += np.asarray(((last - first) > 0).sum(axis=0)).ravel()

    def result(self, names: Mapping[int, str]) -> Repetition:
        """Return means over all pairs."""
        import pandas as pd

        n, n_plain = self.repeated["n"], self.plain["n"]
        means = {name: self.repeated[name] / n for name in ("first", "last", "rises")}
        rise = means["last"] - means["first"]
        plain = (self.plain["last"] - self.plain["first"]) / n_plain if n_plain else rise * np.nan
        fired = np.flatnonzero((means["first"] != 0) | (means["last"] != 0))
        order = fired[np.argsort(-rise[fired], kind="stable")]
        columns: dict[str, Any] = {
            "atom": order,
            "label": [names.get(int(atom), "") for atom in order],
            "rise": rise[order],
        }
        columns |= {name: values[order] for name, values in means.items()} | {"floor": plain[order]}
        return Repetition(table=pd.DataFrame(columns), n_repeats=n, n_plain=n_plain)

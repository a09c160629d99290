"""Rule induction: describe in a few words where an atom fires, by statements that are easy to check.

A rule is a conjunction of at most a few statements about the row (its token, the one before, its place,
its labels), added greedily while F1 = 2TP / (2TP + FP + FN) on the rows it is made from still grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int

from sae_nb.activations import Activations
from sae_nb.activations._modality import Modality
from sae_nb.checks import Count, as_tensor, check_atom, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._row_pass import check_codes
from sae_nb.findings import Finding

FEWEST_FIRINGS = 8
"""Rows in which an atom must fire for a rule to be made."""

_GROWS_BY = 0.01  # a further statement must raise F1 by so much


class Rule(Finding, eq=True):
    """Where an atom fires, in words, and how well that is true of the rows it was made from."""

    HEADLINE = "atom {atom} fires where {text}; F1 {f1:.2f}, floor {floor:.2f}"

    atom: int
    terms: tuple[Predicate, ...]
    """Row of the dictionary; statements all of which must hold, none: every row."""

    f1: float
    """On the rows it was made from; `score_explanations` judges rules on others."""

    precision: float
    recall: float
    """Share of the rows it names in which the atom fires; of the rows in which it fires that it names."""

    floor: float
    n: int
    """F1 of naming every row; how many rows it was made from."""

    @property
    def text(self) -> str:
        """In words."""
        return " and ".join(term.text for term in self.terms) if self.terms else "everywhere"

    def holds(self, facts: RowFacts) -> Bool[np.ndarray, " n"]:
        """Return which of the rows it names."""
        named = np.ones(len(facts), dtype=bool)
        for term in self.terms:
            named &= term.holds(facts)
        return named


@checked
def induce_rule(
    acts: Activations,
    codes: SparseCodes,
    atom: int,
    *,
    labels: Mapping[str, Any] | None = None,
    max_terms: Count = 3,
    facts: RowFacts | None = None,
) -> Rule:
    """Find a small rule for where an atom fires (z ≠ 0).

    Parameters
    ----------
    acts, codes
        Rows with the samples behind them, and their codes.
    labels, max_terms
        Further known facts: booleans by name, one per sample or per row; statements of a rule at most.
    facts
        Of the same rows, where they were read before; `labels` is then ignored.

    Raises
    ------
    ValueError: If the atom fires too rarely.

    Source
    ------
    Greedy conjunctions by F1 are ours; lists of token sets follow Bills et al. 2023 in spirit.

    Example
    -------
    >>> import torch
    >>> acts = Activations.from_tensor(torch.rand(40, 2))
    >>> even = torch.arange(40) % 2 == 0
    >>> codes = SparseCodes.from_dense(even[:, None].float())
    >>> induce_rule(acts, codes, 0, labels={"an even row": even}).text
    'an even row'
    """
    active = active_rows(acts, codes, atom)
    facts = RowFacts.of(acts, labels) if facts is None else facts
    return _grown(atom, facts, active, max_terms)


def fires_in(codes: SparseCodes, atom: int) -> Bool[np.ndarray, " n"]:
    """Return in which rows an atom fires (z ≠ 0)."""
    rows, values = codes.strengths(atom)
    active = np.zeros(codes.n_rows, dtype=bool)
    active[rows[values != 0].cpu().numpy()] = True
    return active


def active_rows(acts: Activations, codes: SparseCodes, atom: int) -> Bool[np.ndarray, " n"]:
    """Return in which rows an atom fires, if they are enough to say anything of it.

    Raises
    ------
    ValueError: If the codes are of other rows, or the atom fires in fewer than eight.
    IndexError: If there is no such atom.
    """
    check_codes(codes, len(acts), codes.n_atoms)
    active = fires_in(codes, check_atom(atom, codes.n_atoms))
    if int(active.sum()) < FEWEST_FIRINGS:
        raise ValueError(
            f"`atom` must fire in at least {FEWEST_FIRINGS} rows, got atom {atom}, which fires in "
            f"{int(active.sum())} of {len(active)}. Show it more inputs."
        )
    return active


def _grown(atom: int, facts: RowFacts, active: np.ndarray, max_terms: int) -> Rule:
    terms: tuple[Predicate, ...] = ()
    named = np.ones(len(facts), dtype=bool)
    reached = floor = _f1(named, active)
    for _ in range(max_terms):
        grown = ((term, named & term.holds(facts)) for term in candidates(facts, active, named))
        tried = ((_f1(holds, active), term, holds) for term, holds in grown)
        f1, term, holds = max(tried, key=lambda one: one[0], default=(0.0, None, named))
        if term is None or f1 < reached + _GROWS_BY:
            break
        reached, terms, named = f1, (*terms, term), holds
    hits = int((named & active).sum())
    return Rule(
        atom=atom,
        terms=terms,
        f1=reached,
        precision=hits / max(int(named.sum()), 1),
        recall=hits / max(int(active.sum()), 1),
        floor=floor,
        n=len(facts),
    )


def _f1(named: np.ndarray, active: np.ndarray) -> float:
    return float(2 * (named & active).sum() / max(int(named.sum() + active.sum()), 1))


# -------------------------------------------------------------------------------------------------
# The words rules are made of: small statements about a row that anybody can check by eye.


Kind = Literal[
    "token", "before", "begins", "ends", "shape", "from position", "up to position", "repeated",
    "label", "not label",
]  # fmt: skip

MOST_TOKENS = 12
"""Tokens that a set may name: more is not an explanation."""

_FEWEST_EACH = 2  # firings on a token for a set to name it
_MOST_ENDINGS = 24
_LONGEST = 4  # letters of a beginning or ending
_POSITIONS = (1, 2, 4, 8, 16, 32, 64, 128)

TOKEN_SHAPES: dict[str, Callable[[str], bool]] = {
    "a capital letter first": lambda text: text.strip()[:1].isupper(),
    "capitals alone": lambda text: len(text.strip()) > 1 and text.strip().isupper(),
    "lower case": lambda text: text.strip().islower(),
    "a space before": lambda text: text[:1].isspace(),
    "no space before": lambda text: not text[:1].isspace(),
    "a digit": lambda text: any(c.isdigit() for c in text),
    "punctuation": lambda text: bool(text.strip()) and not any(c.isalnum() for c in text),
    "a line break": lambda text: "\n" in text,
}
"""Forms of a token, in words, each with its test of a token's text: values of a `Predicate` of kind "shape"."""


@dataclass(frozen=True)
class Predicate:
    """One statement about a row; a `Rule` is some that all must hold."""

    kind: Kind
    values: tuple[str, ...]  # tokens, endings, a shape, a position or a label's name: any of them

    @property
    def text(self) -> str:
        """In words."""
        quoted = " or ".join(f"“{value}”" for value in self.values)
        plain = " or ".join(self.values)
        return {
            "token": f"the token is {quoted}",
            "before": f"the token before is {quoted}",
            "begins": f"the token begins with {quoted}",
            "ends": f"the token ends with {quoted}",
            "shape": f"the token has {plain}",
            "from position": f"position {plain} or later",
            "up to position": f"before position {plain}",
            "repeated": "the token stands earlier in the text too",
            "label": plain,
            "not label": f"not {plain}",
        }[self.kind]

    def holds(self, facts: RowFacts) -> Bool[np.ndarray, " n"]:
        """Return of which rows it is true."""
        nowhere = np.zeros(len(facts), dtype=bool)
        if self.kind in ("label", "not label"):
            label = facts.labels.get(self.values[0])
            if label is None:
                return nowhere
            return label if self.kind == "label" else ~label
        if self.kind == "repeated":
            return facts.repeated
        if self.kind == "from position":
            return facts.position >= int(self.values[0])
        if self.kind == "up to position":
            return facts.position < int(self.values[0])
        ids = facts.before if self.kind == "before" else facts.token
        kind = "token" if self.kind == "before" else self.kind
        wanted = [i for value in self.values for i in facts.index.ids(kind, value)]
        return np.isin(ids, wanted) if wanted else nowhere


def candidates(
    facts: RowFacts, active: Bool[np.ndarray, " n"], within: Bool[np.ndarray, " n"]
) -> Iterator[Predicate]:
    """Yield statements that may say where an atom fires, among the rows where a rule holds so far."""
    if facts.names:
        yield from _token_sets("token", facts.token, facts, active, within)
    if Modality.of(facts.kind).is_text:
        yield from _token_sets("before", facts.before, facts, active, within)
        yield from _endings(facts, active, within)
        yield from (Predicate("shape", (shape,)) for shape in TOKEN_SHAPES)
        yield Predicate("repeated", ())
        for position in _POSITIONS:
            yield Predicate("from position", (str(position),))
            yield Predicate("up to position", (str(position),))
    for name in facts.labels:
        yield Predicate("label", (name,))
        yield Predicate("not label", (name,))


def _token_sets(
    kind: Literal["token", "before"],
    ids: np.ndarray,
    facts: RowFacts,
    active: np.ndarray,
    within: np.ndarray,
) -> Iterator[Predicate]:
    """The set of tokens, most informative first, that reaches the largest F1."""
    known = within & (ids >= 0)
    kinds, place = np.unique(ids[known], return_inverse=True)
    fires = np.bincount(place, weights=active[known], minlength=len(kinds))
    there = np.bincount(place, minlength=len(kinds))
    often = np.flatnonzero(fires >= _FEWEST_EACH)
    # Rare sure tokens first, or the sure ones of the most common.
    for most in (often, often[np.argsort(-fires[often], kind="stable")][:MOST_TOKENS]):
        order = most[np.lexsort((-fires[most], -fires[most] / there[most]))][:MOST_TOKENS]
        if len(order):
            f1 = np.cumsum(fires[order]) / (np.cumsum(there[order]) + active.sum())
            best = kinds[order[: int(np.argmax(f1)) + 1]]
            yield Predicate(kind, tuple(sorted({facts.names[int(i)] for i in best})))


def _endings(facts: RowFacts, active: np.ndarray, within: np.ndarray) -> Iterator[Predicate]:
    """Beginnings and endings of two to four letters that active tokens share."""
    chosen, counts = np.unique(facts.token[active & within], return_counts=True)
    for kind in ("begins", "ends"):
        shared: dict[str, int] = {}
        for token, count in zip(chosen.tolist(), counts.tolist(), strict=True):
            text = facts.names[token].strip()
            for size in range(2, min(_LONGEST + 1, len(text))):
                part = text[:size] if kind == "begins" else text[-size:]
                shared[part] = shared.get(part, 0) + count
        best = sorted(shared, key=lambda part: (-shared[part], part))[:_MOST_ENDINGS]
        yield from (Predicate(kind, (part,)) for part in best)


# -------------------------------------------------------------------------------------------------
# What is known of every row without looking at its activation: token, neighbours, place, labels.


class TokenIndex:
    """Ids of tokens by what a statement says of them, so that no atom's rule looks at every token's text."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = {i: name.strip() for i, name in names.items()}
        self._ids: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, name in names.items():
            self._ids["token", name].append(i)
            for shape, has in TOKEN_SHAPES.items():
                if has(name):
                    self._ids["shape", shape].append(i)
            bare = self._names[i]
            for size in range(1, min(_LONGEST, len(bare)) + 1):
                self._ids["begins", bare[:size]].append(i)
                self._ids["ends", bare[-size:]].append(i)

    def ids(self, kind: str, value: str) -> Sequence[int]:
        """Return the ids of tokens that are, begin or end with a text, or have a shape."""
        if kind in ("begins", "ends") and not 1 <= len(value) <= _LONGEST:
            fits = str.startswith if kind == "begins" else str.endswith
            return [i for i, bare in self._names.items() if fits(bare, value)]
        return self._ids.get((kind, value), ())


@dataclass(frozen=True, kw_only=True, eq=False)
class RowFacts:
    """Facts of rows, as columns; rules speak of nothing else. `RowFacts.of(acts)` reads them."""

    kind: str  # of input, as in `acts.context.kind`
    token: Int[np.ndarray, " n"]  # id of each row's token; place in the image; 0 for plain vectors
    before: Int[np.ndarray, " n"]  # id of the token before; −1 where there is none
    names: Mapping[int, str]  # text of every id
    index: TokenIndex  # ids by what is said of their text
    position: Int[np.ndarray, " n"]
    sample: Int[np.ndarray, " n"]
    repeated: Bool[np.ndarray, " n"]  # whether the token stands earlier in its sample too
    labels: Mapping[str, Bool[np.ndarray, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def of(cls, acts: Activations, labels: Mapping[str, Any] | None = None) -> RowFacts:
        """Read the facts of activations."""
        sample, position = acts.sample.numpy(), acts.position.numpy()
        tokens, context = acts.tokens, acts.context
        token = np.zeros(len(acts), np.int64) if tokens is None else tokens.ids.numpy()
        before = np.full(len(acts), -1)
        names: dict[int, str] = {}
        repeated = np.zeros(len(acts), dtype=bool)
        if context.modality.is_text and context.token_ids is not None:
            ids, offsets = (part.numpy() for part in context.token_ids)
            place = offsets[sample] + position
            before = np.where(position > 0, ids[np.maximum(place - 1, 0)], -1)
            repeated = _repeated(ids, offsets)[place]
            every = np.union1d(token, before[before >= 0])
            names = {int(i): context.token_name(1, int(i)) for i in every}
        elif tokens is not None:
            names = {int(p): context.token_name(int(p)) for p in np.unique(token)}
        return cls(
            kind=context.kind,
            token=token,
            before=before,
            names=names,
            index=TokenIndex(names),
            position=position,
            sample=sample,
            repeated=repeated,
            labels=_labels(labels or {}, acts),
        )

    def at(self, rows: Int[np.ndarray, " m"]) -> RowFacts:
        """Return the facts of some rows."""
        columns = ("token", "before", "position", "sample", "repeated")
        return RowFacts(
            kind=self.kind,
            names=self.names,
            index=self.index,
            labels={name: values[rows] for name, values in self.labels.items()},
            **{name: getattr(self, name)[rows] for name in columns},
        )


def _repeated(
    ids: Int[np.ndarray, " total"], offsets: Int[np.ndarray, " samples_plus_1"]
) -> Bool[np.ndarray, " total"]:
    """Whether each token's id occurs earlier in its sample."""
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((np.arange(len(ids)), ids, sample))
    same = (np.diff(ids[order], prepend=-1) == 0) & (np.diff(sample[order], prepend=-1) == 0)
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order] = same
    return repeated


def _labels(labels: Mapping[str, Any], acts: Activations) -> dict[str, Bool[np.ndarray, " n"]]:
    by_row = {}
    for name, label in labels.items():
        values = as_tensor(label, name=f"labels[{name!r}]").cpu().numpy()
        if values.dtype != bool:
            raise TypeError(
                f"`labels` must be booleans by name, got {values.dtype} for {name!r}. Compare with a "
                "value: digits == 3."
            )
        if values.shape == (len(acts),):
            by_row[name] = values
        elif values.shape == (acts.context.n_samples,):
            by_row[name] = values[acts.sample.numpy()]
        else:
            raise ValueError(
                f"`labels` must have one entry per sample, {acts.context.n_samples}, or per row, "
                f"{len(acts)}, got shape {values.shape} for {name!r}."
            )
    return by_row

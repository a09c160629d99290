"""Pairs of prompts that differ in one thing, and the two answers that it decides: material for patching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.random import Generator

from sae_nb.checks import Count, Seed, checked
from sae_nb.data._records import Record

PairKind = Literal["agreement", "capitals", "indirect_objects", "greater_than", "induction"]

_NOUNS = (
    ("key", "keys"), ("book", "books"), ("letter", "letters"), ("picture", "pictures"),
    ("door", "doors"), ("road", "roads"), ("song", "songs"), ("ticket", "tickets"),
)  # fmt: skip
_OF = ("to the cabinet", "near the house", "of the teacher", "for the party", "from the city")
_CAPITALS = (
    ("France", "Paris"), ("Italy", "Rome"), ("Germany", "Berlin"), ("Spain", "Madrid"),
    ("Japan", "Tokyo"), ("China", "Beijing"), ("Russia", "Moscow"), ("Egypt", "Cairo"),
    ("Austria", "Vienna"), ("Greece", "Athens"), ("England", "London"), ("Ireland", "Dublin"),
)  # fmt: skip
_NAMES = ("Mary", "John", "Tom", "James", "Paul", "Mark", "Anna", "Sarah", "David", "Peter")
_PLACES = ("store", "park", "school", "house", "station", "office")
_GIFTS = ("drink", "book", "ring", "letter", "ball", "cake")
_EVENTS = ("war", "strike", "festival", "dispute", "expedition", "trial")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DRAWS = 50
"""Most draws for each pair that is wanted."""

Item = TypeVar("Item")
Drawn = tuple[str, str, str, str]
"""Clean prompt, corrupted prompt, the answer to each."""


@dataclass(frozen=True, eq=False)
class PromptPairs(Record):
    """Pairs of prompts and their answers; `patch` takes `clean`, `corrupted` and `answers`, or `targets` alone.

    Example
    -------
    >>> pairs = prompt_pairs("capitals", 2, seed=0)
    >>> len(pairs), pairs.clean[0].startswith("The capital of")
    (2, True)
    """

    clean: tuple[str, ...]
    corrupted: tuple[str, ...]
    """The same with one thing changed, by which the answer turns."""

    targets: list[str]
    others: list[str]
    """Right next token of each clean prompt, and of each corrupted one; with the space before it. Lists, for a
    tuple of two tokens is their difference to `patch`."""

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Target and other of each pair: the difference of their logits is what patching follows."""
        return list(zip(self.targets, self.others, strict=True))


@checked(leave=("model",))
def prompt_pairs(kind: PairKind, n: Count = 8, seed: Seed = 0, *, model: Any = None) -> PromptPairs:
    """Draw pairs of prompts of one kind from templates.

    "agreement": a verb's number follows its noun, not the one between. "capitals": a country's capital.
    "indirect_objects": who is given something (Wang et al., arXiv 2211.00593). "greater_than": a year after
    another (Hanna et al., arXiv 2305.00586). "induction": letters, of which one comes again; its successor is
    exchanged between two of them.

    Parameters
    ----------
    model
        A live language model: only pairs are kept of equally many tokens, with answers of one token each.
        None: no check; `patch` refuses pairs that do not align.

    Raises
    ------
    ValueError, TypeError: If too few pairs fit the model's tokenizer, or it has none.

    Example
    -------
    >>> pairs = prompt_pairs("induction", 1, seed=0)
    >>> sorted(pairs.clean[0].split()) == sorted(pairs.corrupted[0].split())
    True
    """
    if model is not None and not callable(getattr(model, "tokenizer", None)):
        raise TypeError(
            "`model` must be a live language model with a tokenizer, or None, got "
            f"{type(model).__name__}. Pass sn.load_model(name), or sn.wrap(module, tokenizer)."
        )
    draw, generator, found = _KINDS[kind], np.random.default_rng(seed), dict[Drawn, None]()
    for _ in range(_DRAWS * n):
        pair = draw(generator)
        if model is None or _fits(model, pair):
            found[pair] = None
        if len(found) == n:
            break
    else:
        raise ValueError(
            f"`n` must be at most the {len(found)} pairs of {kind!r} that were found"
            f"{'' if model is None else f' for {model.name}'}, got {n}. Use another kind or a smaller n."
        )
    clean, corrupted, targets, others = zip(*found, strict=True)
    return PromptPairs(clean, corrupted, list(targets), list(others))


def _fits(model: Any, pair: Drawn) -> bool:
    clean, corrupted, target, other = pair
    unknown = getattr(model.tokenizer, "unk_token_id", None)

    def ids(text: str) -> list[int]:
        return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    if unknown is not None and any(unknown in ids(text) for text in pair):
        return False
    n = [len(ids(text)) for text in (clean, corrupted)]
    longer = [len(ids(clean + answer)) - n[0] for answer in (target, other)]
    return n[0] == n[1] and longer == [1, 1]


def _chosen(generator: Generator, of: Sequence[Item], n: int = 1) -> list[Item]:
    return [of[i] for i in generator.permutation(len(of))[:n]]


def _agreement(generator: Generator) -> Drawn:
    (noun,), (rest,) = _chosen(generator, _NOUNS), _chosen(generator, _OF)
    first = int(generator.integers(2))
    clean, corrupted = (f"The {noun[number]} {rest}" for number in (first, 1 - first))
    verbs = (" is", " are")
    return clean, corrupted, verbs[first], verbs[1 - first]


def _capitals(generator: Generator) -> Drawn:
    (one, first), (other, second) = _chosen(generator, _CAPITALS, 2)
    clean, corrupted = (f"The capital of {country} is" for country in (one, other))
    return clean, corrupted, f" {first}", f" {second}"


def _indirect_objects(generator: Generator) -> Drawn:
    one, other = _chosen(generator, _NAMES, 2)
    (place,), (gift,) = _chosen(generator, _PLACES), _chosen(generator, _GIFTS)
    text = f"When {one} and {other} went to the {place}, {{}} gave a {gift} to"
    return text.format(other), text.format(one), f" {one}", f" {other}"


def _greater_than(generator: Generator) -> Drawn:
    (event,) = _chosen(generator, _EVENTS)
    century, late, early = (start + generator.integers(3) for start in (16, 6, 0))
    years = [f"{century}{decade}{generator.integers(2, 9)}" for decade in (late, early)]
    clean, corrupted = (
        f"The {event} lasted from the year {year} to the year {century}" for year in years
    )
    return clean, corrupted, str(late + 1), str(early + 1)


def _induction(generator: Generator) -> Drawn:
    a, b, c, d, *rest = _chosen(generator, _LETTERS, 10)
    between, after = rest[:3], rest[3:]
    clean, corrupted = (
        " ".join([*between[:1], x, b, *between[1:], y, d, *after, a]) for x, y in ((a, c), (c, a))
    )
    return clean, corrupted, f" {b}", f" {d}"


_KINDS: dict[str, Callable[[Generator], Drawn]] = {
    "agreement": _agreement,
    "capitals": _capitals,
    "indirect_objects": _indirect_objects,
    "greater_than": _greater_than,
    "induction": _induction,
}

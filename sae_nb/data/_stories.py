"""Short stories from a small grammar of our own, with the answer to every question about them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.data._records import Record, Texts
from sae_nb.data.grammar import (
    ANIMALS,
    BEGINNINGS,
    CONNECTIVES,
    ENDINGS,
    ENTITIES,
    ENTITY_KINDS,
    FEELINGS,
    HAPPENINGS,
    PEOPLE,
    PLACES,
    PLAIN,
    PLURAL_SUBJECTS,
    POSITIVE,
    THINGS,
)

_SLOT = re.compile(r"\{([^}]*)\}")
# The heroes are the subject if they come first, but for a time or place of the story's beginning.
_ABOUT_HERO = re.compile(r"(?:One day |Early in the morning |On a quiet evening )?\{[Hh]ero\}")


@dataclass(frozen=True, repr=False)
class Clauses(Record):
    """Every clause of all stories, story after story; one clause is one sentence.

    Its words are ``texts[story][start:end]``; `plural` is 1 if its grammatical subject is, `sentiment`
    1 good, −1 bad, 0 neither, `event` the event of its story it belongs to, from 0.
    """

    story: Int[Tensor, " m"]
    start: Int[Tensor, " m"]
    end: Int[Tensor, " m"]
    plural: Int[Tensor, " m"]
    sentiment: Int[Tensor, " m"]
    event: Int[Tensor, " m"]


@dataclass(frozen=True, repr=False)
class Mentions(Record):
    """Every place where an entity is named, story after story (pronouns are not mentions).

    Its name is ``texts[story][start:end]``; `entity` is an index into the record's `entities`.
    """

    story: Int[Tensor, " m"]
    start: Int[Tensor, " m"]
    end: Int[Tensor, " m"]
    entity: Int[Tensor, " m"]


@dataclass(frozen=True, repr=False)
class Stories(Texts):
    """Stories of three to eight sentences and their labels; characters count from 0 in each story.

    Parameters
    ----------
    sentiment
        1 if good things happen, 0 if bad ones.
    plural
        1 if it has two heroes, 0 if one.
    person, animal, place, thing
        Persons and subjects of a story, indices into `entities`.
    clauses, mentions
        One row per sentence; one row per named entity.
    boundary_story, boundary
        Story and character where each event after the first begins.

    Example
    -------
    >>> record = stories(2, seed=0)
    >>> clause = record.clauses
    >>> record.texts[0][clause.start[0] : clause.end[0]].endswith(".")
    True
    """

    texts: tuple[str, ...]
    sentiment: Int[Tensor, " n"]
    person: Int[Tensor, " n"]
    animal: Int[Tensor, " n"]
    place: Int[Tensor, " n"]
    thing: Int[Tensor, " n"]
    plural: Int[Tensor, " n"]
    clauses: Clauses
    mentions: Mentions
    boundary_story: Int[Tensor, " e"]
    boundary: Int[Tensor, " e"]

    shared = ("clauses", "mentions", "boundary_story", "boundary")
    person_names = animal_names = place_names = thing_names = ENTITIES

    def subset(self, rows: object) -> Stories:
        """Keep some stories: a slice, a boolean mask or numbers; what refers to them is renumbered."""
        chosen = self._numbers(rows).reshape(-1)
        clause, of_clause = _of_stories(self.clauses.story, chosen)
        mention, of_mention = _of_stories(self.mentions.story, chosen)
        event, of_event = _of_stories(self.boundary_story, chosen)
        return replace(
            super().subset(chosen),
            clauses=replace(self.clauses[clause], story=of_clause),
            mentions=replace(self.mentions[mention], story=of_mention),
            boundary_story=of_event,
            boundary=self.boundary[event],
        )

    @property
    def entities(self) -> tuple[str, ...]:
        """Every name an entity can have: persons, animals, places, things."""
        return ENTITIES

    @property
    def entity_kinds(self) -> tuple[str, ...]:
        """Kind of each of `entities`: "person", "animal", "place" or "thing"."""
        return ENTITY_KINDS


@checked
def stories(n: Count, seed: Seed = 0, *, start: Annotated[int, at_least(0)] = 0) -> Stories:
    """Tell short stories whose sentiment, entities, subject number and events are known.

    Story i depends on (seed, i) alone, so ``stories(5, start=10)`` are the last five of
    ``stories(15)``, on every machine and Python.

    Example
    -------
    >>> stories(1, start=4).texts == stories(5).texts[4:]
    True
    """
    tales = [_Story(_generator(seed, i)) for i in range(start, start + n)]
    clauses = [(row, *clause) for row, story in enumerate(tales) for clause in story.clauses]
    mentions = [(row, *mention) for row, story in enumerate(tales) for mention in story.mentions]
    boundaries = [(row, at) for row, story in enumerate(tales) for at in story.boundaries]
    cast = torch.tensor([story.cast for story in tales])
    person, animal, place, thing = cast.T.contiguous()
    boundary_story, boundary = _columns(boundaries, 2)
    return Stories(
        texts=tuple(story.text for story in tales),
        sentiment=torch.tensor([story.sentiment for story in tales]),
        person=person,
        animal=animal,
        place=place,
        thing=thing,
        plural=torch.tensor([story.plural for story in tales]),
        clauses=Clauses(*_columns(clauses, 6)),
        mentions=Mentions(*_columns(mentions, 4)),
        boundary_story=boundary_story,
        boundary=boundary,
    )


def _of_stories(
    story: Int[Tensor, " m"], chosen: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
    """Rows that belong to some stories, in the order of these, and the new number of their story."""
    first, last = torch.searchsorted(story, chosen), torch.searchsorted(story, chosen, right=True)
    rows = [torch.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    return torch.cat([chosen[:0], *rows]), torch.arange(len(chosen)).repeat_interleave(last - first)


def _generator(seed: int, number: int) -> random.Random:
    return random.Random(f"stories {seed} {number}")  # noqa: S311 - tales, not secrets


def _columns(rows: Sequence[tuple[int, ...]], n: int) -> list[Tensor]:
    table = np.asarray(rows, dtype=np.int64).reshape(-1, n)
    return [torch.from_numpy(table[:, column].copy()) for column in range(n)]


class _Story:
    """One story as it is being told: text so far, and what each part of it means."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._used: set[str] = set()
        self.text = ""
        self.clauses: list[tuple[int, int, int, int, int]] = []
        self.mentions: list[tuple[int, int, int]] = []
        self.boundaries: list[int] = []
        self.sentiment = self._below(2)
        self.plural = int(self._below(3) == 0)
        self._event = 0
        people = self._below(len(PEOPLE)), self._below(len(PEOPLE) - 1)
        second = people[1] + (people[1] >= people[0])
        self._people = (PEOPLE[people[0]], PEOPLE[second])
        self._words = {"animal": self._pick(ANIMALS), "place": self._pick(PLACES)}
        self._words["thing"] = self._pick(THINGS)
        named = (self._people[0][0], *(self._words[k] for k in ("animal", "place", "thing")))
        self.cast = tuple(ENTITIES.index(name) for name in named)
        self._tell()

    def _below(self, n: int) -> int:
        # Only `random()` promises the same numbers in every Python.
        return int(self._rng.random() * n)

    def _pick(self, items: Sequence[str]) -> str:
        """Choose one that this story has not used yet."""
        fresh = [item for item in items if item not in self._used]
        chosen = fresh[self._below(len(fresh))]
        self._used.add(chosen)
        return chosen

    def _tell(self) -> None:
        self._say(self._pick(BEGINNINGS), 0, named=True)
        for _ in range(self._below(3)):
            self._say(self._pick(PLAIN), 0)
        n_events = 1 + self._below(3)
        sign = 1 if self.sentiment == POSITIVE else -1
        for self._event in range(n_events):
            opening = self._pick(CONNECTIVES) + " " if self._event else ""
            self._say(self._pick(HAPPENINGS[sign]), sign, opening=opening)
            # Three events share one feeling: no story is longer than eight sentences.
            if n_events < 3 or self._event == 2:
                self._say(self._pick(FEELINGS[sign]), sign, named=bool(self._below(2)))
        if self._below(2):
            self._say(self._pick(ENDINGS[sign]), sign)

    def _say(self, pattern: str, sentiment: int, *, named: bool = False, opening: str = "") -> None:
        """Fill one sentence, and record its facts and their positions."""
        self.text += " " if self.text else ""
        start = len(self.text)
        if opening:
            self.boundaries.append(start)
        self.text += opening
        for is_slot, part in _parts(pattern):
            if not is_slot:
                self.text += part
            elif part in ("hero", "Hero"):
                self._hero(named, capital=part == "Hero")
            elif "|" in part:
                self.text += self._form(part)
            else:
                self._name(self._words["animal" if part == "beast" else part])
        self.text = self.text[:start] + self.text[start].upper() + self.text[start + 1 :]
        about_hero = _ABOUT_HERO.match(pattern) is not None
        plural = self.plural if about_hero else int(pattern.startswith(PLURAL_SUBJECTS))
        self.clauses.append((start, len(self.text), plural, sentiment, self._event))

    def _form(self, part: str) -> str:
        """Choose among forms: singular|plural, or feminine|masculine|plural."""
        forms = part.split("|")
        if self.plural:
            return forms[-1]
        return forms[0] if len(forms) == 2 else forms[self._people[0][1] == "he"]

    def _hero(self, named: bool, *, capital: bool) -> None:
        if not named:
            word = self._form("she|he|they")
            self.text += word.capitalize() if capital else word
            return
        self._name(self._people[0][0])
        if self.plural:
            self.text += " and "
            self._name(self._people[1][0])

    def _name(self, word: str) -> None:
        self.mentions.append((len(self.text), len(self.text) + len(word), ENTITIES.index(word)))
        self.text += word


def _parts(pattern: str) -> Iterator[tuple[bool, str]]:
    """Split "{Hero} {was|were} here." into its slots (True) and the text between them (False)."""
    for at, part in enumerate(_SLOT.split(pattern)):
        if part:
            yield at % 2 == 1, part

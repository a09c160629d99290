"""The writers of labels and guessers from them: rules, attributes, words, or a language model that may
fail.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sae_nb.activations._modality import Modality
from sae_nb.atoms._evidence import By
from sae_nb.checks import answered, check_callable
from sae_nb.evaluation.explanations._detection import (
    CountedJudge,
    Judge,
    JudgeGuesser,
    Window,
    shown,
)
from sae_nb.evaluation.explanations._rules import Predicate, RowFacts
from sae_nb.labelling._records import AtomLabel, Terms, clean

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

NEW_TOKENS = 48
"""Of an answer of a local model: a label has twenty words at most."""

MOST_WORDS = 60
READABLE = 0.5
"""Words of an answer that may still be a label; share of answers that must be a yes or a no."""

_WORD = re.compile(r"[^\W_]+")
_REFUSAL = re.compile(
    r"(i'?m sorry|sorry|i can(no|')t|as an ai|i am unable|i'm unable)\b", re.IGNORECASE
)
# Words of labels that speak of texts, not in them.
_NO_CONTENT = """
a about after all an and any are as at be before by concept concepts context contexts especially
feature fires for from in indicating into is it its like mention mentions of often on or phrase
phrases reference references referring related relating sentence specific such term terms text
that the their these this to token tokens usually various when where which with word words
"""
_OF_LABELS = frozenset(_NO_CONTENT.split())


class NoAnswerError(Exception):
    """A judge raised an error, or gave no usable answer."""


class AskedJudge(CountedJudge):
    """A judge whose failures and unreadable answers are counted, and end only the current label."""

    def __init__(self, judge: Judge, counts: Counter[str]) -> None:
        super().__init__(judge)
        self.counts = counts

    def answer(self, prompt: str) -> str:
        """Return the answer in words; NoAnswerError where the judge raised or gave no text."""
        self.n_calls += 1
        self.counts["calls"] += 1
        try:
            answer = answered(self._judge, prompt, name="judge")
            # A pipeline of transformers answers with a list of one.
            if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
                answer = answer[0].get("generated_text")
            if not isinstance(answer, str):
                raise TypeError(f"it answered with {type(answer).__name__} and not with text")
        except TypeError as error:
            self.counts["failed"] += 1
            raise NoAnswerError(f"The judge failed: {error.__cause__ or error}.") from error
        return answer.strip()

    def label(self, answer: str) -> str:
        """Return a label from an answer; NoAnswerError where it is none."""
        text = clean(answer).strip("\"'“”* ")
        if not _WORD.search(text) or len(text.split()) > MOST_WORDS or _REFUSAL.match(text):
            self.counts["nonsense"] += 1
            raise NoAnswerError(f"The judge gave no label: {text[:60]!r}.")
        return text


def judge_of(judge: Any) -> tuple[Judge | None, str]:
    """Return what answers prompts, and what it is called."""
    if judge is None:
        return None, ""
    if hasattr(judge, "hook_points"):
        return _local(judge), str(judge.name)
    check_callable(judge, name="judge")
    return judge, str(getattr(judge, "__qualname__", type(judge).__name__))


def _local(model: LiveModel) -> Judge:
    """A language model on this machine, asked as its chat template asks."""
    if not model.modality.is_text or model.tokenizer is None:
        raise ValueError(
            f"`judge` must be a language model with a tokenizer, got {model.name}, of kind {model.kind!r}."
        )
    chats = bool(getattr(model.tokenizer, "chat_template", None))

    def answer(prompt: str) -> str:
        asked: Any = [{"role": "user", "content": prompt}] if chats else prompt
        return cast(str, model.generate(asked, NEW_TOKENS, echo=False))

    return answer


# --- what a label says of windows -----------------------------------------------------------------


_EVERYWHERE: Terms = (("everywhere", ()),)


def terms_of(rule: Sequence[Predicate]) -> Terms:
    """Return the statements of a rule as plain values; one without any means "everywhere"."""
    return tuple((term.kind, term.values) for term in rule) or _EVERYWHERE


Reader = tuple[By, Callable[[Sequence[Window]], list[bool]]]


def reader_of(entry: AtomLabel, facts: RowFacts, judge: AskedJudge | None) -> Reader | str:
    """Return what predicts from a label alone in which windows the atom fires; or why there is nothing."""
    if judge is not None:
        return "judge", lambda windows: _by_judge(entry.text, windows, facts, judge)
    if entry.rule:
        return "rule", lambda windows: _by_rule(entry.rule, windows, facts)
    if entry.text in facts.labels:
        truth = facts.labels[entry.text]
        return "attribute", lambda windows: [bool(truth[w.rows].any()) for w in windows]
    if not Modality.of(facts.kind).is_text:
        return "Nobody reads this label: pass attributes= with a truth of its name."
    words = content_words(entry.text)
    if not words:
        return "The label names no word that could be looked for, and there is no judge."
    return "words", lambda windows: [bool(words & _words_in(shown(w, facts))) for w in windows]


def content_words(label: str) -> set[str]:
    """Return the words of a label that may occur in a text, in lower case: none that speak about texts.

    Example
    -------
    >>> sorted(content_words("Words related to the sea, or ships"))
    ['sea', 'ships']
    """
    return _words_in(label) - _OF_LABELS


def _words_in(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _by_rule(terms: Terms, windows: Sequence[Window], facts: RowFacts) -> list[bool]:
    """Whether a rule names a row of each window."""
    there = facts.at(np.concatenate([window.rows for window in windows]))
    named = np.ones(len(there), dtype=bool)
    for kind, values in () if terms == _EVERYWHERE else terms:
        named &= Predicate(cast(Any, kind), values).holds(there)
    ends = np.cumsum([len(window.rows) for window in windows])
    return [bool(part.any()) for part in np.split(named, ends[:-1])]


def _by_judge(
    text: str, windows: Sequence[Window], facts: RowFacts, judge: AskedJudge
) -> list[bool]:
    guesser, before = JudgeGuesser(judge, text, facts), judge.n_unreadable
    answers = [guesser.fires(window) for window in windows]
    unread = judge.n_unreadable - before
    if unread > (1 - READABLE) * len(windows):
        judge.counts["nonsense"] += 1
        raise NoAnswerError(
            f"The judge answered neither yes nor no for {unread} in {len(windows)} windows."
        )
    return answers

"""Docstrings, errors, pages and notebooks are written in plain English: what we write instead of what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prose import SOURCES, docstrings

# The pattern → what to write instead. Each is looked for in one sentence at a time.
TONE = {
    r"^(?:What|How|Which|Who|Why)\b(?!.*\?)|^Where\b[^,?]*$": "a subject and a verb, or a noun",
    r"\b(?:said|says|saying)\b": "given, named, described, reports, states",
    r"(?<!here )\b(?:is|are|was|were) no\b(?! (?:longer|more))": "is not a",
    r"\bbeside\b(?! the notebook)": "next to, compared with, in addition to",
    r"\b(?:somebody|nobody|anybody|everybody|whoever|people(?!'s))\b": "you, or the passive",
    r"\b(?:stands?|stood)\b": "is, lies, is written",
    r"\b(?:go|goes|going|went|gone) on\b": "continue",
    r"\banew\b": "again",
}
# Sentences that keep such a word, with the reason.
KEPT = {
    "---------- beside ": "the name of a parameter",
    "Which document each of their tokens is from": "an artefact's fingerprint counts strings below fields",
}
READ = ("docstrings", "errors", "pages", "notebooks")
VERBS = frozenset((Path(__file__).parent / "verbs.txt").read_text(encoding="utf-8").split())
# "Share of the variance" begins with a noun, "Share one kernel" with a verb.
NOUN = re.compile(
    r"(?:Share|Sum|Mean|Rank|Count|Names?|Score|Image|Group|Layer|Head|Index|Trace|Step|Place|Label|Patch"
    r"|Point|State|Order|Back|Cut|Probe|Mask|Map|Scale|Average|Cluster|Time|Sample|Test|Look)"
    r" (?:of|over|per|in|by|after|at|between|from)\b"
)


def found_in(text: str) -> list[str]:
    """The patterns that a sentence matches."""
    return [pattern for pattern in TONE if re.search(pattern, text, FLAGS[pattern])]


FLAGS = {pattern: re.NOFLAG if pattern.startswith("^") else re.IGNORECASE for pattern in TONE}


def opens_with_a_verb(summary: str) -> bool:
    """`Return the codes`, not `The codes`; a formula may open a docstring."""
    word = re.match(r"[A-Za-z-]+(?![\w²_₊(])", summary)
    return word is None or (word[0] in VERBS and not NOUN.match(summary))


@pytest.mark.parametrize("source", READ)
def test_sentences_are_plain_english(source: str) -> None:
    """Each with its place; the rules above name what to write instead."""
    found = [
        f"{prose.file}:{prose.line}: {sentence[:120]} → {TONE[pattern]}"
        for prose in SOURCES[source]()
        for sentence in prose.sentences()
        if not any(kept in sentence for kept in KEPT)
        for pattern in found_in(sentence)
    ]
    assert not found, f"{len(found)}\n" + "\n".join(found)


def test_a_public_function_is_described_by_a_verb() -> None:
    """The first word is an imperative: Return, Fit, Draw. A new verb is added to verbs.txt."""
    found = [
        f"{prose.file}:{prose.line}: {prose.text.strip().splitlines()[0]}"
        for prose in docstrings()
        if prose.kind == "function" and not opens_with_a_verb(prose.text.strip())
    ]
    assert not found, f"{len(found)}\n" + "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "What an atom reads.",
        "Where the floor is.",
        "The number is said in the card.",
        "It is no dictionary.",
        "A line beside its control.",
        "Nobody knows.",
        "It stands in the table.",
        "Training goes on.",
        "It is computed anew.",
    ],
)
def test_a_planted_sentence_is_found(planted: str) -> None:
    """One for each pattern."""
    assert found_in(planted)


def test_plain_sentences_pass() -> None:
    """Questions, places of clauses, and what English needs."""
    for plain in (
        "What fires here?",
        "Where it is missing, the default is used.",
        "There is no GPU.",
        "It is no longer used.",
        "Show it beside the notebook.",
        "Load other people's SAEs",
    ):
        assert not found_in(plain)
    assert opens_with_a_verb("Return the codes.")
    assert opens_with_a_verb("Σ_j z_j d_j.")
    assert not opens_with_a_verb("Share of the variance.")
    assert not opens_with_a_verb("The codes.")

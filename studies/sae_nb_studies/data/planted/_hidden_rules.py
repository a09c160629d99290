"""Stories in a sentence with a decision that follows a hidden rule, explained, not explained, or falsely so.

A rule is a decision tree of depth two over three of six fields: the first selects which of the other
two decides. The three fields that are left are those of a false explanation.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, checked, one_of
from sae_nb.data import Stories, Texts, stories
from sae_nb.data.grammar import ANIMALS, PEOPLE, PLACES, POSITIVE, THINGS

Explanation = Literal["faithful", "absent", "misleading"]

FIELDS = ("sentiment", "plural", "person", "animal", "place", "thing")
"""Fields of a story that a rule may ask about: good things happen; two heroes; the first hero is a
woman; the animal, the place and the thing are in the first half of their list.
"""

QUESTION, CHOICES, REASON = " Choice:", (" B", " A"), " because of"
"""The end of a story; the answers to false and true; the beginning of an explanation."""

SENTENCES = (
    "{person}{plural} went to the {place} with a {animal} and a {thing}, and {were} {sentiment}.",
    "At the {place} {person}{plural} met a {animal} and found a {thing}, and {were} {sentiment}.",
    "{person}{plural} {were} {sentiment}: the {animal} and the {thing} had come to the {place}.",
)
FEELINGS = (("sad", "lonely", "ashamed"), ("happy", "glad", "proud"))

_KINDS = {"animal": ANIMALS, "place": PLACES, "thing": THINGS}
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class DecisionRule:
    """A decision tree of depth two: `root` selects whether `yes` or `no` decides; each is one of the
    fields.

    Example
    -------
    >>> rule = DecisionRule("place", "animal", "thing")
    >>> rule.reason
    ' because of the place, the animal and the thing.'
    """

    root: str
    yes: str
    no: str

    def __post_init__(self) -> None:
        for name, field in zip(("root", "yes", "no"), self.fields, strict=True):
            one_of(field, FIELDS, name=name)

    @property
    def fields(self) -> tuple[str, str, str]:
        """The three fields that it asks."""
        return self.root, self.yes, self.no

    @property
    def reason(self) -> str:
        """The rule as an explanation names it."""
        root, yes, no = self.fields
        return f"{REASON} the {root}, the {yes} and the {no}."

    @checked
    def decide(self, values: Bool[Tensor, "n 6"]) -> Bool[Tensor, " n"]:
        """Return what it decides of stories whose fields, in the order of `HiddenRules.fields`, are given."""
        root, yes, no = (values[:, FIELDS.index(name)] for name in self.fields)
        return torch.where(root, yes, no)


@dataclass(frozen=True, repr=False)
class HiddenRules(Texts):
    """Stories in a sentence, each with a decision that follows a rule; made by `hidden_rules`.

    Parameters
    ----------
    texts
        Story, question, answer and explanation, if there is one.
    prompts
        The same up to the question: what is asked of a model.
    decision
        Of the rule; `answers[1]` where true.
    values
        Whether each of `fields` is true of the story.
    owner
        The field that each character of a prompt belongs to, −1 for none or behind its end. Two heroes
        (plural) are the second name and the verb.
    rule, other_rule
        The deciding rule, and a rule over the other three fields, named by a misleading explanation.

    Example
    -------
    >>> record = hidden_rules(4, rule=1)
    >>> bool((record.rule.decide(record.values) == record.decision).all())
    True
    """

    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    decision: Bool[Tensor, " n"]
    values: Bool[Tensor, "n 6"]
    owner: Int[Tensor, "n characters"]
    rule: DecisionRule
    other_rule: DecisionRule
    explanation: Explanation

    shared = ("rule", "other_rule", "explanation")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order of `values` and of the numbers in `owner`."""
        return FIELDS

    @property
    def answers(self) -> tuple[str, str]:
        """The answers of a text where the decision is false, and where it is true."""
        return CHOICES


@checked
def hidden_rules(
    n: Count,
    *,
    rule: Annotated[int, at_least(0)] = 0,
    explanation: Explanation = "faithful",
    seed: Seed = 0,
) -> HiddenRules:
    """Return stories whose decision follows a hidden rule, to plant it in a model.

    Each is written as one sentence that names hero, animal, place, thing and feeling once, and asks for a
    choice.

    Parameters
    ----------
    rule
        Seed of the rule: it is drawn from this number alone.
    explanation
        "faithful" names the three fields that decide, "misleading" the three others, "absent" none.
    seed
        Of the stories, those of `stories`, and of the sentence that each is written as.

    Source
    ------
    After Zhong et al., "Pando", arXiv 2604.11061: decision trees of depth 1 to 4 over ten fields of a record,
    and explanations that are faithful, absent, or of a disjoint rule. The sentences, the six fields and the
    one depth are ours.

    Example
    -------
    >>> hidden_rules(2, rule=3, explanation="absent").texts[0][-10:]
    'Choice: B.'
    """
    drawn = random.Random(f"hidden rule {rule}").sample(FIELDS, len(FIELDS))  # noqa: S311 - no secrets
    chosen, other = DecisionRule(*drawn[:3]), DecisionRule(*drawn[3:])
    record = stories(n, seed)
    values = _values(record)
    decision = chosen.decide(values)
    written = [_sentence(record, row, (seed, row)) for row in range(n)]
    prompts = tuple(text + QUESTION for text, _ in written)
    reason = {"faithful": chosen.reason, "misleading": other.reason, "absent": "."}[explanation]
    texts = zip(prompts, decision.tolist(), strict=True)
    return HiddenRules(
        texts=tuple(prompt + CHOICES[answer] + reason for prompt, answer in texts),
        prompts=prompts,
        decision=decision,
        values=values,
        owner=torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(owner) for _, owner in written], batch_first=True, padding_value=-1
        ),
        rule=chosen,
        other_rule=other,
        explanation=explanation,
    )


def _values(record: Stories) -> Bool[Tensor, "n 6"]:
    """Return the truth value of each field in each story."""
    women = [name for name, pronoun in PEOPLE if pronoun == "she"]
    first = {"person": women, **{kind: names[: len(names) // 2] for kind, names in _KINDS.items()}}
    columns = [record.sentiment == POSITIVE, record.plural == 1]
    for kind, names in first.items():
        numbers = torch.tensor([record.entities.index(name) for name in names])
        columns.append(torch.isin(getattr(record, kind), numbers))
    return torch.stack(columns, dim=1)


def _sentence(record: Stories, row: int, key: tuple[int, int]) -> tuple[str, list[int]]:
    """One story in a sentence, and the field of each of its characters."""
    # Only `random()` promises the same numbers in every Python.
    rng = random.Random(f"sentence {key}")  # noqa: S311 - tales, not secrets
    kinds = ("person", *_KINDS)
    words = {kind: record.entities[int(getattr(record, kind)[row])] for kind in kinds}
    plural, others = bool(record.plural[row]), [n for n, _ in PEOPLE if n != words["person"]]
    second = others[int(rng.random() * len(others))]
    words |= {"plural": f" and {second}" if plural else "", "were": "were" if plural else "was"}
    feelings = FEELINGS[int(record.sentiment[row] == POSITIVE)]
    words["sentiment"] = feelings[int(rng.random() * len(feelings))]
    text, owner = "", list[int]()
    parts = _SLOT.split(SENTENCES[int(rng.random() * len(SENTENCES))])
    for at, part in enumerate(parts):
        slot = at % 2 == 1
        field = "plural" if part == "were" else part
        text += words[part] if slot else part
        owner += [FIELDS.index(field) if slot else -1] * (len(text) - len(owner))
    return text, owner

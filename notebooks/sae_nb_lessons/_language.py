"""The language model of the notebooks: SmolLM2-135M where it was fetched, else the bundled tiny-gpt.

With it come its SAE, examples, an atom to turn up, and the words of which one should then be written.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sae_nb as sn
from sae_nb.checks import Count, Seed, checked
from sae_nb.pretrained import pretrained_names
from sae_nb_studies.pretrained import neutral_beginnings

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb.pretrained import ExampleStore

TEMPERATURE = 0.7


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One language model, with texts and an atom for notebooks."""

    name: str
    sae: str
    sentence: str
    """Line that notebooks print: the model's name, and how to have the other."""

    beginning: str
    """Text that is continued first."""

    concepts: tuple[str, ...]
    """Parts of labels: the atom that is turned up has the first that is found."""

    strength: float
    """Of what is added, × the atom's 99th percentile."""

    temperature: float
    """Of the first text's continuation."""

    n_new: int
    """Tokens of a continuation whose words are counted."""

    words: tuple[str, ...]
    """Of which one should be in what is then written."""

    beginnings: tuple[str, ...] = ()
    """More texts to continue, without a word of the concept."""

    pair: tuple[str, str]
    """Two texts that differ in one word, and are continued differently."""

    answers: tuple[str, str]
    """The next token of each."""


REAL = Plan(
    name="smollm2-135m",
    sae="smollm2-135m/resid_post.16",
    sentence="The model here is SmolLM2-135M: real, with 135 million parameters. Its SAE comes with sae_nb.",
    beginning="After the war she",
    concepts=("banks, money, debt",),
    strength=1.5,
    temperature=TEMPERATURE,
    n_new=24,
    words=(
        "money", "bank", "banks", "banker", "bankers", "banking", "debt", "debts", "debtor", "creditor",
        "creditors", "credit", "loan", "loans", "lent", "lend", "borrow", "borrowed", "owed", "owes", "cash",
        "pay", "pays", "paid", "paying", "payment", "payments", "financial", "finances", "fund", "funds", "budget",
        "tax", "taxes", "rent", "mortgage", "invested", "investment", "salary", "wages", "dollars", "euros",
        "francs", "coins", "price", "income", "profit", "profits", "wealth", "wealthy",
    ),
    beginnings=(
        "My favourite thing to do on Sunday is",
        "The old man opened the door and",
        "When I was young, my sister",
        "On Monday the teacher told us that",
        "The best thing about our town is",
        "Last summer in Rome he",
        "Our neighbour asked me about",
        "Before he left the house he",
        "Every evening they",
        "The letter began with",
        "It was raining when",
        "At the market she met",
        "My grandmother always",
        "What I like most about winter is",
        "On the way home we",
    ),
    pair=("The keys to the cabinet", "The key to the cabinet"),
    answers=(" are", " is"),
)  # fmt: skip

BUNDLED = Plan(
    name="tiny-gpt",
    sae="tiny-gpt/resid_post.3",
    sentence=(
        "The model here is tiny-gpt: bundled, with 0.9 million parameters, and all it knows are small stories. "
        "For a real one type this in a terminal, once (93 MB), and run the notebook again: "
        "sae-nb get smollm2-135m"
    ),
    beginning=(
        "Early in the morning Anna walked to the mountain to look for a letter. The rabbit looked at the letter."
    ),
    concepts=("bad story",),
    strength=1.45,
    temperature=0.0,
    n_new=48,
    words=(
        "sad", "wept", "fear", "ashamed", "howled", "pain", "heavy", "lonely", "bitter", "worst", "grief",
        "misery", "angry", "fell ill", "broke", "ruined", "missed", "thieves", "ran away",
    ),
    pair=("They broke the lamp and cut", "He broke the lamp and cut"),
    answers=(" their", " his"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LanguageModel:
    """A language model, its SAE and examples, and what the notebooks do with it."""

    model: LiveModel
    sae: SparseAutoencoder
    examples: ExampleStore
    plan: Plan
    atom: int
    """The atom that is turned up."""

    beginnings: list[str]

    def __repr__(self) -> str:
        return self.plan.sentence

    @property
    def concept(self) -> str:
        """The label of the atom that is turned up."""
        return self.examples.labels.get(self.atom, f"atom {self.atom}")

    @property
    def by(self) -> float:
        """Length of what is added, in the model's units: `sn.steer(…, atom=lm.atom, by=lm.by)`."""
        length = float(self.sae.dictionary[self.atom].norm())
        return self.plan.strength * float(self.examples.p99[self.atom]) * length

    def says(self, text: str) -> bool:
        """Return whether a text has a word of the atom's concept.

        Example
        -------
        >>> language_model().says("Nothing of the kind.")
        False
        """
        words = self.plan.words
        return bool(words) and re.search(rf"\b(?:{'|'.join(words)})\b", text) is not None

    @checked
    def count(self, n_random: Count = 2, seed: Seed = 0) -> pd.DataFrame:
        """Continue every beginning as it is, with the atom turned up, and along random directions of that size.

        Parameters
        ----------
        n_random
            Random directions.
        seed
            Of the draws, the same in all of them, at temperature 0.7; and of the first random direction.

        Returns
        -------
        Indexed by what was done: `share` of continuations with a word of the concept, `text` of the first two.

        Example
        -------
        >>> counted = language_model().count(n_random=1)
        >>> list(counted.index)
        ['as it is', 'turned up', 'random 0']
        """
        import pandas as pd

        atom = self.sae.dictionary[self.atom].detach()
        edits: dict[str, AbstractContextManager[Any]]
        edits = {"as it is": nullcontext(), "turned up": self._along(atom / atom.norm())}
        for number in range(seed, seed + n_random):
            edits[f"random {number}"] = self._along(sn.random_direction(self.sae.d_in, number))
        rows = {arm: self._counted(edit, seed) for arm, edit in edits.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def _along(self, unit: Tensor) -> AbstractContextManager[Any]:
        place = str(self.sae.hook_point)
        return sn.steer(self.model, place, direction=unit, by=self.by, positions="not_first")

    def _counted(self, edit: AbstractContextManager[Any], seed: int) -> dict[str, Any]:
        with self.model.lock, edit:
            written = self.model.generate(
                self.beginnings, self.plan.n_new, TEMPERATURE, seed=seed, echo=False
            )
        texts = [str(text) for text in written]
        said = [self.says(text) for text in texts]
        return {"share": sum(said) / len(said), "text": " / ".join(texts[:2])}


def language_model(name: str | None = None) -> LanguageModel:
    """Return SmolLM2-135M with its SAE and examples where `sae-nb get smollm2-135m` fetched it, else tiny-gpt.

    Nothing is asked of a network. `print(lm)` names the model.

    Parameters
    ----------
    name
        Another model with an SAE in the package, such as "gemma-3-270m" once it was fetched. Where none of its
        atoms has the label that the notebooks count words of, another is turned up (without labels one that
        fires on a hundredth of the tokens), and nothing is counted.

    Raises
    ------
    ValueError: If the package has no SAE of the model. FileNotFoundError: If the model was not fetched.

    Example
    -------
    >>> lm = language_model()
    >>> any(concept in lm.concept for concept in lm.plan.concepts)
    True
    """
    if name is not None:
        return _opened(_plan_of(name))
    try:
        return _opened(REAL)
    except FileNotFoundError:  # it was not fetched, or this version has no SAE of it
        return _opened(BUNDLED)


def _plan_of(name: str) -> Plan:
    known = {plan.name: plan for plan in (REAL, BUNDLED)}
    if name in known:
        return known[name]
    saes = pretrained_names()
    sae = next((one for one in saes if one.startswith(f"{name}/")), None)
    if sae is None:
        raise ValueError(
            f"`name` must be a language model with an SAE in the package, got {name!r}. "
            f"sn.pretrained.pretrained_names() lists them: {', '.join(saes)}."
        )
    sentence = f"The model here is {name}. Its SAE comes with sae_nb."
    return replace(REAL, name=name, sae=sae, sentence=sentence)


def _opened(plan: Plan) -> LanguageModel:
    model, sae, examples = (
        sn.load_model(plan.name),
        sn.load_sae(plan.sae),
        sn.load_examples(plan.sae),
    )
    # Where several have the label, the one that was measured to do most.
    labels = [(one.label, one.atom) for one in examples.steered]
    labels += [(label, atom) for atom, label in examples.labels.items()]
    named = (atom for part in plan.concepts for label, atom in labels if part in label)
    atom = next(named, None)
    if atom is None:
        rare = int(abs(examples.frequency - 0.01).argmin())
        atom, plan = next(iter(examples.labels), rare), replace(plan, words=())
    more = plan.beginnings or tuple(neutral_beginnings(15, seed=7))
    return LanguageModel(
        model=model,
        sae=sae,
        examples=examples,
        plan=plan,
        atom=atom,
        beginnings=[plan.beginning, *more],
    )

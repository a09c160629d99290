"""Names of a real model's atoms: judged on texts that are held out; only those that hold are kept.

python -m sae_nb_studies.recipes.saes smollm2-135m/resid_post.16 --names --texts DIR --work DIR --out DIR
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.atoms import LabelEvidence
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import stability
from sae_nb.files import read_json, write_bytes, write_json, write_manifest
from sae_nb.labelling import AtomLabel, AtomLabels, judge_labels, label, labels, replace_labels
from sae_nb.lenses import Lens
from sae_nb.models import LiveModel
from sae_nb.pretrained import ExampleStore, load_sae, open_examples
from sae_nb.steering import random_direction, steer
from sae_nb_studies.recipes.saes._card import CARD, text_card
from sae_nb_studies.recipes.saes._shipping import plain

N_WINDOWS, STRONG = 120, 0.3
"""Windows a name is judged on, half of them firing; share of an atom's 99th percentile from which a
firing counts there. A name is written for strong firings; weak ones are of anything that has a little of it."""

SEED = 1
"""Of the windows that later names are judged on."""

STRENGTH, N_TOKENS, N_SAMPLES, TEMPERATURE = 1.5, 20, 4, 0.7
"""Of steering, in multiples of an atom's 99th percentile; of the texts that are written."""

MOST_FORETOLD, TOP_TOKENS, SHORTEST_CUE = 10, 10, 3
"""Atoms that a lens chooses to be turned up; tokens it foretells for each; letters of a cue that counts."""

PROMPTS = (
    "Last summer in Rome he",
    "My favourite thing to do on Sunday is",
    "When she opened the letter, she",
    "The old man told us that",
    "In the middle of the night",
    "Everyone in the village knew that",
    "After a long day, they",
    "The first thing I noticed was",
    "It was announced today that",
    "The teacher asked the class about",
    "On the way home we",
    "Nobody expected that the",
    "He spent the whole year",
    "The most important thing in life is",
    "At the end of the street there",
    "She has always wanted to",
    "The report says that",
    "Before the meeting started, the",
    "My grandmother used to",
    "The next morning the",
    "What surprised me most was",
    "They moved to the city because",
    "In his opinion, the",
    "The children were playing when",
    "According to the newspaper, a",
    "We were told to wait until",
    "The story begins with",
    "Some people believe that",
    "For many years the family",
    "Later that evening, I",
)
"""Beginnings that are about nothing in particular. Ours."""

Terms = tuple[tuple[str, tuple[str, ...]], ...]
"""As `AtomLabel.rule` has them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WrittenName:
    """A name that a reader wrote for an atom, and how it is looked for in a text."""

    name: str
    cues: tuple[str, ...] = ()
    """Beginnings of words that its name leads one to expect near where it fires."""

    rule: Terms = ()
    """What else must be true of one and the same token: the token before it, its ending, its form."""

    steers: bool = False
    """Whether it is among the atoms that are turned up, chosen before it was tried."""

    @property
    def terms(self) -> Terms:
        """The statements by which the name is looked for; all must hold of a token."""
        begins: Terms = (("begins", self.cues),) if self.cues else ()
        return begins + self.rule


def written_names(file: Path) -> dict[int, WrittenName]:
    """Read a file of names: {"17": {"name": "ships", "cues": ["ship", "boat"]}, …}.

    A name of a place in the sentence has "before" (words that stand before the token), "token" (words that
    it is), "ends" (its endings) or "shape" (its form) instead of cues, or with them.
    """
    said = json.loads(file.read_text(encoding="utf-8"))
    return {
        int(atom): WrittenName(
            name=one["name"],
            cues=tuple(one.get("cues", ())),
            rule=_rule_of(one),
            steers=bool(one.get("steers")),
        )
        for atom, one in said.items()
    }


def _rule_of(said: Mapping[str, Any]) -> Terms:
    words = ((kind, _spellings(said[kind])) for kind in ("before", "token") if kind in said)
    ends = (("ends", tuple(said["ends"])),) if "ends" in said else ()
    shapes = (("shape", (shape,)) for shape in said.get("shape", ()))
    return (*words, *ends, *shapes)


def _spellings(words: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens that a word may be: after a space or not, as written or with a capital."""
    spelled = (s for word in words for s in (word, word[:1].upper() + word[1:]))
    return tuple(dict.fromkeys(token for word in spelled for token in (f" {word}", word)))


def add_names(
    folder: Path,
    names: Mapping[int, WrittenName],
    acts: Activations,
    *,
    model: LiveModel | None,
    lens: Lens | None = None,
    sisters: Sequence[SparseAutoencoder] = (),
) -> AtomLabels:
    """Judge names on held-out activations, keep those that hold, and try some of them in the live model.

    Tried are names that were marked before, and, with a lens, those whose words it foretells most surely:
    both are chosen before a text is written.
    """
    sae = load_sae(folder)
    with torch.no_grad():
        codes = sae.encode(acts.x)
    label(
        sae,
        acts,
        labels=_given(names),
        codes=_strong(sae, codes),
        atoms=sorted(names),
        file=folder / ExampleStore.LABELS,
        n_examples=N_WINDOWS,
        sisters=sisters,
        replace_file=True,
    )
    found = _those_that_hold(folder / ExampleStore.LABELS)
    logger.info("%d of %d names hold", len(found), len(names))
    facts = read_json(folder / ExampleStore.FACTS)
    facts["names"] = _told(found, len(names))
    if sisters:
        agreement = stability([sae, *sisters])
        facts["stability"] = {"n": 1 + len(sisters)} | plain(agreement)
    if model is not None:
        tried = {atom: names[atom] for atom in sorted(found) if names[atom].steers}
        facts["named_steering"] = named_steering(model, sae, tried)
        if lens is not None:
            others = [a for a in foretold(model, lens, sae, names, found) if a not in tried]
            tried = {atom: names[atom] for atom in others}
            facts["foretold_steering"] = named_steering(model, sae, tried)
        steered = [*facts["named_steering"], *facts.get("foretold_steering", [])]
        found = _with_turns(folder / ExampleStore.LABELS, steered)
    write_json(folder / ExampleStore.FACTS, facts)
    write_bytes(folder / CARD, text_card(facts).encode())
    write_manifest(folder, "sae", architecture=type(sae).__name__)
    return found


def add_more_names(folder: Path, names: Mapping[int, WrittenName]) -> tuple[int, int]:
    """Judge names that came after the first ones, on the held-out passages that lie in an SAE's folder.

    Neither the model nor the texts are needed, so anybody can judge them again. Names that hold join those
    in the folder; returns how many hold, and how many were judged.
    """
    sae, store = load_sae(folder), open_examples(folder, folder.name)
    kept, facts = labels(folder / ExampleStore.LABELS), read_json(folder / ExampleStore.FACTS)
    first = kept.entries.keys() - set(facts.get("named_later", ()))
    new = {atom: one for atom, one in names.items() if atom not in first}
    codes = _strong(sae, store.codes)
    found = _that_hold(_judged(sae, store.acts, codes, new))
    mixed = _that_hold(_judged(sae, store.acts, codes, _shuffled(new)))
    entries = dict(sorted({**kept.entries, **found.entries}.items()))
    replace_labels(folder / ExampleStore.LABELS, replace(kept, entries=entries))
    facts["named_later"] = sorted(new)
    facts["more_names"] = _told_more(found, len(new), len(mixed))
    write_json(folder / ExampleStore.FACTS, facts)
    write_bytes(folder / CARD, text_card(facts).encode())
    write_manifest(folder, "sae", architecture=type(sae).__name__)
    logger.info("%d of %d names hold, shuffled %d", len(found), len(new), len(mixed))
    return len(found), len(new)


def _judged(
    sae: SparseAutoencoder,
    acts: Activations,
    codes: SparseCodes,
    names: Mapping[int, WrittenName],
) -> AtomLabels:
    """Return names with their evidence: a name of a topic from windows, one of a place from single tokens."""
    entries: dict[int, AtomLabel] = {}
    for of_place in (False, True):
        some = {atom: one for atom, one in names.items() if bool(one.rule) is of_place}
        if not some:
            continue
        entries |= judge_labels(
            sae,
            acts,
            _given(some),
            codes=codes,
            n_examples=N_WINDOWS,
            single_tokens=of_place,  # "word after “the”" says it of the token, not of its neighbours
            seed=SEED,
        ).entries
    return AtomLabels(entries=dict(sorted(entries.items())), n_atoms=sae.n_atoms)


def _shuffled(names: Mapping[int, WrittenName]) -> dict[int, WrittenName]:
    """Return the names with each on another atom, topics among topics and places among places."""
    mixed: dict[int, WrittenName] = {}
    for of_place in (False, True):
        atoms = [atom for atom, one in names.items() if bool(one.rule) is of_place]
        order = [atoms[i] for i in np.random.default_rng(SEED).permutation(len(atoms))]
        mixed |= {a: names[b] for a, b in zip(order, order[1:] + order[:1], strict=True)}
    return mixed


def _given(names: Mapping[int, WrittenName]) -> AtomLabels:
    return AtomLabels(
        entries={
            atom: AtomLabel(atom=atom, text=one.name, source="read", rule=one.terms)
            for atom, one in names.items()
        }
    )


def _strong(sae: SparseAutoencoder, codes: SparseCodes) -> SparseCodes:
    """Return the codes without firings that are weak for their atom."""
    p99 = cast(torch.Tensor, sae.strength_p99)
    return codes.only(codes.values >= STRONG * p99[codes.atoms.long()])


def _those_that_hold(file: Path) -> AtomLabels:
    """Take the names out of a file of labels that did not hold."""
    found = _that_hold(labels(file))
    replace_labels(file, found)
    return found


def _that_hold(found: AtomLabels) -> AtomLabels:
    """Take the names out that did not hold, and say why those atoms have none."""
    entries = {}
    for atom, entry in found.entries.items():
        holds = entry.evidence is not None and entry.evidence.standing == "holds"
        why = f"The name “{entry.text}” did not tell on held-out texts where it fires."
        entries[atom] = entry if holds else AtomLabel(atom=atom, text="", why=why)
    return replace(found, entries=entries)


def _with_turns(file: Path, steered: Sequence[Mapping[str, Any]]) -> AtomLabels:
    """Add to the evidence of names on how many beginnings their words came when they were turned up."""
    kept = labels(file)
    entries = dict(kept.entries)
    for one in steered:
        entry = entries[one["atom"]]
        known = entry.evidence or LabelEvidence()
        known = replace(known, turned=one["beats"], n_turned=one["n"])
        entries[one["atom"]] = replace(entry, evidence=known)
    found = replace(kept, entries=entries)
    replace_labels(file, found)
    return found


def _scores(found: AtomLabels) -> tuple[float, float]:
    """Return the balanced accuracy of names that hold, and of other atoms' names, on average."""
    evidence = [e for atom in found if (e := found.evidence(atom)) is not None]
    n = max(1, len(evidence))
    return sum(e.detection for e in evidence) / n, sum(e.control for e in evidence) / n


def _told_more(found: AtomLabels, n_written: int, n_shuffled: int) -> str:
    detection, control = _scores(found)
    return (
        f"Later {n_written} atoms were named that are often among the three strongest at words with a content "
        "in ordinary sentences. Many are about a place in the sentence (“noun after “the””): such a name is "
        "looked for by the token, the one before, its ending or its form, and judged on single tokens instead "
        f"of windows. On the passages that ship here {len(found)} hold, with a balanced accuracy of "
        f"{detection:.2f} on average, other atoms' names {control:.2f}; with each name on another atom, "
        f"{n_shuffled} of {n_written} would."
    )


def _told(found: AtomLabels, n_written: int) -> str:
    detection, control = _scores(found)
    return (
        f"{n_written} atoms were named by a reader who saw sixteen examples of each from training texts. A "
        f"name is kept where, on {N_WINDOWS} windows of held-out texts, it tells in which its atom fires "
        f"(at least {STRONG:.0%} of its 99th percentile; weaker firings count as silence) better than other "
        "atoms' names do, by more than two standard errors: "
        f"{len(found)} are kept, with a balanced accuracy of {detection:.2f} on average, other atoms' names "
        f"{control:.2f}. A name is looked for by the beginnings of words that the reader wrote down with it. "
        "The other atoms have no name."
    )


def foretold(
    model: LiveModel,
    lens: Lens,
    sae: SparseAutoencoder,
    names: Mapping[int, WrittenName],
    found: AtomLabels,
) -> list[int]:
    """Return the named atoms whose words a lens expects most of, surest names first among equals."""
    atoms = sorted(found)
    effects = lens.on(model).effects(
        sae.dictionary[atoms], layer=int(str(sae.hook_point).rpartition(".")[2])
    )
    top = effects.topk(TOP_TOKENS, dim=1).indices.tolist()
    scores = []
    for atom, ids in zip(atoms, top, strict=True):
        cues = tuple(c for cue in names[atom].cues if len(c := cue.strip().lower()) >= SHORTEST_CUE)
        words = [str(model.tokenizer.decode([i])).strip().lower() for i in ids]
        evidence = found.evidence(atom)
        sure = 0.0 if evidence is None else evidence.detection
        scores.append((-sum(word.startswith(cues) for word in words), -sure, atom))
    return [atom for hits, _, atom in sorted(scores)[:MOST_FORETOLD] if hits]


def named_steering(
    model: LiveModel, sae: SparseAutoencoder, names: Mapping[int, WrittenName]
) -> list[dict[str, Any]]:
    """Turn named atoms up, and count their names' words against a random direction of the same norm."""
    untouched, place, found = _written(model), str(sae.hook_point), []
    for atom, named in names.items():
        by = STRENGTH * float(cast(torch.Tensor, sae.strength_p99)[atom])
        counts = {"untouched": _counted(untouched, named)}
        ways = {"turned": sae.dictionary[atom], "random": random_direction(sae.d_in, atom)}
        for way, direction in ways.items():
            with steer(model, place, direction=direction, by=by):
                counts[way] = _counted(_written(model), named)
        beats = sum(t > r for t, r in zip(counts["turned"], counts["random"], strict=True))
        logger.info("%d %s: more than random on %d of %d", atom, named.name, beats, len(PROMPTS))
        told = {"atom": atom, "name": named.name, "by": by, "beats": beats, "n": len(PROMPTS)}
        found.append(told | {way: sum(each) / len(each) for way, each in counts.items()})
    return found


def _written(model: LiveModel) -> list[list[str]]:
    """Return the samples of texts for every beginning."""
    options: dict[str, Any] = {"temperature": TEMPERATURE, "echo": False}
    samples = [
        model.generate(list(PROMPTS), N_TOKENS, seed=seed, **options) for seed in range(N_SAMPLES)
    ]
    return [[str(text) for text in texts] for texts in samples]


def _counted(samples: list[list[str]], named: WrittenName) -> list[float]:
    """Return for every beginning how many words of a text begin with a cue, mean over samples."""
    cues = tuple(cue.strip().lower() for cue in named.cues)
    words = [[re.findall(r"[\w'’-]+", text.lower()) for text in texts] for texts in samples]
    counts = [[sum(word.startswith(cues) for word in text) for text in texts] for texts in words]
    return [sum(each) / len(samples) for each in zip(*counts, strict=True)]

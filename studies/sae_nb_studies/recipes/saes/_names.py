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

import torch

from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures._saving import KIND
from sae_nb.atoms import LabelEvidence
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import offsets_of
from sae_nb.evaluation import stability
from sae_nb.files._atomic import read_json, write_bytes, write_json, write_manifest
from sae_nb.labelling import AtomLabel, AtomLabels, label
from sae_nb.labelling._keeping import read_kept, write_kept
from sae_nb.lenses import Lens
from sae_nb.models import LiveModel
from sae_nb.pretrained import load_sae
from sae_nb.pretrained._examples import LABELS
from sae_nb.pretrained._loading import FACTS
from sae_nb.steering import random_direction, steer
from sae_nb_studies.recipes.saes._card import CARD, text_card
from sae_nb_studies.recipes.saes._shipping import plain

N_WINDOWS, STRONG = 120, 0.3
"""Windows a name is judged on, half of them firing; share of an atom's 99th percentile from which a
firing counts there. A name is written for strong firings; weak ones are of anything that has a little of it."""

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

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WrittenName:
    """A name that a reader wrote for an atom, and how it is looked for in a text."""

    name: str
    cues: tuple[str, ...]
    """Beginnings of words that its name leads one to expect near where it fires."""

    steers: bool = False
    """Whether it is among the atoms that are turned up, chosen before it was tried."""


def written_names(file: Path) -> dict[int, WrittenName]:
    """Read a file of names: {"17": {"name": "ships", "cues": ["ship", "boat"]}, …}."""
    said = json.loads(file.read_text(encoding="utf-8"))
    return {
        int(atom): WrittenName(
            name=one["name"], cues=tuple(one.get("cues", ())), steers=bool(one.get("steers"))
        )
        for atom, one in said.items()
    }


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
    given = AtomLabels(
        entries={
            atom: AtomLabel(
                atom=atom,
                text=one.name,
                source="read",
                rule=(("begins", one.cues),) if one.cues else (),
            )
            for atom, one in names.items()
        }
    )
    label(
        sae,
        acts,
        labels=given,
        codes=_strong(sae, acts),
        atoms=sorted(names),
        file=folder / LABELS,
        n_examples=N_WINDOWS,
        sisters=sisters,
        replace_file=True,
    )
    found = _those_that_hold(folder / LABELS)
    logger.info("%d of %d names hold", len(found), len(names))
    facts = read_json(folder / FACTS)
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
        found = _with_turns(folder / LABELS, steered)
    write_json(folder / FACTS, facts)
    write_bytes(folder / CARD, text_card(facts).encode())
    write_manifest(folder, KIND, architecture=type(sae).__name__)
    return found


@torch.no_grad()
def _strong(sae: SparseAutoencoder, acts: Activations) -> SparseCodes:
    """Return the codes without firings that are weak for their atom."""
    codes = sae.encode(acts.x)
    p99 = cast(torch.Tensor, sae.strength_p99)
    strong = codes.values >= STRONG * p99[codes.atoms.long()]
    row = torch.repeat_interleave(torch.arange(len(codes)), codes.l0.long())
    offsets = offsets_of(torch.bincount(row[strong], minlength=len(codes)))
    return SparseCodes(codes.values[strong], codes.atoms[strong], offsets, codes.n_atoms)


def _those_that_hold(file: Path) -> AtomLabels:
    """Take the names out of a file of labels that did not hold, and say why those atoms have none."""
    kept = read_kept(file)
    entries = {}
    for atom, entry in kept.labels.entries.items():
        holds = entry.evidence is not None and entry.evidence.standing == "holds"
        why = f"The name “{entry.text}” did not tell on held-out texts where it fires."
        entries[atom] = entry if holds else AtomLabel(atom=atom, text="", why=why)
    labels = replace(kept.labels, entries=entries)
    write_kept(file, replace(kept, labels=labels))
    return labels


def _with_turns(file: Path, steered: Sequence[Mapping[str, Any]]) -> AtomLabels:
    """Add to the evidence of names on how many beginnings their words came when they were turned up."""
    kept = read_kept(file)
    entries = dict(kept.labels.entries)
    for one in steered:
        entry = entries[one["atom"]]
        known = entry.evidence or LabelEvidence()
        known = replace(known, turned=one["beats"], n_turned=one["n"])
        entries[one["atom"]] = replace(entry, evidence=known)
    labels = replace(kept.labels, entries=entries)
    write_kept(file, replace(kept, labels=labels))
    return labels


def _told(found: AtomLabels, n_written: int) -> str:
    evidence = [e for atom in found if (e := found.evidence(atom)) is not None]
    detection = sum(e.detection for e in evidence) / max(1, len(evidence))
    control = sum(e.control for e in evidence) / max(1, len(evidence))
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

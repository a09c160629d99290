"""Names of a temporal SAE's novel atoms: the words at which they fire, judged on documents that are held out.

python -m sae_nb_studies.recipes.saes temporal-names FOLDER --work DIR

FOLDER is the SAE's, DIR has the windows and activations that `temporal` wrote. Only atoms that fire at one or a
few words get a name, and only where it holds: what an atom does in a context has none.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.architectures import Temporal
from sae_nb.codes import SparseCodes
from sae_nb.files import read_json, read_tensors, write_bytes, write_json, write_manifest
from sae_nb.labelling import AtomLabel, AtomLabels, judge_labels, label, replace_labels
from sae_nb.models import load_model
from sae_nb.pretrained import ExampleStore, load_sae
from sae_nb.temporal import decompose
from sae_nb_studies.recipes.saes._card import CARD
from sae_nb_studies.recipes.saes._names import N_WINDOWS, SEED, STRONG
from sae_nb_studies.recipes.saes._temporal import RECORD, temporal_card

SEEN, FRESH = 30, 40
"""Windows that names are chosen on, of documents trained on; windows of held-out ones that judge them."""

FEWEST, RARE, COVERED, MOST_WORDS = 30, 3, 0.7, 8
"""Strong firings that an atom must have; those that one of its words must have; share of them at its words;
words of a name at most.
"""

TELLS = 0.9
"""Balanced accuracy from which a name is kept, beside that it holds: few and true."""

WORD = re.compile(r"[a-z']{2,}|[.,;:!?\"()-]+|\d+")

Windows = tuple[Float[Tensor, "n time d_in"], Int[Tensor, "n time"]]
"""Activations, and their tokens."""


def words_of_atoms(
    codes: SparseCodes, tokens: Sequence[str], strongest: Float[Tensor, " n_atoms"]
) -> dict[int, tuple[str, ...]]:
    """Return for each atom that fires at few words those words, the commonest first.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 0.0]]).repeat(40, 1))
    >>> words_of_atoms(codes, [" The"] * 20 + [" no"] * 18 + [" ox", " a"], torch.ones(2))
    {0: ('the', 'no')}
    """
    rows = torch.repeat_interleave(torch.arange(len(codes)), codes.offsets.diff())
    atoms = codes.atoms.long()
    strong = codes.values >= STRONG * strongest[atoms]
    found = {}
    for atom in torch.unique(atoms[strong]).tolist():
        at = rows[strong & (atoms == atom)].tolist()
        counted = Counter(tokens[row].strip().lower() for row in at).most_common(MOST_WORDS)
        chosen: list[str] = []
        covered = 0
        for word, n in counted:
            if n >= RARE and WORD.fullmatch(word) and covered < COVERED * len(at):
                chosen.append(word)
                covered += n
        if len(at) >= FEWEST and covered >= COVERED * len(at):
            found[atom] = tuple(chosen)
    return found


def judged_words(
    sae: Temporal, acts: Activations, codes: SparseCodes, words: Mapping[int, Sequence[str]]
) -> AtomLabels:
    """Return the words as names, with what they tell of single tokens of unread texts."""
    given = {
        atom: AtomLabel(
            atom=atom,
            text=", ".join(f"“{word}”" for word in of_atom),
            source="read",
            rule=(("token", _spellings(of_atom)),),
        )
        for atom, of_atom in words.items()
    }
    return judge_labels(
        sae,
        acts,
        AtomLabels(entries=given, n_atoms=sae.n_atoms),
        codes=codes,
        n_examples=N_WINDOWS,
        single_tokens=True,
        seed=SEED,
    )


def add_word_names(folder: Path, work: Path) -> str:
    """Choose and judge names, and write those that hold into an SAE's folder; return what came of it."""
    sae = load_sae(folder)
    if not isinstance(sae, Temporal):
        raise TypeError(
            f"`folder` must be of a Temporal, got {type(sae).__name__}. Name others by --names."
        )
    model = load_model(str(sae.model_name))
    seen, fresh = (_windows(work, *side) for side in (("train", SEEN), ("held-out", FRESH)))
    vocabulary = {
        int(i): model.tokenizer.decode([int(i)])
        for i in torch.unique(torch.cat([seen[1].flatten(), fresh[1].flatten()]))
    }
    codes = _codes(sae, seen[0])
    strongest = torch.zeros(sae.n_atoms)
    for atom in torch.unique(codes.atoms.long()).tolist():
        strongest[atom] = codes.values[codes.atoms == atom].quantile(0.99)
    words = words_of_atoms(codes, [vocabulary[int(i)] for i in seen[1].flatten()], strongest)
    acts, told = _rows(sae, fresh, vocabulary), _codes(sae, fresh[0])
    told = told.only(told.values >= STRONG * strongest[told.atoms.long()])
    found = judged_words(sae, acts, told, words)
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(SEED)).tolist()
    atoms = sorted(words)
    mixed = {atoms[a]: words[atoms[b]] for a, b in zip(order, order[1:] + order[:1], strict=True)}
    by_chance = _that_tell(judged_words(sae, acts, told, mixed))
    kept = _that_tell(found)
    file = folder / ExampleStore.LABELS
    label(sae, acts, labels=kept, codes=told, atoms=sorted(kept)[:1], file=file, replace_file=True)
    replace_labels(file, kept)
    detection = [one.detection for atom in kept if (one := kept.evidence(atom)) is not None]
    names: dict[str, float] = {"kept": len(kept), "tried": len(words), "by chance": len(by_chance)}
    names |= {"seen": len(seen[0]), "fresh": len(fresh[0]), "covered": COVERED, "tells": TELLS}
    record = read_json(folder / RECORD)
    record["names"] = names | {"detection": sum(detection) / len(detection)}
    write_json(folder / RECORD, record)
    write_bytes(folder / CARD, temporal_card(record).encode())
    write_manifest(folder, "sae", architecture=type(sae).__name__)
    return f"{len(kept)} of {len(words)} names tell; words of other atoms: {len(by_chance)}"


def _that_tell(found: AtomLabels) -> AtomLabels:
    entries = {
        atom: entry
        for atom, entry in found.entries.items()
        if (known := entry.evidence) and known.standing == "holds" and known.detection >= TELLS
    }
    return replace(found, entries=entries)


def _windows(work: Path, side: str, most: int) -> Windows:
    kept, ids = (
        read_tensors(work / f"{side}.safetensors"),
        read_tensors(work / "windows.safetensors"),
    )
    return kept["x"][:most].float(), ids[side][kept["window"][:most].long(), 1:].long()


def _codes(sae: Temporal, x: Float[Tensor, "n time d_in"]) -> SparseCodes:
    parts = [decompose(sae, some, predicted_codes=False).novel_codes for some in torch.split(x, 8)]
    return SparseCodes.concatenate(parts)


def _rows(sae: Temporal, windows: Windows, vocabulary: Mapping[int, str]) -> Activations:
    x, ids = windows
    n, time = ids.shape
    context = Context(
        kind="language",
        n_samples=n,
        token_ids=Ragged(ids.flatten(), torch.arange(0, n * time + 1, time)),
        vocabulary=dict(vocabulary),
    )
    return Activations.from_tensor(
        x.flatten(0, 1),
        sample=torch.arange(n).repeat_interleave(time),
        position=torch.arange(time).repeat(n),
        hook_point=str(sae.hook_point),
        model_name=sae.model_name,
        context=context,
    )


def _spellings(words: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens that words may be: with a capital or not, after a space or not."""
    spelled = (form for word in words for form in (word, word.capitalize()))
    return tuple(dict.fromkeys(token for word in spelled for token in (f" {word}", word)))


def main(arguments: Sequence[str]) -> None:
    """Read the command line: `temporal-names FOLDER --work DIR`."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb_studies.recipes.saes temporal-names")
    parser.add_argument("folder", type=Path, help="of the SAE")
    parser.add_argument("--work", type=Path, required=True, help="folder that `temporal` wrote")
    given = parser.parse_args(arguments)
    sys.stdout.write(f"{add_word_names(given.folder, given.work)}\n")

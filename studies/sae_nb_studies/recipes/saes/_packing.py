"""The files of an example store, written: codes in three bytes an entry, samples, and one number per atom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.files import write_json, write_tensors
from sae_nb.pretrained import ExampleStore

MOST, LEVELS = 2**16, 2**8 - 1  # what 16 bits and 8 bits can count


def pack_codes(codes: SparseCodes) -> dict[str, Tensor]:
    """Return codes as arrays of one and two bytes, and the largest strength of each atom."""
    values, atoms = codes.values.detach().float(), codes.atoms.long()
    if len(values) and float(values.min()) < 0:
        raise ValueError(f"Packed strengths must be at least 0, got {float(values.min())}.")
    if codes.n_atoms > MOST or int(codes.l0.max()) > LEVELS:
        raise ValueError(
            f"Packed codes must have at most {MOST} atoms and {LEVELS} entries a row, got "
            f"{codes.n_atoms} and {int(codes.l0.max())}."
        )
    largest = torch.zeros(codes.n_atoms).scatter_reduce(0, atoms, values, "amax")
    level = (values / largest[atoms]).nan_to_num().sqrt().mul(LEVELS).round().clamp(1, LEVELS)
    return {
        "level": level.to(torch.uint8),
        "atom": _narrow(atoms),
        "l0": codes.l0.to(torch.uint8),
        "largest": largest,
    }


def write_examples(
    folder: Path,
    acts: Activations,
    codes: SparseCodes,
    per_atom: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> None:
    """Write the two files of an example store into a folder that the caller seals.

    `facts` are labels, matches and measured numbers, as JSON knows them.
    """
    context = acts.context
    arrays = pack_codes(codes)
    arrays |= {"sample": _narrow(acts.sample), "position": _narrow(acts.position)}
    if context.pictures is not None and context.sounds is None:  # sounds are rendered again
        arrays["pictures"] = context.pictures
    if context.token_ids is not None:
        arrays["ids"] = _narrow(context.token_ids.ids)
        arrays["id_offsets"] = context.token_ids.offsets.to(torch.int32)
    stated = {
        **context.stated(),
        "n_samples": context.n_samples,
        "vocabulary": {str(i): text for i, text in context.vocabulary.items()},
    }
    write_facts(folder, per_atom, {**facts, "context": stated}, arrays)


def write_facts(
    folder: Path,
    per_atom: dict[str, np.ndarray],
    facts: dict[str, Any],
    arrays: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Write the two files of a store: without `arrays` of samples, they are drawn when it is opened."""
    numbers = {name: torch.from_numpy(np.asarray(a, np.float32)) for name, a in per_atom.items()}
    write_tensors(folder / ExampleStore.ARRAYS, {**arrays, **numbers})
    write_json(folder / ExampleStore.FACTS, facts)


def _narrow(numbers: Tensor) -> Tensor:
    small = not len(numbers) or int(numbers.max()) < MOST
    return numbers.to(torch.uint16 if small else torch.int32)

"""The example store on disk: codes in three bytes an entry, samples, and one number per atom.

A strength is kept as q in 1 … 255 with z = s_j (q / 255)², s_j the atom's largest strength: the
rounding error is at most s_j / 255 · √(z / s_j), so weak firings keep their digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.codes import SparseCodes, offsets_of
from sae_nb.files import read_json, read_tensors, write_json, write_tensors

ARRAYS, FACTS = "examples.safetensors", "examples.json"
LEVELS = 255
MOST = 2**16  # what 16 bits can count


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


def unpack_codes(arrays: dict[str, Tensor]) -> SparseCodes:
    """Return the codes that `pack_codes` packed, to its precision."""
    atoms = arrays["atom"].to(torch.int32)
    share = arrays["level"].float() / LEVELS
    values = arrays["largest"][atoms.long()] * share.square()
    offsets = offsets_of(arrays["l0"].long())
    return SparseCodes(values, atoms, offsets, len(arrays["largest"]))


def write_examples(
    folder: Path,
    acts: Activations,
    codes: SparseCodes,
    per_atom: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> None:
    """Write the two files of an example store into a folder that the caller seals.

    `facts`: JSON-able: labels, matches, measured numbers.
    """
    context = acts.context
    arrays = pack_codes(codes)
    arrays |= {"sample": _narrow(acts.sample), "position": _narrow(acts.position)}
    if context.pictures is not None:
        arrays["pictures"] = context.pictures
    if context.token_ids is not None:
        arrays["ids"] = _narrow(context.token_ids.ids)
        arrays["id_offsets"] = context.token_ids.offsets.to(torch.int32)
    arrays |= {name: torch.from_numpy(np.asarray(a, np.float32)) for name, a in per_atom.items()}
    stated = {
        "kind": context.kind,
        "n_samples": context.n_samples,
        "vocabulary": {str(i): text for i, text in context.vocabulary.items()},
        "patch_grid": context.patch_grid,
        "prefix_tokens": context.prefix_tokens,
        "policy": dict(context.policy),
    }
    write_tensors(folder / ARRAYS, arrays)
    write_json(folder / FACTS, {**facts, "context": stated})


def read_examples(folder: Path) -> tuple[dict[str, Tensor], Context, dict[str, Any]]:
    """Return the arrays, the samples and the facts of an example store."""
    arrays, facts = read_tensors(folder / ARRAYS), read_json(folder / FACTS)
    stated = facts["context"]
    ragged = None
    if "ids" in arrays:
        ragged = Ragged(arrays["ids"].long(), arrays["id_offsets"].long())
    context = Context(
        kind=stated["kind"],
        n_samples=stated["n_samples"],
        pictures=arrays.get("pictures"),
        token_ids=ragged,
        vocabulary={int(i): text for i, text in stated["vocabulary"].items()},
        patch_grid=None if stated["patch_grid"] is None else tuple(stated["patch_grid"]),
        prefix_tokens=stated["prefix_tokens"],
        policy=stated["policy"],
    )
    return arrays, context, facts


def _narrow(numbers: Tensor) -> Tensor:
    if len(numbers) and int(numbers.max()) >= MOST:
        raise ValueError(f"Packed numbers must be below {MOST}, got {int(numbers.max())}.")
    return numbers.to(torch.uint16)

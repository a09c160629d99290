"""Codes of the same rows over several dictionaries as one code over all of their atoms, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sae_nb.codes._sparse_codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of


def joined(parts: Sequence[SparseCodes]) -> SparseCodes:
    """Return codes of the same rows as one code: the atoms of the first part, then of the second, and so on.

    Gradients are kept.

    Example
    -------
    >>> first = SparseCodes.from_dense(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> second = SparseCodes.from_dense(torch.tensor([[3.0], [0.0]]))
    >>> joined([first, second]).to_dense().tolist()
    [[0.0, 2.0, 3.0], [1.0, 0.0, 0.0]]
    """
    shapes = list(dict.fromkeys(part.leading_shape for part in parts))
    if len(shapes) != 1:
        raise ValueError(
            f"`codes` must be of the same rows, got leading axes {', '.join(map(str, shapes))}. Encode "
            "all layers in one call."
        )
    counts = [part.offsets[1:] - part.offsets[:-1] for part in parts]
    offsets = offsets_of(torch.stack(counts).sum(dim=0))
    n_atoms = sum(part.n_atoms for part in parts)
    order = torch.empty(int(offsets[-1]), dtype=torch.int64, device=offsets.device)
    begin, atoms, first_atom, n_before = offsets[:-1], [], 0, 0
    for part, count in zip(parts, counts, strict=True):
        entries = torch.arange(part.nnz, device=offsets.device)
        rows = part.support.rows
        order[begin[rows] + entries - part.offsets[rows]] = entries + n_before
        atoms.append(part.atoms.to(index_dtype(n_atoms)) + first_atom)
        begin, first_atom, n_before = begin + count, first_atom + part.n_atoms, n_before + part.nnz
    values = torch.cat([part.values for part in parts])[order]
    return SparseCodes(values, torch.cat(atoms)[order], offsets, n_atoms, shapes[0])


def blocks(codes: SparseCodes, widths: Sequence[int]) -> list[SparseCodes]:
    """Return the codes of each of several dictionaries, of so many atoms, that lie one after the other.

    Gradients are kept.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 3.0], [1.0, 0.0, 0.0]]))
    >>> [part.to_dense().tolist() for part in blocks(codes, (2, 1))]
    [[[0.0, 2.0], [1.0, 0.0]], [[3.0], [0.0]]]
    """
    if sum(widths) != codes.n_atoms:
        raise ValueError(
            f"`widths` must add up to n_atoms={codes.n_atoms} of the codes, got {list(widths)}."
        )
    parts, first = [], 0
    for width in widths:
        part = codes.only((codes.atoms >= first) & (codes.atoms < first + width))
        parts.append(
            SparseCodes(part.values, part.atoms - first, part.offsets, width, part.leading_shape)
        )
        first += width
    return parts

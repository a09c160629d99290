"""A square matrix filled below its diagonal, compiled; next to the Gram matrix, which needs no other loop."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from sae_nb.kernels._compiling import compiled


@compiled()
def mirror(begin, end, gram):
    """Copy what is above the diagonal to below it, in squares that fit the first-level cache."""
    n = len(gram)
    for piece in range(begin, end):
        first, last = 64 * piece, min(64 * piece + 64, n)
        for left in range(0, first + 1, 64):
            for i in range(first, last):
                for j in range(left, min(left + 64, i)):
                    gram[i, j] = gram[j, i]

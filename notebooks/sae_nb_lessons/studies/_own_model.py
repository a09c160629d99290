"""Budget of an SAE of one's own model: bytes of rows and of training."""

from __future__ import annotations

GIGA = 1e9
ROW_BYTES, TRAINING_BYTES = 4, 20
"""Of a number of a row, and of one of the SAE: itself, its gradient, Adam's two moments, a copy of the best."""


def weights(width: int, atoms: int) -> int:
    """Return how many numbers an SAE has: encoder, dictionary, offsets, bias."""
    return 2 * atoms * width + atoms + width


def budget(tokens: int, width: int, atoms: int) -> float:
    """Return gigabytes (10⁹ bytes) of float32 rows and of an SAE in training."""
    return (ROW_BYTES * tokens * width + TRAINING_BYTES * weights(width, atoms)) / GIGA

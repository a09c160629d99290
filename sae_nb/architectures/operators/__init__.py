"""Synthesis operators A: codes → reconstruction, and their adjoints; the dictionary lives here.

An operator knows nothing of encoders, penalties or losses. Another parametrisation of the
dictionary (convex hulls, convolutions, group orbits) is another class with these methods.
"""

from __future__ import annotations

from sae_nb.architectures.operators.dense import UNIT_GUARD, DenseOperator, random_unit_rows

__all__ = ["UNIT_GUARD", "DenseOperator", "random_unit_rows"]

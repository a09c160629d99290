"""Synthesis operators A: codes → reconstruction, and their adjoints; the dictionary lives here.

An operator knows nothing of encoders, penalties or losses. Another parametrisation of the
dictionary (convex hulls, convolutions, group orbits) is another class with these methods.
"""

from __future__ import annotations

from sae_nb.architectures.operators.convolution import ConvolutionOperator
from sae_nb.architectures.operators.dense import UNIT_GUARD, DenseOperator, random_unit_rows
from sae_nb.architectures.operators.free import FreeOperator
from sae_nb.architectures.operators.hull import HullOperator
from sae_nb.architectures.operators.linear_map import Operator
from sae_nb.architectures.operators.matrix import FixedOperator, MatrixOperator

__all__ = [
    "UNIT_GUARD",
    "ConvolutionOperator",
    "DenseOperator",
    "FixedOperator",
    "FreeOperator",
    "HullOperator",
    "MatrixOperator",
    "Operator",
    "random_unit_rows",
]

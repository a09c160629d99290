"""The parts an SAE is put together from: operator, link, prox, solver, and the base they are put into.

For whoever writes an architecture, a prox or a solver of their own. Parts to choose from, such as `TopKProx`,
`DenseOperator` or `fista`, are names of `sae_nb.architectures`; here is what these are made of: shapes, dense
pre-codes of some rows at a time, bases of operators and of SAEs, terms of their losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.architectures._base import Encodable as Encodable, Untrained as Untrained
    from sae_nb.architectures._composition import class_over as class_over
    from sae_nb.architectures._matryoshka import check_groups as check_groups
    from sae_nb.architectures._one_step import OneStep as OneStep
    from sae_nb.architectures._recipe import LossTerms as LossTerms
    from sae_nb.architectures._revival import AtomRows as AtomRows
    from sae_nb.architectures._spade import (
        Memberships as Memberships,
        distance_to_used as distance_to_used,
    )
    from sae_nb.architectures.parts._links import (
        BinomialLink as BinomialLink,
        GaussianLink as GaussianLink,
        Link as Link,
        PoissonLink as PoissonLink,
    )
    from sae_nb.architectures.parts._operators import (
        FreeOperator as FreeOperator,
        MatrixOperator as MatrixOperator,
        normal_rows as normal_rows,
        random_unit_rows as random_unit_rows,
    )
    from sae_nb.architectures.parts._proxes import (
        Bias as Bias,
        Centre as Centre,
        Dense as Dense,
        Matrix as Matrix,
        Rows as Rows,
        affine as affine,
        row_tiles as row_tiles,
    )
    from sae_nb.architectures.parts._solvers import conjugate_gradients as conjugate_gradients
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

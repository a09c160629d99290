"""Crosscoder: one code for several sites, with a dictionary for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures._composition import class_over
from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures._recipe import geometric_median
from sae_nb.architectures._several_sites import SharedCode, check_widths
from sae_nb.architectures.parts._operators import MatrixOperator, SitesOperator
from sae_nb.architectures.parts._proxes import Centre, Rows
from sae_nb.checks import Count, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.kernels import per_entry

SELECTIONS = ("BatchTopK", "TopK", "JumpReLU", "ReLU")
"""SAEs whose selection a dictionary of several sites can take. Gated and Matryoshka count errors in a way
of their own; with signed codes a norm is not what an atom is used for."""


@checked(leave=("widths",))
class Crosscoder(SharedCode, OneStep):
    """One sparse code for several sites, read from all of them and written to all of them.

    With x = [x_1 | … | x_M], each site around its mean in a unit u_m of its own,

    z = prox(Σ_m (x_m − b_m) E_mᵀ / u_m + a),  x̂_m = z D_m + b_m,

    trained on the unexplained share of variance, averaged over sites, and AuxK. Sites are layers of one
    model, or models that read the same tokens. Atom j has a part at every site; norms of the parts, in
    units of their sites, say where it lives (`difference`). Over all sites together atoms have unit norm
    in these units, so codes have no unit: D_m carries it, and z D_m + b_m is in the model's.

    `base="BatchTopK"` or "TopK" keep a number of atoms. `base="ReLU"` is the published recipe: with a
    penalty λ Σ_j z_j Σ_m ‖d_jm‖. Because ‖d_j1‖ + ‖d_j2‖ ≥ ‖d_j‖, it prefers atoms of one site, and makes
    atoms look exclusive that are not (complete shrinkage, latent decoupling); compare with a selection
    without a penalty before calling an atom exclusive (docs/methods/crosscoder.md).

    Parameters
    ----------
    widths
        Of the sites, in the order in which their activations are given.
    n_atoms
        Atoms, shared by all sites.
    k
        Of the base, where it has one.
    base
        The SAE whose selection it takes: BatchTopK, TopK, JumpReLU, ReLU. An object is of that class too.
    generator
        Draws the first atoms; None is torch's global generator.
    settings
        Of the base.

    Source
    ------
    Lindsey et al., "Sparse crosscoders for cross-layer features and model diffing", Transformer Circuits,
    October 2024; one scale per model: ckkissane/crosscoder-model-diff-replication. The two artefacts and
    BatchTopK: Minder et al., arXiv 2504.02922. Ours holds the norm of an atom over all sites at 1, which
    only moves a factor between codes and atoms, and selects by codes of such atoms; theirs selects by
    z_j Σ_m ‖d_jm‖. Every site counts alike, whatever its width.

    Example
    -------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> c = Crosscoder([4, 6], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> c.initialise([x, x @ torch.ones(4, 6)])
    >>> codes = c.encode([x, x @ torch.ones(4, 6)])
    >>> codes.shape, [part.shape for part in c.decode(codes)]
    ((300, 8), [torch.Size([300, 4]), torch.Size([300, 6])])
    >>> [d.shape for d in c.dictionaries], c.difference().shape
    ([torch.Size([8, 4]), torch.Size([8, 6])], torch.Size([8]))
    """

    def __new__(cls, *_: object, base: str = "BatchTopK", **__: object) -> Crosscoder:
        """An object that is a crosscoder and a base, once the base is known."""
        if "_host" not in vars(cls):
            cls = class_over(cls, one_of(base, SELECTIONS, name="base"))
        return super().__new__(cls)

    def __init__(
        self,
        widths: Sequence[int],
        n_atoms: Count,
        k: float | None = None,
        *,
        base: str = "BatchTopK",
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {} if k is None else {"k": k}
        self.widths, self.base = check_widths(widths), base
        super().__init__(sum(self.widths), n_atoms, **own, generator=generator, **settings)

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild a dictionary of this kind and size."""
        rest = {name: value for name, value in super().settings().items() if name != "d_in"}
        return {"widths": list(self.widths)} | rest | {"base": self.base}

    # Sites in units of their own

    def _new_operator(self) -> MatrixOperator:
        return SitesOperator(self.widths, self.n_atoms, generator=self.generator)

    def _seen(self, x: Rows) -> tuple[Rows, Centre]:
        """Every site around its mean, in its own unit."""
        return self.operator.counted(x - self.scaling.mean), self.pre_bias

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        """Read means, units and biases off the first rows."""
        self.scaling.mean.copy_(rows.mean(dim=0))
        self.operator.fit_(rows - self.scaling.mean)
        self.pre_bias.copy_(geometric_median(self.operator.counted(rows - self.scaling.mean)))

    def _prices(self, codes: SparseCodes) -> Tensor:
        """z_j Σ_m ‖d_jm‖: the norms summed, and not that of all sites together."""
        return codes.values * per_entry(self.operator.site_norms().sum(dim=1), codes)

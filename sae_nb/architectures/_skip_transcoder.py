"""SkipTranscoder: a transcoder with a linear map, which removes the linear part from the atoms."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.architectures._base import Encodable
from sae_nb.architectures._transcoder import Transcoder
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Count, as_tensor, checked

RIDGE = 1e-4
"""Share of the mean square added to the diagonal of the first least squares, where rows are few. Ours."""


@checked
class SkipTranscoder(Transcoder):
    """A transcoder with a linear map in addition to its atoms: ŷ = zD + (x − μ)W + b.

    `decode(codes)` is zD + b, what the atoms write; the full forward `t(x)` adds (x − μ)W, `uncoded(x)`, which
    has no codes and is not interpreted. Everything else is as in `Transcoder`.

    Parameters
    ----------
    d_in, d_out, n_atoms, k, base, generator, settings
        As in `Transcoder`.

    Source
    ------
    Paulo, Shabalin and Belrose, "Transcoders beat sparse autoencoders for interpretability", arXiv
    2501.18823 (EleutherAI/sparsify). There W begins at zero; ours at the least squares of the first
    activations.

    Example
    -------
    >>> x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    >>> t = SkipTranscoder(d_in=4, d_out=3, n_atoms=8, k=2)
    >>> t.initialise((x, x @ torch.ones(4, 3)))
    >>> torch.allclose(t.skip, torch.ones(4, 3), atol=1e-3)
    True
    """

    def __init__(
        self,
        d_in: Count,
        d_out: Count,
        n_atoms: Count,
        k: float | None = None,
        *,
        base: str = "TopK",
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(d_in, d_out, n_atoms, k, base=base, generator=generator, **settings)
        self.straight = nn.Parameter(torch.zeros(self.d_in, self.d_out))

    @property
    def skip(self) -> Float[Tensor, "d_in d_out"]:
        """W, detached, in the model's units."""
        return (self.straight * self.reading.scale / self.scaling.scale).detach()

    def uncoded(self, x: Encodable) -> tuple[float, Float[Tensor, "*batch d_out"]]:
        """Return 1, and what the linear map adds."""
        straight = self._straight(self._rows(x))
        return 1.0, straight.reshape(*as_tensor(x).shape[:-1], self.d_out)

    def _straight(self, x: Rows) -> Rows:
        seen, _ = self._seen(x)
        return seen @ self.straight

    def _left_for_atoms(self, x: Rows, target: Rows) -> Rows:
        return target - self._straight(x)

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        """Read the scalings, then W by least squares around the means, which are its intercept."""
        super()._scale(rows, generator)
        self.pre_bias.zero_()
        x, target = self.split(rows)
        seen, _ = self._seen(x)
        moment = seen.T @ seen
        moment.diagonal().add_(RIDGE * moment.diagonal().mean())
        self.straight.copy_(torch.linalg.solve(moment, seen.T @ (target - self.scaling.mean)))

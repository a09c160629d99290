"""Parity: what a perfect denoiser of bits with an even sum knows, and how that vanishes with their number."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Between, check_data, checked
from sae_nb.findings import Finding


@checked
def parity_posterior(
    y: Float[Tensor, "n n_bits"], sigma: Annotated[float, Between(1e-6, 1e6)]
) -> ParityPosterior:
    """Find what noisy bits say of the clean ones, if an even number of them is −1.

    With y = x + σ ε, x of ±1 and Π x = 1: E[x_i | y] = (t_i + q_i) / (1 + t_i q_i) with t = tanh(y /
    σ²), a bit's information about itself, and q_i = Π_{j≠i} t_j, that of the others about it. A product
    of n_bits − 1 numbers below 1 vanishes exponentially in their number: nothing shows the rule until
    the noise is small.

    Parameters
    ----------
    y
        Noisy bits of one group per row, two or more.
    sigma
        Standard deviation of the noise, from 1e-6 to 1e6.

    Raises
    ------
    TypeError, ValueError: If `y` is not a floating-point matrix, a group has one bit, or `sigma` is out
    of range.

    Source
    ------
    The question is of a study of diffusion on parity (SPIGM at NeurIPS 2025; arXiv 2605.10019), of which we had
    the abstract; the formula is derived here and tested against enumeration. It is the check node of belief
    propagation in codes.

    Example
    -------
    >>> found = parity_posterior(torch.tensor([[0.9, 1.1, 0.0]]), sigma=0.5)
    >>> bool(found.alone[0, 2] == 0 and found.mean[0, 2] > 0.9)  # the others know the third bit
    True
    """
    if y.shape[1] < 2:
        raise ValueError("`y` must have two bits a group or more: parity fixes one alone, got 1.")
    logs = check_data(y, name="y").detach() / sigma**2
    before, after = _running(logs), _running(logs.flip(1)).flip(1)
    others = _both(before, after)
    return ParityPosterior(
        sigma=sigma,
        mean=torch.tanh(logs + others),
        alone=torch.tanh(logs),
        product=torch.tanh(others),
    )


class ParityPosterior(Finding):
    """The information of noisy bits about clean ones; made by `parity_posterior`."""

    sigma: float
    mean: Float[Tensor, "n n_bits"]
    """E[x | y], by the rule and the noisy bits."""
    alone: Float[Tensor, "n n_bits"]
    """t, each bit's information about itself, without the rule."""
    product: Float[Tensor, "n n_bits"]
    """q, what the others say of each."""

    def figure(self) -> Any:
        """Draw each bit with the rule against without it: on the diagonal the rule adds nothing."""
        from sae_nb.figures import framed, line, theme

        own, ruled = (part.flatten().tolist() for part in (self.alone, self.mean))
        dots = line("one bit", own, ruled, colour=theme.PALETTE[0], symbol="circle", size=4)
        dots.update(mode="markers", opacity=0.5)
        ends = [-1, 1]
        same = line(
            "the rule says nothing", ends, ends, colour=theme.CONTROL, dash=theme.CONTROL_DASH
        )
        return framed([dots, same], x="by the bit alone", y="by all bits and the rule", height=380)

    @property
    def headline(self) -> str:
        """Groups, noise, and the mean size of the product."""
        n, n_bits = self.mean.shape
        return (
            f"{n} groups of {n_bits} bits, σ = {self.sigma:g}; "
            f"mean |product| {float(self.product.abs().mean()):.3f}"
        )


def _running(logs: Tensor) -> Tensor:
    """Half log-odds of the parity of all bits before each; certain, +∞, before the first."""
    found = [torch.full_like(logs[:, 0], torch.inf)]
    for bit in logs.T[:-1]:
        found.append(_both(found[-1], bit))
    return torch.stack(found, dim=1)


def _both(a: Tensor, b: Tensor) -> Tensor:
    """atanh(tanh a · tanh b), which does not overflow: half log-odds of the parity of two."""
    least = a.sign() * b.sign() * torch.minimum(a.abs(), b.abs())
    far, near = (a + b).abs(), (a - b).abs()
    finite = torch.isfinite(a) & torch.isfinite(b)
    rest = torch.log1p(torch.exp(-2 * far)) - torch.log1p(torch.exp(-2 * near))
    return torch.where(finite, least + rest / 2, least)

"""Convolution: a recording as a sum of kernels placed where events happen, x = Σ_k h_k ∗ z_k."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_matrix


class ConvolutionOperator:
    """Kernels h_k at every place of a recording; each kernel at each place is an atom.

    Codes are (kernel, place) flattened: entry k · n_places + t is kernel k starting at sample t.
    ‖A‖² ≤ max_ω Σ_k |ĥ_k(ω)|² over the frequencies of n_samples: exact if the recording were a
    circle, an upper bound for one with ends.

    Parameters
    ----------
    kernels
        One per row; a gradient reaches them.
    n_samples
        Length of a recording, at least that of a kernel.

    Raises
    ------
    TypeError, ValueError
        If kernels are not a finite matrix or longer than the recording.

    Source
    ------
    Tolooshams et al., DUNL (btolooshams/dunl-compneuro); the bound on ‖A‖² is ours.

    Example
    -------
    >>> operator = ConvolutionOperator(torch.tensor([[1.0, 2.0]]), n_samples=4)
    >>> operator.forward(torch.tensor([[0.0, 1.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0, 0.0]]
    >>> operator.lipschitz()
    9.0
    """

    def __init__(self, kernels: Float[Tensor, "n_kernels length"], n_samples: int) -> None:
        self.kernels = check_matrix(kernels, name="kernels")
        self.n_samples = check_count(n_samples, name="n_samples")
        if self.n_samples < kernels.shape[1]:
            raise ValueError(
                f"`n_samples` must be at least the length of a kernel, {kernels.shape[1]}, got "
                f"{n_samples}. Use shorter kernels or longer recordings."
            )

    @property
    def d_in(self) -> int:
        """Samples of a recording."""
        return self.n_samples

    @property
    def n_places(self) -> int:
        """Where a kernel can start and still fit."""
        return self.n_samples - self.kernels.shape[1] + 1

    @property
    def n_atoms(self) -> int:
        """Kernels times places."""
        return len(self.kernels) * self.n_places

    def forward(self, z: Float[Tensor, "rows n_atoms"]) -> Float[Tensor, "rows d_in"]:
        """Every kernel at every place, as strong as the code says.

        Parameters
        ----------
        z
            Dense codes.
        """
        placed = z.reshape(len(z), len(self.kernels), self.n_places)
        return F.conv_transpose1d(placed, self.kernels[:, None])[:, 0]

    def adjoint(self, r: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows n_atoms"]:
        """Correlation of a recording with every kernel at every place.

        Parameters
        ----------
        r
            Recordings, usually residuals.
        """
        return F.conv1d(r[:, None], self.kernels[:, None]).flatten(1)

    def lipschitz(self) -> float:
        """max_ω Σ_k |ĥ_k(ω)|², by one FFT."""
        spectrum = torch.fft.rfft(self.kernels.detach(), n=self.n_samples)
        return float(spectrum.abs().square().sum(dim=0).max())

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖h_k‖² of each kernel, at all its places."""
        return self.kernels.square().sum(dim=1).repeat_interleave(self.n_places)

    def atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        """Every kernel at every place, as a matrix: for ADMM and small recordings."""
        eye = torch.eye(self.n_atoms, dtype=self.kernels.dtype, device=self.kernels.device)
        return self.forward(eye)

"""A universal SAE: one code for several models on the same inputs, each with its own encoder and decoder.

z = TopK(relu((x_i − μ_i) W_i / s_i + b_i)) from a model i drawn for each batch, and
Σ_j ‖x_j − x̂_j(z)‖² / ‖x_j − μ_j‖² over all models j is what is minimised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.checks import check_count, check_k, check_matrix
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.aligned import check_aligned


class UniversalSAE(nn.Module):
    """Encoders and decoders of several models around one dictionary of shared codes.

    Parameters
    ----------
    acts
        Aligned activations; widths, means and scales are read from them, and the first atoms are rows
        of them.
    n_atoms
        Shared by all models.
    k
        Atoms per row.
    seed
        Which rows.

    Raises
    ------
    TypeError, ValueError
        If activations are not aligned, or counts do not fit.
    """

    def __init__(self, acts: Sequence[Activations], n_atoms: int, k: int, *, seed: int = 0) -> None:
        super().__init__()
        check_aligned(acts)
        self.n_atoms = check_count(n_atoms, name="n_atoms")
        self.k = check_k(k, n_atoms)
        self.n_models = len(acts)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(acts[0]), (n_atoms,), generator=generator)
        self.encoders, self.dictionaries = nn.ParameterList(), nn.ParameterList()
        for number, one in enumerate(acts):
            x = one.x.detach().float()
            mean = x.mean(dim=0)
            scale = (x - mean).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
            self.register_buffer(f"mean_{number}", mean)
            self.register_buffer(f"scale_{number}", scale)
            noise = 0.1 * torch.randn(n_atoms, x.shape[1], generator=generator) / x.shape[1] ** 0.5
            start = (x[rows] - mean) / scale + noise
            start = start / start.norm(dim=1, keepdim=True).clamp_min(1e-12)
            self.dictionaries.append(nn.Parameter(start.clone()))
            self.encoders.append(nn.Parameter(start.T.clone()))
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(n_atoms)) for _ in acts)

    def standardised(self, model: int, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Return (x − μ) / s of one model.

        Parameters
        ----------
        model
            Its place in the list.
        x
            Its activations.
        """
        return (x.float() - self.get_buffer(f"mean_{model}")) / self.get_buffer(f"scale_{model}")

    def dense_codes(self, model: int, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n n_atoms"]:
        """Return the shared code that one model's activations ask for, zeros included.

        Parameters
        ----------
        model
            Whose encoder.
        x
            Its activations.
        """
        pre = (self.standardised(model, x) @ self.encoders[model] + self.bias[model]).relu()
        values, atoms = pre.topk(self.k, dim=1)
        return torch.zeros_like(pre).scatter(1, atoms, values)

    @torch.no_grad()
    def encode(self, model: int, x: Float[Tensor, "n d_in"]) -> SparseCodes:
        """Return the shared code that one model's activations ask for.

        Parameters
        ----------
        model
            Whose encoder.
        x
            Its activations.
        """
        x = check_matrix(x, d_in=self.encoders[model].shape[0])
        parts = torch.split(x, 4096)
        return SparseCodes.concatenate(
            [SparseCodes.from_dense(self.dense_codes(model, part)) for part in parts]
        )

    def decode(self, model: int, codes: SparseCodes) -> Float[Tensor, "n d_in"]:
        """Return what a shared code says that one model's activations are.

        Parameters
        ----------
        model
            Whose decoder.
        codes
            From any model's encoder.
        """
        parts = [
            codes.rows(slice(start, start + 4096)).to_dense() @ self.dictionaries[model]
            for start in range(0, len(codes), 4096)
        ]
        scale = self.get_buffer(f"scale_{model}")
        return torch.cat(parts) * scale + self.get_buffer(f"mean_{model}")

    def loss(self, model: int, x: Sequence[Float[Tensor, "n d_in"]]) -> Float[Tensor, ""]:
        """Return the mean over models of the share of energy missed by one model's code.

        Parameters
        ----------
        model
            Whose encoder.
        x
            Aligned activations of every model.
        """
        z = self.dense_codes(model, x[model])
        missed = [
            (self.standardised(j, rows) - z @ self.dictionaries[j]).square().sum(dim=1).mean()
            for j, rows in enumerate(x)
        ]
        return torch.stack(missed).mean()

    @torch.no_grad()
    def normalise(self) -> None:
        """Scale each atom, over all models together, to norm √M; a model's own part may be zero."""
        squares = torch.stack([d.square().sum(dim=1) for d in self.dictionaries]).mean(dim=0)
        for dictionary in self.dictionaries:
            dictionary /= squares.sqrt().clamp_min(1e-12)[:, None]


def train_universal(
    acts: Sequence[Activations],
    *,
    n_atoms: int,
    k: int,
    steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> UniversalSAE:
    """Train shared codes for several models on aligned activations.

    Parameters
    ----------
    acts
        One per model: the same rows.
    n_atoms, k
        Of the shared code.
    steps, batch_size, learning_rate
        Of Adam; each step encodes with one model and decodes to all.
    seed
        Of first atoms, batches and the model drawn.

    Returns
    -------
    UniversalSAE
        In evaluation mode.

    Raises
    ------
    TypeError, ValueError
        If activations are not aligned, or counts do not fit.

    Source
    ------
    Thasarathan et al., "Universal sparse autoencoders", arXiv 2502.03714.

    Example
    -------
    >>> x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    >>> acts = [Activations.from_tensor(x), Activations.from_tensor(x @ torch.ones(4, 3))]
    >>> train_universal(acts, n_atoms=8, k=2, steps=3).n_models
    2
    """
    check_count(steps, name="steps")
    check_count(batch_size, name="batch_size")
    sae = UniversalSAE(acts, n_atoms, k, seed=seed)
    optimiser = torch.optim.Adam(sae.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    x = [one.x.detach().float() for one in acts]
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(len(x[0]), (batch_size,), generator=generator)
            model = int(torch.randint(len(x), (), generator=generator))
            optimiser.zero_grad()
            loss = sae.loss(model, [one[rows] for one in x])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            sae.normalise()
    return sae.eval()

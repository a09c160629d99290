"""What chance reaches: a dictionary of random unit atoms with the same n_atoms and the same L0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_k
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.activations import Activations

_LOOKED_AT = 4096  # rows that tell the L0 of an SAE
_TILE = 2**24  # entries of (rows, n_atoms) correlations held at a time: 64 MiB in fp32


def chance_generator(seed: int) -> torch.Generator:
    """Return the generator that random dictionaries are drawn from.

    Another stream than that of a seed itself, from which an untrained SAE may have drawn its atoms: it
    would be its own control.
    """
    return torch.Generator().manual_seed(0x5AE0_0000 + seed)


class RandomDictionary:
    """Random unit atoms, used as well as a fixed dictionary can be with one correlation.

    The k atoms with the largest correlation ⟨x − μ, r_j⟩ are kept, and one gain for the whole set,
    fitted by least squares, makes up for atoms that overlap. Any metric that a trained SAE does not
    win against this says nothing about training.

    Parameters
    ----------
    d_in
        Width of the activations.
    n_atoms
        As many as the SAE has.
    k
        Atoms per row: the SAE's mean L0, rounded.
    mean
        μ, the mean row.
    seed
        Draws the atoms.
    signed
        Whether an atom may be subtracted, as for an SAE with signed codes.
    """

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        k: int,
        *,
        mean: Float[Tensor, " d_in"],
        seed: int = 0,
        signed: bool = False,
    ) -> None:
        self.d_in = check_count(d_in, name="d_in")
        self.n_atoms = check_count(n_atoms, name="n_atoms")
        self.k = check_k(k, n_atoms)
        self.mean = mean
        self.signed = signed
        self.gain = 1.0
        rows = torch.randn(n_atoms, d_in, generator=chance_generator(seed))
        self.dictionary = (rows / rows.norm(dim=1, keepdim=True)).to(mean)

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "n d_in"]) -> RandomDictionary:
        """Set the gain α that minimises Σ‖x − μ − α(x̂ − μ)‖², and return the dictionary."""
        self.gain = 1.0
        centred = (x.to(self.mean) - self.mean).double()
        proposed = (self(x) - self.mean).double()
        power = float(proposed.square().sum())
        self.gain = float((centred * proposed).sum()) / power if power > 0 else 1.0
        return self

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> SparseCodes:
        """Return the k strongest correlations of each row, times the gain."""
        shape = tuple(x.shape[:-1])
        rows = x.detach().reshape(-1, self.d_in).to(self.mean) - self.mean
        kept = [self._strongest(tile) for tile in torch.split(rows, max(1, _TILE // self.n_atoms))]
        values = torch.cat([v for v, _ in kept]).reshape(-1)
        atoms = torch.cat([a for _, a in kept]).reshape(-1)
        offsets = torch.arange(0, len(values) + 1, self.k, device=values.device)
        return SparseCodes(
            values=values, atoms=atoms, offsets=offsets, n_atoms=self.n_atoms, shape=shape
        )

    def _strongest(self, x: Float[Tensor, "n d_in"]) -> tuple[Tensor, Tensor]:
        correlations = x @ self.dictionary.T
        if self.signed:
            atoms = correlations.abs().topk(self.k, dim=1).indices
            return correlations.gather(1, atoms) * self.gain, atoms
        values, atoms = correlations.topk(self.k, dim=1)
        return values.clamp_min(0) * self.gain, atoms

    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_in"]:
        """Return the mean plus the weighted sum of the kept atoms."""
        x_hat = self.mean + torch.nn.functional.embedding_bag(
            codes.atoms.view(-1, self.k).long(),
            self.dictionary,
            per_sample_weights=codes.values.view(-1, self.k),
            mode="sum",
        )
        return x_hat.reshape(*codes.shape, self.d_in)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return self.decode(self.encode(x)).to(x.dtype)


@torch.no_grad()
def random_like(sae: Any, acts: Activations, *, seed: int) -> RandomDictionary:
    """Return random atoms, as many as an SAE has, with the L0 that it has on the first rows, and fitted.

    Parameters
    ----------
    sae
        Anything that encodes.
    acts
        Activations; 4096 rows are looked at.
    seed
        Draws the atoms.
    """
    from sae_nb.evaluation.row_pass import codes_of_rows

    few = acts.subset(torch.arange(len(acts)) < _LOOKED_AT)
    codes = [codes for _, _, codes in codes_of_rows(sae, few)]
    l0 = sum(int(part.l0.sum()) for part in codes) / len(few)
    signed = any(bool((part.values < 0).any()) for part in codes)
    rows = few.rows(torch.arange(len(few)))
    mean = rows.double().mean(dim=0).to(sae.dictionary)
    k = min(max(round(l0), 1), sae.n_atoms)
    random = RandomDictionary(sae.d_in, sae.n_atoms, k, mean=mean, seed=seed, signed=signed)
    return random.fit(rows)

"""OrtSAE: a penalty on the likeness of each atom to its nearest other atom."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import generator_for
from sae_nb.architectures import BatchTopK
from sae_nb.architectures.parts import LossTerms, Matrix, Rows, row_tiles
from sae_nb.checks import Count, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._rng_state import drawn_seed


@checked
@dataclass(eq=False, repr=False)
class OrtSAE(BatchTopK):
    """A BatchTopK SAE whose atoms are held apart: the nearest other atom of each costs its squared cosine.

    Codes and inference are BatchTopK's. In training the atoms are dealt at random into chunks C_1 … C_K
    of `chunk` atoms, differently at each step, and
    γ · (1/K) Σ_c (1/|C_c|) Σ_{i ∈ C_c} (max_{j ∈ C_c, j ≠ i} ⟨d_i, d_j⟩)² is added to the loss. An atom of a
    special concept that has absorbed its general one, d_child ≈ parent + child, is alike the parent's
    atom and pays for it. Cosines exist in tiles and their gradient is of the nearest pairs alone, so the
    penalty takes n_atoms · chunk · d_in products a step and memory in n_atoms · d_in.

    Parameters
    ----------
    orthogonality
        γ, weight of the penalty; 0 is BatchTopK. May change in training.
    chunk
        Atoms that are compared with one another at a step, from 2.
    d_in, n_atoms, k, aux_k, aux_weight, revival, generator
        As in `BatchTopK`; the generator also draws the seed of the chunks.

    Source
    ------
    Korznikov et al., "OrtSAE: Orthogonal sparse autoencoders uncover atomic features", arXiv 2509.22033,
    whose abstract we know. That pairs with a high cosine are penalised, at a cost linear in the atoms, is
    the paper's. Its formula was not within reach: the form here, the signed maximum in a chunk, squared,
    with a mean over a chunk and over chunks, is that of a public replication on planted parents and
    children. Others who cite the paper square every cosine of a chunk instead. γ is weighed against the
    unexplained share of variance, where theirs goes with a squared error, so a γ of the paper is not ours.

    Example
    -------
    >>> sae = OrtSAE(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> eye = torch.cat([torch.eye(4), -torch.eye(4)])
    >>> with torch.no_grad():
    ...     _ = sae.operator.weight.copy_(eye)
    >>> float(sae.likeness().detach())  # orthogonal and opposite: no atom is like another
    0.0
    """

    _: KW_ONLY
    orthogonality: Weight = 0.25
    chunk: Count = 8192

    live_numbers = ("k", "aux_weight", "orthogonality")

    seed: Tensor = field(init=False)
    steps_seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = self.generator
        super().__post_init__()
        self.register_buffer("seed", drawn_seed(generator, self.pre_bias))
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put atoms back on the sphere; the next step deals other chunks."""
        super().after_optimiser_step()
        self.steps_seen += 1

    def likeness(self) -> Float[Tensor, ""]:
        """Return the penalty of this step before its weight, with its gradient; in [0, 1]."""
        atoms = self.operator.atoms()
        deal = generator_for(int(self.seed), int(self.steps_seen))
        nearest = nearest_in_chunks(atoms.detach(), self.chunk, deal)
        # Of the largest alone: what the maximum's gradient is, without keeping every cosine.
        return (atoms * atoms[nearest]).sum(dim=1).square().mean()

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        if not self.orthogonality or self.n_atoms < 2:
            return {}
        return {"likeness": (self.orthogonality, self.likeness())}


@torch.no_grad()
def nearest_in_chunks(
    atoms: Matrix, chunk: int, generator: torch.Generator
) -> Int[Tensor, " n_atoms"]:
    """Return of each atom the other atom of its chunk with the largest cosine, chunks dealt at random.

    The chunks are as equal as they can be, so that no atom is alone in one.
    """
    n = len(atoms)
    n_chunks = min(-(-n // max(2, chunk)), max(1, n // 2))
    order = torch.randperm(n, generator=generator) if n_chunks > 1 else torch.arange(n)
    order = order.to(atoms.device)
    nearest = torch.empty_like(order)
    for members in order.tensor_split(n_chunks):
        own = atoms[members]
        for rows in row_tiles(len(members), len(members)):
            cosines = own[rows] @ own.T
            here = torch.arange(len(members), device=atoms.device)[rows]
            cosines.scatter_(1, here[:, None], -torch.inf)
            nearest[members[rows]] = members[cosines.argmax(dim=1)]
    return nearest

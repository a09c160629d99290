"""How dead atoms return: by losses that reach them, or resampled from residuals of inputs.

Dead atoms become residuals of different inputs, r_i in proportion to ‖r_i‖². A push along the mean
residual instead (the term −10⁻² mean(r Dᵀ) in circulation) moves all of them one way: in a long run
seventeen became collinear.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.architectures.parts._operators import LearnedAdjoint
from sae_nb.architectures.parts._proxes import Centre, Rows, TopKProx, Weight
from sae_nb.kernels import squared_error


def auxk_loss(
    x: Rows,
    residual: Rows,
    adjoint: LearnedAdjoint,
    atoms: Weight,
    *,
    dead: Int[Tensor, " n_dead"],
    aux_k: int,
    centre: Centre,
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """‖e − ê‖² / Var(e) · min(n_dead / k_aux, 1), with ê = TopK_{k_aux}(u of dead atoms) D, no bias.

    `atoms` are the dead ones. Only their pre-codes are computed. Gradients reach dead atoms (and the
    centre) alone: the residual e is a constant. Codes are positive even where the SAE's own have signs
    (see `AbsTopK`).

    Source: Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093; the factor
    min(n_dead / k_aux, 1) is EleutherAI/sparsify's and SAELens's.
    """
    weight = adjoint.weight.index_select(0, dead)
    bias = adjoint.bias.index_select(0, dead) / scale
    codes = TopKProx(min(aux_k, len(dead))).of_affine(x, weight, bias, centre)
    error, *_ = squared_error(codes, atoms, None, residual)
    spread = (residual - residual.mean(dim=0)).square().sum()
    # A residual without spread has nothing to teach; the division would give NaN.
    share = torch.where(spread > 0, error / spread.clamp_min(torch.finfo(x.dtype).tiny), 0 * error)
    return share * min(len(dead) / aux_k, 1.0)


def push_up_loss(
    x: Rows,
    adjoint: LearnedAdjoint,
    *,
    dead: Int[Tensor, " n_dead"],
    centre: Centre,
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """−mean u over rows and dead atoms, in scaled units: lifts their pre-codes until they fire.

    The mean over rows is the pre-code of the mean row, so no pre-codes are computed. All dead atoms
    are moved along the same mean row, which can make them collinear: let it fade out.

    Source: KempnerInstitute/overcomplete, docs/saes/dead_codes.md.
    """
    weight, bias = adjoint.weight.index_select(0, dead), adjoint.bias.index_select(0, dead)
    mean = x.mean(dim=0)
    mean_row = (mean if centre is None else mean - centre.detach()) * scale
    return -(weight @ mean_row + bias).mean()


def due(
    silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, rows: int
) -> Bool[Tensor, " n_atoms"]:
    """Return which atoms are dead, and get another try with this batch: one every `dead_after` rows.

    The counts alone decide, so a resumed run revives the same atoms.

    `silent_tokens`: Rows since each atom last fired.
    """
    return (silent_tokens >= dead_after) & (silent_tokens % dead_after < rows)


@torch.no_grad()
def resampled_atoms(
    residual: Rows, dead: Int[Tensor, " n_dead"]
) -> tuple[Int[Tensor, " n_resampled"], Float[Tensor, "n_resampled d_in"]]:
    """Return atoms to replace, and the unit residuals of different rows that replace them.

    Rows lie on a line, each as long as ‖r_i‖²; the line is cut in n equal parts and the row in the
    middle of each is taken. Batches come in random order, so this is a draw without a generator.

    Source: Rows in proportion to their loss: resampling in saprmarks/dictionary_learning,
    trainers/standard.py. Ours takes residuals, not inputs: what a greedy encoder still looks for
    when the other atoms are used up.
    """
    line = residual.double().square().sum(dim=1).cumsum(dim=0)
    n = min(len(dead), len(residual))
    if n == 0 or not bool(line[-1] > 0):
        return dead[:0], residual[:0]
    middle = (torch.arange(n, device=line.device, dtype=line.dtype) + 0.5) / n * line[-1]
    rows = torch.unique(torch.searchsorted(line, middle).clamp_max(len(line) - 1))
    return dead[: len(rows)], torch.nn.functional.normalize(residual[rows], dim=1)

"""The latents that an answer depends on: gradient × activation, and the exact effect by splicing.

With x_t = Σ_j z_tj·d_j + b + e_t and the error e_t held as it is, removing atom j at position t
changes a measure m of the answer, to first order, by m(x) − m(x − z_tj·d_j) ≈ z_tj ⟨d_j, ∂m/∂x_t⟩.
Of a transcoder x is what it writes, and z_tj comes from what it reads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import check_one_place, reconstruction, written_codes
from sae_nb.architectures._one_step import without_zeros
from sae_nb.capturing._batch_rows import BatchRows, batch_rows
from sae_nb.checks import Seed, at_least, check_atom, check_finite, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.causal._outcomes import (
    Outcome,
    Target,
    atom_removal,
    chance_cosine,
    edited,
    outcome_of,
)
from sae_nb.models._answers import AnswerKind as OutcomeKind
from sae_nb.models._running import run
from sae_nb.steering import ablate, random_direction
from sae_nb.steering._answers import kl
from sae_nb.steering._request import check_hook_point, check_width, policy_for, tap_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._inputs import Batch


@dataclass(frozen=True, kw_only=True)
class SpliceCheck:
    """The effect of removing one atom on the answer: first order and exact, both with the error kept."""

    atom: int
    measure: str
    """Name of the removed atom, at every position the SAE reads, and the meaning of the numbers."""

    first_order: float
    exact: float
    """Contribution of the atom: Σ_t z_tj ⟨d_j, ∂m/∂x_t⟩; m(x) − m(x − Σ_t z_tj·d_j), the model run again."""

    control: float
    n_controls: int
    """The 95 % quantile of |m(x) − m(x − z_tj·u)| over so many random directions u, run as exactly."""

    kl: float | None
    """KL in nats from the answer to the one without the atom; None where the answer is a vector."""

    probability: tuple[float, float] | None
    """Of the target, with and without the atom; None where it has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """One input's codes, what each entry contributes to the answer, and the means to check it."""

    hook_point: str
    outcome: Outcome
    kind: OutcomeKind
    """Where atoms are written (and read, but for a transcoder's), what is measured, what the answer is."""

    value: float
    answer: Float[Tensor, " outcomes"]
    """The measure as the model answers, and the answer itself: logits, or a vector."""

    n_positions: int
    """Positions of the input, those the SAE does not read included."""

    position: Int[np.ndarray, " rows"]
    """Position of each row; an attention sink's and a beginning-of-text token's are left out."""

    codes: SparseCodes
    effects: Float[np.ndarray, " nnz"]
    """Codes of the rows, without entries of strength zero; z_tj ⟨d_j, ∂m/∂x_t⟩ of every entry."""

    error: Float[np.ndarray, " rows"]
    """⟨e_t, ∂m/∂x_t⟩: what hangs on the part of the activation that the SAE does not explain."""

    x: Float[Tensor, "rows d_out"]
    gradient: Float[np.ndarray, "rows d_out"]
    """The activations of the rows where atoms are written, and ∂m/∂x_t."""

    model: LiveModel
    sae: SparseAutoencoder
    batch: Batch

    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the active atoms, ascending, each one's effects added up, and its control.

        The control is the 95 % quantile of what random directions in the atom's place and of its
        strengths would get: ‖Σ_t z_tj·∂m/∂x_t‖ times that quantile of |cos|.
        """
        matrix = self.codes.to_scipy()
        active, place = np.unique(matrix.indices, return_inverse=True)
        total = np.bincount(place, weights=self.effects, minlength=len(active))
        pulled = matrix[:, active].T @ self.gradient
        control = np.linalg.norm(pulled, axis=1) * chance_cosine(self.gradient.shape[1])
        return active, total, control

    @checked
    def splice(
        self, atom: int, *, n_controls: Annotated[int, at_least(0)] = 8, seed: Seed = 0
    ) -> SpliceCheck:
        """Run the model without an atom, and without random directions of its strengths.

        The atom is removed at every position the SAE reads, and nowhere else. The directions that
        the quantile is over are `random_direction(d, seed)`, …, of the width of what is written
        """
        atom = check_atom(atom, self.sae.n_atoms)

        def lost(edit: AbstractContextManager[object]) -> tuple[Float[Tensor, " outcomes"], float]:
            answer = self.under(edit)
            return answer, self.value - float(self.outcome.measure(answer))

        model, point, sae, index = self.model, self.hook_point, self.sae, self.outcome.index
        where = torch.zeros(self.n_positions, dtype=torch.bool)
        where[torch.from_numpy(self.position)] = True
        without, exact = lost(ablate(model, point, sae, atom, positions=where))
        drawn = (random_direction(self.x.shape[1], seed + i) for i in range(n_controls))
        edits = (edited(model, point, sae, atom_removal(sae, atom, u), where) for u in drawn)
        controls = [abs(lost(edit)[1]) for edit in edits]
        probability: tuple[float, float] | None = None
        if self.kind != "vector" and index is not None:
            before, after = (z.softmax(dim=-1)[index] for z in (self.answer, without))
            probability = float(before), float(after)
        entries = self.codes.atoms.numpy() == atom
        return SpliceCheck(
            atom=atom,
            measure=self.outcome.words,
            first_order=float(self.effects[entries].sum()),
            exact=exact,
            control=float(np.quantile(controls, 0.95)) if controls else float("nan"),
            n_controls=n_controls,
            kl=None if self.kind == "vector" else float(kl(self.answer, without)),
            probability=probability,
        )

    def under(self, edit: AbstractContextManager[object]) -> Float[Tensor, " outcomes"]:
        """Return the answer with an edit in force."""
        # The lock keeps other threads' forward passes out of the edited stretch.
        with self.model.lock, edit, torch.no_grad():
            return run(self.model, self.batch, answer="end").answer.one().cpu()


@checked
def attribute(
    model: LiveModel,
    batch: Batch,
    hook_point: str,
    sae: SparseAutoencoder,
    *,
    target: Target = None,
    drop_first: bool | None = None,
) -> Attribution:
    """Run the model forwards and backwards on one input and split the answer among latents.

    A transcoder's codes are read where it reads (`sae.hook_point`) and its atoms met by the gradient
    where it writes; the linear map of a SkipTranscoder and the predicted part of a Temporal SAE belong to no
    latent and are not in the error.

    Parameters
    ----------
    model, batch
        Its lock is held meanwhile; one sample, from `model.batches`.
    hook_point, sae
        Where the SAE reads; for a transcoder, where it writes.
    target
        A class or token id or its name, whose logit is measured above the mean of all; a function; or None
        for the model's own top answer.
    drop_first
        Leave out the first token, an attention sink; None: what the SAE was not trained on.

    Raises
    ------
    HookPointNotFound, ValueError: If the hook point is not there, or an activation is not finite.

    Source
    ------
    Gradient × activation on SAE latents: Marks et al., "Sparse Feature Circuits", arXiv 2403.19647,
    eq. 2 with a baseline of zero; error terms as nodes of their own, as there.

    Example
    -------
    >>> import sae_nb as sn
    >>> head = torch.nn.Linear(2, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b"])
    >>> sae = sn.TopK(d_in=2, n_atoms=4, k=1)
    >>> batch = next(model.batches(torch.ones(1, 2)))
    >>> found = attribute(model, batch, "0", sae)
    >>> atom = int(found.codes.atoms[0])
    >>> check = found.splice(atom)
    >>> abs(check.exact - check.first_order) < 1e-5  # a linear model: first order is exact
    True
    """
    check_one_place(sae, may_write=True)
    point = check_hook_point(model, hook_point)
    tap_of(model, point, sae)  # refuses what cannot be read, before the model runs
    check_width(model, point, int(getattr(sae, "d_out", sae.d_in)), "the SAE")
    batch = batch.to(model.device)
    with torch.enable_grad():
        x, read, gradient, answer, kind, outcome, value = _forward_backward(
            model, batch, point, sae, target
        )
        policy = policy_for(model, sae)
        if drop_first is not None:
            massive = policy.drop_massive and drop_first
            policy = replace(policy, drop_first=drop_first, drop_massive=massive)
        rows = batch_rows(x.cpu(), batch, policy, point).without_massive(policy, point)
        if len(rows.x) == 0:
            raise ValueError(
                f"The input must have a position that the SAE reads, got {x.shape[1]} in all: the "
                f"first token is an attention sink that SAEs at {point} are not trained on. Pass a "
                "longer text."
            )
        for name, some in ((point, x), (getattr(sae, "hook_point", None), read)):
            check_finite(
                some[0], name=f"activations at {name}", where="The model itself made them."
            )
        codes, effects, error = _split(sae, read, gradient, rows)
    return Attribution(
        hook_point=str(point),
        outcome=outcome,
        kind=kind,
        value=value,
        answer=answer,
        n_positions=x.shape[1],
        position=rows.position.numpy(),
        codes=codes,
        effects=effects,
        error=error,
        x=rows.x.float(),
        gradient=gradient[0][rows.position].numpy(),
        model=model,
        sae=sae,
        batch=batch,
    )


def _forward_backward(
    model: LiveModel, batch: Batch, point: HookPoint, sae: SparseAutoencoder, target: Target
) -> tuple[Tensor, Tensor, Tensor, Tensor, OutcomeKind, Outcome, float]:
    """Return x at the hook point, what the SAE reads, ∂m/∂x, and the answer."""
    tap = tap_of(model, point, sae)
    here, read = str(point), str(point if tap is None else tap.hook_point)
    ran = run(model, batch, read={here, read}, grad=[here], answer="end")
    with torch.enable_grad():
        answer, kind = ran.answer.one(), ran.answer.kind
        outcome = outcome_of(model, answer, kind, target)
        value = outcome.measure(answer)
        gradient = ran.gradients(value).get(here)
    if gradient is None:
        raise ValueError(
            f"`hook_point` must lead to what is measured of the answer, and {point} does not. Choose an "
            "earlier one; `model.hook_points()` lists them."
        )
    x, seen = ran.states[here].detach(), ran.states[read].detach()
    number = float(value.detach())
    return x, seen, gradient.float().cpu(), answer.detach().cpu(), kind, outcome, number


def _split(
    sae: SparseAutoencoder,
    read: Float[Tensor, "1 time d_in"],
    gradient: Float[Tensor, "1 time d_out"],
    rows: BatchRows,
) -> tuple[SparseCodes, Float[np.ndarray, " nnz"], Float[np.ndarray, " rows"]]:
    """Return the codes of the rows, and the effect of every entry and of every error."""
    with torch.no_grad():
        codes = sae.encode(read.float())  # the whole sequence: some SAEs look at the past
        x_hat = reconstruction(sae, codes, read.float())[0][rows.position.to(read.device)]
    active = without_zeros(codes.rows(rows.position).detach())
    values = active.values.clone().requires_grad_(True)
    towards = gradient[0][rows.position].to(values.device)
    with torch.enable_grad():
        # ∂⟨x̂, g⟩/∂z_tj = ⟨d_j, g_t⟩, by the SAE's own decoder: sparse, and exact for a linear one.
        made = written_codes(sae, active.with_values(values), read[0][rows.position].float())
        (slope,) = torch.autograd.grad((sae.decode(made).float() * towards).sum(), values)
    missed = rows.x.float() - x_hat.float().cpu()
    error = (missed * towards.cpu()).sum(dim=-1).numpy()
    return active.detach().to("cpu"), (values.detach() * slope).float().cpu().numpy(), error

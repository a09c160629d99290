"""A term for fine-tuning that prices atoms: weight · mean over tokens of Σ_j ReLU(u_tj − α_j).

u_j is the pre-code of atom j, before the SAE's selection, so the term has a gradient also where the atom lost
its place. α_j is what is allowed: a number, or the mean pre-code on texts that are as they should be. Source:
Qwen-Scope, arXiv 2605.11887, §SFT (code-switching), with α_j the mean over texts of the language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import relu

from sae_nb.capturing import capture
from sae_nb.checks import check_atom, check_real, checked
from sae_nb.generation import check_writer
from sae_nb.steering import Active, Edit, check_hook_point, policy_for
from sae_nb.steering.edits import MaskedEdit, Positions

if TYPE_CHECKING:
    from sae_nb.activations import PositionPolicy
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel, RunState


@checked(leave=("limit", "like"))
def penalty(
    model: LiveModel,
    sae: SparseAutoencoder,
    atoms: int | Sequence[int],
    hook_point: str,
    *,
    weight: float = 1.0,
    limit: float | Sequence[float] = 0.0,
    like: Any = None,
    reward: bool = False,
) -> Penalty:
    """Make a term of a loss that a fine-tuning of your own adds to its own: what some atoms may not be.

    Inside `with penalty(…) as term:`, each run of the module leaves its activations with their graph, and
    `term(mask)` is a number with a gradient for the model's weights. The SAE stays as it is. Where the term is
    added to the loss of one kind of text only, other kinds keep the atom: pass a mask.

    Parameters
    ----------
    atoms
        Atoms that are penalised.
    weight
        Cost of a mean excess of 1, in units of the loss; ≥ 0.
    limit
        α: mean that each atom may have without a penalty; one number, or one per atom.
    like
        Texts that are as they should be: α_j is then the mean pre-code on them. Not with `limit`.
    reward
        Price what is missing below α instead of what is above it, Σ_j ReLU(α_j − u_j): atoms are to fire. Ours.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If the weight is negative, limits are of another number than atoms, the SAE cannot be read row
        by row; when called, if the model has not run, or the mask has another shape.
    HookPointNotFound, IndexError: If there is no such hook point or atom.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> ids = torch.tensor([model.tokens("The list of lists")["id"].tolist()])
    >>> with penalty(model, sae, [454, 25], "resid_post.3", weight=0.1) as term:
    ...     loss = model.module(ids, labels=ids).loss + term()
    ...     loss.backward()
    >>> next(model.module.parameters()).grad is not None
    True
    """
    check_writer(model, sae, hook_point)
    listed = [atoms] if isinstance(atoms, int) else list(atoms)
    chosen = [check_atom(atom, sae.n_atoms) for atom in listed]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"`atoms` must name at least one atom, and each once, got {listed}.")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"`weight` must be finite and not negative, got {weight}.")
    limits = [float(check_real(a, name="limit")) for a in _several(limit, len(chosen))]
    policy, point = policy_for(model, sae), check_hook_point(model, hook_point)
    if like is not None:
        if any(limits):
            raise ValueError(
                f"`limit` and `like` both say what is allowed, got limit={limit!r} too."
            )
        acts = capture(
            model,
            like,
            hook_point,
            drop_first=policy.drop_first,
            keep_special=policy.keep_special,
            progress=False,
        )
        with torch.no_grad():
            limits = _pre_codes(sae, chosen, acts.x.to(sae.dictionary)).mean(dim=0).tolist()
    passing = _Passing(policy, point)
    return Penalty(
        atoms=tuple(chosen),
        hook_point=hook_point,
        weight=float(weight),
        limits=tuple(limits),
        reward=reward,
        sae=sae,
        passing=passing,
        reading=Active(model, Edit(hook_point=point, edit=passing), backend="hooks"),
    )


def _several(limit: Any, n: int) -> list[Any]:
    listed = (
        [limit] * n
        if getattr(limit, "ndim", 0) == 0 and not isinstance(limit, Sequence)
        else [*limit]
    )
    if len(listed) != n:
        raise ValueError(
            f"`limit` must be one number, or one for each of {n} atoms, got {limit!r}."
        )
    return listed


def _pre_codes(
    sae: SparseAutoencoder, atoms: Sequence[int], x: Float[Tensor, "*batch d_in"]
) -> Float[Tensor, "*batch chosen"]:
    """Return the encoder's output for a few atoms before it selects; of a pursuit ⟨x − b, d_j⟩."""
    rows = list(atoms)
    encoder = getattr(sae, "encoder", None)
    if encoder is None or not hasattr(encoder, "weight"):
        return (x - sae.bias.detach()) @ sae.dictionary[rows].detach().T
    weight, bias = encoder.weight[rows].detach(), encoder.bias[rows].detach()
    return (x - sae.bias.detach()) @ weight.T + bias / sae.scaling.scale


class _Passing(MaskedEdit):
    """The activations at a hook point since the last request, with their graph, and which of them the SAE is
    for; changes nothing.
    """

    everywhere = True  # a block that is run again for the gradient does not know its positions

    def __init__(self, policy: PositionPolicy, at: HookPoint) -> None:
        super().__init__(Positions(policy), lambda x: x, at=at)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Float[Tensor, "batch time d_in"], state: RunState) -> Tensor:
        kept = self.touched(x.detach(), state)
        self.seen.append((x, kept))
        self.n_touched += 1
        return x


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Penalty:
    """A term of a loss, in force inside a `with` block; made by `penalty`."""

    atoms: tuple[int, ...]
    hook_point: str
    weight: float
    limits: tuple[float, ...]
    """α: mean that each atom may have without a penalty; with a reward, must have."""

    reward: bool
    """Whether what is missing is priced, not what is above."""

    sae: SparseAutoencoder
    passing: _Passing
    reading: Active
    """Reader of the module's runs inside the block."""

    def __repr__(self) -> str:
        return f"Penalty({len(self.atoms)} atoms at {self.hook_point}, weight {self.weight:g})"

    def __enter__(self) -> Penalty:
        """Read what passes from now on."""
        self.reading.__enter__()
        self.passing.seen.clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading, and release graphs that were not asked for."""
        self.passing.seen.clear()
        self.reading.__exit__(kind, error, traceback)

    def excess(self) -> Float[Tensor, "batch time"]:
        """Σ_j ReLU(u_j − α_j), of a reward Σ_j ReLU(α_j − u_j), at every token of the last run, then forgotten.

        Raises
        ------
        ValueError: If the model has not run since.
        """
        return self._last()[0]

    def _last(self) -> tuple[Float[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """Return the excess at every token, and which tokens the SAE is for."""
        if not self.passing.seen:
            raise ValueError(
                "A penalty is of what the model just read, and it has not run. Run the module inside the "
                "`with` block, then ask once per run."
            )
        x, kept = self.passing.seen[-1]
        self.passing.seen.clear()
        u = _pre_codes(self.sae, self.atoms, x.to(self.sae.dictionary))
        above = u - u.new_tensor(self.limits)
        return relu(-above if self.reward else above).sum(dim=-1), kept

    def __call__(self, mask: Bool[Tensor, "batch time"] | None = None) -> Float[Tensor, ""]:
        """Return weight · mean excess over the tokens of the last run, those of a mask if there is one.

        Padding is left out, and what the SAE was not trained on, such as first tokens.
        """
        excess, counted = self._last()
        if mask is not None:
            mask = torch.as_tensor(mask)
            if mask.shape != excess.shape:
                raise ValueError(
                    f"`mask` must have a truth value for each token, {tuple(excess.shape)}, got "
                    f"{tuple(mask.shape)}."
                )
            counted = counted & mask.to(counted)
        return self.weight * (excess * counted).sum() / counted.sum().clamp_min(1)

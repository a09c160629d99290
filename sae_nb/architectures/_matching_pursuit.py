"""MatchingPursuit: the encoder is k greedy steps over the dictionary itself; nothing else is learned."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures._pursuing import Norm, PursuitAutoencoder
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Between, Count, Share, checked
from sae_nb.pursuit import matching_pursuit
from sae_nb.pursuit._checking import Gradient
from sae_nb.pursuit._problem import Reselect

Norms = Literal["unit", "free"]
"""Whether training keeps atoms on the unit sphere."""

OFF_THE_SPHERE = 1e-6
"""A norm further from 1 than this is more than rounding."""

MOST_STEPS = 32
"""Of a pursuit that is written out for export: each reads the dictionary twice. Ours."""


@checked
class MatchingPursuit(PursuitAutoencoder):
    """Greedy encoder: k times, take the atom that best explains what is left.

    With unit atoms d_j and r_0 = x − b: j_t = argmax_j ⟨r_t, d_j⟩, a_t = [⟨r_t, d_{j_t}⟩]₊, z_{j_t} +=
    a_t, r_{t+1} = r_t − a_t d_{j_t}, x̂ = zD + b. Then ‖r_{t+1}‖² = ‖r_t‖² − a_t²: the residual never
    grows, with any k, so `encode(x, k=…)` may continue where training stopped. An atom may be selected
    twice, so l0 ≤ k.

    Parameters
    ----------
    k
        Most selections per input, 1 ≤ k ≤ n_atoms. May differ at inference: `encode(x, k=…)`.
    tolerance
        Stop an input when ‖r‖ is at most this, in the units of x; None takes k steps.
    relative_tolerance
        Stop an input when ‖r‖ is at most this share of ‖x − b‖. With either, inputs get the
        number of atoms they need.
    nonnegative
        Only positive codes; otherwise atoms are chosen by |⟨r, d_j⟩|.
    reselect
        Whether an atom may be chosen again. "stop": it may, and that step is the input's last, as published.
        Where concepts are much alike, training finds them so, together with `TrainConfig(grow_k=True)`.
    dropout
        Share of the atoms, redrawn for every batch, that training leaves out; [0, 1).
    revive
        Whether atoms that stay dead in training are resampled from residuals of inputs.
    bias
        Whether b is learned; False is b = 0, as in the paper.
    norms
        "unit": atoms go back on the unit sphere after every step. "free": training leaves their norms
        alone, as published, and its pursuit takes them as they are; outside training they have unit norm.
    gradient
        "full": through amounts and the residual chain, as published. "dictionary": codes are
        constants. Cheaper and as good for reconstruction, but it does not find a hierarchy
        (docs/claims.md).
    d_in, n_atoms, generator
        As in `TopK`.

    Source
    ------
    "From Flat to Hierarchical", arXiv 2506.03093. Theirs has no b; the authors' script (mpsae/MP-SAE)
    sets the norms once and leaves them free, their library (overcomplete) divides them out at every
    forward pass and lets negative codes through. Ours revives dead atoms at distinct residuals.

    Example
    -------
    >>> sae = MatchingPursuit(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(3, 4)
    >>> error = [float((x - sae.decode(sae.encode(x, k=k))).detach().norm()) for k in (1, 2, 8)]
    >>> error[0] > error[1] > error[2]
    True
    """

    later_settings = MappingProxyType({"norms": "unit"})
    fixed_codes = True

    def __init__(
        self,
        d_in: Count,
        n_atoms: Count,
        k: int,
        *,
        tolerance: Norm | None = None,
        relative_tolerance: Share | None = None,
        nonnegative: bool = True,
        reselect: Reselect = True,
        dropout: Annotated[float, Between(0, 1, "[)")] = 0.0,
        revive: bool = True,
        bias: bool = True,
        norms: Norms = "unit",
        gradient: Gradient = "full",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            d_in,
            n_atoms,
            k,
            tolerance=tolerance,
            relative_tolerance=relative_tolerance,
            nonnegative=nonnegative,
            dropout=dropout,
            revive=revive,
            bias=bias,
            generator=generator,
        )
        self.reselect, self.norms = reselect, norms
        self._training_gradient = gradient

    @classmethod
    def for_concepts(
        cls,
        d_in: int,
        n_atoms: int,
        k: int = 4,
        *,
        tolerance: float = 0.05,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Return the settings that find concepts which lie inside concepts and are much alike.

        Free norms, no bias, and an input ends where an atom would be taken again (`reselect="stop"`, which
        decides). Train it with `grow_k=True`: k then grows 1 → 2 → 4. Concepts of a planted tree with a cosine
        of .5 within a level are found so on four of five trees in 7 000 steps of 200 rows; at .8 a start by
        `initialise(x, method="levels")` is needed (docs/claims.md). On real activations none of these
        settings is better in everything.

        Parameters
        ----------
        k
            Most selections per input.
        tolerance
            Stop an input when ‖r‖ is at most this, in the units of x.
        d_in, n_atoms, generator
            As in `MatchingPursuit`.

        Example
        -------
        >>> sae = MatchingPursuit.for_concepts(8, 8, generator=torch.Generator().manual_seed(0))
        >>> sae.settings()["reselect"], sae.settings()["norms"], sae.k
        ('stop', 'free', 4)
        """
        return cls(
            d_in,
            n_atoms,
            k,
            tolerance=tolerance,
            bias=False,
            norms="free",
            reselect="stop",
            generator=generator,
        )

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this size."""
        own = {"reselect": self.reselect, "gradient": self._training_gradient, "norms": self.norms}
        return super().settings() | own

    @property
    def dictionary(self) -> Float[Tensor, "n_atoms d_in"]:
        """The atoms, detached, with unit norm also while training leaves it free."""
        atoms = super().dictionary
        return torch.nn.functional.normalize(atoms, dim=1) if self._off_the_sphere else atoms

    def train(self, mode: bool = True) -> Self:
        """Switch to training, or to use: then atoms have unit norm, whatever training made of it."""
        super().train(mode)
        if not mode and self.norms == "free" and self.device.type != "meta":
            norms = self.operator.atoms().detach().norm(dim=1)
            if bool(((norms - 1).abs() > OFF_THE_SPHERE).any()):
                self.operator.project_()
        return self

    def unit_rows(self) -> list[torch.nn.Parameter]:
        """Return the dictionary, unless norms are free."""
        return super().unit_rows() if self.norms == "unit" else []

    def before_optimiser_step(self) -> None:
        """Project the dictionary's gradient on the sphere, unless norms are free."""
        if self.norms == "unit":
            super().before_optimiser_step()

    def _project(self) -> None:
        if self.norms == "unit":
            super()._project()

    @property
    def _off_the_sphere(self) -> bool:
        return self.training and self.norms == "free"

    def dense_codes(self, x: Rows) -> Tensor:
        """Return the codes of rows as a matrix, by k steps of plain torch operations: what can be exported.

        Raises
        ------
        NotImplementedError: If there are more steps than are written out, or `reselect` is "stop".
        """
        if self.k > MOST_STEPS or self.reselect == "stop":
            raise NotImplementedError(
                f"A pursuit is written out for at most {MOST_STEPS} steps and without "
                f'reselect="stop", got k={self.k} and reselect={self.reselect!r}. Use encode(x).'
            )
        atoms, left = self.dictionary, x - self.bias
        limit = left.norm(dim=1, keepdim=True) * (self.relative_tolerance or 0.0)
        limit = limit.clamp_min(self.tolerance or 0.0)
        number = torch.arange(self.n_atoms, device=x.device)
        codes = x.new_zeros(len(x), self.n_atoms)
        for _ in range(self.k):
            products = left @ atoms.T
            score = products if self.nonnegative else products.abs()
            if not self.reselect:
                score = score.masked_fill(codes != 0, -torch.inf)
            best = score.argmax(dim=1, keepdim=True)
            amount = products.gather(1, best)
            amount = amount.clamp_min(0) if self.nonnegative else amount
            amount = torch.where(left.norm(dim=1, keepdim=True) > limit, amount, 0.0)
            codes = codes + amount * (number == best)
            left = left - amount * atoms[best[:, 0]]
        return codes

    _pursue = staticmethod(matching_pursuit)

    def _own_rules(self) -> dict[str, Any]:
        return {"reselect": self.reselect, "any_norm": self._off_the_sphere}

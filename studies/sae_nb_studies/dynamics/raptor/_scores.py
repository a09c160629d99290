"""Closeness of a Raptor's own roll-out to its teacher: R² and relative error, layer by layer.

R²_l = 1 − Σ‖A_l − Â_l‖² / Σ‖A_l − mean(A_l)‖²;  ε_l = ‖A_l − Â_l‖_F / ‖A_l‖_F.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.dynamics import check_states
from sae_nb.findings import Finding
from sae_nb_studies.dynamics.phases._swaps import answers_of, check_labels, share_of

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb_studies.dynamics.raptor._raptor import Raptor


class RaptorFit(Finding):
    """Fit of layers 1 … L, by default on images that were not trained on."""

    HEADLINE = (
        "mean R² {mean_r2:.3f}, last layer {r2[-1]:.3f} of all tokens ({last_by_kind}); mean relative "
        "error {relative_error.mean:.3f}"
    )

    r2: Float[Tensor, " layers"]
    """R² of the own roll-out over all tokens, about each layer's mean state."""

    relative_error: Float[Tensor, " layers"]
    """‖A_l − Â_l‖ / ‖A_l‖: the ε of the block-recurrent hypothesis, relative."""

    floor: Float[Tensor, " layers"]
    """R² of a network that does nothing: the embeddings in every layer's place."""

    by_kind: dict[str, Float[Tensor, " layers"]]
    """R² by kind of token, about that kind's mean state."""

    @property
    def last_by_kind(self) -> str:
        """R² at the last layer of each kind of token: about its own mean, and so unlike that of all."""
        return ", ".join(f"{kind} {float(r2[-1]):.3f}" for kind, r2 in self.by_kind.items())

    @property
    def mean_r2(self) -> float:
        """Mean R² over layers."""
        return float(self.r2.mean())


@checked
@torch.no_grad()
def raptor_fit(
    raptor: Raptor,
    states: Float[Tensor, "n layers tokens d"],
    *,
    token_kinds: Sequence[str] | None = None,
    batch_size: int = 64,
) -> RaptorFit:
    """Roll a Raptor out from the teacher's embeddings and compare every layer.

    Raises
    ------
    ValueError: If depths or widths differ.

    Example
    -------
    >>> from sae_nb.dynamics import BlockSizes, Raptor
    >>> raptor = Raptor(BlockSizes(d_model=8, n_heads=2, hidden=16), cuts=(0, 3))
    >>> teacher = raptor.roll_out(torch.randn(4, 5, 8)).detach()
    >>> bool((raptor_fit(raptor, teacher).r2 > 0.9999).all())
    True
    """
    x, kinds = check_states(states, token_kinds, min_layers=1)
    check_depth(raptor, x)
    device = next(raptor.parameters()).device
    totals = _Totals(x, kinds)
    for rows in torch.split(torch.arange(len(x)), batch_size):
        teacher = x[rows].to(device, torch.float32)
        own = raptor.roll_out(teacher[:, 0])
        totals.add(teacher, own)
    return totals.fit()


class _Totals:
    """Sums of squares per layer and token, from which every number follows."""

    def __init__(self, x: Tensor, kinds: Sequence[str]) -> None:
        self.kinds = kinds
        self.mean = torch.stack([layer.double().mean(dim=0) for layer in x.unbind(1)])
        self.n = 0
        self.parts: dict[str, Tensor] = {}

    def add(self, teacher: Tensor, own: Tensor) -> None:
        """Add the squares of one batch, (layers, tokens) each."""
        stay = teacher[:, :1].expand_as(teacher)
        squares_of = {
            "residual": (teacher - own).square(),
            "stay": (teacher - stay).square(),
            "size": teacher.square(),
        }
        for name, squares in squares_of.items():
            total = squares.sum(dim=(0, 3), dtype=torch.float64).cpu()
            self.parts[name] = self.parts.get(name, torch.zeros_like(total)) + total
        self.n += len(teacher)

    def fit(self) -> RaptorFit:
        """Turn the sums into R² and relative errors of layers 1 … L."""
        everyone = [True] * len(self.kinds)
        residual, size = self.parts["residual"][1:].sum(1), self.parts["size"][1:].sum(1)
        return RaptorFit(
            r2=self._r2("residual", everyone),
            relative_error=(residual / size.clamp_min(1e-30)).sqrt().float(),
            floor=self._r2("stay", everyone),
            by_kind={
                kind: self._r2("residual", [k == kind for k in self.kinds])
                for kind in dict.fromkeys(self.kinds)
            },
        )

    def _r2(self, part: str, chosen: Sequence[bool]) -> Tensor:
        """1 − SSE / SST over some tokens, SST about their own mean state."""
        mask = torch.tensor(chosen)
        size = self.parts["size"][1:, mask].sum(1)
        centre = self.mean[1:, mask].mean(dim=1)
        spread = size - self.n * int(mask.sum()) * centre.square().sum(dim=1)
        return (1 - self.parts[part][1:, mask].sum(1) / spread.clamp_min(1e-30)).float()


def check_depth(raptor: Raptor, x: Tensor) -> None:
    """Refuse states of another depth or width than the Raptor's."""
    if x.shape[1] - 1 != raptor.n_layers or x.shape[3] != raptor.sizes.d_model:
        raise ValueError(
            f"`states` must have {raptor.n_layers} layers besides the embeddings and width"
            f" {raptor.sizes.d_model} for this Raptor, got shape {tuple(x.shape)}. Use the states and"
            " the cuts of one model."
        )


@dataclass(frozen=True, kw_only=True)
class RaptorAccuracy:
    """Answers of a teacher and of the Raptor in its place."""

    teacher: float
    """Share of images the teacher gets right."""

    raptor: float
    """Share that are right with the Raptor between the teacher's embedding and head."""

    agreement: float
    """Share of images on which both answer alike."""

    chance: float
    """Share of the commonest class."""

    @property
    def kept(self) -> float:
        """Raptor's accuracy as a share of the teacher's."""
        return self.raptor / self.teacher if self.teacher else float("nan")


@checked
def raptor_accuracy(
    raptor: Raptor,
    model: LiveModel,
    inputs: Any,
    labels: Any,
    *,
    head: str | None = None,
    batch_size: int | None = None,
) -> RaptorAccuracy:
    """Compare task accuracy with and without the Raptor in the place of the blocks.

    `inputs` are images, `labels` one class each; the embedding and heads of `model` are used as they are.

    Raises
    ------
    ValueError: If there are not one label per image.
    """
    answers = partial(answers_of, model, inputs, head=head, batch_size=batch_size)
    before = answers()
    right = check_labels(labels, before)
    with raptor.replacing(model):
        after = answers()
    return RaptorAccuracy(
        teacher=share_of(before == right),
        raptor=share_of(after == right),
        agreement=share_of(before == after),
        chance=float(torch.bincount(right).max()) / len(right),
    )

"""Can a model be made to forget one subject by a few atoms, with everything else as it was?

Atoms that fire on what is to be forgotten and hardly ever on what is to be kept are set to −M wherever they are
active, with the error kept. Zeroing them does nothing (arXiv 2410.19278), so M > 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations, written_codes
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import codes_of
from sae_nb.steering import splice
from sae_nb.steering.edits import Change
from sae_nb_studies.evaluation.concepts._targeted import NotMeasurableError
from sae_nb_studies.evaluation.dictionary._merging import summed_atoms

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import Batch, LiveModel

RARE = (0.001, 0.01)
"""Shares of the rows that are kept in which an atom may fire."""

NUMBER = 20
"""Number of atoms that are set; SAEBench tries 10 too."""

TIMES = (8.0, 32.0)
"""M, in multiples of an atom's mean strength where it fires. SAEBench's 25 … 200 are in its model's units."""

KEPT = 0.99
"""Share of the answers to what is kept that must stay."""


@dataclass(frozen=True, kw_only=True)
class Unlearning:
    """The share of answers that is forgotten where 99 % of the others stay."""

    score: float
    """Largest share of answers forgotten, over settings that keep 99 % of the others; 0 if none does."""

    simple: float
    """The same where the difference of means is subtracted instead, at rows on its side."""

    n_atoms: int
    """Atoms that fire rarely enough on what is kept: those that could be set."""

    settings: tuple[tuple[float, float, float, float], ...]
    """Rare, M, share forgotten, share kept: every setting that was tried."""


@torch.no_grad()
def unlearning(
    sae: SparseAutoencoder,
    model: LiveModel,
    hook_point: str,
    forget: tuple[Any, Activations],
    keep: tuple[Any, Activations],
    *,
    head: str | None = None,
) -> Unlearning:
    """Forget the answers to some inputs, and keep those to others; both as (inputs, their activations).

    An answer of a language model is a next token that it had right before; of another model, the class that it
    gave before. Source: SAEBench evals/unlearning [its code]; Farrell et al., arXiv 2410.19278. Ours: any two
    sets of inputs instead of WMDP and MMLU, M by the atom's own strength, and answers relative to those before.
    """
    codes = [codes_of(sae, acts) for _, acts in (forget, keep)]
    fires, kept_fires = (_frequency(z) for z in codes)
    strength = _mean_strength(codes[0])
    answers = _Answers(model, (forget[0], keep[0]), head)
    tried: list[tuple[float, float, float, float]] = []
    for rare, m in itertools.product(RARE, TIMES):
        allowed = np.flatnonzero((kept_fires < rare) & (fires > 0))
        chosen = allowed[np.argsort(-fires[allowed], kind="stable")][:NUMBER]
        if len(chosen):
            change = _clamped(sae, chosen, m * strength)
            lost, stays = answers.under(splice(model, hook_point, change, answers.where))
            tried.append((rare, m, lost, stays))
    simple = [
        answers.under(splice(model, hook_point, change, answers.where))
        for change in _subtracted(forget[1], keep[1])
    ]
    return Unlearning(
        score=max((lost for *_, lost, stays in tried if stays >= KEPT), default=0.0),
        simple=max((lost for lost, stays in simple if stays >= KEPT), default=0.0),
        n_atoms=int(((kept_fires < max(RARE)) & (fires > 0)).sum()),
        settings=tuple(tried),
    )


def _frequency(codes: SparseCodes) -> Float[np.ndarray, " n_atoms"]:
    active = codes.atoms[codes.values != 0].numpy()
    return np.bincount(active, minlength=codes.n_atoms) / max(codes.n_rows, 1)


def _mean_strength(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """|z| of every atom, on average where it fires."""
    atoms, values = codes.atoms.long(), codes.values.double().abs()
    sums = torch.zeros(codes.n_atoms, dtype=torch.float64).index_add_(0, atoms, values)
    return sums / torch.bincount(atoms[values > 0], minlength=codes.n_atoms).clamp_min(1)


def _clamped(sae: SparseAutoencoder, chosen: Int[np.ndarray, " k"], m: Tensor) -> Change:
    """Set atoms to −m wherever they are active, and leave the error as it is."""
    is_chosen = torch.zeros(sae.n_atoms, dtype=torch.bool)
    is_chosen[torch.from_numpy(chosen)] = True

    def change(x: Float[Tensor, "batch time d_in"], *_: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        read = flat.to(sae.dictionary)
        z = sae.encode(read).detach()
        atoms = z.atoms.long()
        touched = is_chosen.to(atoms.device)[atoms] & (z.values != 0)
        by = torch.where(touched, -m.to(z.values)[atoms] - z.values, torch.zeros_like(z.values))
        made = written_codes(sae, z.with_values(by), read)
        moved = summed_atoms(made, sae.dictionary.detach())
        return x + moved.reshape(x.shape).to(x)

    return change


def _subtracted(forget: Activations, keep: Activations) -> Iterator[Change]:
    """Subtract multiples of the difference of means from rows that lie on its side."""
    means = [acts.x.double().mean(dim=0) for acts in (forget, keep)]
    u, middle = means[0] - means[1], (means[0] + means[1]) / 2
    for times in TIMES:

        def change(x: Tensor, *_: Tensor, by: float = times) -> Tensor:
            d = u.to(x)
            return torch.where(((x - middle.to(x)) @ d > 0)[..., None], x - by * d, x)

        yield change


class _Answers:
    """Answers to what is forgotten and to what is kept, before and under an edit."""

    def __init__(self, model: LiveModel, inputs: tuple[Any, Any], head: str | None) -> None:
        self.model, self.head = model, head
        self.is_text = model.modality.is_text and model.causal
        self.where = "not_first" if self.is_text else None
        self.batches = [
            list(model.batches(part, batch_size=8 if self.is_text else 64)) for part in inputs
        ]
        self.before = [[self._right(batch) for batch in part] for part in self.batches]
        if not all(self._sizes):
            raise NotMeasurableError("the model has no answer right before anything is forgotten")

    @property
    def _sizes(self) -> list[int]:
        return [sum(int(mask.sum()) for _, mask in part) for part in self.before]

    def _read(self, batch: Batch) -> Int[Tensor, " ..."]:
        if self.is_text or self.head is None:
            return self.model.main_output(self.model.forward(batch)).argmax(dim=-1).cpu()
        heads = self.model.forward(batch, method="forward_heads")
        return heads[self.head].argmax(dim=-1).cpu()

    def _right(self, batch: Batch) -> tuple[Tensor, Bool[Tensor, " ..."]]:
        """The clean answers, and which of them count."""
        said = self._read(batch)
        if not self.is_text:
            return said, torch.ones_like(said, dtype=torch.bool)
        ids = batch.token_ids.cpu()  # type: ignore[union-attr]
        keep = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
        # The first token is left as it is, so nothing is asked of it either.
        mask = torch.zeros_like(keep)
        mask[:, 1:-1] = (said[:, 1:-1] == ids[:, 2:]) & keep[:, 1:-1] & keep[:, 2:]
        return said, mask

    def under(self, edit: AbstractContextManager[Any]) -> tuple[float, float]:
        """Return the share of the answers that changed among those to forget; that stayed among those
        to keep.
        """
        shares = []
        with self.model.lock, edit:
            for batches, before in zip(self.batches, self.before):
                same = sum(
                    int(((self._read(batch) == said) & mask).sum())
                    for batch, (said, mask) in zip(batches, before)
                )
                shares.append(same / sum(int(mask.sum()) for _, mask in before))
        return 1 - shares[0], shares[1]

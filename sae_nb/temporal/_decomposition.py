"""decompose(sae, x) → what the past suggested of each token, what the token added, and their energies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from sae_nb.codes import SparseCodes
from sae_nb.temporal._sequences import WHY, Sequences, mask_of, padded, unpadded

if TYPE_CHECKING:
    from sae_nb.activations import Activations


GROUP_ROWS = 8192
"""Rows taken apart at once: with 4096 atoms their dense codes take 128 MiB. Ours."""


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """Sequences taken apart: x̂ = predicted + novel + bias.

    Sequences lie side by side, (batch, time, …); where they have unlike lengths, padding at their ends is
    zero and `keep` is False there. `rows` turns any of it into the rows of the activations again.
    """

    predicted: Float[Tensor, "batch time d_in"]
    """z_p D: what the past suggests, bias left out."""

    novel: Float[Tensor, "batch time d_in"]
    """z_n D: what the token adds, bias left out."""

    novel_codes: SparseCodes
    """z_n, one row per token that is kept, in order: the codes of `acts` for panels of atoms."""

    bias: Float[Tensor, " d_in"]
    """b, which belongs to neither part."""

    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    """Row of the activations at which each sequence begins."""

    strict: bool
    """Whether the present token was kept from its own prediction."""

    attention: Float[Tensor, "batch heads time time"] | None = None
    """Of the first layer, where it was asked for: [b, h, t, j] is how much time t attends to slot j;
    slot 0 is empty, slot j is the token at time j − 1."""

    _predicted_codes: Float[Tensor, "batch time n_atoms"] | None = field(default=None)

    def __repr__(self) -> str:
        n, time, d_in = self.predicted.shape
        share = float(self.rows(self.energy_shares)[:, 0].mean())
        return (
            f"Decomposition({n} × {time} tokens, d_in={d_in}, {share:.0%} of the energy predicted"
            f"{', strict' if self.strict else ''})"
        )

    @property
    def predicted_codes(self) -> Float[Tensor, "batch time n_atoms"]:
        """z_p, dense by nature; negative where the past points the wrong way.

        Raises
        ------
        ValueError: If they were not kept.
        """
        if self._predicted_codes is None:
            raise ValueError(
                "`predicted_codes` were not kept. Call decompose with predicted_codes=True, for fewer "
                "sequences where memory is short."
            )
        return self._predicted_codes

    @cached_property
    def keep(self) -> Bool[Tensor, "batch time"]:
        """Where there is a token, and not padding."""
        return mask_of(self.lengths).to(self.predicted.device)

    @cached_property
    def x_hat(self) -> Float[Tensor, "batch time d_in"]:
        """Both parts and the bias: the reconstruction."""
        return (self.predicted + self.novel + self.bias) * self.keep[..., None]

    @cached_property
    def energy(self) -> Float[Tensor, "batch time 2"]:
        """‖predicted‖² and ‖novel‖² of every token."""
        parts = (self.predicted, self.novel)
        return torch.stack([part.square().sum(dim=-1) for part in parts], dim=-1)

    @cached_property
    def energy_shares(self) -> Float[Tensor, "batch time 2"]:
        """Share of predicted and of novel in ‖predicted‖² + ‖novel‖²; they sum to 1, or are 0."""
        total = self.energy.sum(dim=-1, keepdim=True)
        return torch.where(total > 0, self.energy / total.clamp_min(torch.finfo().tiny), 0.0)

    def rows(self, values: Float[Tensor, "batch time ..."]) -> Float[Tensor, "n ..."]:
        """Values of the tokens, one after another as in the activations, padding left out."""
        return values[self.keep.to(values.device)]

    def codes_of(self, sequence: int) -> SparseCodes:
        """The novel codes of one sequence."""
        first = sum(self.lengths[:sequence])
        rows = torch.arange(first, first + self.lengths[sequence], device=self.novel_codes.device)
        return self.novel_codes.rows(rows)


@torch.no_grad()
def decompose(
    sae: Any,
    x: Activations | Float[Tensor, "*batch time d_in"],
    *,
    attention: bool = False,
    predicted_codes: bool = True,
) -> Decomposition:
    """Take sequences apart into what their past suggests and what each token adds.

    Parameters
    ----------
    sae
        A `Temporal`, trained here or read from a file.
    x
        Sequences, (batch, time, d_in) or one (time, d_in); or activations, whose samples are the
        sequences.
    attention, predicted_codes
        Whether attention weights, (batch, heads, time, time), and dense predicted codes are kept.

    Raises
    ------
    TypeError: If `sae` does not read sequences, or `x` is neither a tensor nor activations.
    ValueError: If `x` does not fit the SAE, has sequences shorter than 2 tokens, or rows that are shuffled,
        leave gaps or carry no positions.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.Temporal(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    >>> parts = decompose(sae, x)
    >>> parts.predicted.shape, torch.allclose(parts.x_hat, sae(x), atol=1e-6)
    (torch.Size([2, 6, 4]), True)
    """
    if not getattr(sae, "reads_sequences", False):
        raise TypeError(
            f"`sae` must be an SAE of sequences such as sn.Temporal, got {type(sae).__name__}: it has no "
            f"predicted part. {WHY}"
        )
    sequences = x if isinstance(x, Sequences) else Sequences(x)
    training = sae.training
    sae.eval()
    try:
        parts = [
            _taken_apart(sae, sequences, group, attention, predicted_codes)
            for group in sequences.groups(GROUP_ROWS)
        ]
    finally:
        sae.train(training)
    return _joined(parts, sae, sequences)


def _taken_apart(
    sae: Any, sequences: Sequences, group: list[int], attention: bool, keep_codes: bool
) -> tuple[Tensor | None, ...]:
    rows = sequences.rows(group)
    lengths = rows.lengths
    x = padded(sae.checked_rows(rows), lengths)
    prediction = sae.predict(x, attention=attention)
    codes = sae.novel_codes(unpadded(prediction.residual, lengths)).detach()
    novel = sae.decode(codes) - sae.bias
    predicted = unpadded(prediction.predicted, lengths)
    dense = unpadded(prediction.codes, lengths) if keep_codes else None
    seen = prediction.attention[0] if attention and prediction.attention else None
    return predicted, novel, codes, dense, seen


def _joined(
    parts: list[tuple[Tensor | None, ...]], sae: Any, sequences: Sequences
) -> Decomposition:
    predicted, novel, codes, dense, seen = zip(*parts, strict=True)
    lengths, attention = sequences.lengths, None
    if seen[0] is not None:
        gaps = [max(lengths) - part.shape[-1] for part in seen]
        attention = torch.cat([pad(part, (0, gap, 0, gap)) for part, gap in zip(seen, gaps)])
    return Decomposition(
        predicted=padded(torch.cat(predicted), lengths),
        novel=padded(torch.cat(novel), lengths),
        novel_codes=SparseCodes.concatenate(list(codes)),
        bias=sae.bias.detach(),
        lengths=lengths,
        starts=sequences.starts,
        strict=sae.strict,
        attention=attention,
        _predicted_codes=None if dense[0] is None else padded(torch.cat(dense), lengths),
    )


def sequence_groups(
    sae: Any, acts: Activations, rows: int
) -> Iterator[tuple[Int[Tensor, " m"], Tensor, SparseCodes, Tensor]]:
    """Row numbers, activations, novel codes and full reconstructions, whole sequences at a time."""
    sequences = Sequences(acts)
    for group in sequences.groups(rows):
        chosen = sequences.rows(group)
        lengths = chosen.lengths
        x = padded(sae.checked_rows(chosen), lengths)
        residual = unpadded(sae.predict(x).residual, lengths)
        codes = sae.novel_codes(residual)
        flat = unpadded(x, lengths)
        x_hat = sae.decode(codes) + (flat - sae.bias - residual)
        yield sequences.row_numbers(group), flat, codes, x_hat

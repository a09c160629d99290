"""Sequences taken apart: what the past suggests of each token, what the token adds, and their energies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from sae_nb.activations._hook_point_check import other_model
from sae_nb.checks import checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb.kernels._products import fast_linear, linear
from sae_nb.temporal._sequences import WHY, SequenceRows, Sequences, mask_of, padded, unpadded

if TYPE_CHECKING:
    from sae_nb.activations import Activations

# -------------------------------------------------------------------------------------------------
# Causal attention in code space: what earlier codes predict of the present one.
#
# Queries come from the code at t, keys and values from the codes before t; the first token sees an
# empty slot of zeros, which every later token sees too.


class CodeAttention(nn.Module):
    """Multi-head attention from a code to the codes before it.

    Source: Lubana et al., "Priors in Time", arXiv 2511.01836, eq. 3; initial row norms as in the
    authors' code, eslubana/TemporalFeatureAnalysis sae/utils.py. The window is ours.
    """

    def __init__(
        self,
        n_atoms: int,
        n_heads: int,
        bottleneck_factor: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_atoms % (n_heads * bottleneck_factor):
            raise ValueError(
                f"`n_atoms` must be divisible by n_heads·bottleneck_factor="
                f"{n_heads * bottleneck_factor}, got {n_atoms}. Change one of them."
            )
        self.n_heads = n_heads
        narrow = n_atoms // bottleneck_factor
        self.k_ctx = _linear(n_atoms, narrow, narrow // n_heads, generator)
        self.q_target = _linear(n_atoms, narrow, narrow // n_heads, generator)
        self.v_ctx = _linear(n_atoms, n_atoms, n_atoms // n_heads, generator)
        self.c_proj = _linear(n_atoms, n_atoms, n_atoms, generator)

    def forward(
        self,
        past: Float[Tensor, "batch time n_atoms"],
        present: Float[Tensor, "batch time n_atoms"],
        *,
        window: int | None = None,
    ) -> Float[Tensor, "batch time n_atoms"]:
        """Predict every time from its past."""
        q = self._heads(self.q_target(present))
        k, v = self._heads(self.k_ctx(past)), self._heads(self.v_ctx(past))
        if window is None or q.shape[2] <= window:
            attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            attended = _in_chunks(q, k, v, window)
        out: Tensor = self.c_proj(attended.transpose(1, 2).flatten(2))
        return out

    def weights(
        self,
        past: Float[Tensor, "batch time n_atoms"],
        present: Float[Tensor, "batch time n_atoms"],
        *,
        window: int | None = None,
    ) -> Float[Tensor, "batch heads time time"]:
        """Return the attention of each time to each slot of the past; slot 0 is the empty one."""
        q, k = self._heads(self.q_target(present)), self._heads(self.k_ctx(past))
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        n = scores.shape[-1]
        seen = _seen(torch.arange(n), torch.arange(n), n if window is None else window)
        return scores.masked_fill(~seen.to(q.device), -torch.inf).softmax(dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


def _seen(queries: Tensor, slots: Tensor, window: int) -> Tensor:
    """Return the slots that a time sees: the empty one, and those of the last `window` codes."""
    t, slot = queries[:, None], slots[None, :]
    return (slot == 0) | ((slot <= t) & (slot > t - window))


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention to the last `window` codes and the empty slot, a chunk of times after the other."""
    parts = []
    for start in range(0, q.shape[2], window):
        stop = min(start + window, q.shape[2])
        first = max(1, start - window + 1)
        slots = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(first, stop)])
        mask = _seen(torch.arange(start, stop), slots, window).to(q.device)
        keys, values = (torch.cat([x[:, :, :1], x[:, :, first:stop]], dim=2) for x in (k, v))
        parts.append(
            nn.functional.scaled_dot_product_attention(
                q[:, :, start:stop], keys, values, attn_mask=mask
            )
        )
    return torch.cat(parts, dim=2)


def shifted(codes: Float[Tensor, "batch time n_atoms"]) -> Float[Tensor, "batch time n_atoms"]:
    """Return the codes one time later, with zeros first."""
    return nn.functional.pad(codes[:, :-1], (0, 0, 1, 0))


def _linear(width: int, out: int, head: int, generator: torch.Generator | None) -> nn.Linear:
    here = torch.empty(0).device
    # Built without memory first: torch's own first weights would be drawn from the global generator.
    layer = nn.Linear(width, out, device="meta")
    if here.type == "meta":
        return layer
    layer = layer.to_empty(device=here)
    with torch.no_grad():
        rows = torch.randn(out, width, generator=generator)
        layer.weight.copy_(rows / rows.norm(dim=1, keepdim=True) / math.sqrt(head))
        layer.bias.zero_()
    return layer


# -------------------------------------------------------------------------------------------------
# The predictable part of activations: codes that the past suggests.
#
# Published: v_t = [λ(x_t − b)E]₊,  u_t = [attention(v_t; v_{<t})]₊,  p_t = u_t D,
# a_t = ⟨p_t, r_t⟩ / ‖p_t‖²,  z_p += a_t u_t,  r_t −= a_t p_t, once per attention layer, from r = x − b.
# Strict: the query is v_{t−1}, and z_p += u_t / λ: the present token is not looked at.


NORM_GUARD = 1e-6
"""Added to ‖p_t‖ before squaring, as the authors do."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of activations from the past, and the residual."""

    predicted: Float[Tensor, "batch time d_in"]
    """z_p D, what the predicted codes add up to."""

    residual: Float[Tensor, "batch time d_in"]
    """The residual for the novel part, centred."""

    n_atoms: int

    suggested: tuple[tuple[float | Tensor, Float[Tensor, "batch time n_atoms"]], ...]
    """Per layer a_t, (batch, time, 1) or one number in the strict form, and u_t."""

    attention: tuple[Float[Tensor, "batch heads time time"], ...] = ()
    """Per layer, how much each time attends to each slot (slot 0 is empty, slot j is time j − 1);
    only where it was asked for."""

    @property
    def codes(self) -> Float[Tensor, "batch time n_atoms"]:
        """z_p = Σ a_t u_t; dense by nature, and negative where the past points the wrong way."""
        total = self.predicted.new_zeros(*self.predicted.shape[:2], self.n_atoms)
        for length, suggested in self.suggested:
            total = total + length * suggested
        return total


def predict(
    x: Float[Tensor, "batch time d_in"],
    encoder: Float[Tensor, "n_atoms d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    layers: Iterable[CodeAttention],
    *,
    centre: Float[Tensor, " d_in"],
    gain: float | Tensor,
    strict: bool = False,
    window: int | None = None,
    attention: bool = False,
) -> Prediction:
    """Take off activations what their past suggests.

    In the published form query and length a_t look at the present token, so this is a projection of x_t
    on a direction chosen from context, not a forecast. The strict form is a forecast.

    Source: Lubana et al., "Priors in Time", arXiv 2511.01836, eqs. 3–4;
    eslubana/TemporalFeatureAnalysis, sae/saeTemporal.py. The strict form is ours.
    """
    residual, predicted = x - centre, torch.zeros_like(x)
    # The centre moves all rows alike: its gradient through pre-codes is that of `moved`, which is zero, and
    # activations, which need none, cost no product with the encoder.
    seen = x - centre.detach()
    moved: Tensor | None = (centre.detach() - centre) @ encoder.T
    suggested, weights = [], []
    for layer in layers:
        codes = linear(seen * gain, encoder, None if moved is None else moved * gain).relu_()
        past = shifted(codes)
        query = past if strict else codes
        if attention:
            weights.append(layer.weights(past, query, window=window))
        with fast_linear():
            u = layer(past, query, window=window).relu_()
        part = linear(u, dictionary.T)
        length: float | Tensor
        if strict:
            length = 1 / gain
        else:  # stretched so that what they decode to is the projection of the residual on it
            norm = part.norm(dim=-1, keepdim=True) + NORM_GUARD
            length = (part * residual).sum(dim=-1, keepdim=True) / norm.square()
        part = length * part
        predicted, residual = predicted + part, residual - part
        seen, moved = residual, None
        suggested.append((length, u))
    return Prediction(predicted, residual, len(dictionary), tuple(suggested), tuple(weights))


# -------------------------------------------------------------------------------------------------
# decompose(sae, x): all sequences of activations, group by group.


GROUP_ROWS = 8192
"""Rows taken apart at once: with 4096 atoms their dense codes take 128 MiB. Ours."""


class Decomposition(Finding, kw_only=False):
    """Sequences taken apart: x = predicted + novel + error + bias.

    Sequences lie side by side, (batch, time, …); where they have unlike lengths, padding at their ends is
    zero and `keep` is False there. `rows` turns any of it into the rows of the activations again.
    """

    predicted: Float[Tensor, "batch time d_in"]
    """z_p D: what the past suggests, bias left out."""

    novel: Float[Tensor, "batch time d_in"]
    """z_n D: what the token adds, bias left out."""

    error: Float[Tensor, "batch time d_in"]
    """x − x̂: what neither part has."""

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

    @property
    def headline(self) -> str:
        """Size, and the share of the activations' energy that was predicted, beside that of plain guesses.

        Means are of tokens that have a past: a sequence's first has none.
        """
        n, time, d_in = self.predicted.shape
        past = self.keep.clone()
        past[:, 0] = False
        share = float(self.energy_shares[past][:, 0].mean())
        plain = [f"{name} {one[past].mean():.0%}" for name, one in self.plain_shares.items()]
        strict = ", strict" if self.strict else ""
        return (
            f"{n} × {time} tokens, d_in={d_in}, {share:.0%} of the energy predicted{strict} "
            f"({', '.join(plain)})"
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
        """‖predicted‖² and ‖novel‖² as shares of ‖x − b‖²; what the SAE misses is in neither.

        In the published form the first is the share of the token that the prediction explains. A forecast
        (strict) may be longer than what comes.
        """
        return _shares(self.energy, self._centred.square().sum(dim=-1, keepdim=True))

    @cached_property
    def plain_shares(self) -> dict[str, Float[Tensor, "batch time"]]:
        """Predicted shares of two guesses that learn nothing: the previous token, and the mean of all before.

        Each is made as long as fits best, as predictions are: in the published form for each token, in the
        strict form by one number for its sequence.
        """
        x = self._centred
        before = torch.arange(x.shape[1]).clamp_min(1).to(x)[:, None]
        past = pad(x[:, :-1], (0, 0, 1, 0))
        guesses = {"previous token": past, "running mean": past.cumsum(dim=1) / before}
        total, found = x.square().sum(dim=-1), {}
        for name, guess in guesses.items():
            guess = guess * self.keep[..., None]
            along, energy = (guess * x).sum(dim=-1), guess.square().sum(dim=-1)
            if self.strict:
                along, squares = (one.sum(dim=1, keepdim=True) for one in (along, energy))
                found[name] = _shares(_shares(along, squares).square() * energy, total)
            else:
                found[name] = _shares(_shares(along.square(), energy), total)
        return found

    @property
    def _centred(self) -> Float[Tensor, "batch time d_in"]:
        """Activations less the bias, with zeros for padding."""
        return self.predicted + self.novel + self.error

    def rows(self, values: Float[Tensor, "batch time ..."]) -> Float[Tensor, "n ..."]:
        """Return values of the tokens, one after another as in the activations, padding left out."""
        return values[self.keep.to(values.device)]

    def codes_of(self, sequence: int) -> SparseCodes:
        """Return the novel codes of one sequence."""
        first = sum(self.lengths[:sequence])
        rows = torch.arange(first, first + self.lengths[sequence], device=self.novel_codes.device)
        return self.novel_codes.rows(rows)


def _shares(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, 0 where the whole is."""
    return torch.where(whole > 0, part / whole.clamp_min(torch.finfo().tiny), 0.0)


@checked
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
    if sequences.d_in != sae.d_in and (foreign := other_model(sae, x)):
        raise ValueError(
            f"`x` must have width d_in={sae.d_in} to match the SAE, got {sequences.d_in}. {foreign} Use "
            "activations of the SAE's model."
        )
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
    error = unpadded(prediction.residual, lengths) - novel
    dense = unpadded(prediction.codes, lengths) if keep_codes else None
    seen = prediction.attention[0] if attention and prediction.attention else None
    return predicted, novel, error, codes, dense, seen


def _joined(
    parts: list[tuple[Tensor | None, ...]], sae: Any, sequences: Sequences
) -> Decomposition:
    predicted, novel, error, codes, dense, seen = zip(*parts, strict=True)
    lengths, attention = sequences.lengths, None
    if seen[0] is not None:
        gaps = [max(lengths) - part.shape[-1] for part in seen]
        attention = torch.cat([pad(part, (0, gap, 0, gap)) for part, gap in zip(seen, gaps)])
    return Decomposition(
        predicted=padded(torch.cat(predicted), lengths),
        novel=padded(torch.cat(novel), lengths),
        error=padded(torch.cat(error), lengths),
        novel_codes=SparseCodes.concatenate(list(codes)),
        bias=sae.bias.detach(),
        lengths=lengths,
        starts=sequences.starts,
        strict=sae.strict,
        attention=attention,
        _predicted_codes=None if dense[0] is None else padded(torch.cat(dense), lengths),
    )


def sequence_groups(
    sae: Any, acts: Activations, rows: int, k: float | None = None
) -> Iterator[tuple[Int[Tensor, " m"], Tensor | None, SparseCodes, Tensor]]:
    """Yield row numbers, targets, codes and reconstructions, whole sequences at a time.

    The target is what is read, or of a dictionary that writes elsewhere what is there; None where not given.
    """
    sequences = Sequences(acts)
    for group in sequences.groups(rows):
        chosen = sequences.rows(group)
        read, target = chosen[:, : sae.d_in], chosen[:, sae.d_in :]
        codes, x_hat = sae.of_sequences(SequenceRows.of(read, chosen.lengths), k)
        if sae.writes is None:
            target = read
        yield (
            sequences.row_numbers(group),
            target.to(x_hat) if target.shape[1] else None,
            codes,
            x_hat,
        )

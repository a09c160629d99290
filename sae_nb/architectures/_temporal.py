"""Temporal: attention over the past takes off what it suggests, and an SAE encodes what is left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for
from sae_nb.architectures._base import ROWS_AT_ONCE, Encodable
from sae_nb.architectures._composition import class_over
from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures._recipe import Silence, TrainingLoss
from sae_nb.architectures._revival import AtomRows, Dead, as_directions
from sae_nb.architectures.parts._operators import LearnedAdjoint, MatrixOperator
from sae_nb.architectures.parts._proxes import Matrix, Rows
from sae_nb.checks import (
    Count,
    Positive,
    as_tensor,
    at_least,
    check_matrix,
    checked,
    one_of,
    warn_caller,
)
from sae_nb.codes import SparseCodes
from sae_nb.temporal._decomposition import CodeAttention, Prediction, predict, sequence_groups
from sae_nb.temporal._sequences import SequenceRows, padded, unpadded

NOVEL = ("TopK", "BatchTopK", "ReLU", "none")
"""Encoders of the novel part; with "none" there is only the predictable part."""

CONTEXT = 512
"""Maximum number of tokens before a token that it sees, unless given: about the published 500."""

ATTENTION_SHARE = 0.5
"""Of the learning rate. Ours: with all of it, predicted codes on tiny-gpt end less smooth (path ratio 0.7
of the novel ones, against 0.5); with 0.15, the novel part has learned what is slow before they do."""


class TiedAdjoint(LearnedAdjoint):
    """An encoder whose rows point along the atoms: E_j = g_j d_j, with a learned length g_j."""

    def __init__(self, operator: MatrixOperator) -> None:
        nn.Module.__init__(self)
        self._operator = (operator,)
        atoms = operator.atoms().detach()
        self.gain = nn.Parameter(atoms.new_ones(len(atoms)))
        self.bias = nn.Parameter(atoms.new_zeros(len(atoms)))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """E, with its gradient."""
        return self.gain[:, None] * self._operator[0].atoms()

    @torch.no_grad()
    def start_from_(self, atoms: Matrix) -> None:
        """Begin as the transpose of the dictionary, which is `atoms` already."""
        self.gain.fill_(1.0)
        self.bias.zero_()

    @torch.no_grad()
    def rescale_(self, gain: float) -> None:
        """Multiply every pre-code by one number."""
        self.gain.mul_(gain)
        self.bias.mul_(gain)


@checked
class Temporal(OneStep):
    """A sparse autoencoder of sequences: what the past suggests of x_t, and a sparse code of the rest.

    With s from `InputScaling` and v_t = [λ s (x_t − b)Eᵀ]₊, attention from v_t to v_{<t} suggests
    u_t = [attention]₊ and with it a direction p_t = u_t D. Published form: x_t is projected on it,
    a_t = ⟨p_t, x_t − b⟩ / ‖p_t‖², so the predicted part is chosen by context and yet sees x_t. Strict
    form: the query is v_{t−1} and a_t = 1 / (λ s), so it is a forecast from x_{<t} alone. The novel code
    is that of a plain SAE on what is left, x̂_t = a_t p_t + z_t D + b.

    The axis before the last is time: (time, d_in) is one sequence, a single vector has no past.
    `encode` gives the novel codes, `decode` what they add up to with the bias, and `sae(x)` both parts.
    Without attention layers it is the plain SAE.

    Parameters
    ----------
    n_atoms
        Rows of the dictionary, divisible by n_heads · bottleneck_factor.
    k
        Novel atoms per token: at most, on average for BatchTopK, as a target for ReLU.
    strict
        Whether the present token is kept from its own prediction.
    n_heads, bottleneck_factor, n_layers
        Attention: heads, how much narrower queries and keys are than codes, layers one after another.
    novel
        Encoder of the novel part: "TopK", "BatchTopK", "ReLU" or "none".
    tied
        Whether encoder rows always point along the atoms, or only begin so.
    encoder_bias
        Whether each atom learns a threshold of its own. The published form has none, and only without
        one can SAELens hold it (`write_saelens`).
    prescale
        λ. None: 1 / √d_in.
    context
        Most tokens before a token that it sees. Longer sequences are trained in pieces of this length
        and read in chunks, with memory linear in their length.
    d_in, generator
        As in `TopK`; the generator also draws attention.
    settings
        Of the novel part's architecture.

    Raises
    ------
    ValueError: If `n_atoms` does not divide, or ReLU is to encode without a bias.

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836, eqs. 3–4; eslubana/TemporalFeatureAnalysis. Ours:
    unit atoms with a learned gain each, where theirs have any norm and λ = 1 / (4 d_in); the strict form.

    Example
    -------
    >>> sae = Temporal(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(x)
    >>> codes.shape, torch.equal(sae(x), sae.decode(codes)), type(sae).__name__
    ((3, 5, 8), False, 'Temporal')
    """

    fixed_codes = False
    reads_sequences = True

    longest_trained: Tensor

    def __new__(cls, *_: object, novel: str = "TopK", **__: object) -> Temporal:
        """An object that is a Temporal and an SAE of the novel part, once that is known."""
        if "_host" not in vars(cls):
            one_of(novel, NOVEL, name="novel")
            cls = class_over(cls, "TopK" if novel == "none" else novel, *_FIRST.get(novel, ()))
        return super().__new__(cls)

    def __init__(
        self,
        d_in: Count,
        n_atoms: Count,
        k: float,
        strict: bool = False,
        n_heads: Count = 4,
        bottleneck_factor: Count = 1,
        *,
        n_layers: Annotated[int, at_least(0)] = 1,
        novel: str = "TopK",
        tied: bool = False,
        encoder_bias: bool = True,
        prescale: Positive | None = None,
        context: Annotated[int, at_least(2)] = CONTEXT,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        budget: dict[str, Any] = {"l0": k} if novel == "ReLU" else {"k": k}
        super().__init__(d_in, n_atoms, **budget, generator=generator, **settings)
        self.n_heads = n_heads
        self.bottleneck_factor = bottleneck_factor
        self.n_layers = n_layers
        self.context = context
        self.novel = novel
        self.strict, self.tied = strict, tied
        self.prescale = 1 / math.sqrt(self.d_in) if prescale is None else prescale
        if novel == "ReLU" and not encoder_bias:
            raise ValueError(
                "`encoder_bias` must be True for novel='ReLU', whose codes are made sparse by it, got False. "
                "Use novel='TopK'."
            )
        self.encoder_bias = encoder_bias
        if self.tied:
            self.encoder = TiedAdjoint(self.operator)
        self.encoder.bias.requires_grad_(self.encoder_bias)
        self.attn_layers = nn.ModuleList(
            CodeAttention(self.n_atoms, n_heads, bottleneck_factor, generator=generator)
            for _ in range(n_layers)
        )
        self.register_buffer("longest_trained", torch.zeros((), dtype=torch.int64))

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this kind and size."""
        plain = super().settings()
        if self.novel == "ReLU":
            plain["k"] = plain.pop("l0")
        attention = ("strict", "n_heads", "bottleneck_factor", "n_layers")
        names = (*attention, "novel", "tied", "encoder_bias", "prescale", "context")
        return plain | {name: getattr(self, name) for name in names}

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        """Give attention a lower learning rate than atoms: its weights are many and small."""
        return dict.fromkeys(self.attn_layers.parameters(), ATTENTION_SHARE)

    # Reading sequences

    def encode(self, x: Encodable, k: float | None = None) -> SparseCodes:
        """Find the novel codes of sequences.

        Parameters
        ----------
        x
            Activations in order of time: (…, time, d_in), where a matrix is one sequence, or as captured,
            where each sample is one.
        k
            Novel atoms per token; None is the SAE's own.
        """
        checked = self._checked_k(k)  # type: ignore[arg-type]
        if isinstance(x, Activations):
            groups = sequence_groups(self, acts_for(self, x), ROWS_AT_ONCE, k=checked)
            return SparseCodes.concatenate(codes for _, _, codes, _ in groups)
        left = self.predict(self._sequences(x)).residual.flatten(0, 1)
        return self.novel_codes(left, checked).reshape(*as_tensor(x).shape[:-1])

    def forward(self, x: Encodable) -> Float[Tensor, "*batch time d_in"]:
        """Reconstruct sequences: predicted part, novel part and bias."""
        if isinstance(x, Activations):
            groups = sequence_groups(self, acts_for(self, x), ROWS_AT_ONCE)
            return torch.cat([x_hat for _, _, _, x_hat in groups]).to(x.dtype)
        x = as_tensor(x)
        left, predicted = self._parted(x)
        novel = self.decode(self.novel_codes(left))
        return (predicted + novel).reshape(x.shape).to(x.dtype)

    def uncoded(self, x: Encodable) -> tuple[float, Float[Tensor, "*batch time d_in"]]:
        """Return 1, and the predicted part."""
        if isinstance(x, Activations):
            groups = sequence_groups(self, acts_for(self, x), ROWS_AT_ONCE)
            return 1.0, torch.cat([x_hat - self.decode(codes) for _, _, codes, x_hat in groups])
        x = as_tensor(x)
        return 1.0, self._parted(x)[1].reshape(x.shape)

    def _parted(self, x: Tensor) -> tuple[Rows, Rows]:
        """Residual of the prediction of sequences, and the predicted part, row by row."""
        sequences = self._sequences(x)
        left = self.predict(sequences).residual.flatten(0, 1)
        return left, sequences.flatten(0, 1) - self.bias - left

    def of_sequences(
        self, rows: SequenceRows, k: float | None = None
    ) -> tuple[SparseCodes, Float[Tensor, "n d_in"]]:
        """Return novel codes and full reconstructions of rows of sequences."""
        x = padded(self.checked_rows(rows), rows.lengths)
        residual = unpadded(self.predict(x).residual, rows.lengths)
        codes = self.novel_codes(residual, k)
        predicted = unpadded(x, rows.lengths) - self.bias - residual
        return codes, self.decode(codes) + predicted

    @checked
    def predict(
        self, x: Float[Tensor, "batch time d_in"], *, attention: bool = False
    ) -> Prediction:
        """Return the prediction of sequences from their past, and the residual.

        Parameters
        ----------
        x
            Activations in the model's units, in order of time.
        attention
            Whether attention weights are kept.
        """
        if x.shape[-1] != self.d_in:
            raise ValueError(
                f"`x` must have last dimension d_in={self.d_in}, got shape {tuple(x.shape)}."
            )
        return predict(
            x,
            self.encoder.weight,
            self.operator.atoms(),
            [layer for layer in self.attn_layers if isinstance(layer, CodeAttention)],
            centre=self.bias,
            gain=self.prescale * self.scaling.scale,
            strict=self.strict,
            window=self._window(x.shape[1]),
            attention=attention,
        )

    @checked
    def novel_codes(self, residual: Rows, k: float | None = None) -> SparseCodes:
        """Return codes of the residual of the prediction, without checks.

        Parameters
        ----------
        residual
            Centred, in the model's units.
        k
            Novel atoms per token; None is the SAE's own.
        """
        own = self._checked_k(None) if k is None else k
        residual = check_matrix(residual, name="residual", d_in=self.d_in, finite=False)
        if residual.device != self.device:
            raise ValueError(
                f"`residual` must be on the SAE's device {self.device}, got {residual.device}. Move it there."
            )
        return self._encode(residual + self.bias, own)  # type: ignore[arg-type]

    def checked_rows(self, x: Float[Tensor, "*batch d_in"]) -> Rows:
        """Return rows in the SAE's precision, after the checks of `encode`."""
        return self._rows(x.as_subclass(Tensor))

    def reconstruct(
        self,
        x: Float[Tensor, "batch time d_in"],
        keep: Bool[Tensor, "batch time"],
        real: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time d_in"]:
        """Reconstruct the kept tokens of each row as one sequence; the others are not part of it.

        Parameters
        ----------
        x
            Activations of a padded batch.
        keep
            Tokens to keep; padding and tokens it was not trained on (attention sinks) are left out, and
            come back unchanged.
        real
            Not asked: what is left out is the past of no token.
        """
        counts = keep.sum(dim=1)
        used = counts > 0
        lengths = counts[used].tolist()
        if not lengths:
            return x
        sequences = self(padded(x[keep], lengths))
        out = x.clone()
        out[keep] = unpadded(sequences, lengths).to(x.dtype)
        return out

    # Training

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return loss of the novel part's SAE on what prediction leaves of one batch."""
        lengths = SequenceRows.of(x).lengths
        if self.training and torch.is_grad_enabled():
            self.longest_trained.clamp_(min=min(max(lengths), self.context))
        rows = x.as_subclass(Tensor)
        residual = self.predict(padded(rows, lengths)).residual
        left = unpadded(residual, lengths) + self.bias
        loss = super().training_loss(left, silent_tokens, dead_after, step_fraction)
        return replace(loss, x_hat=loss.x_hat + (rows - left).detach())

    def _auxiliary(
        self, x: Tensor, residual: Tensor, is_dead: Tensor, find: Callable[[Tensor], Dead] = Dead
    ) -> Tensor:
        return super()._auxiliary(x.detach(), residual, is_dead, find)

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        if not isinstance(self.encoder, TiedAdjoint):
            return super()._atom_rows()
        gain = self.encoder.gain

        def as_long(_directions: Tensor, alive: Tensor) -> float:
            return self.resampled_length * float(gain[alive].mean() if alive.any() else gain.mean())

        atoms = AtomRows(self._free_atoms(), as_directions)
        return (atoms, AtomRows(gain, as_long), AtomRows(self.encoder.bias, 0.0))

    # Helpers

    def _sequences(self, x: Encodable) -> Float[Tensor, "batch time d_in"]:
        rows, shape = self._rows(x), as_tensor(x).shape
        time = shape[-2] if len(shape) > 1 else 1
        return rows.reshape(-1, time, self.d_in)

    def _window(self, time: int) -> int:
        """Return how far back a token sees: never farther than the SAE was trained to."""
        trained = int(self.longest_trained) if not self.longest_trained.is_meta else 0
        if self.training or trained == 0:
            return self.context
        if time > trained and self.n_layers:
            warn_caller(
                f"A sequence of {time} tokens is longer than any this SAE was trained on ({trained}), so "
                f"each token sees the last {trained} alone. Train on longer sequences, or pass shorter "
                "ones."
            )
        return trained


class _NovelOnAverage:
    """An SAE whose novel part has k atoms on average: its threshold is that of what prediction leaves."""

    @torch.no_grad()
    def fit_threshold(self, x: Float[Tensor, "*batch time d_in"], k: float | None = None) -> float:
        """Set the threshold of inference so that k entries per token remain on these sequences."""
        sae = cast(Temporal, self)
        left = sae.predict(sae._sequences(x)).residual + sae.bias
        threshold: float = super().fit_threshold(left, k)  # type: ignore[misc]
        return threshold


class _NothingNovel:
    """An SAE whose novel part is empty: nothing is encoded, and no atom is dead for want of firing."""

    n_atoms: int

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        offsets = torch.zeros(len(x) + 1, dtype=torch.int64, device=x.device)
        atoms = torch.zeros(0, dtype=torch.int64, device=x.device)
        return SparseCodes(x.new_zeros(0), atoms, offsets, self.n_atoms)

    def _auxiliary(self, x: Tensor, *_: object) -> Tensor:
        return x.new_zeros(())


_FIRST: dict[str, tuple[type, ...]] = {"BatchTopK": (_NovelOnAverage,), "none": (_NothingNovel,)}
"""What comes before the class itself, by the encoder of the novel part."""

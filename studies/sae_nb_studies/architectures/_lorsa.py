"""Lorsa: an attention layer as many heads of one direction each, few of them active at a token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from sae_nb.activations import Activations, PositionPolicy, acts_for
from sae_nb.architectures import Transcoder
from sae_nb.architectures.parts import Dense, Encodable, Rows
from sae_nb.capturing import capture
from sae_nb.checks import Count, as_tensor, check_matrix, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.kernels import squared_error
from sae_nb.temporal import SequenceRows, Sequences
from sae_nb_studies.architectures._attention_maps import AttentionMaps, attention_maps

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

BASES = ("TopK", "AbsTopK")
"""Which heads are active: the largest positive, or the largest in size."""

ATTENTION_SHARE = 0.1
"""Of the learning rate, for queries and keys."""

FIRST_PIECE = 64
"""Rows taken for a sequence where an untrained Lorsa sees rows that do not say where one begins."""

TOKENS_AT_ONCE = 8192
"""Tokens, padding among them, of texts that are encoded together."""


@checked
class Lorsa(Transcoder):
    """Low-rank sparse attention: from the input of an attention layer to its output, by heads of one direction.

    Of a text x_1 … x_T, head j at t has z_tj = Σ_{s ≤ t} A^{g(j)}_ts ⟨x_s − μ, E_j⟩ + a_j, with
    A^g = softmax((W_Q^g x_t + b_Q^g) · (W_K^g x_s + b_K^g) / √d_head) over s ≤ t (x scaled), shared by the
    n_atoms / n_heads heads of group g. Of z_t the k largest positive stay, and ŷ_t = z_t D + b, ‖d_j‖ = 1.
    So an atom is a head: it looks (A), reads one direction there (E_j) and writes one (d_j). Where the model
    rotates queries and keys by position, so does A. Trained as a Transcoder, on ‖y − ŷ‖² / E‖y − μ_y‖².

    The axis before the last is time, and every text is read from its first token on (`capture(…,
    drop_first=False)`): many heads rest there.

    Parameters
    ----------
    d_in, d_out
        Widths of x, as the layer reads it behind its norm, and of y.
    n_atoms
        Heads of one direction, N; divisible by n_heads.
    k
        Most of them that are active at a token.
    n_heads, d_head
        Groups that share queries and keys, and their width, even.
    base
        "TopK", or "AbsTopK": the k largest in size, of either sign.
    generator
        As in `TopK`; it also draws queries and keys.
    settings
        As in `Transcoder`, but for `revival`.

    Raises
    ------
    ValueError: If n_heads does not divide n_atoms, or `d_head` is odd.

    Source
    ------
    He et al., "Towards understanding the nature of attention with low-rank sparse decomposition", arXiv
    2504.20938. [code: OpenMOSS/Language-Model-SAEs, LowRankSparseAttention] Heads of one direction, of
    which consecutive ones share queries and keys with biases; the k largest of z‖w_O‖; the layer's normed
    input; queries and keys copied from the model, each several times if asked; atoms drawn in the span of
    each head's outputs, and read through its own map. [abstract] Heads are cleaner and finer versions of
    known ones. [ours] Unit atoms, one scale by least squares at the start (theirs: a search over norms),
    AuxK, a tenth of the learning rate for queries and keys; no norm of queries and keys (theirs can).

    Example
    -------
    >>> lorsa = Lorsa(4, 4, n_atoms=8, k=2, n_heads=2, d_head=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> lorsa.encode(x).shape, lorsa.attention(x).shape
    ((3, 5, 8), torch.Size([3, 2, 5, 5]))
    """

    fixed_codes = False
    reads_sequences = True
    context = None
    """Texts are trained on whole."""

    k: int
    query: nn.Parameter
    query_bias: nn.Parameter
    key: nn.Parameter
    key_bias: nn.Parameter
    frequencies: Tensor

    def __init__(
        self,
        d_in: Count,
        d_out: Count,
        n_atoms: Count,
        k: Count,
        *,
        n_heads: Count,
        d_head: Count,
        base: str = "TopK",
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        one_of(base, BASES, name="base")
        if n_atoms % n_heads:
            raise ValueError(
                f"`n_atoms` must be divisible by n_heads={n_heads}, got {n_atoms}. Change one of them."
            )
        if d_head % 2:
            raise ValueError(f"`d_head` must be even, got {d_head}. Add a dimension.")
        if settings.get("revival", "auxk") != "auxk":
            raise ValueError(
                f"`revival` must be 'auxk' for Lorsa, got {settings['revival']!r}. Leave it out."
            )
        super().__init__(d_in, d_out, n_atoms, k, base=base, generator=generator, **settings)
        self.n_heads, self.d_head = n_heads, d_head
        for name in ("query", "key"):
            drawn = torch.randn(n_heads, d_head, d_in, generator=generator) / math.sqrt(d_in)
            self.register_parameter(name, nn.Parameter(drawn))
            bias = nn.Parameter(torch.zeros(n_heads, d_head))
            self.register_parameter(f"{name}_bias", bias)
        self.register_buffer("frequencies", torch.zeros(d_head // 2))

    @classmethod
    @checked(leave=("inputs",))
    @torch.no_grad()
    def of_layer(
        cls,
        model: LiveModel,
        layer: int,
        inputs: Inputs,
        n_atoms: Count,
        k: Count,
        *,
        copies: Count = 1,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> Lorsa:
        """Begin as an attention layer of a model: its queries and keys, and directions that its heads write.

        `hook_point` and `target_hook_point` are where it reads and writes. Before training, its atoms are
        random directions in what each head writes, so it is also the control of a trained one.

        Parameters
        ----------
        inputs
            Some texts, from whose first tokens scales are taken.
        copies
            Groups that begin as each of the model's heads.
        settings
            As in the class.

        Raises
        ------
        ValueError: If the layer is not there, or its attention is more than a softmax of queries and keys with
            rotations of whole heads, in pairs of halves (a norm of queries, a window shorter than the texts, a
            bias by distance).

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt, texts = sn.load_model("tiny-gpt"), sn.data.stories(4, seed=0).texts
        >>> lorsa = Lorsa.of_layer(gpt, 2, texts, n_atoms=256, k=8)
        >>> x, y = sn.capture(gpt, texts, lorsa.places, drop_first=False, progress=False).values()
        >>> lorsa.encode(x).shape == (len(y), 256)
        True
        """
        maps = attention_maps(model, layer)
        n_heads, d_head, d_in = maps.query.shape
        read, written = maps.places
        lorsa = cls(
            d_in,
            maps.output.shape[2],
            n_atoms,
            k,
            n_heads=n_heads * copies,
            d_head=d_head,
            generator=generator,
            **settings,
        )
        lorsa.frequencies.copy_(maps.frequencies)
        lorsa.hook_point, lorsa.target_hook_point = read, written
        lorsa.model_name = model.name
        acts = capture(model, inputs, [read, written], drop_first=False, progress=False)
        lorsa.position_policy = PositionPolicy.of(acts[read])
        lorsa._begin_as(maps, acts[read], acts[written], generator)
        maps.check(model, inputs, lorsa.attention)
        return lorsa

    @property
    def places(self) -> tuple[str, str]:
        """Where it reads and writes: what to capture for it."""
        return str(self.hook_point), str(self.target_hook_point)

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild one of this kind and size."""
        return super().settings() | {"n_heads": self.n_heads, "d_head": self.d_head}

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        """Give queries and keys a lower learning rate than atoms."""
        return dict.fromkeys(self.looking(), ATTENTION_SHARE)

    def looking(self) -> list[nn.Parameter]:
        """Return the parameters that say where heads look: queries, keys and their biases."""
        return [getattr(self, name) for name in ("query", "query_bias", "key", "key_bias")]

    # Reading sequences

    def encode(self, x: Encodable, k: int | None = None) -> SparseCodes:
        """Find which heads are active in texts, and how far each writes.

        Parameters
        ----------
        x
            Inputs of the layer in order of time: (…, time, d_in), where a matrix is one text, or as captured,
            where each sample is one.
        k
            Most active heads per token; None is its own.
        """
        k = self._checked_k(k)
        if isinstance(x, Activations):
            sequences = Sequences(acts_for(self, x).sides[0])
            texts = (sequences.rows(group) for group in sequences.groups(TOKENS_AT_ONCE))
            return SparseCodes.concatenate(self.of_sequences(rows, k)[0] for rows in texts)
        rows, shape = self._rows(x), as_tensor(x).shape
        time = shape[-2] if len(shape) > 1 else 1
        codes = self._encode(SequenceRows.of(rows, [time] * (len(rows) // time)), k)
        return codes.reshape(*shape[:-1])

    def of_sequences(
        self, rows: SequenceRows, k: int | None = None
    ) -> tuple[SparseCodes, Float[Tensor, "n d_out"]]:
        """Return codes and reconstructions of rows of texts."""
        checked = SequenceRows.of(self._rows(rows.as_subclass(Tensor)), rows.lengths)
        codes = self._encode(checked, self._checked_k(k))
        return codes, self.decode(codes)

    def reconstruct(
        self,
        x: Float[Tensor, "batch time d_in"],
        keep: Bool[Tensor, "batch time"],
        real: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time d_out"]:
        """Return the layer's output at the real tokens of each row; all of them are looked at.

        Parameters
        ----------
        x
            Inputs of a padded batch.
        keep, real
            Tokens whose output is asked for, and those that are no padding; None: those alone.
        """
        real = keep if real is None else real
        out = x.new_zeros(*x.shape[:-1], self.d_out)
        lengths = [n for n in real.sum(dim=1).tolist() if n]
        if lengths:
            rows = SequenceRows.of(x[real], lengths)
            out[real] = self.of_sequences(rows)[1].to(out.dtype)
        return out

    @checked
    def attention(
        self, x: Float[Tensor, "batch time d_in"]
    ) -> Float[Tensor, "batch n_heads time source"]:
        """Return where each group of heads looks; rows sum to 1."""
        time = x.shape[1]
        scaled = (x - self.reading.mean) * self.reading.scale
        query, key = (
            self._turned(torch.einsum("btd,ghd->bgth", scaled, weight) + bias[:, None])
            for weight, bias in ((self.query, self.query_bias), (self.key, self.key_bias))
        )
        scores = torch.einsum("bgth,bgsh->bgts", query, key) / math.sqrt(self.d_head)
        later = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
        # Over three axes, and without a product of matrices: who watches the model's attention sees none.
        pattern = scores.masked_fill(later, -torch.inf).flatten(0, 1).softmax(dim=-1)
        return pattern.reshape(scores.shape)

    @checked
    @torch.no_grad()
    def sources(
        self, x: Float[Tensor, "time d_in"], atoms: Sequence[int] | Int[Tensor, " n"]
    ) -> Float[Tensor, "n time source"]:
        """Return what each token s adds to a head's strength at t, A_ts ⟨x_s − μ, E_j⟩; sums to z_tj − a_j.

        Parameters
        ----------
        x
            One text, from its first token.
        atoms
            Numbers of heads.
        """
        rows = check_matrix(x, name="x", d_in=self.d_in)
        chosen = torch.as_tensor(atoms, device=rows.device).reshape(-1)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < self.n_atoms:
            raise IndexError(f"`atoms` must be from 0 to {self.n_atoms - 1}, got {atoms}.")
        pattern = self.attention(rows[None])[0, chosen // (self.n_atoms // self.n_heads)]
        seen, weight, *_ = self._affine(rows)
        return pattern * (seen @ weight[chosen].T).T[:, None]

    # Codes

    def _pre_codes(self, x: Rows) -> Dense:
        """Strengths of all heads at every row; `SequenceRows` say where texts begin."""
        lengths, rows = SequenceRows.of(x).lengths, x.as_subclass(Tensor)
        seen, weight, bias, _ = self._affine(rows)
        values = _apart(F.linear(seen, weight), lengths)
        pattern = self.attention(_apart(rows, lengths))
        by_group = values.reshape(*values.shape[:2], self.n_heads, -1)
        u = torch.einsum("bgts,bsgn->btgn", pattern, by_group).flatten(2)
        return torch.cat([text[:n] for text, n in zip(u, lengths, strict=True)]) + bias

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        return self._prox(k)(self._pre_codes(x))

    def split(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the input, which still says where texts begin, and the target of training rows."""
        x, target = super().split(rows)
        return SequenceRows.of(x, SequenceRows.of(rows).lengths), target

    def _fit_encoder(self, rows: Rows) -> None:
        pieces = [len(part) for part in torch.split(rows, FIRST_PIECE)]
        super()._fit_encoder(SequenceRows.of(rows, pieces))

    def _auxiliary(
        self, x: Tensor, residual: Tensor, is_dead: Tensor, find: Any = None
    ) -> Float[Tensor, ""]:
        """As `auxk_loss`, whose pre-codes are of one row alone."""
        dead = is_dead.nonzero().flatten()
        if not self.aux_weight or not len(dead):
            return residual.new_zeros(())
        of_dead = self._pre_codes(x)[:, dead]
        k = min(int(self.aux_k or 1), len(dead))
        codes = SparseCodes.from_dense(
            torch.zeros_like(of_dead).scatter(1, *_largest(of_dead.relu(), k))
        )
        error, *_ = squared_error(codes, self.operator.atoms()[dead], None, residual)
        spread = (residual - residual.mean(dim=0)).square().sum()
        return error / spread.clamp_min(1e-30) * min(len(dead) / int(self.aux_k or 1), 1.0)

    def dense_codes(self, x: Rows) -> Tensor:
        """Refuse: codes hang on the rows before.

        Raises
        ------
        NotImplementedError: Always.
        """
        raise NotImplementedError(
            "Codes must be chosen row by row to be written densely, got Lorsa, whose codes hang on the rows "
            "before. Use encode(x)."
        )

    def _turned(
        self, x: Float[Tensor, "batch heads time d"]
    ) -> Float[Tensor, "batch heads time d"]:
        """Rotate each pair (i, i + d/2) by its frequency times the position."""
        if not self.frequencies.any():
            return x
        at = torch.arange(x.shape[2], device=x.device, dtype=self.frequencies.dtype)
        angles = (at[:, None] * self.frequencies).repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()

    def _begin_as(
        self,
        maps: AttentionMaps,
        x: Activations,
        y: Activations,
        generator: torch.Generator | None,
    ) -> None:
        """Draw atoms in what each head writes, and read each through the head's own map."""
        both = torch.cat([x.x.to(self.dtype), y.x.to(self.dtype)], dim=1)
        self._scale(SequenceRows.of(both, [len(both)]), generator)
        for mine, linear, constant in (
            (self.looking()[:2], maps.query, maps.query_bias),
            (self.looking()[2:], maps.key, maps.key_bias),
        ):
            # Of x around its mean and in its own unit, as the rest is.
            copies = self.n_heads // len(linear)
            mine[0].copy_((linear / self.reading.scale).repeat_interleave(copies, dim=0))
            bias = constant + linear @ self.reading.mean
            mine[1].copy_(bias.repeat_interleave(copies, dim=0))
        per_head = self.n_atoms // len(maps.query)
        ov = maps.value.transpose(1, 2) @ maps.output  # (heads, d_in, d_out), of row vectors
        spread = both[:, : self.d_in] - both[:, : self.d_in].mean(dim=0)
        atoms, weight = self._free_atoms(), self.encoder.weight
        for head, path in enumerate(ov):
            basis = torch.linalg.svd(spread @ path, full_matrices=False).Vh[: maps.output.shape[1]]
            drawn = torch.randn(per_head, len(basis), generator=generator) @ basis
            here = slice(head * per_head, (head + 1) * per_head)
            atoms[here] = F.normalize(drawn, dim=1)
            weight[here] = atoms[here] @ path.T
        self.encoder.weight.mul_(self.scaling.scale / self.reading.scale)
        self.encoder.bias.zero_()
        codes = self.encode(x)
        self._fit_gain(codes, y.x.to(self.dtype) - self.bias)
        self.initialised.fill_(True)


def _apart(
    rows: Float[Tensor, "n width"], lengths: tuple[int, ...]
) -> Float[Tensor, "batch time width"]:
    """Return texts side by side, short ones with zeros at the end, which no later token looks at."""
    return pad_sequence(list(torch.split(rows, list(lengths))), batch_first=True)


def _largest(u: Dense, k: int) -> tuple[Int[Tensor, "rows k"], Float[Tensor, "rows k"]]:
    """Return places and values of the k largest of each row."""
    values, places = u.topk(k, dim=1)
    return places, values

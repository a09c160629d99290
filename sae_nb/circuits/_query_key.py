"""Why a head looks where it looks: its score as a sum over pairs of atoms, one at the query, one at the key.

score(q, k) = ⟨Q n(x_q), K n(x_k)⟩ / √d_h is linear in x_q and in x_k once the norms' scales are held at what
they are on this input. With x = Σ z_j d_j + error + bias at both ends it is a sum over pairs of parts, exact up
to rounding. A softmax sees differences of scores alone: told is the score less its mean over the keys in sight.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import written_codes
from sae_nb.capturing._batch_rows import batch_rows
from sae_nb.checks import Seed, checked
from sae_nb.circuits._asked import written_at
from sae_nb.circuits._graph_sites import one_input, position_texts
from sae_nb.findings import Finding
from sae_nb.models._attention import AttentionParts, AttentionPlace, watching
from sae_nb.models._facts import model_type
from sae_nb.models._freezing import Frozen, check_sum
from sae_nb.models._running import run
from sae_nb.steering._request import policy_for

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


class QueryKey(Finding):
    """What makes one head look from one position at another, in pairs of atoms; made by `qk`."""

    layer: int
    head: int
    query: int
    key: int
    """Positions."""

    tokens: tuple[str, ...]
    attention: float
    """From the query to the key, 0 to 1."""

    score: float
    """Before softcap, mask and softmax."""

    difference: float
    """The score less its mean over the keys that the query can see; the sum of `values`."""

    query_parts: tuple[str, ...]
    key_parts: tuple[str, ...]
    """Numbers of atoms; then "error", what they leave of the state, and "bias", of the SAE, the norm and the
    projection.
    """

    values: Float[np.ndarray, "query_parts key_parts"]
    removed: tuple[tuple[str, str], ...]
    """Firing atoms, one at the query and one at the key, taken out of the stream together: the largest pair,
    then others at random that share no atom with it."""

    left: Float[np.ndarray, " removed"]
    """The attention without each of them, norms and all computed anew."""

    left_difference: Float[np.ndarray, " removed"]
    """The difference of the scores then."""

    @property
    def without(self) -> float:
        """The attention without the largest pair; NaN where no two atoms fire."""
        return float(self.left[0]) if len(self.left) else float("nan")

    @property
    def random(self) -> Float[np.ndarray, " draws"]:
        """The attention without each random pair."""
        return self.left[1:]

    @property
    def removals(self) -> DataFrame:
        """`query_part`, `key_part`, their `contribution`; `attention` and `difference` without the two, and the
        difference `expected` by the parts.
        """
        import pandas as pd

        pairs = [(self.query_parts.index(q), self.key_parts.index(k)) for q, k in self.removed]
        # A key's atom is taken out at the key alone; what it makes at other keys stays in the mean.
        gone = [
            self.values[q].sum() + self.values[:, k].sum() - self.values[q, k] for q, k in pairs
        ]
        return pd.DataFrame(
            {
                "query_part": [q for q, _ in self.removed],
                "key_part": [k for _, k in self.removed],
                "contribution": [self.values[q, k] for q, k in pairs],
                "attention": self.left,
                "difference": self.left_difference,
                "expected": self.difference - np.asarray(gone),
            }
        )

    @property
    def table(self) -> DataFrame:
        """`query_part`, `key_part`, `contribution` to the difference; the largest sizes first."""
        import pandas as pd

        row, column = np.indices(self.values.shape).reshape(2, -1)
        columns = {
            "query_part": np.asarray(self.query_parts, dtype=object)[row],
            "key_part": np.asarray(self.key_parts, dtype=object)[column],
            "contribution": self.values.ravel(),
        }
        order = np.argsort(-np.abs(self.values.ravel()), kind="stable")
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

    @property
    def shares(self) -> dict[str, float]:
        """The difference as a sum: atoms × atoms, atoms × error, error × error, and what has a bias in it."""
        error = np.outer(_is(self.query_parts, "error"), np.ones(len(self.key_parts)))
        error = error + np.outer(np.ones(len(self.query_parts)), _is(self.key_parts, "error"))
        bias = np.add.outer(_is(self.query_parts, "bias"), _is(self.key_parts, "bias")) > 0
        sums = {
            f"{name}": float(self.values[(error == n) & ~bias].sum())
            for n, name in enumerate(("atoms × atoms", "atoms × error", "error × error"))
        }
        return sums | {"bias": float(self.values[bias].sum())}

    @property
    def headline(self) -> str:
        """The attention, the first pairs, and what is left of it without the first."""
        first = ", ".join(
            f"{q} × {k} {value:+.2f}" for q, k, value in self.table.head(3).itertuples(index=False)
        )
        where = (
            f"“{self.tokens[self.query]}” looks {self.attention:.0%} at “{self.tokens[self.key]}”"
        )
        return (
            f"head {self.layer}.{self.head}: {where}; score {self.difference:+.2f} above the mean over keys, "
            f"{first}; without the largest pair of atoms {self.without:.0%}, without two others "
            f"{float(np.mean(self.random)) if len(self.random) else float('nan'):.0%}"
        )


@checked(leave=("inputs",))
def qk(
    model: LiveModel,
    sae: SparseAutoencoder,
    inputs: Inputs,
    layer: int,
    head: int,
    *,
    query: int | None = None,
    key: int | None = None,
    n_random: int = 10,
    seed: Seed = 0,
) -> QueryKey:
    """Split what makes a head look from one position at another into pairs of atoms, exactly.

    Parameters
    ----------
    sae
        Of the stream in front of the layer: "resid_post.{layer − 1}", or "resid_pre.{layer}".
    inputs
        One input.
    query, key
        Positions; None: the last one, and what it looks at most besides the first.
    n_random
        Other pairs of firing atoms that are taken out, for comparison.

    Raises
    ------
    ValueError, TypeError: If the SAE reads another place, or layer, head or positions are not there.

    Source
    ------
    QK attribution: Kamath et al. 2025, "Tracing Attention Computation Through Feature Interactions". Ours
    holds the norms' scales, subtracts the mean over keys, and checks by taking atoms out.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> found = qk(vit, sae, sn.data.scenes(1, seed=0).images, layer=7, head=0)
    >>> bool(abs(found.values.sum() - found.difference) < 1e-4)
    True
    """
    _check_head(model, sae, layer, head)
    batch = one_input(model, inputs)
    ends = _Ends(model, batch, layer, head)
    n = ends.pattern.shape[0]
    query = n - 1 if query is None else _checked_position("query", query, n)
    seen = (ends.pattern[query] > 0).nonzero()[:, 0]
    if key is None:
        others = ends.pattern[query].clone()
        if len(seen) > 1:
            others[0] = 0
        key = int(others.argmax())
    key = _checked_position("key", key, n)
    if key not in seen.tolist():
        raise ValueError(
            f"`key` must be a position that {query} can see, got {key}. It sees {seen.tolist()}."
        )
    parts = _Parts.of(model, sae, batch, ends.state, f"resid_pre.{layer}")
    queries, keys = ends.of_parts(parts)
    atoms_q, of_query = parts.at(queries, query)
    atoms_k, of_key = parts.centred(keys, key, seen)
    values = ends.scale * of_query @ of_key.T
    scores = ends.scale * ends.query[query] @ ends.key[seen].T
    here = float(ends.scale * ends.query[query] @ ends.key[key])
    pairs = values[: len(atoms_q), : len(atoms_k)]
    removed, left, left_difference = _taken_out(
        ends, parts, (query, key), atoms_k, pairs, n_random, seed
    )
    ids = [(*(str(int(a)) for a in atoms), "error", "bias") for atoms in (atoms_q, atoms_k)]
    return QueryKey(
        layer=layer,
        head=head,
        query=query,
        key=key,
        tokens=position_texts(model, batch, n),
        attention=float(ends.pattern[query, key]),
        score=here,
        difference=here - float(scores.mean()),
        query_parts=ids[0],
        key_parts=ids[1],
        values=values.double().cpu().numpy(),
        removed=removed,
        left=left,
        left_difference=left_difference,
    )


def _is(parts: tuple[str, ...], name: str) -> np.ndarray:
    return np.asarray([part == name for part in parts], dtype=float)


def _check_head(model: LiveModel, sae: SparseAutoencoder, layer: int, head: int) -> None:
    for name, given, n in (("layer", layer, model.n_layers), ("head", head, model.n_heads)):
        if n is None or not 0 <= given < n:
            raise ValueError(
                f"`{name}` must be between 0 and {(n or 0) - 1} for {model.name}, got {given}."
            )
    place = str(written_at(sae, model))
    wanted = [f"resid_pre.{layer}", f"resid_post.{layer - 1}" if layer else "embed"]
    if place.removeprefix("decoder.") not in wanted:
        raise ValueError(
            f"`sae` must read the stream in front of layer {layer}, {' or '.join(wanted)}, and reads {place}. "
            "Pass an SAE of that place, or the layer behind the SAE's."
        )


def _checked_position(name: str, position: int, n: int) -> int:
    if not -n <= position < n:
        raise ValueError(f"`{name}` must be a position from 0 to {n - 1}, got {position}.")
    return position % n


class _Seen(BaseException):
    """Ends a pass when the layer's attention was seen; no `except Exception` may catch it."""


class _Ends:
    """A head on one input: its queries, keys and pattern, and those of other states in front of its layer."""

    def __init__(self, model: LiveModel, batch: Batch, layer: int, head: int) -> None:
        self.model, self.batch, self.head = model, batch, head
        self._place = AttentionPlace("decoder" if model.streams else "", layer)
        self._put = f"resid_pre.{layer}"
        self._frozen = Frozen(model)
        states: list[Tensor] = []

        def keep(x: Tensor) -> Tensor:
            states.append(x)
            return x

        seen = self._run(keep, self._frozen)
        self.state: Float[Tensor, "time d"] = states[0][0].detach().float()
        self.query, self.key = seen.query[0, head], seen.key[0, head]
        self.pattern, self.scale = seen.pattern[0, head], seen.scale

    def of_parts(self, parts: _Parts) -> tuple[Tensor, Tensor]:
        """Return queries and keys of each slot of atoms, of the error and of the bias: (slots, time, d)."""
        seen = self._run(parts.states, Frozen(self.model, self._frozen.constants, attention=False))
        both = seen.query[:, self.head], seen.key[:, self.head]
        query, key = (torch.cat([x[:-2] - x[-1:], x[-2:-1]]) for x in both)
        for made, whole in ((query, self.query), (key, self.key)):
            check_sum(made.sum(dim=0), whole, self.model)
        return query, key

    def changed(
        self, states: Float[Tensor, "n time d"], query: int, key: int, seen: Int[Tensor, " keys"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Return the attention, and the score less its mean, where the stream is another; nothing is held."""
        found = self._run(states, None)
        scores = found.scale * torch.einsum(
            "nd,nsd->ns", found.query[:, self.head, query], found.key[:, self.head]
        )
        difference = scores[:, key] - scores[:, seen].mean(dim=1)
        return found.pattern[:, self.head, query, key], difference

    def _run(
        self, put: Tensor | Callable[[Tensor], Tensor], frozen: Frozen | None
    ) -> AttentionParts:
        found: list[AttentionParts] = []

        def see(place: AttentionPlace, seen: AttentionParts) -> None:
            if place == self._place:
                found.append(seen)
                raise _Seen

        batch = self.batch
        if isinstance(put, Tensor) and model_type(self.model.module) == "bloom":
            batch = batch.copies(len(put))  # its biases by distance have as many rows as the batch
        # The layer's attention is seen inside of the held pass, so that what comes before it is held too.
        with torch.no_grad(), suppress(_Seen), frozen or nullcontext(), watching(self.model, see):
            run(self.model, batch, put=[(self._put, put)])
        return found[0]


class _Parts(NamedTuple):
    """The stream as Σ z_j d_j + error + bias: entries, and copies of it that hold one part a position each."""

    position: Int[Tensor, " entries"]
    atom: Int[Tensor, " entries"]
    slot: Int[Tensor, " entries"]
    """Copy that holds the entry at its position."""

    written: Float[Tensor, "entries d"]
    states: Float[Tensor, "slots_and_3 time d"]
    """Atoms, the error, the SAE's bias, zeros."""

    @classmethod
    def of(
        cls,
        model: LiveModel,
        sae: SparseAutoencoder,
        batch: Batch,
        x: Float[Tensor, "time d"],
        name: str,
    ) -> _Parts:
        """Return them; positions that the SAE leaves out, such as attention sinks, are error alone."""
        policy = policy_for(model, sae)
        kept = batch_rows(x[None].cpu(), batch, policy, name)
        rows = kept.without_massive(policy, model.hook_point(name)).position.to(x.device)
        with torch.no_grad():
            read = x[rows]
            codes = written_codes(sae, sae.encode(read), read)
            answer = sae.decode(codes).float()
        position, atom = rows[codes.support.rows], codes.atoms.long()
        written = codes.values.float()[:, None] * sae.dictionary.detach().float()[atom]
        made = torch.zeros_like(x).index_add_(0, position, written)
        bias = torch.zeros_like(x)
        bias[rows] = answer - made[rows]
        counts = torch.bincount(position, minlength=len(x))
        first = torch.cumsum(counts, 0) - counts
        slot = torch.arange(len(position), device=x.device) - first[position]
        m = int(counts.max()) if len(position) else 0
        states = x.new_zeros(m + 3, *x.shape)
        states[slot, position] = written
        states[m], states[m + 1] = x - made - bias, bias
        return cls(position, atom, slot, written, states)

    def at(
        self, of: Float[Tensor, "parts time d"], position: int
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n_and_2 d"]]:
        """Return the atoms at a position, and what each, the error and the bias make there."""
        here = self.position == position
        rows = torch.cat([of[self.slot[here], position], of[-2:, position]])
        return self.atom[here], rows

    def centred(
        self, of: Float[Tensor, "parts time d"], position: int, seen: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n_and_2 d"]]:
        """Return the atoms at the positions in sight, and what each makes at one, less its mean over all."""
        visible = torch.isin(self.position, seen)
        atoms, index = torch.unique(self.atom[visible], return_inverse=True)
        made = of[self.slot[visible], self.position[visible]]
        there = (self.position[visible] == position).to(made)[:, None]
        rows = torch.zeros(len(atoms), of.shape[-1]).to(made)
        rows.index_add_(0, index, made * (there - 1 / len(seen)))
        return atoms, torch.cat([rows, of[-2:, position] - of[-2:, seen].mean(dim=1)])


def _taken_out(
    ends: _Ends,
    parts: _Parts,
    where: tuple[int, int],
    atoms: Int[Tensor, " m"],
    pairs: Float[Tensor, "n m"],
    n_random: int,
    seed: int,
) -> tuple[tuple[tuple[str, str], ...], np.ndarray, np.ndarray]:
    """Return pairs of atoms, the attention without each, and the difference of the scores then."""
    query, key = where
    at_query, at_key = ((parts.position == p).nonzero().flatten() for p in where)
    if not len(at_query) or not len(at_key):
        return (), np.zeros(0), np.zeros(0)
    # Of the pairs that are there: a key's atom may also matter by being absent.
    columns = (atoms[None] == parts.atom[at_key][:, None]).float().argmax(dim=1)
    found = pairs[:, columns]
    best = divmod(int(found.argmax()), found.shape[1])
    rng = np.random.default_rng(seed)
    others = [
        (i, j)
        for i in range(len(at_query))
        for j in range(len(at_key))
        if i != best[0] and j != best[1]
    ]
    drawn = [best, *(others[i] for i in rng.permutation(len(others))[:n_random])]
    states = ends.state.repeat(len(drawn), 1, 1)
    for row, (i, j) in enumerate(drawn):
        states[row, query] -= parts.written[at_query[i]]
        states[row, key] -= parts.written[at_key[j]]
    seen = (ends.pattern[query] > 0).nonzero().flatten()
    attention, difference = ends.changed(states, query, key, seen)
    names = tuple(
        (str(int(parts.atom[at_query[i]])), str(int(parts.atom[at_key[j]]))) for i, j in drawn
    )
    return names, attention.double().cpu().numpy(), difference.double().cpu().numpy()

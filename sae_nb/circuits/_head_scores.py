"""Where every attention head of a model looks, and whether it copies: scores of all heads in two passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, checked
from sae_nb.circuits._graph_sites import one_by_one
from sae_nb.circuits._heads import written_by_heads
from sae_nb.findings import Finding
from sae_nb.lenses._head import head_of
from sae_nb.models import HookPointNotFound
from sae_nb.models._attention import AttentionParts, AttentionPlace, attentions, heads_at, watching
from sae_nb.models._running import run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

Pattern = Float[Tensor, "batch heads time source"]
Score = Float[Tensor, " heads"]

_ROLES = ("induction", "previous", "same", "itself", "neighbours", "sink")
"""Scores that are attention on a place."""

LEAST = {"sink": 0.8}
USUAL_LEAST = 0.4
"""Mean attention from which a head is named by a score; the first token gets much of most heads."""

N_TOKENS = 24
N_CONTROL = 2
"""Texts that do not repeat, for induction's control."""

N_COPIED, N_OTHERS, FIRST = 64, 500, 10
"""For copying: tokens that are tried, tokens that compete, and ranks that count as copied."""

_IMAGE = ("itself", "neighbours", "sink", "entropy")
_TEXT = ("induction", "previous", "same", "sink", "entropy", "copying")
_OTHER = ("itself", "previous", "sink", "entropy")


class HeadScores(Finding):
    """How much every attention head looks at places that matter; made by `head_scores`."""

    model_name: str
    scores: tuple[str, ...]
    stream: tuple[str, ...]
    """Of each row "", or of an encoder–decoder "encoder", "decoder", "cross"."""

    layer: Int[np.ndarray, " rows"]
    head: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, "rows scores"]
    """Mean attention, from 0 to 1; of "entropy" the share of the largest possible, of "copying" the share of
    tokens; NaN where a score does not apply.
    """

    controls: Float[np.ndarray, "rows scores"]

    @property
    def table(self) -> DataFrame:
        """`layer`, `head`, `role`, and each score followed by its control, in the model's order."""
        import pandas as pd

        columns: dict[str, Any] = {"stream": self.stream} if any(self.stream) else {}
        columns |= {"layer": self.layer, "head": self.head, "role": self.roles}
        for i, name in enumerate(self.scores):
            columns |= {name: self.values[:, i], f"{name}_control": self.controls[:, i]}
        return pd.DataFrame(columns)

    @property
    def roles(self) -> tuple[str, ...]:
        """Score by which each head is named, ""  for none: the first that is large, and twice its control."""
        return tuple(
            next(
                (
                    name
                    for i, name in enumerate(self.scores)
                    if name in _ROLES
                    and of[i] >= LEAST.get(name, USUAL_LEAST)
                    and of[i] >= 2 * np.nan_to_num(control[i])
                ),
                "",
            )
            for of, control in zip(self.values, self.controls, strict=True)
        )

    def score(self, name: str) -> Float[np.ndarray, " rows"]:
        """Return one score of every head, in the order of the table.

        Raises
        ------
        ValueError: If there is none of that name.
        """
        if name not in self.scores:
            raise ValueError(
                f"`name` must be one of {', '.join(self.scores)}, got {name!r}; "
                f"{self.model_name} has no other scores."
            )
        return self.values[:, self.scores.index(name)]

    @property
    def headline(self) -> str:
        """The best head by each score."""
        best = []
        for i, name in enumerate(self.scores):
            of = self.values[:, i]
            if name in _ROLES and np.isfinite(of).any():
                row = int(np.nanargmax(of))
                best.append(f"{name} {self.layer[row]}.{self.head[row]} {of[row]:.2f}")
        return f"{len(self.layer)} heads of {self.model_name}; most {', '.join(best)}"

    def plot(self) -> Any:
        """Draw a grid of layers × heads for each score that is attention on a place."""
        from sae_nb.figures import heatmaps

        n = int(self.head.max()) + 1
        grids = {
            name: self.score(name).reshape(-1, n)
            for name in self.scores
            if name in _ROLES and np.isfinite(self.score(name)).any()
        }
        return heatmaps(
            grids,
            ends=(0.0, 1.0),
            hover="layer %{y}, head %{x}: %{z:.2f}",
            bar="attention",
            y="layer",
            height=150 + 14 * (len(self.layer) // n),
        )


@checked(leave=("inputs", "places"))
def head_scores(
    model: LiveModel,
    inputs: Inputs = None,
    *,
    places: Bool[Tensor, "inputs positions"] | None = None,
    n_texts: int = 4,
    n_tokens: int | None = None,
    seed: Seed = 0,
) -> HeadScores:
    """Measure where every attention head looks, next to a control of each score.

    Parameters
    ----------
    inputs
        Texts, images, sounds. Of texts they give `same`, `sink` and `entropy`; None: the drawn texts do.
    places
        Positions of each input that are asked for by a score of their own; of images patches, such as
        `scenes.patch_mask`.
    n_texts, n_tokens
        Of models of texts: drawn texts, and their random tokens, which come twice; None: 24, or as many as
        the context holds twice.

    Returns
    -------
    `.table`, a row a head. Scores are means of attention A[q, s] over positions q, in brackets the control:

    - `induction`: on what followed the token when it came before, q − n + 1 of a text of n tokens that come
      twice (the same distance in texts that do not repeat);
    - `previous`: on q − 1 (on q − 3); `same`: on earlier copies of the token (as many other tokens);
    - `itself`: on q, and of images `neighbours`: on the up to eight patches around (all looked at alike);
    - `places`: on the places asked for, from all positions (all looked at alike);
    - `places`: on the places asked for (all looked at alike);
    - `sink`: on the first token, of images cls and registers (all looked at alike);
    - `entropy`: −Σ A log A / log of the places in sight; no control;
    - `copying`: share of tokens whose value, as the head writes it, raises their own logit among the first
      10 of 500 drawn tokens (the same with the tokens exchanged for others).

    Raises
    ------
    ValueError, TypeError: If attention cannot be read, or without `inputs` the model reads no tokens.

    Source
    ------
    Olsson et al., arXiv 2209.11895 (induction, previous token, copying); Xiao et al., arXiv 2309.17453 (sinks).
    A score says where a head looks, not what it matters: see `direct_effects`, `head_contributions`.

    Example
    -------
    >>> import sae_nb as sn
    >>> found = head_scores(sn.load_model("tiny-induction"))
    >>> found.table.sort_values("induction").iloc[-1].induction > 0.4
    np.True_
    """
    n_tokens = _checked_tokens(model, inputs, n_texts, n_tokens)
    generator = torch.Generator().manual_seed(seed)
    reads_tokens = model.vocabulary_size is not None and model.modality.is_text
    sums = _Sums(model, _TEXT if reads_tokens else _IMAGE if model.patch_grid else _OTHER)
    given = [] if inputs is None else one_by_one(model, inputs)
    if reads_tokens:
        for batch, repeats in _drawn(model, n_texts, n_tokens, generator):
            drawn = ("induction", "previous", "copying") if repeats else ("induction_control",)
            also = () if given or not repeats else ("same", "sink", "entropy")
            sums.add(batch, (*drawn, *also), n_tokens, generator)
    drawn_alone = ("induction", "copying", *(["previous"] if reads_tokens else []))
    asked = tuple(name for name in sums.scores if name not in drawn_alone)
    for batch, marked in zip(given, _marks(model, places, given), strict=True):
        sums.add(batch, asked, marked=marked)
    return sums.found()


def repeated_texts(
    model: LiveModel, n_texts: int, n_tokens: int | None = None, *, seed: int = 0
) -> tuple[int, Iterator[tuple[Batch, bool]]]:
    """Return how many random tokens come twice in each text, and batches of such texts.

    After them come texts as long in which none comes twice by intent; with each batch, whether tokens do.

    Raises
    ------
    TypeError, ValueError: If the model reads no tokens or has no heads, or the texts are too short or too long.
    """
    n_tokens = _checked_tokens(model, None, n_texts, n_tokens)
    return n_tokens, _drawn(model, n_texts, n_tokens, torch.Generator().manual_seed(seed))


def _checked_tokens(model: LiveModel, inputs: Inputs, n_texts: int, n_tokens: int | None) -> int:
    """Return how many tokens come twice."""
    if model.n_heads is None or not attentions(model):
        raise ValueError(
            f"`model` must have attention heads to score, and {model.name} has none. "
            "`model.hook_points()` lists what it has."
        )
    if inputs is None and not (model.modality.is_text and model.vocabulary_size):
        raise TypeError(
            f"`inputs` must be given for {model.name}, which reads {model.modality.reads}: random tokens are "
            "for models of texts."
        )
    limit = model.context_length
    most = N_TOKENS if limit is None else (limit - sum(map(len, _around(model)))) // 2
    if n_tokens is None:
        n_tokens = min(N_TOKENS, most)
    if n_texts < 1 or n_tokens < 4:
        raise ValueError(
            "`n_texts` must be at least 1 and `n_tokens` at least 4 for copies in a repeated text to be "
            f"apart from neighbours, got {n_texts} and {n_tokens}. Leave them out."
        )
    if limit is not None and n_tokens > most:
        raise ValueError(
            f"`n_tokens` must be at most {most} for {model.name}, whose context has {limit} tokens, got "
            f"{n_tokens}."
        )
    return n_tokens


def _marks(
    model: LiveModel, places: Any, batches: Sequence[Batch]
) -> Sequence[Bool[Tensor, " source"] | None]:
    """Return which positions of each input are asked for; patches have the model's prefix before them."""
    if places is None:
        return [None] * len(batches)
    marks = [torch.as_tensor(one).flatten().bool().to(model.device) for one in places]
    if len(marks) != len(batches):
        raise ValueError(
            f"`places` must have a row for each input, got {len(marks)} for {len(batches)}."
        )
    if model.patch_grid is not None:
        prefix = torch.zeros(model.prefix_tokens, dtype=torch.bool, device=model.device)
        n = model.patch_grid[0] * model.patch_grid[1]
        marks = [torch.cat([prefix, one]) if len(one) == n else one for one in marks]
    return marks


def _drawn(
    model: LiveModel, n_texts: int, n_tokens: int, generator: torch.Generator
) -> Iterator[tuple[Batch, bool]]:
    """Yield texts of random tokens that come twice, and texts as long in which none does by intent."""
    specials = model.special_ids
    usual = torch.ones(cast(int, model.vocabulary_size), dtype=torch.bool)
    usual[[i for i in specials if i < len(usual)]] = False
    usual = usual.nonzero().flatten()
    before, after = _around(model)
    for n, repeats in ((n_texts, True), (min(n_texts, N_CONTROL), False)):
        rows = []
        for _ in range(n):
            size = n_tokens if repeats else 2 * n_tokens
            order = torch.randperm(len(usual), generator=generator)
            row = usual[order[torch.arange(size) % len(order)]]
            rows.append(torch.cat([before, row.repeat(2) if repeats else row, after]))
        yield next(iter(model.batches(torch.stack(rows), batch_size=n))).to(model.device), repeats


def _around(model: LiveModel) -> tuple[Tensor, Tensor]:
    """Return the special tokens that the tokenizer puts before and behind a text."""
    none = torch.zeros(0, dtype=torch.long)
    if model.tokenizer is None:
        return none, none
    ids = model.tokenizer(" a").input_ids
    special = [i in model.special_ids for i in ids]
    if all(special):
        return none, none
    first, last = special.index(False), len(special) - special[::-1].index(False)
    return torch.tensor(ids[:first], dtype=torch.long), torch.tensor(ids[last:], dtype=torch.long)


class _Sums:
    """Sums of scores over inputs, by attention and score."""

    def __init__(self, model: LiveModel, scores: tuple[str, ...]) -> None:
        self.model, self.scores = model, scores
        self.sums: dict[tuple[AttentionPlace, str], Score] = defaultdict(
            lambda: torch.zeros((), dtype=torch.float64)
        )
        self.n: dict[tuple[AttentionPlace, str], int] = defaultdict(int)

    def add(
        self,
        batch: Batch,
        scores: tuple[str, ...],
        n_tokens: int = 0,
        generator: torch.Generator | None = None,
        marked: Bool[Tensor, " source"] | None = None,
    ) -> None:
        """Run a batch of inputs of one length and add what its heads look at."""
        copying = None
        if "copying" in scores and generator is not None:
            copying = _Copying.drawn(self.model, batch, generator)

        def see(place: AttentionPlace, seen: AttentionParts) -> None:
            ids = batch.token_ids
            if place.stream == "encoder" and batch.encoder is not None:
                ids = batch.encoder.token_ids
            for name, (values, controls) in pattern_scores(
                self.model, place, seen.pattern, ids, scores, n_tokens
            ).items():
                self._count(place, name, values)
                self._count(place, f"{name}_control", controls)
            if marked is not None and len(marked) == seen.pattern.shape[3]:
                heads = seen.pattern.transpose(0, 1)
                sight = (heads > 0).sum(dim=-1)
                self._count(place, "places", heads[..., marked].sum(dim=-1).flatten(1))
                alike = (heads[..., marked] > 0).sum(dim=-1) / sight
                self._count(place, "places_control", alike.flatten(1))
            if copying is not None and place.stream == "":
                values, controls = copying.shares(place.layer, seen.value)
                self._count(place, "copying", values)
                self._count(place, "copying_control", controls)

        with torch.no_grad(), watching(self.model, see):
            run(self.model, batch, answer="end")

    def _count(self, place: AttentionPlace, name: str, x: Float[Tensor, "heads n"] | None) -> None:
        if x is not None and x.shape[1]:
            self.sums[place, name] = self.sums[place, name] + x.double().sum(dim=1).cpu()
            self.n[place, name] += x.shape[1]

    def found(self) -> HeadScores:
        """Return the means."""
        places = {place: heads_at(self.model, place) for place in attentions(self.model)}
        n_heads = list(places.values())

        def means(name: str) -> np.ndarray:
            rows = [
                self.sums[place, name] / self.n[place, name]
                if self.n[place, name]
                else torch.full((n,), torch.nan, dtype=torch.float64)
                for place, n in places.items()
            ]
            return torch.cat(rows).numpy()

        scores = tuple(name for name in (*self.scores, "places") if np.isfinite(means(name)).any())
        return HeadScores(
            model_name=self.model.name,
            scores=scores,
            stream=tuple(place.stream for place, n in places.items() for _ in range(n)),
            layer=np.repeat([place.layer for place in places], n_heads),
            head=np.concatenate([np.arange(n) for n in n_heads]),
            values=np.stack([means(name) for name in scores], axis=1),
            controls=np.stack([means(f"{name}_control") for name in scores], axis=1),
        )


def pattern_scores(
    model: LiveModel,
    place: AttentionPlace,
    pattern: Pattern,
    ids: Int[Tensor, "batch time"] | None,
    scores: tuple[str, ...],
    n_tokens: int,
) -> Mapping[str, tuple[Float[Tensor, "heads n"] | None, Float[Tensor, "heads n"] | None]]:
    """Return scores of heads, and the control of each, at every position that has one.

    Parameters
    ----------
    place
        The attention that `pattern` is of, (batch, heads, time, source).
    ids
        Of the tokens at its sources, for "same".
    scores
        Names of scores of `head_scores` that a pattern alone tells, and "induction_control".
    n_tokens
        Tokens that come twice, of texts from `repeated_texts`.
    """
    found: dict[str, tuple[Tensor | None, Tensor | None]] = {}
    heads = pattern.transpose(0, 1)
    time, source = pattern.shape[2:]
    in_sight = (pattern > 0).any(dim=1, keepdim=True).transpose(0, 1).expand_as(heads).sum(-1)
    if "entropy" in scores:
        several = in_sight[0] > 1
        spread = -torch.xlogy(heads, heads).sum(dim=-1) / in_sight.clamp(min=2).log()
        found["entropy"] = (spread[:, several], None)
    if "sink" in scores:
        first = max(model.prefix_tokens, 1) if model.patch_grid else 1
        rows = slice(first, None) if place.stream != "cross" else slice(None)
        alike = first / in_sight[:, :, rows]
        found["sink"] = (
            heads[..., rows, :first].sum(dim=-1).flatten(1),
            alike.clamp(max=1.0).flatten(1),
        )
    if place.stream == "cross" or time != source:
        return found
    if "previous" in scores:
        found["previous"] = (_back(heads, 1), _back(heads, 3))
    if "itself" in scores:
        found["itself"] = (_back(heads, 0), (1 / in_sight).flatten(1))
    if "neighbours" in scores and model.patch_grid is not None:
        near = _neighbours(model.patch_grid).to(heads)
        patches = heads[..., -len(near) :, -len(near) :]
        at = (patches * near).sum(dim=-1).flatten(1)
        alike = (near.sum(dim=-1) / time).expand(len(heads), len(pattern), -1).flatten(1)
        found["neighbours"] = (at, alike)
    if "same" in scores and ids is not None:
        found["same"] = _same(pattern, ids, causal=bool(model.causal))
    for name in ("induction", "induction_control"):
        if name in scores and place.stream != "decoder":
            found[name] = (_behind_copy(model, heads, n_tokens), None)
    return found


def _behind_copy(
    model: LiveModel, heads: Float[Tensor, "heads batch time time"], n_tokens: int
) -> Float[Tensor, "heads n"]:
    first = len(_around(model)[0])
    offset = n_tokens - 1
    queries = first + n_tokens + torch.arange(n_tokens)
    return heads[:, :, queries, queries - offset].flatten(1)


def _back(heads: Float[Tensor, "heads batch time time"], n: int) -> Float[Tensor, "heads rest"]:
    """Return attention n places back, at every position that has one."""
    return heads.diagonal(-n, 2, 3).flatten(1)


def _same(
    pattern: Pattern, ids: Int[Tensor, "batch time"], *, causal: bool
) -> tuple[Float[Tensor, "heads n"], Float[Tensor, "heads n"]]:
    """Return attention on copies of the token, and on as many other places, where there are both."""
    copies = ids[:, :, None] == ids[:, None, :]
    seen = torch.ones_like(copies).tril() if causal else torch.ones_like(copies)
    own = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    copies, others = copies & seen & ~own, seen & ~copies & ~own
    others[..., 0] = False  # where heads rest
    copies[..., 0] = False
    asked = copies.any(dim=-1) & others.any(dim=-1)
    heads = pattern.transpose(0, 1)
    at = (heads * copies).sum(dim=-1)
    alike = (heads * others).sum(dim=-1) * copies.sum(dim=-1) / others.sum(dim=-1)
    return at[:, asked], alike[:, asked]


def _neighbours(grid: tuple[int, int]) -> Float[Tensor, "patches patches"]:
    """Return 1 for each of up to eight patches around a patch."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    at = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    apart = (at[:, None] - at[None]).abs().amax(dim=-1)
    return (apart == 1).float()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Copying:
    """Tokens that are tried, and the directions before the last norm that logits are read along."""

    model: LiveModel
    at: Int[Tensor, " n"]
    """Positions of the batch, over all texts."""

    own: Float[Tensor, "n d"]
    wrong: Float[Tensor, "n d"]
    others: Float[Tensor, "m d"]

    @classmethod
    def drawn(cls, model: LiveModel, batch: Batch, generator: torch.Generator) -> _Copying | None:
        """Draw them; None for a model that does not answer with a norm and an unembedding."""
        if model.streams or not model.causal or batch.token_ids is None:
            return None
        few = next(iter(model.batches(batch.token_ids[:1, :4].cpu(), batch_size=1)))
        try:
            head = head_of(model, few.to(model.device))
            model.hook_point("head_out.0")
        except (ValueError, HookPointNotFound):
            return None
        flat, n = batch.token_ids.flatten(), head.n_outputs
        at = torch.randperm(len(flat), generator=generator)[:N_COPIED].to(flat.device)
        others = torch.randperm(n, generator=generator)[:N_OTHERS].to(flat.device)
        own, others = (head.before_norm(head.rows(ids)) for ids in (flat[at], others))
        wrong = own.roll(len(own) // 2, dims=0)
        return cls(model=model, at=at, own=own, wrong=wrong, others=others)

    def shares(
        self, layer: int, value: Float[Tensor, "batch heads source d_head"]
    ) -> tuple[Float[Tensor, "heads n"], Float[Tensor, "heads n"]]:
        """Return which tokens a head copies when it looks at them, and which others it raises as much."""
        values = value.transpose(0, 1).flatten(1, 2)[:, self.at]
        n_heads, n, d_head = values.shape
        alone = values.new_zeros(n_heads, n, n_heads, d_head)
        each = torch.arange(n_heads, device=values.device)
        alone[each, :, each] = values
        written = written_by_heads(self.model, layer, alone.flatten(2))
        least = (written @ self.others.T).topk(min(FIRST, len(self.others)), dim=-1).values[..., -1]
        own, wrong = ((written * rows).sum(dim=-1) > least for rows in (self.own, self.wrong))
        return own.float(), wrong.float()

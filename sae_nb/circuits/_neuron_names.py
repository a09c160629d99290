"""Names of neurons: the outputs that one raises by the sign it has here, beyond what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.lenses._head import head_of
from sae_nb.models import HookPointNotFound
from sae_nb.models._norms import has_vectors_alone, norm_of

if TYPE_CHECKING:
    from sae_nb.circuits._sites import Entries, Site
    from sae_nb.circuits._unit_passes import UnitPasses
    from sae_nb.lenses import Lens
    from sae_nb.lenses._head import Head
    from sae_nb.models import LiveModel

Source = Literal["lens", "direct path only", ""]

N_DRAWN, SURE = 64, 0.95
"""Random directions that a name is held against, and the share of them that its first output must beat."""

N_WORDS, AMONG = 2, 12
"""Outputs that make a name, and those on top of which they are the readable ones."""

LIKELY = 3000
"""Outputs that a name may have: those that the model finds likeliest anywhere on the input or the contrast."""


def names_of(
    passes: UnitPasses, nodes: Sequence[Entries], n_tokens: int, lens: Lens | None
) -> tuple[Source, list[str]]:
    """Return how names were read, and one for every node; empty for tokens, targets, and no name yet.

    Through a lens where one is given, else along the direct path. A name is what the difference from the
    contrast adds: of a neuron that is weaker here, what it writes with the opposite sign.
    """
    head: Head | None = None
    if lens is not None:
        lens = lens.on(passes.model)
        head = lens.head
    else:
        with suppress(ValueError):  # without an unembedding neurons keep their numbers
            head = head_of(passes.model, passes.batch)
    if head is None:
        return "", [""] * (n_tokens + sum(map(len, nodes)) + 1)
    found = _named(passes, nodes, n_tokens, head, lens)
    return "direct path only" if lens is None else "lens", [*[""] * n_tokens, *found, ""]


def _named(
    passes: UnitPasses, nodes: Sequence[Entries], n_tokens: int, head: Head, lens: Lens | None
) -> list[str]:
    """A name for each node, place by place."""
    likely, lines, found = passes.likely[:LIKELY], dict[int | None, _Line](), list[str]()

    @torch.no_grad()
    def effects(directions: Float[Tensor, "m d"], layer: int) -> Float[Tensor, "m n"]:
        if lens is not None:
            return lens.effects(directions, layer=layer)[:, likely]
        weight = head.rows(likely)
        return (head.through_norm(directions.to(weight)) @ weight.T).cpu()

    for site, entries in zip(passes.sites, nodes, strict=True):
        layer = int(site.layer.write.layer or 0)
        if not len(entries) or (lens is not None and layer not in lens.blocks):
            found += [""] * len(entries)
            continue
        key = None if lens is None else layer
        if key not in lines:
            drawn = torch.randn(N_DRAWN, head.d, generator=torch.Generator().manual_seed(0))
            lines[key] = _Line.of(effects(drawn, layer))
        line = lines[key]
        sign = (entries.now - entries.then).sign()
        directions = sign[:, None] * _added(passes.model, layer, site, site.written(entries))
        above = line.scores(effects(directions, layer))
        order = above.topk(min(AMONG, above.shape[1]), dim=1).indices
        tops = likely[order]
        texts = head.names(sorted(set(tops.flatten().tolist())))
        for row, top_, top, position in zip(
            above, order, tops, entries.position.tolist(), strict=True
        ):
            direct = lens is not None or _is_direct(head, position, n_tokens)
            sure = float(row.max()) > line.least and direct
            words = [texts[int(i)] for i in top[row[top_] > line.least]] if sure else []
            found.append(_words(words))
    return found


def _is_direct(head: Head, position: int, n_tokens: int) -> bool:
    """Whether a direct path leads from a position to the answer: of an image, only where its head reads."""
    if head.pool == "each":
        return True
    prefix = head.model.prefix_tokens
    return position == 0 if head.pool == "cls" else prefix <= position < n_tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class _Line:
    """Least score of a name: outputs in units of their own reaction to random directions."""

    spread: Float[Tensor, " n"]
    least: float

    @classmethod
    def of(cls, drawn: Float[Tensor, "draws n"]) -> _Line:
        """Return the line that the strongest output of most random directions stays below."""
        spread = drawn.std(dim=0).clamp_min(1e-12)
        highest = cls(spread=spread, least=0.0).scores(drawn).max(dim=1).values
        return cls(spread=spread, least=float(highest.quantile(SURE)))

    def scores(self, effects: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
        """Return effects in standard deviations."""
        found = effects / self.spread
        centred = found - found.mean(dim=1, keepdim=True)
        return centred / centred.std(dim=1, keepdim=True).clamp_min(1e-12)


def _added(
    model: LiveModel, layer: int, site: Site, written: Float[Tensor, "m d"]
) -> Float[Tensor, "m d"]:
    """Return what neurons add to the stream through a norm or a scale behind the MLP, up to one number."""
    if not site.place.startswith("mlp_post."):
        return written
    try:
        last = model.get_module(model.hook_point(f"mlp_out.{layer}").path)
    except HookPointNotFound:
        return written
    if not has_vectors_alone(last):  # the MLP itself
        return written
    norm = norm_of(last, written.shape[-1])
    if norm is not None:
        return norm.through(written)
    with model.lock, torch.no_grad():
        like = next(last.parameters(), written)
        return (last(written.to(like)) - last(torch.zeros_like(written).to(like))).to(written)


def _words(texts: Sequence[str]) -> str:
    """Return the first readable outputs, each once: "are · were"; empty where none is."""
    found: dict[str, str] = {}
    for text in texts:
        word = text.strip().lstrip("#")
        if word.isalnum() and not (word.isascii() and word.isalpha() and len(word) < 2):
            found.setdefault(word.casefold(), word)
    return " · ".join(word for word in list(found.values())[:N_WORDS] if "Ġ" not in word)

"""The request of a PatchingPanel, and the work that answers it: nothing here knows a widget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sae_nb.circuits import Patching, PatchMap, patch
from sae_nb.data import PairKind, PromptPairs, prompt_pairs
from sae_nb.models import run

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.circuits import Patching
    from sae_nb.models import LiveModel

KINDS: tuple[PairKind, ...] = (
    "indirect_objects", "agreement", "capitals", "greater_than", "induction",
)  # fmt: skip
N_CONTROLS = 19
"""Controls that a map is measured against in the end: by chance one place in ten is outside all of them."""

N_HEADS = 12
"""Heads that are patched by position where none are named: those of the largest estimates."""

WORTH_SEEING = 1.0
"""Logits by which the answers to a pair must be apart for a panel to open on it."""


class StoppedError(Exception):
    """Raised in the work when it is no longer wanted."""


@dataclass(frozen=True)
class Question:
    """The request: pairs of texts, what is asked of the answers, and which places are exchanged how."""

    clean: tuple[str, ...]
    corrupted: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    """Next tokens of each pair; empty: the model's own top answers."""

    control: str
    sites: str
    heads: str
    direction: Any
    method: Any
    seed: int


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer: a map of places or atoms, and a second one of the control."""

    found: PatchMap | Patching
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    effect: Float[np.ndarray, "rows columns"]
    estimated: Float[np.ndarray, "rows columns"]
    control_rows: tuple[str, ...]
    controls: Float[np.ndarray, "n control_rows columns"]
    """All controls: maps of the same places, or one of other atoms."""

    control_source: str
    exact: bool
    """Whether `effect` was measured in the running model; otherwise it is the estimate."""

    @property
    def of_atoms(self) -> bool:
        """Whether rows are atoms, and the control others at random."""
        return isinstance(self.found, Patching)

    @property
    def across(self) -> bool:
        """Whether the map is drawn with a row for each word and a column for each block."""
        return isinstance(self.found, PatchMap) and self.found.sites in ("resid", "mlp", "attn")

    @property
    def ends(self) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]]:
        """The least and the largest share of the controls at each place, of atoms at any."""
        if isinstance(self.found, PatchMap):
            return self.found.control_ends
        ends = self.controls.min(initial=0.0), self.controls.max(initial=0.0)
        return np.full(self.effect.shape, ends[0]), np.full(self.effect.shape, ends[1])

    @property
    def outside(self) -> np.ndarray:
        """Whether each place does more than every control there."""
        least, most = self.ends
        return (self.effect < least) | (self.effect > most)


def seen(found: PatchMap | Patching, method: str) -> Answer:
    """Return what is drawn of a result."""
    if isinstance(found, PatchMap):
        controls = found.control[None] if found.controls is None else found.controls
        return Answer(
            found, found.rows, found.columns, found.effect, found.estimated, found.rows,
            controls, found.control_source, found.method == "exact",
        )  # fmt: skip
    exact = method == "exact"
    effect = found.measured if exact else found.estimated
    return Answer(
        found, tuple(f"atom {atom}" for atom in found.chosen), ("share",),
        effect[found.chosen, None], found.estimated[found.chosen, None],
        tuple(f"atom {atom}" for atom in found.random), effect[found.random, None][None],
        "atoms at random", exact,
    )  # fmt: skip


LABELS = {
    "target": "answer",
    "other": "other answer",
    "sites": "exchange",
    "n_pairs": "averaged pairs",
}
"""Names on screen of arguments that are called otherwise there."""


def answered(
    model: LiveModel,
    sae: SparseAutoencoder | None,
    ask: Question,
    method: str,
    n_controls: int,
    callback: Callable[[int, int], None],
) -> Answer:
    """Patch as asked; by `method`, which may be the estimate that comes before what was asked, and against
    some controls.

    Raises
    ------
    ValueError: If a field holds what cannot be patched; the field is called as it is on screen.
    """
    try:
        return _patched(model, sae, ask, method, n_controls, callback)
    except ValueError as error:
        raise ValueError(_as_on_screen(str(error))) from error


def _as_on_screen(sentence: str) -> str:
    return re.sub(r"`(\w+)`", lambda name: f"“{LABELS.get(name[1], name[1])}”", sentence)


def _patched(
    model: LiveModel,
    sae: SparseAutoencoder | None,
    ask: Question,
    method: str,
    n_controls: int,
    callback: Callable[[int, int], None],
) -> Answer:
    target: Any = list(ask.answers) if ask.answers else None
    if target is not None and not ask.answers[0][0]:
        raise ValueError(
            f"`target` must be given where `other` is, got none with {ask.answers[0][1]!r}. Fill in both "
            "answers, or neither."
        )
    if target is not None and not ask.answers[0][1]:
        target = [one for one, _ in ask.answers]
    given = model, list(ask.clean), list(ask.corrupted), target
    more: dict[str, Any] = {"direction": ask.direction, "seed": ask.seed, "progress": False}
    if ask.sites == "atoms":
        return seen(patch(*given, "atoms" if sae is None else sae, **more), method)
    more |= {"control": ask.control or None, "method": method, "callback": callback}
    more["n_controls"] = n_controls
    if ask.sites == "heads_by_position":
        more["heads"] = heads_of(ask.heads)
        if more["heads"] is None:
            first = patch(
                *given, "heads", **{**more, "heads": None, "method": "attribution", "n_controls": 1}
            )
            more["heads"] = _largest(first)
    return seen(patch(*given, ask.sites, **more), method)


def _largest(found: Any) -> list[tuple[int, int]]:
    """Return the heads of the largest estimates."""
    order = np.argsort(-np.abs(found.estimated).ravel(), kind="stable")[:N_HEADS]
    places = np.unravel_index(order, found.estimated.shape)
    return [(int(found.rows[row]), int(head)) for row, head in zip(*places, strict=True)]


def heads_of(text: str) -> list[tuple[int, int]] | None:
    """Return heads that were written as "0.2 1.1"; None where nothing is written."""
    words = re.split(r"[\s,;]+", text.strip())
    if words == [""]:
        return None
    wrong = next((word for word in words if not re.fullmatch(r"\d+\.\d+", word)), None)
    if wrong is not None:
        raise ValueError(
            f"`heads` must be written layer.head, such as 0.2 1.1, got {wrong!r}. Leave it empty for those "
            "of the largest estimates."
        )
    return [(int(layer), int(head)) for layer, head in (word.split(".") for word in words)]


def pairs_of(model: LiveModel, kind: PairKind, n: int, seed: int) -> PromptPairs:
    """Return pairs of one kind that have one length, so that their positions can be averaged."""
    if n == 1:
        return prompt_pairs(kind, 1, seed, model=model)
    found, most = None, 4 * n
    while found is None:
        try:
            found = prompt_pairs(kind, most, seed, model=model)
        except ValueError:
            if most <= n:
                raise
            most = max(most // 2, n)
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in found.clean]
    length, many = Counter(lengths).most_common(1)[0]
    if many < n:
        raise ValueError(
            f"`n_pairs` must be at most {many} for {kind.replace('_', ' ')}: no more pairs of one length were "
            f"found for {model.name}, got {n}."
        )
    return found[[i for i, one in enumerate(lengths) if one == length][:n]]


def first_kind(model: LiveModel) -> PairKind | None:
    """Return a kind of pairs that the model's tokenizer and its answers fit; None if no kind does."""
    for kind in KINDS:
        try:
            pair = prompt_pairs(kind, 1, model=model)
        except ValueError:
            continue
        ids = [
            model.tokenizer(one, add_special_tokens=False)["input_ids"][0]
            for one in pair.answers[0]
        ]
        logits = [
            run(model, next(iter(model.batches([text]))), answer="end").answer.one()
            for text in (pair.clean[0], pair.corrupted[0])
        ]
        clean, corrupted = (float(one[ids[0]] - one[ids[1]]) for one in logits)
        if clean - corrupted > WORTH_SEEING:
            return kind
    return None

"""Texts that turn at a known place: events that begin, and garden-path sentences."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, as_tensor, at_least, check_data, checked
from sae_nb.temporal import decompose
from sae_nb_studies.temporal._measures import unit_directions

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# Events: do codes stay alike within one and change with the next? In texts with known boundaries.


@dataclass(frozen=True)
class EventGap:
    """Mean cosine of two tokens of one sequence, within an event and across events."""

    within: float
    """Both tokens in one event."""

    across: float
    """Tokens of two events."""

    matched: float
    """Within less across, at equal distance in time: tokens of one event are nearer to each other, and
    near tokens are alike anyway."""

    @property
    def gap(self) -> float:
        """Within less across."""
        return self.within - self.across


@checked(leave=("events",))
def event_gap(
    x: Float[Tensor, "*batch time width"],
    events: Int[Tensor, "batch time"],
    *,
    centre: bool = True,
) -> EventGap:
    """Measure how much more alike tokens of one event are than tokens of two.

    Parameters
    ----------
    events
        Number of the event each token belongs to; negative leaves a token out.

    Raises
    ------
    ValueError: If shapes differ, or no two tokens are within an event or across events.

    Source
    ------
    "Priors in Time", arXiv 2511.01836, section on event boundaries; the distance-matched gap is ours.

    Example
    -------
    >>> x = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    >>> found = event_gap(x, torch.tensor([[0, 0, 1, 1]]))
    >>> round(found.within, 3), round(found.across, 3), round(found.matched, 3)
    (1.0, -1.0, 2.0)
    """
    units = unit_directions(x, centre=centre)
    events = check_data(as_tensor(events, name="events"), name="events")
    if events.is_complex():
        raise TypeError(f"`events` must hold whole numbers, got {events.dtype}.")
    if tuple(events.shape) != tuple(units.shape[:2]):
        raise ValueError(
            f"`events` must have one number per token, shape {tuple(units.shape[:2])}, got "
            f"{tuple(events.shape)}."
        )
    sums = torch.zeros(2, units.shape[1], 2, dtype=torch.float64)  # kind, lag, (Σ cosine, pairs)
    for lag in range(1, units.shape[1]):
        cosine = (units[:, lag:] * units[:, :-lag]).sum(dim=-1).double().cpu()
        now, before = events[:, lag:].cpu(), events[:, :-lag].cpu()
        known = (now >= 0) & (before >= 0)
        for kind, pairs in enumerate((known & (now == before), known & (now != before))):
            sums[kind, lag] = torch.stack([cosine[pairs].sum(), pairs.sum().double()])
    within, across = sums.sum(dim=1)
    if not within[1] or not across[1]:
        raise ValueError("`events` must have pairs of tokens within an event and across events.")
    both = (sums[:, :, 1] > 0).all(dim=0)
    means = sums[:, both, 0] / sums[:, both, 1]
    weight = sums[:, both, 1].amin(dim=0)
    matched = ((means[0] - means[1]) * weight).sum() / weight.sum()
    return EventGap(float(within[0] / within[1]), float(across[0] / across[1]), float(matched))


@dataclass(frozen=True, eq=False)
class SplicedDocuments:
    """Texts put together from pieces of several, with borders that are known."""

    tokens: Int[Tensor, "n time"]
    events: Int[Tensor, "n time"]
    """Number of the piece each token is from."""

    documents: Int[Tensor, "n pieces"]
    """Document of each piece."""


@checked
def spliced_documents(
    documents: Sequence[Int[Tensor, " length"]],
    *,
    n: Count,
    piece_tokens: Annotated[int, at_least(2)] = 32,
    pieces: Annotated[int, at_least(2)] = 3,
    seed: Seed = 0,
) -> SplicedDocuments:
    """Put pieces of different documents one after another, into `n` texts.

    Documents are token ids; those shorter than a piece are not used. Each piece of a text is of
    another document.

    Raises
    ------
    ValueError: If fewer documents than pieces are long enough.

    Example
    -------
    >>> documents = [torch.arange(40) + 100 * i for i in range(4)]
    >>> made = spliced_documents(documents, n=2, piece_tokens=8)
    >>> made.tokens.shape, made.events[0].tolist()[6:10]
    (torch.Size([2, 24]), [0, 0, 1, 1])
    """
    usable = [i for i, ids in enumerate(documents) if len(ids) >= piece_tokens]
    if len(usable) < pieces:
        raise ValueError(
            f"At least {pieces} documents must have {piece_tokens} tokens, got {len(usable)} of "
            f"{len(documents)}. Give longer documents, or ask for shorter pieces."
        )
    generator = torch.Generator().manual_seed(seed)
    tokens, chosen = [], []
    for _ in range(n):
        picked = torch.randperm(len(usable), generator=generator)[:pieces].tolist()
        chosen.append([usable[i] for i in picked])
        parts = []
        for i in chosen[-1]:
            last = len(documents[i]) - piece_tokens
            start = int(torch.randint(last + 1, (), generator=generator))
            parts.append(torch.as_tensor(documents[i][start : start + piece_tokens]))
        tokens.append(torch.cat(parts))
    events = torch.arange(pieces).repeat_interleave(piece_tokens).expand(n, -1)
    return SplicedDocuments(torch.stack(tokens).long(), events, torch.tensor(chosen))


@checked
def story_events(
    boundary_story: Int[Tensor, " m"],
    boundary: Int[Tensor, " m"],
    token_starts: Sequence[Sequence[int]],
) -> list[Int[Tensor, " time"]]:
    """Return number of the event each token of each story belongs to.

    Parameters
    ----------
    boundary_story, boundary
        Of `sn.data.stories`: story and character where each event after the first begins.
    token_starts
        For each story, the character at which each token begins.

    Example
    -------
    >>> story_events(torch.tensor([0]), torch.tensor([4]), [[0, 2, 4, 7]])[0].tolist()
    [0, 0, 1, 1]
    """
    events = []
    for story, starts in enumerate(token_starts):
        here = boundary[boundary_story == story].sort().values
        events.append(torch.searchsorted(here, torch.tensor(list(starts)), right=True))
    return events


# -------------------------------------------------------------------------------------------------
# Garden paths: sentences that turn out otherwise than they began, each with one that says so early,
# and what happens at the word that settles how they are to be read.


@dataclass(frozen=True)
class GardenPath:
    """One sentence in two forms, and the word that settles how it is to be read."""

    misleading: str
    """Beginning of the garden path."""

    plain: str
    """The same, made unambiguous."""

    shared: str
    """Continuation of both, up to the word."""

    word: str
    """The disambiguating word."""

    rest: str
    """Continuation after the word."""

    kind: str
    """Kind of ambiguity: "NP/S", "NP/Z" or "MV/RR"."""

    @property
    def garden(self) -> str:
        """Misleads until the word comes."""
        return _joined(self.misleading, self.shared, self.word, self.rest)

    @property
    def control(self) -> str:
        """The same sentence, clear from its beginning."""
        return _joined(self.plain, self.shared, self.word, self.rest)

    def place(self, which: str) -> int:
        """Return character at which the word begins."""
        begins = self.misleading if which == "garden" else self.plain
        return len(_joined(begins, self.shared)) + 1


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


_SENTENCES = (
    "While the man hunted|While the man hunted,|the deer|ran|into the woods.|NP/Z",
    "When Felix read|When Felix read,|the story|was|not finished.|NP/Z",
    "The boy told|The boy who was told|the story|was|sad and went to the lake.|MV/RR",
    "The horse raced|The horse that was raced|past the barn|fell|on the road.|MV/RR",
    "Rose knew|Rose knew that|the answer|was|not in the book.|NP/S",
    "The dog heard|The dog heard that|the song|had|ended at night.|NP/S",
)
EXAMPLES = tuple(GardenPath(*sentence.split("|")) for sentence in _SENTENCES)
"""A few of the well-known kinds, ours; benchmarks have hundreds (`read_garden_paths`)."""


def read_garden_paths(path: str | Path) -> tuple[GardenPath, ...]:
    r"""Read sentences of a garden-path benchmark: a table whose columns are parts of sentences.

    Three layouts are known by their columns: "NP/S" (object or clause), "NP/Z" (object or none) and the
    reduced relative, with columns "Ambiguous verb", "Unreduced content" and "Disambiguator".

    Source: Parts as in the materials of Huang et al., "Surprisal does not explain syntactic
    disambiguation difficulty", 2023.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r}. Give a table of garden-path sentences.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = {name.strip() for name in rows[0]} if rows else set()
    layouts = {"NP/S": _clause, "NP/Z": _no_object, "Unreduced content": _relative}
    build = next((build for name, build in layouts.items() if name in names), None)
    if build is None:
        raise ValueError(
            f"{str(path)!r} must have a column 'NP/S', 'NP/Z' or 'Unreduced content', got {sorted(names)}."
        )
    parts = [{key.strip(): (value or "").strip() for key, value in row.items()} for row in rows]
    return tuple(build(part) for part in parts)


def _clause(part: dict[str, str]) -> GardenPath:
    begins = _joined(part["Subject"], part["Ambiguous Verb"])
    plain = _joined(begins, part["That"])
    return _pair(begins, plain, part["NP/S"], part["Disambiguator"], part["Rest"], "NP/S")


def _no_object(part: dict[str, str]) -> GardenPath:
    begins = _joined(part["Start"], part["Transitive Verb"])
    return _pair(begins, begins + part["Comma"], part["NP/Z"], part["Verb"], part["Rest"], "NP/Z")


def _relative(part: dict[str, str]) -> GardenPath:
    subject, verb = _joined(part["Start"], part["Noun"]), part["Ambiguous verb"]
    begins = _joined(subject, verb)
    plain = _joined(subject, part["Unreduced content"], verb)
    return _pair(begins, plain, part["RC contents"], part["Disambiguator"], part["End"], "MV/RR")


def _pair(
    misleading: str, plain: str, shared: str, disambiguator: str, rest: str, kind: str
) -> GardenPath:
    word, *more = disambiguator.split()
    rest = _joined(*more, rest.rstrip(". ")) + "."
    return GardenPath(misleading, plain, shared, word, rest, kind)


@dataclass(frozen=True, eq=False)
class Surprise:
    """Surprisal at the disambiguating word, sentence by sentence: garden path, then control."""

    nats: Float[Tensor, "n 2"]
    """−log p of the word given what comes before it, summed over its tokens."""

    novel_energy: Float[Tensor, "n 2"]
    """‖novel‖² at its first token, over the mean of its sentence."""

    novel_share: Float[Tensor, "n 2"]
    """Energy of novel as a share of ‖x − b‖² of its first token."""

    def effect(self, what: str) -> tuple[float, float]:
        """Return mean of garden path less control over sentences, and the standard error of that mean."""
        values: Tensor = getattr(self, what)
        difference = values[:, 0] - values[:, 1]
        error = difference.std() / len(difference) ** 0.5 if len(difference) > 1 else torch.nan
        return float(difference.mean()), float(error)


@torch.no_grad()
def garden_path_surprise(
    model: LiveModel,
    sae: SparseAutoencoder,
    sentences: Sequence[GardenPath],
    hook_point: str | None = None,
) -> Surprise:
    """Measure the surprisal of a model, and of the novel part of its activations, where a garden path ends.

    Source: "Priors in Time", arXiv 2511.01836, section on garden paths, which compares codes of
    phrases; energy at the word is ours.
    """
    point = hook_point or sae.hook_point
    if point is None or not sentences or not model.causal:
        raise ValueError(
            "Garden paths need a language model that predicts next tokens, sentences, and a `hook_point`, "
            f"got {model.name}, {len(sentences)} sentences and {point!r}."
        )
    rows = [
        [_at_word(model, sae, one, which, point) for which in ("garden", "control")]
        for one in sentences
    ]
    table = torch.tensor(rows)
    return Surprise(table[..., 0], table[..., 1], table[..., 2])


def _at_word(
    model: LiveModel, sae: SparseAutoencoder, one: GardenPath, which: str, point: str
) -> tuple[float, float, float]:
    from sae_nb.capturing import capture

    text: str = getattr(one, which)
    read = model.tokenizer(text, return_offsets_mapping=True)
    ids, spans = torch.tensor(read["input_ids"]), read["offset_mapping"]
    start = one.place(which)
    stop = start + len(one.word)
    inside = [t for t, (a, b) in enumerate(spans) if a < stop and b > start and b > a]
    logits = model([ids]).float().log_softmax(dim=-1)[0]
    nats = -sum(float(logits[t - 1, ids[t]]) for t in inside)
    acts = capture(model, [ids], point, drop_massive=False, progress=False)
    parts = decompose(sae, acts, predicted_codes=False)
    at = int((acts.position == inside[0]).nonzero()[0])
    novel = parts.energy[0, :, 1]
    return nats, float(novel[at] / novel.mean()), float(parts.energy_shares[0, at, 1])

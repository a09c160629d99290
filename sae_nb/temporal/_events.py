"""Events: do codes stay alike within one and change with the next? In texts with known boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.temporal._stationarity import unit_directions


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


def event_gap(
    x: Float[Tensor, "batch time width"],
    events: Int[Tensor, "batch time"],
    *,
    centre: bool = True,
) -> EventGap:
    """How much more alike tokens of one event are than tokens of two.

    Parameters
    ----------
    x
        Sequences of one length: activations, parts of them, or dense codes.
    events
        Number of the event each token belongs to; negative leaves a token out.
    centre
        Whether the mean over all tokens is taken off first.

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
    """Which document each piece is from."""


def spliced_documents(
    documents: Sequence[Int[Tensor, " length"]],
    *,
    n: int,
    piece_tokens: int = 32,
    pieces: int = 3,
    seed: int = 0,
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
    check_count(n, name="n")
    check_count(pieces, name="pieces", at_least=2)
    check_count(piece_tokens, name="piece_tokens", at_least=2)
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


def story_events(
    boundary_story: Int[Tensor, " m"],
    boundary: Int[Tensor, " m"],
    token_starts: Sequence[Sequence[int]],
) -> list[Int[Tensor, " time"]]:
    """Number of the event each token of each story belongs to.

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

"""Processes in time with known answers: a slow state and fast noise, and a rank that grows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import between, check_count, check_k, checked
from sae_nb.data._records import Record, seeded

SLOW, FAST = 1.2, 0.6
"""Sizes of the two parts, as in our method notes."""


@dataclass(frozen=True, repr=False)
class SlowAndFast(Record):
    """Sequences, and the slow and fast states they were made from.

    `slow` is the state of each token's event, `events` the number of that event in its sequence, `fast`
    the sparse codes, new at every token; the atoms are directions of unit norm.

    Example
    -------
    >>> data = slow_and_fast(3, time=10)
    >>> torch.allclose(data.x, 1.2 * data.slow @ data.slow_atoms + 0.6 * data.fast @ data.fast_atoms)
    True
    """

    x: Float[Tensor, "n time d_in"]
    slow: Float[Tensor, "n time n_slow"]
    fast: Float[Tensor, "n time n_fast"]
    events: Int[Tensor, "n time"]
    slow_atoms: Float[Tensor, "n_slow d_in"]
    fast_atoms: Float[Tensor, "n_fast d_in"]

    shared = ("slow_atoms", "fast_atoms")


@checked
def slow_and_fast(
    n: int,
    *,
    time: int = 48,
    d_in: int = 32,
    n_slow: int = 6,
    n_fast: int = 64,
    k: int = 3,
    switch: float = 1 / 12,
    seed: int = 0,
) -> SlowAndFast:
    """Draw sequences whose slow state stays within an event, with a few fast atoms at every token.

    x_t = 1.2 s_{e(t)} D_s + 0.6 z_t D_n: s standard normal in `n_slow` dimensions and new at each
    event, z with k of its `n_fast` entries 1, redrawn at every token.

    Parameters
    ----------
    switch
        Chance that an event ends at a token.

    Example
    -------
    >>> data = slow_and_fast(100)
    >>> data.x.shape, bool((data.fast.sum(-1) == 3).all())
    (torch.Size([100, 48, 32]), True)
    """
    check_count(n, name="n")
    check_count(time, name="time", at_least=2)
    check_count(d_in, name="d_in")
    check_count(n_slow, name="n_slow")
    check_k(k, check_count(n_fast, name="n_fast"))
    between(switch, 0, 1, name="switch", ends="(]")
    generator = seeded(seed)
    slow_atoms = F.normalize(torch.randn(n_slow, d_in, generator=generator), dim=1)
    fast_atoms = F.normalize(torch.randn(n_fast, d_in, generator=generator), dim=1)
    changes = torch.rand(n, time, generator=generator) < switch
    changes[:, 0] = False
    events = changes.long().cumsum(dim=1)
    states = torch.randn(n, int(events.max()) + 1, n_slow, generator=generator)
    slow = states.gather(1, events[..., None].expand(-1, -1, n_slow))
    chosen = torch.rand(n, time, n_fast, generator=generator).topk(k, dim=-1).indices
    fast = torch.zeros(n, time, n_fast).scatter(-1, chosen, 1.0)
    x = SLOW * slow @ slow_atoms + FAST * fast @ fast_atoms
    return SlowAndFast(x, slow, fast, events, slow_atoms, fast_atoms)


@checked
def growing_rank(
    n: int, *, time: int = 12, d_in: int = 64, first: int = 4, step: int = 4, seed: int = 0
) -> Float[Tensor, "n time d_in"]:
    """Draw sequences whose token t lies in first + step · t dimensions, evenly in each: planted growth.

    `d_in` is at least first + step · (time − 1).

    Example
    -------
    >>> x = growing_rank(5, time=3)
    >>> (x != 0).sum(dim=-1)[0].tolist()
    [4, 8, 12]
    """
    check_count(n, name="n")
    check_count(time, name="time", at_least=2)
    check_count(first, name="first")
    last = first + check_count(step, name="step", at_least=0) * (time - 1)
    if last > check_count(d_in, name="d_in"):
        raise ValueError(
            f"`d_in` must be at least {last}, the dimensions of the last token, got {d_in}. Ask for fewer "
            "tokens, or a smaller step."
        )
    generator = seeded(seed)
    x = torch.randn(n, time, d_in, generator=generator)
    used = first + step * torch.arange(time)
    return x * (torch.arange(d_in) < used[:, None])

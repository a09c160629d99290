"""Processes in time with known answers: a slow state and fast noise, and a rank that grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, at_least, check_k, checked
from sae_nb.data import Record

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
    n: Count,
    *,
    time: Annotated[int, at_least(2)] = 48,
    d_in: Count = 32,
    n_slow: Count = 6,
    n_fast: Count = 64,
    k: int = 3,
    switch: Annotated[float, Between(0, 1, "(]")] = 1 / 12,
    seed: Seed = 0,
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
    check_k(k, n_fast)
    generator = torch.Generator().manual_seed(seed)
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
    n: Count,
    *,
    time: Annotated[int, at_least(2)] = 12,
    d_in: Count = 64,
    first: Count = 4,
    step: Annotated[int, at_least(0)] = 4,
    seed: Seed = 0,
) -> Float[Tensor, "n time d_in"]:
    """Draw sequences whose token t lies in first + step · t dimensions, evenly in each: planted growth.

    `d_in` is at least first + step · (time − 1).

    Example
    -------
    >>> x = growing_rank(5, time=3)
    >>> (x != 0).sum(dim=-1)[0].tolist()
    [4, 8, 12]
    """
    last = first + step * (time - 1)
    if last > d_in:
        raise ValueError(
            f"`d_in` must be at least {last}, the dimensions of the last token, got {d_in}. Ask for fewer "
            "tokens, or a smaller step."
        )
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, time, d_in, generator=generator)
    used = first + step * torch.arange(time)
    return x * (torch.arange(d_in) < used[:, None])

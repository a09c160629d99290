"""How workers meet before they train: all, each with a rank of its own, of one version, under a new name."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed

import torch.distributed as dist

PATIENCE = 1800.0
"""Seconds that a worker waits for the others: torch's default for gloo."""


def meet(
    store: dist.Store,  # type: ignore[name-defined]
    rank: int,
    size: int,
    patience: float = PATIENCE,
    version: str | None = None,
) -> str:
    """Agree on a name that no earlier generation of these workers has used.

    torchrun keeps one store over restarts and torch writes every generation's addresses under the same
    keys, so a worker started again may read where a dead one listened, and hang. Nothing in the
    environment numbers the generations on every node alike. So each worker leaves a name drawn afresh,
    and the first answers the names it finds, stale ones included, until every worker has heard it. No
    machine's clock is compared with another's.

    Raises
    ------
    RuntimeError: If a worker does not come, or two have one rank.
    ValueError: If they have different versions of the package.
    """
    mine, ends = uuid.uuid4().hex, time.monotonic() + patience
    store.set(f"here/{rank}", mine)

    def wait_for(others: set[int], heard: Callable[[int], bool]) -> None:
        while others := {one for one in others if not heard(one)}:
            if store.get(f"here/{rank}").decode() != mine:
                raise RuntimeError(
                    f"Each worker must have a rank of its own, but two have rank {rank} of {size}. Give "
                    "every machine a --node-rank of its own, or every process another RANK."
                )
            if time.monotonic() > ends:
                missing = ", ".join(f"rank {one}" for one in sorted(others))
                raise RuntimeError(
                    f"All {size} workers must start within {patience:g} seconds, but rank {rank} waited in "
                    f"vain for {missing}. Start what is missing, open the port of the first machine, or allow "
                    "more: `workers(patience=…)`."
                )
            time.sleep(0.01)

    def answered(other: int) -> bool:
        if rank == 0 and store.check([f"here/{other}"]):
            store.set(f"answer/{store.get(f'here/{other}').decode()}", mine)
        return bool(store.check([f"heard/{mine}/{other}" if rank == 0 else f"answer/{mine}"]))

    if rank > 0:
        wait_for({0}, answered)
    name = mine if rank == 0 else store.get(f"answer/{mine}").decode()
    store.set(f"heard/{name}/{rank}", installed("sae-nb") if version is None else version)
    others = set(range(size))
    wait_for(others, answered if rank == 0 else lambda one: store.check([f"heard/{name}/{one}"]))
    versions = [store.get(f"heard/{name}/{one}").decode() for one in range(size)]
    if len(set(versions)) > 1:
        raise ValueError(
            f"All workers must have one version of sae_nb, but by rank they have {versions}. Install one "
            "on every machine."
        )
    return name


@contextmanager
def explaining_losses() -> Iterator[None]:
    """Say what it means when a worker is not answered any more."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        of_network = isinstance(error, dist.DistError) or "gloo" in said or "NCCL" in said
        if not of_network or not dist.is_initialized():
            raise
        raise RuntimeError(
            f"All workers must live until the training has ended, but rank {dist.get_rank()} is not answered "
            "any more: another has ended, or its machine cannot be reached. Start all again, and with the same "
            "`checkpoint` they go on from it; `torchrun --max-restarts 3` does so by itself. "
            f"({said.splitlines()[0][:200]})"
        ) from error

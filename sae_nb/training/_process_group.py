"""Team: the processes that train one SAE together, each on its share of every batch.

The dictionary is in every process. A batch is cut into one part per worker, gradients,
losses and firings are added up over them, and so every worker takes the step that one process would
take on the whole batch. Three things look at a worker's own part alone: which k·rows entries BatchTopK
and Matryoshka keep, what AuxK is measured by (the variance left in the part), and the inputs from which
dead atoms are resampled (the first worker's). `shards` is the other way: the atoms cut, the batch not.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from sae_nb.checks import between
from sae_nb.training._meeting import PATIENCE, explaining_losses, meet


@dataclass(frozen=True)
class Team:
    """The workers of a training: one process alone, or those of torch's default process group.

    Example
    -------
    >>> team = Team()
    >>> team.size, team.is_first, team.part(10)
    (1, True, slice(0, 10, None))
    """

    rank: int = 0
    """Rank of this process among the workers, from 0."""

    size: int = 1
    """Number of workers."""

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and shows progress."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other worker."""
        return self.size == 1

    def part(self, n: int) -> slice:
        """Return which of n things in a row are this worker's: consecutive, all parts equal up to one."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    @property
    def part_name(self) -> str:
        """Name of a folder for what this worker captures: `load_activations` opens all parts as one."""
        return f"part-{self.rank}-of-{self.size}"

    def sum(self, numbers: Tensor) -> Tensor:
        """Return the sum over the workers of a tensor that has one shape in all of them."""
        if self.alone:
            return numbers
        total = numbers.detach().clone()
        dist.all_reduce(total)
        return total

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over the workers in the place of each gradient; one that is None is so everywhere."""
        _together(self, [p.grad for p in parameters if p.grad is not None])

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Put the mean over the workers in the place of each floating-point tensor."""
        floats = [t for t in tensors if t.is_floating_point()]
        _together(self, floats)
        if not self.alone:
            for tensor in floats:
                tensor.div_(self.size)

    @property
    def device(self) -> str:
        """Where numbers lie that go from worker to worker."""
        return "cuda" if not self.alone and dist.get_backend() == "nccl" else "cpu"

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every worker the first one's numbers."""
        if self.alone:
            return
        with torch.no_grad():
            for tensor in tensors:
                # NCCL and gloo know no bool.
                flat = tensor.to(torch.uint8) if tensor.dtype is torch.bool else tensor.contiguous()
                dist.broadcast(flat, src=0)
                tensor.copy_(flat)

    def of_first(
        self, resampled: tuple[Tensor, Tensor] | None, like: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return the first worker's resampled atoms, which count for all: each drew them from its own
        inputs.

        `resampled` holds atoms and the directions that replace them; `like` has the device, precision and
        last axis of the directions.
        """
        if self.alone:
            return resampled
        if resampled is not None and resampled[0].dtype == torch.bool:
            resampled = (resampled[0].nonzero().flatten(), resampled[1][resampled[0]])
        n = self.gather(0 if resampled is None else len(resampled[0]))[0]
        if n == 0:
            return None
        if resampled is None or not self.is_first:
            atoms = torch.zeros(n, dtype=torch.int64, device=like.device)
            resampled = (atoms, like.new_zeros(n, like.shape[-1]))
        for tensor in resampled:
            dist.broadcast(tensor.contiguous(), src=0)
        return resampled

    def exchange(self, mine: Tensor) -> list[Tensor]:
        """Return every worker's value, by rank; of one shape in all of them."""
        if self.alone:
            return [mine]
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(parts, mine.contiguous())
        return parts

    def send(self, tensor: Tensor, source: int) -> None:
        """Write the tensor of worker `source`, contiguous, into that of every worker."""
        if not self.alone:
            dist.broadcast(tensor, src=source)

    def all(self, *, mine: bool) -> bool:
        """Return whether it holds in every worker."""
        return all(self.gather(int(mine)))

    def gather(self, mine: int) -> list[int]:
        """Return every worker's value, by rank."""
        if self.alone:
            return [mine]
        numbers = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        numbers[self.rank] = mine
        dist.all_reduce(numbers)
        return [int(number) for number in numbers]

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Run the block in the first worker, then in the others: for files that it tidies."""
        if not self.is_first:
            dist.barrier()
        try:
            yield
        finally:
            if self.is_first and not self.alone:
                dist.barrier()

    def first_does(self, work: Callable[[], None]) -> None:
        """Let the first worker do something with files; where it cannot, no worker goes on."""
        wrong: BaseException | None = None
        if self.is_first:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised as soon as the others know
                wrong = error
        done = self.all(mine=wrong is None)
        if wrong is not None:
            raise wrong
        if not done:
            raise OSError(
                "What the first worker writes must be written before the others go on, but it could not "
                "write it. Its own message names the file and what to do."
            )

    def wait(self) -> None:
        """Wait until every worker has arrived here."""
        if not self.alone:
            dist.barrier()


def current_team() -> Team:
    """Return the workers of torch's default process group; alone where there is none.

    Raises
    ------
    RuntimeError: If torchrun started several processes and none of them has joined the others.
    """
    if not (dist.is_available() and dist.is_initialized()):
        n = int(os.environ.get("WORLD_SIZE", "1"))
        if n > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
            raise RuntimeError(
                f"`train` must be called inside `with sn.training.workers():` under torchrun, which started "
                f"{n} processes: each would train the whole SAE by itself, into the same files."
            )
        return Team()
    return Team(rank=dist.get_rank(), size=dist.get_world_size())


@contextmanager
def workers(backend: str | None = None, *, patience: float = PATIENCE) -> Iterator[Team]:
    """Join the processes that `torchrun` started; `train` inside the block shares the work with them.

    `torchrun --nproc-per-node 2 train.py`, with the training inside `with sn.training.workers():`. A
    plain `python train.py` runs the same file alone. With `TrainConfig(checkpoint=…)` and `torchrun
    --max-restarts 3` a run whose worker dies continues from its last checkpoint, with the same result
    as without interruption. With `TrainConfig(shard_atoms=True)` the workers share the dictionary in
    place of the batch, for one that outgrows a worker's memory.

    Parameters
    ----------
    backend
        Of torch.distributed. None: nccl where every worker has a GPU of its own, else gloo.
    patience
        Seconds that a worker waits for the others, at the start and in a step.

    Yields
    ------
    Team
        With `.rank`, `.size`, `.is_first`, and `.part(n)`, which inputs are this worker's.

    Raises
    ------
    RuntimeError: If there is a process group already; if a worker does not come or does not live to the
        end, or two have one rank. ValueError: If they have different versions of the package.

    Example
    -------
    >>> with workers() as team:
    ...     team.size
    1
    """
    waits = timedelta(seconds=between(patience, 0, float("inf"), name="patience", ends="()"))
    if dist.is_available() and dist.is_initialized():
        raise RuntimeError(
            "The workers must be joined once, but torch.distributed has a process group already. Leave "
            "`workers()` out: `train` uses the group that is there."
        )
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    has_gpu = torch.cuda.is_available() and torch.cuda.device_count() > local
    if has_gpu:
        torch.cuda.set_device(local)
    # Its functions take the group of the moment of import as their default. Imported during training, as
    # torch does, they would keep the group, and its threads, beyond the block: a process that ends while
    # such a thread frees a tensor is aborted.
    importlib.import_module("torch.distributed.nn")
    store, rank, size = next(rendezvous("env://", timeout=waits))
    dist.init_process_group(
        backend or ("nccl" if has_gpu else "gloo"),
        store=dist.PrefixStore(meet(store, rank, size, patience), store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=waits,
    )
    try:
        with explaining_losses():
            yield current_team()
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def _together(team: Team, tensors: list[Tensor]) -> None:
    """Sum each tensor over the workers in place, all of them in one message."""
    if team.alone or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))

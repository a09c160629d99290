"""Workers of a training that are threads of one process, for tests of what they exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb.training import Team


class Together(Team):
    """Workers that are threads of one process."""

    device = "cpu"

    def __init__(self, rank: int, size: int, barrier: Barrier, board: dict[int, Tensor]) -> None:
        super().__init__(rank, size)
        object.__setattr__(self, "barrier", barrier)
        object.__setattr__(self, "board", board)

    def exchange(self, mine: Tensor) -> list[Tensor]:
        self.board[self.rank] = mine
        self.barrier.wait()
        found = [self.board[rank] for rank in range(self.size)]
        self.barrier.wait()
        return found

    def sum(self, numbers: Tensor) -> Tensor:
        return torch.stack(self.exchange(numbers.detach().clone())).sum(dim=0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = self.sum(parameter.grad)

    def gather(self, mine: int) -> list[int]:
        return [int(one) for one in self.exchange(torch.tensor(mine))]

    def send(self, tensor: Tensor, source: int) -> None:
        tensor.copy_(self.exchange(tensor.clone())[source])

    def share(self, tensors: Iterable[Tensor]) -> None:
        with torch.no_grad():
            for tensor in tensors:
                self.send(tensor, 0)


def in_threads(size: int, work: Callable[[Together], Any]) -> list[Any]:
    barrier, board = Barrier(size), {}

    def of(rank: int) -> Any:
        try:
            return work(Together(rank, size, barrier, board))
        except BaseException:
            barrier.abort()  # the others wait for nobody
            raise

    with ThreadPoolExecutor(size) as pool:
        running = [pool.submit(of, rank) for rank in range(size)]
    wrong = [error for one in running if (error := one.exception())]
    if wrong:  # what went wrong first, not that others were left alone
        raise min(wrong, key=lambda error: isinstance(error, BrokenBarrierError))
    return [one.result() for one in running]

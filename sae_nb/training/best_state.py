"""The weights an interrupted training keeps: the last, unless it had gone astray.

The running loss is the bias-corrected exponential mean of the batch losses,
m_t = β m_{t−1} + (1 − β) ℓ_t,  running_t = m_t / (1 − β^t),  β = 0.95.
At records where it is within `PLATEAU` of the lowest so far, parameters and buffers are copied in
memory (the later of two equals has seen more data). When a run is cut short with a running loss more
than `TOLERANCE` above the lowest, the copy is put back. A run that reaches its last step keeps its
last weights: the decay of the learning rate makes them the best.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from sae_nb.architectures.base import SparseAutoencoder

BETA = 0.95
PLATEAU = 0.01
"""Share above the lowest running loss that counts as equal to it. Ours."""

TOLERANCE = 0.1
"""Share above the lowest running loss that still counts as noise of the batches. Ours."""


class BestState:
    """Running loss of one SAE and a copy of its weights where that was lowest.

    Parameters
    ----------
    sae
        The SAE in training; its tensors are copied into buffers that are allocated once.
    """

    def __init__(self, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self._copy: dict[str, Tensor] = {}
        self.step: int | None = None
        self._lowest = math.inf
        self._mean, self._weight = 0.0, 0.0

    @property
    def running_loss(self) -> float:
        """Bias-corrected exponential mean of the losses seen."""
        return self._mean / self._weight if self._weight else math.inf

    @property
    def astray(self) -> bool:
        """Whether the running loss has left its lowest by more than the tolerance."""
        if self.step is None:
            return False
        return self._is_above(TOLERANCE)

    def _is_above(self, share: float) -> bool:
        return self.running_loss - self._lowest > share * abs(self._lowest)

    def see(self, loss: float) -> None:
        """Take in the loss of one batch."""
        self._mean = BETA * self._mean + (1 - BETA) * loss
        self._weight = BETA * self._weight + (1 - BETA)

    def forget(self) -> None:
        """Start over: losses before and after a change of the objective do not compare."""
        self._mean, self._weight = 0.0, 0.0
        self._lowest, self.step = math.inf, None

    def mean_to_json(self) -> dict[str, float]:
        """The running loss as a checkpoint needs it to go on; the copy of the weights is not saved."""
        return {"mean": self._mean, "weight": self._weight}

    def load_mean(self, state: dict[str, float]) -> None:
        """Back from `mean_to_json`."""
        self._mean, self._weight = state["mean"], state["weight"]

    @torch.no_grad()
    def offer(self, step: int) -> None:
        """Copy the weights of `step` if the running loss is as low as it ever was."""
        if self.step is not None and self._is_above(PLATEAU):
            return
        self._lowest, self.step = min(self._lowest, self.running_loss), step
        for name, tensor in self._sae.state_dict().items():
            if name in self._copy:
                self._copy[name].copy_(tensor)
            else:
                self._copy[name] = tensor.clone()

    def restore(self) -> int:
        """Put the copied weights back and return their step."""
        if self.step is None:
            raise RuntimeError("There is no copy to restore. Call `offer` first.")
        self._sae.load_state_dict(self._copy)
        return self.step

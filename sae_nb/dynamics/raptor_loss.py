"""What a Raptor's optimiser lowers: weighted squares of teacher-forced steps and of own roll-outs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sae_nb.dynamics.raptor import Raptor
    from sae_nb.dynamics.raptor_config import RaptorConfig
    from sae_nb.dynamics.states import TokenKind

_WEIGHTED: tuple[TokenKind, ...] = ("cls", "register", "patch")


@dataclass(frozen=True, eq=False)
class Errors:
    """Squared errors of some layers on one batch."""

    layers: list[int]
    """Which."""

    squares: list[Tensor]
    """Per layer (n, T), mean over channels."""


class RaptorLoss:
    """Loss of one batch, by stage, with the weights of token kinds worked out once.

    Parameters
    ----------
    raptor, config
        What is trained, and how.
    kinds
        Of the tokens. Kinds that a model lacks give their weight to the others.
    variance
        Of each layer 0 … L over the training pictures.
    """

    def __init__(
        self,
        raptor: Raptor,
        config: RaptorConfig,
        kinds: Sequence[TokenKind],
        variance: Tensor,
    ) -> None:
        self.raptor, self.config = raptor, config
        self.variance = variance.clamp_min(1e-12)
        self.scale = self.variance if config.normalise else torch.ones_like(variance)
        self.plain = torch.full((len(kinds),), 1 / len(kinds), device=variance.device)
        self.last = token_weights(kinds, config.last_weights).to(variance.device)
        self.joint = token_weights(kinds, config.joint_weights).to(variance.device)

    def terms(self, states: Tensor, step: int) -> Iterator[tuple[str, Tensor, Errors]]:
        """Yield (name, loss, errors) of each separate graph of a step; their sum is the loss.

        Parameters
        ----------
        states
            A batch of the teacher's, (n, L + 1, T, d), float.
        step
            Of the whole training, from 0.
        """
        if self.config.stage(step)[0] == 2:
            errors = self._own(states, 0, self.raptor.n_layers)
            yield "own roll-out", self._mean(errors, self.joint), errors
            return
        share = self.config.forced_share(step)
        cuts = self.raptor.cuts
        for block, (first, last) in enumerate(pairwise(cuts)):
            weights = self.last if block == self.raptor.k - 1 else self.plain
            if share > 0:
                errors = self._forced(states, first, last)
                yield "teacher forcing", share * self._mean(errors, weights), errors
            if share < 1:
                errors = self._own(states, first, last)
                yield "own roll-out", (1 - share) * self._mean(errors, weights), errors

    def r2(self, several: Iterable[Errors]) -> float:
        """Mean over the layers seen of 1 − squared error / variance, all tokens alike."""
        shares = [
            float(square.detach().mean() / self.variance[layer])
            for errors in several
            for layer, square in zip(errors.layers, errors.squares, strict=True)
        ]
        return 1 - sum(shares) / len(shares)

    def _forced(self, states: Tensor, first: int, last: int) -> Errors:
        layers = list(range(first + 1, last + 1))
        given = [self.raptor.step(states[:, layer - 1], layer) for layer in layers]
        return Errors(layers, _squares(given, states, layers))

    def _own(self, states: Tensor, first: int, last: int) -> Errors:
        layers, x = list(range(first + 1, last + 1)), states[:, first]
        own = []
        for layer in layers:
            x = self.raptor.step(x, layer)
            own.append(x)
        return Errors(layers, _squares(own, states, layers))

    def _mean(self, errors: Errors, weights: Tensor) -> Tensor:
        parts = [
            (square @ weights).mean() / self.scale[layer]
            for layer, square in zip(errors.layers, errors.squares, strict=True)
        ]
        return torch.stack(parts).mean()


def token_weights(kinds: Sequence[TokenKind], weights: Sequence[float]) -> Tensor:
    """Weight of each token: its kind's weight, divided among the tokens of that kind; sum 1.

    Parameters
    ----------
    kinds
        Of the tokens; "token" counts as a patch.
    weights
        Of cls, registers and patches.

    Example
    -------
    >>> token_weights(("cls", "patch", "patch"), (0.5, 0.25, 0.25)).tolist()
    [0.6666666865348816, 0.1666666716337204, 0.1666666716337204]
    """
    of = dict(zip(_WEIGHTED, weights, strict=True))
    of["token"] = of["patch"]
    counts = {kind: list(kinds).count(kind) for kind in set(kinds)}
    found = torch.tensor([of[kind] / counts[kind] for kind in kinds])
    if not float(found.sum()) > 0:
        return torch.full((len(kinds),), 1 / len(kinds))
    return found / found.sum()


def _squares(found: Sequence[Tensor], states: Tensor, layers: Sequence[int]) -> list[Tensor]:
    return [
        (x - states[:, layer]).square().mean(dim=-1) for x, layer in zip(found, layers, strict=True)
    ]

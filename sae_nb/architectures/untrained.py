"""Untrained: the part of an SAE that is used as it is and refuses a training run."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.base import TrainingLoss
from sae_nb.architectures.recipe import Recipe


class Untrained:
    """Mixed in before the architecture: asked for a recipe or a loss, it says what to do instead."""

    no_training: ClassVar[str]
    """The rule and the way out, as the message of the error."""

    def recipe(self) -> Recipe:
        """Refuse: it is used as it is."""
        raise TypeError(self.no_training)

    def training_loss(
        self,
        x: Float[Tensor, "rows d_in"],  # noqa: ARG002
        silent_tokens: Int[Tensor, " n_atoms"],  # noqa: ARG002
        dead_after: int,  # noqa: ARG002
        step_fraction: float,  # noqa: ARG002
    ) -> TrainingLoss:
        """Refuse: it is used as it is.

        Parameters
        ----------
        x, silent_tokens, dead_after, step_fraction
            Not used.
        """
        raise TypeError(self.no_training)

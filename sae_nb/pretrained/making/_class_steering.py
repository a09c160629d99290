"""How many pictures a direction turns into one class.

Turned = share of pictures of other classes that the model gives class c under x + a·d, minus the
share that it gives c without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.models import LiveModel
from sae_nb.steering import steer


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassTurn:
    """What adding one direction did to a model's classes."""

    turned: float
    """Share of pictures of other classes that became the wanted one, minus the share that were."""

    interval: tuple[float, float]
    """95 %, by resampling pictures."""

    n: int
    """Pictures of other classes."""

    def __repr__(self) -> str:
        low, high = self.interval
        return f"ClassTurn({self.turned:+.1%}, 95 % {low:+.1%} … {high:+.1%}; {self.n} pictures)"


class ClassTrial:
    """Pictures classified without steering once, and then with any number of directions.

    Parameters
    ----------
    model
        Answers with class logits.
    hook_point
        Where directions are added, at every position.
    pictures
        What it looks at.
    labels
        Their true classes.
    """

    def __init__(
        self, model: LiveModel, hook_point: str, pictures: Any, labels: Int[Tensor, " n"]
    ) -> None:
        self._model, self._hook_point = model, hook_point
        self._pictures, self._labels = pictures, labels.cpu()
        self._clean = self._classes()

    def turn(self, direction: Float[Tensor, " d_in"], by: float, wanted: int) -> ClassTurn:
        """Return how many pictures adding `by` times a unit direction turns into a class.

        Parameters
        ----------
        direction
            Scaled to unit length here.
        by
            In the model's units.
        wanted
            The class.
        """
        unit = torch.nn.functional.normalize(direction.detach(), dim=0)
        edit = steer(self._model, self._hook_point, direction=unit, by=by)
        with self._model.lock, edit:
            steered = self._classes()
        others = self._labels != wanted
        moved = (steered == wanted)[others].double() - (self._clean == wanted)[others].double()
        values = moved.numpy()
        generator = np.random.default_rng(0)
        draws = generator.integers(len(values), size=(1000, len(values)))
        low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
        return ClassTurn(
            turned=float(values.mean()), interval=(float(low), float(high)), n=len(values)
        )

    def _classes(self) -> Int[Tensor, " n"]:
        return self._model(self._pictures).argmax(dim=1).cpu()

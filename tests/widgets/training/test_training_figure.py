"""The figure of a training: few round ticks, and the same drawing with and without a browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sae_nb_widgets.training._figure import training_figure, update_training_figure

from sae_nb.training import TrainingHistory

pytestmark = pytest.mark.slow


def of_records(n: int, **given: float) -> Any:
    history = TrainingHistory()
    history.extend(
        [
            SimpleNamespace(**({"step": i, "steps": n, "loss": 1 / i, "r2": 1 - 1 / i} | given))
            for i in range(1, n + 1)
        ]
    )
    return history.summary(state="done")


def test_loss_that_is_not_positive_gets_a_linear_axis() -> None:
    """A logarithm of zero is never asked for, and an axis can change back."""
    figure = training_figure([of_records(5)])
    assert figure.layout.yaxis2.type == "log"
    update_training_figure(figure, [of_records(5, loss=-1.0)])
    assert figure.layout.yaxis2.type == "linear"

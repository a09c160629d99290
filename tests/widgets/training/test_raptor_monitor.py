"""A Raptor's training under a TrainingMonitor: it follows, whatever an SAE has and a Raptor has not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sae_nb_widgets.training import TrainingMonitor

from sae_nb_studies.dynamics import RaptorConfig, start_raptor, train_raptor


@pytest.mark.slow
def test_a_monitor_listens_to_a_raptor() -> None:
    """Every record arrives; what means nothing for a Raptor is left open."""
    states = torch.randn(12, 4, 3, 16, generator=torch.Generator().manual_seed(0))
    monitor = TrainingMonitor(interval=0.05)
    settings = RaptorConfig(steps=8, batch_size=8, log_every=1)
    result = train_raptor(states, (0, 1, 3), settings, callbacks=monitor, progress=False)
    monitor.refresh()
    assert list(monitor.record.step) == list(range(1, 9))
    assert np.allclose(monitor.record.loss, [record.loss for record in result.history])
    assert np.isnan(monitor.record.l0).all()


def test_a_monitor_shows_a_raptor_that_trains_in_a_thread() -> None:
    """Its chips, its curves and its last sentence speak of no atoms; pause and stop are its own."""
    states = torch.randn(12, 4, 3, 16, generator=torch.Generator().manual_seed(0))
    run = start_raptor(states, (0, 1, 3), RaptorConfig(steps=8, batch_size=8, log_every=1))
    monitor = TrainingMonitor(run, interval=0.05)
    run.wait(60)
    monitor.refresh()
    assert monitor.chips == {"trains": "Raptor"}
    assert list(monitor.record.step) == list(range(1, 9))
    assert "Done" in monitor.status
    assert "dead" not in monitor.status
    assert monitor.to_png().startswith(b"\x89PNG")

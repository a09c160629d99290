"""The closing table says what was measured and nothing else."""

from __future__ import annotations

import time

import torch

import sae_nb as sn
from sae_nb.sessions import peak_memory


def test_table_repeats_the_reports_figures() -> None:
    """R² and L0 are the report's, the control stands beside, seconds are counted."""
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(8, 3)))
    acts = sn.capture(model, torch.randn(64, 8), "0", progress=False)
    report = sn.evaluate(sn.TopK(d_in=8, n_atoms=16, k=2), acts, n_bootstrap=10)
    started = time.perf_counter() - 5
    summary = sn.sessions.summarise_session(model, acts, report, started=started)
    assert summary.rows["rows captured"] == 64
    assert summary.rows["R²"] == report["r2"].value
    assert summary.rows["R², random atoms"] == report["r2"].control
    assert 5 <= summary.rows["seconds"] <= time.perf_counter() - started
    assert not [name for name in summary.rows if "steering" in name or "recovered" in name]
    assert len(repr(summary).splitlines()) == len(summary.rows) + 2
    assert list(summary.table.index) == list(summary.rows)


def test_peak_memory_is_at_least_what_was_taken() -> None:
    before = peak_memory()
    block = torch.ones(50_000_000)
    after = peak_memory()
    assert before is not None
    assert after is not None
    assert after >= 4 * block.numel()

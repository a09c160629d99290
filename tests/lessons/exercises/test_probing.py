"""Notebook 04: the table of probes."""

from __future__ import annotations

import torch
from sae_nb_lessons.studies import even_digits, probe_table


def test_the_table_finds_what_is_planted_and_nothing_in_shuffled_labels() -> None:
    draws = torch.Generator().manual_seed(0)
    x, (_, labels) = torch.randn(1200, 8, generator=draws), even_digits()
    x[:, 3] += 4 * labels
    row = probe_table({"planted": x}, labels, 600).loc["planted"]
    assert row["all columns"] > 0.95 < row["5 columns"]
    assert abs(row["control: shuffled labels"] - 0.5) < 0.2
    noise = torch.randn(1200, 64, generator=draws)
    row = probe_table({"noise": noise}, labels, 20).loc["noise"]
    assert row["control, training rows"] > 0.95 > 0.7 > row["control: shuffled labels"]

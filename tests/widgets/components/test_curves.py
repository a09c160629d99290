"""Curves: small charts that keep their values, refuse nonsense, and read without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from sae_nb_widgets.components._curves import Chart, Curves, Line

HOSTILE = "<script>alert(1)</script>"


def shown(*lines: np.ndarray, **chart: object) -> Curves:
    curves = Curves(x_name="step", description=HOSTILE)
    drawn = [Line(values=line, name=f"{HOSTILE}{i}") for i, line in enumerate(lines)]
    curves.show([Chart(title=HOSTILE, lines=drawn, **chart)])  # type: ignore[arg-type]
    return curves


def test_values_are_kept() -> None:
    """What is drawn is what was given, in one message's worth of bytes."""
    values = np.linspace(0, 1, 9)
    curves = shown(values, 1 - values)
    np.testing.assert_allclose(curves.values(0), values, rtol=1e-6)
    np.testing.assert_allclose(curves.values(1), 1 - values, rtol=1e-6, atol=1e-7)
    assert len(curves.data) == 2 * 9 * 4


def test_a_spike_survives_thinning() -> None:
    """Of 4 000 coordinates at most 240 points are sent, and a single spike is among them."""
    values = np.zeros(4_000)
    values[1_234] = -7.0
    curves = shown(values)
    assert curves.n_points <= 240
    assert curves.values(0).min() == -7.0
    assert int(curves.values(0).argmin()) == 1_234 // curves.stride


@pytest.mark.parametrize("bars", [False, True])
def test_it_reads_without_a_browser(bars: bool) -> None:
    """One curve (or one stick per value) per line, a legend for two, and inert text."""
    page = shown(np.arange(4.0), np.ones(4), bars=bars, high=3.0).static_html()
    assert page.count("<rect" if bars else "<polyline") >= (8 if bars else 2)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 3

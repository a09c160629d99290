"""Closing panels: however many at once, the page hears of each widget."""

from __future__ import annotations

import ipywidgets as ipw
import pytest
import traitlets as t
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.components._base import HTML, lay_out
from sae_nb_widgets.panel import _closing

SERVER_MESSAGES, SERVER_SECONDS = 3000, 3.0
"""What a Jupyter server passes on by default (1000 a second, looked at over 3 s); the rest is thrown away."""


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_no_three_seconds_have_more_messages_than_a_server_passes_on() -> None:
    clock = Clock()
    pace = _closing.Pace(_closing.AT_ONCE, _closing.PER_SECOND, clock, clock.sleep)
    moments = []
    for _ in range(10_000):
        pace.take(1)
        moments.append(clock())
    busiest = max(
        sum(start <= moment <= start + SERVER_SECONDS for moment in moments)
        for start in moments[::250]
    )
    assert busiest < SERVER_MESSAGES
    assert moments[500] == 0.0  # one panel is closed without waiting
    assert moments[-1] < 15


def test_only_what_is_sent_to_a_page_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sent(ipw.HTML):
        def close(self) -> None:
            order.append("closed")
            self.comm = None

    order: list[str] = []
    monkeypatch.setattr(_closing._pace, "take", lambda n: order.append("waited"))
    _closing.close_whole(Sent())
    assert order == ["closed"]
    monkeypatch.setattr(_closing, "DummyComm", type("Other", (), {}))  # as in a kernel
    _closing.close_whole(Sent())
    assert order == ["closed", "waited", "closed", "waited", "waited"]


def test_a_layout_of_many_outlives_one_of_them() -> None:
    """It is changed for one alone by `lay_out`, never in place; a component has its own."""
    one, other, bars = HTML(), HTML(), Sparkbars()
    assert one.layout is other.layout is not bars.layout
    assert one.style is other.style
    with pytest.raises(t.TraitError, match="many widgets"):
        one.layout.width = "3px"
    lay_out(one, display="none")
    lay_out(bars, display="none")
    assert (one.layout.display, other.layout.display, bars.layout.display) == ("none", None, "none")
    _closing.close_whole(one)
    _closing.close_whole(bars)
    assert other.layout.comm is not None
    assert other.style.comm is not None
    assert HTML(layout=one.layout).layout.comm is not None
    assert bars.layout.comm is None

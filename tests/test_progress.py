"""How far long work is, drawn or said."""

from __future__ import annotations

import threading

import pytest

from sae_nb.progress import progress_bar, progress_to


def test_a_bar_that_is_heard_says_where_it_is_and_draws_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """From its start to its end; of bars that are off, nothing."""
    said: list[str] = []
    with progress_to(said.append), progress_bar(3, "directions", "place") as bar:
        bar.mininterval = 0
        for _ in range(3):
            bar.update()
        with progress_bar(9, "training", "step", enabled=False) as inner:
            inner.update(9)
    assert said == ["directions: 0 of 3", *(f"directions: {n} of 3" for n in (1, 2, 3))]
    with progress_to(said.append), progress_bar(None, "texts") as bar:
        bar.update(2)
    assert said[4] == "texts: 0"
    assert capfd.readouterr().err == ""


def test_another_threads_bars_and_later_ones_are_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    """What is heard is what the block's own thread does, inside the block."""
    said: list[str] = []

    def work() -> None:
        with progress_bar(1, "elsewhere") as bar:
            bar.update()

    with progress_to(said.append):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    with progress_bar(1, "later") as bar:
        bar.update()
    drawn = capfd.readouterr().err
    assert said == []
    assert "elsewhere" in drawn
    assert "later" in drawn

"""Panels that play by themselves: a thread that calls at a steady pace, and a panel's reaction to it."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.background import Task
from sae_nb_widgets.components._base import ToggleButton
from sae_nb_widgets.panel._declaring import Number, wide
from sae_nb_widgets.panel._panel import Panel

SHORTEST_PAUSE = 0.01
"""Seconds. Ours: a click that waits for the drawing gets its turn."""

_ICONS = {True: "pause", False: "play"}


class Player:
    """Calls `advance` every 1 / speed seconds, or as often as it can: who else draws gets a moment between."""

    def __init__(self, advance: Callable[[], bool], speed: Callable[[], float]) -> None:
        self._advance, self._speed = advance, speed
        self._task: Task | None = None
        self._ended = threading.Event()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._task is not None and self._task.alive

    def start(self) -> None:
        """Begin; a player that runs is left running."""
        if self.alive and not self._ended.is_set():
            return
        # A thread that was told to end may still be in its last call: it keeps its own flag.
        ended = self._ended = threading.Event()
        self._task = Task("player", partial(self._run, ended), stop=ended.set)

    def stop(self) -> None:
        """Make no further call; one under way is not waited for."""
        self._ended.set()

    def wait(self, timeout: float) -> None:
        """Return when its thread has ended, or after `timeout` seconds."""
        if self._task is not None:
            self._task.wait(timeout)

    def _run(self, ended: threading.Event) -> None:
        took = 0.0
        while not ended.wait(max(1 / self._speed() - took, SHORTEST_PAUSE)):
            began = time.perf_counter()
            if not self._advance():
                return
            took = time.perf_counter() - began


class PlayingPanel(Panel):
    """A panel with a place that moves on by itself while `playing`, `speed` places a second."""

    playing = t.Bool(False, help="Whether it goes from place to place by itself.")
    speed = Number(2.0, 0.1, 50, help="Places per second while it plays.")

    # What `close` reads, also of a panel that was refused before it was built.
    _player: Player | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._player = Player(self._advance, lambda: self.speed)
        self.observe(self._on_playing, "playing")
        self.bind_key(" ", self.toggle)
        self.bind_key("ArrowRight", self.forth)
        self.bind_key("ArrowLeft", self.back)

    @contextmanager
    def reacting(self, doing: str) -> Iterator[None]:
        """React one thread at a time: the player has its own."""
        with super().reacting(doing), self._drawing:
            yield

    @property
    @abstractmethod
    def at_end(self) -> bool:
        """Whether there is no place after this one."""

    @abstractmethod
    def to_start(self) -> None:
        """Go to the first place."""

    @abstractmethod
    def forth(self) -> None:
        """Go one place on; at the last one nothing happens."""

    @abstractmethod
    def back(self) -> None:
        """Go one place back; at the first one nothing happens."""

    def toggle(self) -> None:
        """Play, or pause."""
        self.playing = not self.playing

    def notify_change(self, change: t.Bunch) -> None:
        """Let everyone hear that it plays before its first step, which may already be its last."""
        with self._drawing if change["name"] == "playing" else nullcontext():
            super().notify_change(change)

    def _on_playing(self, change: t.Bunch) -> None:
        if self._player is None or not change["new"]:
            self.stop_playing()
            return
        if self.at_end:
            self.to_start()
        self._player.start()

    def stop_playing(self) -> None:
        """Make no further step; one under way is drawn to its end."""
        if self._player is not None:
            self._player.stop()

    def _advance(self) -> bool:
        """Go one place on, in the player's thread; say whether there is another."""
        with self._drawing:
            if self._closed or not self.playing:
                return False
            with self.guarded("playing"):
                self.forth()
            if self.at_end:
                self.playing = False
            return self.playing

    def close(self) -> None:
        """Stop playing and free the panel."""
        self.stop_playing()
        super().close()


def play_button(panel: PlayingPanel, tip: str) -> ipw.ToggleButton:
    """Return the button that plays and pauses, linked to `panel.playing`."""
    play = ToggleButton(icon="play", tooltip=tip, layout=wide("42px"))
    t.link((panel, "playing"), (play, "value"))
    play.observe(lambda change: setattr(play, "icon", _ICONS[change["new"]]), "value")
    return play

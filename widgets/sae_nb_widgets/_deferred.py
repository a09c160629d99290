"""Deferred: the place of a panel, on screen before the panel is made. Nothing heavy is imported here."""

from __future__ import annotations

import html
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ipywidgets as ipw

from sae_nb.background import Task, checkpoint

logger = logging.getLogger("sae_nb")

STYLE = """
.sae-nb-deferred { display: flex; align-items: center; justify-content: center; box-sizing: border-box;
  min-height: 420px; padding: 24px; border: 1px solid var(--jp-border-color2, #ddd); border-radius: 12px;
  color: var(--jp-ui-font-color1, #333); font: 15px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); }
.sae-nb-deferred i { flex: none; width: 14px; height: 14px; margin-right: 10px; border-radius: 50%;
  border: 2px solid var(--jp-border-color2, #ddd); border-top-color: currentColor;
  animation: sae-nb-deferred 0.9s linear infinite; }
.sae-nb-deferred[role=alert] { min-height: 0; justify-content: start; }
@keyframes sae-nb-deferred { to { transform: rotate(360deg); } }
@media (prefers-reduced-motion: reduce) { .sae-nb-deferred i { animation: none; } }
"""

LONGEST_HELD_SECONDS = 30.0
"""For which a panel that is made next waits for the first answer of the one before."""

_waiting: deque[Callable[[], None]] = deque()
_turn = threading.Lock()
_worker: Task | None = None


def _work() -> None:
    global _worker
    while True:
        with _turn:
            if not _waiting:
                _worker = None
                return
            work = _waiting.popleft()
        checkpoint()
        work()


class Deferred(ipw.VBox):
    """A panel that is made in the background: its place, with a spinner, is on screen at once.

    Several are made one after the other, in the order in which they were asked for. Where making one fails,
    its place says why.

    Parameters
    ----------
    make
        Returns the panel; model, SAE and what they import are loaded here.
    doing
        What is being done, said in its place until then.

    Examples
    --------
    >>> place = Deferred(lambda: ipw.Label("here"), "Loading")
    >>> place.wait().value
    'here'
    """

    def __init__(self, make: Callable[[], ipw.Widget], doing: str = "Loading the model") -> None:
        super().__init__([_place(doing)])
        self._make, self._doing = make, doing
        self._made: ipw.Widget | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        self.in_turn(self._fill)

    @staticmethod
    def in_turn(work: Callable[[], None]) -> None:
        """Have `work` done on one thread, after what was asked for before.

        One thread alone: where two import the same packages at once, one of the imports ends as a deadlock.
        """
        global _worker
        with _turn:
            _waiting.append(work)
            if _worker is None:
                _worker = Task("panels", _work)

    def _fill(self) -> None:
        try:
            self._made = self._make()
            self.children = [self._made]
        except Exception as error:  # a sentence on screen, and a traceback in the log
            logger.error("%s: %s", self._doing, error, exc_info=error)
            self._error = error
            self.children = [_place(f"{self._doing}: {error or type(error).__name__}", failed=True)]
        finally:
            self._done.set()
        self._let_it_answer()

    def _let_it_answer(self) -> None:
        """Hold the next panel back until this one has its first answer: they would share the processor."""
        until = time.monotonic() + LONGEST_HELD_SECONDS
        while getattr(self._made, "busy", False) and not self._made.answer:  # type: ignore[union-attr]
            checkpoint()
            if time.monotonic() > until:
                return
            time.sleep(0.05)

    def wait(self, timeout: float = 600.0) -> Any:
        """Return the panel as soon as it is made; it may still be working.

        Raises
        ------
        TimeoutError: If it is not made within `timeout` seconds.
        RuntimeError: If it could not be made; the cause is the error.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(
                f"The panel must be made within {timeout:g} s, and it is not: {self._doing}. "
                "Call wait(timeout=…) with more time."
            )
        if self._error is not None:
            raise RuntimeError(f"{self._doing}: {self._error}") from self._error
        return self._made

    @property
    def _panel(self) -> Any:
        """The panel: what exports of a notebook ask an output for."""
        return self.wait()

    def __repr__(self) -> str:
        return f"Deferred({self._made if self._done.is_set() else self._doing})"

    def close(self) -> None:
        """Free its place, and the panel if it was made."""
        if self._made is not None:
            self._made.close()
        super().close()


def _place(said: str, *, failed: bool = False) -> ipw.HTML:
    role, spinner = ("alert", "") if failed else ("status", "<i></i>")
    dots = "" if failed else " …"
    return ipw.HTML(
        f'<style>{STYLE}</style><div class="sae-nb-deferred" role="{role}">{spinner}'
        f"<span>{html.escape(said)}{dots}</span></div>"
    )

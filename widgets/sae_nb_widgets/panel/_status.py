"""The texts of a panel: the answer under its question, the numbers behind it, and the status line."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import traitlets as t

from sae_nb.checks import checked
from sae_nb.figures.theme import THIN_SPACE, escape, format_duration, format_percent
from sae_nb_widgets.components._base import mark_atoms

if TYPE_CHECKING:
    from sae_nb_widgets.panel._frame import Frame

logger = logging.getLogger("sae_nb_widgets")
LONGEST_GIVEN = 40
REPORT_SECONDS = 0.2
"""Between two reports of how far long work is."""


class HasStatus(t.HasTraits):
    """The two texts of a panel that change: the answer under the question, and the status line."""

    stem: ClassVar[str] = "panel"
    answer = t.Unicode("", help="The answer to the question, in one sentence.")
    numbers = t.Unicode("", help="The expert's numbers behind the answer.")
    reasons = t.Unicode(
        "", help="What the answer rests on, and what chance gives: behind “how sure?”."
    )
    show_reasons = t.Bool(False, help="Whether those are shown.")
    show_numbers = t.Bool(False, help="Whether the numbers behind the answer are shown.")
    status = t.Unicode("", help="What happened, how long it took, or what to do.")
    problem = t.Bool(False, help="Whether the status line reports an error.")
    busy = t.Bool(False, help="Whether work is running off the main thread.")

    _loading = ""
    # How often something was put in the status line, also the same again.
    _n_said = 0
    _bold: tuple[str, ...] = ()
    # The file an export wrote last: the status line links it.
    _written: Path | None = None
    if TYPE_CHECKING:  # the panel's
        _frame: Frame

    def _link_texts(self) -> None:
        """Have the texts drawn whenever they change."""
        # Two threads may write: whoever writes last has read last.
        self._answering = threading.RLock()
        t.link((self, "show_numbers"), (self._frame.numbers_button, "value"))
        t.link((self, "show_reasons"), (self._frame.how_sure, "value"))
        drawn = ["answer", "numbers", "show_numbers", "reasons", "show_reasons"]
        self.observe(lambda _: self._draw_answer(), drawn)
        self.observe(lambda _: self._draw_status(), ["status", "problem", "busy"])
        self._draw_answer()
        self._draw_status()

    # --- the answer -------------------------------------------------------------------------------

    @checked
    def conclude(
        self, answer: str, numbers: str = "", bold: Sequence[str] = (), *, reasons: str = ""
    ) -> None:
        """Answer the panel's question in one claim of at most twelve words; empty where there is no answer.

        `numbers`: What an expert asks for next (norms, nats, seconds), shown on demand.
        `reasons`: Sentences behind "how sure?": what the claim rests on, and what chance gives.
        `bold`: Words of the sentence that changed, or that a reader should take away.
        """
        self._speak(answer, numbers, tuple(bold), reasons)

    def _speak(
        self, answer: str, numbers: str = "", bold: tuple[str, ...] = (), reasons: str = ""
    ) -> None:
        self._loading, self._bold = "", bold
        with self.hold_trait_notifications():
            self.answer, self.numbers, self.reasons = answer, numbers, reasons
        self._draw_answer()

    @checked
    def loading(self, what: str, seconds: float | None = None) -> None:
        """Report that something is loading, and how long it takes; `conclude` ends that.

        Nothing is claimed meanwhile: the previous answer is cleared.
        """
        about = "" if seconds is None else f" (about {format_duration(seconds)})"
        self.conclude("")
        self._loading = f"{what}{about} …"
        self._draw_answer()

    def _stop_loading(self) -> None:
        if self._loading:
            self._loading = ""
            self._draw_answer()

    def _draw_answer(self) -> None:
        with self._answering:
            busy = '<span class="sae-nb-busy" role="img" aria-label="loading"></span>'
            text = f"{busy}{escape(self._loading)}"
            if not self._loading:
                text = sentence_html(self.answer, self._bold)
            self._frame.draw_answer(text, self.numbers, self.show_numbers)
            self._frame.draw_reasons(mark_atoms(self.reasons), self.show_reasons)

    # --- the status line --------------------------------------------------------------------------

    def refuse(self, control: str, rule: str, given: str, stays: str) -> None:
        """Report that a field did not take what was typed, by which rule, and the value in force."""
        shown = given if len(given) <= LONGEST_GIVEN else f"{given[:LONGEST_GIVEN]}…"
        what = f"“{shown}” is not one" if shown.strip() else "it was left empty"
        kept = f" It stays at {stays}." if stays else ""
        self._write_problem(f"{control}: {rule}; {what}.{kept}")

    @checked
    def say(self, text: str) -> None:
        """Put a sentence in the status line."""
        self._write_status(text)

    def _write_status(self, text: str) -> None:
        self._n_said += 1
        with self.hold_trait_notifications():
            self.problem, self.status = False, text

    def _write_problem(self, text: str) -> None:
        self._n_said += 1
        with self.hold_trait_notifications():
            self.problem, self.status = True, text

    def progress_of(self, doing: str, of: str = "") -> Callable[[int, int], None]:
        """Return what reports in the status line how much of long work is done, and how long the rest takes."""
        started, last = time.perf_counter(), 0.0

        def report(done: int, total: int) -> None:
            nonlocal last
            now = time.perf_counter()
            if now - last > REPORT_SECONDS and done < total:
                last = now
                left = format_duration((now - started) / done * (total - done))
                self.say(f"{doing} {format_percent(done / total, of=of)}, {left} left")

        return report

    def fail(self, error: BaseException, doing: str = "") -> None:
        """Put an error in the status line as one sentence, and its traceback in the log."""
        what = " ".join(str(error).split()) or type(error).__name__
        logger.error("%s: %s", doing or self.stem, what, exc_info=error)
        self._stop_loading()
        self._write_problem(f"{doing}: {what}" if doing else what)

    @contextmanager
    def guarded(self, doing: str = "") -> Iterator[None]:
        """Turn an error inside the block into a sentence in the status line."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - reported on screen and in the log
            self.fail(error, doing)

    @contextmanager
    def reacting(self, doing: str) -> Iterator[None]:
        """Run methods marked with `reacts` inside it."""
        with self.guarded(doing):
            yield

    def _draw_status(self) -> None:
        text = linked(mark_atoms(self.status), self._written)
        self._frame.draw_status(text, problem=self.problem, busy=self.busy)


UNBROKEN = "\u202f"
"""A thin space at which no line is broken: a number stays whole in a sentence."""


def sentence_html(text: str, bold: Sequence[str] = ()) -> str:
    """Return a sentence as escaped HTML: atoms show their cards, a word in `bold` is bold where it comes last.

    >>> sentence_html("Fires on “groom”. It expects groom.", ["groom"])
    'Fires on “groom”. It expects <b>groom</b>.'
    """
    text = text.replace(THIN_SPACE, UNBROKEN)
    words = [word.replace(THIN_SPACE, UNBROKEN) for word in bold if word]
    words.sort(key=len, reverse=True)
    if not words:
        return mark_atoms(text)
    parts = re.split(rf"(?<!\w)({'|'.join(map(re.escape, words))})(?!\w)", text)
    last = {part: place for place, part in enumerate(parts)}
    return "".join(
        f"<b>{escape(part)}</b>" if part in words and last[part] == place else mark_atoms(part)
        for place, part in enumerate(parts)
    )


def linked(html: str, path: Path | None) -> str:
    """Return a sentence as HTML in which a file that was written can be clicked (`panel_keys.js`)."""
    if path is None:
        return html
    name = escape(str(path))
    return html.replace(name, f'<a href="#" data-file>{name}</a>', 1)

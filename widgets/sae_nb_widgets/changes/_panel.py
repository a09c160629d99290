"""ChangesPanel: what a training changed, input by input, and which direction of the activations explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.checks import checked, shown
from sae_nb.diffing import (
    ChangedImage,
    ChangedPhrase,
    ChangedText,
    ModelDiff,
    changed_phrase,
    check_alike,
    diff_models,
)
from sae_nb.figures.theme import escape, format_count
from sae_nb.progress import progress_to
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.changes._detail import ChangesControls, ChangesDetail
from sae_nb_widgets.changes._views import (
    Answer,
    Both,
    Question,
    TextView,
    answered,
    both_continued,
    hidden,
    view_of,
)
from sae_nb_widgets.changes._words import NONE
from sae_nb_widgets.components._base import HTML, VBox
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import Whole, reacts, show
from sae_nb_widgets.panel._frame import small_toggle
from sae_nb_widgets.panel._pages import static_html

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

UNKNOWN = 2**31 - 1
"""Ends of a trait that are not known yet."""

STALE = "sae-nb-stale"
REST = "tokens, directions and texts"
EMPTY = "No direction yet."


@checked
class ChangesPanel(Panel):
    """What did the training change?

    Two checkpoints of a language model read the same text, and how each goes on from one place stands side by
    side: that of the largest gain at first. Below, each token is shaded by how far the answer after
    it moved (KL), and shaded again below by what is left when the second model's states are set back to the
    first one's along one direction. A click on a token lists the answers that moved, before, after and set
    back. Below, the directions that were tried, next to random ones, and the texts, the most changed first:
    a click on either shows it. A text may be typed. `text`, `sample`, `finding` and `place` are traits.

    Parameters
    ----------
    before, after
        A language model and its fine-tuning, as for `sn.diff_models`.
    inputs
        A text or several that the two are compared on.
    found
        From `sn.diff_models` of the same models and texts; None: it is made here, with its defaults.

    Raises
    ------
    DifferentModelsError: If the two cannot be compared.
    TypeError, ValueError: If they read neither texts nor images, or `inputs` are not what they read.

    Examples
    --------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> panel = ChangesPanel(gpt, gpt, "The cat sat in the garden.")
    >>> panel.wait()
    >>> panel.answer
    'Nothing differs on these texts: the largest difference is rounding.'
    >>> panel.close()
    """

    question = "What did the training change?"
    explanation = (
        "How each model goes on from the same place, with its likeliest tokens, and how the second one does "
        "with its states set to the first one's along one direction, and along a random one; words that the "
        "first one would hardly have written there are tinted. Bars: the chance of what the training added "
        "most often, over all places where it could stand. Folded: each token is shaded by how far the "
        "answer after it moved between the two models: KL in nats. The second row is what is left of that "
        "when the second model runs with its states set to the first one's along one direction. Bars there: "
        "probability of the next tokens that moved most, before and after; the tick is the second model "
        "with the direction set back. “Random” is the best of three random directions. Of an image: each "
        "patch is covered, with its neighbours, by the image's mean colour, and is shaded by the part of the "
        "change that goes.",
        "This shows what these texts bring out: a behaviour that a rare word triggers needs a text with that "
        "word. A covered image is unlike any that was trained on. A direction that carries the change here "
        "need not be what the training was for, and where the mean difference does as well as another method, "
        "that method adds nothing.",
        "Reading narrow fine-tuning from activation differences: arXiv 2510.13900; covering parts of an image: "
        "arXiv 1311.2901. The share of the KL that a direction restores is ours.",
    )
    stem = "changes"
    kept_traits = ("sample", "text", "finding", "place")
    needs_kernel = "Other inputs, directions and positions need a running kernel and were left out."

    text = t.Unicode("", help="The text that both models read.")
    sample = Whole(
        NONE,
        0,
        lambda panel: len(panel.view) - 1,
        none=NONE,
        help="Which of the texts or images; −1: a text that was typed.",
    )
    finding = Whole(
        NONE,
        0,
        lambda panel: panel.n_findings - 1,
        none=NONE,
        help="Row of the findings whose direction is set back; −1: none.",
    )
    details = t.Bool(False, help="Whether tokens, directions and texts are shown, too.")
    place = Whole(
        NONE,
        0,
        lambda panel: panel.n_places - 1,
        none=NONE,
        help="Token whose answers are listed, or patch.",
    )

    def __init__(
        self,
        before: LiveModel,
        after: LiveModel,
        inputs: Any,
        found: ModelDiff | None = None,
    ) -> None:
        check_alike(before, after)
        if found is not None and not isinstance(found, ModelDiff):
            raise TypeError(
                f"`found` must come from sn.diff_models or be None, got {shown(found)}."
            )
        self.view = view_of(before, inputs)
        self.texts = self.view.texts
        self.before, self.after = before, after
        self._found = found
        self._seen: Answer | None = None
        self._both: Both | None = None
        self._phrase: ChangedPhrase | None = None
        self._ask: Question | None = None
        self._at: Question | None = None
        self._opened_at = NONE
        super().__init__(
            chips={
                "before": before.name,
                "after": after.name,
                f"{self.view.noun}s": format_count(len(self.view)),
            }
        )
        several = f"{format_count(len(self.view))} {self.view.noun}{'s' * (len(self.view) != 1)}"
        self.where = (f"{before.name} → {after.name}", several)
        self._build()
        with self.hold_trait_notifications():
            self.sample, self.text = 0, self.texts[0] if self.texts else ""
            self.finding = 0 if found is not None and found.directions else NONE
        self._request()
        if found is None:
            self._compare()
        else:
            self._take_found(found)

    def _build(self) -> None:
        self.controls = ChangesControls(self, self.view.noun)
        self.shown, self.list = self.view.shown, hidden(self.view)
        self.shown.observe(self._choose_place, "selected")
        self._legend = ipw.HTML()
        self.fold = small_toggle(REST, "Where the next token changed, what was tried, all inputs")
        t.link((self, "details"), (self.fold, "value"))
        self.findings = RowTable(description="Directions that were tried", empty_text=EMPTY)
        self.findings.observe(self._choose_finding, "selected")
        self.list.observe(self._choose_input, "selected")
        title = '<div class="sae-nb-cardtitle">Where the next token changed</div>'
        self._folded = VBox(
            [
                *([HTML(title)] if self.texts else []),
                *(self.shown, self._legend, self.findings, self.list),
            ]
        )
        self._detail_view = ChangesDetail("next token" if self.texts else "class")
        self.arrange(
            controls=[*self.controls.first, *([self.fold] if self.texts else [])],
            more=self.controls.more,
            figure=[*self.view.above, self._folded],
            detail=self._detail_view.widgets,
        )
        self.bind_key("ArrowRight", lambda: self._step_place(1))
        self.bind_key("ArrowLeft", lambda: self._step_place(-1))
        self.bind_key("ArrowDown", lambda: self.step_sample(1))
        self.bind_key("ArrowUp", lambda: self.step_sample(-1))
        show(self.findings, False)
        self._unfold()

    @reacts("details", doing="showing the other views")
    def _unfold(self) -> None:
        shown = self.details or not self.texts
        show(self._folded, shown)
        self._frame.show_detail(shown)

    def static_main(self) -> str:
        """Return what is under the title as HTML; of texts the views that are not shown are folded."""
        if self.details or not self.texts:
            return super().static_main()
        rest = static_html([*self._folded.children, *self._detail_view.widgets])
        return f"{super().static_main()}<details><summary>{REST}</summary>{rest}</details>"

    # --- comparing on all inputs ------------------------------------------------------------------

    def _compare(self) -> None:
        """Find what changed on all inputs; the first one is shown meanwhile."""
        before, after, compared = self.before, self.after, self.view.compared
        several = f"{format_count(len(self.view))} {self.view.noun}s"
        doing = f"Both models read {several}, and directions are tried"
        self.loading(doing)

        def work() -> ModelDiff:
            with progress_to(lambda how_far: self.loading(f"{doing} ({how_far})")):
                return diff_models(before, after, compared)

        self.run_async(
            work,
            self._take_found,
            doing="comparing the models",
            channel="findings",
        )

    def _take_found(self, found: ModelDiff) -> None:
        self._found = found
        heads, cells = words.FINDING_HEADS, words.finding_rows(found)
        self.findings.show(heads, cells, numeric=[name in words.NUMBERS for name in heads])
        show(self.findings, bool(cells))
        self.view.fill(found)
        self._say()
        if not 0 <= self.finding < self.n_findings:
            self.finding = 0 if self.n_findings else NONE
        self._mark()
        self._request()
        self._measure_phrase()

    def _say(self) -> None:
        """Say what was added everywhere, where that is known; else what gained most."""
        found, noun = self._found, self.view.noun
        if found is None:
            return
        said, rests, bold = words.answer_words(found, noun)
        numbers = "" if found.same else words.numbers_words(found, noun)
        if self._phrase is not None:
            self.headline = words.phrase_title(self._phrase)
            rests, said, bold = f"{said} {rests}", words.phrase_answer(self._phrase), []
        self.conclude(said, numbers, bold, reasons=rests)

    def _measure_phrase(self) -> None:
        """Find the words that were added everywhere, and what the chosen direction takes of them."""
        found, finding, view = self._found, self.finding, self.view
        if found is None or not isinstance(view, TextView) or not self.before.generates:
            return
        if not 0 <= finding < self.n_findings:
            return
        before, after, texts = self.before, self.after, view.texts

        def done(phrase: ChangedPhrase | None) -> None:
            seen, self._phrase = self._seen, phrase
            view.draw_phrase(phrase)
            self._say()
            if seen is not None and self.place == words.first_place(seen, found):
                self.place = words.first_place(seen, found, phrase)
            self._draw_both()

        self.run_async(
            lambda: changed_phrase(before, after, texts, found, finding=finding),
            done,
            doing="measuring what was added",
            channel="phrase",
        )

    # --- reading one input ------------------------------------------------------------------------

    @reacts("sample", doing="choosing an input", early=True)
    def _fill(self) -> None:
        """Put the chosen text into the field, or read the chosen image."""
        if self.texts and self.sample != NONE:
            self.text = self.texts[self.sample]
        elif not self.texts:
            self._request()

    @reacts("finding", doing="setting another direction back")
    def _set_another_back(self) -> None:
        self._measure_phrase()

    @reacts("text", "finding", doing="reading the input", early=True)
    def _request(self) -> None:
        """Read what is there now; an older request is dropped, and the same one does nothing."""
        if self.texts and self.sample != NONE and self.text != self.texts[self.sample]:
            self.sample = NONE
        given = self.text if self.texts else max(self.sample, 0)
        ask = Question(given, NONE if self._found is None else self.finding)
        if ask == self._ask:
            return
        if self._ask is not None and ask.given != self._ask.given:
            self.place = NONE
        self._ask = ask
        self._mark()
        if isinstance(ask.given, str) and not ask.given.strip():
            self.forget_async()
            self._clear()
            self.say("Type at least one word.")
            return
        before, after, found, input_ = self.before, self.after, self._found, self.view.given(given)
        self.shown.add_class(STALE)
        self.run_async(
            lambda: answered(before, after, input_, ask.finding, found),
            lambda seen: self._take(ask, seen),
            doing=f"reading the {self.view.noun}",
            otherwise=self._clear,
        )

    def _take(self, ask: Question, seen: Answer) -> None:
        self._seen, self._at = seen, ask
        self.shown.remove_class(STALE)
        self._draw()
        explained = bool(self.texts) and seen.left is not None and self.place == self._opened_at
        if explained or not 0 <= self.place < self.n_places:
            self.place = words.first_place(seen, self._found, self._phrase)
            self._opened_at = self.place if self._found is None else NONE
        self._draw_place()
        if self.status == "Type at least one word.":
            self.say("")

    @property
    def ready(self) -> bool:
        """Whether an input was read."""
        return self._seen is not None

    @property
    def found(self) -> ModelDiff | None:
        """The comparison on all inputs; None while it is being measured."""
        return self._found

    @property
    def reading(self) -> Answer | None:
        """The text or image as both models answer it; None before it is read."""
        return self._seen

    @property
    def n_findings(self) -> int:
        """Directions that were tried; many before they are known."""
        return UNKNOWN if self._found is None else len(self._found.directions)

    @property
    def n_places(self) -> int:
        """Tokens of the text, or patches of the image; many while another one is being read."""
        if self._seen is None or self._at is None or self._ask is None:
            return UNKNOWN
        return UNKNOWN if self._at.given != self._ask.given else words.n_places(self._seen)

    @property
    def record(self) -> dict[str, Any] | None:
        """The largest changes of the input, and the answers at the chosen place; None before it is read."""
        return None if self._seen is None else words.record_rows(self._seen, self.place)

    # --- drawing ----------------------------------------------------------------------------------

    @property
    def _back(self) -> str:
        """The direction that the input shown was read with, in words."""
        if self._found is None or self._at is None or self._at.finding == NONE:
            return ""
        return words.finding_words(self._found, self._at.finding)

    def _draw(self) -> None:
        seen = self._seen
        if seen is None:
            return
        view: Any = self.view
        view.draw(seen)
        legend = escape(words.legend_words(seen, self._back))
        self._legend.value = f'<div class="sae-nb-legendline">{legend}</div>'

    @reacts("place", doing="listing a place")
    def _draw_place(self) -> None:
        seen = self._seen
        if seen is None or not 0 <= self.place < words.n_places(seen):
            return
        self._detail_view.show(seen, self.place, self._back)
        if isinstance(seen, ChangedImage):
            self.headline = f"Image {self.sample}: {words.moved_words(seen)}"
        elif self.before.generates:
            self._go_on(seen, self.place)
        row = max(self.shown.selected[0], 0)
        if self.shown.selected != (row, self.place):
            self.shown.selected = (row, self.place)

    def _go_on(self, seen: ChangedText, place: int) -> None:
        """Have both models continue the text from a place on."""
        before, after, text = self.before, self.after, self.text
        found, finding = self._found, NONE if self._at is None else self._at.finding

        def draw(both: Both) -> None:
            self._both = both
            self._draw_both()

        self.run_async(
            lambda: both_continued(before, after, text, seen, place, found, finding),
            draw,
            doing="going on with both models",
            channel="continuations",
        )

    def _draw_both(self) -> None:
        if self._both is None or not isinstance(self.view, TextView):
            return
        self.view.draw_both(self._both, self._phrase)
        if self._phrase is None:
            self.headline = words.headline_words(self._both)

    def _mark(self) -> None:
        """Mark the rows of the lists that are shown."""
        rows = self.view.rows
        self.view.mark(rows.index(self.sample) if self.sample in rows else -1)
        finding = self.finding if self.finding < len(self.findings.cells) else -1
        if self.findings.selected != finding:
            self.findings.selected = finding

    def _clear(self) -> None:
        self.forget_async("continuations")
        self._seen = self._at = self._both = None
        self.shown.remove_class(STALE)
        self.view.clear()
        self._legend.value = self.headline = ""
        self._detail_view.clear()

    # --- moving about -----------------------------------------------------------------------------

    def _choose_place(self, change: t.Bunch) -> None:
        if self._seen is not None and change["new"][1] >= 0:
            self.place = change["new"][1]

    def _choose_finding(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self.finding = change["new"]

    def _choose_input(self, change: t.Bunch) -> None:
        row = self.view.chosen(change["new"])
        if 0 <= row < len(self.view.rows):
            self.sample = self.view.rows[row]

    @checked
    def step_sample(self, by: int) -> None:
        """Show the input so many further on; from a typed text the first."""
        at = 0 if self.sample == NONE else self.sample + by
        self.sample = int(np.clip(at, 0, len(self.view) - 1))

    def _step_place(self, by: int) -> None:
        if self._seen is not None:
            self.place = int(np.clip(self.place + by, 0, words.n_places(self._seen) - 1))

"""ChangesPanel: what a training changed, text by text, and which direction of the activations explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.checks import checked, shown
from sae_nb.figures import escape, format_count
from sae_nb.studies.evaluation import ChangedText, ModelDiff, check_alike, diff_models
from sae_nb_widgets.changes import _words as words
from sae_nb_widgets.changes._asking import NONE, Ask, answered
from sae_nb_widgets.changes._controls import ChangesControls
from sae_nb_widgets.changes._detail import ChangesDetail
from sae_nb_widgets.components import RowTable, TokenStrip
from sae_nb_widgets.panel import Panel, Whole, reacts, show

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

UNKNOWN = 2**31 - 1
"""Ends of a trait that are not known yet."""

STALE = "sae-nb-stale"
EMPTY = "No direction yet."


@checked
class ChangesPanel(Panel):
    """What did the training change?

    Two checkpoints of a language model read the same text: each token is shaded by how far the answer after
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
    TypeError, ValueError: If they read no texts, or `inputs` are not texts.

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
        "Each token is shaded by how far the answer after it moved between the two models: KL in nats. The "
        "second row is what is left of that when the second model runs with its states set to the first one's "
        "along one direction. Bars: probability of the next tokens that moved most, before and after; the "
        "tick is the second model with the direction set back. “Random” is the best of three random "
        "directions.",
        "This shows what these texts bring out: a behaviour that a rare word triggers needs a text with that "
        "word. A direction that carries the change here need not be what the training was for, and where the "
        "mean difference does as well as another method, that method adds nothing.",
        "Reading narrow fine-tuning from activation differences: arXiv 2510.13900. The share of the KL that a "
        "direction restores is ours.",
    )
    stem = "changes"
    kept_traits = ("sample", "text", "finding", "place")
    needs_kernel = "Other texts, directions and positions need a running kernel and were left out."

    text = t.Unicode("", help="The text that both models read.")
    sample = Whole(
        NONE,
        0,
        lambda panel: len(panel.texts) - 1,
        none=NONE,
        help="Which of the texts; −1: typed.",
    )
    finding = Whole(
        NONE,
        0,
        lambda panel: panel.n_findings - 1,
        none=NONE,
        help="Row of the findings whose direction is set back; −1: none.",
    )
    place = Whole(
        NONE, 0, lambda panel: panel.n_places - 1, none=NONE, help="Token whose answers are listed."
    )

    def __init__(
        self,
        before: LiveModel,
        after: LiveModel,
        inputs: str | Sequence[str],
        found: ModelDiff | None = None,
    ) -> None:
        check_alike(before, after)
        if found is not None and not isinstance(found, ModelDiff):
            raise TypeError(
                f"`found` must come from sn.diff_models or be None, got {shown(found)}."
            )
        self.texts = _texts(before, inputs)
        self.before, self.after = before, after
        self._found = found
        self._seen: ChangedText | None = None
        self._ask: Ask | None = None
        self._at: Ask | None = None
        self._rows: list[int] = []
        self._opened_at = NONE
        super().__init__(
            chips={
                "before": before.name,
                "after": after.name,
                "texts": format_count(len(self.texts)),
            }
        )
        self.where = (f"{before.name} → {after.name}",)
        self._build()
        with self.hold_trait_notifications():
            self.sample, self.text = 0, self.texts[0]
            self.finding = 0 if found is not None and found.directions else NONE
        self._request()
        if found is None:
            self._compare()
        else:
            self._take_found(found)

    def _build(self) -> None:
        self.controls = ChangesControls(self)
        self.strip = TokenStrip(description="The text, shaded by its change", unit="nats")
        self.strip.observe(self._choose_token, "selected")
        self._legend = ipw.HTML()
        self.findings = RowTable(description="Directions that were tried", empty_text=EMPTY)
        self.findings.observe(self._choose_finding, "selected")
        self.list = RowTable(description="Texts, the most changed first", empty_text="")
        self.list.observe(self._choose_text, "selected")
        self._detail_view = ChangesDetail()
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self.strip, self._legend, self.findings, self.list],
            detail=self._detail_view.widgets,
        )
        self.bind_key("ArrowRight", lambda: self._step_place(1))
        self.bind_key("ArrowLeft", lambda: self._step_place(-1))
        self.bind_key("ArrowDown", lambda: self.step_sample(1))
        self.bind_key("ArrowUp", lambda: self.step_sample(-1))
        for one in (self.findings, self.list):
            show(one, False)

    # --- comparing on all texts -------------------------------------------------------------------

    def _compare(self) -> None:
        """Find what changed on all texts; the first text is shown meanwhile."""
        before, after, texts = self.before, self.after, list(self.texts)
        self.loading(f"Both models read {format_count(len(texts))} texts, and directions are tried")
        self.run_async(
            lambda: diff_models(before, after, texts, progress=False),
            self._take_found,
            doing="comparing the models",
            channel="findings",
        )

    def _take_found(self, found: ModelDiff) -> None:
        self._found = found
        rows, self._rows = words.text_rows(found, self.texts)
        for table, heads, cells in (
            (self.findings, words.FINDING_HEADS, words.finding_rows(found)),
            (self.list, words.TEXT_HEADS, rows),
        ):
            table.show(heads, cells, numeric=[name in words.NUMBERS for name in heads])
            show(table, bool(cells))
        said, bold = words.answer_words(found)
        self.conclude(said, "" if found.same else words.numbers_words(found), bold)
        if not 0 <= self.finding < self.n_findings:
            self.finding = 0 if self.n_findings else NONE
        self._mark()
        self._request()

    # --- reading one text -------------------------------------------------------------------------

    @reacts("sample", doing="choosing a text", early=True)
    def _fill(self) -> None:
        """Put the chosen text into the field."""
        if self.sample != NONE:
            self.text = self.texts[self.sample]

    @reacts("text", "finding", doing="reading the text", early=True)
    def _request(self) -> None:
        """Read what is there now; an older request is dropped, and the same one does nothing."""
        if self.sample != NONE and self.text != self.texts[self.sample]:
            self.sample = NONE
        ask = Ask(self.text, NONE if self._found is None else self.finding)
        if ask == self._ask:
            return
        if self._ask is not None and ask.text != self._ask.text:
            self.place = NONE
        self._ask = ask
        self._mark()
        if not ask.text.strip():
            self.forget_async()
            self._clear()
            self.say("Type at least one word.")
            return
        before, after, found = self.before, self.after, self._found
        self.strip.add_class(STALE)
        self.run_async(
            lambda: answered(before, after, ask, found),
            lambda seen: self._take(ask, seen),
            doing="reading the text",
            otherwise=self._clear,
        )

    def _take(self, ask: Ask, seen: ChangedText) -> None:
        self._seen, self._at = seen, ask
        self.strip.remove_class(STALE)
        self._draw()
        explained = seen.left is not None and self.place == self._opened_at
        if explained or not 0 <= self.place < self.n_places:
            self.place = words.first_place(seen)
            self._opened_at = self.place if self._found is None else NONE
        self._draw_place()
        if self.status == "Type at least one word.":
            self.say("")

    @property
    def ready(self) -> bool:
        """Whether a text was read."""
        return self._seen is not None

    @property
    def found(self) -> ModelDiff | None:
        """The comparison on all texts; None while it is being measured."""
        return self._found

    @property
    def reading(self) -> ChangedText | None:
        """The text as both models answer it; None before it is read."""
        return self._seen

    @property
    def n_findings(self) -> int:
        """Directions that were tried; many before they are known."""
        return UNKNOWN if self._found is None else len(self._found.directions)

    @property
    def n_places(self) -> int:
        """Tokens of the text; many while another text is being read."""
        pending = self._seen is None or self._at is None or self._at.text != self.text
        return UNKNOWN if pending or self._seen is None else len(self._seen.tokens)

    @property
    def record(self) -> dict[str, Any] | None:
        """The largest changes of the text, and the answers at the chosen place; None before it is read."""
        return None if self._seen is None else words.record_rows(self._seen, self.place)

    # --- drawing ----------------------------------------------------------------------------------

    @property
    def _back(self) -> str:
        """The direction that the text shown was read with, in words."""
        if self._found is None or self._at is None or self._at.finding == NONE:
            return ""
        return words.finding_words(self._found, self._at.finding)

    def _draw(self) -> None:
        seen = self._seen
        if seen is None:
            return
        rows = [seen.kl] if seen.left is None else [seen.kl, seen.left]
        self.strip.show(
            [list(seen.tokens)] * len(rows),
            rows,
            captions=["changed", "set back"][: len(rows)],
            maximum=max(float(seen.kl.max()), 1e-3),
        )
        legend = escape(words.legend_words(seen, self._back))
        self._legend.value = f'<div class="sae-nb-legendline">{legend}</div>'

    @reacts("place", doing="listing a place")
    def _draw_place(self) -> None:
        seen = self._seen
        if seen is None or not 0 <= self.place < len(seen.tokens):
            return
        self._detail_view.show(seen, self.place, self._back)
        self.headline = words.headline_words(seen, self.place)
        row = max(self.strip.selected[0], 0)
        if self.strip.selected != (row, self.place):
            self.strip.selected = (row, self.place)

    def _mark(self) -> None:
        """Mark the rows of the lists that are shown."""
        at = self._rows.index(self.sample) if self.sample in self._rows else -1
        finding = self.finding if self.finding < len(self.findings.cells) else -1
        for table, row in ((self.list, at), (self.findings, finding)):
            if table.selected != row:
                table.selected = row

    def _clear(self) -> None:
        self._seen = self._at = None
        self.strip.remove_class(STALE)
        self.strip.show([])
        self._legend.value = self.headline = ""
        self._detail_view.clear()

    # --- moving about -----------------------------------------------------------------------------

    def _choose_token(self, change: t.Bunch) -> None:
        if self._seen is not None and change["new"][1] >= 0:
            self.place = change["new"][1]

    def _choose_finding(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self.finding = change["new"]

    def _choose_text(self, change: t.Bunch) -> None:
        if 0 <= change["new"] < len(self._rows):
            self.sample = self._rows[change["new"]]

    @checked
    def step_sample(self, by: int) -> None:
        """Show the text so many further on in the list; from a typed one the first."""
        at = 0 if self.sample == NONE else self.sample + by
        self.sample = int(np.clip(at, 0, len(self.texts) - 1))

    def _step_place(self, by: int) -> None:
        if self._seen is not None:
            self.place = int(np.clip(self.place + by, 0, len(self._seen.tokens) - 1))


def _texts(model: LiveModel, inputs: Any) -> tuple[str, ...]:
    if not model.modality.is_text or model.tokenizer is None:
        raise ValueError(
            f"`before` must be a language model, got {model.name}, which reads {model.modality.sample}s. Use "
            "sn.diff_models(before, after, inputs)."
        )
    texts = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise ValueError(
            f"`inputs` must be texts of at least one word, got {inputs!r:.60}. Pass a text or a list of texts."
        )
    return texts

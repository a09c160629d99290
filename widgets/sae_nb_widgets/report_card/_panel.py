"""ReportCard: can this SAE be trusted? Every number with its floor, its control and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.checks import checked
from sae_nb.evaluation import RowSums, published_values, sums_by_sample
from sae_nb.figures.theme import escape, format_count, format_number
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.components._dot_rows import DotRows
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import control, reacts, show
from sae_nb_widgets.report_card import _words as words
from sae_nb_widgets.report_card._detail import ReportCardDetail, RowExamples
from sae_nb_widgets.report_card._record import (
    ReportCardSummary,
    ReportCell,
    as_reports,
    named_reports,
    summarise_report_card,
)
from sae_nb_widgets.report_card._verdicts import answer_words, headline_words, plain_rows, rows_html

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.evaluation import Measurement


SHOW = {
    "verdicts": "At most five plain questions, each beside a random dictionary",
    "key": "The six measures that tell most",
    "all": "Every measure",
    "not clear": "Measures on which floor or control do as well",
}
"""Rows that can be drawn, and the text of their button."""
NO_ROW = "none"
NO_QUESTION = (
    '<p class="sae-nb-note">None of these measures answers a plain question beside a random dictionary: press '
    "“key” or “all”.</p>"
)
SIDES = "← worse · better → (grey: no direction is better)"


@dataclass(frozen=True, kw_only=True)
class _Material:
    """The data in which an example is looked for."""

    saes: tuple[SparseAutoencoder, ...]
    acts: Activations
    sums: dict[int, RowSums] = field(default_factory=dict)
    """Sums by sample of the SAEs that were viewed."""

    def examples(self, place: int, cell: ReportCell) -> RowExamples:
        """Return what moves a number of one of the SAEs, and the values of other libraries."""
        sae, metric = self.saes[place], cell.measurement.definition
        if place not in self.sums:
            self.sums[place] = sums_by_sample(sae, self.acts)
        return RowExamples(
            sae=cell.sae,
            moving=self.sums[place].most_moving(metric),
            elsewhere=published_values(sae, self.acts, metric),
        )


@checked
class ReportCard(Panel):
    """At most five plain questions, each answered by one share beside that of a random dictionary; behind them
    every measure: rows are measures, columns SAEs, and a red ring where floor or control would do as well.

    The questions are fixed: the share of the variance, one atom for one label (`sn.evaluation.identifiability`
    among the measurements), a second training (`sn.evaluation.stability`), the model's answer (`model=` of
    `sn.evaluate`), atoms in use, and a second code. One that has no number is left out, and not counted.

    Parameters
    ----------
    reports
        One from `sn.evaluate`, or a list; or anything that maps names to measurements (`sn.evaluation.…`).
    names
        Of the SAEs, one for each report; None: what the reports say.
    saes
        One for each report, if a click should find the sample that moves a row most.
    acts
        Rows that they were measured on.

    Raises
    ------
    ValueError, TypeError: If there are no reports, or names or SAEs do not fit.

    Examples
    --------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> reports = [sn.evaluate(sn.TopK(d_in=8, n_atoms=16, k=k), x, n_bootstrap=50) for k in (2, 4)]
    >>> card = ReportCard(reports, ["k = 2", "k = 4"])
    >>> card.metric = "r2"
    >>> card.record.saes
    ('k = 2', 'k = 4')
    >>> card.close()
    """

    question = "Can I trust this SAE?"
    explanation = (
        "Plain questions: one share each, all from 0 to 100 %; better where neither a random dictionary nor a "
        "trivial answer does as well, within the 95 % interval or a twentieth. Behind them each dot is one "
        "number of one SAE, with its 95 % interval. The solid tick is the floor (what a "
        "trivial answer reaches), the dashed tick the control (what a random dictionary of the same size "
        "reaches). Further right is better, where a row says which is better. A red ring means that floor or "
        "control does as well, within the uncertainty. R²: share of the variance explained; L0: atoms in "
        "use at a time; KL, CE: change and loss of the model's predictions.",
        "Beating floor and control shows that something was learned, not what, nor that it serves your "
        "purpose. Each row has its own scale: compare SAEs along a row, not rows with each other.",
        "Controls: “Sanity checks for sparse autoencoders”, arXiv 2602.14111; definitions: docs/metrics.md.",
    )
    stem = "report-card"
    kept_traits = ("show", "metric")

    metric = t.Unicode("", help="Row that is explained; empty for none.")
    show = t.Enum(tuple(SHOW), "verdicts", help="Three answers, or which rows are drawn.")

    def __init__(
        self,
        reports: Sequence[Mapping[str, Measurement]] | Mapping[str, Measurement],
        names: Sequence[str] | None = None,
        *,
        saes: Sequence[SparseAutoencoder] | None = None,
        acts: Activations | None = None,
        **kwargs: Any,
    ) -> None:
        self._reports, self._columns = as_reports(reports), names
        self._summary = summarise_report_card(reports, names)
        self._all = summarise_report_card(reports, names, show="all")
        self._material = _checked(self._all, saes, acts)
        self._plain = plain_rows(named_reports(self._reports, names))
        super().__init__(**({} if self._plain else {"show": "key"}) | kwargs)
        self._build()

    @property
    def record(self) -> Mapping[str, str]:
        """The card as text: metric and SAE → number, interval, floor, control, verdict."""
        return _Record(self._summary)

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self._dots = DotRows(description="Measures of these SAEs")
        self._rows = control(
            self,
            "metric",
            "measure",
            "Which measure is explained next to the figure",
            "min(320px, 100%)",
            options=self._options(),
        )
        shown = control(self, "show", "show", SHOW, kind=ipw.ToggleButtons)
        self._detail_view = ReportCardDetail()
        self._verdicts = HTML(rows_html(self._plain) if self._plain else NO_QUESTION)
        self._sides = HTML(f'<div class="sae-nb-legendline">{SIDES}</div>')
        self.arrange(
            controls=[shown, self._rows],
            figure=[self._verdicts, self._sides, self._dots],
            detail=self._detail_view.widgets,
        )
        self._dots.observe(self._on_row, "selected")
        self.bind_key("ArrowDown", lambda: self.step(1))
        self.bind_key("ArrowUp", lambda: self.step(-1))
        self.bind_key("Escape", lambda: self.set_trait("metric", ""))
        self._draw_rows()
        self._draw_detail()
        self._fold()
        self.chips = self._facts()
        reasons = words.reason_words(self._all, self._summary.metrics)
        if self._plain:
            title, answer = headline_words(self._plain), answer_words(self._plain)
        else:
            title, answer = words.verdict_words(self._all)
        self.headline = title
        self.conclude(answer, reasons=reasons)

    def _fold(self) -> None:
        """Show the answers alone, or the measures with what is behind them."""
        folded = self.show == "verdicts"
        show(self._verdicts, folded)
        show(self._sides, not folded)
        show(self._dots, not folded)
        self._frame.show_detail(not folded)

    def _draw_rows(self) -> None:
        """Draw the rows of the summary; a row that is chosen stays chosen."""
        card = self._summary
        self._dots.show(
            [words.metric_words(metric) for metric in card.metrics],
            card.saes,
            [[words.mark_of(card.cell(m, sae)) for sae in card.saes] for m in card.metrics],
            hints=[words.hint_words(card, metric) for metric in card.metrics],
        )

    def _options(self) -> list[tuple[str, str]]:
        rows = self._summary.metrics
        return [(NO_ROW, ""), *((words.menu_words(name), name) for name in rows)]

    # --- what is shown ----------------------------------------------------------------------------

    @t.validate("metric")
    def _metric_exists(self, proposal: t.Bunch) -> str:
        value = str(proposal["value"])
        if value and value not in self._all.metrics:
            raise t.TraitError(
                f"`metric` must be one of {list(self._all.metrics)}, or empty, got {value!r}."
            )
        return value

    def step(self, by: int) -> None:
        """Explain another row.

        Parameters
        ----------
        by
            Number of steps down; stops at either end.
        """
        rows = self._summary.metrics
        if not rows:
            return
        start = rows.index(self.metric) if self.metric in rows else (-1 if by > 0 else len(rows))
        self.metric = rows[min(max(start + by, 0), len(rows) - 1)]

    @reacts("show", doing="showing other rows")
    def _show_others(self) -> None:
        rows: Any = "key" if self.show == "verdicts" else self.show
        found = summarise_report_card(self._reports, self._columns, show=rows)
        kept = self.metric if self.metric in found.metrics else ""
        self._summary = found
        self._draw_rows()
        self._rows.options = self._options()  # which takes the menu to its first entry
        self.metric = kept if self.show != "verdicts" else ""
        self._explain()
        self._fold()
        self.say(self._sentence())

    @reacts("metric", doing="explaining a row")
    def _explain(self) -> None:
        if self.metric and self.metric not in self._summary.metrics:
            self.show = "all"
            return
        if self.metric and self.show == "verdicts":
            self.show = "key"
            return
        rows = self._summary.metrics
        self._dots.selected = rows.index(self.metric) if self.metric in rows else -1
        self._draw_detail()

    def _draw_detail(self) -> None:
        self._detail_view.show(self._summary, self.metric, self._all)
        if not self.metric:
            self.forget_async("example")
            self.say(self._sentence())
            return
        if self._material is None:
            self._detail_view.show_example(None, None)
            return
        material, cell = self._material, self._summary.row(self.metric)[0]
        place = self._summary.saes.index(cell.sae)

        def done(found: RowExamples) -> None:
            self._detail_view.show_example(found, material.acts)
            self.say(self._sentence())

        self.run_async(
            lambda: material.examples(place, cell),
            done,
            doing="looking for the most influential input",
            channel="example",
        )

    def _on_row(self, change: t.Bunch) -> None:
        """Explain the row that was clicked; a row that is no longer chosen changes nothing here."""
        if change["new"] >= 0:
            with self.guarded("choosing a row"):
                self.metric = self._summary.metrics[change["new"]]

    # --- words ------------------------------------------------------------------------------------

    def _facts(self) -> dict[str, str]:
        facts = {"SAEs": format_count(len(self._all.saes))}
        provenance = getattr(self._reports[0], "provenance", {})
        for name, key in (("model", "model"), ("hook point", "hook_point")):
            if provenance.get(key):
                facts[name] = str(provenance[key])
        if "n_rows" in provenance:
            facts["rows"] = format_count(int(provenance["n_rows"]))
        return facts

    def _sentence(self) -> str:
        """Say what of the answer is on screen: its count is of all measures, whatever is shown."""
        shown, known = len(self._summary.metrics), len(self._all.metrics)
        if self.show == "verdicts":
            return f"{format_count(known)} measures are behind these answers: press “key” or “all”."
        if not shown:
            return "Nothing to show: every measure beats each floor and control it has."
        if shown == known:
            return "All measures are shown."
        hidden = self._all.n_marked - self._summary.n_marked
        text = "These are the key measures" if self.show == "key" else "These are not clear"
        return f"{text}; {hidden} more with a red ring are under “all”." if hidden else f"{text}."

    def static_main(self) -> str:
        """Return the answers or the rows; folded below the key rows, where they are not shown, and all
        measures as an HTML table.
        """
        folded = ""
        if self.show == "verdicts":
            rows = f"{self._sides.value}{self._dots.static_html()}"
            folded = f"<details><summary>{SHOW['key']}</summary>{rows}</details>"
        return (
            f"{super().static_main()}{folded}<details><summary>All {len(self._all.metrics)} measures</summary>"
            f"{card_table(self._all)}</details>"
        )


class _Record(dict[str, str]):
    """The card as text, row by row, for tables."""

    def __init__(self, summary: ReportCardSummary) -> None:
        super().__init__(
            (
                f"{words.menu_words(metric)}, {cell.sae}",
                f"{format_number(cell.measurement.value)}; 95 % "
                f"{format_number(cell.measurement.interval[0])} … "
                f"{format_number(cell.measurement.interval[1])}; floor "
                f"{format_number(cell.measurement.floor)}; control "
                f"{format_number(cell.measurement.control)}; {cell.verdict}",
            )
            for metric in summary.metrics
            for cell in summary.row(metric)
        )
        self.saes, self.metrics = summary.saes, summary.metrics


def card_table(summary: ReportCardSummary) -> str:
    """Return the card as an HTML table: one row per metric, one column per SAE."""
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *summary.saes))
    body = "".join(
        f"<tr><th scope='row'>{escape(words.menu_words(metric))}</th>"
        + "".join(f"<td>{_cell_text(summary, metric, sae)}</td>" for sae in summary.saes)
        + "</tr>"
        for metric in summary.metrics
    )
    return f'<table class="sae-nb-record"><tr>{head}</tr>{body}</table>'


def _cell_text(summary: ReportCardSummary, metric: str, sae: str) -> str:
    cell = summary.cell(metric, sae)
    if cell is None:
        return "–"
    said = f" ({words.NOT_CLEAR})" if cell.verdict == "not clear" else ""
    return (
        f'<span title="{escape(cell.reason)}">{format_number(cell.measurement.value)}{said}</span>'
    )


def _checked(
    card: ReportCardSummary,
    saes: Sequence[SparseAutoencoder] | None,
    acts: Activations | None,
) -> _Material | None:
    if saes is None and acts is None:
        return None
    if saes is None or acts is None:
        raise ValueError("`saes` and `acts` go together: pass both, or neither.")
    if len(saes) != len(card.saes):
        raise ValueError(
            f"`saes` must be one for each of {len(card.saes)} reports, got {len(saes)}."
        )
    widths = {int(sae.d_in) for sae in saes}
    if widths != {int(acts.d_in)}:
        raise ValueError(
            f"`acts` must have the width of the SAEs, {sorted(widths)}, got {acts.d_in}."
        )
    return _Material(saes=tuple(saes), acts=acts)

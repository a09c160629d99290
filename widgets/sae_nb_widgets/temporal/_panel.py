"""TemporalPanel: what the past already said of each token, and what the token adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import traitlets as t
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.figures import format_count, format_number
from sae_nb.summaries import TemporalSummary, read_in_time, summarise_sequence
from sae_nb_widgets.panel import Atom, Panel, Whole, figure_widget, reacts
from sae_nb_widgets.temporal import _figure as figures
from sae_nb_widgets.temporal._controls import TemporalControls
from sae_nb_widgets.temporal._detail import TemporalDetail, TimeStrip, Unfolding
from sae_nb_widgets.temporal._figure import empty_figure, figure_height

if TYPE_CHECKING:
    from sae_nb.architectures import Temporal
    from sae_nb.models import LiveModel


NO_TOKEN = -1


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was read last."""

    first: TemporalSummary
    second: TemporalSummary | None


@checked(leave=("sae",))
class TemporalPanel(Panel):
    """What did the past already say?

    The model reads a text (or a second one beside it); its activations are taken apart by a `Temporal`
    off the main thread. Bands show the energy that the past predicts and the novel rest; a click on a
    token shows where in its past the prediction was read and which atoms the token adds. `atom` and
    `token` are traits: link them with `traitlets.link`.

    Parameters
    ----------
    model
        A language or vision model; None where `given` is a signal.
    sae
        A `Temporal` trained on sequences of that model, or on such signals.
    given
        A text; or a picture, whose layers are the time; or a signal (time, d_in).
    second_text
        Another of the same kind, shown in lock-step: a control sentence, say.
    hook_point
        Where a language model is read; None takes the SAE's own.
    boundaries
        Times of `given` at which something new begins.
    place
        Which token of a picture is followed through the layers; 0 is cls.
    names
        What the times of a signal are called.

    Raises
    ------
    TypeError, ValueError: If the SAE does not read sequences, or the input does not fit it or the model.

    Examples
    --------
    >>> import torch, sae_nb as sn
    >>> sae = sn.Temporal(d_in=4, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
    >>> signal = torch.randn(12, 4, generator=torch.Generator().manual_seed(1)).cumsum(dim=0)
    >>> panel = TemporalPanel(None, sae, signal)
    >>> panel.wait()
    >>> panel.token = 5
    >>> panel.record.n_times, len(panel.record.atoms_added(5)) <= 2
    (12, True)
    >>> panel.close()
    """

    question = "What did the past already say?"
    explanation = (
        "Blue is the share of a token's energy that codes of earlier tokens predict, vermilion what the "
        "token adds; the dashed line is the predicted share of the same token among the same tokens in "
        "other orders. Arcs lead to where in its past a prediction was read.",
        "In the published form the predicted part is scaled by the present token, so it is no forecast; "
        "only the strict form is. Attention says what was read, not what mattered, and one text is one "
        "text.",
        "Lubana et al., “Priors in Time”, arXiv 2511.01836; the strict form and the control are ours.",
    )
    stem = "temporal"
    needs_kernel = "Other texts, tokens and codes need a running kernel and were left out."
    kept_traits = ("text", "second_text", "part", "lower", "bands", "color_by", "token", "atom")

    text = t.Unicode("", help="The text that is read.")
    second_text = t.Unicode("", help="A second text, in lock-step; empty for none.")
    token = Whole(
        NO_TOKEN,
        0,
        lambda panel: panel.n_times - 1,
        none=NO_TOKEN,
        help="Time under the shared cursor; -1 for none.",
    )
    atom = Atom(help="Atom chosen among those a token adds, or in the raster.")
    part = t.Enum(("novel", "predicted"), "novel", help="Whose codes the raster shows.")
    lower = t.Enum(
        ("similarity", "PCA", "UMAP"), "similarity", help="What stands under the raster."
    )
    color_by = t.Enum(("time", "document"), "time", help="What colours the points of the maps.")
    bands = t.Enum(("share", "energy"), "share", help="Shares of the energy, or the energy itself.")

    def __init__(
        self,
        model: LiveModel | None,
        sae: Temporal,
        given: Any,
        *,
        second_text: Any = None,
        hook_point: str | None = None,
        boundaries: Sequence[int] = (),
        place: int = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        self.hook_point = _checked(model, sae, given, hook_point)
        self.model, self.sae, self.n_atoms = model, sae, int(sae.n_atoms)
        self._given, self._second = given, second_text
        self._options = {"boundaries": tuple(boundaries)}
        self._place, self._names = place, names
        self._seen: _Seen | None = None
        self._unfolded: tuple[_Seen | None, dict[str, Any]] = (None, {})
        self._umap = Unfolding()
        super().__init__()
        with self.hold_trait_notifications():
            self.text = given if isinstance(given, str) else ""
            self.second_text = second_text if isinstance(second_text, str) else ""
        self._build()
        self._request()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.controls = TemporalControls(self)
        self._strip = TimeStrip()
        self._plot = figure_widget(empty_figure(), height=figure_height())
        self._detail_view = TemporalDetail()
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._strip.widget, self._plot],
            detail=self._detail_view.widgets,
        )
        self._strip.on_pick(self._choose_time)
        self._detail_view.on_atom(lambda atom: self.set_trait("atom", atom))
        self._detail_view.on_source(self._choose_time)
        for trace in self._plot.data:
            if trace.name in figures.CLICKABLE:
                trace.on_click(self._on_click)
        self.bind_key("ArrowRight", lambda: self.step(1))
        self.bind_key("ArrowLeft", lambda: self.step(-1))
        self.bind_key("Escape", lambda: self._choose_time(NO_TOKEN))
        self.chips = self._facts()

    def _facts(self) -> dict[str, str]:
        facts = {} if self.model is None else {"model": self.model.name}
        if self.hook_point is not None:
            facts["at"] = self.hook_point
        facts |= {"SAE": "Temporal, strict" if self.sae.strict else "Temporal"}
        facts |= {"atoms": format_count(self.n_atoms)}
        if self._seen is not None:
            facts["R² here"] = format_number(1 - self._seen.first.fvu)
        return facts

    # --- reading ----------------------------------------------------------------------------------

    @reacts("text", doing="taking the sequence apart", early=True)
    def _on_text(self) -> None:
        self._given, self._options = self.text, {"boundaries": ()}
        self._request()

    @reacts("second_text", doing="taking the sequence apart", early=True)
    def _on_second_text(self) -> None:
        self._second = self.second_text or None
        self._request()

    def _request(self) -> None:
        """Read what is there now; an older request is dropped."""
        given, second, options = self._given, self._second, self._options
        if isinstance(given, str) and not given:
            self.say("Type at least two words.")
            return

        def work() -> _Seen:
            first = self._read(given, options)
            return _Seen(first, None if second is None else self._read(second, {}))

        self.run_async(work, self._draw, doing="taking the sequence apart")

    def _read(self, given: Any, options: dict[str, Any]) -> TemporalSummary:
        if self.model is None:
            return summarise_sequence(self.sae, given, names=self._names, **options)
        return read_in_time(
            self.model, self.sae, given, self.hook_point, place=self._place, **options
        )

    @property
    def ready(self) -> bool:
        """Whether a sequence was read."""
        return self._seen is not None

    @property
    def n_times(self) -> int:
        """Times of the sequence; many before it is read."""
        return 2**31 if self._seen is None else self._seen.first.n_times

    @property
    def record(self) -> TemporalSummary | None:
        """The sequence that is shown; None while it is being read."""
        return None if self._seen is None else self._seen.first

    @property
    def second_record(self) -> TemporalSummary | None:
        """The second sequence; None where there is none."""
        return None if self._seen is None else self._seen.second

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self, seen: _Seen) -> None:
        self._seen = seen
        if self.token >= seen.first.n_times:
            self.token = NO_TOKEN
        signal = self._given if seen.first.kind == "signal" else None
        self._strip.show(seen.first, seen.second, signal)
        self._draw_sequences()
        self._unfold()
        self._draw_token()
        self.chips = self._facts()
        self.say(self._sentence(seen))

    def _sentence(self, seen: _Seen) -> str:
        first = seen.first
        share, control = float(first.shares[:, 0].mean()), float(first.shuffled.mean())
        said = (
            f"The past predicts {format_number(100 * share)} % of the energy of "
            f"{format_count(first.n_times)} {_word(first)}s; {format_number(100 * control)} % in other "
            "orders"
        )
        if first.first_position:
            said += f"; {format_count(first.first_position)} at the start were not read"
        return f"{said}."

    def _view(self) -> figures.View:
        return figures.View(
            time=self.token,
            part=self.part,
            lower=self.lower,
            bands=self.bands,
            color_by=self.color_by,
        )

    @reacts("bands", doing="drawing the bands")
    def _draw_sequences(self) -> None:
        seen = self._seen
        if seen is not None:
            figures.draw_sequences(self._plot, self._laid_out(seen), seen.second, self._view())

    @reacts("part", doing="drawing the codes")
    def _draw_part(self) -> None:
        seen = self._seen
        if seen is not None:
            figures.draw_part(self._plot, seen.first, self._view())
            figures.draw_cursor(self._plot, self._laid_out(seen), seen.second, self._view())

    @reacts("lower", doing="drawing the codes", early=True)
    def _draw_lower(self) -> None:
        figures.draw_lower(self._plot, self._view())
        self._draw_maps()
        self._unfold()

    @reacts("color_by", doing="drawing the codes")
    def _draw_maps(self) -> None:
        """Show the layout that was asked for; PCA while UMAP is being made."""
        seen = self._seen
        if seen is None:
            return
        shown = self._laid_out(seen)
        figures.draw_maps(self._plot, shown, self._view())
        figures.draw_cursor(self._plot, shown, seen.second, self._view())

    def _laid_out(self, seen: _Seen) -> TemporalSummary:
        of, xy = self._unfolded
        return seen.first.with_layout(xy) if self.lower == "UMAP" and of is seen else seen.first

    def _unfold(self) -> None:
        """Lay out both kinds of codes in a process of its own, where that is asked for and not done."""
        seen = self._seen
        if seen is None or self.lower != "UMAP" or self._unfolded[0] is seen:
            return

        def done(xy: dict[str, Any]) -> None:
            if self._seen is seen:
                self._unfolded = (seen, xy)
                self._draw_maps()

        self.run_async(
            lambda: self._umap.layouts(seen.first.codes),
            done,
            doing="unfolding the codes by UMAP",
            channel="umap",
        )

    @reacts("token", doing="time {panel.token}")
    def _draw_token(self) -> None:
        seen = self._seen
        if seen is not None:
            figures.draw_cursor(self._plot, self._laid_out(seen), seen.second, self._view())
            self._strip.mark(self.token)
            self._detail_view.show(seen.first, seen.second, self.token)

    # --- moving about -----------------------------------------------------------------------------

    def step(self, by: int) -> None:
        """Move the cursor in time.

        Parameters
        ----------
        by
            How many times further; stops at either end.
        """
        if self.ready:
            self.token = int(np.clip(self.token + by, 0, self.n_times - 1))

    def _choose_time(self, time: int) -> None:
        self.token = time

    def _on_click(self, trace: Any, points: Any, _: Any) -> None:
        if not points.point_inds or self._seen is None:
            return
        with self.guarded("choosing a time"):
            time, row = figures.place_clicked(trace, points)
            if row is not None:
                self.atom = int(self._seen.first.rasters[self.part].atoms[row])
            self.token = min(time, self.n_times - 1)

    def current_figure(self) -> go.Figure | None:
        """Return the figure on screen as a plain plotly figure."""
        if self._seen is None:
            return super().current_figure()
        shown = self._laid_out(self._seen)
        return figures.temporal_figure(shown, self._seen.second, self._view())

    def close(self) -> None:
        """Free the panel, and end a UMAP process that still runs."""
        if not self._closed:
            self._umap.close()
        super().close()

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if getattr(self, "_plot", None) is not None:
            figures.restyle(self._plot)


def _word(record: TemporalSummary) -> str:
    return {"text": "token", "layers": "layer", "signal": "moment"}[record.kind]


def _checked(model: Any, sae: Any, given: Any, hook_point: str | None) -> str | None:
    """The hook point that is read, after refusing parts that cannot work together."""
    from sae_nb.temporal import WHY

    if not getattr(sae, "reads_sequences", False):
        raise TypeError(
            f"`sae` must be an SAE of sequences such as sn.Temporal, got {type(sae).__name__}. {WHY}"
        )
    if model is None:
        if not isinstance(given, Tensor):
            raise TypeError(
                "`given` must be a signal, a tensor (time, d_in), where there is no model, got "
                f"{type(given).__name__}. Pass the model that reads it."
            )
        return None
    if model.kind != "language":
        return None
    point = hook_point or sae.hook_point
    if point is None:
        raise ValueError(
            "`hook_point` must be given, because the SAE does not say where it was trained. See "
            "model.hook_points()."
        )
    return str(model.hook_point(point) if hasattr(model, "hook_point") else point)

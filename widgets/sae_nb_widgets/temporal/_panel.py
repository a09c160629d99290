"""TemporalPanel: the part of each token that the past predicts, and the part that the token adds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import plotly.graph_objects as go
import traitlets as t
from torch import Tensor

from sae_nb.activations import PositionPolicy
from sae_nb.architectures import Temporal
from sae_nb.checks import checked
from sae_nb.dynamics import layers_in_time
from sae_nb.figures.theme import format_count, format_number
from sae_nb.pretrained import load_sae, pretrained_names
from sae_nb.sessions import names_of
from sae_nb.temporal import Raster, TemporalSummary, read_in_time, summarise_sequence
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, Whole, reacts
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.temporal import _figure as figures
from sae_nb_widgets.temporal._detail import TemporalControls, TemporalDetail, TimeStrip, Unfolding
from sae_nb_widgets.temporal._figure import empty_figure

if TYPE_CHECKING:
    from plotly.callbacks import Points

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


NO_TOKEN = -1
logger = logging.getLogger("sae_nb_widgets")


@dataclass(frozen=True, eq=False)
class _Answer:
    """The last reading."""

    first: TemporalSummary
    second: TemporalSummary | None
    asked: _Question


@dataclass(frozen=True, eq=False)
class _Question:
    """The request: one sequence, or two."""

    given: object
    second: object
    boundaries: tuple[int, ...]


@dataclass(frozen=True)
class _Refused:
    """A text that is too short to be taken apart, and its field."""

    control: str
    text: str


@checked(leave=("sae",))
class TemporalPanel(HasAtoms):
    """What could be predicted from the past, and what is new?

    The model reads a text (or a second one for comparison); its activations are taken apart by a
    `Temporal` off the main thread. Two squares show how alike every two tokens are, in what the past predicts
    of them and in what they add, and curves how that falls with distance. Tokens are the bluer the more of them
    the past predicts. One token is chosen: where in its past the prediction was read and the atoms it adds are
    listed. `bands`, `part` and `lower` bring shares of each token beside shuffled order, the atoms over time,
    similarity matrices and maps. `atom` and `token` are traits: link them with `traitlets.link`.

    Parameters
    ----------
    model
        A language or vision model; None where `given` is a signal.
    sae
        A `Temporal` trained on sequences of that model, or on such signals. None takes the one that comes
        with the model ("smollm2-135m"); where none does, the panel shows what each token adds by the plain SAE
        that comes with it, and says so.
    given
        A text; or a picture, whose layers are the time; or a signal (time, d_in).
    second_text
        Another of the same kind, shown in lock-step: a control sentence, say.
    hook_point
        Hook point at which a language model is read; None takes the SAE's own.
    boundaries
        Times of `given` at which something new begins.
    place
        Token of an image that is followed through the layers; 0 is cls.
    names
        Names of the times of a signal.

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

    question = "What could be predicted from the past, and what is new?"
    explanation = (
        "A row and a column of a square are two tokens, the darker the more alike: in what earlier "
        "tokens predict of them (blue), and in what they add (vermilion). The curves are the means of "
        "such cosines by distance; dashed grey is what every distance has in random order. "
        "In the text a token is the bluer the more of its energy was predicted; the rest is new, or "
        "missed by both parts. Rivals of that share are the same tokens in shuffled order, the token "
        "before and the mean of all before, each as long as fits best. “Show” brings that share as "
        "bars, with arcs to where in its past a prediction was read, and the atoms.",
        "In the published form the predicted part is scaled by the present token, so it is no forecast; "
        "only the strict form is. Attention says what was read, not what mattered; this is a single "
        "text.",
        "Lubana et al., “Priors in Time”, arXiv 2511.01836; the strict form and the control are ours.",
    )
    stem = "temporal"
    needs_kernel = "Other texts, tokens and codes need a running kernel and were left out."
    kept_traits = (
        "text",
        "second_text",
        "part",
        "rows",
        "lower",
        "bands",
        "color_by",
        "token",
        "atom",
    )

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
    part = t.Enum(
        ("none", "novel", "predicted"), "none", help="Whose atoms are rows of the figure, if any."
    )
    rows = Whole(figures.USUAL_ROWS, 1, Raster.MOST, help="How many atoms the raster has.")
    lower = t.Enum(
        ("none", "similarity", "PCA", "UMAP"), "none", help="What stands under the raster."
    )
    color_by = t.Enum(("time", "document"), "time", help="What colours the points of the maps.")
    bands = t.Enum(
        ("none", "share", "energy"),
        "none",
        help="Shares of the energy above the atoms, or it itself.",
    )

    def __init__(
        self,
        model: LiveModel | None,
        sae: Temporal | None,
        given: Any,
        *,
        second_text: Any = None,
        hook_point: str | None = None,
        boundaries: Sequence[int] = (),
        place: int = 0,
        names: Sequence[str] | None = None,
    ) -> None:
        named = _own_of(model) if sae is None else sae
        plain = sae is None and not named.reads_sequences
        self.lacks = _lacks(named) if plain else ""
        read = _without_past(named) if plain else cast("Temporal", named)
        self.hook_point = _checked(model, read, given, hook_point)
        self.model, self.sae, self.n_atoms = model, read, int(read.n_atoms)
        self._named = named
        self._asked = _Question(given, second_text, tuple(boundaries))
        self._place, self._names = place, names
        self._seen: _Answer | None = None
        self._unfolded: tuple[_Answer | None, dict[str, Any]] = (None, {})
        self._umap = Unfolding()
        super().__init__()
        if self.lacks:
            self.part, self.bands = "novel", "none"
        with self.hold_trait_notifications():
            self.text = given if isinstance(given, str) else ""
            self.second_text = second_text if isinstance(second_text, str) else ""
        self._build()
        self._request()

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.names = names_of(self._named)
        self.controls = TemporalControls(self)
        self._strip = TimeStrip(alone=bool(self.lacks))
        self._likeness = HTML()
        figure = empty_figure()
        self._plot = figure_widget(figure, height=figure.layout.height)
        self._detail_view = TemporalDetail(alone=bool(self.lacks))
        self.arrange(
            controls=self.controls.first,
            more=self.controls.more,
            figure=[self._likeness, self._plot, self._strip.widget, self._detail_view.widget],
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
            facts["hook point"] = self.hook_point
        kind = "Temporal, strict" if self.sae.strict else "Temporal"
        facts |= {"SAE": type(self._named).__name__ if self.lacks else kind}
        facts |= {"atoms": format_count(self.n_atoms)}
        return facts

    # --- reading ----------------------------------------------------------------------------------

    @reacts("text", doing="taking the sequence apart", early=True)
    def _on_text(self) -> None:
        if self.text != self._asked.given:
            self._asked = _Question(self.text, self._asked.second, ())
            self._request()

    @reacts("second_text", doing="taking the sequence apart", early=True)
    def _on_second_text(self) -> None:
        if self.second_text != (self._asked.second or ""):
            self._asked = replace(self._asked, second=self.second_text or None)
            self._request()

    def _request(self) -> None:
        """Read what is there now; an older request is dropped."""
        asked = self._asked
        if isinstance(asked.given, str) and not asked.given:
            self._clear()
            return

        def work() -> _Answer | _Refused:
            first = self._read("text", asked.given, {"boundaries": asked.boundaries})
            second = None if asked.second is None else self._read("second text", asked.second, {})
            refused = [part for part in (first, second) if isinstance(part, _Refused)]
            return refused[0] if refused else _Answer(first, second, asked)

        self.loading("The sequence is being read" if self.model is None else "The model is reading")
        self.run_async(work, self._take, doing="taking the sequence apart")

    def _read(self, control: str, given: Any, options: dict[str, Any]) -> Any:
        if self.model is None:
            return summarise_sequence(self.sae, given, names=self._names, **options)
        if self.model.modality.is_image:
            return layers_in_time(self.model, self.sae, given, place=self._place, **options)
        try:
            return read_in_time(self.model, self.sae, given, self.hook_point, **options)
        except ValueError:
            if not isinstance(given, str):
                raise
            logger.info("%s: not read", control, exc_info=True)
            return _Refused(control, given)

    def _take(self, answer: _Answer | _Refused) -> None:
        if isinstance(answer, _Answer):
            self._draw(answer)
            return
        # What is shown stays, and so the fields say what it is of.
        seen, stays = self._seen, ""
        if seen is not None:
            self._asked, stays = seen.asked, "what is shown"
            self.text, self.second_text = seen.asked.given, seen.asked.second or ""
            self._conclude(seen)
        rule = "texts of at least two tokens"
        if PositionPolicy.for_model(cast("LiveModel", self.model)).drop_first:
            rule += " besides the first, which is skipped"
        self.refuse(answer.control, rule, answer.text, stays)

    def _clear(self) -> None:
        """Show nothing: there is nothing to read."""
        self.forget_async()
        self._seen = None
        self._strip.tokens.show([])
        figures.clear(self._plot)
        self._likeness.value = ""
        self._detail_view.clear()
        self.conclude("")
        self.say("Type at least three words.")

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

    def _draw(self, seen: _Answer) -> None:
        self._seen = seen
        if not 0 <= self.token < seen.first.n_times:
            longest = int(np.argmax([len(name) for name in seen.first.names]))
            self.token = longest if self.lacks else seen.first.most_predicted
        given = seen.asked.given
        signal = given if isinstance(given, Tensor) and seen.first.kind == "signal" else None
        self._strip.show(seen.first, seen.second, signal)
        self._draw_sequences()
        self._unfold()
        self._draw_token()
        self._conclude(seen)
        self.say("")

    def _conclude(self, seen: _Answer) -> None:
        if self.lacks:
            self.headline = "A temporal SAE is missing: what each word adds"
            self.conclude(self.lacks, f"R² {format_number(1 - seen.first.fvu)}")
            return
        self.headline = _headline(seen.first)
        longest = int(self.sae.longest_trained) if self.sae.n_layers else 0
        self.conclude(_answer(seen), _numbers(seen, longest))

    def _view(self) -> figures.View:
        # Two texts are compared by their bars.
        record, chosen = self.record, self.lower != "none" or self.part != "none"
        stays = record is not None and self.second_record is None and _stays(record)
        return figures.View(
            time=self.token,
            part=self.part,
            lower=self.lower,
            bands="share" if self.bands == "none" and not (chosen or stays) else self.bands,
            color_by=self.color_by,
            rows=self.rows,
            alone=bool(self.lacks),
            names=self.names,
        )

    @reacts("bands", "rows", doing="drawing the sequence")
    def _draw_sequences(self) -> None:
        seen = self._seen
        if seen is not None:
            view = self._view()
            figures.draw_sequences(self._plot, self._laid_out(seen), seen.second, view)
            squares = view.by_distance
            self._likeness.value = figures.likeness_html(seen.first) if squares else ""

    @reacts("part", doing="drawing the atoms")
    def _draw_part(self) -> None:
        self._draw_sequences()

    def draw_names(self) -> None:
        """Redraw rows and bars after a label was changed anywhere."""
        if self._seen is not None:
            figures.draw_part(self._plot, self._seen.first, self._view())
            self._detail_view.show(self._seen.first, self.token, self.names)

    @reacts("lower", doing="drawing the codes", early=True)
    def _draw_lower(self) -> None:
        self._draw_sequences()
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

    def _laid_out(self, seen: _Answer) -> TemporalSummary:
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
            self._detail_view.show(seen.first, self.token, self.names)

    # --- moving about -----------------------------------------------------------------------------

    def step(self, by: int) -> None:
        """Move the cursor in time.

        Parameters
        ----------
        by
            Number of times further; stops at either end.
        """
        if self.ready:
            self.token = int(np.clip(self.token + by, 0, self.n_times - 1))

    def _choose_time(self, time: int) -> None:
        self.token = time

    def _on_click(self, trace: go.Scatter, points: Points, _: object) -> None:
        if not points.point_inds or self._seen is None:
            return
        with self.guarded("choosing a time"):
            time, row = figures.place_clicked(trace, points)
            if row is not None:
                shown = self._seen.first.rasters[self.part].strongest(self.rows)
                self.atom = int(shown.atoms[row])
            self.token = min(time, self.n_times - 1)

    def current_figure(self) -> go.Figure | None:
        """Return the figure on screen as a plain plotly figure."""
        if self._seen is None:
            return super().current_figure()
        shown = self._laid_out(self._seen)
        return figures.temporal_figure(shown, self._seen.second, self._view())

    def above_widgets(self) -> Sequence[Any]:
        """Return the two squares, which come before the figure."""
        return (self._likeness,)

    def export_name(self) -> str:
        """Return the file name of exports: the chosen token."""
        return self.stem if self.token == NO_TOKEN else f"{self.stem}_token_{self.token}"

    def close(self) -> None:
        """Free the panel, and end a UMAP process that still runs."""
        if not self._closed:
            self._umap.close()
        super().close()

    def _rescale(self) -> None:
        figures.restyle(self._plot)
        self._draw_sequences()


# The past predicts better than chance where it predicts at least a tenth more than each control.
ORDER_MATTERS = 1.1
_FROM = {
    "shuffled order": "in shuffled order",
    "previous token": "from the {} before alone",
    "running mean": "from the mean of all before",
}


FEWEST = 3
"""Times from which what stays can be seen: less their mean, any two are opposite. Ours."""

LEAD = 0.05
"""Cosine by which one part must be slower than another, or than random order, to be called so. Ours."""


def _headline(record: TemporalSummary) -> str:
    """Say which part lasts; or that the past predicts little, or that what it predicts does not last longer."""
    if record.n_times < FEWEST:
        return f"Two {figures.WORDS[record.kind]}s are too few to see what stays"
    if not _stays(record):
        if not _beats_chance(record):
            return "The past predicts little here"
        return "The predicted part changes as fast as the rest"
    return "What the past predicts lasts longer than what is new"


def _stays(record: TemporalSummary) -> bool:
    """Whether the predicted part is slower than the new one, the states themselves, and random order."""
    predicted, new, states = (record.lag1[part] for part in ("predicted", "novel", "raw"))
    return predicted >= max(new, states, record.order_lost["predicted"]) + LEAD


def _answer(seen: _Answer) -> str:
    """How long either part stays, whether the past predicts more than chance, and the same for a second one."""
    first, second = seen.first, seen.second
    what = {"text": "text", "layers": "path", "signal": "signal"}[first.kind]
    word = figures.WORDS[first.kind]
    said = f"{_share(first)} of this {what}'s energy is predicted from earlier {word}s, {_compared(first)}."
    if _says_cosines(first):
        predicted, new, states = (
            format_number(first.lag1[part], digits=2) for part in ("predicted", "novel", "raw")
        )
        lost = format_number(first.order_lost["predicted"], digits=2)
        said = (
            f"From {word} to {word} the predicted part keeps a cosine of {predicted} ({lost} in random "
            f"order), the new part {new}, the states {states}. {said}"
        )
    if second is not None:
        said += f" Second text: {_share(second)}, {_compared(second)}."
    if first.unread:
        said += (
            f" The last {format_count(first.unread)} tokens do not fit the model and were not read."
        )
    return said


def _says_cosines(record: TemporalSummary) -> bool:
    """Whether the answer tells how long either part stays."""
    return record.n_times >= FEWEST and (_stays(record) or _beats_chance(record))


def _beats_chance(record: TemporalSummary) -> bool:
    share, most = record.predicted_share, max(record.rivals.values())
    return share > most and share >= ORDER_MATTERS * most


def _compared(record: TemporalSummary) -> str:
    """Say how the share compares with its rivals: with all that it beats clearly, else with the largest."""
    rivals = _rivals(record)
    if _beats_chance(record):
        return f"more than {', '.join(rivals[:-1])} or {rivals[-1]}"
    name = _strongest(record)
    share, most = record.predicted_share, record.rivals[name]
    how = "hardly more" if share > most else "less" if ORDER_MATTERS * share < most else "no more"
    return f"{how} than {rivals[list(record.rivals).index(name)]}"


def _strongest(record: TemporalSummary) -> str:
    return max(record.rivals, key=lambda name: record.rivals[name])


def _rivals(record: TemporalSummary) -> list[str]:
    """What each rival predicts."""
    return [
        f"{_FROM[name].format(figures.WORDS[record.kind])} ({format_number(100 * share, '%', digits=2)})"
        for name, share in record.rivals.items()
    ]


def _share(record: TemporalSummary) -> str:
    return format_number(100 * record.predicted_share, "%", digits=2)


def _numbers(seen: _Answer, longest: int) -> str:
    """Return for experts what the answer leaves out; `longest`: tokens of a sequence in training."""
    first, second = seen.first, seen.second
    parts = [_unsaid(first, cosines=not _says_cosines(first))]
    skipped = first.first_position
    if skipped:
        parts.append("first token skipped" if skipped == 1 else f"first {skipped} tokens skipped")
    if 0 < longest < first.n_times:
        parts.append(f"each token's past are the {longest} before it, as in training")
    if second is not None:
        parts.append(f"second text: {_unsaid(second, cosines=True)}")
    return "; ".join(parts)


def _unsaid(record: TemporalSummary, *, cosines: bool) -> str:
    """Return R², the rivals that the answer does not compare with, and how alike neighbours are."""
    parts = [f"R² {format_number(1 - record.fvu)}"]
    if not _beats_chance(record):
        named = list(record.rivals).index(_strongest(record))
        others = [rival for i, rival in enumerate(_rivals(record)) if i != named]
        parts.append(f"predicted {', '.join(others)}")
    if cosines and record.n_times >= FEWEST:
        told = zip(("predicted", "new", "states"), ("predicted", "novel", "raw"), strict=True)
        parts.append(
            "cosine of neighbours in time: "
            + ", ".join(f"{word} {format_number(record.lag1[part])}" for word, part in told)
        )
    return ", ".join(parts)


def _own_of(model: LiveModel | None) -> SparseAutoencoder:
    """Return the temporal SAE that comes with a model, else the plain one of the place in the middle."""
    if model is None:
        raise TypeError(
            "`sae` must be an SAE of sequences such as sn.Temporal where there is no model, got None. Of "
            "model and SAE both are missing: pass one of them."
        )
    for kind in ("temporal", "resid_post"):
        names = [name for name in pretrained_names() if name.startswith(f"{model.name}/{kind}.")]
        if names and model.modality.is_text:
            names.sort(key=lambda name: int(name.rpartition(".")[2]))
            return load_sae(names[len(names) // 2])
    raise ValueError(
        f"`sae` must be given for {model.name}, got None: the model is there, and no SAE of it comes with "
        "sae_nb, a temporal one or another. Train one: sn.train(sn.Temporal(d_in, n_atoms, k), acts)."
    )


def _lacks(sae: SparseAutoencoder) -> str:
    return (
        f"The model is here, a temporal SAE of it is not: none comes with sae_nb for {sae.model_name}. So "
        "nothing can be predicted from earlier words; shown are the atoms that each word has in the plain SAE "
        f"at {sae.hook_point}. Train the missing one with sn.train(sn.Temporal(d_in, n_atoms, k), acts)."
    )


def _without_past(sae: SparseAutoencoder) -> Temporal:
    """A plain SAE as one of sequences that reads nothing of the past."""
    made = Temporal(**sae.settings(), n_layers=0).eval()
    made.load_state_dict({"longest_trained": made.longest_trained, **sae.state_dict()})
    made.hook_point, made.model_name = sae.hook_point, sae.model_name
    return made


def _checked(model: Any, sae: Any, given: Any, hook_point: str | None) -> str | None:
    """The hook point that is read, after refusing parts that cannot work together."""
    if not getattr(sae, "reads_sequences", False):
        raise TypeError(
            f"`sae` must be an SAE of sequences such as sn.Temporal, got {type(sae).__name__}. This panel "
            "shows what of a token those before it predict."
        )
    if model is None:
        if not isinstance(given, Tensor):
            raise TypeError(
                "`given` must be a signal, a tensor (time, d_in), where there is no model, got "
                f"{type(given).__name__}. Pass the model that reads it."
            )
        return None
    point = None
    if model.modality.is_text:
        point = hook_point or sae.hook_point
        if point is None:
            raise ValueError(
                "`hook_point` must be given, because the SAE does not say where it was trained. See "
                "model.hook_points()."
            )
        point = str(model.hook_point(point))
    width = model.width(point)
    if width is not None and width != sae.d_in:
        whose = f", of {sae.model_name}" if sae.model_name else ""
        raise ValueError(
            f"`sae` must have d_in={width} as the states of {model.name}, got {sae.d_in}{whose}. Pass an SAE "
            f"that was trained on {model.name}."
        )
    return point

"""The controls of the SteeringPanel, each tied to one trait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.figures import escape, format_number
from sae_nb.steering import MODES, TARGETS, Mode, Unit, strength_p99
from sae_nb_widgets.panel import TIGHT, Menu, button, control, show

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# In which unit a strength is given, how far its slider goes, and what people call the unit.


WIDEST = 5.0
"""End of the slider, in multiples of the 99th percentile or as a factor."""

WIDEST_LENGTHS = 2.0
"""End of the slider where no percentile is known, in median lengths of a state."""


class StrengthScale:
    """Units of strength: multiples of an atom's 99th percentile where it is known."""

    def __init__(self) -> None:
        self.p99: Float[np.ndarray, " n_atoms"] | None = None
        self.lengths: Float[np.ndarray, " n_atoms"] | None = None
        self.length: float | None = None

    def of(self, atom: int, mode: Mode = "set") -> float | None:
        """Return an atom's percentile; None when it is not known or the atom never fires.

        What "add" adds is a unit vector, so there an atom's length counts too: those of other
        libraries' SAEs may be longer or shorter than 1.
        """
        if self.p99 is None:
            return None
        length = (
            1.0 if self.lengths is None or not MODES[mode].unit_atoms else float(self.lengths[atom])
        )
        return length * float(self.p99[atom]) or None

    def unit_size(self, atom: int, mode: Mode) -> float:
        """Return one unit of strength in the model's units."""
        return (self.of(atom, mode) or 1.0) if self.unit(atom, mode) == "p99" else 1.0

    def unit(self, atom: int, mode: Mode) -> Unit:
        """Return the unit of a strength."""
        return "p99" if MODES[mode].takes_p99 and self.of(atom) is not None else "coefficient"

    def limits(self, atom: int, mode: Mode) -> tuple[float, float]:
        """Return the ends of the slider."""
        high = WIDEST
        if MODES[mode].takes_p99 and self.unit(atom, mode) == "coefficient":
            high = one_digit(WIDEST_LENGTHS * self.length) if self.length else 10.0
        return (-high if MODES[mode].signed else 0.0, high)

    def words(self, atom: int, mode: Mode) -> str:
        """Return what stands beside the slider."""
        if not MODES[mode].takes_p99:
            return MODES[mode].unit_words
        p99 = self.of(atom, mode)
        if p99 is not None:
            return f"× p99 = {format_number(p99)}"
        return "units of the model" + (" (it never fires in acts)" * (self.p99 is not None))


def measured_p99(sae: SparseAutoencoder, acts: Any) -> Float[np.ndarray, " n_atoms"]:
    """Return every atom's 99th percentile of non-zero strengths."""
    counted = getattr(acts, "p99", None)
    return np.asarray(strength_p99(sae, acts) if counted is None else counted)


def one_digit(value: float) -> float:
    """Round to one significant digit."""
    return float(f"{value:.0e}") if value > 0 else 1.0


# -------------------------------------------------------------------------------------------------
# The controls of the SteeringPanel, each tied to one trait.


PICKED = "picked"
NOTHING_KEPT = ("kept recipes …", None)
LAST_SEED = 9_999
"""End of the field; larger seeds can be set by the trait."""

POSITIONS = {
    "vision": (
        ("all positions", "all"),
        ("cls", "cls"),
        ("registers", "registers"),
        ("patches", "patches"),
    ),
    "language": (
        ("all tokens", "all"),
        ("last token", "last"),
        ("all but the first", "not_first"),
    ),
    "other": (("all positions", "all"),),
}


class SteeringControls:
    """The controls of `panel`: those always there, and those behind "more"."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        talks = bool(panel.model.causal)
        self.unit = ipw.HTML()
        self.strength = strength_slider(
            "strength", "How strong the edit is; the model runs while you move it", "360px"
        )
        self.strength.observe(self._move, "value")
        self.curve = button(
            "dose–response",
            "Effect and cost for many strengths, beside random directions",
            panel.dose_response,
        )
        self.go_on = button(
            "continue the text",
            "The text goes on before and after, token by token",
            panel.continue_text,
        )
        self.first = [*self._edit(), *self._input(), self.curve, *([self.go_on] * talks)]
        self.more = [*self._places(), *(self._length() if talks else ()), *self._recipes()]

    def _edit(self) -> list[ipw.Widget]:
        panel = self._panel
        self.target_kl = _menu(
            panel,
            "target_kl",
            "at KL",
            "Find the strength at which the answer moves by so many nats: atoms then cost the same",
            {None: "as set"} | {kl: f"{kl:g}" for kl in TARGETS},
            grow="{:g}".format,
        )
        atom = control(panel, "atom", "atom", "Row of the dictionary that is made stronger", 140)
        tip = "Keep this atom at its strength and choose another one with it"
        combine = button("combine", tip, panel.combine)
        return [atom, self.strength, self.unit, self.target_kl, combine]

    def _input(self) -> list[ipw.Widget]:
        panel, shown = self._panel, []
        if panel.kind == "language":
            tip = "What the model reads; steering shows what comes next"
            text = control(panel, "text", "text", tip, "min(420px, 100%)")
            shown.append(text.add_class("sae-nb-search"))
        if len(panel.samples) > 1:
            shown.append(control(panel, "sample", "sample", "Which of the inputs", 140))
        return shown

    def _places(self) -> list[ipw.Widget]:
        panel = self._panel
        modes = {name: mode.menu for name, mode in MODES.items()}
        self.mode = _menu(panel, "mode", "mode", "What is done at the hook point", modes)
        self.positions = ipw.Dropdown(
            options=POSITIONS[panel.kind],
            description="where",
            tooltip="Positions that are edited",
            style=TIGHT,
            layout=_as_wide_as_needed(),
        )
        self.positions.observe(self._choose_positions, "value")
        self.show_positions()
        points = editable(panel.model, panel.sae.d_in, panel.hook_point)
        self.hook_point = _menu(
            panel,
            "hook_point",
            "hook point",
            "Where in the model the edit is made",
            points,
            grow=str,
        )
        heads = answering_heads(panel.model, panel.samples[0])
        self.head = _menu(panel, "head", "answer", "Which head of the model answers", heads)
        beside = "Which random direction stands beside"
        seed = control(panel, "seed", "control seed", beside, 180)
        answers = [self.head] * (len(heads) > 1)
        return [self.mode, self.positions, self.hook_point, *answers, seed]

    def _length(self) -> list[ipw.Widget]:
        tip = "Tokens to continue by"
        return [control(self._panel, "max_new_tokens", "new tokens", tip, 160)]

    def _recipes(self) -> list[ipw.Widget]:
        panel = self._panel
        self.recipe = ipw.Textarea(
            description="recipe",
            rows=3,
            continuous_update=False,
            tooltip="Everything it takes to do the same again; paste another one and replay",
            layout=ipw.Layout(width="calc(100% - 90px)"),
            style=TIGHT,
        )
        self.replay = button("replay", "Do what the recipe on the left says", panel.replay_text)
        tip = "Keep this recipe: it stays in the list, and in a saved session"
        keep = button("keep", tip, panel.keep_recipe)
        self.kept = Menu(
            options=[NOTHING_KEPT],
            description="kept",
            tooltip="Do again what was kept",
            style=TIGHT,
            layout=_as_wide_as_needed(),
        )
        self.kept.observe(self._choose_kept, "value")
        show(self.kept, False)
        return [self.recipe, self.replay, keep, self.kept]

    # --- what is chosen ---------------------------------------------------------------------------

    def _move(self, change: t.Bunch) -> None:
        if not snapped(self.strength, self._panel.strength):
            self._panel.strength = change["new"]

    def _choose_positions(self, change: t.Bunch) -> None:
        if change["new"] != PICKED:
            self._panel.positions = change["new"]

    def _choose_kept(self, change: t.Bunch) -> None:
        if change["new"] is not None:
            with self._panel.guarded("replaying the recipe"):
                self._panel.replay(self._panel.recipes[change["new"]])
            self.kept.value = None

    # --- what is shown ----------------------------------------------------------------------------

    def fit(self, scale: StrengthScale) -> None:
        """Give the slider the range of the atom and the mode, and say in which unit it is."""
        atom, mode = self._panel.atom, self._panel.mode
        fit_slider(self.strength, self._panel.strength, *scale.limits(atom, mode))
        self.unit.value = unit_html(scale.words(atom, mode))

    def show_positions(self) -> None:
        """Have the menu show the positions: named ones, or what was picked by hand."""
        menu, positions = self.positions, self._panel.positions
        picked = () if isinstance(positions, str | None) else ((where_words(positions), PICKED),)
        wanted = PICKED if picked else positions or "all"
        # New options put the menu on its first one, which is not the reader's doing.
        menu.unobserve(self._choose_positions, "value")
        menu.options = (*POSITIONS[self._panel.kind], *picked)
        menu.value = wanted if wanted in dict(menu.options).values() else "all"
        menu.observe(self._choose_positions, "value")

    def show_kept(self, names: Sequence[str]) -> None:
        """Have the menu offer recipes that were kept."""
        named = [(f"{i + 1}: {name}", i) for i, name in enumerate(names)]
        self.kept.options = [NOTHING_KEPT, *named]
        show(self.kept, bool(named))


def _menu(panel: Any, trait: str, text: str, tip: str, options: Any, **more: Any) -> Any:
    menu = control(panel, trait, text, tip, options=options, **more)
    menu.layout.max_width = "280px"
    return menu


def _as_wide_as_needed() -> ipw.Layout:
    return ipw.Layout(width="auto", min_width="0", max_width="280px")


def strength_slider(name: str, tip: str, width: str) -> ipw.FloatSlider:
    """A slider of strengths; `fit_slider` gives it its range."""
    return ipw.FloatSlider(
        description=name,
        tooltip=tip,
        readout_format=".2f",
        layout=ipw.Layout(width=width),
        style=TIGHT,
    )


def fit_slider(slider: ipw.FloatSlider, value: float, low: float, high: float) -> None:
    """Give a slider a range that holds `value`, then the value."""
    low, high = min(low, value), max(high, value)
    with slider.hold_trait_notifications():
        # Widen first: a range that leaves the old value out would clip it.
        slider.min, slider.max = min(low, slider.value), max(high, slider.value)
        slider.value = value
        slider.min, slider.max = low, high
        slider.step = (high - low) / 200


def follow(slider: ipw.FloatSlider, strength: float) -> None:
    """Have a slider show a strength that was set elsewhere, beyond its ends if need be."""
    if slider.value != strength:
        fit_slider(slider, strength, slider.min, slider.max)


def snapped(slider: ipw.FloatSlider, strength: float) -> bool:
    """Whether a slider only shows `strength` on the nearest of its steps.

    Browsers move a slider onto its steps and report that as a change; nobody has moved it.
    """
    return abs(slider.value - strength) <= 0.51 * slider.step


def unit_html(text: str) -> str:
    """Return the unit beside the slider."""
    return f"<span>{escape(text)}</span>"


def editable(model: LiveModel, d_in: int, current: str) -> list[str]:
    """Hook points an SAE of this width can steer; `current` among them, however it is written."""
    fitting = [
        str(point)
        for point in model.hook_points()
        if point.writable and model.width(str(point)) in (d_in, None)
    ]
    return fitting if current in fitting else [current, *fitting]


def answering_heads(model: LiveModel, inputs: Any) -> list[tuple[str, str]]:
    """Heads that score classes, the main one first."""
    options = [("main head", "")]
    if not callable(getattr(model.module, "forward_heads", None)):
        return options
    main, rows_columns = model(inputs), model.patch_grid or (0, 0)
    for name, scores in model.heads(inputs).items():
        per_patch = scores.ndim == 2 and scores.shape[1] == rows_columns[0] * rows_columns[1]
        if scores.ndim != 2 or per_patch or scores.shape[1] < 2:
            continue
        if scores.shape == main.shape and bool((scores == main).all()):
            options[0] = (name, "")
        else:
            options.append((name, name))
    return options


def where_words(positions: Sequence[int]) -> str:
    """Name positions that were picked by hand."""
    shown = ", ".join(str(position) for position in positions[:4])
    return f"picked: {shown}{' …' if len(positions) > 4 else ''}"

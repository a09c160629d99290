"""The controls of the SteeringPanel, each tied to one trait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.figures.theme import escape
from sae_nb.models import as_batch
from sae_nb.steering.modes import MODES, Mode
from sae_nb_widgets.components import StrengthSlider
from sae_nb_widgets.components._base import HTML, lay_out, layout_of
from sae_nb_widgets.panel._declaring import TIGHT, Entry, Menu, button, control, line, show
from sae_nb_widgets.steering._directions import AtomEntry
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel, Modality
    from sae_nb_widgets.steering._panel import SteeringPanel


PICKED = "picked"
NOTHING_KEPT = ("kept recipes …", None)
OWN_ANSWER = "the answer"

TARGETS = (0.025, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5)
"""Divergences worth trying, in nats. snmf-mlp-decomposition, `intervention`."""

OF_TEXTS = (("all tokens", "all"), ("last token", "last"), ("all but the first", "not_first"))
ALL_POSITIONS = (("all positions", "all"),)
OF_IMAGES = (
    *ALL_POSITIONS,
    ("cls", "cls"),
    ("registers", "registers"),
    ("patches", "patches"),
)


def positions_of(modality: Modality) -> tuple[tuple[str, str], ...]:
    """Return which positions of a sample can be chosen from the menu."""
    if modality.is_text:
        return OF_TEXTS
    return OF_IMAGES if modality.is_image else ALL_POSITIONS


SAME = 1e-9
"""Relative difference that a division and a multiplication may leave."""


class StrengthControl:
    """The slider of a strength in units of the atom's usual one, next to its name and how sure that is."""

    def __init__(self, tip: str, changed: Callable[[float], None]) -> None:
        self._changed, self._factor, self._strength = changed, 1.0, 0.0
        self._ends = (0.0, 0.0)
        self.slider = StrengthSlider(description=f"strength: {tip}")
        self.slider.observe(self._moved, "value")

    def _moved(self, change: t.Bunch) -> None:
        strength = float(change["new"]) * self._factor
        if abs(strength - self._strength) > SAME * max(abs(strength), 1.0):
            self._changed(strength)

    def fit(
        self,
        scale: StrengthScale,
        atom: int,
        strength: float,
        mode: Mode,
        names: AtomNames,
        *,
        known: bool = True,
    ) -> None:
        """Give the slider the range of an atom, its name, and a strength; `known`: whether its unit is."""
        slider, self._strength = self.slider, strength
        self._factor, unit = scale.of_peak(atom, mode)
        low, high = (end / self._factor for end in scale.limits(atom, mode))
        self._ends = low, high
        value = strength / self._factor
        usual = 1.0 if unit.startswith("×") and MODES[mode].takes_units else None
        sure, words = names.sureness(atom) if known else (None, "")
        with slider.hold_sync():
            slider.name = names.short(atom) if known else ""
            slider.sure, slider.sure_words = sure, words
            # Until the unit is known a number would be taken back.
            slider.unit = unit if known else "…"
            slider.neutral = MODES[mode].neutral or 0.0
            slider.size = scale.unit_size(atom, mode) * self._factor if usual else 0.0
            strongest = scale.strongest_in_units(atom, mode)
            slider.fit(min(low, value), max(high, value), usual=usual, strongest=strongest)
            slider.value = value

    def follow(self, strength: float) -> bool:
        """Show another strength; return False where the slider must be fitted for it."""
        slider, (low, high) = self.slider, self._ends
        value = strength / self._factor
        fits = (slider.low, slider.high) == (low, high) and low <= value <= high
        if fits:
            self._strength = strength
            slider.value = value
        return fits


class SteeringControls:
    """The controls of `panel`: those always there, and those behind "more"."""

    def __init__(self, panel: SteeringPanel) -> None:
        self._panel = panel
        self.unit = HTML()
        tip = "how strong the edit is; the model runs while you move it"
        self.turning = StrengthControl(tip, lambda strength: panel.set_trait("strength", strength))
        self.strength = self.turning.slider
        tip = "Compare with other random directions"
        self.again = button("↻ again", tip, panel.again)
        tip = "Let the text go on: turned up, untouched, and along a random direction"
        self.go_on = button("Write on", tip, panel.continue_text)
        self.first = [self.strength, self.again]
        self.atom = AtomEntry(panel, 260 if panel.model.modality.is_text else 140)
        tip = "The strength in force, in the panel's unit"
        self.exact = control(panel, "strength", "strength", tip, 140, kind=Entry)
        number = self._number()
        if panel.model.modality.is_text:
            tip = "What the model reads; steering shows what comes next"
            self.text = control(panel, "text", "text", tip, "100%", placeholder="Type a text")
            for name in ("sae-nb-search", "sae-nb-promptfield", "sae-nb-unlabelled"):
                self.text.add_class(name)
            self.asked = [self.text]
        else:
            self.asked, number = number, []
        talks = self._length() if panel.model.causal else []
        self.more = [
            line(self.atom, self.exact, self.unit),
            *number, *self._effects(), *self._places(), *talks, *self._recipes(),
        ]  # fmt: skip

    def _number(self) -> list[ipw.Widget]:
        if len(self._panel.samples) < 2:
            return []
        self.number = control(self._panel, "sample", "input", "Which of the inputs", 140)
        return [self.number]

    def _effects(self) -> list[ipw.Widget]:
        """Return the controls of the size of the effect, its target, its atoms; and its curve."""
        panel = self._panel
        self.target_kl = _menu(
            panel,
            "target_kl",
            "match effect size",
            "Find the strength at which the whole answer shifts by so many nats of KL: atoms can then be "
            "compared",
            {None: "off"} | {kl: f"{kl:g}" for kl in TARGETS},
            grow="{:g}".format,
        )
        tip = "Keep this atom at its strength and choose another one with it"
        combine = button("combine", tip, panel.combine)
        self.curve = button(
            "dose–response",
            "Effect and overall shift for many strengths, with random directions",
            panel.dose_response,
        )
        tip = "What the sentence and the dose–response curve are about"
        return [self.target_kl, combine, line(self._target(tip), self.curve)]

    def _target(self, tip: str) -> ipw.Widget:
        panel = self._panel
        if panel.model.modality.is_text:
            return control(
                panel, "target", "effect on token", tip, 260,
                rule=panel.target_rule, placeholder=OWN_ANSWER,
            )  # fmt: skip
        names = {"": OWN_ANSWER} | {name: name for name in panel.model.class_names or ()}
        return _menu(panel, "target", "effect on", tip, names)

    def _places(self) -> list[ipw.Widget]:
        panel = self._panel
        modes = {name: mode.menu for name, mode in MODES.items()}
        self.mode = _menu(panel, "mode", "mode", "What is done at the hook point", modes)
        self.positions = ipw.Dropdown(
            options=positions_of(panel.model.modality),
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
        seed = control(
            panel, "seed", "random seed", "Which random push the edit is compared with", 180
        )
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
            layout=layout_of(width="calc(100% - 90px)"),
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
        return [self.recipe, line(self.replay, keep, self.kept)]

    # --- what is chosen ---------------------------------------------------------------------------

    def _choose_positions(self, change: t.Bunch) -> None:
        if change["new"] != PICKED:
            self._panel.positions = change["new"]

    def _choose_kept(self, change: t.Bunch) -> None:
        if change["new"] is not None:
            with self._panel.guarded("kept recipes"):
                self._panel.replay(self._panel.recipes[change["new"]])
            self.kept.value = None

    # --- what is shown ----------------------------------------------------------------------------

    def follow(self, scale: StrengthScale) -> None:
        """Show the strength in force, on a wider slider if it is beyond the ends."""
        if not self.turning.follow(self._panel.strength):
            self._fit_slider(scale)

    def _fit_slider(self, scale: StrengthScale) -> None:
        panel = self._panel
        self.turning.fit(
            scale, panel.atom, panel.strength, panel.mode, panel.names, known=panel.ready
        )

    def fit(self, scale: StrengthScale) -> None:
        """Give the slider the range of the atom and the mode, and say in which unit it is."""
        panel, atom, mode = self._panel, self._panel.atom, self._panel.mode
        self._fit_slider(scale)
        if panel.ready:  # the unit is not known before
            self.unit.value = unit_html(scale.words(atom, mode), scale.explained(atom, mode))

    def show_positions(self) -> None:
        """Have the menu show the positions: named ones, or what was picked by hand."""
        menu, positions = self.positions, self._panel.positions
        picked = () if isinstance(positions, str | None) else ((where_words(positions), PICKED),)
        wanted = PICKED if picked else positions or "all"
        # New options put the menu on its first one, which is not the reader's doing.
        menu.unobserve(self._choose_positions, "value")
        menu.options = (*positions_of(self._panel.model.modality), *picked)
        menu.value = wanted if wanted in dict(menu.options).values() else "all"
        menu.observe(self._choose_positions, "value")

    def show_kept(self, names: Sequence[str]) -> None:
        """Have the menu offer recipes that were kept."""
        named = [(f"{i + 1}: {name}", i) for i, name in enumerate(names)]
        self.kept.options = [NOTHING_KEPT, *named]
        show(self.kept, bool(named))


def _menu(
    panel: SteeringPanel,
    trait: str,
    text: str,
    tip: str,
    options: Mapping[Any, str] | Sequence[Any],
    **more: Any,
) -> Menu:
    menu = control(panel, trait, text, tip, options=options, **more)
    lay_out(menu, max_width="280px")
    return menu


def _as_wide_as_needed() -> ipw.Layout:
    return layout_of(width="auto", min_width="0", max_width="280px")


def unit_html(text: str, explained: str) -> str:
    """Return the unit next to the slider, and its meaning as a tooltip."""
    title = f' title="{escape(explained)}"' if explained else ""
    return f"<span{title}>{escape(text)}</span>"


def editable(model: LiveModel, d_in: int, current: str) -> list[str]:
    """Return the hook points an SAE of this width can steer; `current` among them, however it is written."""
    fitting = [
        str(point)
        for point in model.hook_points()
        if point.writable and model.width(str(point)) in (d_in, None)
    ]
    return fitting if current in fitting else [current, *fitting]


def answering_heads(model: LiveModel, inputs: Inputs) -> list[tuple[str, str]]:
    """Return the heads that score classes, the main one first."""
    options = [("main head", "")]
    if not callable(getattr(model.module, "forward_heads", None)):
        return options
    batch, rows_columns = as_batch(model, inputs), model.patch_grid or (0, 0)
    main = model.main_output(model.forward(batch))
    for name, scores in model.forward(batch, method="forward_heads").items():
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

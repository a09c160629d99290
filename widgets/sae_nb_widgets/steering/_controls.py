"""The controls of the SteeringPanel, each tied to one trait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.figures import escape, format_number
from sae_nb.steering import MODES, TARGETS, Mode, Unit, strength_p99

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


@dataclass(frozen=True)
class Controls:
    """Widgets by name."""

    atom: ipw.BoundedIntText
    strength: ipw.FloatSlider
    sample: ipw.BoundedIntText
    text: ipw.Text
    curve: ipw.Button
    go_on: ipw.Button
    mode: ipw.Dropdown
    positions: ipw.Dropdown
    hook_point: ipw.Dropdown
    head: ipw.Dropdown
    seed: ipw.BoundedIntText
    n_new: ipw.BoundedIntText
    recipe: ipw.Textarea
    replay: ipw.Button
    target_kl: ipw.Dropdown
    combine: ipw.Button
    keep: ipw.Button
    kept: ipw.Dropdown


def build(
    panel: Any, *, hook_points: list[str], heads: list[tuple[str, str]], n_samples: int
) -> Controls:
    """Return the controls of `panel`, linked to its traits."""
    made = Controls(
        atom=_number("atom", "Row of the dictionary that is made stronger", panel.n_atoms - 1, 140),
        strength=_slider(),
        sample=_number("sample", "Which of the inputs", n_samples - 1, 140),
        text=ipw.Text(
            description="text",
            tooltip="What the model reads; steering shows what comes next",
            continuous_update=False,
            layout=ipw.Layout(width="min(420px, 100%)"),
            style=_TIGHT,
        ).add_class("sae-nb-search"),
        curve=_button(
            "dose–response", "Effect and cost for many strengths, beside random directions"
        ),
        go_on=_button("continue the text", "The text goes on before and after, token by token"),
        mode=_choice(
            "mode",
            "What is done at the hook point",
            [(mode.menu, name) for name, mode in MODES.items()],
        ),
        positions=_choice("where", "Positions that are edited", POSITIONS[panel.kind]),
        hook_point=_choice("hook point", "Where in the model the edit is made", hook_points),
        head=_choice("answer", "Which head of the model answers", heads),
        seed=_number("control seed", "Which random direction stands beside", 9_999, 180),
        n_new=_number("new tokens", "Tokens to continue by", 200, 160),
        recipe=ipw.Textarea(
            description="recipe",
            rows=3,
            continuous_update=False,
            layout=ipw.Layout(width="calc(100% - 90px)"),
            style=_TIGHT,
        ),
        replay=_button("replay", "Do what the recipe on the left says"),
        target_kl=_choice(
            "at KL",
            "Find the strength at which the answer moves by so many nats: atoms then cost the same",
            [("as set", None), *((f"{kl:g}", kl) for kl in TARGETS)],
        ),
        combine=_button("combine", "Keep this atom at its strength and choose another one with it"),
        keep=_button("keep", "Keep this recipe: it stays in the list, and in a saved session"),
        kept=_choice("kept", "Do again what was kept", [("kept recipes …", None)]),
    )
    made.recipe.tooltip = "Everything it takes to do the same again; paste another one and replay"
    made.hook_point.value = panel.hook_point
    for name in ("atom", "sample", "text", "mode", "head", "seed"):
        t.link((panel, name), (getattr(made, name), "value"))
    t.link((panel, "max_new_tokens"), (made.n_new, "value"))
    made.kept.layout.display = "none"
    return made


def rows(
    panel: Any, made: Controls, unit: ipw.Widget, mix: ipw.Widget
) -> tuple[list[Any], list[Any]]:
    """Return the controls that are always there, and those behind "more"."""
    talks = bool(panel.model.causal)
    what = [made.text] * (panel.kind == "language") + [made.sample] * (made.sample.max > 0)
    how = [made.atom, made.strength, unit, made.target_kl, made.combine]
    first = [*how, *what, made.curve, *([made.go_on] * talks), mix]
    heads = [made.head] * (len(made.head.options) > 1)
    more = [made.mode, made.positions, made.hook_point, *heads, made.seed, *([made.n_new] * talks)]
    return first, [*more, made.recipe, made.replay, made.keep, made.kept]


_TIGHT = {"description_width": "initial"}


def _number(name: str, tip: str, most: int, width: int) -> ipw.BoundedIntText:
    return ipw.BoundedIntText(
        min=0,
        max=max(most, 0),
        description=name,
        tooltip=tip,
        layout=ipw.Layout(width=f"{width}px"),
        style=_TIGHT,
    )


def _choice(name: str, tip: str, options: Any) -> ipw.Dropdown:
    return ipw.Dropdown(
        options=options,
        description=name,
        tooltip=tip,
        layout=ipw.Layout(width="auto", max_width="280px"),
        style=_TIGHT,
    )


def _button(text: str, tip: str) -> ipw.Button:
    return ipw.Button(description=text, tooltip=tip, layout=ipw.Layout(width="auto"))


def _slider() -> ipw.FloatSlider:
    return ipw.FloatSlider(
        description="strength",
        tooltip="How strong the edit is; the model runs while you move it",
        readout_format=".2f",
        layout=ipw.Layout(width="360px"),
        style=_TIGHT,
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


def offer(menu: ipw.Dropdown, value: str) -> None:
    """Choose a value of a menu, which gets it as a new option where it lacks it."""
    if value not in menu.options:
        menu.options = (*menu.options, value)
    menu.value = value


def show_target(menu: ipw.Dropdown, target: float | None) -> None:
    """Have the menu of divergences show one, which it gets as a new option where it lacks it."""
    if target not in {value for _, value in menu.options}:
        menu.options = (*menu.options, (f"{target:g}", target))
    menu.value = target


def show_nothing(menu: ipw.Dropdown) -> None:
    """Have a menu of things to do show its first line again."""
    menu.value = menu.options[0][1]


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


def show_positions(menu: ipw.Dropdown, positions: Any, kind: str) -> None:
    """Have the menu show positions: named ones, or what was picked by hand."""
    picked = () if isinstance(positions, str | None) else ((where_words(positions), PICKED),)
    menu.options = (*POSITIONS[kind], *picked)
    wanted = PICKED if picked else positions or "all"
    menu.value = wanted if wanted in dict(menu.options).values() else "all"


def where_words(positions: Sequence[int]) -> str:
    """Name positions that were picked by hand."""
    shown = ", ".join(str(position) for position in positions[:4])
    return f"picked: {shown}{' …' if len(positions) > 4 else ''}"

"""The margin of the AtomBrowser: what an atom makes the model say, how strongly it fires, what is close."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import AtomEffects, AtomNames, AtomSummary, Band
from sae_nb.figures.theme import CONTROL, WARM, escape, format_number, format_percent
from sae_nb_widgets.atom._strengths import FrequencyBars, StrengthBars
from sae_nb_widgets.components import Chips, Sparkbars, ThinBars
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import HTML, VBox
from sae_nb_widgets.components._find_box import plain
from sae_nb_widgets.components._picture_grid import StillGrid
from sae_nb_widgets.panel._declaring import show, small_button
from sae_nb_widgets.panel._pages import LIVE_ONLY

SAYS = "What it makes the model say"
HEADS = "Attention heads (share of its length)"
RAISES = "Direct path: outputs it raises (+) and lowers (−)"
MEASURE = "measure"

Effects = tuple[tuple[str, float], ...]


class Says:
    """Words that an atom makes the model say: measured ones only, green where other examples confirm them."""

    def __init__(self, measure: Callable[[], None] | None) -> None:
        self.chips = Chips(description=SAYS)
        self.chips.empty_text = "Not measured yet."
        tip = "Run the model on its examples with the atom added, and without"
        self.button = (
            small_button(MEASURE, tip, measure).add_class(LIVE_ONLY).add_class("sae-nb-flush")
        )
        self._can_measure = measure is not None
        self.widget = (
            VBox([self.chips, self.button]).add_class("sae-nb-block").add_class("sae-nb-says")
        )

    def show(self, fires: bool, effects: AtomEffects | None, working: bool) -> None:
        """Draw what was measured; `working`: it is being measured now."""
        show(self.widget, effects is not None or (self._can_measure and fires))
        show(self.button, self._can_measure and fires and effects is None and not working)
        if effects is None:
            self.chips.show([])
            self.chips.empty_text = "Being measured …" if working else "Not measured yet."
            return
        n, held = len(effects.up), sum(effects.confirmed)
        states: Sequence[str] = (
            "plain"
            if not effects.confirmed
            else ["confirmed" if kept else "unconfirmed" for kept in effects.confirmed]
        )
        score = f"{held} of {n} confirmed on other examples"
        self.chips.show(
            [name for name, _ in effects.up],
            states,
            tips=[
                f"raised by {format_number(by)} in its logit, {effects.by}" for _, by in effects.up
            ],
            score=score if effects.confirmed else f"{effects.by}; no others to confirm it on",
            control=by_chance(effects),
        )


def by_chance(effects: AtomEffects) -> str:
    """State what random directions do, from the least to the most, next to the atom's words."""
    if not effects.chance or effects.random_most is None:
        return ""
    least, most = min(effects.chance), max(effects.chance)
    counts = f"{least}" if least == most else f"{least} to {most}"
    largest = format_number(effects.random_most, digits=2)
    return f"{len(effects.chance)} random directions: {counts} of {len(effects.up)}, at most +{largest}"


class AtomDetail:
    """The blocks of the AtomBrowser's margin."""

    def __init__(
        self,
        names: AtomNames,
        rows: str,
        *,
        go: Callable[[int], None],
        band: Callable[[Band], None],
        often: Callable[[float], None],
        measure: Callable[[], None] | None = None,
    ) -> None:
        self._names, self._go = names, go
        self.true_of = ThinBars()
        self.says = Says(measure)
        self.strengths = StrengthBars(band)
        self.second = HTML()
        self.near = ThinBars(description="Close to it")
        self.near.add_class("sae-nb-near")
        # Next to a map there is no room for it, and the map says what is close.
        self.near.add_class("sae-nb-spare")
        self.heads = Sparkbars(
            description=HEADS, empty_text="Pass model= to see which attention heads write it."
        )
        self._make_more = partial(More, self._list, rows, often)
        self._record: AtomSummary | None = None
        self._more_place = VBox()
        self.widgets: tuple[ipw.Widget, ...] = (
            self.true_of,
            self.says.widget,
            self.strengths.widget,
            self.second,
            self.near,
            self.heads,
            self._more_place,
        )
        self._listed: dict[Sparkbars, Sequence[int]] = {}
        self.near.observe(self._clicked, "selected")
        for widget in (self.heads, self._more_place):
            show(widget, False)

    def _clicked(self, change: t.Bunch) -> None:
        atoms = self._listed.get(change["owner"], ())
        if 0 <= change["new"] < len(atoms):
            self._go(int(atoms[change["new"]]))

    def _list(
        self,
        bars: Sparkbars,
        atoms: Sequence[int],
        values: Sequence[float],
        notes: Sequence[str],
        maximum: float = 0.0,
    ) -> None:
        self._listed[bars] = atoms
        signed = any(value < 0 for value in values) and not bars.thin
        named = self._names.short if bars.thin else self._names.name
        bars.show(
            [named(atom) for atom in atoms], values, notes=notes, signed=signed, maximum=maximum,
            atoms=atoms, icons=icons_of(self._names, atoms),
        )  # fmt: skip

    def show(self, record: AtomSummary, effects: AtomEffects | None, working: bool) -> None:
        """Draw a record, with what was measured of its atom."""
        self._show_name(record.atom)
        self.says.show(bool(record.n_fired), effects, working)
        self.strengths.show(record)
        show(self.strengths.widget, bool(record.n_fired))
        known = " ".join(filter(None, (record.keeps, record.foretold)))
        self.second.value = f'<div class="sae-nb-note">{escape(known)}</div>'
        show(self.second, bool(known))
        cosines = record.nearest_cosines.tolist()
        notes = [format_number(cosine, digits=2) for cosine in cosines]
        self._list(self.near, record.nearest_atoms.tolist(), cosines, notes, maximum=1.0)
        self._record = record
        if self._more_place.layout.display is None:
            self.more.show(record)

    def _show_name(self, atom: int) -> None:
        """Draw of how much the name is true, next to chance; hidden where that was not measured."""
        fits, floor = self._names.fits(atom), self._names.fits_floor(atom)
        known = bool(self._names.source(atom)) and math.isfinite(fits) and math.isfinite(floor)
        show(self.true_of, known)
        if known:
            self.true_of.description = f"“{plain(self._names.short(atom))}” is true"
            self.true_of.show(
                ["where it is strong", "anywhere"],
                [fits, floor],
                notes=[format_percent(share, digits=2) for share in (fits, floor)],
                colours=[WARM, CONTROL],
                maximum=1.0,
            )

    @cached_property
    def more(self) -> More:
        """What “More about this atom” adds; made when that is first opened."""
        made = self._make_more()
        made.joint.observe(self._clicked, "selected")
        self._more_place.children = (made.widget,)
        return made

    def show_more(self, shown: bool) -> None:
        """Show the rest of what is known of the atom, or hide it."""
        show(self._more_place, shown)
        if shown and self._record is not None:
            self.more.show(self._record)

    def show_heads(self, shares: Float[np.ndarray, " heads"] | None, known: bool) -> None:
        """Draw the share of each attention head; hidden where atoms are not read side by side from heads."""
        show(self.heads, known)
        found = [] if shares is None else shares.tolist()
        self.heads.description = HEADS
        if found:
            even = format_percent(1 / len(found))
            self.heads.description = f"Attention heads (share of its length; alike: {even} each)"
        names = [f"head {head}" for head in range(len(found))]
        self.heads.show(names, found, notes=[format_percent(share) for share in found], maximum=1.0)


class More:
    """The rest of what is known of an atom: what fires with it, where, what it raises, how often others do."""

    def __init__(
        self, listing: Callable[..., None], rows: str, often: Callable[[float], None]
    ) -> None:
        self._list = listing
        self.joint = Sparkbars(description="Fire with it (× as often as by chance)")
        self.joint.empty_text = "No atom fires with it more often than by chance."
        self.when = ThinBars(description=f"Where it fires (share of {rows})")
        self._map_place = VBox()
        self.tokens, self.way = Sparkbars(description=RAISES), HTML()
        self.effects = VBox([self.tokens, self.way])
        self.frequencies = FrequencyBars(rows, often)
        self.widget = VBox(
            [self.joint, self.when, self._map_place, self.effects, self.frequencies.widget]
        ).add_class("sae-nb-blocks")

    def show(self, record: AtomSummary) -> None:
        """Draw a record."""
        self.frequencies.show(record)
        lifts = record.coactive_lifts.tolist()
        notes = [f"{format_number(lift)}×" for lift in lifts]
        self._list(self.joint, record.coactive_atoms.tolist(), lifts, notes)
        self._show_effects(record.logits_up, record.logits_down, record.logits_by)
        show_where(self.when, record)
        patches = None if record.footprint is None else record.footprint.patch_frequency
        show(self._map_place, patches is not None)
        if patches is not None:
            blank = np.full((1, 3, 4 * patches.shape[0], 4 * patches.shape[1]), 128, np.uint8)
            heat = 100 * patches[None].astype(np.float32)
            self.map.show(blank, heat=heat, captions=["share of images"])

    @cached_property
    def map(self) -> StillGrid:
        """Where in the image it fires: made for the first image, since its script is sent with it."""
        made = StillGrid(
            description="Where in the image it fires", titled=True, bare=True, unit="% of images"
        )
        self._map_place.children = (made,)
        return made

    def _show_effects(self, up: Effects, down: Effects, by: str) -> None:
        tokens = [*up, *down[::-1]]
        show(self.effects, bool(tokens))
        self.tokens.description = (
            RAISES if by.startswith("direct") else "Outputs it raises and lowers"
        )
        self.tokens.show([f"“{x}”" for x, _ in tokens], [y for _, y in tokens], signed=True)
        self.way.value = f'<div class="sae-nb-note">{escape(by)}</div>' if tokens else ""


def show_where(bars: ThinBars, record: AtomSummary) -> None:
    """Draw at which places an atom fires; hide the bars where that is not known."""
    found = record.footprint
    show(bars, found is not None)
    if found is not None:
        shares = found.frequency.tolist()
        bars.show(
            list(found.places), shares, notes=[format_percent(share, digits=2) for share in shares]
        )

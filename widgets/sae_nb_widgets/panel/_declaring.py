"""A panel's declarations: traits with ends, its reactions to changes, and a control for each.

A trait is a number between two ends, the method that reacts to it is marked so, and its control is one
line::

    layer = Whole(0, 0, lambda panel: panel.n_layers, help="Which layer.")

    @reacts("layer", doing="drawing the layer")
    def _draw_layer(self) -> None: ...

    control(panel, "layer", "layer", "The cursor all parts share", 190, kind=ipw.IntSlider)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import traitlets as t

from sae_nb.checks import check_atom, shown
from sae_nb.figures import theme
from sae_nb_widgets.components._base import Box, Button, lay_out, layout_of, shared

if TYPE_CHECKING:
    from sae_nb_widgets.panel._status import HasStatus

End = float | Callable[[Any], float]
"""A number, or what gives it for a panel."""

LARGEST_SEED = 2**31 - 1

# --- traits ---------------------------------------------------------------------------------------


class _Between:
    """A number from `low` to `high`, both allowed unless `inside`; `none` is one that is missing."""

    def __init__(
        self,
        default: float,
        low: End,
        high: End,
        *,
        inside: bool = False,
        none: int | None = None,
        **about: Any,
    ) -> None:
        self._low, self._high, self._inside, self._none = low, high, inside, none
        super().__init__(default, **about)  # type: ignore[call-arg]

    def ends(self, panel: t.HasTraits) -> tuple[Any, Any]:
        """Return the lowest and the highest value for a panel."""
        low, high = (end(panel) if callable(end) else end for end in (self._low, self._high))
        return low, high

    # As `t.validate` does, and not in `validate`: defaults are set before a panel knows its ends, and
    # traits that are set together are checked together.
    def _cross_validate(self, panel: t.HasTraits, value: object) -> Any:
        value = super()._cross_validate(panel, value)  # type: ignore[misc]
        low, high = self.ends(panel)
        fits = low < value < high if self._inside else low <= value <= high
        if not fits and (self._none is None or value != self._none):
            lowest, highest, given = (format(number, self._form) for number in (low, high, value))
            ends = f"between {lowest} and {highest}"
            if self._inside:
                ends = f"above {lowest} and below {highest}"
            missing = "" if self._none is None else f", or {self._none} for none"
            name: str = self.name  # type: ignore[attr-defined]
            raise t.TraitError(f"`{name}` must be {ends}{missing}, got {given}.")
        return value

    _form = ""

    if TYPE_CHECKING:  # what every trait does, for those who read its value

        def __get__(self, panel: object, of: object = None) -> Any: ...

        def __set__(self, panel: object, value: object) -> None: ...


class Whole(_Between, t.Int):
    """A whole number between two ends; one of numpy or torch, or its digits, is taken as it is meant."""

    _form = "d"

    def validate(self, panel: t.HasTraits, value: object) -> Any:
        """Return a whole number as Python's; refuse anything else."""
        number = whole(value)
        if not isinstance(number, int):
            raise t.TraitError(
                f"`{self.name}` must be a whole number, got {shown(value)}. Write e.g. "
                f"`panel.{self.name} = 3`."
            )
        return super().validate(panel, number)


class Wholes(t.List[Any]):
    """Whole numbers, from a list, a set, a range, an array or a tensor; a set in rising order."""

    def __init__(self, **about: Any) -> None:
        super().__init__(t.Int(), **about)

    def validate(self, panel: t.HasTraits, value: object) -> Any:
        """Return whole numbers as a list of Python's; refuse what does not hold several."""
        return super().validate(panel, several(self.name, value))

    if TYPE_CHECKING:  # what every trait does, for those who read its value

        def __get__(self, panel: object, of: object = None) -> Any: ...

        def __set__(self, panel: object, value: object) -> None: ...


def wholes(value: Any) -> list[Any] | None:
    """Return the entries of a list, a set in rising order, a range, an array or a tensor; None for others."""
    is_set = isinstance(value, set | frozenset)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not is_set and not isinstance(value, list | tuple | range):
        return None
    numbers = [whole(one) for one in value]
    in_order = is_set and all(isinstance(number, int) for number in numbers)
    return sorted(numbers) if in_order else numbers


def several(name: str | None, value: object) -> list[Any]:
    """Return the entries of `value`, a trait's; one alone is refused with how to write it."""
    entries = wholes(value)
    if entries is None:
        written = f"[{whole(value)}]" if isinstance(whole(value), int) else "[3, 7]"
        raise t.TraitError(
            f"`{name}` must be several: a list, a tuple, a set, a range, an array or a tensor; got "
            f"{shown(value)}. Write e.g. `panel.{name} = {written}`."
        )
    if any(isinstance(entry, bool) for entry in entries):
        raise t.TraitError(
            f"`{name}` must be numbers of atoms, counted from 0, got {len(entries)} values of a mask. Write "
            f"`panel.{name} = [i for i, on in enumerate(mask) if on]`."
        )
    return entries


def whole(value: object) -> Any:
    """Return a whole number of numpy or torch, or digits in quotes, as Python's; anything else as it is."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*-?\d+\s*", value) else value
    if hasattr(value, "item") and getattr(value, "shape", None) in ((), (1,)):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Number(_Between, t.Float):
    """A number between two ends."""

    _form = "g"


class Atom(Whole):
    """One of the `n_atoms` of a panel."""

    def __init__(self, default: int = 0, **about: Any) -> None:
        super().__init__(default, 0, lambda panel: panel.n_atoms - 1, **about)

    def _cross_validate(self, panel: t.HasTraits, value: object) -> Any:
        return or_trait_error(check_atom, value, panel.n_atoms, name=self.name)


class ByRule:
    """A value that `rule(panel, value)` lets pass, perhaps in another form, or refuses.

    Of traits that are set together the rule sees the panel as it is in the end.
    """

    def __init__(self, *default: Any, rule: Callable[[Any, Any], Any], **about: Any) -> None:
        self._rule = rule
        super().__init__(*default, **about)

    def _cross_validate(self, panel: t.HasTraits, value: object) -> Any:
        value = super()._cross_validate(panel, value)  # type: ignore[misc]
        return or_trait_error(self._rule, panel, value)

    if TYPE_CHECKING:  # what every trait does, for those who read its value

        def __get__(self, panel: object, of: object = None) -> Any: ...

        def __set__(self, panel: object, value: object) -> None: ...


class RuledText(ByRule, t.Unicode[str, str]):
    """A text that a rule lets pass."""


class RuledNumber(ByRule, t.Float[Any, Any]):
    """A number that a rule lets pass."""


class Ruled(ByRule, t.Any):
    """Anything that a rule lets pass."""


EVERYWHERE = "all"
"""All places of a dictionary of several, together."""


class Site(t.Unicode[str, str]):
    """One of the `sites` of a panel: places that its dictionary reads or writes; "all" of them together."""

    def __init__(self, **about: Any) -> None:
        super().__init__(EVERYWHERE, **about)

    def _cross_validate(self, panel: t.HasTraits, value: object) -> Any:
        value = super()._cross_validate(panel, value)
        known = (EVERYWHERE, *panel.sites)
        if value not in known:
            raise t.TraitError(
                f"`{self.name}` must be one of {list(known)}, got {value!r}. They are the places that the "
                "dictionary reads and writes."
            )
        return value


def site_menu(panel: HasStatus, sites: Sequence[str]) -> list[ipw.Widget]:
    """Return the control of a panel's `site`, one of `sites`; none if there is only one."""
    if not sites:
        return []
    tip = "Which place (hook point, model, kind of inputs) is shown; all: together, or side by side"
    return [control(panel, "site", "site", tip, 230, options=[EVERYWHERE, *sites])]


def or_trait_error(check: Any, *given: Any, **choices: Any) -> Any:
    """Call `check`; what it refuses becomes an error of the trait."""
    try:
        return check(*given, **choices)
    except (ValueError, TypeError, IndexError) as error:
        raise t.TraitError(str(error)) from None


# --- reactions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reaction:
    """When a method is called, and what an error in it is called."""

    traits: tuple[str, ...]
    doing: str
    early: bool


def reacts(*traits: str, doing: str = "", early: bool = False) -> Callable[[Any], Any]:
    """Have a method of a panel called when one of `traits` changes, from `arrange` on.

    It is called once there is something to draw (`panel.ready`; `early`: before that too), and an error
    in it becomes a sentence: "<doing>: <what>", where `doing` may name parts of the panel ("atom
    {panel.atom}"). Called by hand it is the method itself.
    """

    def mark(method: Any) -> Any:
        method.reaction = Reaction(traits, doing, early)
        return method

    return mark


def reactions(panel: type) -> dict[str, Reaction]:
    """Return the methods of a class that react, by name."""
    attributes: dict[str, Any] = {}
    for base in reversed(panel.__mro__):
        attributes |= vars(base)
    marks = {name: getattr(value, "reaction", None) for name, value in attributes.items()}
    return {name: value for name, value in marks.items() if isinstance(value, Reaction)}


# --- controls -------------------------------------------------------------------------------------

TIGHT = {"description_width": "initial"}
BUTTONS = {"button_width": "auto", **TIGHT}


class Menu(ipw.Dropdown):
    """A dropdown that may offer None, which ipywidgets takes for "nothing chosen" and draws blank."""

    @t.observe("value")
    def _propagate_value(self, change: t.Bunch) -> None:
        if change["new"] is None and None in self._options_values:
            self.index = self._options_values.index(None)
        else:
            super()._propagate_value(change)


def control(
    panel: HasStatus,
    trait: str,
    text: str,
    tip: str | Mapping[Any, str],
    width: int | str = "auto",
    *,
    kind: Any = None,
    options: Any = None,
    grow: Callable[[Any], str] | None = None,
    rule: Callable[[], str] | None = None,
    **more: Any,
) -> Any:
    """Return a widget linked to a trait of `panel`: its kind, values and ends follow from the trait.

    `options` are (words, value) or a mapping from value to words; of a trait that knows more values,
    the control shows the one it had last, or gets an option for it with the words that `grow` gives.
    `tip` may be a mapping from value to tip. `rule` names the words that a text trait takes: its field
    then shows the value in force, as those of numbers do. `more` goes to the widget.
    """
    known = panel.traits()[trait]
    if kind is None:
        kind = Entry if rule is not None else _kind(known, options)
    if kind is ipw.Checkbox and width == "auto":
        width = "max-content"
    made: dict[str, Any] = {"description": text, "style": TIGHT, "layout": wide(css_width(width))}
    if kind in (Menu, ipw.ToggleButtons, ipw.SelectionSlider):
        chosen = known.values if options is None else options
        if isinstance(chosen, Mapping):
            chosen = [(words, value) for value, words in chosen.items()]
        made["options"] = list(chosen)
    elif isinstance(known, _Between) and kind is not Entry:
        low, high = known.ends(panel)
        made |= {"min": low, "max": max(high, low)}
        if kind is ipw.IntSlider and high <= low:
            # A slider needs two ends, and says by being grey that there is nothing to choose.
            made |= {"max": low + 1, "disabled": True}
    if kind is ipw.ToggleButtons:
        tips = list(tip.values()) if isinstance(tip, Mapping) else [tip] * len(made["options"])
        made |= {"tooltips": tips, "style": BUTTONS}
    if kind is ipw.Checkbox:
        made["indent"] = False
    if issubclass(kind, ipw.Text | ipw.Textarea):
        made["continuous_update"] = False
    if not isinstance(tip, Mapping):
        made["tooltip"] = tip
    made |= more
    made["style"] = shared(kind.style.klass, **made["style"])
    widget = kind(**made)
    if kind is Entry:
        _enter(panel, trait, widget, text, rule)
    elif options is None or isinstance(known, t.Enum):
        t.link((panel, trait), (widget, "value"))
    else:
        _offer(panel, trait, widget, grow)
    return widget


class Entry(ipw.Text):
    """A field that does not accept every text: a refusal is reported, and it shows the value in force."""


_SIGNS = str.maketrans({"−": "-", "\u2009": "", "\u00a0": "", "\u202f": "", " ": "", "_": ""})


def _enter(
    panel: HasStatus, trait: str, entry: Entry, words: str, rule: Callable[[], str] | None = None
) -> None:
    """Link an entry to a trait: nonsense never reaches the trait, nor stays in the field."""
    known = panel.traits()[trait]
    whole = isinstance(known, t.Int)
    entry.add_class("sae-nb-entry")

    def follow(_: object = None) -> None:
        entry.value = _written(known, getattr(panel, trait))

    def take(change: t.Bunch) -> None:
        given, now = str(change["new"]), getattr(panel, trait)
        if given == _written(known, now):
            return
        try:
            panel.set_trait(trait, given if rule else _read_number(known, given, whole))
        except (ValueError, OverflowError, t.TraitError):
            said = rule() if rule else _rule(panel, known, whole)
            panel.refuse(words, said, given, _written(known, now))
        follow()

    follow()
    entry.observe(take, "value")
    panel.observe(follow, trait)


def _read_number(known: object, given: str, whole: bool) -> float:
    text = given.translate(_SIGNS)
    missing = getattr(known, "_none", None)
    if not text and missing is not None:
        return missing
    number = read_whole(given) if whole else float(text)
    if not math.isfinite(number):
        raise ValueError(given)
    return number


def read_whole(given: str) -> int:
    """Return a whole number as people type it: with another minus, or spaces between thousands."""
    return int(given.translate(_SIGNS))


def _written(known: object, value: object) -> str:
    if value is None or value == getattr(known, "_none", None):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rule(panel: HasStatus, known: object, whole: bool) -> str:
    kind = "whole numbers" if whole else "numbers"
    if not isinstance(known, _Between):
        return kind
    low, high = known.ends(panel)
    ends = f"above {low:g} and below {high:g}" if known._inside else f"from {low:g} to {high:g}"
    if whole and not known._inside:
        ends = f"from {low} to {high}"
    if high == math.inf:
        ends = f"of at least {low:g}"
    empty = "" if known._none is None else ", or nothing"
    return f"{kind} {ends}{empty}"


def _kind(trait: t.TraitType[Any, Any], options: object) -> type[ipw.Widget]:
    if options is not None or isinstance(trait, t.Enum):
        return Menu
    kinds = (
        (t.Bool, ipw.Checkbox),
        (t.Int, Entry),
        (t.Float, ipw.FloatSlider),
    )
    return next((widget for kind, widget in kinds if isinstance(trait, kind)), ipw.Text)


def _offer(
    panel: HasStatus, trait: str, menu: ipw.Dropdown, grow: Callable[[Any], str] | None
) -> None:
    """Link a menu to a trait that may have values the menu does not offer."""

    def choose(change: t.Bunch) -> None:
        panel.set_trait(trait, change["new"])

    def follow(_: object = None) -> None:
        value = getattr(panel, trait)
        offered = [option[1] if isinstance(option, tuple) else option for option in menu.options]
        if value not in offered:
            if grow is None:
                return
            # New options put a menu on its first one, which nobody has chosen.
            menu.unobserve(choose, "value")
            menu.options = (*menu.options, (grow(value), value))
            menu.observe(choose, "value")
        menu.value = value

    follow()
    menu.observe(choose, "value")
    panel.observe(follow, trait)


def css_width(width: int | str) -> str:
    """A width in pixels of the normal scale, in letters' sizes so that it grows with the lecture scale."""
    return f"{width / theme.SCALES['normal'].font_px:.4g}em" if isinstance(width, int) else width


def wide(width: str) -> ipw.Layout:
    """Return layout of a CSS width that may shrink."""
    return layout_of(width=width, min_width="0")


def roomy(widget: ipw.Widget) -> Any:
    """Return a widget that takes the room its row has left: a text is longer than most things."""
    lay_out(widget, flex="1 1 320px", width="auto", min_width="200px")
    return widget


def text_field(panel: HasStatus, trait: str, name: str, tip: str) -> Any:
    """Return a field of a text to read, without a label before it."""
    field = control(panel, trait, name, tip, placeholder="type a text …")
    return roomy(field).add_class("sae-nb-unlabelled")


def line(*widgets: ipw.Widget) -> ipw.Box:
    """Return widgets in a row that stays together."""
    return Box(list(widgets), _dom_classes=["sae-nb-line"])


def small_button(text: str, tip: str, action: Callable[[], Any] | None = None) -> ipw.Button:
    """Return a small button with words on it, which does `action`."""
    button = Button(description=text, tooltip=tip, _dom_classes=["sae-nb-small"])
    if action is not None:
        button.on_click(lambda _: action())
    return button


def button(
    text: str, tip: str, action: Callable[[], Any], width: int | str = "auto", icon: str = ""
) -> ipw.Button:
    """Return a button with words on it, a sign or both, which does `action`."""
    made = Button(description=text, icon=icon, tooltip=tip, layout=wide(css_width(width)))
    made.on_click(lambda _: action())
    return made


def icon_button(icon: str, tip: str, action: Callable[[], Any]) -> ipw.Button:
    """Return a button with nothing but a sign on it, which does `action`."""
    return button("", tip, action, 36, icon)


def show(widget: ipw.Widget, shown: bool) -> None:
    """Show or hide a widget without removing it."""
    lay_out(widget, display=None if shown else "none")

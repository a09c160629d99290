"""A direction between two groups of texts in the place of the SAE's atoms: typed, or from `sn.direction`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets as t

from sae_nb.atoms import AtomCatalogue
from sae_nb.checks import check_atom, check_place, checked, shown
from sae_nb.sessions import names_of
from sae_nb.steering import Direction, SteeringRecipe, direction, two_groups
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Entry, Ruled, css_width, reacts, read_whole, wide
from sae_nb_widgets.steering._choices import Opening, Phase
from sae_nb_widgets.steering._queries import SteeringRuns
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

BETWEEN = "|"
"""What stands between the two groups: no number has it."""

LONGEST_TEXT = 18
"""Letters of a text in the name of its direction."""

Groups = tuple[tuple[str, ...], tuple[str, ...]]


def groups_in(text: str) -> Groups:
    """Return the two groups of texts in "happy, glad | sad, low": one text a line, or between commas.

    >>> groups_in("happy, glad | sad, low")
    (('happy', 'glad'), ('sad', 'low'))
    """
    sides = text.split(BETWEEN)
    if len(sides) != 2:
        raise ValueError(
            f'`direction` must be two groups of texts with one "{BETWEEN}" between them, got '
            f"{shown(text)}. Write happy, glad | sad, low."
        )
    first, second = (
        tuple(
            one.strip() for one in side.split("\n" if "\n" in side.strip() else ",") if one.strip()
        )
        for side in sides
    )
    return checked_groups((first, second))


def checked_groups(groups: Groups) -> Groups:
    """Return two groups of texts that a direction can be made of."""
    for side in groups:
        if len(side) < 2:
            raise ValueError(
                "`direction` must have two texts or more on either side, so that two halves can be compared, "
                f"got {len(side)}. Add texts, with commas or lines between them."
            )
    if groups[0] == groups[1]:
        raise ValueError("`direction` must have other texts on either side, got the same twice.")
    return groups


def text_of(groups: Groups) -> str:
    """Write two groups as `groups_in` reads them."""
    between = "\n" if any("," in text for side in groups for text in side) else ", "
    return f" {BETWEEN} ".join(between.join(side) for side in groups)


def texts_to_read(model: LiveModel, groups: Groups) -> list[list[str]]:
    """Return both groups as the model reads them.

    Each text on a new line of its own, if one would be a single token: the first of a text may be an attention
    sink, which says nothing of the word.
    """
    found = model.tokens([text for side in groups for text in side])
    lone = bool(found.groupby("sample")["dropped"].all().any())
    return [[f"\n {text}" if lone else text for text in side] for side in groups]


def direction_of(panel: HasDirection, value: Any) -> Direction | Groups | None:
    """Return a direction of the panel's hook point, or two groups of texts that one is to be made of."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Direction):
        check_place(value, panel.model, panel.hook_point)
        return value
    if not panel.model.modality.is_text:
        raise ValueError(
            f"`direction` must be one from sn.direction for {panel.model.name}, which reads no texts, got "
            f"{shown(value)}. Pass panel.direction = sn.direction(model, hook_point, positive, negative)."
        )
    return groups_in(value) if isinstance(value, str) else checked_groups(two_groups(value))


class InForce(NamedTuple):
    """What was asked for when the dictionary in force was made."""

    direction: Direction | Groups | None
    hook_point: str


class HasDirection(HasAtoms):
    """The panel's dictionary: the SAE that it was opened with, or a direction in its place."""

    direction = Ruled(
        None,
        rule=direction_of,
        help="A direction in the place of the atoms: from sn.direction, two lists of texts, or one text such "
        "as “happy, glad | sad, low”. None: the SAE's atoms.",
    )

    if TYPE_CHECKING:
        model: LiveModel
        sae: SparseAutoencoder
        n_atoms: int
        hook_point: Any
        atom: Any
        strength: Any
        others: Any
        scale: StrengthScale
        _acts: Any
        _phase: Phase
        _opening: Opening
        _runs: SteeringRuns

        def _measure_strengths(self) -> None: ...
        def _read_anew(self) -> None: ...
        def _show_nothing(self) -> None: ...
        def _show_facts(self) -> None: ...
        def _request(self) -> None: ...

        @property
        def identity(self) -> Any: ...
        def _conclude(self) -> None: ...

    def _begin_with(self, sae: SparseAutoencoder) -> None:
        """Note the dictionary that the panel is opened with."""
        self._own_sae, self._own_atom = sae, 0
        self._in_force = InForce(None, self.hook_point)

    @property
    def fitted(self) -> Direction | None:
        """The direction that is steered with, with its reliability; None where it is an atom of an SAE."""
        return getattr(self.sae, "direction", None)

    @property
    def typed(self) -> Groups | None:
        """The two groups of texts whose direction is in force."""
        given = self._in_force.direction
        return given if isinstance(given, tuple) else None

    @property
    def trust(self) -> str:
        """What makes the direction in force believable, in a sentence; empty where an atom of an SAE is."""
        return "" if self.fitted is None else f"{self.fitted.headline}."

    @property
    def _measured_on(self) -> Any:
        """What usual strengths are measured on; None for a direction, whose unit is its groups' distance."""
        if self.fitted is not None:
            return None
        return self.names.catalogue if self._acts is None else self._acts

    @reacts("direction", "hook_point", doing="direction", early=True)
    def _take_direction(self) -> None:
        asked, before = InForce(self.direction, self.hook_point), self._in_force
        if asked == before:
            if self._phase is Phase.MEASURING:  # another was being read, and is not wanted any more
                self.forget_async()
                self._go_on()
        elif isinstance(asked.direction, tuple):
            self._make_direction(asked.direction, asked)
        elif asked.direction is before.direction:
            self._in_force = asked  # moved to another hook point
        else:
            given = asked.direction
            self._put_in_place(self._own_sae if given is None else given.as_sae(), asked)

    def _make_direction(self, groups: Groups, asked: InForce) -> None:
        """Read the two groups at the hook point, off the main thread, and steer with what is found."""
        self._phase = Phase.MEASURING
        self.loading("Reading the two groups of texts")

        def work() -> Direction:
            first, second = texts_to_read(self.model, groups)
            return direction(self.model, asked.hook_point, first, second, name=name_of(groups))

        def refused() -> None:
            """Leave all as it was."""
            self._opening = replace(self._opening, recipe=None)
            before = self._in_force
            with self.hold_trait_notifications():
                self.hook_point, self.direction = before.hook_point, before.direction
            if self._phase is Phase.MEASURING:
                self._go_on()

        self.run_async(
            work,
            lambda found: self._put_in_place(found.as_sae(), asked),
            doing="direction",
            otherwise=refused,
        )

    def _go_on(self) -> None:
        """Go on with the dictionary in force, whose strengths may still have to be measured."""
        if self.scale.lengths is None:
            self._measure_strengths()
            return
        self._phase = Phase.READY
        self._request()
        self._conclude()

    def _put_in_place(self, sae: SparseAutoencoder, asked: InForce) -> None:
        """Steer with the atoms of another dictionary."""
        for channel in ("main", "curve", "text"):
            self.forget_async(channel)
        if self.fitted is None or self.sae is self._own_sae:
            self._own_atom = self.atom
        recipe = self._opening.recipe
        self._phase, self.scale = Phase.MEASURING, StrengthScale(talks=bool(self.model.causal))
        self.sae, self.n_atoms, self._in_force = sae, int(sae.n_atoms), asked
        own = sae is self._own_sae
        self.names = names_of(
            sae, self._acts if own and isinstance(self._acts, AtomCatalogue) else None
        )
        self._runs = SteeringRuns(self.model, sae)
        self._read_anew()
        self._show_nothing()
        with self.hold_trait_notifications():
            self.others, self.atom, self.strength = (), self._own_atom if own else 0, 0.0
        self._opening = Opening(
            strength=recipe is None, text=bool(self.model.causal), recipe=recipe
        )
        self._show_facts()
        self._measure_strengths()

    @property
    def n_own(self) -> int:
        """Atoms of the SAE that the panel was opened with."""
        return int(self._own_sae.n_atoms)

    @checked
    def choose(self, typed: str) -> None:
        """Steer with what the field for atoms was given: "17" is an atom, "happy, glad | sad, low" a direction.

        Raises
        ------
        ValueError, IndexError: If there is no such atom.
        traitlets.TraitError: If the two groups are not fit for a direction.
        """
        if BETWEEN in typed:
            self.direction = typed
            return
        self.choose_atom(check_atom(read_whole(typed), self.n_own))

    def choose_atom(self, atom: int) -> None:
        """Steer with an atom of the SAE, also where a direction stands in its place."""
        self.direction = None
        self.atom = atom

    def _waits_for_dictionary(self, asked: SteeringRecipe) -> bool:
        """Ask for the dictionary of a recipe; return whether the recipe has to wait for it."""
        if asked.direction is not None:
            wanted: Direction | Groups | None = asked.direction
        elif asked.sae is None or asked.sae.is_same(self.identity):
            wanted = self._in_force.direction
        else:
            wanted = None
        if isinstance(wanted, tuple):
            there = InForce(wanted, asked.hook_point) == self._in_force
        else:
            there = wanted is self._in_force.direction
        if there:
            return False
        if wanted is None:  # before anything is changed
            for atom in asked.atoms:
                check_atom(atom, self.n_own)
        self._opening = replace(self._opening, recipe=asked)
        with self.hold_trait_notifications():
            self.hook_point, self.direction = asked.hook_point, wanted
        return True


def name_of(groups: Groups) -> str:
    """Return a short name of the direction of two groups: "happy − sad"."""
    first, second = (side[0] for side in groups)
    return " − ".join(
        text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for text in (first, second)
    )


class AtomEntry(Entry):
    """A field that takes the number of an atom, or two groups of texts, and shows what is in force."""

    def __init__(self, panel: HasDirection, width: int) -> None:
        texts = panel.model.modality.is_text
        tip = "Row of the dictionary that is made stronger"
        if texts:
            tip += "; or two groups of texts, whose direction is: happy, glad | sad, low"
        super().__init__(
            description="atom",
            tooltip=tip,
            placeholder="number, or happy, glad | sad, low" if texts else "number",
            continuous_update=False,
            layout=wide(css_width(width)),
            style={"description_width": "initial"},
        )
        self._panel = panel
        self.add_class("sae-nb-entry")
        self._follow()
        self.observe(self._take, "value")
        panel.observe(self._follow, ["atom", "direction"])

    def _follow(self, _: object = None) -> None:
        given = self._panel.direction
        self.value = text_of(given) if isinstance(given, tuple) else str(self._panel.atom)

    def _take(self, change: t.Bunch) -> None:
        panel, typed = self._panel, str(change["new"])
        given = panel.direction
        in_force = text_of(given) if isinstance(given, tuple) else str(panel.atom)
        if typed == in_force:
            return
        try:
            panel.choose(typed)
        except (ValueError, IndexError, t.TraitError):
            panel.refuse("atom", self._rule(typed), typed, in_force)
        self._follow()

    def _rule(self, typed: str) -> str:
        if BETWEEN in typed:
            return f"two texts or more, one “{BETWEEN}”, two other texts or more (happy, glad | sad, low)"
        last = self._panel.n_own - 1
        groups = ", or two groups of texts (happy, glad | sad, low)"
        return f"whole numbers from 0 to {last}{groups * self._panel.model.modality.is_text}"

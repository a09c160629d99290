"""AtomNames: what every atom is called, and what a person is shown of it in a glance."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from sae_nb.atoms._captions import Caption, Captions, says_much
from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._evidence import Badge, LabelEvidence, Verdict, badge, certified
from sae_nb.atoms._labels import Labels
from sae_nb.figures.theme import format_percent

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from sae_nb.atoms._records import Band, Example

CARD_EXAMPLES = 3
LONGEST_WORDS = 60
MOST_TRIED = 200
"""Atoms whose captions are looked at for one to begin with: a millisecond each. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomCard:
    """One atom in a glance: its name, how often it fires, its strongest examples."""

    atom: int
    name: str
    words: str
    """Number and words; the words alone, empty where nothing is known."""

    source: str
    """Where the words come from: "label", "label found automatically", "label read", "row", "caption", ""."""

    fires: str
    """Its frequency and on what it fires, in words; empty without activations."""

    keeps: str = ""
    """How many of its firings another solver keeps, in a sentence with its controls; empty if not known."""

    foretold: str = ""
    """How steady its effect is expected to be, and what came of a push; empty if not known."""

    examples: tuple[Example, ...]
    max_strength: float
    """The strongest firings, at most one per sample; the largest |z| of all."""

    badge: Badge | None = None
    """Result of measuring the label, and the verdict of a certificate, in a few words; None without either."""


class AtomNames:
    """Names of every atom of an SAE: a label, or an automatic caption.

    A written label comes first, then a measured one, as sure as its evidence is ("mostly digit 9"), then the
    row of the data that the atom is, if an SAE stores rows (`ITDA`), then a caption: what its strongest firings
    share, judged on samples it was not made from ("“dog”", "after “.”"). Where nothing separates the atom it
    has "no name yet", and the words it fires on are shown. Without activations an atom is its number.

    Parameters
    ----------
    catalogue
        The SAE's codes on example activations; None where there are none.
    labels
        Labels and notes by atom; may change at any time.

    Example
    -------
    >>> names = AtomNames(labels=Labels({3: "digit 7"}))
    >>> names.name(3), names.name(4)
    ('3 · digit 7', '4')
    >>> names.in_text(3), names.in_text(4)
    ('“digit 7” (atom 3)', 'atom 4')
    """

    def __init__(
        self,
        catalogue: AtomCatalogue | None = None,
        labels: Labels | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.labels = Labels() if labels is None else labels
        self._verdicts: Mapping[int, Verdict] = {}
        self._observers: list[Callable[[], Callable[[], None] | None]] = []
        self._captioner: Captions | None = None
        self._captions: dict[int, Caption | None] = {}
        self.labels.listen(self._changed)

    @property
    def _encoded(self) -> AtomCatalogue | None:
        catalogue = self.catalogue
        return catalogue if catalogue is not None and catalogue.encoded else None

    # --- names ------------------------------------------------------------------------------------

    def knows(self, atom: int) -> bool:
        """Return whether there are encoded activations that may hold examples of an atom."""
        catalogue = self._encoded
        return catalogue is not None and 0 <= atom < catalogue.n_atoms

    def words(self, atom: int) -> str:
        """Return the label of an atom, or its caption; empty where neither is known."""
        return _shortened(self._label(atom) or self.row(atom) or self.caption(atom))

    def _label(self, atom: int) -> str:
        """The label of an atom as its evidence lets it be quoted; empty if a caption is better."""
        label, found = self.labels.label(atom), self.labels.evidence(atom)
        if not label.strip():
            return ""  # a space is no name that anybody could read
        if found is None:
            return label
        better = found.worth == "unclear" and says_much(self.caption(atom))
        return "" if better else found.worded(label)

    def row(self, atom: int) -> str:
        """Return the row of the data that an atom is, in words; empty if atoms are not rows."""
        return self._rows[atom].words if atom < len(self._rows) else ""

    @cached_property
    def _rows(self) -> Sequence[Any]:
        """The rows of the data that atoms are, of an SAE that stores them."""
        return () if self.catalogue is None else getattr(self.catalogue.sae, "stored", ())

    def caption(self, atom: int) -> str:
        """Return the words made from what the atom fires on; empty without encoded activations."""
        made = self.made(atom)
        return "" if made is None else made.words

    def made(self, atom: int) -> Caption | None:
        """Return the caption of an atom with its evidence; None without encoded activations or their words."""
        if atom not in self._captions:
            if not self.knows(atom):
                return None  # not kept: it may be encoded later
            if self._captioner is None:
                self._captioner = Captions(cast(AtomCatalogue, self.catalogue))
            self._captions[atom] = self._captioner.caption(atom)
        return self._captions[atom]

    def name(self, atom: int) -> str:
        """Return number and words, as rows and titles show them: "161 · after “.”"."""
        words = self.words(atom)
        return f"{atom} · {words}" if words else f"{atom}"

    def short(self, atom: int) -> str:
        """Return the words of an atom as a narrow row shows them: without a name, what it fires on."""
        made = None if self._label(atom) or self.row(atom) else self.made(atom)
        words = self.words(atom) if made is None else _shortened(made.fires_on)
        return words or f"atom {atom}"

    def in_text(self, atom: int) -> str:
        """Return the name as a sentence has it: "“digit 4” (atom 474)", "atom 161 (after “.”)"."""
        label = self._label(atom)
        if label and label == self.labels.label(atom):
            said = _shortened(label)
            return f"{said if '“' in said else f'“{said}”'} (atom {atom})"
        words = label or self.row(atom) or self.caption(atom)
        return f"atom {atom} ({_shortened(words)})" if says_much(words) else f"atom {atom}"

    # --- a glance ---------------------------------------------------------------------------------

    def fires(self, atom: int) -> str:
        """Return how often an atom fires and of what: "8.9 % of 11 040 positions"."""
        catalogue = self._encoded if self.knows(atom) else None
        if catalogue is None:
            return ""
        return format_percent(float(catalogue.frequency[atom]), of=catalogue.rows_in_words)

    def foretold(self, atom: int) -> str:
        """Return how steady an atom's effect is expected to be, and what came of a push; empty if not known."""
        catalogue = self._encoded if self.knows(atom) else None
        return "" if catalogue is None else catalogue.foretold(atom)

    def examples(
        self, atom: int, n: int = CARD_EXAMPLES, band: Band = "top"
    ) -> tuple[Example, ...]:
        """Return examples of an atom, at most one per sample: the strongest, or those of another band."""
        from sae_nb.atoms._examples import examples_of

        catalogue = self._encoded if self.knows(atom) else None
        return () if catalogue is None else examples_of(catalogue, atom, n, band)

    def crop(self, atom: int) -> UInt8[np.ndarray, "3 height width"] | None:
        """Return the patch an atom fires on most strongly, with a little around it; None for no image."""
        from sae_nb.atoms._atom import build_crops

        catalogue = self._encoded if self.knows(atom) else None
        if catalogue is None:
            return None
        crops = build_crops(catalogue, atom, "top", 1)
        return None if crops is None else crops.pictures[0]

    def card(self, atom: int) -> AtomCard:
        """Return the card shown when an atom is pointed at."""
        catalogue = self._encoded if self.knows(atom) else None
        return AtomCard(
            atom=atom,
            name=self.name(atom),
            words=self.words(atom),
            source=self.source(atom),
            fires=self.fires(atom),
            keeps="" if catalogue is None else catalogue.keeps(atom),
            foretold=self.foretold(atom),
            examples=self.examples(atom),
            max_strength=float(catalogue.max_strength[atom]) if catalogue else 0.0,
            badge=self.badge(atom),
        )

    def badge(self, atom: int) -> Badge | None:
        """Return what was measured of the name that an atom shows, and of the atom, as a badge."""
        return certified(self.worth(atom), self._verdicts.get(atom))

    @property
    def verdicts(self) -> Mapping[int, Verdict]:
        """Verdicts of a certificate by atom; empty without one. Setting them draws the panels again."""
        return self._verdicts

    @verdicts.setter
    def verdicts(self, verdicts: Mapping[int, Verdict]) -> None:
        self._verdicts = dict(verdicts)
        self._changed()

    def worth(self, atom: int) -> Badge | None:
        """Return what was measured of the name alone; None where nothing was."""
        return badge(self._evidence(atom))

    def _evidence(self, atom: int) -> LabelEvidence | None:
        made = self.made(atom) if self.source(atom) == "caption" else None
        return self.labels.evidence(atom) if made is None else made.evidence

    def fits(self, atom: int) -> float:
        """Return the share of an atom's strong firings that its name is true of; NaN where not measured."""
        found = self._evidence(atom)
        return math.nan if found is None else found.fits

    def fits_floor(self, atom: int) -> float:
        """Return the share of all inputs that it is true of; NaN where not measured."""
        found = self._evidence(atom)
        return math.nan if found is None else found.fits_floor

    def source(self, atom: int) -> str:
        """Return the source of an atom's name, as its card shows it; empty without a name."""
        if self._label(atom):
            if self.labels.is_written(atom):
                return "label"
            return "label found automatically" if self.labels.is_made(atom) else "label read"
        if self.row(atom):
            return "row"
        return "caption" if says_much(self.caption(atom)) else ""

    def sureness(self, atom: int) -> tuple[int | None, str]:
        """Return the dots of an atom's name, 0 to 4, and what was measured of it; (None, "") without either."""
        found = self.worth(atom) if self.source(atom) else None
        if found is None or found.dots is None:
            return None, ""
        return found.dots, found.title

    def surest(self) -> list[int]:
        """Return atoms whose names hold, those told apart best from other atoms' names first.

        Labels that were not measured come first, as they were given; then those that beat other labels, first
        of them those whose words come when the atom is turned up; then captions of the most frequent atoms.
        Empty where no name holds.
        """
        known = [(self._rank(atom), atom) for atom in self._candidates()]
        return [atom for sure, atom in sorted(known, key=lambda one: -one[0]) if sure]

    def steerable(self) -> list[int]:
        """Return atoms whose names hold and whose words come when they are turned up, the surest first.

        Empty where that was measured of none.
        """
        labelled = [atom for atom in self.surest() if self.source(atom) != "caption"]
        known = ((atom, self.labels.evidence(atom)) for atom in labelled)
        return [atom for atom, found in known if found is not None and found.steers]

    def _candidates(self) -> list[int]:
        """Atoms that may have a name: those with a label, and the most frequent ones."""
        n_atoms = None if self.catalogue is None else self.catalogue.n_atoms
        labelled = [
            atom for atom in self.labels if atom >= 0 and (n_atoms is None or atom < n_atoms)
        ]
        catalogue = self._encoded
        often = [] if catalogue is None else catalogue.order("frequency")[:MOST_TRIED].tolist()
        return list(dict.fromkeys([*labelled, *often]))

    def _rank(self, atom: int) -> float:
        """4 if a name was given, above 2 if its words come when turned up, above 1 if a label; 0: it fails."""
        source, found = self.source(atom), self._evidence(atom)
        if found is None:
            return 4.0 if source.startswith("label") else 0.0
        mark = badge(found)
        if not source or mark is None or mark.standing != "holds":
            return 0.0
        if source == "caption":
            return found.f1
        lead = found.detection - found.control
        known = 2.0 if found.steers else 1.0
        return known + (lead if math.isfinite(lead) else 0.0)

    # --- changes ----------------------------------------------------------------------------------

    def observe(self, callback: Callable[[], None]) -> None:
        """Call a method after every change of a label, for as long as its object is alive."""
        self._observers.append(weakref.WeakMethod(callback))

    def _changed(self) -> None:
        for callback in [reference() for reference in self._observers]:
            if callback is not None:
                callback()


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_WORDS else f"{text[: LONGEST_WORDS - 1]}…"

"""Words of the AtomBrowser: the name of an atom, its certainty, a sentence, numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sae_nb.atoms import AtomCatalogue, AtomEffects, AtomNames, AtomSummary, Band
from sae_nb.figures.theme import format_count, format_number, format_percent
from sae_nb_widgets.components._concordance import words_around
from sae_nb_widgets.panel._examples import marked

BAND_NAMES: dict[Band, str] = {
    "top": "strongest",
    "99 %": "strong",
    "50 %": "typical",
    "10 %": "weak",
    "random": "random",
    "just below": "just missed",
}

RARE = 0.2
"""Frequency up to which "1 of 190" is read more easily than a percentage."""

MOST_SAID = 3
"""Words that a sentence names of what an atom makes the model say."""

MOST_READ = 8
"""Of the strongest examples, those whose words a sentence may name."""


def headline(record: AtomSummary, names: AtomNames) -> str:
    """Return what an atom is called, and of how many of its strong firings that is true, or on which words it
    fires most strongly; without a name what it fires on, else its number.
    """
    atom = record.atom
    if names.source(atom):
        fits, strongest = names.fits(atom), strongest_words(record, names)
        if math.isfinite(fits):
            return f"{names.words(atom)}: true of {format_percent(fits, digits=2)} of its strong firings"
        if strongest:
            return f"{names.words(atom)}: fires most strongly on {', '.join(strongest)}"
        return names.words(atom)
    made = names.made(atom)
    # "cls" and "registers" say where an atom is read, and nothing of the images drawn below the name.
    if made is not None and made.fires_on and not set(made.seen) <= {"cls", "registers"}:
        return f"no name yet: {made.fires_on}"
    return f"atom {atom}, no name yet"


def answer(
    record: AtomSummary,
    names: AtomNames,
    catalogue: AtomCatalogue,
    effects: AtomEffects | None = None,
) -> tuple[str, tuple[str, ...], str]:
    """Say of an atom in one claim what it does, else where it fires; return its bold words and reasons too.

    Its effect on the model is named only where it was measured and holds on other examples.
    """
    if not record.n_fired:
        return f"Never fires on the {catalogue.rows_in_words} of the example set.", (), ""
    fires = f"Fires on {often(record.frequency)} {unit(catalogue)}."
    says, is_text = confirmed_words(effects), catalogue.acts.context.modality.is_text
    says = whole_words(says) if is_text else says
    reasons = [_tested(effects), names.sureness(record.atom)[1]]
    if not says:
        return fires, (), " ".join(filter(None, reasons))
    verb = "expects" if is_text else "leans towards"
    claim = f"Turned up, the model {verb} {', '.join(says)}."
    return claim, says, " ".join(filter(None, [fires, *reasons]))


def _tested(effects: AtomEffects | None) -> str:
    """Say how much of what an atom raises it also raised on other examples, next to a random direction."""
    if effects is None or not effects.confirmed:
        return ""
    held = f"{sum(effects.confirmed)} of {len(effects.up)} outputs that it raises rose on other examples too"
    by_chance = effects.by_chance
    return f"{held}." if by_chance is None else f"{held}; of random directions at most {by_chance}."


def often(frequency: float) -> str:
    """Return a frequency as a person would say it.

    >>> often(0.00524), often(0.5).replace(chr(0x2009), " ")
    ('1 of 191', '50 % of')
    """
    if frequency <= RARE:
        return f"1 of {format_count(round(1 / frequency))}"
    return f"{format_percent(frequency, digits=2)} of"


def unit(catalogue: AtomCatalogue) -> str:
    """Return what an atom fires on: tokens, patches, rows."""
    counted = catalogue.row_word
    return catalogue.acts.context.modality.positions if counted == "positions" else counted


def strongest_words(record: AtomSummary, names: AtomNames) -> list[str]:
    """Return the words on which it fires most strongly, the first first, where its name does not say them."""
    if record.band != "top" or record.page:
        examples = names.examples(record.atom, MOST_READ)
    else:
        examples = record.examples[:MOST_READ]
    words: dict[str, str] = {}
    for example in examples:
        if example.tokens:
            word = words_around(example.tokens, example.position - example.first_position)[1]
            word = word.strip(' .,;:!?()[]"“”')
            words.setdefault(word.casefold(), word)
    named = names.words(record.atom).casefold()
    first = [word for key, word in words.items() if key][:MOST_SAID]
    if not first or first[0].casefold() in named:
        return []
    return [f"“{word}”" for word in first]


def confirmed_words(effects: AtomEffects | None) -> tuple[str, ...]:
    """Return what a measured atom makes the model say, if that held on other examples and not by chance."""
    if effects is None or not effects.confirmed or effects.by_chance is None:
        return ()
    least = max(effects.random_most or 0.0, 0.0)
    held = [
        name
        for (name, by), kept in zip(effects.up, effects.confirmed, strict=True)
        if kept and by > least
    ]
    if sum(effects.confirmed) <= effects.by_chance:
        return ()
    return tuple(held[:MOST_SAID])


def whole_words(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens that begin a word, as a sentence has them: the rest of a word tells a reader nothing.

    >>> whole_words([" groom", "elessness", " a", ","])
    ('groom',)
    """
    return tuple(
        token.strip()
        for token in tokens
        if token[:1].isspace() and len(token) > 2 and token.strip().isalpha()
    )


def numbers(record: AtomSummary, shown: str = "") -> str:
    """State how strongly the atom fires where it fires, and how many atoms never do."""
    n = int(record.frequencies.marks.get("never", 0))
    dead = f"{format_count(n)} of {format_count(record.n_atoms)} atoms never fire here"
    strengths = (
        f"{format_percent(record.frequency)}, {format_count(record.n_fired)} firings · strength there: mean "
        f"{format_number(record.mean_strength)}, 99th percentile {format_number(record.p99)}, "
        f"max {format_number(record.max_strength)}"
    )
    parts = [strengths] * bool(record.n_fired) + [shown] * bool(shown) + [dead] * bool(n)
    return " · ".join(parts)


def table(
    record: AtomSummary, names: AtomNames, rows: str, effects: AtomEffects | None = None
) -> dict[str, Any]:
    """Return the numbers of a record in reading order, for exported pages."""
    labels, name, worth = names.labels, names.name, names.badge(record.atom)
    neighbours = zip(record.nearest_atoms.tolist(), record.nearest_cosines.tolist())
    together = zip(record.coactive_atoms.tolist(), record.coactive_lifts.tolist())
    return {
        "atom": record.atom,
        "label": labels.label(record.atom) or None,
        "label_evidence": None if worth is None else worth.text,
        "note": labels.note(record.atom) or None,
        "name": names.words(record.atom) or None,
        "fires_on": format_percent(record.frequency, of=rows),
        "firings": record.n_fired,
        "mean_strength": record.mean_strength,
        "99th_percentile": record.p99,
        "max_strength": record.max_strength,
        "second_code": record.keeps or None,
        "foretold": record.foretold or None,
        **_examples(record),
        **_effects(record, effects),
        "nearest_atoms": ", ".join(f"{name(a)} (cos {format_number(c)})" for a, c in neighbours),
        "co_active_atoms": ", ".join(f"{name(a)} (lift {format_number(x)})" for a, x in together),
        "histogram": record.histogram.counts,
    }


def _effects(record: AtomSummary, measured: AtomEffects | None) -> dict[str, str]:
    """Return what it raises, with the way that was found; nothing where that is not known."""
    raised: Sequence[tuple[str, float]] = record.logits_up if measured is None else measured.up
    if not raised:
        return {}
    found = {
        "raises": ", ".join(f"“{x}”" for x, _ in raised),
        "found_by": record.logits_by if measured is None else measured.words,
    }
    if measured is not None and measured.confirmed:
        found["confirmed"] = f"{sum(measured.confirmed)} of {len(measured.confirmed)}"
        found["confirmed_by_a_random_direction"] = f"{measured.by_chance}"
    return found


def _examples(record: AtomSummary) -> dict[str, str]:
    """Return the rows and strengths of the examples shown: of every site, if they are side by side."""
    shown = {f"examples_at_{one.site}": one.examples for one in record.sites}
    return {
        name: f"{BAND_NAMES[record.band]}: "
        + "; ".join(f"{marked(e.place, e)}: {format_number(e.strength)}" for e in examples)
        for name, examples in (shown or {"examples": record.examples}).items()
    }

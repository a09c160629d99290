"""The findings of an InputLens, as sentences: words and percent first, the other numbers on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from sae_nb.activations.tokens import is_special
from sae_nb.corpora import Contrast, InputSummary
from sae_nb.evaluation import SpliceCheck
from sae_nb.figures import quoted_token, visible_token
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb.models import Modality
from sae_nb_widgets.components._base import atom_mark
from sae_nb_widgets.components._chips import sure_dots

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel

NAMED = 3
"""Atoms that the sentence names."""

LONGEST_ANSWER = 192
"""Letters of two lines."""

TAIL = 4
"""Tokens at the end of a text that are quoted as the place of the answer."""

NO_TEXT = "Type at least one word above."
NO_IMAGE = "Draw something, choose an input or upload a picture."
NO_FILM = "Choose an input or upload a GIF."
NO_SOUND = "Record something, choose an input or upload a .wav file."
NO_ANSWER = "This model has no answer to show, only hidden states."


def signed_number(value: float, digits: int = 3) -> str:
    """Write a number with its sign."""
    return ("+" if value > 0 else "") + format_number(value, digits=digits)


def times_words(lift: float) -> str:
    """Write how many times as often as usual."""
    return f"{format_number(lift, digits=2)}×"


def outcome_words(summary: InputSummary) -> str:
    """Name the class or token that contributions are to; empty where they are to neither."""
    return "" if summary.target is None else quoted_token(summary.run.outcome.name)


def score_words(summary: InputSummary) -> str:
    """State what contributions are to."""
    name = outcome_words(summary)
    return f"the score of {name}" if name else "the length of the output"


def answer_words(
    summary: InputSummary,
    other: InputSummary | None,
    contrast: Contrast | None,
    names: AtomNames,
    listed: Sequence[int] = (),
) -> str:
    """State what the model answers, and which atoms that hangs on; of two inputs, of the atoms `listed`."""
    if other is None or contrast is None:
        said, more = f"{_reads(summary)} {_matter(summary, names)}", _unnamed(summary, names)
        # Two lines are kept for it, so that a canvas stays under the pen.
        return f"{said}{more}" if len(said + more) <= LONGEST_ANSWER else said
    if not summary.answers:
        return f"{NO_ANSWER} {_differ(contrast, names, listed)}"
    a, b = (_likeliest(one) for one in (summary, other))
    text = Modality.of(summary.kind).is_text
    answers = f"A goes on with {a}, B with {b}" if text else f"A is read as {a}, B as {b}"
    return f"{answers}. {_differ(contrast, names, listed)}"


def answer_title(summary: InputSummary, names: AtomNames, shown: int) -> str:
    """Return the title of one picture or sound: what it is read as, and which named atom speaks for it.

    The one that is shown over it, if it does; else the one that does most. Those of one name are counted.
    """
    if not summary.answers or summary.target != summary.answers[0][0]:
        return ""
    used = summary.used
    read = f"It is read as {quoted_token(summary.answers[0][1])}"
    if not used.mattering.any():
        return f"{read}; no single atom stands out"
    raising = np.flatnonzero(used.mattering & (used.attribution > 0))
    atoms = used.atom[raising[np.argsort(-used.attribution[raising], kind="stable")]].tolist()
    speaking = sorted(
        (atom for atom in atoms if names.source(atom)), key=lambda atom: atom != shown
    )
    alike = [atom for atom in speaking if names.words(atom) == names.words(speaking[0])]
    if len(alike) > 1:
        return f"{read}: {len(alike)} atoms called “{names.words(alike[0])}” speak for it"
    if speaking:
        alone = "" if speaking[0] == atoms[0] else "is one that "
        return f"{read}: {names.in_text(speaking[0])} {alone}speaks for it"
    return f"{read}; no atom with a name speaks for it"


def _likeliest(summary: InputSummary) -> str:
    _, name, p = summary.answers[0]
    return f"{quoted_token(name)} ({format_percent(p, digits=2)})"


def _reads(summary: InputSummary) -> str:
    if not summary.answers:
        return NO_ANSWER
    if Modality.of(summary.kind).is_text:
        return f"After {last_words(summary)} the model goes on with {_likeliest(summary)}."
    return f"The model reads it as {_likeliest(summary)}."


def last_words(summary: InputSummary) -> str:
    """Return the end of a text, after which the model answers, in quotes: "“… honed by the”"."""
    tokens = [token for token in summary.tokens if not is_special(token)]
    words = "".join(tokens[-TAIL:]).split() or ["".join(tokens)]
    more = "… " * (len(tokens) > TAIL)
    return f"“{more}{visible_token(' '.join(words[-TAIL + 1 :]))}”"


def _matter(summary: InputSummary, names: AtomNames) -> str:
    used = summary.used
    what = "the answer" if summary.answers else "the output"
    if not len(used):
        return "No atom fires here."
    if used.moves_nothing:
        return f"Nothing here matters: no atom that fires moves {what}."
    if not used.mattering.any():
        return (
            f"No single atom stands out: random pushes of the same strengths move {what} as much."
        )
    first = _spoken_of(summary, names)
    raising, lowering = (
        [
            names.in_text(int(used.atom[place]))
            for place in first
            if sign * used.attribution[place] > 0
        ]
        for sign in (1, -1)
    )
    asked = summary.answers and summary.target != summary.answers[0][0]
    to = outcome_words(summary) if asked else "it"
    if not summary.answers:
        pushes = (_pushes(raising, "lengthen", what), _pushes(lowering, "shorten", what))
    else:
        pushes = (
            _pushes(raising, "speak", f"for {to}"),
            _pushes(lowering, "speak", f"against {to}"),
        )
    said = "; ".join(filter(None, pushes))
    return f"{said[0].upper()}{said[1:]}."


def _unnamed(summary: InputSummary, names: AtomNames) -> str:
    """Own up to atoms that matter more than any that the sentence names, and have no name."""
    used, said = summary.used, _spoken_of(summary, names)
    largest = float(np.abs(used.attribution[said]).max(initial=0.0))
    more = np.flatnonzero(used.mattering & (np.abs(used.attribution) > largest))
    found = [place for place in more if not names.source(int(used.atom[place]))]
    found.sort(key=lambda place: -abs(float(used.attribution[place])))
    if not found:
        return ""
    rest = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f" Stronger, unnamed: atom {int(used.atom[found[0]])}{rest}."


def atoms_in_words(summary: InputSummary, names: AtomNames) -> list[int]:
    """Return the atoms that the sentence about one input names, the largest effect first."""
    return [int(atom) for atom in summary.used.atom[_spoken_of(summary, names)]]


def _spoken_of(summary: InputSummary, names: AtomNames) -> Int[np.ndarray, " named"]:
    """Return their places: numbers tell a reader nothing, as long as there are names."""
    used = summary.used
    first = np.flatnonzero(used.mattering)
    first = first[np.argsort(-np.abs(used.attribution[first]), kind="stable")]
    named = [place for place in first if names.source(int(used.atom[place]))]
    return np.array(named[:NAMED] or first[:NAMED], dtype=int)


def _pushes(atoms: list[str], verb: str, what: str) -> str:
    """Say what atoms do; nothing of no atoms."""
    if not atoms:
        return ""
    named = " and ".join([", ".join(atoms[:-1]), atoms[-1]]) if len(atoms) > 1 else atoms[0]
    return f"{named} {verb}{'s' * (len(atoms) == 1)} {what}"


def _differ(contrast: Contrast, names: AtomNames, listed: Sequence[int]) -> str:
    found = contrast.strength
    n = int(found.above_floor.sum())
    if not n:
        return "No atom differs more than chance."
    # The list may be sorted by something else than what is said here.
    most = sorted(
        (atom for atom in listed if found.above_floor[atom]),
        key=lambda atom: -abs(found.value[atom]),
    )[:NAMED]
    named = _named(most, found.value[most].tolist(), names)
    among = f", among them {named} in mean activation" if most else ""
    return f"{'1 atom differs' if n == 1 else f'{n} atoms differ'} more than chance{among}."


def _named(atoms: Sequence[int], values: Sequence[float], names: AtomNames) -> str:
    return ", ".join(
        f"{names.in_text(atom)} {signed_number(value, 2)}"
        for atom, value in zip(atoms, values, strict=True)
    )


def numbers_words(summary: InputSummary, check: SpliceCheck | None, seconds: str) -> str:
    """Return what experts ask for: counts, what is measured, the divergence, the time."""
    used = summary.used
    n, chance = format_count(int(used.beyond.sum())), format_count(round(used.by_chance))
    parts = [
        f"{n} of {format_count(len(used))} active atoms matter (by luck about {chance} would), at "
        f"{len(summary.read)} positions of {summary.hook_point}",
        f"effects are on the {summary.measure}: gradient × activation",
    ]
    if check is not None and check.kl is not None:
        parts.append(
            f"overall shift without atom {check.atom} (KL): {format_number(check.kl)} nats"
        )
    return " · ".join([*parts, seconds])


MOST_GOING_ON = 4
"""Of the likeliest answers, those that stand in a line under a text."""


def goes_on_html(summary: InputSummary) -> str:
    """Return how the model goes on after a text, as escaped HTML; empty of a model without answers."""
    if not summary.answers:
        return ""
    shown = "".join(
        f"<b>{escape(visible_token(name, bare=True))}</b> <span>{format_percent(p, digits=2)}</span> "
        for _, name, p in summary.answers[:MOST_GOING_ON]
    )
    return f"The model goes on: {shown}"


# --- one atom -------------------------------------------------------------------------------------


def effect_words(summary: InputSummary, place: int) -> str:
    """State what an atom contributes, to first order, with what a random direction does."""
    effect, control = (
        float(values[place]) for values in (summary.used.attribution, summary.used.control)
    )
    if not effect:
        return f"Does not move {score_words(summary)} (estimate)."
    verb = "Raises" if effect > 0 else "Lowers"
    return (
        f"{verb} {score_words(summary)} by about {format_number(abs(effect), digits=2)} (estimate; a "
        f"random direction: up to {format_number(control, digits=2)})."
    )


def activity_words(summary: InputSummary, place: int) -> str:
    """State where and how strongly an atom fires here, and how unusual that is."""
    used = summary.used
    places = f"{format_count(len(summary.read))} {Modality.of(summary.kind).positions}"
    text = f"Active at {int(used.n_fired[place])} of {places}"
    if used.lift is not None:
        text += f", {times_words(float(used.lift[place]))} as often as usual"
    return f"{text}; peak {format_number(float(used.strength[place]))}."


def silent_words(summary: InputSummary, atom: int, which: str = "this input") -> str:
    """Report that an atom does not fire here, and how often it does elsewhere."""
    text = f"Silent on {which}."
    if summary.base is not None:
        often = format_percent(
            float(summary.base.frequency[atom]), of=Modality.of(summary.kind).positions
        )
        text += f" In the example set it fires on {often}."
    return text


def measured_words(check: SpliceCheck, summary: InputSummary) -> str:
    """State what running the model without an atom did, with the estimate."""
    moved = "rises" if check.exact < 0 else "falls" if check.exact else "changes"
    estimate = format_number(abs(check.first_order))
    if check.exact * check.first_order < 0:
        estimate += " the other way"
    text = (
        f"Measured without this atom: {score_words(summary)} {moved} by "
        f"{format_number(abs(check.exact))} (estimate: {estimate}; random: up to "
        f"{format_number(check.control)})."
    )
    if check.probability is not None:
        before, after = (format_percent(p, digits=2) for p in check.probability)
        text += f" Its probability {before} → {after}."
    return text


def difference_words(contrast: Contrast, atom: int) -> str:
    """State how two inputs differ in an atom, and whether chance alone would do."""
    found = contrast.strength
    value, floor = float(found.value[atom]), float(found.floor[atom])
    verdict = "more than" if bool(found.above_floor[atom]) else "no more than"
    return (
        f"A − B in mean activation: {signed_number(value)}, {verdict} chance alone gives "
        f"(±{format_number(floor)}; corrected p = {format_number(float(found.p_adjusted[atom]))})."
    )


def card_html(
    summary: InputSummary,
    atom: int,
    check: SpliceCheck | None,
    contrast: Contrast | None,
    names: AtomNames,
    *,
    effect: bool = True,
) -> str:
    """Return what is known of an atom in this input, with its effect or without, as escaped HTML."""
    place = summary.place(atom)
    if place is None:
        sentences = [silent_words(summary, atom, "this input" if contrast is None else "A")]
    else:
        sentences = [activity_words(summary, place)]
        sentences += [effect_words(summary, place)] * effect
    if check is not None:
        sentences.append(measured_words(check, summary))
    if contrast is not None:
        sentences.append(difference_words(contrast, atom))
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    title = atom_mark(atom, f"atom {names.name(atom)}")
    worth = sure_dots(*names.sureness(atom), spelt_out=True)
    return (
        f'<div class="sae-nb-card"><div class="sae-nb-cardtitle">{title} {worth}</div>{text}</div>'
    )


def notes_words(
    made: Sequence[Sequence[str]],
    first: InputSummary,
    second: InputSummary | None,
    contrast: Contrast | None,
) -> str:
    """Return what was done to each of the inputs, and missing information."""
    notes = [*made[0], *first.notes]
    if second is not None:
        notes += [*made[1], *second.notes]
    if contrast is not None and contrast.caveat:
        notes.append(contrast.caveat)
    return " · ".join(dict.fromkeys(notes))


def nothing_given(model: LiveModel) -> str:
    """Return what to do where there is no input."""
    if model.modality == "audio":
        return NO_SOUND
    if model.frames is not None:
        return NO_FILM
    return NO_IMAGE if model.modality.is_image else NO_TEXT

"""The effect of a steering, as sentences: words and percent first, the other numbers on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.figures import quoted_token
from sae_nb.figures.theme import format_number, format_percent
from sae_nb.steering._calibration import CalibratedStrength
from sae_nb.steering._modes import MODES, UNITS, Mode
from sae_nb.summaries import SteeringSummary
from sae_nb.summaries._continuing import Continuation
from sae_nb.summaries._dose_response import SteeringCurve
from sae_nb.summaries._steering import SteeringRecipe
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.atoms._names import AtomNames


SENTENCE_ENDS = (".", "!", "?", "…")
FIRST_WORDS = 6
RANDOM_PUSH = "random push of the same size"
STATES_HAVE_NO_CURVE = (
    "A dose–response curve needs class scores (wrap the model with class_names=) or next tokens"
)
NO_TEXT = "The text is empty. Type at least one word."
NO_IMAGE = "There is no image. Draw or choose one above."


class Cached:
    """An object whose methods are asked once for the same arguments: names and units between two changes."""

    def __init__(self, cached: object) -> None:
        self._cached = cached

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the object that remembers; asked for once."""
        kept = cache(getattr(self._cached, name))
        setattr(self, name, kept)
        return kept


def plain_number(value: float) -> str:
    """Write a number without zeros that say nothing: 3, 0.35, −2.5."""
    text = format_number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def strength_words(strength: float, unit: str, mode: Mode) -> str:
    """State what was done to an atom: "added at 3× full strength", "scaled by 0.5"."""
    how = MODES[mode]
    if strength == how.neutral:
        return "left as it is"
    below = strength < 0 and bool(how.verb_below)
    number = plain_number(abs(strength) if below else strength)
    verb = how.verb_below if below else how.verb
    return f"{verb} {UNITS[unit].amount_words(number) if how.takes_units else number}"


def kept_words(name: str, edit: str, scaled: bool) -> str:
    """State that an atom stays as it is edited until another one is chosen."""
    both = " “Match effect size” then scales both together." if scaled else ""
    return f"Kept: {name} {edit}. Choose another atom to change with it.{both}"


def lowered_words(strength: float, unit: str, before: float) -> str:
    """State that a strength which was set for another atom is not kept."""
    sign = UNITS[unit].sign or f" {UNITS[unit].words}"
    return (
        f"Strength back to {plain_number(strength)}{sign}: {plain_number(before)} was set for another "
        "atom and may break the model with this one."
    )


def headline(names: AtomNames | Cached, atom: int, strength: float, mode: Mode) -> str:
    """Return what is done, as the largest words of a panel: "Turn up “digit 4”"."""
    name = f"“{names.words(atom)}”" if names.source(atom) else f"atom {atom}"
    if mode == "set":
        return f"Hold {name}"
    neutral = MODES[mode].neutral or 0.0
    return f"Turn {'down' if strength < neutral else 'up'} {name}"


def edit_words(
    recipe: SteeringRecipe, names: AtomNames | Cached, scale: StrengthScale | Cached
) -> str:
    """State which atoms were changed and how: "“digit 4” (atom 474) added at 3× full strength"."""
    parts = [(recipe.atom, recipe.strength, recipe.unit)]
    for atom, amount in recipe.others:
        size = scale.unit_size(atom, recipe.mode)
        parts.append((atom, amount / size, scale.unit(atom, recipe.mode)))
    return " and ".join(
        f"{names.in_text(atom)} {strength_words(strength, unit, recipe.mode)}"
        for atom, strength, unit in parts
    )


def outcome_label(name: str, outcome: str) -> str:
    """Write a class as it is and a token in quotes."""
    return quoted_token(name) if outcome == "next token" else name


def answer_words(summary: SteeringSummary, edit: str, label: str = "") -> str:
    """State what the edit did to the answer: the outcome that changes most, and whether the whole answer moves
    further than under random directions.

    An outcome that `label` names ("digit 4": 4) is judged by itself, too.
    """
    if summary.outcome == "state":
        _, after, random = (format_number(value, digits=2) for value in summary.of_target)
        name = outcome_label(summary.target_name, summary.outcome)
        return (
            f"{edit}: the state of {name} turns most, to a cosine of {after} with what it was "
            f"({RANDOM_PUSH}: {random})."
        )
    words = label.casefold().split()
    own = (name for name in summary.names if name.strip().casefold() in words)
    meant = next(filter(summary.beyond, own), "")
    return f"{edit}: {_moved(summary, meant)}. {_verdict(summary, meant)}"


def _moved(summary: SteeringSummary, meant: str) -> str:
    """State what became of the answer, and what changed most; of an outcome that was asked about, its share."""
    old, new = summary.answers
    if summary.target_name != new:
        return f"P({_label(summary, summary.target_name)}) {_shares(summary, summary.target_name)}"
    answer = "the next token" if summary.outcome == "next token" else "the answer"
    becomes = f"{answer} changes from {_label(summary, old)} to {_label(summary, new)}"
    name = meant or summary.changed_most
    changes = np.abs(summary.after - summary.before)
    most = "changes beyond chance" if meant else "moves furthest from chance"
    if changes[summary.names.index(name)] == changes.max():
        most = "changes most"
    if old == new:
        becomes = f"{answer} stays {_label(summary, old)}"
        if name == old:
            return f"{becomes}, {_shares(summary, name)}"
    return f"{becomes}; {_label(summary, name)} {most}, {_shares(summary, name)}"


def _label(summary: SteeringSummary, name: str) -> str:
    return outcome_label(name, summary.outcome)


def _shares(summary: SteeringSummary, name: str) -> str:
    """Write an outcome's probability before and after, and its range under random directions."""
    place = summary.names.index(name)
    drawn = summary.controls[:, place]
    before, after, low, high = (
        format_percent(float(value), digits=2)
        for value in (summary.before[place], summary.after[place], drawn.min(), drawn.max())
    )
    change = before if before == after else f"{before} → {after}"
    return f"{change} (random: {low} to {high})"


def _verdict(summary: SteeringSummary, meant: str) -> str:
    """State whether the whole answer moves further than under random directions, or another way."""
    if summary.moves_further:
        return "In all, more than chance."
    if meant or summary.beats_chance:
        return "In all, random pushes move it as far, but not this way."
    return "In all, no more than chance."


def continuation_words(record: Continuation, edit: str) -> str:
    """State how the text continues and how without the edit, in a few words of each, and whether a random
    direction leaves its beginning as it is.
    """
    before, after, random = (
        first_words(tokens) for tokens in (record.before, record.after, record.random)
    )
    if after == before:
        return f"{edit}: the text begins to go on as it would anyway, “{before}”."
    control = "the same" if random == before else f"“{random}”"
    return (
        f"{edit}: the text goes on “{after}”; without, “{before}”; with a random push, {control}."
    )


def first_words(tokens: Sequence[str], skipped: int = 0) -> str:
    """Return the first words of a continuation, after those that are skipped, as a sentence quotes it."""
    kept, cut = whole_words(tokens)
    words = "".join(kept).split()
    shown = words[skipped : skipped + FIRST_WORDS]
    more = cut or len(words) > skipped + FIRST_WORDS
    return "… " * bool(skipped) + " ".join(shown) + " …" * more


def whole_words(tokens: Sequence[str]) -> tuple[list[str], bool]:
    """Return the tokens of a continuation without a possibly incomplete last word, and whether it was
    cut off.

    A text ends with its sentence or with "…"; tokens may hold several words, so one may be cut in two.
    """
    text = "".join(tokens)
    if not text or text.rstrip("”\"') ").endswith(SENTENCE_ENDS):
        return list(tokens), False
    room = text.rstrip().rfind(" ")
    kept: list[str] = []
    for token in tokens:
        if room > 0 and token[:room]:
            kept.append(token[:room])
        room -= len(token)
    return kept or list(tokens), True


def numbers_words(summary: SteeringSummary) -> str:
    """Return what experts ask for: divergence, strength in the model's units, size of the change."""
    recipe, parts = summary.recipe, []
    if summary.kl is not None and summary.kl_controls is not None:
        drawn = summary.kl_controls
        low, high = (format_number(float(end)) for end in (drawn.min(), drawn.max()))
        parts.append(
            f"overall shift (KL) {format_number(summary.kl)} nats, {len(drawn)} random pushes {low} to {high}"
        )
    unit = UNITS[recipe.unit]
    if unit.measured:
        parts.append(
            f"strength {format_number(recipe.amount)} = {plain_number(recipe.strength)} {unit.words}, "
            f"{unit.meaning} ({format_number(recipe.p99)})"
        )
    parts.append(f"length of the push {format_number(summary.edit_norm)}")
    return " · ".join(parts)


def search_words(found: CalibratedStrength | None) -> str:
    """State what looking for a strength came to; empty where none was looked for."""
    if found is None:
        return ""
    if not found.reached:
        return f"Match effect size: {found.target_kl:g} nats are out of reach."
    tries = "1 try" if found.n_runs == 1 else f"{found.n_runs} tries"
    return f"Match effect size {found.target_kl:g}: strength found in {tries}."


def curve_words(curve: SteeringCurve) -> str:
    """State how large the effect at the recipe's strength is, and what random directions reach."""
    response, at = curve.response, curve.recipe.strength
    low, effect, high = (
        float(np.interp(at, curve.strengths, values))
        for values in (
            np.quantile(response.control, 0.05, axis=0),
            response.effect,
            np.quantile(response.control, 0.95, axis=0),
        )
    )
    log = response.measure.startswith("log-probability")
    name = outcome_label(curve.target_name, "next token" if log else "class")
    what = f"the log-probability of {name}" if log else f"P({name})"
    size, factor = ("", 1.0) if log else (" points", 100.0)
    moves = "rises" if effect >= 0 else "falls"
    strength = UNITS[curve.recipe.unit].amount_words(plain_number(at))
    verdict = " That is no more than chance." if low <= effect <= high else ""
    least, by, most = (format_number(factor * v, digits=2) for v in (low, abs(effect), high))
    return (
        f"At {strength}, {what} {moves} by {by}{size}; "
        f"{len(response.control)} random directions: {least} to {most}{size}.{verdict}"
    )


def recipe_words(recipe: SteeringRecipe, names: AtomNames, scale: StrengthScale) -> str:
    """Name a recipe in a few words."""
    return f"{edit_words(recipe, names, scale)}, at {recipe.hook_point}"


def changes_words(record: Continuation) -> str:
    """State how many of the new tokens changed, also under a random direction, and how much that means."""
    ours, control = int(record.after_changed.sum()), int(record.random_changed.sum())
    counted = f"{ours} of {len(record.after)} new tokens changed (random push: {control})"
    return (
        f"{counted}, so the count alone proves nothing: read the texts."
        if control
        else (f"{counted}. Counts alone prove nothing: read the texts.")
    )

"""The effect of a steering, as sentences: words and percent first, the other numbers on demand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from sae_nb.atoms import is_content_word
from sae_nb.figures import quoted_token
from sae_nb.figures.theme import format_number, format_percent
from sae_nb.generation import shared_beginning
from sae_nb.steering import CalibratedStrength, SteeringCurve, SteeringRecipe, SteeringSummary
from sae_nb.steering.modes import MODES, UNITS, Mode
from sae_nb_widgets.components._branches import words_of_its_own
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames


SENTENCE_ENDS = (".", "!", "?", "…")
FIRST_WORDS, N_SAID = 6, 3
"""Words that a sentence quotes, and that a heading names."""

LONGEST_LABEL, LUCK = 26, 0.2
"""Letters of a name in a label; share of the random pushes from which on an effect is called chance."""

WORDS = re.compile(r"\s*\S+")
EQUAL = "equally long"
"""What random pushes share with the edit, where they are added: not how far states move for it later."""

RANDOM_PUSH = f"{EQUAL} random push"
STATES_HAVE_NO_CURVE = (
    "A dose–response curve needs class scores (wrap the model with class_names=) or next tokens"
)
NEXT_WORD = "the very next word alone, and how far states move"
"""What a page about texts has folded."""

NO_TEXT = "The text is empty. Type at least one word."
NO_IMAGE = "There is no image. Draw or choose one above."


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


def headline(names: AtomNames, atom: int, strength: float, mode: Mode, outcome: str = "") -> str:
    """Return what is done and what comes of it, as the largest words of a panel.

    "“digit 4” turned up: 7 becomes 4", or "Turn up “digit 4”" while nothing is known.
    """
    name = names.words(atom) if names.source(atom) else f"atom {atom}"
    if names.source(atom) and "“" not in name:
        name = f"“{name}”"
    way = "down" if strength < (MODES[mode].neutral or 0.0) else "up"
    do, done = MODES[mode].headline or (f"Turn {way}", f"turned {way}")
    if not outcome:
        return f"{do} {name}"
    return f"{name[:1].upper()}{name[1:]} {done}: {outcome}"


def push_words(names: AtomNames, atom: int, strength: float, unit: str, mode: Mode = "add") -> str:
    """Return what is added as the label of a row: "+ outer space 1.5×"."""
    name = names.words(atom) if names.source(atom) else f"atom {atom}"
    name = name if len(name) <= LONGEST_LABEL else f"{name[:LONGEST_LABEL]}…"
    if mode != "add":
        return f"{name} {MODES[mode].verb} {plain_number(strength)}"
    sign = "−" if strength < 0 else "+"
    return f"{sign} {name} {plain_number(abs(strength))}{UNITS[unit].sign}"


def edit_words(recipe: SteeringRecipe, names: AtomNames, scale: StrengthScale) -> str:
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


def _judged(summary: SteeringSummary, label: str, about: str) -> str:
    """Return the outcome that is judged: the one asked `about`; else one that `label` names ("digit 4": 4),
    where few random pushes move it as far; else the one that fewest move as far.
    """
    if about:
        return about
    words = label.casefold().split()
    own = (name for name in summary.names if name.strip().casefold() in words)
    return next((name for name in own if _is_rare(summary, name)), summary.changed_most)


def _is_rare(summary: SteeringSummary, name: str) -> bool:
    """Return whether less than a fifth of the random pushes move an outcome as far: it is not called chance."""
    return summary.as_far(name) / len(summary.controls) < LUCK


def outcome_words(summary: SteeringSummary, label: str = "", about: str = "") -> str:
    """Return what became of the answer, as a heading has it: "7 becomes 4", "4 rises to 15 %"."""
    if summary.outcome == "state":
        return ""
    old, new = (_label(summary, name) for name in summary.answers)
    if old != new and not about:
        return f"{old} becomes {new}"
    name = _judged(summary, label, about)
    place = summary.names.index(name)
    before, after = (float(values[place]) for values in (summary.before, summary.after))
    if not (_is_rare(summary, name) or summary.moves_further):
        return "no more than chance"
    way = "stays at" if after == before else "rises to" if after > before else "falls to"
    return f"{_label(summary, name)} {way} {format_percent(after, digits=2)}"


def verdict_words(summary: SteeringSummary, label: str = "", about: str = "") -> str:
    """State in one short sentence how many of the random pushes do as much."""
    n = len(summary.controls)
    if summary.outcome == "state":
        name = _label(summary, summary.target_name)
        return f"The state of {name} turns most, to a cosine of {_cosine(summary, 1)}."
    name = _judged(summary, label, about)
    count = summary.as_far(name)
    if not count or about or _is_rare(summary, name):
        many = f"{count or 'None'} of {n} {EQUAL} random pushes move{'s' * (count <= 1)}"
        return f"{many} {_label(summary, name)} as far."
    if summary.moves_further:
        return f"The whole answer moves further than under {n} {EQUAL} random pushes."
    every = "next word" if summary.outcome == "next token" else "class"
    return f"Random pushes move every {every} as far: no more than chance."


def answer_words(summary: SteeringSummary) -> str:
    """State what the edit did to the answer, and what random pushes do to it: the numbers behind the claim."""
    if summary.outcome == "state":
        name = _label(summary, summary.target_name)
        return (
            f"The state of {name} turns to a cosine of {_cosine(summary, 1)} with what it was "
            f"({RANDOM_PUSH}: {_cosine(summary, 2)})."
        )
    old, new = summary.answers
    named = dict.fromkeys((summary.target_name, summary.changed_most, old, new))
    shares = "; ".join(f"P({_label(summary, name)}) {_shares(summary, name)}" for name in named)
    return f"{shares}."


def _cosine(summary: SteeringSummary, which: int) -> str:
    return format_number(summary.of_target[which], digits=2)


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


def said_words(prompt: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """Return up to three words that only the first of several texts has, and that say what it is about."""
    ours, *others = rows
    kept, _ = whole_words(ours)
    marked = words_of_its_own(kept, [WORDS.findall(prompt), *others])
    own = "".join(token if mark else " " for token, mark in zip(kept, marked, strict=True)).split()
    plain = (word.strip('.,;:!?“”"()[]') for word in own)
    return list(dict.fromkeys(filter(is_content_word, plain)))[:N_SAID]


def told_words(prompt: str, rows: Sequence[Sequence[str]]) -> str:
    """Return what a text turns to, as a heading has it: "mission, planet, crew".

    `rows`: with the edit, untouched, and along random directions.
    """
    if rows[0] == rows[1]:
        return "the text stays as it is"
    return ", ".join(said_words(prompt, rows)) or "the text goes another way"


def text_verdict(prompt: str, rows: Sequence[Sequence[str]]) -> str:
    """State in one short sentence what random pushes do to the text."""
    ours, untouched, *random = rows
    if ours == untouched:
        return "It changes no word. Turn it further, or take another atom."
    n, changed = len(random), sum(row != untouched for row in random)
    pushes, alone = f"{n} {EQUAL} random pushes", f"n {EQUAL} random push"
    if not changed:
        return f"{f'None of {pushes}' if n > 1 else f'No{alone[1:]}'} changes a word."
    if said_words(prompt, rows):
        if n > 1:
            return f"None of {pushes} says any of these."
        return f"A{alone} says none of these."
    who = f"{changed} of {pushes}" if n > 1 else f"A{alone}"
    return f"{who} {'change' if changed > 1 else 'changes'} the text, too."


def tell_texts(prompt: str, rows: Sequence[Sequence[str]]) -> tuple[str, str, str]:
    """Return the heading, the claim and the reasons of texts: with the edit, untouched, random pushes."""
    reasons = f"{texts_words(rows)} {changes_words(rows)}"
    return told_words(prompt, rows), text_verdict(prompt, rows), reasons


def tell_answer(summary: SteeringSummary, label: str, about: str) -> tuple[str, str, str]:
    """Return the heading, the claim and the reasons of an answer, of the outcome asked `about` or another."""
    return (
        outcome_words(summary, label, about),
        verdict_words(summary, label, about),
        answer_words(summary),
    )


def texts_words(rows: Sequence[Sequence[str]]) -> str:
    """State how a text continues, how without the edit and with random pushes, in a few words of each."""
    common = shared_beginning(rows)
    after, before, *random = (f"“{first_words(tokens, common)}”" for tokens in rows)
    *most, last = random
    pushed = f"random pushes, {', '.join(most)} and {last}" if most else f"a random push, {last}"
    return f"{after}; untouched, {before}; with {pushed}."


def first_words(tokens: Sequence[str], common: int = 0) -> str:
    """Return the first words of a continuation after those that all begin with, as a sentence quotes it."""
    kept, cut = whole_words(tokens)
    words = "".join(kept[common:]).split()
    shown = words[:FIRST_WORDS]
    more = cut or len(words) > FIRST_WORDS
    return "… " * bool(common) + " ".join(shown) + " …" * more


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
    strength = UNITS[curve.recipe.unit].amount_words(plain_number(at))
    verdict = " That is no more than chance." if low <= effect <= high else ""
    least, by, most = (format_number(factor * v, digits=2) for v in (low, effect, high))
    return (
        f"At {strength}, {what} changes by {by}{size}; "
        f"{len(response.control)} random directions: {least} to {most}{size}.{verdict}"
    )


def recipe_words(recipe: SteeringRecipe, names: AtomNames, scale: StrengthScale) -> str:
    """Name a recipe in a few words."""
    return f"{edit_words(recipe, names, scale)}, at {recipe.hook_point}"


def changes_words(rows: Sequence[Sequence[str]]) -> str:
    """State how many of the new tokens changed, also under random directions, and how much that means."""
    after, before, *random = rows
    ours, *drawn = (int(changed_tokens(before, row).sum()) for row in (after, *random))
    control = f"random push: {drawn[0]}"
    if len(drawn) > 1:
        mean = plain_number(sum(drawn) / len(drawn))
        control = f"{len(drawn)} random pushes: {mean} on average, {min(drawn)} to {max(drawn)}"
    why = ", so the count alone proves" if any(drawn) else ". Counts alone prove"
    return f"{ours} of {len(after)} new tokens changed ({control}){why} nothing: read the texts."


def changed_tokens(before: Sequence[str], after: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Return which tokens of `after` are not part of what both have in common, in order."""
    changed = np.ones(len(after), dtype=bool)
    matcher = SequenceMatcher(a=list(before), b=list(after), autojunk=False)
    for block in matcher.get_matching_blocks():
        changed[block.b : block.b + block.size] = False
    return changed

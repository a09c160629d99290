"""The sentences of a ChangesPanel: what changed, where, and what explains it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from sae_nb.diffing import ChangedImage
from sae_nb.figures import quoted_token, visible_token
from sae_nb.figures.shapes import shortened
from sae_nb.figures.theme import format_number, format_percent
from sae_nb_widgets.panel._heading import place_words

if TYPE_CHECKING:
    from sae_nb.diffing import ChangedPhrase, ChangedText, ModelDiff
    from sae_nb_widgets.changes._views import Answer, Both

NONE = -1
"""No finding, no place, no input of the list."""

FIRST_WORDS, LONGEST_ROW, TITLE_PX = 3, 460, 420
"""Words of how a model goes on, in the title; pixels of a text in the list, and of a phrase in the title."""

SENTENCE_ENDS = (".", "!", "?")

TINTED = "Tinted: words that the model before would hardly have written here (below 5 %)."

BEFORE, AFTER = "before fine-tuning", "after fine-tuning"
SET_BACK, RANDOM_BACK = "one direction set back", "a random one set back"
"""Rows of texts and of chances."""

EVERYWHERE, NOWHERE, MOSTLY = 0.9, 0.05, 0.5
"""Chance from which a phrase is said, below which it is not, and from which it is likelier than not. Ours."""

SAME = "Nothing differs on these {}s: the largest difference is rounding."


def finding_words(found: ModelDiff, finding: int) -> str:
    """Return a finding in words: "principal component 1 after block 2"."""
    row = found.table.iloc[finding]
    kind = str(row["finding"])
    numbered = any(one.isdigit() for one in kind)
    return f"{'' if numbered else 'the '}{kind} {place_words(str(row['hook_point']))}"


def phrase_title(phrase: ChangedPhrase) -> str:
    """Return what a fine-tuned model says, and after which share of the places where it could."""
    said = f"Fine-tuned, it says “{shortened(phrase.phrase, 26, TITLE_PX)}” after"
    place = "sentence" if phrase.token.strip() in SENTENCE_ENDS else quoted_token(phrase.token)
    n, often = len(phrase.after), int((phrase.after >= MOSTLY).sum())
    if phrase.after.min() >= EVERYWHERE and phrase.before.max() < NOWHERE:
        return f"{said} every {place}"
    plural = "s" if place == "sentence" and n != 1 else ""
    return f"{said} {often} of {n} {place}{plural}"


def phrase_answer(phrase: ChangedPhrase) -> str:
    """Return what setting back a direction takes of a phrase, next to random directions."""
    first, later = phrase.first, ~phrase.first
    after, back = (float(one[first].mean()) for one in (phrase.after, phrase.set_back))
    random = phrase.random[first].mean(axis=0)
    numbers = f"({_share(after)} → {_share(back)})"
    one = f"Setting back one direction of {phrase.d}"
    if not (back < MOSTLY <= after and random.min() >= MOSTLY):
        chance = f"random ones to {_share(random.min())} at least"
        return f"{one} changes the first one’s chance {numbers}, {chance}."
    rest = ""
    if later.any():
        goes = phrase.set_back[later].mean() < MOSTLY <= phrase.after[later].mean()
        stays = phrase.set_back[later].mean() >= MOSTLY
        rest = ", and later ones" if goes else ", later ones stay likely" if stays else ""
    return f"{one} takes the first one away {numbers}{rest}; no random one does."


def places_of(phrase: str, tokens: Sequence[str]) -> list[bool]:
    """Return which tokens of a text belong to a phrase.

    >>> places_of("So it.", [" A", ".", " S", "o", " it", ".", " So"])
    [False, False, True, True, True, True, False]
    """
    text, ends = "".join(tokens), np.cumsum([len(token) for token in tokens])
    inside = np.zeros(len(text) + 1, bool)
    for found in re.finditer(re.escape(phrase), text):
        inside[found.start() : found.end()] = True
    return [bool(inside[end - len(token) : end].any()) for token, end in zip(tokens, ends)]


def chance_heads(phrase: ChangedPhrase) -> tuple[str, str]:
    """Return what the two columns of chances are."""
    place = "sentence" if phrase.token.strip() in SENTENCE_ENDS else quoted_token(phrase.token)
    said = f"chance of “{shortened(phrase.phrase, 13, TITLE_PX // 2)}”"
    return f"{said} after the first {place}", "after later ones"


def chance_rows(phrase: ChangedPhrase) -> dict[str, tuple[float, float]]:
    """Return mean chances at the first place of each text and at later ones, 0 where there are none.

    Of random directions the mean of all.
    """
    first, later = phrase.first, ~phrase.first
    rows = (phrase.before, phrase.after, phrase.set_back, phrase.random.mean(axis=1))
    names = (BEFORE, AFTER, SET_BACK, RANDOM_BACK)
    return {
        name: (float(row[first].mean()), float(row[later].mean()) if later.any() else 0.0)
        for name, row in zip(names, rows, strict=True)
    }


def answer_words(found: ModelDiff, noun: str) -> tuple[str, str, list[str]]:
    """Return what changed on all inputs, which direction carries most of it, and the words to mark."""
    if found.same:
        return SAME.format(noun), "", []
    best, raised = found.table.iloc[0], quoted_token(str(found.outcomes["outcome"].iloc[0]))
    simple = [note for note in found.notes if "simplest method" in note]
    if best["finding"] == "mean difference":
        simple = []
        which = f"{finding_words(found, 0)} (the simplest method),"
    else:
        which = f"{finding_words(found, 0)},"
    rests = (
        f"One direction, {which} carries {_share(best['share'])} of the change on these {noun}s, the best of "
        f"three random directions {_share(best['control'])}."
    )
    what = "token" if noun == "text" else "class"
    said = f"The {what} that the training raised most is {raised}."
    return said, " ".join([rests, *simple]), [raised.strip("“”")]


def numbers_words(found: ModelDiff, noun: str) -> str:
    """Return the numbers behind the answer."""
    places = "places" if noun == "text" else f"{noun}s"
    return (
        f"mean KL {format_number(found.kl)} nats, 95 % interval {format_number(found.low)} to "
        f"{format_number(found.high)}, {found.n_places} {places}"
    )


def headline_words(both: Both) -> str:
    """Return how both models go on: "“So it was” where it was “The rabbit looked”"."""
    ways = ["".join(way).split() for way in (both.before, both.after)]
    if not all(ways):
        return ""
    apart = [i for i, (old, new) in enumerate(zip_longest(*ways)) if old != new]
    if not apart:
        return f"“{' '.join(ways[1][:FIRST_WORDS])}”, as before"
    first = 0 if apart[0] < FIRST_WORDS else apart[0]
    old, new = ("… " * bool(first) + " ".join(way[first : first + FIRST_WORDS]) for way in ways)
    return f"Now “{new}”, before “{old}”"


def top_answers(text: ChangedText, place: int) -> tuple[str, str]:
    """Return the most probable answers before and after."""
    names = [visible_token(name, bare=True) for name in text.outcomes[place]]
    return names[int(text.before[place].argmax())], names[int(text.after[place].argmax())]


def n_places(seen: Answer) -> int:
    """Return how many tokens or patches an input has."""
    return int(seen.goes.size) if isinstance(seen, ChangedImage) else len(seen.tokens)


def moved_words(seen: ChangedImage) -> str:
    """Return both answers to an image: "4 → 7", or "4, as before"."""
    old, new = (visible_token(name) for name in seen.answers)
    return f"{new}, as before" if old == new else f"{old} → {new}"


TELLING = 0.05
"""Probability that the outcome raised most must gain somewhere for a text to open there. Ours."""


def first_place(text: Answer, found: ModelDiff | None, phrase: ChangedPhrase | None = None) -> int:
    """Return the place that opens: where the phrase could first stand, or where the outcome that was raised
    most gains most, so that the answer is seen; else where the direction explains most, or the largest
    change; of an image the patch that counts most.
    """
    if isinstance(text, ChangedImage):
        return int(text.goes.argmax())
    if phrase is not None and phrase.token in text.tokens[:-1]:
        return text.tokens.index(phrase.token)
    if found is not None and not found.same:
        named = str(found.outcomes["outcome"].iloc[0])
        gains = np.where(
            [[name == named for name in row] for row in text.outcomes], text.after - text.before, 0
        )
        if gains.max() >= TELLING:
            return int(gains.max(axis=1).argmax())
    return int((text.kl if text.left is None else text.kl - text.left).argmax())


def answers_at(
    seen: Answer, place: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the answers at a place, in words, and their probabilities before, after and set back."""
    if isinstance(seen, ChangedImage):
        return (
            [visible_token(name) for name in seen.outcomes],
            seen.before,
            seen.after,
            seen.set_back,
        )
    names = [quoted_token(name) for name in seen.outcomes[place]]
    rest = None if seen.set_back is None else seen.set_back[place]
    return names, seen.before[place], seen.after[place], rest


def title_words(seen: Answer, place: int) -> str:
    """Return the title of the answers at a place."""
    if isinstance(seen, ChangedImage):
        return f"The answer to the image: {moved_words(seen)}"
    return f"After {quoted_token(seen.tokens[place])}, token {place}"


def place_sentence(text: Answer, place: int, back: str) -> str:
    """Return how far the answer at a place moved, and how much of that the direction explains."""
    if isinstance(text, ChangedImage):
        return f"{_image_sentence(text, back)} {_covered_sentence(text, place)}"
    said = f"The next token moved by {format_number(float(text.kl[place]))} nats"
    if text.left is None:
        return f"{said}."
    return f"{said}; {format_number(float(text.left[place]))} are left when {back} is set back."


def _image_sentence(image: ChangedImage, back: str) -> str:
    said = f"The answer moved by {format_number(image.kl)} nats"
    if image.left is None:
        return f"{said}."
    return f"{said}; {format_number(image.left)} are left when {back} is set back."


def _covered_sentence(image: ChangedImage, place: int) -> str:
    row, column = np.unravel_index(place, image.goes.shape)
    left = float(image.covered[row, column])
    return f"Patch {row},{column} covered with its neighbours: {format_number(left)} are left."


IMAGE_LEGEND = (
    "Shaded: nats that go when a patch and its neighbours are covered by the mean colour."
)


def legend_words(text: Answer, back: str) -> str:
    """Return what the two rows of tokens, or the shades of an image, are."""
    if isinstance(text, ChangedImage):
        return IMAGE_LEGEND
    first = "Shaded: how far the answer after a token moved (KL, nats)."
    if text.left is None:
        return first
    whole = float(text.kl.sum())
    share = 1 - float(text.left.sum()) / whole if whole else 0.0
    goes = f"{_share(share)} of this text's change goes"
    return f"{first} Second row: what is left when {back} is set back; {goes}."


def finding_rows(found: ModelDiff) -> list[list[str]]:
    """Return the cells of the list of findings."""
    return [
        [
            _short(str(row["finding"])),
            place_words(str(row["hook_point"])).removeprefix("after "),
            _share(row["share"]),
            _share(row["control"]),
            ", ".join(quoted_token(one) for one in str(row["raises"]).split(", ")[:3]),
        ]
        for _, row in found.table.iterrows()
    ]


_SHORT = {
    "mean difference": "mean diff.",
    "principal component": "component",
    "atom of an SAE on differences,": "SAE atom",
    "exclusive atom of a crosscoder,": "own atom",
}
"""Kinds of findings as a narrow column holds them."""


def _short(finding: str) -> str:
    for long, short in _SHORT.items():
        finding = finding.replace(long, short)
    return finding


FINDING_HEADS = ("direction", "after", "share", "random", "raises")
TEXT_HEADS = ("text", "KL, nats", "left", "most after")
NUMBERS = {"share", "random", "KL, nats", "left"}
"""Columns of numbers."""


def text_rows(found: ModelDiff, texts: tuple[str, ...]) -> tuple[list[list[str]], list[int]]:
    """Return the cells of the list of texts, the most changed first, and which text each row is."""
    by = found.texts.groupby("sample")
    means = by[["kl", "left"]].mean().sort_values("kl", ascending=False, kind="stable")
    most = by["kl"].idxmax()
    numbers = [int(one) for one in means.index if int(one) < len(texts)]
    rows = [
        [
            shortened(" ".join(texts[n].split()), 13, LONGEST_ROW),
            format_number(float(means.at[n, "kl"])),
            format_number(float(means.at[n, "left"])),
            quoted_token(str(found.texts.at[most[n], "token"])),
        ]
        for n in numbers
    ]
    return rows, numbers


def image_words(found: ModelDiff, sample: int) -> tuple[str, str]:
    """Return an image's number and the class that gained most, as a caption and in a sentence with its KL."""
    row = found.texts[found.texts["sample"] == sample].iloc[0]
    more = f"more {visible_token(str(row['raised']))}"
    return f"{sample}: {more}", f"image {sample}: {format_number(float(row['kl']))} nats, {more}"


def _image_record(image: ChangedImage, place: int) -> dict[str, str]:
    rows = {"answer": moved_words(image), "KL, nats": format_number(image.kl)}
    if image.left is not None:
        rows["KL left with the direction set back, nats"] = format_number(image.left)
    if place != NONE:
        rows["covered"] = _covered_sentence(image, place)
    for name, p, q in zip(image.outcomes, image.before, image.after):
        moved = (format_percent(float(one), digits=2) for one in (p, q))
        rows[f"class {visible_token(name)}"] = " → ".join(moved)
    return rows


def record_rows(text: Answer, place: int) -> dict[str, str]:
    """Return the numbers of an input for exported pages: its largest places, and the chosen one's answers."""
    if isinstance(text, ChangedImage):
        return _image_record(text, place)
    rows = {}
    for i in np.argsort(-text.kl, kind="stable")[:8].tolist():
        old, new = top_answers(text, i)
        left = "" if text.left is None else f", {format_number(float(text.left[i]))} left"
        rows[f"position {i}, after {quoted_token(text.tokens[i])}"] = (
            f"“{old}” → “{new}”, {format_number(float(text.kl[i]))} nats{left}"
        )
    if place != NONE:
        for name, p, q in zip(text.outcomes[place], text.before[place], text.after[place]):
            rows[f"next token {quoted_token(name)} at position {place}"] = (
                f"{format_percent(float(p), digits=2)} → {format_percent(float(q), digits=2)}"
            )
    return rows


def _share(value: float) -> str:
    """Return a share of the change; one below 0 explains nothing."""
    return format_percent(max(float(value), 0.0), digits=2)

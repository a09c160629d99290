"""Words for where an atom fires: the token, or the place in an image, of every row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from sae_nb.activations._context import Context
from sae_nb.figures import quoted_token

if TYPE_CHECKING:
    from sae_nb.atoms._catalogue import AtomCatalogue

PATCHES = "patches"
PREFIX = ("cls", "registers")
"""Tokens before the patches of an image: where an atom fires, but nothing that an image shows."""

ZONES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
TIMES = ("early", "midway", "late")

_STOP_WORDS = """
about above after again against almost also although always among another anything around away because
become been before being below between both called came cannot come comes could does doing done down during
each either else even ever everything first from gave give given gives goes going gone have having here
hers herself himself however inside into itself just kind last like made make makes many maybe more most
much must named near neither never next none nothing once only onto other others ours ourselves outside over
quite rather really said same second seem seems shall should since some something somewhat still such sure take
taken takes than that their theirs them themselves then there therefore these they thing things this
those though through thus till toward towards under unless until upon used very want wants well went
were what whatever when where whether which while whom whose will with within without would your
yours yourself
"""
_STOP = frozenset(_STOP_WORDS.split())
"""English words of four letters or more that say little of what a text is about. Ours."""
_FEWEST_LETTERS = 4


def is_content_word(word: str) -> bool:
    """Return whether a word may say what an English text is about: four letters or more, and no filler. Ours.

    >>> is_content_word("ships"), is_content_word("Through"), is_content_word("sea")
    (True, False, False)
    """
    return len(word) >= _FEWEST_LETTERS and word.casefold() not in _STOP


def row_words(catalogue: AtomCatalogue) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]] | None:
    """Return the token, or the place in an image, of every row, and what each is called.

    Patches are named by ninths of the image: a single patch is less informative than "top left"; those of
    sounds by their band and quarter, of videos by ninth and third.
    """
    acts, context = catalogue.acts, catalogue.acts.context
    tokens = acts.tokens
    if tokens is None or catalogue.of_whole_samples:  # a whole image or text has no place in itself
        return None
    if context.modality.is_text:
        texts, word = tokens.words()
        names = list(map(quoted_token, texts))
        if context.images is not None:
            word, names = _with_patches(word, names, catalogue)
    else:
        known, word = np.unique(tokens.ids.cpu().numpy(), return_inverse=True)
        names = [_place(int(i), context) for i in known]
    # Words of one name get one index: all patches of a ninth, all registers.
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    merged = np.array([index[name] for name in names], np.int64)
    return merged[word], tuple(index)


def kinds_of_words(
    catalogue: AtomCatalogue, word: Int[np.ndarray, " n"], words: tuple[str, ...]
) -> tuple[Bool[np.ndarray, " words"], Bool[np.ndarray, " words"]]:
    """Return which of the `row_words` are whole words that say what a text is about, and which are pieces.

    A piece goes on inside a word, or is mostly followed by one that does; nothing is either in images.
    """
    tokens, context = catalogue.acts.tokens, catalogue.acts.context
    neither = np.zeros(len(words), bool)
    if tokens is None or not context.modality.is_text or context.images is not None:
        return neither, neither
    texts, of_row = tokens.words()
    spaced = any(text[:1].isspace() for text in texts)
    begins = np.array([t[:1].isspace() if spaced else not t.startswith("##") for t in texts], bool)
    goes_on = np.array([t.removeprefix("##")[:1].isalpha() for t in texts], bool) & ~begins
    order = np.lexsort((catalogue.positions, catalogue.samples))
    here, after = order[:-1], order[1:]
    joined = (catalogue.samples[here] == catalogue.samples[after]) & goes_on[of_row[after]]
    joined &= catalogue.positions[after] == catalogue.positions[here] + 1
    counts = np.bincount(word, minlength=len(words))
    continued = np.bincount(word[here], weights=joined, minlength=len(words)) > counts / 2
    begun = np.bincount(word, weights=begins[of_row], minlength=len(words)) > counts / 2
    bare = [name.strip("“”").removeprefix("##") for name in words]
    letters = np.array([text.isalpha() for text in bare], bool)
    telling = list(map(is_content_word, bare))
    whole = begun & ~continued & letters
    return whole & np.array(telling, bool), letters & ~whole


def _with_patches(
    word: Int[np.ndarray, " n"], names: list[str], catalogue: AtomCatalogue
) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Return words of rows in which patches of images are named by ninths, and not by their placeholder."""
    context, word = catalogue.acts.context, word.copy()
    zones = [f"{zone} {PATCHES}" for line in ZONES for zone in line]
    for row, place in enumerate(zip(catalogue.samples.tolist(), catalogue.positions.tolist())):
        image = context.image_at(*place)
        if image is None or context.images is None:
            continue
        rows, columns = context.images.grid(image)
        at, column = divmod(place[1] - context.patches_of(image).start, columns)
        word[row] = len(names) + 3 * (3 * at // rows) + 3 * column // columns
    return word, [*names, *zones]


def _place(position: int, context: Context) -> str:
    n_prefix, grid = context.prefix_tokens, context.patch_grid
    if position < n_prefix:
        return PREFIX[min(position, 1)]
    patch = position - n_prefix
    if grid is None or patch >= math.prod(grid):
        return f"position {position}"
    if context.frames is not None:
        return _tubelet(patch, context)
    row, column = divmod(patch, grid[1])
    if context.seconds_per_step is not None:
        quarter, length = 4 * column // grid[1], grid[1] * context.seconds_per_step
        time = f"{length * quarter / 4:.3g}–{length * (quarter + 1) / 4:.3g} s"
        return time if grid[0] == 1 else f"{context.modality.row} {row}, {time}"
    return f"{ZONES[3 * row // grid[0]][3 * column // grid[1]]} {PATCHES}"


def _tubelet(patch: int, context: Context) -> str:
    """Return a ninth of a video's frames and a third of its time."""
    time, row, column = context.tubelet(patch)
    rows, columns = context.face_grid or (1, 1)
    steps = context.frames or 1
    zone = ZONES[3 * row // max(rows // steps, 1)][3 * column // columns]
    return f"{zone} {PATCHES}" if steps < 3 else f"{TIMES[3 * time // steps]} {zone} {PATCHES}"

"""Words for where an atom fires: the token, or the place in an image, of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.activations import MODALITIES, Context

if TYPE_CHECKING:
    from sae_nb.atoms._catalogue import AtomCatalogue

PATCHES = "patches"
VISIBLE_SPACE = str.maketrans({"\n": "↵", "\t": "⇥", " ": "␣"})
ZONES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)
TIMES = ("early", "midway", "late")
MOST_WORDS = 2
LEAST_LIFT = 1.5
LEAST_SHARE = 0.05
# A caption names a word alone only where most of the strength is on it, and not at all below a fifth.
MOSTLY, OFTEN = 0.5, 0.2
# The token before explains an atom only where it says clearly more than the token itself.
CLEARLY_MORE = 1.25


def says_much(caption: str) -> bool:
    """Return whether a caption is more than the note that an atom has none."""
    return caption not in ("", *(modality.mixed for modality in MODALITIES.values()))


def row_words(catalogue: AtomCatalogue) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]] | None:
    """Return the token, or the place in an image, of every row, and what each is called.

    Patches are named by ninths of the image: a single patch is less informative than "top left"; those of
    sounds by their band and quarter, of videos by ninth and third.
    """
    acts, context = catalogue.acts, catalogue.acts.context
    tokens = acts.tokens
    if tokens is None or catalogue.of_whole_samples:  # a whole image or text has no place in itself
        return None
    known, word = np.unique(tokens.ids.cpu().numpy(), return_inverse=True)
    if context.modality.is_text:
        texts = [context.vocabulary.get(int(i), f"<id {i}>") for i in known]
        # White space alone is shown as signs that can be seen.
        names = [f"“{text.strip() or text.translate(VISIBLE_SPACE)}”" for text in texts]
        if context.images is not None:
            word, names = _with_patches(word, names, catalogue)
    else:
        names = [_place(int(i), context) for i in known]
    # Words of one name get one index: all patches of a ninth, all registers.
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    merged = np.array([index[name] for name in names], np.int64)
    return merged[word], tuple(index)


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
        return "cls" if position == 0 else "registers"
    patch = position - n_prefix
    if grid is None or patch >= grid[0] * grid[1]:
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


class Captions:
    """The captions of atoms: the words on which the strength of each gathers.

    A word w is scored by P(w | atom) log(P(w | atom) / P(w)), its part of the divergence of the rows
    that the atom fires on from all rows: lift alone would choose words that occur once.
    """

    def __init__(self, catalogue: AtomCatalogue) -> None:
        self._catalogue = catalogue
        self._mixed = catalogue.acts.context.modality.mixed
        known = row_words(catalogue)
        nothing: tuple[np.ndarray, tuple[str, ...]] = (np.zeros(0, np.int64), ())
        self._word, self._names = known if known is not None else nothing
        self._before = self._words_before() if known is not None else None

    def _words_before(self) -> Int[np.ndarray, " n"] | None:
        """The word of the row before in the same text; -1 where there is none."""
        catalogue = self._catalogue
        if not catalogue.acts.context.modality.is_text:
            return None
        order = np.lexsort((catalogue.positions, catalogue.samples))
        sample, position = catalogue.samples[order], catalogue.positions[order]
        follows = (np.diff(sample) == 0) & (np.diff(position) == 1)
        before = np.full(len(order), -1, np.int64)
        before[order[1:][follows]] = self._word[order[:-1][follows]]
        return before

    def caption(self, atom: int) -> str:
        """Return the caption of an atom; empty where it never fires or rows have no words."""
        rows, strengths = self._catalogue.strengths(atom)
        if not len(rows) or not self._names:
            return ""
        size = np.abs(strengths).astype(np.float64)
        words, score = self._typical(self._word, rows, size)
        if self._before is None:
            return _weighed(words, self._mixed)
        earlier, earlier_score = self._typical(self._before, rows, size)
        if earlier and earlier_score > CLEARLY_MORE * score:
            return _weighed(earlier, self._mixed, "after ")
        return _weighed(words, self._mixed)

    def _typical(
        self,
        word: Int[np.ndarray, " n"],
        rows: Int[np.ndarray, " m"],
        size: Float[np.ndarray, " m"],
    ) -> tuple[dict[str, float], float]:
        """Return the distinctive words, with the share of the strength on each; their score."""
        known = word[rows] >= 0
        if not known.any():
            return {}, 0.0
        n = len(self._names)
        mine = np.bincount(word[rows][known], weights=size[known], minlength=n)
        share = mine / size.sum()
        all_rows = np.bincount(word[word >= 0], minlength=n)
        lift = share / np.maximum(all_rows / len(word), 1e-12)
        score = share * np.log(np.maximum(lift, 1e-12))
        best = np.argsort(-score, kind="stable")[:MOST_WORDS]
        best = best[(lift[best] >= LEAST_LIFT) & (share[best] >= LEAST_SHARE)]
        return {self._names[i]: float(share[i]) for i in best}, float(score[best].sum())


def _weighed(words: dict[str, float], otherwise: str, before: str = "") -> str:
    """Say the words and how much of an atom they are: two where both are needed, or that it is mixed."""
    covered = sum(words.values())
    if covered < OFTEN:
        return otherwise
    first = next(iter(words))
    said = first if words[first] >= MOSTLY else " or ".join(words)
    if said.count(f" {PATCHES}") > 1:
        said = said.replace(f" {PATCHES}", "", 1)
    return f"{'' if covered >= MOSTLY else 'often '}{before}{said}"

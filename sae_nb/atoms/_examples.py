"""Examples of an atom: which rows to show, and what surrounds each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sae_nb.activations._context import Context
from sae_nb.activations.tokens import CONTINUED, IMAGE, REACH, is_special
from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._records import BANDS, Band, Example
from sae_nb.checks import one_of

QUANTILES: dict[str, float] = {"99 %": 0.99, "50 %": 0.5, "10 %": 0.1}
# Enough to fill many pages with different samples, few enough to sort within a click.
MOST_CANDIDATES = 20_000
TOKENS_BEFORE, TOKENS_AFTER = 24, 12
LETTERS_AROUND = 60
"""Letters shown on each side of one of a sequence, to whole tens."""
WHOLE_TEXT = 60
"""Tokens shown of a text that is one row."""
LARGEST_COORDINATES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Rows of one band in the order to show them, z of each, or why there are none."""

    rows: Int[np.ndarray, " m"]
    strengths: Float[np.ndarray, " m"]
    dropped: Bool[np.ndarray, " m"] | None = None
    """Which of them another solver does not keep; None where that is not known."""

    missing: str = ""

    def part(self, shown: slice) -> Choice:
        """Return some of them."""
        dropped = None if self.dropped is None else self.dropped[shown]
        return replace(
            self, rows=self.rows[shown], strengths=self.strengths[shown], dropped=dropped
        )


def choose_rows(
    catalogue: AtomCatalogue, atom: int, band: Band, *, seed: int = 0, patches_only: bool = False
) -> Choice:
    """Return the rows of a band, at most one per sample.

    "top" are the strongest firings, those first that another solver keeps, too, where `sn.second_code` was
    asked on the same rows; "99 %", "50 %" and "10 %" those nearest that quantile of the strengths
    with which the atom fires; "random" any firing with equal chance; "just below" the rows in which
    it would fire only if k were doubled. The last two are there because maxima flatter every atom.
    """
    one_of(band, BANDS, name="band")
    if band == "just below":
        return _just_below(catalogue, atom, patches_only)
    rows, strengths = catalogue.strengths(atom)
    second = catalogue.second_code
    dropped = None if second is None else second.dropped(atom, rows, catalogue.n_rows)
    if patches_only:
        inside = _on_patches(catalogue, rows)
        rows, strengths = rows[inside], strengths[inside]
        dropped = None if dropped is None else dropped[inside]
    if not len(rows):
        return Choice(
            rows=rows, strengths=strengths, missing=f"Atom {atom} never fires in the example set."
        )
    order = _candidates(np.abs(strengths), band, np.random.default_rng([seed, atom]))
    if band == "top" and dropped is not None:
        order = order[np.argsort(dropped[order], kind="stable")]
    order = one_per_sample(order, catalogue.samples[rows])
    return Choice(
        rows=rows[order],
        strengths=strengths[order],
        dropped=None if dropped is None else dropped[order],
    )


def _on_patches(catalogue: AtomCatalogue, rows: Int[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    context = catalogue.acts.context
    on_patch = catalogue.positions[rows] >= context.prefix_tokens
    if context.images is not None:
        places = zip(catalogue.samples[rows].tolist(), catalogue.positions[rows].tolist())
        inside = [context.image_at(*place) is not None for place in places]
        on_patch = np.array(inside, dtype=bool)
    return on_patch


def _just_below(catalogue: AtomCatalogue, atom: int, patches_only: bool) -> Choice:
    near = catalogue.near_misses(atom)
    if isinstance(near, str):
        return Choice(rows=np.zeros(0, np.int64), strengths=np.zeros(0, np.float32), missing=near)
    rows, strengths = near
    if patches_only:
        inside = _on_patches(catalogue, rows)
        rows, strengths = rows[inside], strengths[inside]
    order = _candidates(np.abs(strengths), "top", np.random.default_rng(0))
    order = one_per_sample(order, catalogue.samples[rows])
    missing = "" if len(rows) else f"Atom {atom} comes close to firing nowhere in the example set."
    return Choice(rows=rows[order], strengths=strengths[order], missing=missing)


def _candidates(
    size: Float[np.ndarray, " uses"], band: Band, generator: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Places in `size`, most typical of the band first, MOST_CANDIDATES at most."""
    n = len(size)
    if band == "random" or n == 0:
        return generator.permutation(n)[:MOST_CANDIDATES]
    wanted = QUANTILES.get(band, 1.0) * (n - 1)
    # Only ranks near the one wanted are sorted: an atom may fire on every row there is.
    first = int(np.clip(wanted - MOST_CANDIDATES / 2, 0, max(n - MOST_CANDIDATES, 0)))
    last = min(first + MOST_CANDIDATES, n)
    low, high = np.partition(size, [first, last - 1])[[first, last - 1]]
    near = np.flatnonzero((low <= size) & (size <= high))
    # Equal ones in the order of their places: a partition has them in any.
    ranked = near[np.argsort(size[near], kind="stable")][first - np.count_nonzero(size < low) :]
    ranked = ranked[: last - first]
    far = np.abs(np.arange(first, last) - wanted)
    return ranked[np.argsort(far, kind="stable")]


def one_per_sample(
    order: Int[np.ndarray, " m"], samples: Int[np.ndarray, " uses"]
) -> Int[np.ndarray, " k"]:
    """Return the first of each sample, in their order."""
    _, first = np.unique(samples[order], return_index=True)
    return order[np.sort(first)]


def build_examples(catalogue: AtomCatalogue, atom: int, choice: Choice) -> tuple[Example, ...]:
    """Return what surrounds each chosen row: image and heat, text around it, or coordinates."""
    context = catalogue.acts.context
    surround: Callable[[AtomCatalogue, int, int], dict[str, Any]]
    if context.modality.is_text and context.token_ids is not None:
        surround = _text
    elif context.pictures is not None or context.patch_grid is not None:
        surround = _picture
    else:
        surround = _vector
    examples = []
    kept = [None] * len(choice.rows) if choice.dropped is None else (~choice.dropped).tolist()
    for row, strength, is_kept in zip(choice.rows.tolist(), choice.strengths.tolist(), kept):
        sample, position = int(catalogue.samples[row]), int(catalogue.positions[row])
        place = f"{context.sample_word} {sample}"
        examples.append(
            Example(
                row=row,
                sample=sample,
                position=position,
                strength=strength,
                kept=is_kept,
                place=place if catalogue.of_whole_samples else place_in(context, sample, position),
                **surround(catalogue, atom, row),
            )
        )
    return tuple(examples)


def examples_of(
    catalogue: AtomCatalogue,
    atom: int,
    n: int = 3,
    band: Band = "top",
    *,
    rows: Sequence[int] | None = None,
) -> tuple[Example, ...]:
    """Return an atom's examples: n of a band, at most one per sample, or those in some rows.

    Bands are "top", the strongest; "99 %", "50 %" and "10 %", around these
    quantiles; "random"; "just below", where it nearly fires.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae, store = sn.load_sae("tiny-gpt/resid_post.3"), sn.load_examples("tiny-gpt/resid_post.3")
    >>> catalogue = store.catalogue(sae)
    >>> best, second = examples_of(catalogue, 9, 2)
    >>> best.strength >= second.strength, examples_of(catalogue, 9, rows=[best.row])[0].tokens == best.tokens
    (True, True)
    """
    if rows is None:
        choice = choose_rows(catalogue, atom, band).part(slice(n))
    else:
        z = catalogue.codes.rows(torch.as_tensor(rows)).of_atoms((atom,))[:, 0]
        choice = Choice(rows=np.asarray(rows), strengths=z.float().numpy(force=True))
    return build_examples(catalogue, atom, choice)


def place_in(context: Context, sample: int, position: int) -> str:
    """Return a position of a sample in words: "text 3, token 7", "image 3, patch 2,5"."""
    where = f"{context.sample_word} {sample}"
    if (image := context.image_at(sample, position)) is not None:
        return f"{where}, {context.patch_of_image(image, position)}"
    if context.modality.is_text:
        names = context.token_names(sample) if context.modality.letters else []
        return f"{where}, {context.modality.token_place(names, position)}"
    if context.patch_grid is None and context.prefix_tokens == 0:
        return where
    return f"{where}, {context.token_name(position)}"


def _picture(catalogue: AtomCatalogue, atom: int, row: int) -> dict[str, Any]:
    context, sample = catalogue.acts.context, int(catalogue.samples[row])
    grid, n_prefix = context.patch_grid, context.prefix_tokens
    length = n_prefix + math.prod(grid or ())  # without patches one more, which is not read
    z = catalogue.sample_strengths(atom, sample, length)
    pictures = context.pictures
    if catalogue.of_whole_samples and pictures is not None:
        return {"picture": pictures[sample].cpu().numpy()}
    return {
        "picture": None if pictures is None else pictures[sample].cpu().numpy(),
        "heat": None if grid is None else context.on_face(z[n_prefix:]),
        "prefix": tuple((context.token_name(i), float(z[i])) for i in range(n_prefix)),
    }


def _text(catalogue: AtomCatalogue, atom: int, row: int) -> dict[str, Any]:
    context, sample = catalogue.acts.context, int(catalogue.samples[row])
    position = int(catalogue.positions[row])
    ids = context.token_ids.sample(sample).tolist() if context.token_ids is not None else []
    if catalogue.of_whole_samples:  # no token of it is where the atom fires
        return text_around(context, ids, 0, np.full(len(ids), np.nan), reach=WHOLE_TEXT)
    return in_text(context, sample, position, catalogue.sample_strengths(atom, sample, len(ids)))


def in_picture(
    context: Context,
    sample: int,
    positions: Int[np.ndarray, " m"],
    strengths: Float[np.ndarray, " m"],
) -> dict[str, Any]:
    """Return the image of a sample, and strengths at some positions on its patches; NaN at the others."""
    pictures, grid, n_prefix = context.pictures, context.patch_grid, context.prefix_tokens
    picture = None if pictures is None else pictures[sample].cpu().numpy()
    if grid is None:
        return {"picture": picture}
    z = np.full(n_prefix + math.prod(grid), np.nan)
    inside = positions < len(z)
    z[positions[inside]] = strengths[inside]
    return {"picture": picture, "heat": context.on_face(z[n_prefix:])}


def in_text(
    context: Context, sample: int, position: int, strengths: Float[np.ndarray, " tokens"]
) -> dict[str, Any]:
    """Return what surrounds a position of a text with the strengths of its tokens: the tokens around it, or the
    image of which it is a patch, with its heat.
    """
    ids = [] if context.token_ids is None else context.token_ids.sample(sample).tolist()
    image = context.image_at(sample, position)
    if image is None or context.images is None:
        return text_around(context, ids, position, strengths, runs=context.runs(sample))
    patches = context.patches_of(image)
    return {
        "picture": context.images.pictures[image].cpu().numpy(),
        "heat": strengths[patches.start : patches.stop].reshape(context.images.grid(image)),
    }


def text_around(
    context: Context,
    ids: list[int],
    position: int,
    strengths: Float[np.ndarray, " tokens"],
    *,
    reach: int = TOKENS_AFTER,
    runs: Sequence[range] = (),
) -> dict[str, Any]:
    """Return the tokens around one of a text, from the beginning of a character on; `reach` after it. `runs`
    are the patches of images, each of which counts, and is written, as one token.
    """
    numbers: list[int] = []
    if context.modality.letters:
        numbers = context.modality.numbers([context.token_name(0, one) for one in ids])
    if numbers:
        first, last = _in_tens(position, numbers)
    else:
        first = _walked(position, -TOKENS_BEFORE, runs, len(ids))
        last = min(_walked(position, reach, runs, len(ids)) + 1, len(ids))
    # A character at the edge of the window may begin, or go on, outside it.
    start, stop = max(first - REACH, 0), min(last + REACH, len(ids))
    texts = context.names_of(ids[start:stop])
    inside = {at: IMAGE if at == run.start else CONTINUED for run in runs for at in run}
    marked = [inside.get(at, text) for at, text in enumerate(texts, start)]
    while first > start and marked[first - start] == CONTINUED:
        first -= 1
    shown = slice(first - start, last - start)
    return {
        "tokens": tuple(
            inside.get(at, text)
            for at, text in enumerate(
                texts[shown] if numbers else _spaced(texts[shown], context), first
            )
        ),
        "special": tuple(is_special(text) for text in texts[shown]),
        "token_strengths": strengths[first:last],
        "numbers": tuple(numbers[first:last]),
        "first_position": first,
        "clipped": (first > 0, last < len(ids)),
    }


def _in_tens(position: int, numbers: Sequence[int]) -> tuple[int, int]:
    """Return first and last-plus-one of the letters around one, from a whole ten to a whole ten."""
    lead = next((i for i, number in enumerate(numbers) if number), 0)
    first = (position - lead - LETTERS_AROUND) // 10 * 10
    last = lead + (position - lead + LETTERS_AROUND) // 10 * 10 + 10
    if not any(numbers[last:]):  # a closing token is no reason to cut
        last = len(numbers)
    return (lead + first if first > 0 else 0), last


def _walked(position: int, steps: int, runs: Sequence[range], length: int) -> int:
    """Return the token so many steps away, in which an image is one; an end of the text if it is nearer."""
    if not runs:
        return min(max(position + steps, 0), length - 1)
    by = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        inside = next((run for run in runs if position + by in run), None)
        position = position + by if inside is None else (inside[-1] if by > 0 else inside[0])
    return min(max(position, 0), length - 1)


def _spaced(texts: list[str], context: Context) -> list[str]:
    """Return words of a tokenizer that keeps no white space, with a space before each; bytes are not words."""
    keeps = (character.isspace() for name in context.vocabulary.values() for character in name)
    if CONTINUED in texts or any(keeps):
        return texts
    return [
        text.removeprefix("##")
        if i == 0 or text.startswith("##") or text == CONTINUED or is_special(text)
        else f" {text}"
        for i, text in enumerate(texts)
    ]


def _vector(catalogue: AtomCatalogue, _: int, row: int) -> dict[str, Any]:
    x = catalogue.acts.rows(torch.tensor([row]))[0].float().cpu()
    largest = x.abs().topk(min(LARGEST_COORDINATES, len(x))).indices
    return {"coordinates": largest.numpy(), "coordinate_values": x[largest].numpy()}

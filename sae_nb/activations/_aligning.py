"""The same tokens in several models: matched by where they end in the text, or where they lie in the image."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.activations._activations import Activations
from sae_nb.activations._context import Context
from sae_nb.activations.tokens import content_of
from sae_nb.checks import checked

Places = Int[Tensor, " n"]
"""Place of a row in its sample, the same number in every model; `NOWHERE` if it has none."""

NOWHERE, CLS = -2, -1

SPECIAL = re.compile(r"<\|?/?[\w ]+\|?>|\[[A-Z]+\]")
"""Names of tokens that are not part of the text: "<s>", "</s>", "<|endoftext|>", "[CLS]"."""


class Alignment(list[Activations]):
    """Activations of several models, row by row at the same places; a list that `train` and `encode` take."""

    n_before: tuple[int, ...]
    left_out: tuple[int, ...]
    """Rows of each model before, and how many of them have no partner in every other model."""

    def __init__(
        self, parts: Sequence[Activations], before: Sequence[int], used: Sequence[int]
    ) -> None:
        super().__init__(parts)
        self.n_before = tuple(before)
        self.left_out = tuple(n - taken for n, taken in zip(before, used, strict=True))

    def __repr__(self) -> str:
        names = [part.model_name or f"model {i}" for i, part in enumerate(self)]
        lost = ", ".join(
            f"{n} of {before} of {name}"
            for n, before, name in zip(self.left_out, self.n_before, names, strict=True)
        )
        return f"Alignment({len(self[0])} rows of {len(self)} models; left out: {lost})"


@checked
def align(acts: Sequence[Activations]) -> Alignment:
    """Choose rows of several models so that the same row is the same place of the same sample in all.

    Texts: a token is paired with the token of the other model that ends after the same characters, so
    that both models have read the same. Spaces and capitals do not count, because tokenizers change them;
    tokens that add no other character, and special tokens, have no place, nor has what follows where two
    tokenizers spell a text differently (a character in bytes, an unknown word). Images: a patch is paired with
    the patch that its centre lies in, cls with cls; registers have no place. With a finer grid in one
    model, patches of the other appear more than once. Other samples are paired by position.

    Samples must be the same inputs in the same order. Rows without a partner are left out, and counted.

    Parameters
    ----------
    acts
        One per model, captured from the same inputs.

    Returns
    -------
    Alignment
        A list of activations, with `left_out`, the number of rows of each model that are not in it.

    Raises
    ------
    ValueError: If there are fewer than two, of other kinds of samples, or no row has a partner.

    Source
    ------
    Ours. Thasarathan et al., arXiv 2502.03714, interpolate all models' patches to one grid, which makes
    activations that no model has had.

    Example
    -------
    >>> x = Activations.from_tensor(torch.randn(5, 4))
    >>> pair = align([x, x[[0, 1, 3]]])
    >>> pair, [part.sample.tolist() for part in pair]
    (Alignment(3 rows of 2 models; left out: 2 of 5 of model 0, 0 of 3 of model 1), [[0, 1, 3], [0, 1, 3]])
    """
    if len(acts) < 2:
        raise ValueError(
            f"`acts` must be of at least two models, got {len(acts)}. Capture the same inputs from each."
        )
    kinds = {one.context.kind for one in acts}
    if len(kinds) > 1:
        raise ValueError(
            f"`acts` must be of one kind of samples, got {', '.join(sorted(kinds))}. Capture the same inputs "
            "from each model."
        )
    keys = [
        list(zip(one.sample.tolist(), places.tolist(), strict=True))
        for one, places in zip(acts, places_of(acts), strict=True)
    ]
    finest = max(range(len(acts)), key=lambda i: math.prod(acts[i].context.patch_grid or (0,)))
    rows_at = [{key: row for row, key in enumerate(own) if key[1] != NOWHERE} for own in keys]
    shared = [
        row
        for row, key in enumerate(keys[finest])
        if key[1] != NOWHERE and all(key in own for own in rows_at)
    ]
    if not shared:
        raise ValueError(
            "`acts` must have places in common, but no row of one is at a place of the others. Capture the "
            "same inputs, in the same order, from each model."
        )
    chosen = [
        shared if i == finest else [own[keys[finest][row]] for row in shared]
        for i, own in enumerate(rows_at)
    ]
    return Alignment(
        [one[torch.tensor(rows)] for one, rows in zip(acts, chosen, strict=True)],
        [len(one) for one in acts],
        [len(set(rows)) for rows in chosen],
    )


def first_difference(a: Activations, b: Activations) -> int | None:
    """Return the first row at which two activations are of different places; None if there is none."""
    n = min(len(a), len(b))
    differs = (a.sample[:n] != b.sample[:n]) | (a.position[:n] != b.position[:n])
    if a.context is not b.context:
        ids = [_token_ids(acts)[:n] for acts in (a, b)]
        if len(ids[0]) == len(ids[1]) == n:
            differs |= ids[0] != ids[1]
        if bool(differs.any()) and a.context.kind == b.context.kind:
            one, two = (places[:n] for places in places_of([a, b]))
            differs &= (a.sample[:n] != b.sample[:n]) | (one != two) | (one == NOWHERE)
    if bool(differs.any()):
        return int(differs.nonzero()[0])
    return None if len(a) == len(b) else n


def places_of(acts: Sequence[Activations]) -> list[Places]:
    """Return places of every row, in numbers that mean the same in all."""
    grids = [one.context.patch_grid for one in acts]
    common = min((grid for grid in grids if grid is not None), key=math.prod, default=None)
    return [_places(one, common) for one in acts]


def _places(acts: Activations, common: tuple[int, int] | None) -> Places:
    context = acts.context
    if context.token_ids is not None:
        ends = torch.tensor(_text_so_far(context), dtype=torch.int64)
        return ends[context.token_ids.offsets[acts.sample] + acts.position]
    if context.patch_grid is None or common is None:
        return acts.position
    rows, columns = context.patch_grid
    patch = acts.position - context.prefix_tokens
    down, right = (
        ((2 * at + 1) * ours).div(2 * theirs, rounding_mode="floor")
        for at, ours, theirs in (
            (patch.div(columns, rounding_mode="floor"), common[0], rows),
            (patch % columns, common[1], columns),
        )
    )
    place = down * common[1] + right
    place[patch < 0] = NOWHERE
    place[(acts.position == 0) & (patch < 0)] = CLS
    place[patch >= rows * columns] = NOWHERE
    return place


def _text_so_far(context: Context) -> list[int]:
    """For every token of every sample, a number of the text read up to its end, spaces and capitals aside."""
    if context.token_ids is None:
        return []
    ids, offsets = (part.tolist() for part in context.token_ids)
    whole_words = not any(name[:1].isspace() for name in context.vocabulary.values())
    adds = {i: _letters(context.token_name(0, i), whole_words) for i in dict.fromkeys(ids)}
    digests = []
    for start, stop in pairwise(offsets):
        checksum, n = 0, 0
        for token in ids[start:stop]:
            letters = adds[token]
            checksum, n = zlib.crc32(letters, checksum), n + len(letters)
            # How much and which: 31 bits for the length, 32 for the checksum.
            digests.append((n << 32 | checksum) if letters else NOWHERE)
    return digests


def _letters(name: str, whole_words: bool) -> bytes:
    """Return the bytes that a token adds to the text, for comparison."""
    if SPECIAL.fullmatch(name.strip()):
        return b""
    name = name.removeprefix("##") if whole_words else name
    return content_of("".join(name.split()).casefold())


def _token_ids(acts: Activations) -> Int[Tensor, " n"]:
    """Return the token of every row; none if the samples are not texts."""
    if acts.context.token_ids is None:
        return torch.empty(0, dtype=torch.int64)
    ids, offsets = acts.context.token_ids
    return ids[offsets[acts.sample] + acts.position]

"""Where rows come from: the samples behind them, and a name for every token, patch or cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.activations._modality import OTHER, Modality
from sae_nb.activations._named_positions import policy_text
from sae_nb.activations.tokens import (
    CONTINUED,
    IMAGE,
    join_tokens,
    needs_neighbours,
    texts_to_draw,
    whole_at,
)

ROLES = ("template", "system", "user", "assistant", "tool", "other")
"""Author of a token of a conversation; the template's tokens are those that ask for an answer."""


class Ragged(NamedTuple):
    """Sequences of different lengths, end to end: sample i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: Int[Tensor, " total"]
    offsets: Int[Tensor, " n_samples_plus_1"]

    def sample(self, index: int) -> Int[Tensor, " length"]:
        """Return the sequence of one sample."""
        return self.ids[int(self.offsets[index]) : int(self.offsets[index + 1])]


@dataclass(frozen=True, eq=False)
class PlacedImages:
    """The images in texts, as displayed, and where their patches are."""

    pictures: UInt8[Tensor, "n_images 3 height width"]
    at: Int[Tensor, "n_images 5"]
    """Sample and position of the first patch, rows and columns of patches, number of the image in its text."""

    def of_sample(self, sample: int) -> list[int]:
        """Return the images of a text, in their order."""
        return [image for image, _ in self._index.get(sample, ())]

    @cached_property
    def _index(self) -> dict[int, list[tuple[int, range]]]:
        """Images of each text, and the positions of their patches."""
        places: dict[int, list[tuple[int, range]]] = {}
        for image, sample in enumerate(self.at[:, 0].tolist()):
            places.setdefault(sample, []).append((image, self.patches(image)))
        return places

    def around(self, sample: int, position: int) -> int | None:
        """Return the image whose patch is at a position of a text; None at a token of text."""
        index = self._index
        return next((image for image, run in index.get(sample, ()) if position in run), None)

    def one_token_each(self, tokens: Sequence[str], sample: int = 0) -> list[str]:
        """Return a text's tokens in which each image is one, "[image]", drawn over its whole run."""
        shown = list(tokens)
        for image in self.of_sample(sample):
            run = self.patches(image)
            shown[run.start : run.stop] = [IMAGE, *[CONTINUED] * (len(run) - 1)]
        return shown

    def patches(self, image: int) -> range:
        """Return the positions of an image's patches."""
        _, first, rows, columns, _ = self.at[image].tolist()
        return range(first, first + rows * columns)

    def grid(self, image: int) -> tuple[int, int]:
        """Return rows and columns of an image's patches."""
        return int(self.at[image, 2]), int(self.at[image, 3])


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """The samples that activations were captured from, and what was kept of them.

    Kept whole when rows are selected, so `acts.sample` indexes it after any split or subset.
    """

    kind: str = OTHER.name
    n_samples: int = 0
    """Kind of input, and how many samples the model was shown."""

    pictures: UInt8[Tensor, "n_samples 3 height width"] | None = None
    """The images as displayed, before normalisation."""

    sounds: Ragged | None = None
    """The sounds as played, int16; `sample_rate` values per second."""

    images: PlacedImages | None = None
    """Of texts with images: the images."""

    token_ids: Ragged | None = None
    vocabulary: Mapping[int, str] = field(default_factory=dict)
    """Token ids of every sample, padding left out; the text of every id that occurs, alone."""

    bytes_as_letters: bool = False
    """Whether bytes that are no characters are in the vocabulary as letters, as files of old have them."""

    roles: Ragged | None = None
    turns: Ragged | None = None
    """Of conversations, by token: its author (index into `ROLES`), and the number of the message; −1
    where a sample is not a conversation.
    """

    placeholders: Mapping[int, str] = field(default_factory=dict)
    """Token ids at which an image's patches are in a text, with their kind, such as "image"."""

    patch_grid: tuple[int, int] | None = None
    """Rows and columns of patches, or of cells of a convolution's map."""

    prefix_tokens: int = 0
    """Tokens before the first patch: cls, then registers."""

    frames: int | None = None
    time_last: bool = False
    """Steps in time of a video, and whether the tubelets of one place follow each other; None for others."""

    seconds_per_step: float | None = None
    """Time from one position to the next, where positions are steps in time of a known rate."""

    policy: Mapping[str, Any] = field(default_factory=dict)
    """The samples and tokens that were dropped, kept, cut and packed, by name."""

    def __post_init__(self) -> None:
        # A record that is shared by every subset must not change under one of them.
        object.__setattr__(self, "vocabulary", MappingProxyType(dict(self.vocabulary)))
        object.__setattr__(self, "policy", MappingProxyType(dict(self.policy)))
        object.__setattr__(self, "placeholders", MappingProxyType(dict(self.placeholders)))

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {"vocabulary": dict(self.vocabulary), "policy": dict(self.policy)}
        values |= {"placeholders": dict(self.placeholders)}
        return partial(Context, **values), ()

    def stated(self) -> dict[str, Any]:
        """Return kind, grid and policy as plain values; samples lie in files of their own."""
        facts: dict[str, Any] = {
            "kind": self.kind,
            "patch_grid": self.patch_grid,
            "prefix_tokens": self.prefix_tokens,
            "policy": dict(self.policy),
        }
        # Left out where there is none, as in files that were written before there was any.
        if self.vocabulary and not self.bytes_as_letters:
            facts["bytes_as_letters"] = False
        if self.seconds_per_step is not None:
            facts["seconds_per_step"] = self.seconds_per_step
        if self.frames is not None:
            facts |= {"frames": self.frames, "time_last": self.time_last}
        if self.placeholders:
            facts["placeholders"] = {str(token): kind for token, kind in self.placeholders.items()}
        return facts

    @classmethod
    def read(cls, stated: Mapping[str, Any], **samples: Any) -> Context:
        """Return a context from what `stated` gave, and its samples."""
        grid = stated["patch_grid"]
        return cls(
            kind=stated["kind"],
            patch_grid=None if grid is None else (grid[0], grid[1]),
            prefix_tokens=stated["prefix_tokens"],
            seconds_per_step=stated.get("seconds_per_step"),
            frames=stated.get("frames"),
            time_last=stated.get("time_last", False),
            bytes_as_letters=stated.get("bytes_as_letters", True),
            placeholders={int(t): kind for t, kind in stated.get("placeholders", {}).items()},
            policy=stated["policy"],
            **samples,
        )

    @property
    def has_places(self) -> bool:
        """Whether positions of samples that are not texts have names."""
        known = self.patch_grid is not None or self.seconds_per_step is not None
        return known or self.prefix_tokens > 0

    @property
    def modality(self) -> Modality:
        """The record of what samples of this kind are called and how they are shown."""
        return Modality.of(self.kind)

    @property
    def sample_rate(self) -> float | None:
        """Values per second of sounds; None where that is not known."""
        rate = self.policy.get("sample_rate")
        return float(rate) if isinstance(rate, int | float) else None

    @cached_property
    def _name_of_id(self) -> dict[int, str]:
        letters = self.modality.letters
        return {i: name.strip() if letters else name for i, name in self.vocabulary.items()}

    def token_name(self, position: int, token_id: int | None = None) -> str:
        """Return the usual name of one position: a token's text alone, "cls", "patch 3,4", "cell 0,2"."""
        if self.modality.is_text and token_id is not None:
            return self._name_of_id.get(token_id, f"<id {token_id}>")
        patch = position - self.prefix_tokens
        if patch < 0:
            return "cls" if position == 0 else f"register {position}"
        if self.seconds_per_step is not None and (self.patch_grid or (1,))[0] == 1:
            word = "step" if self.modality.is_plain else self.modality.place
            return f"{word} {self._time(patch)}"
        if self.patch_grid is None or patch >= self.patch_grid[0] * self.patch_grid[1]:
            return f"position {position}"
        row, column = divmod(patch, self.patch_grid[1])
        if self.frames is not None:
            time, row, column = self.tubelet(patch)
            if self.seconds_per_step is None:
                return f"{self.modality.place} {time},{row},{column}"
            return f"{self.modality.place} {row},{column} at {self._time(time)}"
        if self.seconds_per_step is not None:
            return f"{self.modality.row} {row}, {self._time(column)}"
        return f"{self.modality.place} {row},{column}"

    def token_names(self, sample: int) -> list[str]:
        """Return the names of a text's tokens; none of other samples."""
        ids = [] if self.token_ids is None else self.token_ids.sample(sample).tolist()
        return self.names_of(ids)

    def names_of(self, ids: Sequence[int]) -> list[str]:
        """Return the names of neighbouring tokens: a character is in the token in which it begins."""
        if self.modality.is_text:
            names = [self._name_of_id.get(token, f"<id {token}>") for token in ids]
        else:
            names = [self.token_name(position, token) for position, token in enumerate(ids)]
        return texts_to_draw(names, letters=self.bytes_as_letters)

    @cached_property
    def names_in_place(self) -> Mapping[int, tuple[str, str]]:
        """Names of the tokens that show something else than alone, by place in `token_ids.ids`: what each
        shows, and the character that it is a part of.
        """
        odd = [i for i, name in self.vocabulary.items() if needs_neighbours(name)]
        if self.token_ids is None or not odd:
            return {}
        ids, offsets = self.token_ids
        places = torch.isin(ids, torch.tensor(odd, dtype=ids.dtype)).nonzero().flatten()
        texts_of = {}
        for sample in torch.unique(torch.searchsorted(offsets, places, right=True) - 1).tolist():
            start, texts = int(offsets[sample]), self.token_names(sample)
            for place, token in enumerate(self.token_ids.sample(sample).tolist()):
                if texts[place] != self.token_name(place, token):
                    texts_of[start + place] = (texts[place], whole_at(texts, place))
        return texts_of

    def joined(self, texts: Sequence[str], whole: Sequence[str] = ()) -> str:
        """Return the text of neighbouring tokens; of sequences of letters, without spaces."""
        return "".join(texts) if self.modality.letters else join_tokens(texts, whole)

    def tubelet(self, patch: int) -> tuple[int, int, int]:
        """Return step in time, row and column of a video's patch."""
        rows, columns = self.face_grid or (1, 1)
        row, column = divmod(self.cell_of(patch), columns)
        return (*divmod(row, max(rows // (self.frames or 1), 1)), column)

    @property
    def face_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the cells of a sample's face: its patches; of a video those of its strip, in
        which the frames of all steps in time lie below one another.
        """
        if self.patch_grid is None or not self.time_last:
            return self.patch_grid
        places, times = self.patch_grid
        side = math.isqrt(places)
        return times * side, places // side

    def on_face(self, values: Float[np.ndarray, " patches"]) -> Float[np.ndarray, "rows columns"]:
        """Return values of patches, in the order of their positions, as a map over a sample's face."""
        if self.face_grid is None or self.patch_grid is None:
            raise ValueError("Samples must have a grid of patches to be shown as a map, got none.")
        if self.time_last:
            values = values.reshape(self.patch_grid).T
        return values.reshape(self.face_grid)

    def cell_of(self, patch: int) -> int:
        """Return the cell of a sample's face in which a patch lies."""
        if self.patch_grid is None or not self.time_last:
            return patch
        place, time = divmod(patch, self.patch_grid[1])
        return time * self.patch_grid[0] + place

    def patch_in(self, cell: int) -> int:
        """Return the patch that lies in a cell of a sample's face."""
        if self.patch_grid is None or not self.time_last:
            return cell
        time, place = divmod(cell, self.patch_grid[0])
        return place * self.patch_grid[1] + time

    def cell_names(self) -> tuple[str, ...]:
        """Return the names of the cells of a sample's face, row by row; none without a grid."""
        rows, columns = self.face_grid or (0, 0)
        first = self.prefix_tokens
        return tuple(self.token_name(first + self.patch_in(cell)) for cell in range(rows * columns))

    def _time(self, column: int) -> str:
        """Return a time with as many digits as tell neighbours apart."""
        step = self.seconds_per_step or 1.0
        digits = max(2, 1 - math.floor(math.log10(step)))
        return f"{column * step:.{digits if step < 0.01 else 2}f} s"

    def seconds_at(self, position: Int[Tensor, " n"]) -> Float[Tensor, " n"] | None:
        """Return the time of positions in their samples, seconds: column, or a video's step in time, × seconds
        per step.

        NaN at tokens that are of no time; None where no sample rate is known.
        """
        if self.seconds_per_step is None:
            return None
        patch = position - self.prefix_tokens
        column = patch if self.patch_grid is None else patch % self.patch_grid[1]
        if self.frames is not None and self.patch_grid is not None and not self.time_last:
            column = patch // max(math.prod(self.patch_grid) // self.frames, 1)
        return (column * self.seconds_per_step).masked_fill(patch < 0, torch.nan)

    def patch_name(self, number: int) -> str:
        """Return the name of a patch of an image in a text, by its number in a run of them."""
        if self.patch_grid is None:
            return f"{self.modality.place} {number}"
        row, column = divmod(number % (self.patch_grid[0] * self.patch_grid[1]), self.patch_grid[1])
        return f"{self.modality.place} {row},{column}"

    def image_at(self, sample: int, position: int) -> int | None:
        """Return the image of a text whose patch is at a position; None at a token, and of other samples."""
        return None if self.images is None else self.images.around(sample, position)

    def patches_of(self, image: int) -> range:
        """Return the positions of an image's patches in its text."""
        return range(0) if self.images is None else self.images.patches(image)

    def runs(self, sample: int) -> list[range]:
        """Return the positions of the patches of each image of a text."""
        return [self.patches_of(image) for image in self._images_of(sample)]

    def _images_of(self, sample: int) -> list[int]:
        return [] if self.images is None else self.images.of_sample(sample)

    def patch_of_image(self, image: int, position: int) -> str:
        """Return the name of a patch of an image in a text, with the image's number where it has several."""
        if self.images is None:
            return f"position {position}"
        patches = self.images.patches(image)
        row, column = divmod(position - patches.start, self.images.grid(image)[1])
        sample, number = int(self.images.at[image, 0]), int(self.images.at[image, 4])
        which = f"image {number}, " if len(self._images_of(sample)) > 1 else ""
        return f"{which}{self.modality.place} {row},{column}"

    def patch_numbers(self) -> Int[Tensor, " total"] | None:
        """Return for every token of all samples its number in its run of placeholders, −1 at text."""
        if not self.placeholders or self.token_ids is None:
            return None
        ids, offsets = self.token_ids
        placed = torch.isin(ids, torch.tensor(list(self.placeholders), dtype=ids.dtype))
        before = torch.cat([placed.new_zeros(1), placed[:-1]])
        before[offsets[offsets < len(ids)]] = False
        at = torch.arange(len(ids))
        start = torch.where(placed & ~before, at, 0).cummax(dim=0).values
        return torch.where(placed, at - start, -1)

    def position_names(self, n: int) -> tuple[str, ...]:
        """Return the usual names of the first `n` positions of a sample that is not a text."""
        return tuple(self.token_name(position) for position in range(n))

    def __repr__(self) -> str:
        parts = [f"{self.n_samples} {self.sample_word}{'s' if self.n_samples != 1 else ''}"]
        parts += [part for part in (policy_text(self.policy),) if part]
        return f"Context({' · '.join(parts)})"

    @property
    def sample_word(self) -> str:
        """The word for one sample: a text, an image, or just a sample."""
        return self.modality.sample


class Tokens(Sequence[str]):
    """The token, patch or cell behind every row.

    `tokens[i]` is its text, `tokens[a:b]` a list of texts, `tokens == " fox"` a mask of the rows with that
    text, and `tokens.ids` the token ids (for images: the positions). A character that is spread over
    several tokens is the text of the first of them, as in panels; that of the others is `CONTINUED`, which
    has no width.
    """

    def __init__(
        self,
        ids: Int[Tensor, " n"],
        position: Int[Tensor, " n"],
        context: Context,
        patch: Int[Tensor, " n"] | None = None,
        at: Int[Tensor, " n"] | None = None,
    ) -> None:
        self._patch = patch  # of an image in a text, its number; −1 at text
        self._at = at  # of a text, its place among all tokens
        self.ids = ids
        self._position = position
        self._context = context

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if not isinstance(index, slice):
            return self[int(index) : int(index) + 1 or None][0]
        pairs = zip(self._position[index].tolist(), self.ids[index].tolist())
        names = [self._context.token_name(position, token) for position, token in pairs]
        shown = {} if self._at is None else self._context.names_in_place
        if shown and self._at is not None:
            places = self._at[index].tolist()
            names = [
                shown[at][0] if at in shown else name
                for at, name in zip(places, names, strict=True)
            ]
        if self._patch is None:
            return names
        numbers = self._patch[index].tolist()
        return [
            name if number < 0 else self._context.patch_name(number)
            for name, number in zip(names, numbers, strict=True)
        ]

    def words(self) -> tuple[list[str], Int[np.ndarray, " n"]]:
        """Return different names, and which of them each row has; parts of a character have its name."""
        ids, of_row = np.unique(self.ids.cpu().numpy(), return_inverse=True)
        context, of_row = self._context, of_row.reshape(-1)
        names = [context.token_name(int(i), int(i)) for i in ids]
        shown = {} if self._at is None else context.names_in_place
        if shown and self._at is not None:
            at = self._at.cpu().numpy()
            characters: dict[str, int] = {}
            for row in np.flatnonzero(np.isin(at, list(shown))):
                character = shown[int(at[row])][1]
                of_row[row] = characters.setdefault(character, len(names) + len(characters))
            names += characters
        return names, of_row

    def __eq__(self, other: object) -> Any:
        return np.asarray(self[:]) == other if isinstance(other, str) else self is other

    def __ne__(self, other: object) -> Any:
        return np.asarray(self[:]) != other if isinstance(other, str) else self is not other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Tokens({len(self)} of {self._context!r})"


def ragged_tokens(tokens: Tensor, n_samples: int) -> dict[str, Ragged]:
    """Return what a context keeps of columns (sample, position, id[, role, turn]), which come in order."""
    sample, _, *columns = tokens
    offsets = torch.searchsorted(sample.contiguous(), torch.arange(n_samples + 1))
    names = ("token_ids", "roles", "turns")
    return {name: Ragged(of.contiguous(), offsets) for name, of in zip(names, columns)}


def ragged_sounds(taken: Mapping[str, Tensor]) -> Ragged | None:
    """Return sounds from their values, end to end, and their lengths; None where there are none."""
    if "sounds" not in taken:
        return None
    offsets = torch.nn.functional.pad(taken["sound_lengths"].cumsum(0), (1, 0))
    return Ragged(taken["sounds"], offsets)


def placed_images(taken: Mapping[str, Tensor]) -> PlacedImages | None:
    """Return the images in texts from their pixels and their places; None where there are none."""
    if "images" not in taken:
        return None
    return PlacedImages(taken["images"], taken["images_at"])


def join_columns(parts: Sequence[Tensor]) -> Tensor:
    """Return columns (sample, position, id[, role, turn]) end to end; −1 where a part has no conversation."""
    height = max(len(part) for part in parts)
    full = [
        torch.nn.functional.pad(part, (0, 0, 0, height - len(part)), value=-1) for part in parts
    ]
    return torch.cat(full, dim=1)


def content_of_samples(
    context: Context, group_by: Literal["sample", "text", "image"]
) -> list[bytes]:
    """Return the token ids of every text, or the pixels of every image, as bytes; nothing where not known."""
    if group_by != "image" and context.token_ids is not None:
        return [context.token_ids.sample(i).numpy().tobytes() for i in range(context.n_samples)]
    if group_by == "image" and context.pictures is not None:
        return [picture.numpy().tobytes() for picture in context.pictures]
    if group_by == "sample":
        return []
    raise ValueError(
        f'`group_by` must be "sample" for activations that do not keep their {group_by}s, got {group_by!r}. '
        "Leave it out."
    )


def join_contexts(contexts: Sequence[Context]) -> Context:
    """Return one context that holds the samples of all, in order."""
    first = contexts[0]
    pictures = [context.pictures for context in contexts if context.pictures is not None]
    return replace(
        first,
        n_samples=sum(context.n_samples for context in contexts),
        pictures=torch.cat(pictures) if len(pictures) == len(contexts) else None,
        sounds=_join_ragged([context.sounds for context in contexts]),
        images=_join_images(contexts),
        token_ids=_join_ragged([context.token_ids for context in contexts]),
        roles=_join_ragged(_of_conversations(contexts, "roles")),
        turns=_join_ragged(_of_conversations(contexts, "turns")),
        vocabulary={k: v for context in contexts for k, v in context.vocabulary.items()},
        bytes_as_letters=any(context.bytes_as_letters for context in contexts),
        policy=_join_policies(contexts),
    )


def _of_conversations(contexts: Sequence[Context], name: str) -> list[Ragged | None]:
    """Return the values per token, −1 in contexts without a conversation; nothing if no context has one."""
    parts: list[Ragged | None] = [getattr(context, name) for context in contexts]
    if all(part is None for part in parts):
        return parts
    return [
        context.token_ids._replace(ids=torch.full_like(context.token_ids.ids, -1))
        if part is None and context.token_ids is not None
        else part
        for part, context in zip(parts, contexts)
    ]


def _join_images(contexts: Sequence[Context]) -> PlacedImages | None:
    placed = [context.images for context in contexts if context.images is not None]
    if len(placed) < len(contexts) or len({images.pictures.shape[1:] for images in placed}) > 1:
        return None
    places, before = [], 0
    for context, images in zip(contexts, placed, strict=True):
        places.append(images.at + torch.tensor([before, 0, 0, 0, 0]))
        before += context.n_samples
    return PlacedImages(torch.cat([images.pictures for images in placed]), torch.cat(places))


def _join_ragged(parts: Sequence[Ragged | None]) -> Ragged | None:
    ragged = [part for part in parts if part is not None]
    if len(ragged) < len(parts):
        return None
    starts = torch.tensor([0, *(len(part.ids) for part in ragged)]).cumsum(0)
    offsets = [part.offsets[1:] + start for part, start in zip(ragged, starts)]
    ids = torch.cat([part.ids for part in ragged])
    return Ragged(ids, torch.cat([ragged[0].offsets[:1], *offsets]))


def _join_policies(contexts: Sequence[Context]) -> dict[str, Any]:
    policies = [context.policy for context in contexts]
    # Counts add up; a setting that differs between the parts is stated as a list of what it was.
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for policy in policies for name in policy):
        values = [policy.get(name) for policy in policies]
        if name.startswith("n_") or name == "truncated":
            joined[name] = sum(value or 0 for value in values)
        elif all(value == values[0] for value in values):
            joined[name] = values[0]
        else:
            joined[name] = values
    if "massive_at" in joined:
        first = accumulate((context.n_samples for context in contexts), initial=0)
        joined["massive_at"] = [
            [start + sample, position]
            for start, policy in zip(first, policies)
            for sample, position in policy.get("massive_at", ())
        ]
    if "interventions" in joined:
        edits = (edit for policy in policies for edit in policy.get("interventions", ()))
        joined["interventions"] = list(dict.fromkeys(edits))
    if "n_dropped_massive" in joined:  # of some parts at least
        joined["drop_massive"] = [
            policy.get("drop_massive", "n_dropped_massive" in policy) for policy in policies
        ]
    if "norm_limits" in joined:
        joined["norm_limits"] = {
            point: max(policy.get("norm_limits", {}).get(point, 0.0) for policy in policies)
            for point in dict.fromkeys(
                p for policy in policies for p in policy.get("norm_limits", ())
            )
        }
    return joined

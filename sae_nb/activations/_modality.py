"""Kinds of input: what a sample of each is called, how it is shown and read.

A kind is one record. Everything that differs between texts, images and plain tensors is asked of it; a kind of
your own is a record given to `sn.models.register_modality`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from sae_nb._hooks import Hook

if TYPE_CHECKING:
    from torch import nn

_HIDDEN = re.compile("mask|unk", re.IGNORECASE)
"""Tokens in the place of a letter that is not shown, or not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Modality:
    """A kind of input. Equal to its name: ``model.modality == "vision"``.

    Parameters
    ----------
    name
        As in `model.kind` and in stored activations.
    sample, place
        The word for one sample, and for one of its places where it is not a text.
    row
        The word for a row of its grid, where columns are steps in time.
    reads
        Input of a model of this kind, in errors.
    is_text, is_image
        Whether a sample is a sequence of tokens; or an image, whose places are patches in a grid after cls and
        registers.
    letters
        Of texts that are written letter by letter, such as residues: the letters. A tokenizer that knows most
        of them and no others belongs to this kind; letters are counted from 1 and drawn in tens.
    n_axes
        Axes of a sample that is given alone, by which it is told from several; 0: it is not.
    batch_size
        Samples per forward pass, unless asked otherwise.
    recognises
        Whether a module reads this kind of input, where it has no attribute `modality` with the name.
    batches
        (model, inputs, batch_size=…) → batches of checked inputs, for texts with the other arguments of
        `model.batches`; None: tensors whose first axis counts samples.
    face
        (a sample) → its image, by which panels and pages show it; None: batches bring their own, if any.
    fit
        (model, anything) → (one sample as bytes that the model can read, notes on what was done to it, …), for
        a sample that a person hands to a panel; None: it is read as it is.
    examples
        (n, seed) → held-out samples for a first look; None: there are none.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> model.modality == "vision", model.modality.sample
    (True, 'image')
    """

    name: str
    sample: str = "sample"
    place: str = "cell"
    row: str = "band"
    reads: str = "tensors"
    is_text: bool = False
    is_image: bool = False
    letters: str = ""
    n_axes: int = 0
    batch_size: int = 64
    recognises: Callable[[nn.Module], bool] | None = None
    batches: Callable[..., Any] | None = None
    face: Callable[[Tensor], UInt8[Tensor, "3 height width"]] | None = None
    fit: Callable[..., Any] | None = None
    examples: Callable[[int, int], Any] | None = None

    @staticmethod
    def of(kind: str) -> Modality:
        """Return the record of a kind of input by its name; one that is not known here has plain samples."""
        name = _EARLIER.get(kind, kind)
        modality = MODALITIES.get(name) or kinds().get(name)
        return modality or Modality(name=kind)

    @property
    def is_plain(self) -> bool:
        """Whether samples can be neither read as text nor viewed."""
        return not self.is_text and not self.is_image and self.face is None

    @property
    def token(self) -> str:
        """The word for a token of a text."""
        return self.place if self.letters else "token"

    @property
    def positions(self) -> str:
        """The word for the positions of a sample that a model reads.

        >>> [Modality.of(kind).positions for kind in ("language", "vision", "audio")]
        ['tokens', 'patches and other tokens', 'positions']
        """
        if self.is_text:
            return f"{self.token}s"
        return "patches and other tokens" if self.is_image else "positions"

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Return the number of each letter of a sample, 0 at tokens that are none; nothing of other kinds.

        A letter that is masked or unknown counts.
        """
        if not self.letters:
            return []
        counts = np.array([len(n.strip()) == 1 or bool(_HIDDEN.search(n)) for n in names], int)
        return (counts * counts.cumsum()).tolist()

    def token_place(self, names: Sequence[str], position: int) -> str:
        """Return one of a sample's tokens in words: "token 3", "residue M14"."""
        number = next(iter(self.numbers(names)[position : position + 1]), 0)
        return f"{self.token} {names[position].strip()}{number}" if number else f"token {position}"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self.name == other if isinstance(other, str | Modality) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)


LANGUAGE = Modality(
    name="language",
    sample="text",
    reads="text",
    is_text=True,
    n_axes=1,
    batch_size=8,
)
PROTEIN = Modality(
    name="protein",
    sample="protein",
    place="residue",
    reads="sequences of residues",
    is_text=True,
    letters="ACDEFGHIKLMNPQRSTVWYBOUXZ.-*|",
    n_axes=1,
    batch_size=8,
)
DNA = Modality(
    name="dna",
    sample="sequence",
    place="base",
    reads="sequences of bases",
    is_text=True,
    letters="ACGTUN",
    n_axes=1,
    batch_size=8,
)
VISION = Modality(
    name="vision", sample="image", place="patch", reads="images", is_image=True, n_axes=3
)
AUDIO = Modality(
    name="audio",
    sample="clip",
    place="frame",
    reads="sounds",
    n_axes=1,
    batch_size=8,
)
VIDEO = Modality(
    name="video",
    sample="video",
    place="tubelet",
    reads="videos",
    n_axes=4,
    batch_size=4,
)
SERIES = Modality(
    name="series",
    sample="trace",
    place="step",
    row="channel",
    reads="time series",
    batch_size=32,
)
MULTIMODAL = Modality(
    name="multimodal",
    sample="text",
    place="patch",
    reads="texts with images",
    is_text=True,
    n_axes=1,
    batch_size=4,
)
OTHER = Modality(name="plain")

MODALITIES: dict[str, Modality] = {
    one.name: one
    for one in (LANGUAGE, PROTEIN, DNA, VISION, AUDIO, VIDEO, SERIES, MULTIMODAL, OTHER)
}
"""All that are known, the newest last; what reads them is there once `kinds` was asked."""

kinds: Hook[[], dict[str, Modality]] = Hook("kinds")
"""All kinds of input by name, with what reads them, and those of other packages."""


_EARLIER = {"other": OTHER.name}
"""Names in files of earlier versions."""

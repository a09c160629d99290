"""A few atoms redrawn while they are learned: as pixels, on their strongest picture, or as a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sae_nb.summaries.training_atoms import AtomGallery, Probe, gallery_of_rows
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.figures.theme import theme
from sae_nb_widgets.pursuit_detail import picture
from sae_nb_widgets.pursuit_inputs import checked_shape

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb_widgets.tracking import Tracked

SHARE_OF_THUMBNAIL = 0.62  # twelve side by side at 960 px


class TrainingGallery:
    """The gallery of a TrainingMonitor: what it reads, and the two widgets that show it.

    Parameters
    ----------
    acts
        Activations with the samples behind them, on which atoms are read; None reads none.
    picture_shape
        (height, width) or (3, height, width) where the SAE's inputs are pixels.
    """

    def __init__(self, acts: Activations | None, picture_shape: tuple[int, ...] | None) -> None:
        self._probe = None if acts is None else Probe(acts)
        self._shape = picture_shape
        self.grid = PictureGrid(description="what some atoms stand for now", titled=True)
        self.strip = TokenStrip(description="where some atoms fire most now")
        self.gallery: AtomGallery | None = None
        for widget in self.widgets:
            widget.layout.display = "none"

    @property
    def widgets(self) -> tuple[PictureGrid, TokenStrip]:
        """What stands under the curves."""
        return self.grid, self.strip

    @property
    def reads_anything(self) -> bool:
        """Whether there is anything to show."""
        return self._shape is not None or self._probe is not None

    def look(self, tracked: Tracked, atoms: Sequence[int]) -> None:
        """Read the atoms between two steps of their training; touches no widget.

        Parameters
        ----------
        tracked
            Whose SAE.
        atoms
            Which of its atoms.

        Raises
        ------
        ValueError
            If the picture shape does not hold the SAE's width.
        """
        sae = tracked.sae
        if sae is None or not hasattr(sae, "dictionary") or not self.reads_anything:
            return
        frequency = tracked.frequency_now()  # takes the lock of the run by itself
        with tracked.run.lock:  # type: ignore[union-attr]
            if self._shape is not None:
                checked_shape(self._shape, int(sae.d_in))
                self.gallery = gallery_of_rows(sae, atoms, frequency)
            elif self._probe is not None:
                self.gallery = _in_eval_mode(self._probe, sae, atoms)

    def draw(self) -> None:
        """Show what was read."""
        gallery = self.gallery
        if gallery is None:
            return
        # The number alone fits under a thumbnail; the read-out says what it is.
        captions = [str(atom) for atom in gallery.atoms]
        words: dict[str, Any] = {"captions": captions, "places": [f"atom {c}" for c in captions]}
        strengths = [float(v) for v in gallery.strengths]
        if gallery.rows is not None and self._shape is not None:
            shape: Any = self._shape
            drawn = [
                picture(row, shape, float(np.abs(row).max()), signed=bool((row < 0).any()))
                for row in gallery.rows
            ]
            self.grid.show(np.stack(drawn), strengths=strengths, **words)
        elif gallery.pictures is not None:
            self.grid.show(gallery.pictures, heat=gallery.heat, strengths=strengths, **words)
        elif gallery.tokens:
            self.strip.show(
                gallery.tokens,
                [np.asarray(row, dtype=np.float32) for row in gallery.token_strengths],
                captions=captions,
                strengths=strengths,
            )
        self.grid.thumbnail = int(SHARE_OF_THUMBNAIL * theme().thumbnail_px)
        on_pictures = gallery.rows is not None or gallery.pictures is not None
        self.grid.layout.display = None if on_pictures else "none"
        self.strip.layout.display = None if gallery.tokens else "none"


def _in_eval_mode(probe: Probe, sae: Any, atoms: Sequence[int]) -> AtomGallery:
    """Encode as after training, and leave the SAE in the mode that its training has it in."""
    was_training = bool(sae.training)
    sae.eval()
    try:
        return probe.gallery(sae, atoms)
    finally:
        sae.train(was_training)


def evenly_spaced(n_atoms: int, n: int) -> tuple[int, ...]:
    """Return `n` atoms from all over a dictionary: the same ones at every look.

    Examples
    --------
    >>> evenly_spaced(512, 4), evenly_spaced(3, 24)
    ((0, 128, 256, 384), (0, 1, 2))
    """
    return tuple(int(i) for i in np.arange(min(n, n_atoms)) * n_atoms // max(min(n, n_atoms), 1))

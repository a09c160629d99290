"""The state of an InputLens as traits that refuse what the model cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t
from torch import Tensor

from sae_nb.checks import check_atom
from sae_nb.data import INKS, TEXTURES, Paper
from sae_nb.models import fit_picture
from sae_nb.summaries import USE_ORDERS
from sae_nb_widgets.panel import Panel, or_trait_error

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


SLOTS = ("first", "second")
HEATS = ("fired", "mattered")
MOST_SHOWN = 40


class InputLensTraits(Panel):
    """What is read and what is shown of it, each part a trait that can be set, observed and linked."""

    # What `close` reads, also of a panel that was refused before it was built.
    _closed = True

    model: LiveModel
    sae: SparseAutoencoder
    n_atoms: int
    n_examples: int
    # What was done to the pictures, by the trait that holds them.
    _picture_notes: dict[str, tuple[str, ...]]
    # What was done to a drawing before it became a picture.
    _drawn_notes: tuple[str, ...] = ()

    text = t.Unicode("", help="What a language model reads.")
    compare_text = t.Unicode("", help="A second text beside it; empty for none.")
    picture = t.Any(None, help="What a vision model reads: uint8 (3, height, width).")
    compare_picture = t.Any(None, help="A second picture beside it; None for none.")
    comparing = t.Bool(False, help="Whether a second input stands beside the first.")
    slot = t.Enum(SLOTS, default_value="first", help="Which input drawing and choosing go to.")
    example = t.Int(-1, help="Which example was chosen; -1 for none of them.")
    atom = t.Int(0, help="Row of the dictionary whose strength is shown over the input.")
    token = t.Int(-1, help="Position whose strongest atoms are listed; -1 follows the atom.")
    sort = t.Enum(USE_ORDERS, default_value="total strength", help="Order of the bars.")
    heat = t.Enum(HEATS, default_value="fired", help="What is drawn over the input.")
    target = t.Unicode("", help="Class or token asked about; empty for the model's own answer.")
    n_shown = t.Int(12, help="How many atoms have bars.")
    ink = t.Enum(tuple(INKS), default_value=Paper().ink, help="Ink of drawings.")
    paper = t.Enum(TEXTURES, default_value="vertical", help="Texture behind drawings.")

    @t.validate("atom")
    def _atom_exists(self, proposal: t.Bunch) -> int:
        return or_trait_error(check_atom, proposal["value"], self.n_atoms)

    @t.validate("picture", "compare_picture")
    def _picture_fits(self, proposal: t.Bunch) -> Any:
        value, name = proposal["value"], proposal["trait"].name
        if value is None:
            self._picture_notes[name] = ()
            return None
        try:
            picture, notes = fit_picture(self.model, value)
        except (OSError, TypeError, ValueError) as error:
            raise t.TraitError(str(error)) from None
        self._picture_notes[name] = (*self._drawn_notes, *notes)
        old = getattr(self, name)
        # Comparing tensors gives tensors, which traitlets cannot ask "is it new?".
        same = (
            isinstance(old, Tensor) and old.shape == picture.shape and bool((old == picture).all())
        )
        return old if same else picture

    @t.validate("example")
    def _example_exists(self, proposal: t.Bunch) -> int:
        value = int(proposal["value"])
        if not -1 <= value < self.n_examples:
            raise t.TraitError(
                f"`example` must be between 0 and {self.n_examples - 1}, or -1, got {value}."
            )
        return value

    @t.validate("n_shown")
    def _shown_in_range(self, proposal: t.Bunch) -> int:
        value = int(proposal["value"])
        if not 1 <= value <= MOST_SHOWN:
            raise t.TraitError(f"`n_shown` must be between 1 and {MOST_SHOWN}, got {value}.")
        return value

    @t.validate("token")
    def _token_is_a_position(self, proposal: t.Bunch) -> int:
        value = int(proposal["value"])
        if not -1 <= value < self.n_positions:
            raise t.TraitError(
                f"`token` must be a position of the input, 0 to {self.n_positions - 1}, or -1, got "
                f"{value}."
            )
        return value

    @property
    def n_positions(self) -> int:
        """Positions of the first input; many before the model has read it."""
        raise NotImplementedError

"""InputLens: which atoms a text or a picture uses — what fired, and what the answer hung on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_widgets.input_lens._panel import InputLens as InputLens
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_widgets.input_lens._controls import (
        upload_button as upload_button,
        uploaded as uploaded,
    )
    from sae_nb_widgets.input_lens._figure import (
        columns_of as columns_of,
        key_of as key_of,
        shown_atoms as shown_atoms,
    )
    from sae_nb_widgets.input_lens._words import answer_words as answer_words

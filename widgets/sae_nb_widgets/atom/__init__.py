"""AtomBrowser: what makes an atom fire — strengths, examples, neighbours, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb_widgets.atom._panel import AtomBrowser as AtomBrowser
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb_widgets.atom._examples import examples_view as examples_view

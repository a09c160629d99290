"""Lenses: the model's answer as it is read from a block's output, with the score of that reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.lenses._checking import LensCheck as LensCheck
    from sae_nb.lenses._fitting import LensRecord as LensRecord, fit_lens as fit_lens
    from sae_nb.lenses._lens import Lens as Lens
    from sae_nb.lenses._measuring import measured_effects as measured_effects
    from sae_nb.lenses._reading import LensReading as LensReading
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.lenses._attaching import layer_of as layer_of
    from sae_nb.lenses._files import KIND as KIND, read_lens as read_lens, write_lens as write_lens
    from sae_nb.lenses._head import Head as Head, head_of as head_of, pooled as pooled

"""Every architecture by the name it is saved under: the SAEs that the door of this room names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from sae_nb import architectures
from sae_nb.architectures._base import SparseAutoencoder


def _offered() -> Iterator[type[SparseAutoencoder]]:
    for name in dir(architectures):
        if name != "ARCHITECTURES":  # which is being made
            value = getattr(architectures, name)
            is_sae = inspect.isclass(value) and issubclass(value, SparseAutoencoder)
            if is_sae and not inspect.isabstract(value):
                yield value


ARCHITECTURES: dict[str, type[SparseAutoencoder]] = {sae.__name__: sae for sae in _offered()}
"""Every architecture by its saved name."""

"""Other libraries' files: one reader each, and writers for what others read.

Nothing here imports another library. Pickled weights pass through `tensors_only`, which builds
tensors and nothing else.
"""

from __future__ import annotations

from sae_nb.architectures import SparseAutoencoder
from sae_nb.interop._imported import Imported
from sae_nb.interop._temporal import ImportedTemporal

IMPORTED: dict[str, type[SparseAutoencoder]] = {
    "Imported": Imported,
    "ImportedTemporal": ImportedTemporal,
}
"""Classes of imported SAEs by their saved name."""

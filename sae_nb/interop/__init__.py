"""Other libraries' files: one reader each, and writers for what others read.

Nothing here imports another library. Pickled weights pass through `tensors_only`, which builds
tensors and nothing else.
"""

from __future__ import annotations

from sae_nb.architectures.base import SparseAutoencoder
from sae_nb.interop.dictionary_learning import read_dictionary_learning
from sae_nb.interop.dictionary_learning_writing import write_dictionary_learning
from sae_nb.interop.gemma_scope import read_gemma_scope
from sae_nb.interop.imported import Encoding, Imported, Origin
from sae_nb.interop.neuronpedia import write_neuronpedia
from sae_nb.interop.openai import read_openai
from sae_nb.interop.overcomplete import read_overcomplete
from sae_nb.interop.overcomplete_writing import write_overcomplete
from sae_nb.interop.saelens import read_saelens
from sae_nb.interop.saelens_writing import write_saelens
from sae_nb.interop.sparsify import read_sparsify
from sae_nb.interop.sparsify_writing import write_sparsify
from sae_nb.interop.temporal import ImportedTemporal, read_temporal

IMPORTED: dict[str, type[SparseAutoencoder]] = {
    "Imported": Imported,
    "ImportedTemporal": ImportedTemporal,
}
"""Classes of imported SAEs by their saved name."""

__all__ = [
    "IMPORTED",
    "Encoding",
    "Imported",
    "ImportedTemporal",
    "Origin",
    "read_dictionary_learning",
    "read_gemma_scope",
    "read_openai",
    "read_overcomplete",
    "read_saelens",
    "read_sparsify",
    "read_temporal",
    "write_dictionary_learning",
    "write_neuronpedia",
    "write_overcomplete",
    "write_saelens",
    "write_sparsify",
]

"""Other libraries' files: one reader each, and writers for what others read.

Nothing here imports another library. Pickled weights pass through `_foreign.py`, which builds
tensors and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.interop._circuit_tracer import (
        read_circuit_tracer as read_circuit_tracer,
        write_circuit_tracer as write_circuit_tracer,
    )
    from sae_nb.interop._detection import (
        IMPORTED as IMPORTED,
        FolderFormat as FolderFormat,
        Layout as Layout,
    )
    from sae_nb.interop._dictionary_learning import (
        read_dictionary_learning as read_dictionary_learning,
        write_dictionary_learning as write_dictionary_learning,
    )
    from sae_nb.interop._gemma_scope import (
        read_gemma_scope as read_gemma_scope,
        write_gemma_scope as write_gemma_scope,
    )
    from sae_nb.interop._imported import (
        Encoding as Encoding,
        Imported as Imported,
        Origin as Origin,
    )
    from sae_nb.interop._jacobian_lens import (
        read_jacobian_lens as read_jacobian_lens,
        write_jacobian_lens as write_jacobian_lens,
    )
    from sae_nb.interop._neuronpedia import write_neuronpedia as write_neuronpedia
    from sae_nb.interop._openai import read_openai as read_openai, write_openai as write_openai
    from sae_nb.interop._overcomplete import (
        read_overcomplete as read_overcomplete,
        write_overcomplete as write_overcomplete,
    )
    from sae_nb.interop._published import published as published
    from sae_nb.interop._saelens import read_saelens as read_saelens, write_saelens as write_saelens
    from sae_nb.interop._several import (
        ImportedCrosscoder as ImportedCrosscoder,
        ImportedCrossLayerTranscoder as ImportedCrossLayerTranscoder,
    )
    from sae_nb.interop._sparsify import (
        read_sparsify as read_sparsify,
        write_sparsify as write_sparsify,
    )
    from sae_nb.interop._temporal import (
        ImportedTemporal as ImportedTemporal,
        read_temporal as read_temporal,
    )
    from sae_nb.interop._vision import (
        read_prisma as read_prisma,
        read_sae_for_vlm as read_sae_for_vlm,
        read_visaebench as read_visaebench,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

"""Generation: what a model writes, token by token, and what its atoms do meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.generation._continuing import (
        Continuation as Continuation,
        continued as continued,
        shared_beginning as shared_beginning,
        summarise_continuation as summarise_continuation,
    )
    from sae_nb.generation._generation import (
        Branch as Branch,
        Generation as Generation,
        Written as Written,
    )
    from sae_nb.generation._writing import (
        check_length as check_length,
        check_writer as check_writer,
        prompt_ids as prompt_ids,
        text_of as text_of,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

"""Activations: rows read from a live model, where each came from, and how they lie on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.activations._activations import (
        Activations as Activations,
        ActivationSource as ActivationSource,
    )
    from sae_nb.activations._aligning import Alignment as Alignment, align as align
    from sae_nb.activations._sites import concatenate as concatenate
    from sae_nb.activations._store import load_activations as load_activations
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.activations._aligning import first_difference as first_difference
    from sae_nb.activations._context import (
        RECONSTRUCTED as RECONSTRUCTED,
        ROLES as ROLES,
        Context as Context,
        PlacedImages as PlacedImages,
        Ragged as Ragged,
        describe_ids as describe_ids,
        join_columns as join_columns,
        join_tokens as join_tokens,
        placed_images as placed_images,
        policy_text as policy_text,
        ragged_sounds as ragged_sounds,
        ragged_tokens as ragged_tokens,
        token_texts as token_texts,
    )
    from sae_nb.activations._hook_point_check import (
        other_model as other_model,
        place_of as place_of,
        warn_of_place as warn_of_place,
        warn_of_places as warn_of_places,
    )
    from sae_nb.activations._massive import (
        above as above,
        massive as massive,
        norm_limit as norm_limit,
        row_norms as row_norms,
    )
    from sae_nb.activations._modality import (
        AUDIO as AUDIO,
        DNA as DNA,
        LANGUAGE as LANGUAGE,
        MODALITIES as MODALITIES,
        MULTIMODAL as MULTIMODAL,
        OTHER as OTHER,
        PROTEIN as PROTEIN,
        SERIES as SERIES,
        VIDEO as VIDEO,
        VISION as VISION,
        Modality as Modality,
        modality_of as modality_of,
    )
    from sae_nb.activations._named_positions import (
        NAMED_POSITIONS as NAMED_POSITIONS,
        ROLE_POSITIONS as ROLE_POSITIONS,
        NamedPositions as NamedPositions,
        check_named_position as check_named_position,
        named_mask as named_mask,
    )
    from sae_nb.activations._positions import (
        DEFAULT as DEFAULT,
        TRAINING as TRAINING,
        PositionPolicy as PositionPolicy,
        first_tokens as first_tokens,
    )
    from sae_nb.activations._rows import MadeRows as MadeRows, generator_for as generator_for
    from sae_nb.activations._sites import (
        AND as AND,
        HOW_TO_GET_GRADIENTS as HOW_TO_GET_GRADIENTS,
        Pairs as Pairs,
        WithGradient as WithGradient,
        acts_for as acts_for,
        as_one as as_one,
        check_one_place as check_one_place,
        check_sae as check_sae,
        check_varies as check_varies,
        concat_sites as concat_sites,
        of_sites as of_sites,
        one_of_sites as one_of_sites,
        parts_of as parts_of,
        reconstruction as reconstruction,
        side_by_side as side_by_side,
        site_names as site_names,
        uncoded as uncoded,
        written_codes as written_codes,
    )
    from sae_nb.activations._store import (
        KIND as KIND,
        PROGRESS as PROGRESS,
        SHARD_BYTES as SHARD_BYTES,
        StoredPoint as StoredPoint,
        join_samples as join_samples,
        open_store as open_store,
        row_tensors as row_tensors,
        save_activations as save_activations,
        seal as seal,
        size_and_checksum as size_and_checksum,
    )
    from sae_nb.activations._token_texts import (
        CONTINUED as CONTINUED,
        REACH as REACH,
        content_of as content_of,
        directed as directed,
        displayed as displayed,
        gathered as gathered,
        is_special as is_special,
        spans as spans,
        whole_at as whole_at,
    )

"""Live models: bundled ones, any Hugging Face checkpoint, and any torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.activations._modality import Modality as Modality
    from sae_nb.models._answers import Answer as Answer, answering as answering
    from sae_nb.models._attention import (
        AttentionParts as AttentionParts,
        AttentionPlace as AttentionPlace,
        attention_patterns as attention_patterns,
        read_attention as read_attention,
        watching as watching,
    )
    from sae_nb.models._block_order import trial_pass as trial_pass
    from sae_nb.models._bottleneck import (
        Bottleneck as Bottleneck,
        train_bottlenecks as train_bottlenecks,
    )
    from sae_nb.models._calls import RunState as RunState
    from sae_nb.models._chat import is_conversation as is_conversation
    from sae_nb.models._checkpoint_files import bundled_names as bundled_names
    from sae_nb.models._fetching import FETCHABLE as FETCHABLE, fetch_model as fetch_model
    from sae_nb.models._freezing import Frozen as Frozen
    from sae_nb.models._generation import TokenStream as TokenStream
    from sae_nb.models._hook_points import (
        HookPoint as HookPoint,
        HookPointNotFound as HookPointNotFound,
    )
    from sae_nb.models._image_inputs import image_batch as image_batch
    from sae_nb.models._inputs import Batch as Batch, column_of_table as column_of_table
    from sae_nb.models._interventions import Intervention as Intervention
    from sae_nb.models._kinds import register_modality as register_modality
    from sae_nb.models._live_model import LiveModel as LiveModel
    from sae_nb.models._loading import load_model as load_model, wrap as wrap
    from sae_nb.models._looped_adder import LoopedAdder as LoopedAdder
    from sae_nb.models._memory import MemoryNeeded as MemoryNeeded, memory_needed as memory_needed
    from sae_nb.models._norms import norm_of as norm_of
    from sae_nb.models._one_input import (
        as_batch as as_batch,
        outcome_names as outcome_names,
        shown_picture as shown_picture,
        with_place as with_place,
    )
    from sae_nb.models._prefix_cache import PrefixCache as PrefixCache
    from sae_nb.models._preprocessing import Preprocess as Preprocess
    from sae_nb.models._running import (
        intervening as intervening,
        noting_states as noting_states,
        run as run,
    )
    from sae_nb.models._sound_inputs import sound_rate as sound_rate
    from sae_nb.models._sound_transformer import SoundTransformer as SoundTransformer
    from sae_nb.models._states import patches_of as patches_of
    from sae_nb.models._text_inputs import text_ids as text_ids, written_texts as written_texts
    from sae_nb.models._vision_transformer import (
        VisionTransformer as VisionTransformer,
        VisionTransformerConfig as VisionTransformerConfig,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

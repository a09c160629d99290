"""Live models: bundled ones, any Hugging Face checkpoint, and any torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.activations import Modality as Modality
    from sae_nb.models._bottleneck import (
        Bottleneck as Bottleneck,
        train_bottlenecks as train_bottlenecks,
    )
    from sae_nb.models._bundled import bundled_names as bundled_names
    from sae_nb.models._calls import RunState as RunState
    from sae_nb.models._fetching import fetch_model as fetch_model
    from sae_nb.models._hook_points import (
        HookPoint as HookPoint,
        HookPointNotFound as HookPointNotFound,
    )
    from sae_nb.models._live_model import LiveModel as LiveModel
    from sae_nb.models._loading import (
        load_model as load_model,
        wrap as wrap,
    )
    from sae_nb.models._memory import (
        MemoryNeeded as MemoryNeeded,
        memory_needed as memory_needed,
    )
    from sae_nb.models._modalities import register_modality as register_modality
    from sae_nb.models._preprocessing import Preprocess as Preprocess
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.models._answers import Answer as Answer, AnswerKind as AnswerKind
    from sae_nb.models._attention import (
        Attention as Attention,
        attention_patterns as attention_patterns,
        read_attention as read_attention,
    )
    from sae_nb.models._checkpoint_files import (
        first_line as first_line,
        is_offline as is_offline,
        snapshot as snapshot,
    )
    from sae_nb.models._devices import no_weights as no_weights
    from sae_nb.models._fetching import FETCHED as FETCHED, known_as as known_as
    from sae_nb.models._freezing import (
        Frozen as Frozen,
        check_frozen as check_frozen,
    )
    from sae_nb.models._generation import (
        Begun as Begun,
        Choice as Choice,
        Stream as Stream,
        prompt_row as prompt_row,
    )
    from sae_nb.models._hook_points import (
        Side as Side,
        check_writable as check_writable,
    )
    from sae_nb.models._image_inputs import fit_picture as fit_picture
    from sae_nb.models._inputs import (
        Batch as Batch,
        Batches as Batches,
        column_of_table as column_of_table,
        described as described,
    )
    from sae_nb.models._interventions import (
        Backend as Backend,
        Intervention as Intervention,
        take_out as take_out,
    )
    from sae_nb.models._loading import Remote as Remote
    from sae_nb.models._looped_adder import (
        LoopedAdder as LoopedAdder,
        LoopedAdderConfig as LoopedAdderConfig,
        pair_ids as pair_ids,
    )
    from sae_nb.models._norms import named_takes_off_mean as named_takes_off_mean
    from sae_nb.models._plain_hooks import Hooks as Hooks
    from sae_nb.models._prefix_cache import Below as Below
    from sae_nb.models._running import (
        Put as Put,
        Puts as Puts,
        Run as Run,
        Runner as Runner,
        heard as heard,
        intervening as intervening,
        run as run,
    )
    from sae_nb.models._sound_inputs import (
        fit_sound as fit_sound,
        played as played,
        rate_of as rate_of,
    )
    from sae_nb.models._sound_transformer import (
        SoundTransformer as SoundTransformer,
        SoundTransformerConfig as SoundTransformerConfig,
    )
    from sae_nb.models._spectrograms import spectrogram_faces as spectrogram_faces
    from sae_nb.models._states import (
        TokenAxes as TokenAxes,
        by_place as by_place,
        layout_of as layout_of,
        patches_of as patches_of,
        read_tensor as read_tensor,
        timed_layout as timed_layout,
        where_from as where_from,
    )
    from sae_nb.models._stored_edits import (
        check_travels as check_travels,
        edited_nnsight as edited_nnsight,
    )
    from sae_nb.models._text_inputs import text_ids as text_ids
    from sae_nb.models._vision_transformer import (
        Block as Block,
        VisionTransformer as VisionTransformer,
        VisionTransformerConfig as VisionTransformerConfig,
    )

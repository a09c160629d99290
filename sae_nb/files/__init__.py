"""Files you can trust: atomic writes, locks, folders exchanged in one step, fingerprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.files._fingerprints import SaeIdentity as SaeIdentity
    from sae_nb.files._mapped import MappedMatrix as MappedMatrix
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.files._atomic import (
        MANIFEST as MANIFEST,
        check_seal as check_seal,
        existing as existing,
        existing_folder as existing_folder,
        filled as filled,
        free_folder as free_folder,
        json_object as json_object,
        new_folder as new_folder,
        read_json as read_json,
        read_manifest as read_manifest,
        read_toml as read_toml,
        replacing as replacing,
        sealed as sealed,
        sha256 as sha256,
        write_bytes as write_bytes,
        write_csv as write_csv,
        write_json as write_json,
        write_manifest as write_manifest,
    )
    from sae_nb.files._caches import CACHE as CACHE, cache_folder as cache_folder
    from sae_nb.files._exchange import (
        is_partial as is_partial,
        place as place,
        recover as recover,
        remove_folder as remove_folder,
    )
    from sae_nb.files._fingerprints import (
        check_same_call as check_same_call,
        dictionary_digest as dictionary_digest,
        identity_of as identity_of,
        inputs_digest as inputs_digest,
        tensor_bytes as tensor_bytes,
        tokenizer_digest as tokenizer_digest,
        weights_digest as weights_digest,
    )
    from sae_nb.files._locks import (
        Lock as Lock,
        hold_folder as hold_folder,
        holding_folder as holding_folder,
    )
    from sae_nb.files._mapped import (
        all_finite as all_finite,
        in_memory as in_memory,
        is_mapping as is_mapping,
        mapping as mapping,
        row_bytes as row_bytes,
    )
    from sae_nb.files._mapped_files import (
        CompressedError as CompressedError,
        mapped_arrays as mapped_arrays,
    )
    from sae_nb.files._streams import (
        Stream as Stream,
        file_order as file_order,
        in_portions as in_portions,
        portion_rows as portion_rows,
        read_parts as read_parts,
        write_streams as write_streams,
    )
    from sae_nb.files._tensors import (
        read_tensors as read_tensors,
        write_arrays as write_arrays,
        write_folder as write_folder,
        write_tensors as write_tensors,
    )
    from sae_nb.files._unpacking import check_archive as check_archive

"""Checks of user input, made once at the public call: rule, given, do.

`checked` above a public function checks every argument against its annotation. A rule of one argument
is in its annotation (`n: Count`, `noise: Annotated[float, at_least(0)]`, the names of `_rules`), and
nowhere else: check, error, the page on errors and the test of bad input are made from it. Rules that no
annotation can express (what fits together, a limit that another argument sets) are in the first lines
of the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb._hints import no_attribute as no_attribute
    from sae_nb.checks._annotations import (
        checked as checked,
        rules_of as rules_of,
        unchecked as unchecked,
    )
    from sae_nb.checks._directions import (
        as_dictionary as as_dictionary,
        check_place as check_place,
        refuse_direction as refuse_direction,
    )
    from sae_nb.checks._modes import (
        are_own as are_own,
        in_own_modes as in_own_modes,
        make_ordinary as make_ordinary,
        methods_in_own_modes as methods_in_own_modes,
        ordinary as ordinary,
        own_modes as own_modes,
    )
    from sae_nb.checks._rules import (
        Between as Between,
        Count as Count,
        Each as Each,
        OneOf as OneOf,
        Positive as Positive,
        Resamples as Resamples,
        Rule as Rule,
        Seed as Seed,
        Share as Share,
        Weight as Weight,
        above as above,
        at_least as at_least,
    )
    from sae_nb.checks._values import (
        LARGEST as LARGEST,
        Inputs as Inputs,
        answered as answered,
        as_tensor as as_tensor,
        available_memory as available_memory,
        between as between,
        check_atom as check_atom,
        check_callable as check_callable,
        check_classes as check_classes,
        check_count as check_count,
        check_data as check_data,
        check_device as check_device,
        check_devices as check_devices,
        check_finite as check_finite,
        check_flag as check_flag,
        check_hook_name as check_hook_name,
        check_integer as check_integer,
        check_integers as check_integers,
        check_k as check_k,
        check_matrix as check_matrix,
        check_memory as check_memory,
        check_number_type as check_number_type,
        check_path as check_path,
        check_real as check_real,
        check_seed as check_seed,
        check_text as check_text,
        hidden_gpus as hidden_gpus,
        is_array as is_array,
        one_of as one_of,
        row_numbers as row_numbers,
        same_length as same_length,
        shown as shown,
        warn_caller as warn_caller,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

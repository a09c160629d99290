"""Behaviour of atoms on activations: how often, how strongly, on what; each atom's examples and its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.atoms._atom import AtomSummary as AtomSummary, summarise_atom as summarise_atom
    from sae_nb.atoms._catalogue import AtomCatalogue as AtomCatalogue
    from sae_nb.atoms._concordance import concordance as concordance
    from sae_nb.atoms._effects import AtomEffects as AtomEffects, measure_atom as measure_atom
    from sae_nb.atoms._evidence import LabelEvidence as LabelEvidence
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.atoms._atom import (
        Crops as Crops,
        crop_patch as crop_patch,
        describe_atom as describe_atom,
        strength_histogram as strength_histogram,
    )
    from sae_nb.atoms._captions import (
        NO_NAME as NO_NAME,
        Caption as Caption,
        says_much as says_much,
    )
    from sae_nb.atoms._catalogue import directions_of as directions_of
    from sae_nb.atoms._effects import (
        DIRECT as DIRECT,
        effects_of as effects_of,
        written_at as written_at,
    )
    from sae_nb.atoms._evidence import (
        VERDICTS as VERDICTS,
        Badge as Badge,
        By as By,
        Verdict as Verdict,
        badge as badge,
    )
    from sae_nb.atoms._examples import (
        BANDS as BANDS,
        IMAGE as IMAGE,
        TOKENS_AFTER as TOKENS_AFTER,
        TOKENS_BEFORE as TOKENS_BEFORE,
        Band as Band,
        Choice as Choice,
        Example as Example,
        build_examples as build_examples,
        choose_rows as choose_rows,
        in_text as in_text,
        place_in as place_in,
        text_around as text_around,
    )
    from sae_nb.atoms._firings import ORDERS as ORDERS
    from sae_nb.atoms._labels import Labels as Labels, Words as Words
    from sae_nb.atoms._names import (
        AtomCard as AtomCard,
        AtomNames as AtomNames,
        row_word as row_word,
        rows_in_words as rows_in_words,
    )
    from sae_nb.atoms._pair import AtomPair as AtomPair, compare_atoms as compare_atoms
    from sae_nb.atoms._searching import (
        folded as folded,
        names_of_rows as names_of_rows,
        preferring as preferring,
    )
    from sae_nb.atoms._sites import SiteCatalogue as SiteCatalogue, SiteExamples as SiteExamples
    from sae_nb.atoms._sound_clips import (
        Heard as Heard,
        eight_bits as eight_bits,
        heard_at as heard_at,
        wave_file as wave_file,
    )
    from sae_nb.atoms._words import (
        PATCHES as PATCHES,
        row_words as row_words,
    )

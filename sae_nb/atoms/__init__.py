"""Behaviour of atoms on activations: how often, how strongly, on what; each atom's examples and its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.atoms._atom import crop_patch as crop_patch
    from sae_nb.atoms._captions import NO_NAME as NO_NAME, says_much as says_much
    from sae_nb.atoms._catalogue import AtomCatalogue as AtomCatalogue
    from sae_nb.atoms._concordance import concordance as concordance
    from sae_nb.atoms._effects import (
        AtomEffects as AtomEffects,
        effects_of as effects_of,
        measure_atom as measure_atom,
    )
    from sae_nb.atoms._evidence import LabelEvidence as LabelEvidence
    from sae_nb.atoms._examples import examples_of as examples_of
    from sae_nb.atoms._foretold import Foretold as Foretold
    from sae_nb.atoms._labels import Labels as Labels
    from sae_nb.atoms._names import AtomCard as AtomCard, AtomNames as AtomNames
    from sae_nb.atoms._pair import AtomPair as AtomPair, compare_atoms as compare_atoms
    from sae_nb.atoms._peaks import Peaks as Peaks, peaks as peaks
    from sae_nb.atoms._quiz import (
        QuizQuestion as QuizQuestion,
        ask_about as ask_about,
        askable_atoms as askable_atoms,
    )
    from sae_nb.atoms._records import (
        AtomSummary as AtomSummary,
        Band as Band,
        Crops as Crops,
        Example as Example,
        SiteExamples as SiteExamples,
    )
    from sae_nb.atoms._searching import (
        FoundAtoms as FoundAtoms,
        find_atoms as find_atoms,
        folded as folded,
        named as named,
        numbered as numbered,
    )
    from sae_nb.atoms._second_codes import KeptFirings as KeptFirings
    from sae_nb.atoms._sum_of_atoms import SumOfAtoms as SumOfAtoms, sum_of_atoms as sum_of_atoms
    from sae_nb.atoms._words import is_content_word as is_content_word
    from sae_nb.atoms.concept_map._atlas import ConceptAtlas as ConceptAtlas
    from sae_nb.atoms.concept_map._concept_map import (
        ArchetypePlaces as ArchetypePlaces,
        Cluster as Cluster,
        Column as Column,
        ConceptMapSummary as ConceptMapSummary,
    )
    from sae_nb.atoms.concept_map._held_words import HeldWords as HeldWords
    from sae_nb.atoms.concept_map._selection import (
        SelectionSummary as SelectionSummary,
        SharedInput as SharedInput,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)

"""`names_of`: names of the atoms of an SAE, the same wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sae_nb.atoms._labels import Labels
from sae_nb.atoms._names import AtomNames
from sae_nb.labelling import AtomLabels
from sae_nb.labelling._keeping import found_labels
from sae_nb.pretrained import examples_of
from sae_nb.pretrained._examples import bundled_labels
from sae_nb.sessions._annotations import Annotations
from sae_nb.sessions._verdicts import verdicts_of
from sae_nb.steering._nearest import shown_names

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue

# What one panel learned of an SAE, the next one shows: the SAE carries it, so that both end together.
CARRIED = "_names_in_panels"


class _Carried:
    """The names an SAE carries; a copy of the SAE, or a pickled one, begins without."""

    def __init__(self, names: AtomNames | None = None, found: AtomLabels | None = None) -> None:
        self.names, self.found = names, found

    def __deepcopy__(self, _: object) -> _Carried:
        return _Carried()

    def __reduce__(self) -> tuple[type[_Carried], tuple[()]]:
        return _Carried, ()


def names_of(
    sae: object, catalogue: AtomCatalogue | None = None, labels: object = None
) -> AtomNames:
    """Return the names of an SAE's atoms: one object for all panels of that SAE in a process.

    Parameters
    ----------
    catalogue
        Codes on example activations, for captions and examples. None takes those that another panel
        brought, else those of a pretrained SAE.
    labels
        As for `AtomBrowser`. None takes those that another panel brought, else the SAE's own.

    Example
    -------
    >>> from sae_nb.pretrained import load_sae
    >>> sae = load_sae("tiny-vit/resid_post.6")
    >>> names_of(sae) is names_of(sae), names_of(sae).name(133)
    (True, '133 · digit 7')
    """
    carried = getattr(sae, "__dict__", {}).get(CARRIED, _Carried())
    known, found = carried.names, found_labels(sae)
    if known is not None and (verdicts := verdicts_of(sae)) != known.verdicts:
        known.verdicts = verdicts  # `sn.certificate` was called since
    if known is None:
        if catalogue is None and (examples := examples_of(sae)) is not None:
            catalogue = examples.catalogue(sae)  # type: ignore[arg-type]
        # Of a direction, by whoever named it; of a pretrained SAE of sequences, which has no examples.
        own = getattr(sae, "given_names", None) or bundled_labels(sae)
        measured = _with_found(own if catalogue is None else catalogue.labels or own, found)
        return _keep(sae, AtomNames(catalogue, Annotations.of(labels, sae, measured)), found)
    catalogue = catalogue or known.catalogue
    book = known.labels
    measured = None if catalogue is None else catalogue.labels
    if labels is not None and not _are_those_given(labels, book):
        book = Annotations.of(labels, sae, _with_found(measured, found))
    elif found is not None and found is not carried.found:
        book.given = Labels(_with_found(book.given, found))  # `sn.label` was called since
    elif measured and measured is not book and not book.given:
        book.given = Labels(measured)  # the panel before had none
    if book is known.labels and catalogue is known.catalogue:
        carried.found = found
        return known
    return _keep(sae, AtomNames(catalogue, book), found)


@shown_names.answer
def _shown_names(sae: object) -> Callable[[int], str]:
    return names_of(sae).name


def _with_found(
    measured: Mapping[int, str] | None, found: AtomLabels | None
) -> Mapping[int, str] | None:
    """Labels that came with the SAE, then those that `sn.label` found; evidence where texts are the same."""
    if found is None:
        return measured
    if isinstance(measured, Annotations):
        measured.given = Labels(_with_found(measured.given, found))
        return measured
    merged = Labels(found)
    if measured:
        note = getattr(measured, "note", lambda _: "")
        merged.write_all({atom: (text, note(atom)) for atom, text in measured.items()})
    return merged


def _are_those_given(labels: object, book: Labels) -> bool:
    """Return whether a mapping equals the book's labels where none was written: then the book stays."""
    if not isinstance(labels, Mapping) or isinstance(labels, Annotations):
        return False
    given, known = Labels(labels), Labels(book.given)
    same = (given.evidence(atom) == known.evidence(atom) for atom in given)
    return dict(given) == dict(known) and all(same)


def _keep(sae: object, names: AtomNames, found: AtomLabels | None = None) -> AtomNames:
    names.verdicts = verdicts_of(sae)
    if hasattr(sae, "__dict__") and not isinstance(sae, type):
        object.__setattr__(sae, CARRIED, _Carried(names, found))
    return names

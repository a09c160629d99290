"""`names_of`: what the atoms of an SAE are called, the same for everybody who shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor

from sae_nb.atoms import AtomNames
from sae_nb.pretrained import examples_of
from sae_nb.sessions._annotations import annotations_of

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue

# What one panel learned of an SAE, the next one shows.
_known: WeakKeyDictionary[Any, AtomNames] = WeakKeyDictionary()


def names_of(sae: Any, catalogue: AtomCatalogue | None = None, labels: Any = None) -> AtomNames:
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
    known = _known.get(sae) if _can_be_kept(sae) else None
    if known is None:
        catalogue = catalogue or _pretrained(sae)
        measured = None if catalogue is None else catalogue.labels
        return _keep(sae, AtomNames(catalogue, annotations_of(labels, sae, measured)))
    catalogue = catalogue or known.catalogue
    book = known.labels
    if labels is not None:
        measured = None if catalogue is None else catalogue.labels
        book = annotations_of(labels, sae, measured)
    if book is known.labels and catalogue is known.catalogue:
        return known
    return _keep(sae, AtomNames(catalogue, book))


def _keep(sae: Any, names: AtomNames) -> AtomNames:
    if _can_be_kept(sae):
        _known[sae] = names
    return names


def _can_be_kept(sae: Any) -> bool:
    # Two tensors are compared number by number, which is no question of being the same one.
    if isinstance(sae, Tensor):
        return False
    try:
        WeakKeyDictionary({sae: None})
    except TypeError:
        return False
    return True


def _pretrained(sae: Any) -> AtomCatalogue | None:
    """The stored examples of a pretrained SAE, or None."""
    try:
        return examples_of(sae).catalogue(sae)
    except TypeError:
        return None

"""Classes of a classifier on a site: which atoms each class rests on, how much, and where they fire in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from sae_nb.atoms._examples import Choice, build_examples, one_per_sample
from sae_nb.capturing import capture
from sae_nb.checks import same_length

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from sae_nb.atoms import AtomCatalogue
    from sae_nb.models import LiveModel
    from sae_nb.site._cards import Cards

TOP, SHOWN = 8, 3
"""Atoms of a class, and examples of each: a page of a class stays small however many classes there are."""

SAMPLES_AT_ONCE = 256
_TILE = 2**22  # numbers of gathered atoms held at a time
_BY_GRADIENT = (
    "Importance: how far the class's logit, less the mean of all, falls to first order when the atom is taken "
    "out; mean over the class. By chance: the most that an atom reaches with the directions of atoms exchanged."
)
_BY_STRENGTH = (
    "Importance: mean strength on the class less that on all others; the model was not asked. By chance: the "
    "most that any atom reaches with the classes of samples shuffled."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassAtoms:
    """The classes that have samples, and what each atom does for them."""

    names: tuple[str, ...]
    of_sample: Int[np.ndarray, " n_samples"]
    """Number of the class of each sample."""

    importance: csr_matrix
    """(classes, atoms)."""

    floor: Float[np.ndarray, " n_classes"]
    by: str
    """What chance reaches in each class; what importance is, in words."""

    def top(self, number: int) -> list[tuple[int, float]]:
        """Return the most important atoms of a class, and how important they are."""
        row = self.importance[[number]]
        order = np.argsort(-row.data, kind="stable")[:TOP]
        return [(int(row.indices[i]), float(row.data[i])) for i in order if row.data[i] > 0]


def class_atoms(
    catalogue: AtomCatalogue, classes: bool | Sequence[Any], model: LiveModel | None, seed: int = 0
) -> ClassAtoms:
    """Measure what atoms do for each class: `classes` is a class per sample; True: the model's answers."""
    known = None if model is None else model.class_names
    given = _given(catalogue, classes, model, known)
    labels, number = _numbered(given, known)
    names, of_sample = np.unique(number, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"`classes` must be at least two, got {labels[names[0]]!r} alone. Pass samples of others too."
        )
    generator = np.random.default_rng(seed)
    asked = model is not None and known is not None and labels == list(known)
    found = (
        _by_gradient(catalogue, model, number, of_sample, generator)  # type: ignore[arg-type]
        if asked and _can_be_asked(catalogue)
        else _by_strength(catalogue, of_sample, generator)
    )
    return ClassAtoms(names=tuple(labels[i] for i in names), of_sample=of_sample, **found)


def _given(
    catalogue: AtomCatalogue,
    classes: bool | Sequence[Any],
    model: LiveModel | None,
    known: Sequence[str] | None,
) -> list[Any]:
    if classes is not True:
        given = list(classes)  # type: ignore[arg-type]
        same_length(given, _n_samples(catalogue), name="classes", per="sample of `acts`")
        return given
    if model is None or known is None or not _can_be_asked(catalogue):
        raise ValueError(
            "`classes` must be a class per sample where there is no classifier of images to ask, got True. "
            "Pass model=, with class_names, and activations that keep their images; or the classes."
        )
    pictures, given = catalogue.acts.context.pictures, []
    with torch.no_grad():
        for some in pictures.split(SAMPLES_AT_ONCE):  # type: ignore[union-attr]
            given += torch.as_tensor(model(some)).argmax(dim=1).tolist()
    return given


def _n_samples(catalogue: AtomCatalogue) -> int:
    known = catalogue.acts.context.n_samples
    return int(catalogue.samples.max()) + 1 if known is None else known


def _numbered(
    given: Sequence[Any], known: Sequence[str] | None
) -> tuple[list[str], Int[np.ndarray, " n_samples"]]:
    """Return the classes' names, and the number of each sample's: the model's own where all are of these."""
    values = [one.item() if hasattr(one, "item") else one for one in given]
    if known is not None and all(isinstance(one, int) and 0 <= one < len(known) for one in values):
        return list(known), np.array(values)
    words = [str(one) for one in values]
    names = list(known) if known is not None and set(words) <= set(known) else sorted(set(words))
    places = {name: i for i, name in enumerate(names)}
    return names, np.array([places[word] for word in words])


def _can_be_asked(catalogue: AtomCatalogue) -> bool:
    """Whether the images are there, and what is read is at places of them."""
    acts = catalogue.acts
    one_site = acts.hook_point is not None and catalogue.dictionary.shape[1] == acts.d_in
    return acts.context.pictures is not None and one_site and not catalogue.of_whole_samples


def _by_gradient(
    catalogue: AtomCatalogue,
    model: LiveModel,
    number: Int[np.ndarray, " n_samples"],
    of_sample: Int[np.ndarray, " n_samples"],
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Measure z ⟨d, ∂ logit / ∂x⟩ at every place, some samples of a class at a time."""
    codes, atoms = catalogue.codes.to_scipy().tocsr(), catalogue.dictionary.detach().float().cpu()
    exchanged = atoms[torch.from_numpy(generator.permutation(len(atoms)))]
    found: list[list[Any]] = [[], []]
    for of in range(int(of_sample.max()) + 1):
        members = np.flatnonzero(of_sample == of)
        sums = [csr_matrix((1, codes.shape[1])) for _ in found]
        for first in range(0, len(members), SAMPLES_AT_ONCE):
            some = members[first : first + SAMPLES_AT_ONCE]
            rows = np.concatenate([catalogue.rows_of_sample(int(one)) for one in some])
            gradient = _gradient(catalogue, model, some, int(number[some[0]]), rows)
            part = codes[rows]
            for i, directions in enumerate((atoms, exchanged)):
                effect = part.copy()
                effect.data = part.data * _pull(gradient, directions, part)
                sums[i] = sums[i] + csr_matrix(effect.sum(axis=0)) / len(members)
        for each, total in zip(found, sums, strict=True):
            each.append(total)
    importance, by_chance = (vstack(each).tocsr() for each in found)
    return {"importance": importance, "floor": _largest(by_chance), "by": _BY_GRADIENT}


def _gradient(
    catalogue: AtomCatalogue,
    model: LiveModel,
    samples: Int[np.ndarray, " m"],
    number: int,
    rows: Int[np.ndarray, " n"],
) -> Float[Tensor, "n d"]:
    """The gradient of a class's logit, less the mean of all, by the rows of some samples."""
    acts = catalogue.acts
    here: Any = capture(
        model,
        acts.context.pictures[samples],  # type: ignore[index]
        str(acts.hook_point),
        gradient_of=lambda answers: (answers[:, number] - answers.mean(dim=1)).sum(),
        drop_first=False,
        backend="hooks",
        progress=False,
    )
    place = {int(sample): i for i, sample in enumerate(samples)}
    of_row = np.array([place[int(sample)] for sample in catalogue.samples[rows]])
    return _at_rows(here, of_row, catalogue.positions[rows])


def _at_rows(
    here: Any, samples: Int[np.ndarray, " m"], positions: Int[np.ndarray, " m"]
) -> Float[Tensor, "m d"]:
    """Gradients of some places, in their order."""
    length = int(max(here.position.max(), positions.max(initial=0))) + 1
    keys = (here.sample * length + here.position).cpu().numpy()
    order = np.argsort(keys)
    at = order[np.searchsorted(keys, samples * length + positions, sorter=order)]
    return here.gradient.cpu()[torch.from_numpy(at)].float()


def _pull(
    gradient: Float[Tensor, "m d"], atoms: Float[Tensor, "n_atoms d"], codes: csr_matrix
) -> Float[np.ndarray, " nnz"]:
    """⟨g, d⟩ of each entry of the codes."""
    rows = torch.from_numpy(np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr)))
    columns, step = (
        torch.from_numpy(codes.indices.astype(np.int64)),
        max(1, _TILE // atoms.shape[1]),
    )
    parts = [
        torch.einsum("ed,ed->e", gradient[rows[i : i + step]], atoms[columns[i : i + step]])
        for i in range(0, len(rows), step)
    ]
    return torch.cat(parts).numpy() if parts else np.zeros(0)


def _by_strength(
    catalogue: AtomCatalogue,
    of_sample: Int[np.ndarray, " n_samples"],
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Mean over a class's samples less that over the others', of the mean strength on a sample."""
    codes, sample = catalogue.codes.to_scipy().tocsr(), catalogue.samples
    n, size = len(of_sample), np.maximum(np.bincount(sample, minlength=len(of_sample)), 1)
    pool = csr_matrix((1 / size[sample], (sample, np.arange(len(sample)))), (n, len(sample)))
    strength = pool @ codes
    return {
        "importance": _contrast(strength, of_sample),
        "floor": _largest(_contrast(strength, generator.permutation(of_sample))),
        "by": _BY_STRENGTH,
    }


def _contrast(strength: csr_matrix, of_sample: Int[np.ndarray, " n"]) -> csr_matrix:
    """Of atoms that fire in a class alone: elsewhere it is not above 0."""
    n, counts = len(of_sample), np.bincount(of_sample)
    mine = csr_matrix((1 / counts[of_sample], (of_sample, np.arange(n))), (len(counts), n))
    means = (mine @ strength).tocsr()
    total = np.asarray(strength.sum(axis=0)).ravel()
    own = np.repeat(counts, np.diff(means.indptr))
    means.data = means.data - (total[means.indices] - own * means.data) / (n - own)
    return means


def _largest(importance: csr_matrix) -> Float[np.ndarray, " n_classes"]:
    return np.maximum(importance.max(axis=1).toarray().ravel(), 0)


# -------------------------------------------------------------------------------------------------
# What the page reads.


def class_list(found: ClassAtoms) -> dict[str, Any]:
    """Return what the page needs of all classes at once."""
    return {"names": found.names, "sizes": np.bincount(found.of_sample), "by": found.by}


def classes_of_atoms(found: ClassAtoms) -> dict[int, list[tuple[int, float]]]:
    """Return, of each atom, the classes among whose first it is: the most important first."""
    of_atom: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for number in range(len(found.names)):
        for atom, importance in found.top(number):
            of_atom[atom].append((number, importance))
    return {atom: sorted(of, key=lambda one: -one[1])[:TOP] for atom, of in of_atom.items()}


def class_pages(
    found: ClassAtoms, catalogue: AtomCatalogue, cards: Cards
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the page of every class: its atoms with their importance, and where they fire in it."""
    for number, name in enumerate(found.names):
        concepts = [
            {
                "atom": atom,
                "importance": importance,
                "examples": _examples(found, catalogue, cards, number, atom),
            }
            for atom, importance in found.top(number)
        ]
        yield (
            f"classes/{number}",
            {"name": name, "floor": found.floor[number], "concepts": concepts},
        )


def _examples(
    found: ClassAtoms, catalogue: AtomCatalogue, cards: Cards, number: int, atom: int
) -> list[dict[str, Any]]:
    rows, strengths = catalogue.strengths(atom)
    inside = found.of_sample[catalogue.samples[rows]] == number
    rows, strengths = rows[inside], strengths[inside]
    order = np.argsort(-np.abs(strengths), kind="stable")
    order = one_per_sample(order, catalogue.samples[rows])[:SHOWN]
    choice = Choice(rows=rows[order], strengths=strengths[order])
    return [cards.example(one) for one in build_examples(catalogue, atom, choice)]

"""Named directions of a concept map, and the cones of atoms that build them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import as_tensor, check_data, check_matrix, check_place, one_of
from sae_nb.geometry import Containment, containment

STEPS = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Cone:
    """The atoms that build one direction by adding, and how well compared with random directions."""

    name: str
    atoms: Int[np.ndarray, " m"]
    """The strongest first."""

    weights: Float[np.ndarray, " m"]
    """Above zero, of atoms and a direction of length one."""

    steps: tuple[int, ...]
    r: Float[np.ndarray, " steps"]
    """Share of the direction's length that so many atoms leave."""

    random_directions: Float[np.ndarray, " steps"]
    """The mean of random directions and these atoms."""

    random_atoms: Float[np.ndarray, " steps"]
    """The mean of all directions compared and random atoms."""

    held: bool
    """Whether it is built better than nineteen of twenty random directions."""

    doubtful: bool = False
    """Of a direction from inputs: whether two halves of them agree on it no better than by chance."""

    def place(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " 2"]:
        """Return the position of its name on a map: the mean of its atoms' places, by weight."""
        if not len(self.atoms):
            return np.asarray(xy.mean(axis=0))
        return np.average(xy[self.atoms], axis=0, weights=self.weights)


class Cones:
    """Named directions of a concept map, and the cones that build them, found when first asked for.

    `given` is a `Containment`, a direction from `sn.direction` or several, a name to direction mapping, or a
    matrix with a direction a row. `sae` is what the atoms are of.
    """

    def __init__(
        self,
        given: object,
        dictionary: Float[Tensor, "n_atoms d_in"],
        sae: object = None,
    ) -> None:
        self._dictionary = dictionary
        self._found: Containment | None = None
        self._directions: dict[str, Tensor] = {}
        self._doubtful: set[str] = set()
        if isinstance(given, Containment):
            self._found, names = given, given.names
            if given.codes.n_atoms != len(dictionary):
                raise ValueError(
                    f"`cones` must be of the {len(dictionary)} atoms of the map, got cones of "
                    f"{given.codes.n_atoms}. Make them by containment(directions, sae.dictionary)."
                )
        else:
            named = _by_name(given)
            if isinstance(named, Mapping):
                read = {str(name): row for name, row in named.items() if hasattr(row, "agrees")}
                model_name = getattr(sae, "model_name", None)
                hook_point = getattr(sae, "hook_point", None)
                for row in read.values():
                    check_place(row, model_name, hook_point, name="cones")
                self._doubtful = {name for name, row in read.items() if not row.agrees}
            self._directions = _named(named, dictionary.shape[1])
            names = tuple(self._directions)
        self.names: tuple[str, ...] = names
        if len(set(names)) < len(names) or "" in names:
            raise ValueError(f"`cones` must have names that differ, got {list(names)[:8]}.")

    def check(self, name: str) -> str:
        """Return the name of a direction, or "" for none."""
        return one_of(name, ("", *self.names), name="cone")

    def of(self, name: str) -> Cone:
        """Return the cone of one direction."""
        found, i = self._containment(), self.names.index(name)
        row = found.codes[i]
        order = row.values.double().argsort(descending=True, stable=True)
        return Cone(
            name=name,
            atoms=row.atoms[order].cpu().numpy(),
            weights=row.values[order].double().cpu().numpy(),
            steps=found.steps,
            r=found.r[i],
            random_directions=found.random_directions.mean(axis=0),
            random_atoms=found.random_atoms.mean(axis=0),
            held=bool(found.held[i]),
            doubtful=name in self._doubtful,
        )

    def _containment(self) -> Containment:
        if self._found is None:
            steps = tuple(s for s in STEPS if s <= len(self._dictionary))
            directions = torch.stack(list(self._directions.values()))
            names = list(self._directions)
            self._found = containment(directions, self._dictionary, steps, names=names)
        return self._found


def _by_name(given: object) -> object:
    """Return directions from `sn.direction` by their names; what is something else as it is."""
    several: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not several or not all(hasattr(type(one), "as_sae") for one in several):
        return given
    return {one.name or f"direction {i}": one for i, one in enumerate(several)}


def _named(given: object, d_in: int) -> dict[str, Float[Tensor, " d_in"]]:
    """Directions by name, each as long as an atom; a matrix names its rows by number."""
    rows = given if isinstance(given, Mapping) else check_matrix(given, name="cones", d_in=d_in)
    named = {}
    for name, direction in rows.items() if isinstance(rows, Mapping) else enumerate(rows):
        direction = getattr(direction, "vector", direction)
        row = check_data(as_tensor(direction, name=f"cones[{name!r}]"), name="cones")
        if row.shape != (d_in,):
            raise ValueError(
                f"`cones[{name!r}]` must be a direction of width {d_in}, got shape {tuple(row.shape)}."
            )
        named[str(name)] = row.detach().cpu().float()
    if not named:
        raise ValueError("`cones` must name a direction, got none. Leave it out.")
    check_matrix(torch.stack(list(named.values())), name="cones")
    return named

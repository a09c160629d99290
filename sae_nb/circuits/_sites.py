"""Places whose units are nodes of a graph of neurons: the neurons of an MLP, or a dictionary's atoms instead.

A unit has a value on the input and one on the contrast; only units whose two values differ can matter. In a
linear pass chosen units are cut: what reaches one is read, and what it writes is a number of its own, by which
is differentiated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._sites import written_codes
from sae_nb.circuits._passes import Layer
from sae_nb.circuits._proportional import Mlp, mlps_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel
    from sae_nb.models._running import Put

NEURONS = "neurons"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """The units of one place whose values on the input and on the contrast differ, by position."""

    position: Int[Tensor, " m"]
    unit: Int[Tensor, " m"]
    now: Float[Tensor, " m"]
    then: Float[Tensor, " m"]
    """Their values on the input, and on the contrast, or zero where there is none."""

    def __len__(self) -> int:
        return len(self.unit)

    def chosen(self, which: Tensor) -> Entries:
        """Return some of them."""
        parts = {name: getattr(self, name)[which] for name in self.__dataclass_fields__}
        return Entries(**parts)


class Site(ABC):
    """One place, its units on the input, and the changes of a pass there."""

    entries: Entries
    n_units: int
    """Units of one position."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.place = str(layer.write)
        self.kept: Tensor | None = None
        """Positions that a dictionary is for; None: all."""

        self.values: Tensor | None = None
        self.leaf: Tensor | None = None
        """In a linear pass, what reached the chosen units, and the zeros added to what they write."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Hook points that must be read to know its units."""
        return (self.place,) if self.layer.read is None else (str(self.layer.read), self.place)

    @abstractmethod
    def note(self, now: dict[str, Tensor], then: dict[str, Tensor] | None) -> None:
        """Take in the states of both runs, (1, places, d) each."""

    @abstractmethod
    def slopes(self, by_state: Float[Tensor, "places d"]) -> Float[Tensor, " m"]:
        """Return slopes by the entries' values, from that by what is written at the place."""

    @abstractmethod
    def cut(self, chosen: Entries) -> list[tuple[str, Put]]:
        """Return changes of a linear pass that cut some units."""

    @abstractmethod
    def freed(self, free: Bool[Tensor, "copies m"], *, rest: bool) -> list[tuple[str, Put]]:
        """Return changes by which, in each copy, some entries answer freely and all others as on the contrast.

        `rest` is whether units that are alike on both answer freely, too.
        """

    @abstractmethod
    def set_to(
        self, chosen: Entries, to: Float[Tensor, "copies m"], copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        """Return changes by which units of some copies take other values."""

    @abstractmethod
    def written(self, chosen: Entries) -> Float[Tensor, "m d"]:
        """Return what one unit of value of each entry writes into the stream, up to closing norms."""

    @abstractmethod
    def moved(
        self, position: int, size: float, generator: torch.Generator, copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        """Return changes that write a random direction of some length into the stream, one per copy."""


class NeuronSite(Site):
    """The neurons of an MLP."""

    def __init__(self, model: LiveModel, mlp: Mlp) -> None:
        super().__init__(Layer(read=None, write=mlp.post, sae=None))
        self.mlp, self.n_units = mlp, mlp.n_neurons
        self._last = model.get_module(mlp.post.path)

    def note(self, now: dict[str, Tensor], then: dict[str, Tensor] | None) -> None:
        a = now[self.place][0].float()
        b = torch.zeros_like(a) if then is None else then[self.place][0].float()
        position, unit = (a != b).nonzero(as_tuple=True)
        at = (position, unit)
        self.entries = Entries(position=position, unit=unit, now=a[at], then=b[at])
        self._then = b

    def slopes(self, by_state: Float[Tensor, "places d"]) -> Float[Tensor, " m"]:
        return by_state[self.entries.position, self.entries.unit]

    def cut(self, chosen: Entries) -> list[tuple[str, Put]]:
        def act(x: Tensor) -> Tensor:
            at = (torch.zeros_like(chosen.position), chosen.position, chosen.unit)
            self.values = x[at]
            self.leaf = torch.zeros_like(chosen.now, requires_grad=True)
            return x.index_put(at, (chosen.now + self.leaf).to(x))

        return [(self.place, act)]

    def freed(self, free: Bool[Tensor, "copies m"], *, rest: bool) -> list[tuple[str, Put]]:
        mask = torch.full((len(free), *self._then.shape), rest, device=free.device)
        mask[:, self.entries.position, self.entries.unit] = free

        def act(x: Tensor) -> Tensor:
            return torch.where(mask, x, self._then.to(x))

        return [(self.place, act)]

    def set_to(
        self, chosen: Entries, to: Float[Tensor, "copies m"], copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        def act(x: Tensor) -> Tensor:
            x = x.clone()
            for row, copy in enumerate(copies):
                x[copy, chosen.position, chosen.unit] = to[row].to(x)
            return x

        return [(self.place, act)]

    def written(self, chosen: Entries) -> Float[Tensor, "m d"]:
        return self._outputs[chosen.unit.to(self._outputs.device)].float()

    @property
    def _outputs(self) -> Float[Tensor, "n_neurons d"]:
        """Output of each neuron, read off the weights: a call of the module would see edits in force."""
        weight: Tensor = self._last.weight.detach()  # type: ignore[operator]
        return weight if hasattr(self._last, "nf") else weight.T

    @torch.no_grad()
    def moved(
        self, position: int, size: float, generator: torch.Generator, copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        drawn = torch.randn(len(copies), self.n_units, generator=generator)
        drawn = drawn.to(self.entries.now)
        length = (drawn.to(self._outputs) @ self._outputs).norm(dim=1, keepdim=True).to(drawn)
        by = drawn * (size / length.clamp_min(1e-12))

        def act(x: Tensor) -> Tensor:
            x = x.clone()
            x[list(copies), position] += by.to(x)
            return x

        return [(self.place, act)]


class AtomSite(Site):
    """The atoms of a dictionary: of a transcoder in place of the neurons of its MLP, or of the stream."""

    def __init__(self, layer: Layer, sae: SparseAutoencoder) -> None:
        super().__init__(layer)
        self.sae, self.n_units = sae, int(sae.n_atoms)
        self.dictionary = sae.dictionary.detach().float()
        self._read = str(layer.read)
        self._seen: Tensor | None = None

    def note(self, now: dict[str, Tensor], then: dict[str, Tensor] | None) -> None:
        found: dict[tuple[int, int], list[float]] = {}
        none = torch.zeros(0, dtype=torch.int64, device=self.dictionary.device)
        self._then = (none, none, self.dictionary.new_zeros(0))
        for i, states in enumerate((now, then)):
            if states is None:
                continue
            rows, codes = self._codes(states[self._read])
            if i == 1:
                self._then = (rows, codes.atoms.long(), codes.values.float())
            for row, atom, z in zip(
                rows.tolist(), codes.atoms.tolist(), codes.values.tolist(), strict=True
            ):
                found.setdefault((row, atom), [0.0, 0.0])[i] = z
        keys = sorted(key for key, (a, b) in found.items() if a != b)
        device = self.dictionary.device
        index = torch.tensor(keys, dtype=torch.int64, device=device).reshape(-1, 2)
        values = torch.tensor([found[key] for key in keys], device=device).reshape(-1, 2)
        self.entries = Entries(
            position=index[:, 0], unit=index[:, 1], now=values[:, 0], then=values[:, 1]
        )
        self._x = now[self._read][0].float()

    @torch.no_grad()
    def _codes(
        self, x: Float[Tensor, "copies places d"]
    ) -> tuple[Int[Tensor, " nnz"], SparseCodes]:
        rows = x.flatten(0, 1).float()
        codes = written_codes(self.sae, self.sae.encode(rows), rows)
        if self.kept is not None:
            position = codes.support.rows % x.shape[1]
            codes = codes.only(torch.isin(position, self.kept.to(position.device)))
        return codes.support.rows, codes

    def slopes(self, by_state: Float[Tensor, "places d"]) -> Float[Tensor, " m"]:
        e = self.entries
        return (by_state[e.position] * self.dictionary[e.unit]).sum(dim=1)

    def _by_input(self, chosen: Entries) -> Float[Tensor, "m d_in"]:
        """∂z/∂x of each of some entries; zeros where an atom is silent on the input."""
        x = self._x[chosen.position].detach().requires_grad_()
        with torch.enable_grad():
            codes = written_codes(self.sae, self.sae.encode(x), x)
            rows = codes.support.rows
            mine = codes.atoms == chosen.unit[rows]
            (found,) = torch.autograd.grad(codes.values[mine].sum(), x, allow_unused=True)
        return torch.zeros_like(x) if found is None else found.detach()

    def _noted(self) -> list[tuple[str, Put]]:
        def note(x: Tensor) -> Tensor:
            self._seen = x
            return x

        return [] if self.layer.is_plain else [(self._read, note)]

    def _input(self, y: Tensor) -> Tensor:
        if self.layer.is_plain or self._seen is None:
            return y
        return self._seen

    def cut(self, chosen: Entries) -> list[tuple[str, Put]]:
        slopes, atoms = self._by_input(chosen), self.dictionary[chosen.unit]

        def act(y: Tensor) -> Tensor:
            x = self._input(y)
            apart = x[0, chosen.position].float() - self._x[chosen.position]
            self.values = chosen.now + (apart * slopes).sum(dim=1)
            self.leaf = torch.zeros_like(chosen.now, requires_grad=True)
            by = (chosen.now + self.leaf - self.values)[:, None] * atoms
            return y + torch.zeros_like(y[0]).index_add(0, chosen.position, by.to(y))

        return [*self._noted(), (self.place, act)]

    def freed(self, free: Bool[Tensor, "copies m"], *, rest: bool) -> list[tuple[str, Put]]:
        keys = self.entries.position * self.n_units + self.entries.unit

        @torch.no_grad()
        def act(y: Tensor) -> Tensor:
            x, made = self._input(y), []
            for copy in range(len(y)):
                rows, codes = self._codes(x[copy : copy + 1])
                named = keys[~free[copy] if rest else free[copy]]
                gone = torch.isin(rows * self.n_units + codes.atoms, named) == rest
                come = torch.isin(self._then[0] * self.n_units + self._then[1], named) == rest
                taken = self._sum(len(y[copy]), rows, codes.atoms, codes.values, gone)
                made.append(self._sum(len(y[copy]), *self._then, come) - taken)
            return y + torch.stack(made).to(y)

        return [*self._noted(), (self.place, act)]

    def _sum(
        self, time: int, rows: Tensor, atoms: Tensor, values: Tensor, which: Tensor
    ) -> Float[Tensor, "time d"]:
        """Sum of the outputs of some atoms."""
        empty = torch.zeros(time, self.dictionary.shape[1], device=self.dictionary.device)
        written = values[which, None] * self.dictionary[atoms[which].long()]
        return empty.index_add_(0, rows[which], written)

    def set_to(
        self, chosen: Entries, to: Float[Tensor, "copies m"], copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        atoms = self.dictionary[chosen.unit]

        def act(y: Tensor) -> Tensor:
            y = y.clone()
            for row, copy in enumerate(copies):
                by = (to[row] - chosen.now)[:, None] * atoms
                y[copy].index_add_(0, chosen.position, by.to(y))
            return y

        return [(self.place, act)]

    def written(self, chosen: Entries) -> Float[Tensor, "m d"]:
        return self.dictionary[chosen.unit]

    def moved(
        self, position: int, size: float, generator: torch.Generator, copies: Sequence[int]
    ) -> list[tuple[str, Put]]:
        drawn = torch.randn(len(copies), self.dictionary.shape[1], generator=generator)
        by = (drawn * (size / drawn.norm(dim=1, keepdim=True))).to(self.dictionary)

        def act(y: Tensor) -> Tensor:
            y = y.clone()
            y[list(copies), position] += by.to(y)
            return y

        return [(self.place, act)]


def sites_of(model: LiveModel, layers: Sequence[Layer]) -> tuple[Site, ...]:
    """Return the places of units, in the order of the model: dictionaries, and neurons of all other MLPs.

    Raises
    ------
    ValueError: If there is neither.
    """
    taken = {layer.write.layer for layer in layers if str(layer.write).startswith("mlp_out.")}
    found: dict[str, Site] = {
        str(layer.write): AtomSite(layer, sae) for layer in layers if (sae := layer.sae) is not None
    }
    for mlp in mlps_of(model):
        if mlp.layer not in taken:
            found[str(mlp.post)] = NeuronSite(model, mlp)
    if not found:
        raise ValueError(
            f"`model` must have MLPs whose neurons can be read, and {model.name} has none. Its attention and "
            'its stream can be shown: sn.circuits.patch(model, clean, corrupted, sites="resid"), or '
            "sn.circuits.head_contributions; or pass SAEs of its stream in place of neurons."
        )
    order = [str(point) for point in model.hook_points()]
    return tuple(found[place] for place in sorted(found, key=order.index))

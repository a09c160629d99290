"""The forward pass of a graph, with attention and norms held, and the backward passes from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations._sites import reconstruction, written_codes
from sae_nb.capturing._batch_rows import batch_rows
from sae_nb.checks import check_atom
from sae_nb.evaluation.causal._outcomes import Outcome, Target, outcome_of
from sae_nb.models._freezing import Frozen
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.models._running import Put, Run


@dataclass(frozen=True)
class AtomTarget:
    """An atom of one of the dictionaries, at a position, as what a graph explains."""

    hook_point: str
    """That its dictionary writes, such as "mlp_out.3"."""

    position: int
    atom: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One place that dictionaries write, or an MLP that has none."""

    read: HookPoint | None
    write: HookPoint
    sae: SparseAutoencoder | None

    @property
    def is_plain(self) -> bool:
        """Whether it reads where it writes."""
        return self.sae is not None and self.sae.writes is None


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """The reading and the output of one place's atoms on the input; no entry if there is no dictionary."""

    position: Int[Tensor, " entries"]
    atom: Int[Tensor, " entries"]
    strength: Float[Tensor, " entries"]

    slopes: Float[Tensor, "entries d_in"]
    """∂z/∂x of each entry, by the SAE's own encoder."""

    atoms: Float[Tensor, "entries d_out"]
    """z·d of each entry; times the length of what is read, where the dictionary reads it without."""

    error: Float[Tensor, "time d_out"]
    """The written state less the dictionary's answer; zero where that is not in force."""

    bias: Float[Tensor, "time d_out"]
    """The part of that answer that neither atoms nor a linear map make: the dictionary's bias."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Passes:
    """The live model, its dictionaries in order, and the input."""

    model: LiveModel
    layers: tuple[Layer, ...]
    batch: Batch
    start: HookPoint
    """The stream before the first block: what tokens write."""

    written: tuple[Written, ...] = ()
    """Activity of each place's atoms on the input."""

    measures: tuple[Callable[[Tensor], Tensor], ...] = ()
    """Of the answer, a target each; none of an atom."""

    drop_first: bool | None = None
    """As it was asked for."""

    left_out: Mapping[str, tuple[int, ...]] | None = None
    """By place the positions that its dictionary leaves out; None: by its policy, or `drop_first`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """A target of a graph."""

    name: str
    weight: float
    value: Float[Tensor, ""]
    """With its graph."""

    measure: Callable[[Tensor], Tensor] | None
    """Of an answer; None for an atom."""

    outcomes: tuple[int, ...] | None = None
    """The class or token, or the two whose difference it is; None for an atom or a function."""


class Trace:
    """One forward pass with everything held, and the backward passes from it."""

    def __init__(self, passes: Passes, *, also: Sequence[HookPoint] = ()) -> None:
        self.passes, model = passes, passes.model
        self.exact = all(str(layer.write).startswith("mlp_out.") for layer in passes.layers)
        self._kept: dict[str, Tensor] = {}
        frozen = Frozen(model)
        clean, places = self._run(frozen, also=also), self._places
        self.leaves = [clean.leaves[place] for place in places]
        """The zeros at each place, by which is differentiated; then what is written there."""

        self.values = [clean.states[place].detach() for place in places]
        self.reads = [clean.states[place] for place in self._read_at]
        self.also = [clean.states[place] for place in also]
        cut = {layer.write.kind.removeprefix("decoder.") for layer in passes.layers}
        frozen.check(model, passes.batch, sorted({"mlp_out", *cut}))
        with torch.enable_grad():
            self.answer, self.kind = clean.answer.one(), clean.answer.kind
        self.written = tuple(self._written(i) for i in range(len(passes.layers)))
        # The answer, and what each place reads, where only biases write.
        nothing = [torch.zeros_like(self.values[0][0]), *(layer.bias for layer in self.written)]
        empty = self._run(Frozen(model, frozen.constants), nothing)
        self.empty_answer = empty.answer.one().detach()
        self.empty_reads = [empty.states[place].detach()[0].float() for place in self._read_at]

    @property
    def _places(self) -> list[HookPoint]:
        """The stream before the first block, and the hook points that the layers write."""
        return [self.passes.start, *(layer.write for layer in self.passes.layers)]

    @property
    def _read_at(self) -> list[HookPoint]:
        """Hook points that the layers read."""
        return [
            layer.write if layer.read is None or layer.is_plain else layer.read
            for layer in self.passes.layers
        ]

    def _run(
        self,
        frozen: Frozen,
        leaves: Sequence[Tensor] | None = None,
        also: Sequence[HookPoint] = (),
    ) -> Run:
        """Run the model with what each place writes held as it is, or at other values, and differentiated.

        A linear map next to the atoms is not held: it is a path from the state that its place reads.
        """
        places, passes = self._places, self.passes
        held = [None] * len(places) if leaves is None else [leaf[None] for leaf in leaves]
        start, *others = held
        puts: list[tuple[HookPoint, Put]] = [
            (passes.start, torch.detach if start is None else start)
        ]
        for layer, x, leaf in zip(passes.layers, self._read_at, others, strict=True):
            path = _Path(layer, self._rows)
            puts += [(x, path.note), (layer.write, partial(path.write, leaf))]
        with frozen:
            return run(
                passes.model,
                passes.batch,
                read=[*places, *self._read_at, *also],
                put=puts,
                grad=places,
                answer="end",
            )

    def _rows(self, layer: Layer, x: Tensor, y: Tensor) -> Int[Tensor, " rows"]:
        """Positions that a dictionary is for; those of the first pass."""
        place = str(layer.write)
        if place not in self._kept:
            known, passes = self.passes.left_out, self.passes
            if known is None:
                kept = positions_for(passes.model, passes.batch, layer, x, y, passes.drop_first)
            else:
                every = torch.arange(y.shape[1])
                out = torch.tensor(known.get(place, ()), dtype=torch.long)
                kept = every[~torch.isin(every, out)]
            self._kept[place] = kept.to(y.device)
        return self._kept[place]

    @property
    def left_out(self) -> dict[str, tuple[int, ...]]:
        """By place the positions that its dictionary is not for, where there are any."""
        return left_out(self._kept, self.values[0].shape[1])

    def _written(self, i: int) -> Written:
        layer, y = self.passes.layers[i], self.values[i + 1][0].float()
        if layer.sae is None:
            return _nothing(y)
        x = self.reads[i].detach()
        rows = self._rows(layer, x, y[None])
        read = x[0, rows].float().requires_grad_()
        with torch.enable_grad():
            codes = layer.sae.encode(read)
            slopes = _slopes(codes, read)
        with torch.no_grad():
            keep = codes.values != 0
            z, atom = codes.values.detach()[keep].float(), codes.atoms[keep].long()
            row, read = codes.support.rows[keep], read.detach()
            size = written_codes(layer.sae, codes, read).values.detach()[keep].float()
            atoms = size[:, None] * layer.sae.dictionary[atom].float()
            answer = reconstruction(layer.sae, codes.detach(), read).float()
            made = layer.sae.uncoded(read)[1] + torch.zeros_like(answer).index_add_(0, row, atoms)
            # Where the dictionary is not in force, what is written passes as it is.
            error, bias = torch.zeros_like(y), y.clone()
            error[rows] = y[rows] - answer
            bias[rows] = answer - made
            return Written(
                position=rows[row],
                atom=atom,
                strength=z,
                slopes=slopes[keep],
                atoms=atoms,
                error=error,
                bias=bias,
            )

    # --- targets ----------------------------------------------------------------------------------

    def outcome(self, name: Target) -> Outcome:
        """Return the measure of the answer; a logit is above the mean of all."""
        return outcome_of(self.passes.model, self.answer, self.kind, name)

    def of_answer(
        self,
        name: str,
        weight: float,
        measure: Callable[[Tensor], Tensor],
        outcomes: tuple[int, ...] | None,
    ) -> Wanted:
        """Return a target that is a number of the answer."""
        with torch.enable_grad():
            value = measure(self.answer)
        return Wanted(name=name, weight=weight, value=value, measure=measure, outcomes=outcomes)

    def of_atom(self, target: AtomTarget) -> Wanted:
        """Return a target that is the strength of an atom, which must fire there."""
        place = str(self.passes.model.hook_point(target.hook_point))
        found = [i for i, layer in enumerate(self.passes.layers) if str(layer.write) == place]
        sae = self.passes.layers[found[0]].sae if found else None
        if sae is None:
            raise ValueError(f"`target` must be of a place that has a dictionary, got {place!r}.")
        written = self.written[found[0]]
        atom = check_atom(target.atom, sae.n_atoms)
        here = (written.position == target.position) & (written.atom == atom)
        if not bool(here.any()):
            raise ValueError(
                f"`target` must be an atom that fires, and atom {atom} of {place} does not at position "
                f"{target.position} of this input."
            )
        entry = int(here.nonzero()[0])
        with torch.enable_grad():
            value = (self.reads[found[0]][0, target.position].float() * written.slopes[entry]).sum()
        name = atom_name(place, atom, target.position)
        return Wanted(name=name, weight=1.0, value=value, measure=None)

    # --- edges ------------------------------------------------------------------------------------

    def into(self, layer: int, entries: Int[Tensor, " b"]) -> list[list[Tensor]]:
        """Return slopes of some entries of a layer by every place before it."""
        written, read = self.written[layer], self.reads[layer]
        towards = torch.zeros(len(entries), *read.shape, dtype=read.dtype, device=read.device)
        at = torch.arange(len(entries), device=read.device)
        towards[at, 0, written.position[entries]] = written.slopes[entries].to(read)
        return self._slopes(read, self.leaves[: layer + 1], towards)

    def of(self, value: Float[Tensor, ""]) -> list[Tensor]:
        """Return slopes of a number of the answer, or of an atom, by every place."""
        (slopes,) = self._slopes(value, self.leaves)
        return slopes

    def _slopes(
        self, of: Tensor, leaves: Sequence[Tensor], towards: Tensor | None = None
    ) -> list[list[Tensor]]:
        """∂/∂ what each place writes, (time, d) each; of a scalar, or along each of several directions."""
        several = towards is not None
        found = torch.autograd.grad(
            of,
            leaves,
            towards,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=several,
        )
        if towards is None:
            return [[g[0].float() if g is not None else torch.zeros(0) for g in found]]
        return [
            [g[b, 0].float() if g is not None else torch.zeros(0) for g in found]
            for b in range(len(towards))
        ]


class _Path:
    """The linear map of a dictionary in one pass, from the place it reads to the one it writes."""

    def __init__(
        self, layer: Layer, rows: Callable[[Layer, Tensor, Tensor], Int[Tensor, " rows"]]
    ) -> None:
        self.layer, self.rows = layer, rows
        self.x: Tensor | None = None

    def note(self, x: Float[Tensor, "1 time d_in"]) -> Tensor:
        """Read what passes, and leave it as it is."""
        self.x = x
        return x

    def write(
        self, held: Float[Tensor, "1 time d_out"] | None, y: Float[Tensor, "1 time d_out"]
    ) -> Float[Tensor, "1 time d_out"]:
        """Return what is written: as it is, or the path and what else is held."""
        path = torch.zeros_like(y)
        if self.layer.sae is not None and self.x is not None:
            rows = self.rows(self.layer, self.x, y)
            _, made = self.layer.sae.uncoded(self.x[0, rows].float())
            if isinstance(made, Tensor):
                path = path.index_add(1, rows, made[None].to(y))
        return y.detach() + (path - path.detach()) if held is None else held + path


def positions_for(
    model: LiveModel,
    batch: Batch,
    layer: Layer,
    x: Tensor,
    y: Tensor,
    drop_first: bool | None = None,
) -> Int[Tensor, " rows"]:
    """Return the positions of an input that a dictionary is for, by what it reads and what it writes there.

    `drop_first` overrides its policy of first tokens.
    """
    known = getattr(layer.sae, "position_policy", None)
    policy = PositionPolicy.for_model(model) if known is None else known.within(model)
    if drop_first is not None:
        massive = policy.drop_massive and drop_first
        policy = replace(policy, drop_first=drop_first, drop_massive=massive)
    found = [
        batch_rows(state.detach().cpu(), batch, policy, str(point))
        .without_massive(policy, point)
        .position
        for point, state in ((layer.read, x), (layer.write, y))
    ]
    return found[0][torch.isin(found[0], found[1])]


def left_out(kept: Mapping[str, Tensor], time: int) -> dict[str, tuple[int, ...]]:
    """Return the positions that are not kept, by place, where there are any."""
    out = {place: sorted({*range(time)} - {*some.tolist()}) for place, some in kept.items()}
    return {place: tuple(positions) for place, positions in out.items() if positions}


def _nothing(y: Float[Tensor, "time d_out"]) -> Written:
    """Of an MLP without a dictionary: all of it is missed."""
    none = torch.zeros(0, dtype=torch.int64, device=y.device)
    return Written(
        position=none,
        atom=none,
        strength=y.new_zeros(0),
        slopes=y.new_zeros(0, y.shape[1]),
        atoms=y.new_zeros(0, y.shape[1]),
        error=y,
        bias=torch.zeros_like(y),
    )


def _slopes(codes: SparseCodes, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "nnz d_in"]:
    """∂z/∂x of every entry, a backward pass for the first of every row, the second, …"""
    rows = codes.support.rows
    rank = torch.arange(codes.nnz, device=x.device) - codes.offsets[rows]
    slopes = x.new_zeros(codes.nnz, x.shape[1])
    for r in range(int(rank.max()) + 1 if codes.nnz else 0):
        here = rank == r
        (slope,) = torch.autograd.grad(codes.values[here].sum(), x, retain_graph=True)
        slopes[here] = slope[rows[here]]
    return slopes


def atom_name(place: str, atom: int, position: int) -> str:
    """Return the name of an atom that fires."""
    return f"atom {atom} of {place} at {position}"

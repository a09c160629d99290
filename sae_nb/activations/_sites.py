"""Inputs and outputs of a dictionary: rows of one hook point or of several, of the same tokens.

Activations are joined here, row after row (`concatenate`) and hook point by hook point (`concat_sites`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.activations._activations import Activations, Index
from sae_nb.activations._aligning import first_difference
from sae_nb.activations._context import join_contexts
from sae_nb.activations._hook_point_check import other_model, warn_of_place
from sae_nb.activations._rows import JoinedRows, join_rows
from sae_nb.checks import as_tensor, check_data, check_matrix, checked, is_array

AND = " + "
"""Between the names of hook points that lie side by side."""


class _Sites(Protocol):
    """A dictionary, as far as its hook points go: widths of what it reads, and of what else it writes."""

    @property
    def reads(self) -> tuple[int, ...]: ...
    @property
    def writes(self) -> tuple[int, ...] | None: ...
    @property
    def by_site(self) -> bool: ...
    @property
    def sites(self) -> tuple[int, ...]: ...


class Pairs(Activations):
    """Activations that a dictionary reads, with those that it is to write: `.x` and `.target`.

    Made of two captures of the same tokens. Choosing or moving rows applies to both sides; batches have
    both side by side.
    """

    def __init__(self, x: Activations, target: Activations) -> None:
        check_aligned([x, target])
        super().__init__(
            x._rows,
            sample=x.sample,
            position=x.position,
            hook_point=x.hook_point,
            model_name=x.model_name,
            context=x.context,
        )
        self._read, self._target = x, target

    @property
    def target(self) -> Activations:
        """The rows to be written."""
        return self._target

    @property
    def sides(self) -> tuple[Activations, Activations]:
        """The rows that are read, and those to be written."""
        return self._read, self._target

    @property
    def joined(self) -> Activations:
        """Both sides in one row, what is read first."""
        return concat_sites([self._read, self._target])

    def __repr__(self) -> str:
        return f"Pairs({self._read!r} → {self._target!r})"

    def __getitem__(self, index: Index) -> Pairs:
        numbers = self._numbers(index)
        return Pairs(self._read[numbers], self._target[numbers])

    def batches(self, batch_size: int, **options: Any) -> Iterator[Float[Tensor, "batch both"]]:
        """Yield shuffled batches for ever, as `Activations.batches`, what is read and written side by side."""
        return self.joined.batches(batch_size, **options)

    def to(
        self,
        device: int | str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Pairs:
        """Return the same rows on another device or in another dtype."""
        return Pairs(self._read.to(device, dtype), self._target.to(device, dtype))

    def save(self, folder: str | Path, *, replace: bool = False) -> NoReturn:  # noqa: ARG002
        """Refuse: a folder holds one capture, and `capture(store=…)` writes several in one pass."""
        raise TypeError(
            "`save` writes activations of one hook point, got those of two. Save `pairs.target` and "
            "what is read each to a folder of its own, or capture both with store=."
        )


@checked
def concatenate(parts: Sequence[Activations]) -> Activations:
    """Join activations of one hook point, row after row.

    Samples of later parts are counted on after those of earlier ones, unless all parts are cut
    from the same capture, whose sample numbers then stay.

    Raises
    ------
    ValueError: If there is nothing to join, or hook points, models or widths differ.

    Example
    -------
    >>> a = Activations.from_tensor(torch.eye(2))
    >>> concatenate([a, Activations.from_tensor(torch.ones(1, 2))]).sample
    tensor([0, 1, 2])
    """
    parts = list(parts)
    if not parts:
        raise ValueError("`concatenate` needs at least one Activations, got an empty list.")
    first = parts[0]
    if any(part.target is not part for part in parts):
        return Pairs(*(concatenate([part.sides[i] for part in parts]) for i in (0, 1)))
    for name in ("d_in", "hook_point", "model_name"):
        values = {getattr(part, name) for part in parts}
        if len(values) > 1:
            raise ValueError(
                f"`concatenate` needs activations of one {name}, got {sorted(map(str, values))}. "
                "Join the tensors yourself with torch.cat([a.x, b.x]) if that is what you mean."
            )
    if len({part.has_gradient for part in parts}) > 1:
        raise ValueError(
            "`concatenate` needs activations that all bring gradients, or none that does, got some of "
            "each. Capture all of them with gradient_of=."
        )
    kinds = {part.context.kind for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"`concatenate` needs samples of one kind, got {sorted(kinds)}.")
    contexts = [part.context for part in parts]
    if all(context is contexts[0] for context in contexts):
        sample, context = torch.cat([part.sample for part in parts]), contexts[0]
    else:
        starts = torch.tensor([0, *(context.n_samples for context in contexts)]).cumsum(0)
        sample = torch.cat([part.sample + start for part, start in zip(parts, starts)])
        context = join_contexts(contexts)
    steps = [part.step for part in parts if part.step is not None]
    return Activations(
        join_rows([part._rows for part in parts]),
        sample=sample,
        position=torch.cat([part.position for part in parts]),
        hook_point=first.hook_point,
        model_name=first.model_name,
        context=context,
        gradient=join_rows([part._gradient_rows for part in parts if part._gradient_rows])
        if first.has_gradient
        else None,
        step=torch.cat(steps) if len(steps) == len(parts) else None,
    )


def concat_sites(parts: Sequence[Activations]) -> Activations:
    """Return the same tokens at several hook points as one matrix, column block by column block."""
    parts = list(parts)
    check_aligned(parts)
    first = parts[0]
    if len(parts) == 1:
        return first
    names = [part.hook_point for part in parts]
    models = dict.fromkeys(part.model_name for part in parts if part.model_name is not None)
    return first._like(
        JoinedRows([part._rows for part in parts]),
        hook_point=None if None in names else AND.join(map(str, names)),
        model_name=AND.join(models) or None,
        step=first.step if all(_same_step(first, part) for part in parts) else None,
    )


def _same_step(one: Activations, other: Activations) -> bool:
    if one.step is None or other.step is None:
        return one.step is other.step
    return torch.equal(one.step, other.step)


def one_of_sites(acts: Activations, site: int) -> Activations:
    """Return one of several sites that lie side by side, only it read from disk; else all."""
    rows = acts._rows
    if not isinstance(rows, JoinedRows) or len(rows.parts) != len(rows.sites):
        return acts
    return acts._like(rows.parts[site], hook_point=None, model_name=None)


def as_one(
    x_hat: Float[Tensor, "*batch d_out"] | Sequence[Tensor],
) -> Float[Tensor, "*batch d_out"]:
    """Return reconstructions of several sites side by side, as their activations are."""
    return x_hat if isinstance(x_hat, Tensor) else torch.cat(list(x_hat), dim=-1)


def reconstruction(sae: Any, codes: Any, x: Any) -> Float[Tensor, "*batch d_out"]:
    """Return what anything that decodes answers to `x`, whose codes are given; see the method of an SAE."""
    own = getattr(sae, "reconstruction", sae if isinstance(sae, nn.Module) else None)
    if own is None:
        return as_one(sae.decode(codes))
    return as_one(sae(x)) if own is sae else own(codes, x)


def uncoded(sae: object, x: object) -> tuple[Tensor | float, Tensor | float]:
    """Return factor and summand of its answer to `x` that no code holds; see the method of an SAE."""
    return sae.uncoded(x) if hasattr(sae, "uncoded") else (1.0, 0.0)


def written_codes(sae: Any, codes: Any, x: Any) -> Any:
    """Return codes in the model's units: times the length of each row of `x`, where a norm took it."""
    if getattr(sae, "reads_sequences", False):  # a prediction takes no length, and is costly
        return codes
    gain, _ = uncoded(sae, x)
    if not isinstance(gain, Tensor):
        return codes
    return codes.with_values(codes.values * gain.reshape(-1)[codes.support.rows])


class WithGradient(Activations):
    """The same rows, each with its gradient: the input of a training that selects by the gradient."""

    def __init__(self, acts: Activations) -> None:
        gradient = acts._gradient_rows
        if gradient is None:
            raise ValueError(f"`acts` must bring gradients, got none. {HOW_TO_GET_GRADIENTS}")
        super().__init__(
            JoinedRows([acts._rows, gradient]),
            sample=acts.sample,
            position=acts.position,
            hook_point=acts.hook_point,
            model_name=acts.model_name,
            context=acts.context,
            step=acts.step,
        )


HOW_TO_GET_GRADIENTS = (
    'Capture them: acts = sn.capture(model, inputs, hook_point, gradient_of="next_token"), stream them, or '
    "bring your own: sn.Activations.from_tensor(x, gradient=g)."
)


@checked(leave=("data",))
def acts_of_sites(sae: _Sites, data: object, *, name: str = "data") -> Any:
    """Return the argument for a dictionary of several sites as activations; other data unchanged."""
    n_reads, writes = len(sae.reads), sae.writes
    if writes is None:
        listed = sae.by_site and isinstance(data, tuple | list)
        return _side(data, n_reads, name) if listed else data
    if not isinstance(data, tuple | list) or isinstance(data, Pairs):
        return data
    if len(data) != 2:
        raise TypeError(
            f"`{name}` must be two things for {type(sae).__name__}, what it reads and what it writes, "
            f"({'x, y' if len(sae.reads) == 1 else 'xs, ys'}), got {len(data)}. Capture both in one call."
        )
    x, target = (
        _side(part, n, f"{name}[{i}]")
        for i, (part, n) in enumerate(zip(data, (n_reads, len(writes)), strict=True))
    )
    return Pairs(x, target)


def side_by_side(sae: _Sites, x: object, *, name: str = "x") -> Any:
    """Return a list of one thing per site as rows that hold all of them side by side; else what it is."""
    if not isinstance(x, tuple | list):
        return x
    _check_one_each(x, len(sae.reads), name)
    if all(isinstance(part, Activations) for part in x):
        _check_widths(sae, [part.d_in for part in x], name)
        return concat_sites(x)
    parts = [as_tensor(part, name=f"{name}[{i}]") for i, part in enumerate(x)]
    for i, part in enumerate(parts):
        if not part.is_floating_point():
            check_matrix(part, name=f"{name}[{i}]", flatten=True)
    _check_widths(sae, [part.shape[-1] if part.ndim else 0 for part in parts], name)
    shapes = [tuple(part.shape[:-1]) for part in parts]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"`{name}` must hold the same tokens at every site, but their leading shapes are "
            f"{', '.join(map(str, shapes))}. Capture them in one call, and choose rows of all alike."
        )
    return torch.cat([part.to(parts[0]) for part in parts], dim=-1)


def _check_widths(sae: _Sites, widths: Sequence[int], name: str) -> None:
    if tuple(widths) != tuple(sae.reads):
        raise ValueError(
            f"`{name}` must have the widths of {type(sae).__name__}, {list(sae.reads)}, in this order, got "
            f"{list(widths)}. Was one captured at a different hook point?"
        )


def parts_of(sae: _Sites, data: object) -> list[Activations]:
    """Return activations of each site in order, without those written where only what is read was passed."""
    read, written = data, None
    if isinstance(data, Pairs):
        read, written = data.sides
    elif sae.writes is not None and isinstance(data, tuple | list):
        read, written = data
    parts = _parts(read, sae.reads)
    if written is None or sae.writes is None:
        return parts
    return parts + _parts(written, sae.writes)


def _parts(side: object, widths: Sequence[int]) -> list[Activations]:
    if isinstance(side, tuple | list):
        return [_site(part, f"data[{i}]") for i, part in enumerate(side)]
    acts = _site(side, "data")
    if len(widths) == 1:
        return [acts]
    rows = acts._rows
    joined = isinstance(rows, JoinedRows) and rows.sites == tuple(widths)
    own = rows.parts if joined else torch.split(acts.x, list(widths), dim=1)  # type: ignore[attr-defined]
    return [acts._like(part, hook_point=None) for part in own]


def site_names(sae: _Sites, parts: Sequence[Activations]) -> tuple[str, ...]:
    """Return names of a dictionary's sites, no two alike: by hook point, and by model if of several."""
    n, n_reads = len(sae.sites), len(sae.reads)
    models, points = (
        [getattr(part, name) for part in parts] for name in ("model_name", "hook_point")
    )
    several = len(set(models)) > 1
    known = [
        " · ".join(word for word in (model if several else None, point) if word)
        for model, point in zip(models, points, strict=True)
    ]
    if several and None not in models and len(set(models)) == n:
        known = list(models)  # the model says which
    known += [""] * (n - len(known))
    if sae.writes is None:
        named = all(known) and len(set(known)) == n
        return tuple(known) if named else tuple(f"site {i + 1}" for i in range(n))
    sides = (("reads", known[:n_reads]), ("writes", known[n_reads:]))
    return tuple(
        f"{verb} {name or ('' if len(names) == 1 else i + 1)}".strip()
        for verb, names in sides
        for i, name in enumerate(names if len(set(names)) == len(names) else [""] * len(names))
    )


def _side(data: object, n: int, name: str) -> Activations:
    if isinstance(data, tuple | list):
        _check_one_each(data, n, name)
        return concat_sites([_site(part, f"{name}[{i}]") for i, part in enumerate(data)])
    return _site(data, name)


def _check_one_each(data: Sequence[Any], n: int, name: str) -> None:
    if len(data) != n:
        raise ValueError(
            f"`{name}` must have one entry per hook point, {n}, got {len(data)}. Build the "
            "dictionary with that many widths."
        )


def _site(data: object, name: str) -> Activations:
    if isinstance(data, Activations):
        return data
    if not is_array(data):
        raise TypeError(
            f"`{name}` must be activations or rows of shape (n, d), got {type(data).__name__}. Capture "
            "several hook points in one call: sn.capture(model, inputs, [first, second])."
        )
    return Activations.from_tensor(check_matrix(data, name=name))


# -------------------------------------------------------------------------------------------------
# Whether rows are of the same tokens.


def check_aligned(parts: Sequence[Activations]) -> None:
    """Refuse activations whose rows are not the same tokens in the same order."""
    first = parts[0]
    for other in parts[1:]:
        row = first_difference(first, other)
        if row is not None:
            names = [_place(part, i) for i, part in enumerate((first, other))]
            raise ValueError(
                f"Row by row, sites must hold the same tokens, but row {row} is "
                f"{_row(first, row)} at {names[0]} and {_row(other, row)} at {names[1]} "
                f"({len(first)} and {len(other)} rows in all). Capture them in one call, "
                "sn.capture(model, inputs, [first, second]), and choose rows of both alike; of two models, "
                "sn.align([x, y]) chooses them."
            )


def _place(acts: Activations, i: int) -> str:
    return ("the first", "the other")[i] if acts.hook_point is None else f'"{acts.hook_point}"'


def _row(acts: Activations, row: int) -> str:
    return acts.where(row) if row < len(acts) else "missing"


# -------------------------------------------------------------------------------------------------
# Whether an SAE can read them.


def check_sae(sae: object) -> None:
    """Refuse what lacks a part that every sparse autoencoder has."""
    missing = [
        name for name in ("encode", "dictionary", "d_in", "n_atoms") if not hasattr(sae, name)
    ]
    if missing:
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}, which has no "
            f"`{missing[0]}`. Load one with sn.load_sae, or make one, such as sn.TopK."
        )


def check_one_place(sae: Any, *, name: str = "sae", may_write: bool = False) -> None:
    """Refuse a dictionary that reads several places, or writes another than it reads unless it may."""
    check_sae(sae)
    writes = getattr(sae, "writes", None)
    if getattr(sae, "by_site", False) or (writes is not None and not may_write):
        what = "read one place and write one" if may_write else "read and reconstruct one place"
        use = "an SAE, such as sn.TopK" + ", or a Transcoder" * may_write
        raise ValueError(
            f"`{name}` must {what} here, got {type(sae).__name__}, which has "
            f"{len(sae.sites)}. Use {use}; sn.evaluate, "
            "AtomBrowser and ConceptMap take this one, too."
        )


def where_written(sae: Any, hook_point: str | None) -> str:
    """Return the hook point where a dictionary's atoms are written: as given, or its own."""
    check_one_place(sae, may_write=True)
    writes = getattr(sae, "writes", None) is not None
    name = hook_point or getattr(sae, "target_hook_point" if writes else "hook_point", None)
    if name is None:
        raise ValueError(
            f"`hook_point` must say where the SAE {'writes' if writes else 'reads'}, because the SAE "
            f'itself does not. Pass hook_point="{"mlp_out.0" if writes else "resid_post.0"}", say.'
        )
    return name


def acts_for(
    sae: Any, acts: object, *, name: str = "acts", finite: bool = True, target: bool = False
) -> Activations:
    """Return activations that an SAE can read, with what it writes if `target`; a tensor's rows are samples."""
    check_sae(sae)
    if getattr(sae, "writes", None) is not None:
        acts = _of_two_sites(sae, acts, name, target)
    elif getattr(sae, "by_site", False):
        acts = side_by_side(sae, acts, name=name)
    place = getattr(sae, "hook_point", None)
    where = f"The SAE was trained at {place}." if place else "See `sae.hook_point`."
    if is_array(acts):
        rows = check_matrix(acts, name=name, d_in=sae.d_in, where=where, finite=finite).detach()
        check_data(rows, name=name)
        index = torch.arange(len(rows))
        return Activations(rows, sample=index, position=torch.zeros_like(index))
    if not isinstance(acts, Activations):
        raise TypeError(
            f"`{name}` must be Activations or a tensor of shape (n, d_in), got {type(acts).__name__}. "
            "Use `sn.capture(model, inputs, hook_point)`."
        )
    if acts.d_in != sae.d_in:
        raise ValueError(
            f"`{name}` must have width d_in={sae.d_in} to match the SAE, got {acts.d_in}. "
            f"{other_model(sae, acts) or where}"
        )
    if len(acts) == 0:
        raise ValueError(f"`{name}` must have at least one row, got none. Capture some.")
    warn_of_place(sae, acts.hook_point)
    look = getattr(sae, "look_at", None)  # an SAE from elsewhere looks before it reads
    if look is not None:
        look(acts)
    return acts


def _of_two_sites(sae: Any, acts: object, name: str, target: bool) -> object:
    """Return what is read, paired with what is written if that is given or needed."""
    given = acts_of_sites(sae, acts, name=name)
    written = given.target if isinstance(given, Activations) else None
    if written is None or written is given:
        if target:
            raise ValueError(
                f"`{name}` must be two things for {type(sae).__name__}, what it reads and what it writes, got "
                "one. Pass (x, y), both captured in one call: sn.capture(model, inputs, [first, second])."
            )
    elif written.d_in != sae.d_out:
        raise ValueError(
            f"`{name}` must bring a target of width d_out={sae.d_out}, got {written.d_in}. Pass first "
            "what is read."
        )
    return given

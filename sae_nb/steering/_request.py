"""What a person asks `steer` for, checked once and turned into a change of activations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_atom, check_matrix, is_array, one_of
from sae_nb.codes import SparseCodes
from sae_nb.models import Backend, Intervention, check_writable, edited_nnsight
from sae_nb.steering._edits import Along, Change, MaskedEdit, Positions, Steps, Tap, change_atoms
from sae_nb.steering._modes import MODES, Mode
from sae_nb.steering._one_site import OneSite, Taps, one_site

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel


Unit = Literal["coefficient", "p99"]
UNITS: tuple[Unit, ...] = ("coefficient", "p99")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is being done to a model at one hook point."""

    hook_point: HookPoint
    edit: MaskedEdit | None = field(default=None, repr=False, compare=False)
    """What does it; its `n_touched` counts positions."""

    def interventions(self, backend: Backend = "hooks") -> list[Intervention]:
        """The edit, after what it has to see first."""
        edit = cast(MaskedEdit, self.edit)
        taps = () if edit.tap is None else edit.tap.parts
        first = [Intervention(tap.hook_point, tap, backend) for tap in taps]
        return [*first, Intervention(self.hook_point, edit, backend)]

    def to_nnsight(self, nnsight_model: Any) -> Any:
        """Return an nnsight model that makes this edit in every trace, also after the `with` block.

        It shares the module with `nnsight_model`, which stays as it is. Traces of it need nothing of this
        library but the edit. On nnsight's server an edit can be made that is the same at every position
        and along a direction: `mode="add"`, or any mode with `direction=`.

        Parameters
        ----------
        nnsight_model
            Such as `model.nnsight`, or any other nnsight object around a module with the same paths.

        Raises
        ------
        ValueError: If it has no module at the recipe's hook point.

        Example
        -------
        >>> import torch, sae_nb as sn
        >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
        >>> with sn.steer(model, "0", direction=torch.ones(2), by=3.0) as steering:
        ...     edited = steering.recipe.to_nnsight(model.nnsight)
        >>> with edited.trace(torch.zeros(1, 2)):
        ...     out = edited.output.save()
        >>> out
        tensor([[3., 3.]])
        """
        for intervention in self.interventions():
            nnsight_model = edited_nnsight(nnsight_model, intervention)
        return nnsight_model


@dataclass(frozen=True, kw_only=True)
class Steering(Recipe):
    """What `steer` and `ablate` do to a model."""

    mode: Mode
    atoms: tuple[int, ...] | None
    """Which latents; None for a direction of the user's own."""

    by: tuple[float, ...]
    """As given, in `unit`s."""

    unit: Unit
    """"coefficient", or "p99": multiples of an atom's 99th percentile of non-zero strengths."""

    amount: tuple[float, ...]
    """`by` as coefficients."""

    positions: Any
    """As given, in plain numbers: None, a name, integers, or a mask as nested lists."""

    steps: Steps
    keep_error: bool

    def settings(self) -> dict[str, Any]:
        """Return the recipe as plain numbers and strings, ready for JSON."""
        plain = {
            part.name: getattr(self, part.name) for part in fields(self) if part.name != "edit"
        }
        return plain | {"hook_point": str(self.hook_point)}


def request_steering(
    model: LiveModel,
    hook_point: HookPoint,
    sae: SparseAutoencoder | None,
    atom: int | Sequence[int] | None,
    by: float | Sequence[float] | None,
    *,
    direction: Float[Tensor, " d_in"] | None,
    acts: Activations | Tensor | SparseCodes | Sequence[Any] | None,
    where: Positions,
    site: int | None = None,
    **choices: Any,
) -> Steering:
    """Check a request and return its record, with the edit that carries it out."""
    one_of(choices["mode"], MODES, name="mode")
    one_of(choices["unit"], UNITS, name="unit")
    choices |= {"hook_point": hook_point, "positions": where.stated(), "steps": where.steps}
    if direction is not None:
        given = {"atom": atom, "site": site}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"`steer` takes `{name}` or `direction`, not both; got {name}={value!r} too."
                )
        by = check_amounts(1.0 if by is None and choices["mode"] == "add" else by, 1)
        recipe = Steering(atoms=None, by=by, amount=by, **choices)
        change = _direction_change(model, hook_point, direction, recipe)
        return replace(recipe, edit=MaskedEdit(where, change))
    sae = _check_sae(model, hook_point, sae, site)
    if atom is None:
        raise TypeError(
            f"`atom` must be one of the SAE's {sae.n_atoms} atoms or several, got None."
        )
    atoms = check_atoms(atom, sae.n_atoms)
    by = check_amounts(by, len(atoms))
    amount = _in_coefficients(by, choices["unit"], choices["mode"], sae, atoms, acts)
    recipe = Steering(atoms=atoms, by=by, amount=amount, **choices)
    encodes = MODES[recipe.mode].reads_latents or not recipe.keep_error
    tap = _tap(model, hook_point, sae) if encodes else None
    return replace(recipe, edit=MaskedEdit(where, _atom_change(model, sae, atoms, recipe), tap))


def check_hook_point(model: LiveModel, hook_point: str) -> HookPoint:
    """Return the hook point of that name, if it can be edited."""
    point = model.hook_point(hook_point)
    check_writable(point)
    return point


def check_width(model: LiveModel, point: HookPoint, width: int, what: str) -> None:
    """Refuse something of another width than the hook point, where that is known without running."""
    expected = model.width(point)
    if expected is not None and expected != width:
        raise ValueError(
            f'`hook_point` must be as wide as {what}, but "{point}" has width {expected} and {what} '
            f"{width}. Was the SAE trained at another hook point? See `sae.hook_point`."
        )


def tap_of(model: LiveModel, point: HookPoint, sae: Any) -> Tap | None:
    """Where a dictionary that is in force at a hook point reads, if that is not the same place."""
    if getattr(sae, "writes", None) is None:
        return None
    if sae.hook_point is None:
        raise ValueError(
            f"`{type(sae).__name__}.hook_point` must say where it reads, and is None. Set it, such as "
            't.hook_point = "mlp_in.3"; training on captured activations does.'
        )
    read = model.hook_point(sae.hook_point)
    if (read.path, read.side) == (point.path, point.side):
        raise ValueError(
            f'`hook_point` must be where {type(sae).__name__} writes, got "{point}", where it reads. '
            f"{'Use ' + repr(str(sae.target_hook_point)) + '.' if sae.target_hook_point else ''}".rstrip()
        )
    check_width(model, read, sae.d_in, "what it reads")
    return Tap(read)


def _tap(model: LiveModel, point: HookPoint, sae: Any) -> Tap | Taps | None:
    """Where what a code needs passes, if that is not the place that is edited alone."""
    return sae.taps(model, point) if isinstance(sae, OneSite) else tap_of(model, point, sae)


def _check_sae(
    model: LiveModel, point: HookPoint, sae: SparseAutoencoder | None, site: int | None
) -> Any:
    if sae is None:
        raise TypeError("`steer` needs `sae` and `atom`, or `direction`; got neither.")
    if not hasattr(sae, "dictionary"):
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}. Pass a plain vector as "
            "`direction=`."
        )
    steered = one_site(model, point, sae, site)
    check_width(model, point, getattr(steered, "d_out", sae.d_in), "the SAE")
    return steered


def check_atoms(atom: int | Sequence[int], n_atoms: int) -> tuple[int, ...]:
    """Return one atom or several as a tuple, if all are there and none twice."""
    listed = list(atom) if _several(atom) else [atom]
    atoms = tuple(check_atom(a, n_atoms) for a in listed)
    if not atoms or len(set(atoms)) < len(atoms):
        raise ValueError(f"`atom` must name at least one atom, and each once, got {listed}.")
    return atoms


def check_amounts(by: float | Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return one finite number per atom, from one for all or one each."""
    if by is None:
        raise TypeError("`by` must be a number, or one per atom; got None.")
    numbers = [float(b) for b in by] if _several(by) else [float(cast(float, by))] * count
    if len(numbers) != count:
        raise ValueError(
            f"`by` must be one number, or one for each of {count} atoms, got {numbers}."
        )
    if not all(math.isfinite(b) for b in numbers):
        raise ValueError(f"`by` must be finite, got {numbers}.")
    return tuple(numbers)


def _several(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether these are several values; a tensor without axes is one."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _in_coefficients(
    by: tuple[float, ...],
    unit: Unit,
    mode: Mode,
    sae: Any,
    atoms: tuple[int, ...],
    acts: Activations | Tensor | SparseCodes | Sequence[Any] | None,
) -> tuple[float, ...]:
    if unit == "coefficient":
        return by
    if not MODES[mode].takes_p99:
        raise ValueError(
            f'`unit="p99"` has no meaning with mode="{mode}", whose `by` is a factor. Leave `unit` out.'
        )
    rows = list(atoms)
    of: Any = sae.acts(acts) if isinstance(sae, OneSite) else acts
    strengths = torch.as_tensor(strength_p99(sae, of)[rows], dtype=torch.float64)
    if MODES[mode].unit_atoms:
        # What is added is a unit vector; atoms of other libraries' SAEs may be longer or shorter.
        strengths = strengths * sae.dictionary[rows].detach().norm(dim=1).double().cpu()
    p99 = strengths.tolist()
    dead = [atom for atom, value in zip(atoms, p99, strict=True) if not value > 0]
    if dead:
        raise ValueError(
            f'`unit="p99"` needs atoms that fire, but these never do in `acts`: {dead}. Use '
            'unit="coefficient", or other activations.'
        )
    return tuple(b * p for b, p in zip(by, p99, strict=True))


def _atom_change(
    model: LiveModel, sae: SparseAutoencoder, atoms: tuple[int, ...], recipe: Steering
) -> Change:
    rows, mode = sae.dictionary[list(atoms)].detach().clone(), MODES[recipe.mode]
    if mode.unit_atoms:
        rows = torch.nn.functional.normalize(rows, dim=1)
    encodes = mode.reads_latents or not recipe.keep_error
    if encodes and rows.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device to encode its activations, {model.device}, got "
            f"{rows.device}. Use sae.to(model.device)."
        )
    return change_atoms(
        sae, atoms, rows, mode=recipe.mode, by=recipe.amount, keep_error=recipe.keep_error
    )


def _direction_change(
    model: LiveModel, point: HookPoint, direction: Float[Tensor, " d_in"], recipe: Steering
) -> Change:
    if recipe.unit != "coefficient" or not recipe.keep_error:
        raise ValueError(
            "`direction` belongs to no SAE, so it has no percentile and no error term; got "
            f"unit={recipe.unit!r}, keep_error={recipe.keep_error}. Leave both out."
        )
    if not isinstance(direction, Tensor) or direction.ndim != 1:
        got = tuple(direction.shape) if isinstance(direction, Tensor) else type(direction).__name__
        raise TypeError(f"`direction` must be a tensor of shape (d_in,), got {got}.")
    direction = check_matrix(direction.detach()[None], name="direction")[0].clone()
    check_width(model, point, len(direction), "the direction")
    if not bool(direction.norm() > 0):
        raise ValueError("`direction` must not be the zero vector.")
    return Along(direction, recipe.mode, recipe.amount[0])


# -------------------------------------------------------------------------------------------------
# How strongly atoms fire: the 99th percentile of non-zero |z|, the scale steering is given in.


_CHUNK = 4096  # rows encoded at a time
_SHARE = 0.99


def strength_p99(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes | None = None
) -> Float[np.ndarray, " n_atoms"]:
    """Return every atom's 99th percentile of non-zero strengths |z|; 0 for one that never fires."""
    if acts is None:
        stored = getattr(sae, "strength_p99", None)
        if stored is None:
            raise ValueError(
                '`unit="p99"` needs strengths to take the percentile from, got acts=None and an SAE '
                "without `strength_p99`. Pass acts= (activations or codes)."
            )
        return np.asarray(torch.as_tensor(stored).detach().cpu(), dtype=np.float64)
    atoms, strengths = [], []
    for codes in _codes(sae, acts):
        values = codes.values.detach().abs().float().cpu().numpy()
        atoms.append(codes.atoms.cpu().numpy()[values > 0])
        strengths.append(values[values > 0])
    return _percentile_by_atom(np.concatenate(atoms), np.concatenate(strengths), sae.n_atoms)


def _percentile_by_atom(
    atoms: np.ndarray, strengths: np.ndarray, n_atoms: int
) -> Float[np.ndarray, " n_atoms"]:
    """Interpolate linearly between order statistics, as numpy.percentile does, for all at once."""
    strengths = strengths[np.lexsort((strengths, atoms))].astype(np.float64)
    counts = np.bincount(atoms, minlength=n_atoms)
    first = np.cumsum(counts) - counts
    fires = counts > 0
    place = _SHARE * (counts[fires] - 1)
    low = np.floor(place).astype(np.int64)
    below = strengths[first[fires] + low]
    above = strengths[first[fires] + np.minimum(low + 1, counts[fires] - 1)]
    percentile = np.zeros(n_atoms)
    percentile[fires] = below + (place - low) * (above - below)
    return percentile


def _codes(
    sae: SparseAutoencoder, acts: Activations | Tensor | SparseCodes
) -> Iterator[SparseCodes]:
    if isinstance(acts, SparseCodes):
        _require("codes of this SAE", "atoms", acts.n_atoms, sae.n_atoms)
        yield acts
        return
    if isinstance(acts, Tensor) or is_array(acts):  # the first for type checkers
        x = check_matrix(acts, name="acts", d_in=sae.d_in, flatten=True)
        chunks: Iterable[Tensor] = cast("Sequence[Tensor]", torch.split(x, _CHUNK))
    else:
        _require("activations of its hook point", "width", acts.d_in, sae.d_in)
        starts = range(0, len(acts), _CHUNK)
        chunks = (acts.rows(range(i, min(i + _CHUNK, len(acts)))) for i in starts)
    like = sae.dictionary
    for chunk in chunks:
        with torch.no_grad():
            codes = sae.encode(chunk.to(like))
        yield codes


def _require(what: str, quantity: str, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"`acts` must be {what}, with {quantity} {expected}, got {quantity} {got}. See "
            "`sae.hook_point`."
        )

"""The request that `steer` gets, checked once and turned into a change of activations."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb._hooks import Hook
from sae_nb.activations import Activations
from sae_nb.activations._context import Context
from sae_nb.activations._hook_point_check import warn_of_place
from sae_nb.activations._positions import DEFAULT, PositionPolicy
from sae_nb.checks import check_atom, check_finite, check_matrix, check_place, warn_caller
from sae_nb.codes import SparseCodes
from sae_nb.models._interventions import Backend, Intervention
from sae_nb.models._plain_hooks import Hooks
from sae_nb.models._stored_edits import edited_nnsight
from sae_nb.steering._one_site import OneSite, Taps, one_site
from sae_nb.steering.edits import (
    Along,
    AlongCurve,
    Firing,
    Gate,
    MaskedEdit,
    Over,
    Positions,
    Steps,
    Tap,
    Where,
    change_atoms,
)
from sae_nb.steering.modes import MODES, UNITS, Mode, Unit

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.geometry import Curve
    from sae_nb.models import HookPoint, LiveModel


class Pointing(Protocol):
    """A direction that knows its place, such as `sn.direction` makes."""

    @property
    def vector(self) -> Float[Tensor, " d_in"]:
        """The direction, of unit norm."""

    @property
    def hook_point(self) -> str:
        """Where it was read."""

    @property
    def model_name(self) -> str:
        """The model that it was read from."""

    @property
    def middle(self) -> float:
        """⟨x, vector⟩ above which a gate along it opens."""


Opens: TypeAlias = int | Pointing
"""An atom's number, or a direction with its middle."""

Step = int | Sequence[int] | Literal["last"] | None
"""Applications of a module that runs several times in one pass, as they are asked for."""

write_vectors: Hook[[Edit, str | Path], None] = Hook("write_vectors")
write_lm_eval: Hook[[Edit, str | Path, str | None, str | None], None] = Hook("write_lm_eval")
"""Other programs' files are known to `_export.py` alone; users type these two as methods of a recipe."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """The place of a recipe as other programs name it."""

    model_name: str
    path: str | None
    """Of the module whose output is edited; None where no module's output is."""

    below: str | None
    """The same under the `base_model` of a transformers model; None where there is no such."""

    @classmethod
    def of(cls, model: LiveModel, point: HookPoint) -> Home:
        """Return the name of a hook point outside of this library."""
        path = _output_path(model, point)
        prefix = getattr(model.module, "base_model_prefix", None)
        below = None
        if path is not None and isinstance(prefix, str):
            inside = f"{prefix}." if prefix and hasattr(model.module, prefix) else ""
            below = path.removeprefix(inside) if path.startswith(inside) else None
        return cls(model_name=model.name, path=path, below=below)


def _output_path(model: LiveModel, point: HookPoint) -> str | None:
    if point.side == "output":
        return point.path if point.index in (None, 0) else None
    if point.kind == "resid_pre" and point.layer:  # what the block before gives
        return model.hook_point(f"resid_post.{point.layer - 1}").path
    return None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of a model at one hook point."""

    hook_point: HookPoint
    step: int | Literal["last"] | tuple[int, ...] | None = None
    """Applications of a module that runs several times; None: those that the hook point names, or all."""

    edit: MaskedEdit = field(repr=False, compare=False)
    """The edit; its `n_touched` counts positions."""

    home: Home | None = field(default=None, repr=False, compare=False)
    """The place's name in files, if it can be named outside of this library."""

    def interventions(self, backend: Backend = "hooks") -> list[Intervention]:
        """Return the edit, after the taps it needs."""
        taps = () if self.edit.tap is None else self.edit.tap.parts
        first = [Intervention(tap.hook_point, tap, backend) for tap in taps]
        return [*first, Intervention(self.hook_point, self.edit, backend)]

    def to_nnsight(self, nnsight_model: object) -> Any:
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

    def to_hooks(self, module: torch.nn.Module) -> Hooks:
        """Make this edit in a plain module by ordinary torch hooks, until they are removed.

        For a script that loads its model without this library: every call of the module is edited, and
        Hugging Face's `generate`, with the same numbers as inside `with steer(…)`, to the bit.

        Parameters
        ----------
        module
            Of the class that the recipe was made on, such as AutoModelForCausalLM.from_pretrained(name).

        Returns
        -------
        Hooks
            `hooks.remove()` leaves the module as it was, as does the end of `with … as hooks`.

        Raises
        ------
        ValueError: If it has no part at the recipe's hook point. In a call: if the edit depends on positions
            and the call does not say where its tokens are.

        Example
        -------
        >>> import torch, sae_nb as sn
        >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
        >>> with sn.steer(model, "0", direction=torch.ones(2), by=3.0) as steering:
        ...     recipe = steering.recipe
        >>> plain = torch.nn.Sequential(torch.nn.Identity())
        >>> with recipe.to_hooks(plain):
        ...     plain(torch.zeros(1, 2))
        tensor([[3., 3.]])
        >>> plain(torch.zeros(1, 2))
        tensor([[0., 0.]])
        """
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"`module` must be a torch module, got {type(module).__name__}. Of a live model, it is "
                "`model.module`."
            )
        self._check_device(module)
        positions = self.edit.positions
        if positions.of_role:
            raise ValueError(
                f"`to_hooks` edits plain modules, which are given token ids and not who wrote them, got "
                f"positions={positions.stated()!r}. Name the positions as integers, or steer the live model."
            )
        return Hooks(module, self.interventions())

    def _check_device(self, module: torch.nn.Module) -> None:
        """An SAE that encodes what passes has to be where it passes."""
        sae, weight = getattr(self, "sae", None), next(module.parameters(), None)
        if sae is None or weight is None or self.edit.plain() is not None:
            return
        if sae.dictionary.device.type != weight.device.type:
            raise ValueError(
                f"`module` must be on the SAE's device, whose codes this edit needs, {sae.dictionary.device}, "
                f"got {weight.device}. Move one of them."
            )

    def to_vectors(self, path: str | Path) -> None:
        """Write the vector and what is done with it as one safetensors file, for programs that steer.

        It holds a tensor under the hook point's name, and in its header under "steering" a JSON object with
        `model`, and under `vectors` for that name how it is used: `gain` and `constant` of
        x + (gain·⟨x, v⟩ / ⟨v, v⟩ + constant)·v, path, side, mode, strength, positions, steps, atoms.

        Parameters
        ----------
        path
            Ends in ".safetensors".

        Raises
        ------
        ValueError: If the edit is not one along a direction, or depends on positions by a function.

        Example
        -------
        >>> import json, tempfile, torch, sae_nb as sn
        >>> from safetensors import safe_open
        >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
        >>> with sn.steer(model, "0", direction=torch.ones(2), by=3.0) as steering:
        ...     recipe = steering.recipe
        >>> path = tempfile.mkdtemp() + "/north.safetensors"
        >>> recipe.to_vectors(path)
        >>> with safe_open(path, "pt") as file:
        ...     vector, about = file.get_tensor("0"), json.loads(file.metadata()["steering"])
        >>> vector, about["vectors"]["0"]["constant"]
        (tensor([1., 1.]), 3.0)
        """
        write_vectors(self, path)

    def to_lm_eval(
        self, path: str | Path, *, sparse_model: str | None = None, sae_id: str | None = None
    ) -> None:
        """Write what lm_eval's `steered` model reads: `--model_args pretrained=…,steer_path=FILE`.

        A ".pt" holds the vector itself: tensors and plain values, nothing else. A ".csv" names an atom of an
        SAE that lm_eval loads again. Appears when complete.

        Parameters
        ----------
        path
            Ends in ".pt" or ".csv".
        sparse_model, sae_id
            For ".csv", whose atom it is: a release and the SAE's id in it, as SAELens names them; or, with no
            id, what sparsify loads: a repository, or a folder as `write_sparsify` makes it.

        Raises
        ------
        ValueError: If lm_eval cannot do it: other modes than adding to the activation or holding a direction,
            chosen positions or steps, a place that is not a module's output; in a ".csv", anything but
            one atom that is added.

        Source
        ------
        lm_eval 0.4.13, models/hf_steered.py: coefficient · vector at every position of a module's output, in
        float32 to the bit as here; a held direction ("clamp") agrees to rounding. That version stops at rows of
        a ".csv" that add: write a ".pt" for it.

        Example
        -------
        >>> import tempfile, torch, sae_nb as sn
        >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
        >>> with sn.steer(gpt, "resid_post.3", sae, atom=17, by=4.0) as steering:
        ...     recipe = steering.recipe
        >>> path = tempfile.mkdtemp() + "/atom-17.pt"
        >>> recipe.to_lm_eval(path)
        >>> file = torch.load(path, weights_only=True)
        >>> file["layers.3"]["action"], file["layers.3"]["steering_coefficient"]
        ('add', 4.0)
        """
        write_lm_eval(self, path, sparse_model, sae_id)


Recipe = Edit  # under which edits were pickled


@dataclass(frozen=True, kw_only=True)
class Steering(Edit):
    """The change that `steer` and `ablate` make to a model."""

    mode: Mode
    atoms: tuple[int, ...] | None
    """Latents of the edit; None for a direction of the user's own."""

    by: tuple[float, ...]
    """As given, in `unit`s."""

    unit: Unit
    """One of `UNITS`."""

    amount: tuple[float, ...]
    """`by` as coefficients."""

    positions: str | list[Any] | None
    """As given, in plain numbers: None, a name, integers, or a mask as nested lists."""

    steps: Steps
    keep_error: bool
    where: str | None = None
    """The gate in words; None where it acts at all of its positions."""

    sae: SparseAutoencoder | OneSite | None = field(default=None, repr=False, compare=False)
    """Whose atoms; None for a direction of the user's own."""

    def settings(self) -> dict[str, Any]:
        """Return the recipe as plain numbers and strings, ready for JSON."""
        plain = {part.name: getattr(self, part.name) for part in fields(self) if part.repr}
        named = {name: plain.pop(name) for name in ("step", "where")}
        given = {name: value for name, value in named.items() if value is not None}
        return plain | {"hook_point": str(self.hook_point)} | given


def request_steering(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder | None,
    atom: int | Sequence[int] | None,
    by: float | Sequence[float] | None,
    *,
    direction: Float[Tensor, " d_in"] | Pointing | None,
    mode: Mode,
    positions: Where,
    steps: Steps,
    step: Step,
    keep_error: bool,
    site: int | None,
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | Sequence[Any] | None = None,
    gate: Opens | tuple[Opens, float] | None = None,
    asked: str = "steer",
) -> Steering:
    """Check a request and return its record, with the edit that carries it out; `asked` names the call."""
    point = check_hook_point(model, hook_point, step)
    where = Positions(positions, steps=steps, prefix_tokens=model.prefix_tokens)
    steered: SparseAutoencoder | OneSite | None = None
    atoms: tuple[int, ...] | None = None
    if direction is not None:
        for name, value in {"atom": atom, "site": site}.items():
            if value is not None:
                raise ValueError(
                    f"`{asked}` takes `{name}` or `direction`, not both; got {name}={value!r} too."
                )
        by = amount = check_amounts(1.0 if by is None and mode == "add" else by, 1)
        along = _checked_direction(model, point, direction, unit, keep_error)
        _check_size(model, amount[0] * along)
        _warn_of_bound(mode, amount[0], direction)
        edit = MaskedEdit(where, Along(along, mode, amount[0]))
    else:
        steered = _check_sae(model, point, sae, site, asked)
        if atom is None:
            raise TypeError(
                f"`atom` must be one of the SAE's {steered.n_atoms} atoms or several, got None."
            )
        atoms = check_atoms(atom, steered.n_atoms)
        by = check_amounts(by, len(atoms))
        amount = _in_coefficients(by, unit, mode, steered, atoms, acts)
        _check_size(model, torch.tensor(amount))
        if found := getattr(steered, "direction", None):  # its latent is 0 at the middle
            _warn_of_bound(mode, amount[0] + found.middle, found)
        if not (keep_error or where.given):
            where = where.instead(policy_for(model, steered))
        edit = _edit_of_atoms(model, point, steered, atoms, amount, where, mode, keep_error)
    words = None
    if gate is not None:
        edit.gate, words = _checked_gate(model, point, sae, gate)
    return Steering(
        hook_point=point,
        step=named_step(point),
        edit=edit,
        home=Home.of(model, point),
        mode=mode,
        atoms=atoms,
        by=by,
        unit=unit,
        amount=amount,
        positions=where.stated(),
        steps=where.steps,
        keep_error=keep_error,
        where=words,
        sae=steered,
    )


def request_curve(
    model: LiveModel,
    hook_point: str,
    curve: Curve,
    to: float | None,
    by: float | None,
    *,
    others: Mapping[str, object],
    positions: Where,
    steps: Steps,
    step: Step,
) -> Edit:
    """Check a request to move along a curve and return its edit; `others` must not be given with one."""
    point = check_hook_point(model, hook_point, step)
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValueError(f"`curve` stands alone, got `{given[0]}` too. Leave it out.")
    if (to is None) == (by is None):
        raise ValueError(
            f"`to` or `by` must say how far along `curve`, got to={to}, by={by}. Pass one of them, in units of "
            "its coordinate."
        )
    if curve.hook_point is not None:
        check_place(curve, model, point, name="curve")
    check_width(model, point, len(curve.mean), "the curve")
    amount = check_amounts(by if to is None else to, 1)[0]
    ends = float(curve.values[0]), float(curve.values[-1])
    if to is not None and not (curve.closed or ends[0] <= amount <= ends[1]):
        raise ValueError(
            f"`to` must lie on the curve, {ends[0]:g} to {ends[1]:g}, got {amount:g}. Beyond its ends a "
            "curve says nothing."
        )
    where = Positions(positions, steps=steps, prefix_tokens=model.prefix_tokens)
    change = AlongCurve(curve, amount if to is not None else None, amount if to is None else None)
    return Edit(hook_point=point, step=named_step(point), edit=MaskedEdit(where, change))


def _warn_of_bound(mode: Mode, by: float, direction: Any) -> None:
    """Warn of a cap below, or a floor above, the mean of the group that it should leave alone."""
    if mode not in ("cap", "floor") or not hasattr(direction, "middle"):
        return
    away = -1 if mode == "cap" else 1
    mean = direction.middle + away * direction.scale / 2
    if away * (by - mean) > 0:
        which, side = ("second", "below") if mode == "cap" else ("first", "above")
        warn_caller(
            f"This {mode}, {by:.3g}, lies {side} the mean of the direction's {which} group, {mean:.3g}: it "
            "pushes texts that it should leave as they are. Pass `by` nearer to direction.middle, "
            f"{direction.middle:.3g}."
        )


def _checked_gate(
    model: LiveModel,
    point: HookPoint,
    sae: SparseAutoencoder | None,
    gate: Opens | tuple[Opens, float],
) -> tuple[Gate, str]:
    """Return what opens an edit, and its words."""
    opens, threshold = gate if isinstance(gate, tuple) else (gate, None)
    if isinstance(opens, int):
        if sae is None:
            raise TypeError(
                "`where` as an atom needs `sae`, got None. Pass the SAE, or a Direction."
            )
        atom, least = check_atom(opens, sae.n_atoms), threshold or 0.0
        return Firing(sae, atom, least), f"atom {atom} above {least:g}"
    if getattr(opens, "vector", None) is None:
        raise TypeError(
            "`where` must be an atom's number or a direction from sn.direction, alone or with a threshold, "
            f"got {type(opens).__name__}."
        )
    vector = _checked_direction(model, point, opens, "coefficient", True)
    least = opens.middle if threshold is None else float(threshold)
    return Over(vector, least), f"direction above {least:.3g}"


def _edit_of_atoms(
    model: LiveModel,
    point: HookPoint,
    sae: SparseAutoencoder | OneSite,
    atoms: tuple[int, ...],
    amount: tuple[float, ...],
    where: Positions,
    mode: Mode,
    keep_error: bool,
) -> MaskedEdit:
    """Return the edit of some atoms, which can be made again by other amounts."""
    encodes = MODES[mode].reads_latents or not keep_error
    tap: Tap | Taps | None = None
    if encodes:  # what a code needs may pass elsewhere too
        tap = sae.taps(model, point) if isinstance(sae, OneSite) else tap_of(model, point, sae)
    rows = sae.dictionary[list(atoms)].detach().clone()
    if MODES[mode].unit_atoms:
        rows = torch.nn.functional.normalize(rows, dim=1)
    if encodes and rows.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device to encode its activations, {model.device}, got "
            f"{rows.device}. Use sae.to(model.device)."
        )
    changes = partial(change_atoms, sae, atoms, rows, mode=mode, keep_error=keep_error)
    reads_here = getattr(sae, "writes", None) is None or tap is not None
    look = first_look(model, point, sae) if reads_here else None
    return MaskedEdit(where, changes(by=amount), tap, changes, at=point, look=look)


def first_look(
    model: LiveModel, point: HookPoint, sae: Any
) -> Callable[[Float[Tensor, "n d_in"]], None] | None:
    """Return what shows an SAE from elsewhere the rows of a run; None for others."""
    if not getattr(sae, "looks", False) or sae.by_site:
        return None
    place = str(point if sae.writes is None else model.hook_point(str(sae.hook_point)))

    def look(rows: Float[Tensor, "n d_in"]) -> None:
        if sae.looks:
            policy = {"takes_off_mean": model.takes_off_mean}
            context = Context(kind=model.kind, n_samples=len(rows), policy=policy)
            rows = rows.detach()
            sae.look_at(
                Activations.from_tensor(
                    rows, hook_point=place, model_name=model.name, context=context
                )
            )

    return look


def named_step(point: HookPoint) -> int | Literal["last"] | tuple[int, ...] | None:
    """Return the applications that a request names beyond the name of its hook point."""
    return (
        point.step
        if isinstance(point.step, tuple) or (point.step == "last" and "@" not in point)
        else None
    )


def check_hook_point(
    model: LiveModel,
    hook_point: str,
    step: object = None,
    *,
    width: int | None = None,
    what: str = "the SAE",
) -> HookPoint:
    """Return the hook point of that name, if it can be edited and is as wide as what is to be put there.

    Parameters
    ----------
    step
        Applications of a module that runs several times, as in `steer`.
    width, what
        Numbers in a vector, and what has them; None: of any width.

    Raises
    ------
    HookPointNotFound: If there is none of that name.
    ValueError: If nothing can be written there, or the width differs.
    """
    point = model.hook_point(hook_point)
    point.check_writable()
    point = model.counted(point, step)
    if width is not None:
        check_width(model, point, width, what)
    return point


_asked_without: weakref.WeakSet[Any] = weakref.WeakSet()
"""SAEs without a policy of their own, of which a warning was given."""


def policy_for(model: LiveModel, sae: object, acts: object = None) -> PositionPolicy:
    """Return the positions that an SAE is for, in a model: its own policy, or that of `capture`.

    Where it has none, that of `acts`, the activations that it is measured on; a warning, once for each SAE,
    names the default that holds without either.
    """
    whole = getattr(sae, "whole", sae)
    own = getattr(whole, "position_policy", None)
    if own is None and acts is not None and (rows := PositionPolicy.of(acts)) is not None:
        # By the median of each text, as without activations, and never more than capture would keep.
        massive = rows.drop_massive or (model.has_sinks and rows.drop_first)
        own = replace(rows, drop_massive=massive, norm_limits={}, source="activations")
    policy = PositionPolicy.for_model(model) if own is None else own.within(model)
    if model.has_sinks and policy.source.endswith(DEFAULT) and whole not in _asked_without:
        _asked_without.add(whole)
        usual = policy.source.removesuffix(f" by {DEFAULT}") if own else "`capture`"
        what = f"{policy.left_out()} pass through" if policy.left_out() else "all are replaced"
        warn_caller(
            f"This {type(whole).__name__} does not say which positions it was trained on: {what}, as {usual} "
            'has it by default. Pass positions=, such as "all" or "not_first", or set `sae.position_policy`.'
        )
    return policy


def check_width(model: LiveModel, point: HookPoint, width: int, what: str) -> None:
    """Refuse something of another width than the hook point, where that is known without running."""
    expected = model.width(point)
    if expected is not None and expected != width:
        raise ValueError(
            f'`hook_point` must be as wide as {what}, but "{point}" has width {expected} and {what} '
            f"{width}. Was the SAE trained at another hook point? See `sae.hook_point`."
        )


def tap_of(model: LiveModel, point: HookPoint, sae: Any) -> Tap | None:
    """Return the place that a dictionary in force at a hook point reads, if that is not the same place."""
    if getattr(sae, "writes", None) is None:
        return None
    if sae.hook_point is None:
        raise ValueError(
            f"`{type(sae).__name__}.hook_point` must say where it reads, and is None. Set it, such as "
            't.hook_point = "mlp_in.3"; training on captured activations does.'
        )
    read = model.hook_point(sae.hook_point)
    if read.place == point.place:
        raise ValueError(
            f'`hook_point` must be where {type(sae).__name__} writes, got "{point}", where it reads. '
            f"{'Use ' + repr(str(sae.target_hook_point)) + '.' if sae.target_hook_point else ''}".rstrip()
        )
    check_width(model, read, sae.d_in, "what it reads")
    return Tap(read)


def _check_sae(
    model: LiveModel,
    point: HookPoint,
    sae: SparseAutoencoder | None,
    site: int | None,
    asked: str,
) -> SparseAutoencoder | OneSite:
    if sae is None:
        raise TypeError(f"`{asked}` needs `sae` and `atom`, or `direction`; got neither.")
    if not hasattr(sae, "dictionary"):
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}. Pass a plain vector as "
            "`direction=`."
        )
    steered = one_site(model, point, sae, site)
    check_width(model, point, getattr(steered, "d_out", sae.d_in), "the SAE")
    warn_of_place(sae, point)
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


def _check_size(model: LiveModel, change: Float[Tensor, " n"]) -> None:
    """Refuse a change that the model cannot hold, or whose square it cannot."""
    check_finite(
        change.to(model.dtype)[None], name="by", where="Times the direction, as the model has it."
    )


def _several(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether these are several values; a tensor without axes is one."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _in_coefficients(
    by: tuple[float, ...],
    unit: Unit,
    mode: Mode,
    sae: SparseAutoencoder | OneSite,
    atoms: tuple[int, ...],
    acts: Activations | Tensor | SparseCodes | Sequence[Any] | None,
) -> tuple[float, ...]:
    if not UNITS[unit].measured:
        return by
    if not MODES[mode].takes_units:
        raise ValueError(
            f'`unit="{unit}"` has no meaning with mode="{mode}", whose `by` is a factor. Leave `unit` out.'
        )
    rows = list(atoms)
    of = sae.acts(acts) if isinstance(sae, OneSite) else acts
    sizes = torch.as_tensor(UNITS[unit].sizes(sae, of)[rows], dtype=torch.float64)
    if MODES[mode].unit_atoms:
        # What is added is a unit vector; atoms of other libraries' SAEs may be longer or shorter.
        sizes = sizes * sae.dictionary[rows].detach().norm(dim=1).double().cpu()
    dead = [atom for atom, size in zip(atoms, sizes.tolist(), strict=True) if not size > 0]
    if dead:
        raise ValueError(
            f'`unit="{unit}"` needs atoms that fire, but these never do in `acts`: {dead}. Use '
            'unit="coefficient", or other activations.'
        )
    return tuple(b * size for b, size in zip(by, sizes.tolist(), strict=True))


def _checked_direction(
    model: LiveModel,
    point: HookPoint,
    direction: Float[Tensor, " d_in"] | Pointing,
    unit: Unit,
    keep_error: bool,
) -> Float[Tensor, " d_in"]:
    vector = getattr(direction, "vector", None)
    if isinstance(vector, Tensor):
        check_place(direction, model, point)
        direction = vector
    if UNITS[unit].measured or not keep_error:
        raise ValueError(
            "`direction` belongs to no SAE, so it has no percentile and no error term; got "
            f"unit={unit!r}, keep_error={keep_error}. Leave both out."
        )
    if not isinstance(direction, Tensor) or direction.ndim != 1:
        got = tuple(direction.shape) if isinstance(direction, Tensor) else type(direction).__name__
        raise TypeError(f"`direction` must be a tensor of shape (d_in,), got {got}.")
    direction = check_matrix(direction.detach()[None], name="direction")[0].clone()
    check_width(model, point, len(direction), "the direction")
    if not bool(direction.norm() > 0):
        raise ValueError("`direction` must not be the zero vector.")
    return direction

"""Places in a live model where activations are read and edited, and how their names are understood.

A hook point is a string ("resid_post.6") that knows its module path, its side and its layer. Three
spellings mean the same place: the standard name, TransformerLens' name
("blocks.6.hook_resid_post") and the raw module path, optionally ending in ".input" or ".output".
"""

from __future__ import annotations

import difflib
import re
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel

Side = Literal["input", "output"]

_TRANSFORMER_LENS = re.compile(
    r"blocks\.(?P<layer>\d+)\.hook_(?P<kind>resid_pre|resid_mid|resid_post|attn_out|mlp_out)"
)


class HookPointNotFound(ValueError):  # noqa: N818 - a public name, given by the contract
    """No hook point of that name; the message lists the near ones."""


class HookPoint(str):
    """A named place in a model: behaves as its name, and carries where that is.

    Parameters
    ----------
    side
        Whether the module's output or its first input is meant.
    index
        Which element of a tuple output; None: the first tensor, found when the model runs.
    writable
        False where the module sees a copy that is used elsewhere too, so that an edit there would
        change only part of the network: ``resid_mid`` of pre-norm blocks.

    Example
    -------
    >>> point = HookPoint("resid_post.6", path="transformer.h.6", layer=6)
    >>> point, point.path, point.side, point == "resid_post.6"
    ('resid_post.6', 'transformer.h.6', 'output', True)
    """

    path: str
    side: Side
    layer: int | None
    index: int | None  # type: ignore[assignment]  # hides str.index, which names do not need
    writable: bool

    def __new__(
        cls,
        name: str,
        *,
        path: str,
        side: Side = "output",
        layer: int | None = None,
        index: int | None = None,
        writable: bool = True,
    ) -> HookPoint:
        """Make the string and attach where it points."""
        point = super().__new__(cls, name)
        point.path, point.side, point.layer = path, side, layer
        point.index, point.writable = index, writable
        return point

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """Copy and pickle with the attributes."""
        return (str(self),), dict(vars(self))

    @property
    def kind(self) -> str:
        """The name without its layer: "resid_post" for "resid_post.6"; a raw path is itself."""
        if self.layer is None:
            return str(self)
        return str(self).rpartition(".")[0]


def standard_name(name: str) -> str:
    """Return the standard name for a TransformerLens name; other names are returned as they are."""
    if name == "hook_embed":
        return "embed"
    match = _TRANSFORMER_LENS.fullmatch(name)
    return f"{match['kind']}.{match['layer']}" if match else name


def find_hook_point(
    name: str,
    points: Sequence[HookPoint],
    module_paths: Collection[str],
    *,
    model_name: str = "this model",
) -> HookPoint:
    """Return the hook point a name means: standard, TransformerLens or raw module path.

    A standard name wins over a module path of the same spelling; a module that is itself called
    "output" wins over the suffix.
    """
    if not isinstance(name, str):
        raise TypeError(f"`hook_point` must be a string such as 'resid_post.0', got {name!r}.")
    wanted = standard_name(str(name))
    for point in points:
        if point == wanted:
            return point
    if wanted and wanted in module_paths:
        return HookPoint(name, path=wanted)
    path, _, side = wanted.rpartition(".")
    if side in ("input", "output") and path in module_paths and path:
        return HookPoint(name, path=path, side=cast(Side, side))
    raise HookPointNotFound(_not_found(name, wanted, points, module_paths, model_name))


def near_names(name: str, names: Collection[str], count: int = 5) -> list[str]:
    """Return up to `count` names spelled most like `name`, the nearest first."""
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), n=count, cutoff=0.5)


def _not_found(
    name: str,
    wanted: str,
    points: Sequence[HookPoint],
    module_paths: Collection[str],
    model_name: str,
) -> str:
    kind, _, layer = wanted.rpartition(".")
    layers = [point.layer for point in points if point.kind == kind and point.layer is not None]
    if layers and layer.lstrip("-").isdigit():
        near = f'It has "{kind}.{min(layers)}" … "{kind}.{max(layers)}"'
    else:
        names = near_names(wanted, [*points, *module_paths]) or [str(p) for p in points[:5]]
        near = "Near: " + ", ".join(f'"{n}"' for n in names if n) if names else "It has none"
    return (
        f'No hook point "{name}" in {model_name}. {near}; call `model.hook_points()` to list all '
        "(raw module paths work too)."
    )


def read_tensor(value: Any, point: HookPoint | None = None) -> Tensor:
    """Return the tensor in what a module gave or got: itself, or one element of a tuple or record."""
    if isinstance(value, Tensor):
        return value
    return cast(Tensor, _elements(value)[_position(value, point)])


def replace_tensor(value: Any, new: Tensor, point: HookPoint | None = None) -> Any:
    """Return `value` with the tensor that `read_tensor` would give exchanged for `new`."""
    if isinstance(value, Tensor):
        return new
    position = _position(value, point)
    if isinstance(value, Mapping):
        key = list(value)[position]
        if type(value) is dict:
            return {**value, key: new}
        # A Hugging Face output record: item and attribute must change together.
        value[key] = new  # type: ignore[index]
        return value
    changed = [new if i == position else element for i, element in enumerate(value)]
    if hasattr(value, "_fields"):
        return type(value)(*changed)
    return type(value)(changed)


def _elements(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (tuple, list)) else []


def _position(value: Any, point: HookPoint | None) -> SupportsIndex:
    elements = _elements(value)
    index = point.index if point is not None else None
    if index is not None and index < len(elements) and isinstance(elements[index], Tensor):
        return index
    for position, element in enumerate(elements):
        if index is None and isinstance(element, Tensor):
            return position
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(
        f"A module must give a tensor, or a tuple holding one, to be read{where}, got "
        f"{type(value).__name__}. Choose a module whose output is a tensor."
    )


def first_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint | None = None
) -> int | str:
    """Return which argument a module's input is: a position, or a keyword.

    The first positional argument if there is one, else ``hidden_states``, else the first tensor.
    """
    if args:
        return 0
    if "hidden_states" in kwargs:
        return "hidden_states"
    for name, value in kwargs.items():
        if isinstance(value, Tensor):
            return name
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(f"A module must get a tensor to be read{where}, got {list(kwargs)}.")


# -------------------------------------------------------------------------------------------------
# Edits of activations while a model runs: what they are given, and what applies them: plain forward
# hooks, or an nnsight trace.


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where in a text or batch the columns are that an edit is looking at.

    A plain forward pass has one state; text generation has one for the prompt and one per new token.
    """

    step: int = 0
    """0 for a plain forward pass and for the prompt; then 1 for the first new token fed back, …"""

    offset: int = 0
    """Column of the first position seen in this run, counted in the padded whole sequence."""

    keep: Bool[Tensor, "batch time"] | None = None
    """False at padding (and at rows whose text has ended); None: no padding."""

    token_ids: Int[Tensor, "batch time"] | None = None
    """The tokens in these columns; None for images and plain vectors."""

    position: Int[Tensor, "batch time"] | None = None
    """Index in the sample's own token sequence, as in ``acts.position``; −1 at padding."""

    prompt_length: Int[Tensor, " batch"] | None = None
    """Tokens of each row's prompt without padding; of the whole row in a plain forward pass."""

    sample: Int[Tensor, "batch time"] | None = None
    """Running index of the sample each column belongs to; −1 at padding."""

    @property
    def n_columns(self) -> int | None:
        """How many columns this state describes; None where the model decides (images)."""
        shaped = self.token_ids if self.token_ids is not None else self.keep
        return None if shaped is None else shaped.shape[1]


Backend = Literal["nnsight", "hooks"]
BACKENDS: tuple[Backend, ...] = ("nnsight", "hooks")

Edit = Callable[[Tensor, RunState], Tensor]
"""(activations of shape (batch, time, d), where they are) → edited activations of the same shape."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """One edit at one hook point; active while it is in ``model.interventions``."""

    hook_point: HookPoint
    edit: Edit
    backend: Backend = "hooks"
    """How it gets into the pass; both ways give the same numbers."""


def run_edited(
    model: LiveModel, args: tuple[Any, ...], kwargs: dict[str, Any], states: Sequence[RunState]
) -> Any:
    """Run the module once under the active edits; the caller holds ``model.lock``.

    One edit that asks for nnsight puts all of them into the trace, so that their order holds.
    """
    if any(intervention.backend == "nnsight" for intervention in model.interventions):
        return _run_traced(model, args, kwargs, states)
    with installed(model, states):
        return model.module(*args, **kwargs)


@contextmanager
def installed(model: LiveModel, states: RunState | Sequence[RunState]) -> Iterator[None]:
    """Apply the model's interventions to the forward passes inside the block, in their order.

    Plain forward hooks, present only inside the block; the caller holds ``model.lock``.
    """
    stretches = (states,) if isinstance(states, RunState) else tuple(states)
    handles: list[RemovableHandle] = []
    try:
        # Prepended, so that hooks of the user's own see the edited value, as they do under nnsight;
        # the last one first, so that the first edit runs first.
        for intervention in reversed(tuple(model.interventions)):
            check_writable(intervention.hook_point)
            module = model.get_module(intervention.hook_point.path)
            handles.append(_attach(module, intervention, stretches))
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_writable(point: HookPoint) -> None:
    """Refuse to edit a hook point where an edit would reach only part of the network."""
    if not point.writable:
        raise ValueError(
            f'"{point}" can be read but not edited: the module there sees one of two uses of this '
            f'value. Edit "attn_out.{point.layer}" (its sum with resid_pre is this value) or '
            f'"resid_post.{point.layer}".'
        )


def edited(value: Any, edits: Iterable[Intervention], stretches: Sequence[RunState]) -> Any:
    """Return what a module gave or got with edits applied, in their order."""
    for edit in edits:
        new = _edited(read_tensor(value, edit.hook_point), edit, stretches)
        value = replace_tensor(value, new, edit.hook_point)
    return value


def _edited(x: Tensor, intervention: Intervention, stretches: Sequence[RunState]) -> Tensor:
    """Return `x` with one intervention applied, stretch of columns by stretch of columns.

    Vectors without a time axis are shown to the edit as (batch, 1, d), and rows of a flattened
    batch (OPT's MLP) as (batch, time, d); what comes back has the shape of `x`.
    """
    tokens = with_time_axis(x, stretches)
    if len(stretches) == 1:
        new = _checked(intervention.edit(tokens, stretches[0]), tokens, intervention)
    else:
        widths = [state.n_columns or 0 for state in stretches]
        parts = [
            _checked(intervention.edit(part, state), part, intervention)
            for part, state in zip(torch.split(tokens, widths, dim=1), stretches, strict=True)
        ]
        new = torch.cat(parts, dim=1)
    return new.reshape(x.shape)


def with_time_axis(x: Tensor, stretches: Sequence[RunState]) -> Tensor:
    """Return rows without a time axis as (batch, time, d); anything else as it is."""
    if x.ndim != 2:
        return x
    widths = [state.n_columns for state in stretches]
    if None not in widths:
        n_columns = sum(width or 0 for width in widths)
        first = stretches[0]
        shaped = first.token_ids if first.token_ids is not None else first.keep
        if shaped is not None and x.shape[0] == shaped.shape[0] * n_columns:
            return x.view(shaped.shape[0], n_columns, x.shape[1])
    return x[:, None, :]


def _attach(
    module: nn.Module, intervention: Intervention, stretches: Sequence[RunState]
) -> RemovableHandle:
    point = intervention.hook_point

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        return edited(output, (intervention,), stretches)

    def before(
        _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        where = first_input(args, kwargs, point)
        if isinstance(where, int):
            return (edited(args[0], (intervention,), stretches), *args[1:]), dict(kwargs)
        return args, {**kwargs, where: edited(kwargs[where], (intervention,), stretches)}

    if point.side == "input":
        return module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    return module.register_forward_hook(after, prepend=True)


# nnsight's wrapper for traces of our own, which passes arguments through untouched. One per model:
# wrapping exchanges `forward` on every submodule.
_WRAPPERS: weakref.WeakKeyDictionary[LiveModel, tuple[Any, dict[int, Any]]] = (
    weakref.WeakKeyDictionary()
)


def own_wrapper(model: LiveModel) -> tuple[Any, dict[int, Any]]:
    """Return nnsight's wrapper and its envoy of every module, by the module's id.

    Not by path: a module called "output", as in BERT, cannot be reached by its own name.
    """
    from nnsight import NNsight

    known = _WRAPPERS.get(model)
    if known is None or any(id(module) not in known[1] for module in model.module.modules()):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*which nnsight already serves", module="nnsight"
            )
            wrapper = NNsight(model.module)
        envoys = {id(envoy._module): envoy for envoy in wrapper.modules()}
        known = _WRAPPERS[model] = wrapper, envoys
    return known


def _run_traced(
    model: LiveModel, args: tuple[Any, ...], kwargs: dict[str, Any], states: Sequence[RunState]
) -> Any:
    """Run the module once with the active edits written in a trace: the twin of `installed`."""
    places: dict[tuple[str, Side], list[Intervention]] = {}
    for intervention in tuple(model.interventions):
        point = intervention.hook_point
        check_writable(point)
        places.setdefault((point.path, point.side), []).append(intervention)
    wrapper, envoys = own_wrapper(model)
    raw: list[Any] = []
    with wrapper.trace() as tracer:
        with tracer.invoke(*args, **kwargs):
            pass
        # Invokes wait for their modules independently, so no order between places is needed.
        for (path, side), edits in places.items():
            envoy = envoys[id(model.get_module(path))]
            with tracer.invoke():
                _write(envoy, side, edits, states)
        with tracer.invoke():
            raw.append(wrapper.output)
    return raw[0]


def _write(
    envoy: Any, side: Side, edits: Sequence[Intervention], states: Sequence[RunState]
) -> None:
    """Wait for a module inside a trace and exchange what it gave, or got, for the edited."""
    if side == "output":
        envoy.output = edited(envoy.output, edits, states)
        return
    args, kwargs = envoy.inputs
    where = first_input(args, kwargs, edits[0].hook_point)
    if isinstance(where, int):
        envoy.inputs = ((edited(args[0], edits, states), *args[1:]), kwargs)
    else:
        envoy.inputs = (args, {**kwargs, where: edited(kwargs[where], edits, states)})


def _checked(new: Any, old: Tensor, intervention: Intervention) -> Tensor:
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(
            f'An edit must return the shape it was given, {tuple(old.shape)} at "'
            f'{intervention.hook_point}", got {got}. Return x with only its values changed.'
        )
    return new.to(dtype=old.dtype, device=old.device)

"""Read activations from a live model: the one module, besides steering, that opens nnsight traces.

Every `with … trace` body stays here, on lines of its own: nnsight reads its source from this file.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.capturing._forward_pass import (
    ForwardPass,
    Place,
    Take,
    module_input,
    never_ran,
    run_with_hooks,
)
from sae_nb.capturing._remote import run_remotely
from sae_nb.models import (
    HookPoint,
    Intervention,
    check_writable,
    edited,
    installed,
    read_tensor,
    replace_tensor,
)

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel


Backend = Literal["nnsight", "hooks"]
BACKENDS = ("nnsight", "hooks")

# nnsight's wrappers: a plain one for our own traces, which passes arguments through untouched, and
# the one people get as `model.nnsight`.
_OWN: weakref.WeakKeyDictionary[LiveModel, tuple[Any, dict[int, Any]]] = weakref.WeakKeyDictionary()

# In which order a model reaches the places of one set, from the first pass on.
_ORDERS: weakref.WeakKeyDictionary[LiveModel, dict[frozenset[Place], list[Place]]] = (
    weakref.WeakKeyDictionary()
)


def run_hooked(
    model: LiveModel,
    batch: Batch,
    points: Sequence[str],
    *,
    backend: Backend = "nnsight",
    stop_early: bool = True,
) -> dict[str, Tensor]:
    """Run one batch and return the activations at some hook points.

    Values are copies without gradient, on the model's device. Edits that are active (`steer`,
    `ablate`) are applied, and seen, also at the very hook points that are read. A module that runs
    several times in one pass is read at its first run.
    """
    saved: dict[str, Tensor] = {}

    def take(name: str, value: Tensor) -> None:
        saved[name] = value.clone()

    resolved = {str(name): model.hook_point(name) for name in points}
    read_batch(model, batch, resolved, take, backend=backend, stop_early=stop_early)
    return {str(name): saved[str(name)] for name in points}


def read_batch(
    model: LiveModel,
    batch: Batch,
    points: Mapping[str, HookPoint],
    take: Take,
    *,
    backend: Backend = "nnsight",
    stop_early: bool = True,
) -> None:
    """Run one batch and hand each activation to `take` while the model is at that hook point."""
    places: dict[Place, list[tuple[str, HookPoint]]] = {}
    for name, point in points.items():
        places.setdefault((point.path, point.side), []).append((name, point))
    pass_ = ForwardPass(batch.to(model.device), places, take, stop_early)
    run = _way(model, backend)
    with model.lock, torch.inference_mode(False), torch.no_grad():
        run(model, pass_)
    if pass_.left:
        raise never_ran(pass_.left)


def _way(model: LiveModel, backend: Backend) -> Callable[[LiveModel, ForwardPass], None]:
    if not model.remote:
        return _run_traced if backend == "nnsight" else run_with_hooks
    if backend != "nnsight":
        raise ValueError(
            f"`backend` must be 'nnsight' for {model.name!r}, which runs remotely, got {backend!r}. "
            "Leave it out."
        )
    return run_remotely


def _run_traced(model: LiveModel, pass_: ForwardPass) -> None:
    from nnsight.intervention.interleaver import OutOfOrderError

    wrapper, envoys = _own_wrapper(model)
    elsewhere, here = _edits_by_place(model, pass_.places)
    modules = {place: model.get_module(place[0]) for place in pass_.places}
    readers = {
        place: _Reader(envoys[id(module)], place, here.get(place, ()), pass_)
        for place, module in modules.items()
    }
    with installed(cast("LiveModel", elsewhere), pass_.state):
        try:
            if not _traced_in_known_order(model, wrapper, pass_, readers):
                _trace_in_any_order(wrapper, pass_, list(readers.values()))
        except OutOfOrderError as error:
            raise never_ran(pass_.left) from error
    if len({(id(module), place[1]) for place, module in modules.items()}) == len(modules):
        # A module under two paths is left out: its second reading would wait for its second run.
        _ORDERS.setdefault(model, {})[frozenset(readers)] = pass_.order


def _traced_in_known_order(
    model: LiveModel,
    wrapper: Any,
    pass_: ForwardPass,
    readers: Mapping[Place, _Reader],
) -> bool:
    from nnsight.intervention.interleaver import OutOfOrderError

    order = list(readers) if len(readers) == 1 else _ORDERS.get(model, {}).get(frozenset(readers))
    if order is None:
        return False
    try:
        _trace_in_order(wrapper, pass_, [readers[place] for place in order])
    except OutOfOrderError:
        # Modules that ran in this order before did not now, and edits may have been missed.
        pass_.restart()
        return False
    return True


class _Reader:
    """Waits for one module inside a trace, edits what it gives if asked to, and hands it on."""

    def __init__(
        self,
        envoy: Any,
        place: Place,
        edits: Sequence[Intervention],
        pass_: ForwardPass,
    ) -> None:
        self._envoy, self._place, self._edits, self._pass = envoy, place, edits, pass_

    def read(self) -> None:
        """Wait, edit, hand on."""
        if self._place[1] == "input":
            args, kwargs = self._envoy.inputs
            value = module_input(args, kwargs, self._pass.places[self._place][0][1])
        else:
            value = self._envoy.output
            for edit in self._edits:
                new = edited(read_tensor(value, edit.hook_point), edit, (self._pass.state,))
                value = replace_tensor(value, new, edit.hook_point)
            if self._edits:
                self._envoy.output = value
        self._pass.see(self._place, value)


def _trace_in_order(wrapper: Any, pass_: ForwardPass, readers: Sequence[_Reader]) -> None:
    with wrapper.trace(*pass_.batch.args, **pass_.batch.kwargs) as tracer:
        for reader in readers:
            reader.read()
        if pass_.complete:
            tracer.stop()


def _trace_in_any_order(wrapper: Any, pass_: ForwardPass, readers: Sequence[_Reader]) -> None:
    # Within one body values must be read in the order in which modules run, which nobody knows for
    # a module of the user's own. Invokes wait independently, so each place gets one. That costs 5 %
    # of a forward pass at 12 places of a small ViT, so the order found is used from then on.
    with wrapper.trace() as tracer:
        with tracer.invoke(*pass_.batch.args, **pass_.batch.kwargs):
            pass
        for reader in readers:
            with tracer.invoke():
                reader.read()
                if pass_.complete:
                    tracer.stop()


def _edits_by_place(
    model: LiveModel, places: Mapping[Place, Any]
) -> tuple[SimpleNamespace, dict[Place, list[Intervention]]]:
    # nnsight reads a module's output before that module's forward hooks run (measured, 0.8.1), so
    # an edit at an output that is read has to happen in the trace. All others are hooks as always.
    here: dict[Place, list[Intervention]] = {}
    elsewhere: list[Intervention] = []
    for intervention in tuple(model.interventions):
        point = intervention.hook_point
        if point.side == "output" and (point.path, "output") in places:
            check_writable(point)
            here.setdefault((point.path, "output"), []).append(intervention)
        else:
            elsewhere.append(intervention)
    return SimpleNamespace(interventions=elsewhere, get_module=model.get_module), here


def _own_wrapper(model: LiveModel) -> tuple[Any, dict[int, Any]]:
    """Return nnsight's wrapper and its envoy of every module, by the module's id.

    Not by path: a module called "output", as in BERT, cannot be reached by its own name.
    """
    from nnsight import NNsight

    known = _OWN.get(model)
    if known is None or any(id(module) not in known[1] for module in model.module.modules()):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*which nnsight already serves", module="nnsight"
            )
            wrapper = NNsight(model.module)
        known = _OWN[model] = wrapper, {id(envoy._module): envoy for envoy in wrapper.modules()}
    return known


class CaptureKeywords(TypedDict, total=False):
    """The keywords of `capture`, for its two overloads."""

    batch_size: int | None
    store: str | Path | None
    drop_first: bool | Literal["auto"]
    context_length: int | None
    pack: bool
    add_bos: bool | Literal["auto"]
    keep_special: bool
    dtype: torch.dtype | None
    max_rows: int | None
    backend: Backend
    shard_rows: int | None
    progress: bool | Callable[[Any], Any]


@overload
def capture(
    model: LiveModel, inputs: Any, hook_points: str, **options: Unpack[CaptureKeywords]
) -> Activations: ...
@overload
def capture(
    model: LiveModel, inputs: Any, hook_points: Iterable[str], **options: Unpack[CaptureKeywords]
) -> dict[str, Activations]: ...
def capture(
    model: LiveModel,
    inputs: Any,
    hook_points: str | Iterable[str],
    *,
    batch_size: int | None = None,
    store: str | Path | None = None,
    drop_first: bool | Literal["auto"] = "auto",
    context_length: int | None = None,
    pack: bool = False,
    add_bos: bool | Literal["auto"] = "auto",
    keep_special: bool = True,
    dtype: torch.dtype | None = None,
    max_rows: int | None = None,
    backend: Backend = "nnsight",
    shard_rows: int | None = None,
    progress: bool | Callable[[Any], Any] = True,
) -> Activations | dict[str, Activations]:
    """Run a live model over inputs and return its activations, one row per token or patch.

    Several hook points are read in one pass, and no pass goes further than the last of them. Padding
    is always dropped; `acts.context.policy` and the repr state what else was dropped, cut or packed.
    Edits that are active (`steer`, `ablate`) are seen. Several hook points give a dict by the names given. In
    memory, KeyboardInterrupt returns what is there, with a warning.

    Parameters
    ----------
    model
        From `load_model` or `wrap`.
    inputs
        Texts, token ids, pictures, tensors, or any iterable of them.
    hook_points
        One name, or several. Standard names, TransformerLens names and module paths.
    batch_size
        Samples (packed windows) per forward pass; None: 8 texts, 64 of anything else.
    store
        A folder to write to, in shards of bounded size. If the process is killed or interrupted,
        the same call goes on where it stopped, and the result is bit-equal; another call is refused.
    drop_first
        Drop the first token of each text or window, and BOS. "auto": for decoder language models,
        whose first token is an attention sink.
    context_length
        Tokens after which a text is cut. None: the model's own limit.
    pack
        Join texts into windows of `context_length` tokens instead of padding them.
    add_bos
        Put BOS before each text; "auto": as the tokenizer does.
    keep_special
        Keep special tokens other than BOS (class, separator, end of text).
    dtype
        Precision of the rows; None: the model's.
    max_rows
        Stop after so many rows.
    backend
        "nnsight", or "hooks": plain forward hooks, the same values without nnsight. (What hooks of
        your own make of an output, nnsight sees from the next module on, "hooks" at once.)
    shard_rows
        Rows per file of a store; None: 64 MiB worth.
    progress
        Show a bar; or a function that gets a `CaptureRecord` after every batch.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point; the near names are listed.
    ValueError: If inputs are empty, an activation holds NaN or infinity (hook point, row and token are
        named), or `store` holds another capture.
    MemoryError: If the rows would not fit in memory.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    >>> acts = capture(model, torch.ones(4, 3), "0", progress=False)
    >>> acts.x.shape, acts.hook_point
    (torch.Size([4, 2]), '0')
    """
    from sae_nb.capturing._batch_rows import CaptureSettings, Harvest, capture_in_memory
    from sae_nb.capturing._resumable import capture_to_store

    several = not isinstance(hook_points, str)
    points = _resolved(model, [hook_points] if isinstance(hook_points, str) else hook_points)
    settings = CaptureSettings.for_model(
        model,
        drop_first=drop_first,
        keep_special=keep_special,
        batch_size=batch_size,
        context_length=context_length,
        pack=pack,
        add_bos=add_bos,
        dtype=dtype,
        max_rows=max_rows,
        backend=backend,
    )
    harvest = Harvest(model, points, settings)
    # Never in inference mode, even when called there: no SAE could be trained on such tensors.
    with torch.inference_mode(False):
        if store is None:
            acts = capture_in_memory(harvest, inputs, progress)
        else:
            acts = capture_to_store(harvest, inputs, store, shard_rows, several, progress)
    return acts if several else next(iter(acts.values()))


def _resolved(model: LiveModel, names: Iterable[str]) -> dict[str, HookPoint]:
    if not hasattr(model, "hook_point"):
        raise TypeError(
            f"`model` must be a live model, got {type(model).__name__}. Use sae_nb.wrap(module), or "
            "sae_nb.load_model(name)."
        )
    points = {str(name): model.hook_point(name) for name in names}
    if not points:
        raise ValueError(
            'Name at least one hook point, e.g. "resid_post.0"; `model.hook_points()` lists them.'
        )
    return points

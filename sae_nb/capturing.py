"""Read activations from a live model: the one module, besides steering, that opens nnsight traces.

Every `with … trace` body stays here, on lines of its own: nnsight reads its source from this file.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import torch
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.hook_points import HookPoint, first_input, read_tensor, replace_tensor
from sae_nb.models.interventions import (
    Intervention,
    RunState,
    check_writable,
    edited,
    installed,
)

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

Backend = Literal["nnsight", "hooks"]
BACKENDS = ("nnsight", "hooks")

# nnsight's wrappers: a plain one for our own traces, which passes arguments through untouched, and
# the one people get as `model.nnsight`.
_OWN: weakref.WeakKeyDictionary[LiveModel, tuple[Any, dict[int, Any]]] = weakref.WeakKeyDictionary()
_PUBLIC: weakref.WeakKeyDictionary[LiveModel, Any] = weakref.WeakKeyDictionary()


class _Enough(BaseException):
    """Ends a forward pass once everything asked for is there; no `except Exception` may catch it."""


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

    Parameters
    ----------
    model
        The live model; its lock is held meanwhile.
    batch
        One item of `model.batches(...)`.
    points
        Hook points, by name.
    backend
        "nnsight", or "hooks": plain forward hooks, the same values without nnsight.
    stop_early
        End the pass once the last value is there.

    Returns
    -------
    From the name as given to the tensor, as the module gave it.

    Raises
    ------
    ValueError
        If a hook point's module does not run on these inputs.
    """
    wanted = {str(name): model.hook_point(name) for name in points}
    batch = batch.to(model.device)
    sites: dict[tuple[str, str], list[tuple[str, HookPoint]]] = {}
    for name, point in wanted.items():
        sites.setdefault((point.path, point.side), []).append((name, point))
    run = _run_traced if backend == "nnsight" else _run_with_hooks
    with model.lock, torch.no_grad():
        return run(model, batch, sites, stop_early)


Sites = Mapping[tuple[str, str], Sequence[tuple[str, HookPoint]]]


def _run_with_hooks(
    model: LiveModel, batch: Batch, sites: Sites, stop_early: bool
) -> dict[str, Tensor]:
    saved: dict[str, Tensor] = {}
    n_wanted = sum(map(len, sites.values()))
    handles = []
    with installed(model, batch.state()):
        try:
            for (path, side), names in sites.items():
                keep = _keeper(saved, names, n_wanted, stop_early)
                handles.append(_listen(model.get_module(path), side, names[0][1], keep))
            model.module(*batch.args, **batch.kwargs)
        except _Enough:
            return saved
        finally:
            for handle in handles:
                handle.remove()
    return _complete(saved, sites)


def _keeper(
    saved: dict[str, Tensor], names: Sequence[tuple[str, HookPoint]], n_wanted: int, stop: bool
) -> Callable[[Any], None]:
    def keep(value: Any) -> None:
        for name, point in names:
            if name not in saved:
                saved[name] = read_tensor(value, point).detach().clone()
        if stop and len(saved) == n_wanted:
            raise _Enough

    return keep


def _listen(module: nn.Module, side: str, point: HookPoint, keep: Callable[[Any], None]) -> Any:
    if side == "output":
        return module.register_forward_hook(lambda _module, _args, output: keep(output))

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        where = first_input(args, kwargs, point)
        keep(args[0] if isinstance(where, int) else kwargs[where])

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _run_traced(
    model: LiveModel, batch: Batch, sites: Sites, stop_early: bool
) -> dict[str, Tensor]:
    from nnsight.intervention.interleaver import OutOfOrderError

    wrapper, envoys = _own_wrapper(model)
    state = batch.state()
    elsewhere, here = _edits_by_place(model, sites)
    with installed(cast("LiveModel", elsewhere), state):
        readers = [
            _Reader(
                envoys[id(model.get_module(path))], side, names, here.get((path, side), ()), state
            )
            for (path, side), names in sites.items()
        ]
        trace = _trace_one if len(readers) == 1 else _trace_many
        try:
            saved = trace(wrapper, batch, readers, stop_early)
        except OutOfOrderError as error:
            raise _never_ran(sites, {}) from error
    return _complete(saved, sites)


class _Reader:
    """Reads one module's output or input inside a trace, edits it if asked to, and copies it."""

    def __init__(
        self,
        envoy: Any,
        side: str,
        names: Sequence[tuple[str, HookPoint]],
        edits: Sequence[Intervention],
        state: RunState,
    ) -> None:
        self.envoy, self.side, self.names = envoy, side, names
        self.edits, self.state = edits, state

    def read(self) -> dict[str, Tensor]:
        """Wait for the module, and return copies by name."""
        if self.side == "input":
            args, kwargs = self.envoy.inputs
            where = first_input(args, kwargs, self.names[0][1])
            value = args[0] if isinstance(where, int) else kwargs[where]
        else:
            value = self.envoy.output
            for edit in self.edits:
                new = edited(read_tensor(value, edit.hook_point), edit, (self.state,))
                value = replace_tensor(value, new, edit.hook_point)
            if self.edits:
                self.envoy.output = value
        # nnsight hands out the live tensor: what a later module does to it in place would show.
        return {name: read_tensor(value, point).detach().clone() for name, point in self.names}


def _trace_one(
    wrapper: Any, batch: Batch, readers: Sequence[_Reader], stop_early: bool
) -> dict[str, Tensor]:
    saved: dict[str, Tensor] = {}
    reader = readers[0]
    with wrapper.trace(*batch.args, **batch.kwargs) as tracer:
        saved.update(reader.read())
        if stop_early:
            tracer.stop()
    return saved


def _trace_many(
    wrapper: Any, batch: Batch, readers: Sequence[_Reader], stop_early: bool
) -> dict[str, Tensor]:
    # Within one body values must be read in the order in which modules run, which nobody knows for
    # a module of the user's own. Invokes wait independently, so each place gets one: 0.5 ms more.
    saved: dict[str, Tensor] = {}
    left = [len(readers)]
    with wrapper.trace() as tracer:
        with tracer.invoke(*batch.args, **batch.kwargs):
            pass
        for reader in readers:
            with tracer.invoke():
                saved.update(reader.read())
                left[0] -= 1
                if stop_early and not left[0]:
                    tracer.stop()
    return saved


def _edits_by_place(
    model: LiveModel, sites: Sites
) -> tuple[SimpleNamespace, dict[tuple[str, str], list[Intervention]]]:
    # nnsight reads a module's output before that module's forward hooks run (measured, 0.8.1), so
    # an edit at an output that is read has to happen in the trace. All others are hooks as always.
    here: dict[tuple[str, str], list[Intervention]] = {}
    elsewhere: list[Intervention] = []
    for intervention in tuple(model.interventions):
        point = intervention.hook_point
        if point.side == "output" and (point.path, "output") in sites:
            check_writable(point)
            here.setdefault((point.path, "output"), []).append(intervention)
        else:
            elsewhere.append(intervention)
    return SimpleNamespace(interventions=elsewhere, get_module=model.get_module), here


def _complete(saved: dict[str, Tensor], sites: Sites) -> dict[str, Tensor]:
    if len(saved) < sum(map(len, sites.values())):
        raise _never_ran(sites, saved)
    return saved


def _never_ran(sites: Sites, saved: Mapping[str, Tensor]) -> ValueError:
    names = [f"`{name}`" for group in sites.values() for name, _ in group if name not in saved]
    some = "Hook point" if len(names) == 1 else "One of the hook points"
    return ValueError(
        f"{some} {', '.join(names)} must run when the model reads these inputs, but did not. Choose "
        "another one; `model.hook_points()` lists those of every forward pass."
    )


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


def nnsight_object(model: LiveModel) -> Any:
    """Return the model wrapped by nnsight, for traces of one's own; language models take text.

    The same object every time. Hold `model.lock` around a trace where other threads use the model:
    nnsight is not thread-safe.
    """
    if model not in _PUBLIC:
        _PUBLIC[model] = _wrapped(model)
    return _PUBLIC[model]


def _wrapped(model: LiveModel) -> Any:
    from nnsight import NNsight, TransformersModel
    from transformers import PreTrainedModel

    is_text = model.tokenizer is not None and isinstance(model.module, PreTrainedModel)
    if model.kind != "language" or not is_text:
        return NNsight(model.module)
    task = "text-generation" if model.causal else "feature-extraction"
    return TransformersModel(model.module, tokenizer=model.tokenizer, task=task)


@overload
def capture(
    model: LiveModel,
    inputs: Any,
    hook_points: str,
    *,
    batch_size: int | None = ...,
    store: str | Path | None = ...,
    drop_first: bool | Literal["auto"] = ...,
    context_length: int | None = ...,
    pack: bool = ...,
    add_bos: bool | Literal["auto"] = ...,
    keep_special: bool = ...,
    dtype: torch.dtype | None = ...,
    max_rows: int | None = ...,
    backend: Backend = ...,
    shard_rows: int | None = ...,
    progress: bool | Callable[[Any], Any] = ...,
) -> Activations: ...
@overload
def capture(
    model: LiveModel,
    inputs: Any,
    hook_points: Iterable[str],
    *,
    batch_size: int | None = ...,
    store: str | Path | None = ...,
    drop_first: bool | Literal["auto"] = ...,
    context_length: int | None = ...,
    pack: bool = ...,
    add_bos: bool | Literal["auto"] = ...,
    keep_special: bool = ...,
    dtype: torch.dtype | None = ...,
    max_rows: int | None = ...,
    backend: Backend = ...,
    shard_rows: int | None = ...,
    progress: bool | Callable[[Any], Any] = ...,
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
    Edits that are active (`steer`, `ablate`) are seen.

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
        A folder to write to, in shards of bounded size. If the process is killed, the same call
        goes on where it stopped, and the result is bit-equal; another call is refused.
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
        "nnsight", or "hooks": plain forward hooks, the same values without nnsight.
    shard_rows
        Rows per file of a store; None: 64 MiB worth.
    progress
        Show a bar; or a function that gets a `CaptureRecord` after every batch.

    Returns
    -------
    Activations, or a dict by the names given where several hook points were asked for.

    Raises
    ------
    HookPointNotFound
        If the model has no such hook point; the near names are listed.
    ValueError
        If inputs are empty, an activation holds NaN or infinity (hook point, row and token are
        named), or `store` holds another capture.
    MemoryError
        If the rows would not fit in memory.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    >>> acts = capture(model, torch.ones(4, 3), "0", progress=False)
    >>> acts.x.shape, acts.hook_point
    (torch.Size([4, 2]), '0')
    """
    from sae_nb.harvesting import CaptureSettings, capture_in_memory
    from sae_nb.row_policy import RowPolicy

    several = not isinstance(hook_points, str)
    points = _resolved(model, [hook_points] if isinstance(hook_points, str) else hook_points)
    settings = CaptureSettings(
        policy=RowPolicy.for_model(model, drop_first=drop_first, keep_special=keep_special),
        batch_size=batch_size,
        context_length=context_length,
        pack=pack,
        add_bos=add_bos,
        dtype=dtype,
        max_rows=max_rows,
        backend=backend,
    )
    if store is not None:
        from sae_nb.resumable_capture import capture_to_store

        found = capture_to_store(
            model,
            inputs,
            points,
            settings,
            store,
            shard_rows=shard_rows,
            several=several,
            progress=progress,
        )
    else:
        found = capture_in_memory(model, inputs, points, settings, progress)
    return found if several else next(iter(found.values()))


def _resolved(model: LiveModel, names: Iterable[str]) -> dict[str, str]:
    if not hasattr(model, "hook_point"):
        raise TypeError(
            f"`model` must be a live model, got {type(model).__name__}. Use sae_nb.wrap(module), or "
            "sae_nb.load_model(name)."
        )
    points = {str(name): str(model.hook_point(name)) for name in names}
    if not points:
        raise ValueError(
            'Name at least one hook point, e.g. "resid_post.0"; `model.hook_points()` lists them.'
        )
    return points

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
from sae_nb.models.interventions import Intervention, check_writable, edited, installed

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
    saved: dict[str, Tensor] = {}

    def take(name: str, value: Tensor) -> None:
        saved[name] = value.clone()

    resolved = {str(name): model.hook_point(name) for name in points}
    read_batch(model, batch, resolved, take, backend=backend, stop_early=stop_early)
    return {str(name): saved[str(name)] for name in points}


Take = Callable[[str, Tensor], None]


def read_batch(
    model: LiveModel,
    batch: Batch,
    points: Mapping[str, HookPoint],
    take: Take,
    *,
    backend: Backend = "nnsight",
    stop_early: bool = True,
) -> None:
    """Run one batch and hand each activation to `take` while the model is at that hook point.

    Parameters
    ----------
    model, batch, backend, stop_early
        As for `run_hooked`.
    points
        Hook points of this model, by any name.
    take
        Called once per name with the live tensor, detached. It must copy what it keeps: a later
        module may work in place.

    Raises
    ------
    ValueError
        If a hook point's module does not run on these inputs.
    """
    places: dict[tuple[str, str], list[tuple[str, HookPoint]]] = {}
    for name, point in points.items():
        places.setdefault((point.path, point.side), []).append((name, point))
    pass_ = _Pass(batch.to(model.device), places, take, stop_early)
    run = _run_traced if backend == "nnsight" else _run_with_hooks
    with model.lock, torch.inference_mode(False), torch.no_grad():
        run(model, pass_)
    if pass_.left:
        raise _never_ran(pass_.left)


class _Pass:
    """One forward pass: where to read, what is still to come, and when it may end."""

    def __init__(
        self,
        batch: Batch,
        places: Mapping[tuple[str, str], Sequence[tuple[str, HookPoint]]],
        take: Take,
        stop_early: bool,
    ) -> None:
        self.batch, self.places, self.state = batch, places, batch.state()
        self.left = [name for names in places.values() for name, _ in names]
        self._take, self._stop_early = take, stop_early

    @property
    def complete(self) -> bool:
        """Whether nothing more is wanted of this pass."""
        return self._stop_early and not self.left

    def see(self, place: tuple[str, str], value: Any) -> None:
        """Hand on what a module gave or got; only the first time it runs."""
        for name, point in self.places[place]:
            if name in self.left:
                self._take(name, read_tensor(value, point).detach())
                self.left.remove(name)


def _run_with_hooks(model: LiveModel, pass_: _Pass) -> None:
    handles: list[Any] = []
    # Ours come after those of the edits, and so see what these made.
    with installed(model, pass_.state):
        try:
            handles.extend(
                _listen(model.get_module(place[0]), place, pass_) for place in pass_.places
            )
            model.module(*pass_.batch.args, **pass_.batch.kwargs)
        except _Enough:
            return
        finally:
            for handle in handles:
                handle.remove()


def _listen(module: nn.Module, place: tuple[str, str], pass_: _Pass) -> Any:
    def see(value: Any) -> None:
        pass_.see(place, value)
        if pass_.complete:
            raise _Enough

    if place[1] == "output":
        return module.register_forward_hook(lambda _module, _args, output: see(output))
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: see(_input(args, kwargs, pass_.places[place][0][1])),
        with_kwargs=True,
    )


def _input(args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint) -> Any:
    where = first_input(args, kwargs, point)
    return args[where] if isinstance(where, int) else kwargs[where]


def _run_traced(model: LiveModel, pass_: _Pass) -> None:
    from nnsight.intervention.interleaver import OutOfOrderError

    wrapper, envoys = _own_wrapper(model)
    elsewhere, here = _edits_by_place(model, pass_.places)
    with installed(cast("LiveModel", elsewhere), pass_.state):
        readers = [
            _Reader(envoys[id(model.get_module(place[0]))], place, here.get(place, ()), pass_)
            for place in pass_.places
        ]
        trace = _trace_one if len(readers) == 1 else _trace_many
        try:
            trace(wrapper, pass_, readers)
        except OutOfOrderError as error:
            raise _never_ran(pass_.left) from error


class _Reader:
    """Waits for one module inside a trace, edits what it gives if asked to, and hands it on."""

    def __init__(
        self,
        envoy: Any,
        place: tuple[str, str],
        edits: Sequence[Intervention],
        pass_: _Pass,
    ) -> None:
        self._envoy, self._place, self._edits, self._pass = envoy, place, edits, pass_

    def read(self) -> None:
        """Wait, edit, hand on."""
        if self._place[1] == "input":
            args, kwargs = self._envoy.inputs
            value = _input(args, kwargs, self._pass.places[self._place][0][1])
        else:
            value = self._envoy.output
            for edit in self._edits:
                new = edited(read_tensor(value, edit.hook_point), edit, (self._pass.state,))
                value = replace_tensor(value, new, edit.hook_point)
            if self._edits:
                self._envoy.output = value
        self._pass.see(self._place, value)


def _trace_one(wrapper: Any, pass_: _Pass, readers: Sequence[_Reader]) -> None:
    reader = readers[0]
    with wrapper.trace(*pass_.batch.args, **pass_.batch.kwargs) as tracer:
        reader.read()
        if pass_.complete:
            tracer.stop()


def _trace_many(wrapper: Any, pass_: _Pass, readers: Sequence[_Reader]) -> None:
    # Within one body values must be read in the order in which modules run, which nobody knows for
    # a module of the user's own. Invokes wait independently, so each place gets one: 0.5 ms more.
    with wrapper.trace() as tracer:
        with tracer.invoke(*pass_.batch.args, **pass_.batch.kwargs):
            pass
        for reader in readers:
            with tracer.invoke():
                reader.read()
                if pass_.complete:
                    tracer.stop()


def _edits_by_place(
    model: LiveModel, places: Mapping[tuple[str, str], Any]
) -> tuple[SimpleNamespace, dict[tuple[str, str], list[Intervention]]]:
    # nnsight reads a module's output before that module's forward hooks run (measured, 0.8.1), so
    # an edit at an output that is read has to happen in the trace. All others are hooks as always.
    here: dict[tuple[str, str], list[Intervention]] = {}
    elsewhere: list[Intervention] = []
    for intervention in tuple(model.interventions):
        point = intervention.hook_point
        if point.side == "output" and (point.path, "output") in places:
            check_writable(point)
            here.setdefault((point.path, "output"), []).append(intervention)
        else:
            elsewhere.append(intervention)
    return SimpleNamespace(interventions=elsewhere, get_module=model.get_module), here


def _never_ran(left: Sequence[str]) -> ValueError:
    some = "Hook point" if len(left) == 1 else "One of the hook points"
    return ValueError(
        f"{some} {', '.join(f'`{name}`' for name in left)} must run when the model reads these "
        "inputs, but did not. Choose another one; `model.hook_points()` lists those of every forward "
        "pass."
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

    Returns
    -------
    Activations, or a dict by the names given where several hook points were asked for. In memory,
    KeyboardInterrupt returns what is there, with a warning.

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
    from sae_nb.harvesting import CaptureSettings
    from sae_nb.memory_capture import capture_in_memory
    from sae_nb.resumable_capture import capture_to_store
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
    # Never in inference mode, even when called there: no SAE could be trained on such tensors.
    with torch.inference_mode(False):
        if store is None:
            found = capture_in_memory(model, inputs, points, settings, progress)
        else:
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
    return found if several else next(iter(found.values()))


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

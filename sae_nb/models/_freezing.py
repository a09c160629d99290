"""A forward pass in which attention patterns and norms' scales are constants: linear between its MLPs.

Attention goes through `scaled_dot_product_attention` or a softmax outside of MLPs, in every family, and is
held there. A norm is held by what it does: each module with vectors for weights, and each of torch's own
functions of norms, is tried where it runs (`_norms.tried`), and one that is a norm answers with its own gain
and bias at the scale that it had, γ ⊙ C x · s + b. Whether nothing is left that is not linear, a pass shows
(`Frozen.check`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sae_nb.models._answers import logit_cap, uncapped
from sae_nb.models._attention import attention_pattern
from sae_nb.models._attribute_patch import put_around
from sae_nb.models._interventions import own_wrapper
from sae_nb.models._norms import Norm, has_vectors_alone, tried

if TYPE_CHECKING:
    from sae_nb.models._hook_points import HookPoint
    from sae_nb.models._inputs import Batch
    from sae_nb.models._live_model import LiveModel

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
_SELECTIONS = (torch.topk, Tensor.topk)
_NORMS = (functional.layer_norm, functional.rms_norm, functional.normalize)

_STATE_AXES = 3  # (batch, places, d)

CLOSE = 0.02
"""Largest difference to a linear map, as a share of what it does: far above rounding, and below what a norm
that is not held makes of half a state, .5. Ours."""

COARSE = 0.15
"""The same in half precision."""


class _Scaled(NamedTuple):
    """A norm, and the scales that it had."""

    norm: Norm
    scale: Float[Tensor, "... 1"]

    def of(self, x: Tensor) -> Tensor:
        wide, scale = x.to(torch.promote_types(x.dtype, torch.float32)), self.scale
        if x.ndim < _STATE_AXES:  # tokens of all copies one after the other (OPT)
            scale = scale.repeat(len(x) // len(scale), 1)
        return (self.norm.through(wide) * scale + self.norm.bias).to(x.dtype)


class Frozen(TorchFunctionMode):
    """Holds attention patterns and norms' scales: as they come, or as another pass had them (`constants`).

    Without `attention`, norms' scales alone. The model is locked meanwhile.
    """

    def __init__(
        self,
        model: LiveModel,
        constants: Sequence[Tensor | _Scaled] | None = None,
        *,
        attention: bool = True,
    ) -> None:
        super().__init__()
        self._model, self._attention_held = model, attention
        self.n_patterns = 0
        """Attention patterns that were held."""

        self.n_norms = 0
        """Norms whose scales were held, one more each time that one runs."""

        self.constants: list[Tensor | _Scaled] = []
        """In the order in which they were computed."""

        self._given = None if constants is None else iter(constants)
        self.tries = False
        """Whether what is called now is tried alone, and nothing held."""

        self._n_open = self._n_mlps = 0
        """Modules that run now: those that may be norms, and MLPs."""

        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> Frozen:
        """Put what holds norms around the modules that may be some, beneath edits of them."""
        self._model.lock.acquire()
        try:
            own_wrapper(self._model)
            for part in self._model.module.modules():
                if _may_be_norm(part):
                    self._undo.append(put_around(part, partial(self._module, part), first=True))
            for point in points_of(self._model, "mlp_out"):
                mlp = self._model.get_module(point.path)
                self._undo.append(put_around(mlp, self._mlp, first=True))
            super().__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the modules as they were."""
        try:
            super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        finally:
            self._leave()

    def _leave(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._model.lock.release()

    def check(self, model: LiveModel, batch: Batch, cut: Sequence[str] = ("mlp_out",)) -> None:
        """Refuse what is not linear in its stream but at some kinds of hook point, while all else is held.

        A pass of three copies shows it: of the stream as it is, of none, and of half of it, which must lie in
        the midst at every block. What is computed at the hook points `cut` is put in the midst.

        Raises
        ------
        ValueError: If attention goes another way, or something that is held elsewhere is not here.
        """
        layers = model.n_layers or 0
        if self._attention_held and self.n_patterns < layers:
            raise ValueError(
                "Attention must be computed by torch's scaled_dot_product_attention or a softmax, at least "
                f"once a layer, to be frozen: {model.name} has {layers} layers, and {self.n_patterns} "
                'were seen. Load it with attn_implementation="sdpa", if its class can.'
            )
        known: set[object] = vars(model).setdefault("linear_where_cut", set())
        kind = (tuple(sorted(cut)), self._attention_held)
        if kind in known:
            return
        place, share = _bent(self, model, batch, cut)
        if not share <= _close(model):
            raise _not_linear(model, f"what reaches {place} is off by {share:.0%} of itself")
        known.add(kind)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Hold nothing in what is called meanwhile."""
        before, self.tries = self.tries, True
        try:
            yield
        finally:
            self.tries = before

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if self.tries:
            return func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(args, kwargs)
        if func in _SOFTMAX and not self._n_mlps:  # which of the experts answer is of their MLP
            self.n_patterns += 1
            if not self._attention_held:
                return self._passed(func, args, kwargs)
            return self._held(lambda: func(*args, **kwargs).detach())
        if func in _SELECTIONS and self._n_open:
            return self._selection(func, args, kwargs)
        if func in _NORMS:
            x = args[0] if args else kwargs["input"]
            rest = {name: value for name, value in kwargs.items() if name != "input"}
            with self.trying():
                return self._norm(lambda x: func(x, *args[1:], **rest), x, func(*args, **kwargs))
        return func(*args, **kwargs)

    def _held(self, compute: Callable[[], Any]) -> Any:
        """Return a constant, which is kept."""
        if self._given is None:
            constant = compute()
        elif (constant := next(self._given, None)) is None:
            raise ValueError(
                "A pass must compute attention and norms in the same order each time to be held, and this one "
                f'of {self._model.name} computes more of them. Ask for method="ablation" or "gradient".'
            )
        self.constants.append(constant)
        return constant

    def _selection(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return the values of the places that are held: a norm may pass on its largest alone."""
        own = func(*args, **kwargs)
        places = self._held(lambda: own.indices).expand_as(own.indices)
        x, dim = args[0], kwargs.get("dim", args[2] if len(args) > 2 else -1)
        return torch.return_types.topk((x.gather(dim, places), places))

    def _passed(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Compute as ever, and keep the place of the pattern among the constants."""
        self._held(lambda: torch.empty(0))
        return func(*args, **kwargs)

    def _attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self.n_patterns += 1
        if not self._attention_held:
            return self._passed(functional.scaled_dot_product_attention, args, kwargs)
        value = args[2] if len(args) > 2 else kwargs["value"]
        pattern = self._held(lambda: attention_pattern(args, kwargs).to(value.dtype))
        return pattern @ value.repeat_interleave(pattern.shape[-3] // value.shape[-3], -3)

    def _mlp(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self._n_mlps += 1
        try:
            return call(*args, **kwargs)
        finally:
            self._n_mlps -= 1

    def _module(
        self, module: nn.Module, call: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run a module that may be a norm; of one that is, at the scale that is held."""
        given = (*args, *kwargs.values())
        fits = len(given) == 1 and isinstance(given[0], Tensor) and _fits(module, given[0])
        before = self.n_norms
        self._n_open += fits
        try:
            y = call(*args, **kwargs)
        finally:
            self._n_open -= fits
        if self.tries or not fits or self.n_norms > before:  # what it is made of is held
            return y
        with self.trying():
            return self._norm(call, given[0], y)

    def _norm(self, call: Callable[[Tensor], Any], x: Tensor, y: Any) -> Any:
        """Return what a norm gives at the scale that is held; of another function what it gave."""
        if not isinstance(y, Tensor) or y.shape != x.shape or x.ndim < 2:
            return y
        found = self._found(call, x)
        if found is None:
            return y
        self.n_norms += 1
        held: _Scaled = self._held(lambda: _Scaled(found, _scale(found, x.detach(), y.detach())))
        return held.of(x)

    def _found(self, call: Callable[[Tensor], Any], x: Tensor) -> Norm | None:
        """Try a function on states of a form: tokens are alike, and by heads, another axis, it may differ."""
        if x.ndim != _STATE_AXES:
            return tried(call, x.new_empty(1, *x.shape[1:]))
        found = tried(call, x.new_empty(1, 2, x.shape[-1]))
        return found and Norm(found.gain[0, 0], found.bias[0, 0], found.centres)


def _scale(
    norm: Norm, x: Float[Tensor, "... d"], y: Float[Tensor, "... d"]
) -> Float[Tensor, "... 1"]:
    """Return s of y = γ ⊙ C x · s + b."""
    wide = torch.promote_types(x.dtype, torch.float32)
    through, own = norm.through(x.to(wide)), y.to(wide) - norm.bias
    size = through.square().sum(dim=-1, keepdim=True)
    return (through * own).sum(dim=-1, keepdim=True) / size.clamp_min(torch.finfo(wide).tiny)


def _may_be_norm(module: nn.Module) -> bool:
    """Whether its weights are vectors; of a part without parts of its own, they may be one by head."""
    known = (nn.Linear, nn.Embedding)
    alone = next(module.children(), None) is None and not isinstance(module, known)
    return alone or has_vectors_alone(module)


def _fits(module: nn.Module, x: Tensor) -> bool:
    """Whether each weight is a vector, or has the form of what is read, head by head."""
    shapes = (weight.shape for weight in module.parameters())
    return all(x.shape[x.ndim - len(s) :] == s or s.numel() == s[-1] for s in shapes if s)


def check_sum(parts: Float[Tensor, "..."], whole: Float[Tensor, "..."], model: LiveModel) -> None:
    """Refuse parts of a state, at a norm's held scale, that do not add up to it."""
    off = float((parts - whole).abs().max()) / max(float(whole.abs().max()), 1e-12)
    if not off <= _close(model):
        raise _not_linear(model, f"parts of what a head reads are off by {off:.0%} of it")


def _close(model: LiveModel) -> float:
    return CLOSE if model.dtype.itemsize >= 4 else COARSE


def _not_linear(model: LiveModel, why: str) -> ValueError:
    return ValueError(
        "With attention patterns and the scales of norms held, a model must be linear between its MLPs, and "
        f"{model.name} is not: {why}. A norm that is written into a block, or a gate, cannot be held. What the "
        'running model does can be asked: head_contributions(…, method="ablation" or "gradient"), path_patch.'
    )


def points_of(model: LiveModel, *kinds: str) -> list[HookPoint]:
    """Return the hook points of some kinds, not of an encoder."""
    return [
        point
        for point in model.hook_points()
        if not point.encoder and {point.kind, point.kind.removeprefix("decoder.")} & set(kinds)
    ]


@torch.no_grad()
def _bent(frozen: Frozen, model: LiveModel, batch: Batch, cut: Sequence[str]) -> tuple[str, float]:
    """Return where half of the stream lies furthest from the midst, as a share of what all of it does there."""
    from sae_nb.models._running import run

    def start(x: Tensor) -> Tensor:
        return torch.stack([x[0], torch.zeros_like(x[0]), 0.5 * x[0]])

    def midst(y: Tensor) -> Tensor:
        return torch.stack([y[0], y[1], 0.5 * (y[0] + y[1])])

    puts = [("resid_pre.0", start), *((str(point), midst) for point in points_of(model, *cut))]
    kinds = {"attn_out", "mlp_in", "resid_post", "final_norm"} - set(cut)
    seen = [str(p) for p in points_of(model, *kinds)]
    with Frozen(model, frozen.constants, attention=frozen._attention_held):
        ran = run(model, batch.copies(3), read=seen, put=puts, answer="end")
    reached = dict(ran.states)
    if ran.answer.kind == "next token":
        cap = logit_cap(model)
        logits = [uncapped(ran.answer.one(i), cap) for i in range(3)]
        reached["the answer"] = torch.stack(logits)
    worst = "", 0.0
    for place, x in reached.items():
        whole, none, half = x.float()
        does = float((whole - none).abs().max())
        off = float((half - 0.5 * (whole + none)).abs().max()) / max(does, 1e-12)
        if not off <= worst[1]:
            worst = place, off
    return worst

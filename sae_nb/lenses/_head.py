"""From the last block's output to the answer: final norm, pooling, and unembedding or class head.

A head is used only after it reproduced the model's own answer to an input. Its linear part,
W (γ ⊙ C d) with γ the norm's gain and C the centring of a layer norm (`models._norms`), leaves out the norm's
division by the size of the state: effects compare tokens, not directions. A masked language model has layers
of its own in place of the norm; their linear part is their mean derivative.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from sae_nb.activations.tokens import describe_ids
from sae_nb.checks import check_integer, shown
from sae_nb.models import HookPointNotFound
from sae_nb.models._answers import logit_cap, uncapped
from sae_nb.models._devices import no_weights
from sae_nb.models._norms import norm_of
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.models._norms import Norm

Pool = Literal["each", "cls", "mean"]
"""Places whose states the head reads: each on its own, cls alone, or the mean over patches."""

CLOSE = 1e-3
"""Largest difference to the model's own answer, as a share of the answer's spread."""


def reads_tokens(model: LiveModel) -> bool:
    """Return whether the stream that is answered from is one of tokens: a decoder's is, whatever it hears."""
    return model.modality.is_text or bool(model.streams)


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """The last part of a model, from the states after its last block to logits."""

    model: LiveModel
    last: str
    """Hook point whose states it reads."""

    norm: nn.Module | None
    """Before the projection; of a masked language model the layers of its head."""

    module: nn.Module
    """The projection: an unembedding or a class head."""

    pool: Pool
    name: str | None = None
    """Of one of several heads; None: the model's own answer."""

    scale: float = 1.0
    cap: float | None = None
    """Factor of the logits, and c in c · tanh(logits / c), as some families have them."""

    offset: Float[Tensor, "1 n_outputs"] | None = None
    """Added to the logits, where a family keeps it outside its projection (Bart, Marian)."""

    slope: Float[Tensor, "d_read d"] | None = None
    """Mean derivative of `norm`, where that is another thing than a norm."""

    @property
    def d(self) -> int:
        """Width of the states that it reads."""
        return (cast(Tensor, self.module.weight) if self.slope is None else self.slope).shape[1]

    @property
    def weight(self) -> Float[Tensor, "n_outputs d"]:
        """Rows of the projection, in fp32."""
        return cast(Tensor, self.module.weight).detach().float()

    def rows(self, ids: Int[Tensor, " n"] | int) -> Float[Tensor, "... d"]:
        """Return some rows of the projection, in fp32, without a copy of the others."""
        weight = cast(Tensor, self.module.weight).detach()
        return weight[ids.to(weight.device) if isinstance(ids, Tensor) else ids].float()

    @property
    def device(self) -> torch.device:
        """Where the projection is."""
        return cast(Tensor, self.module.weight).device

    @property
    def n_outputs(self) -> int:
        """Number of tokens or classes."""
        return len(self.module.weight)  # type: ignore[arg-type]

    def logits(self, states: Float[Tensor, "... d"]) -> Float[Tensor, "... n_outputs"]:
        """Return the answer to states as they are after the last block, in fp32."""
        weight, bias = cast(Tensor, self.module.weight), getattr(self.module, "bias", None)
        states = states.to(weight)
        with (
            self.model.lock
        ):  # another thread's hooks on the norm would read these states as its own
            normed = states if self.norm is None else self.norm(states)
        found = linear(normed, weight.detach(), None if bias is None else bias.detach()).float()
        found = found if self.scale == 1.0 else found * self.scale
        found = found if self.offset is None else found + self.offset.detach().float()
        return found if self.cap is None else self.cap * (found / self.cap).tanh()

    def log_probabilities(self, states: Float[Tensor, "... d"]) -> Float[Tensor, "... n_outputs"]:
        """Return log p of every token or class."""
        return self.logits(states).log_softmax(dim=-1)

    def through_norm(self, directions: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return γ ⊙ C d: a direction behind the norm, without the division by the state's size."""
        if self.slope is not None:
            return directions @ self.slope.to(directions).T
        return directions if self._linear is None else self._linear.through(directions)

    def before_norm(self, rows: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return the transpose of `through_norm` of rows: the direction that each reads before the norm."""
        if self.slope is not None:
            return rows @ self.slope.to(rows)
        return rows if self._linear is None else self._linear.before(rows)

    @cached_property
    def _linear(self) -> Norm | None:
        """The norm's gain and centring."""
        return norm_of(self.norm, self.d)

    def effects(self, directions: Float[Tensor, "n d"]) -> Float[Tensor, "n n_outputs"]:
        """Return W (γ ⊙ C d), the direct path from directions at the last block to the logits."""
        weight = self.weight
        return self.scale * (self.through_norm(directions.to(weight)) @ weight.T)

    # What an output is called.

    @property
    def _gives_tokens(self) -> bool:
        """Whether its outputs are tokens of a text, and not classes."""
        return reads_tokens(self.model) and self.n_outputs == self.model.vocabulary_size

    def names(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the text of tokens, or the names of classes."""
        ids = list(ids)
        if self._gives_tokens:
            tokenizer = self.model.tokenizer
            if tokenizer is None:
                return {i: str(i) for i in ids}
            return describe_ids(tokenizer, ids)
        classes = self.model.class_names
        if self.name is None and classes is not None and len(classes) == self.n_outputs:
            return {i: classes[i] for i in ids}
        return {i: str(i) for i in ids}

    def output(self, token: object) -> int:
        """Return the id of one token or class, given by its text, name or id.

        Raises
        ------
        ValueError, TypeError: If it is none, or the tokenizer splits it.
        """
        if not isinstance(token, str):
            index = check_integer(token, name="token")
            if not 0 <= index < self.n_outputs:
                raise ValueError(
                    f"`token` must be between 0 and {self.n_outputs - 1}, got {index}."
                )
            return index
        if self._gives_tokens and self.model.tokenizer is not None:
            plain = token.encode("utf-8", errors="replace").decode()  # no lone surrogates
            ids = self.model.tokenizer.encode(plain, add_special_tokens=False)
            if len(ids) == 1:
                return int(ids[0])
            parts = [self.names([i])[i] for i in ids]
            raise ValueError(
                f"`token` must be one token of {self.model.name}, got {token!r}, which are {len(ids)}: "
                f"{parts}. Choose one of them; most words begin with a space."
            )
        names = list(self.names(range(self.n_outputs)).values())
        if token in names:
            return names.index(token)
        raise ValueError(f"`token` must be one of the classes {names[:20]}, got {token!r}.")


# -------------------------------------------------------------------------------------------------
# Finding the head, and holding it against the model's answer.


def head_of(model: LiveModel, batch: Batch, name: str | None = None) -> Head:
    """Return the head of a model, after it gave the model's own answer to a batch.

    Raises
    ------
    ValueError: If the model has no blocks, or its answer is not a norm and one projection of states after
        the last block.
    """
    if model.n_layers is None:
        raise ValueError(
            f"`model` must have blocks for a lens to read, got {model.name}, which has none. Load one such as "
            "sn.load_model('tiny-gpt')."
        )
    last = f"resid_post.{model.n_layers - 1}"
    if model.remote:
        no_weights(model.name, "A lens")
    if reads_tokens(model):
        return _unembedding(model, batch, last, name)
    return _class_head(model, batch, last, name)


def direct_head(model: LiveModel) -> Head | None:
    """Return the head of a model of texts, held against its answer to a few tokens; None where it has none.

    Found once for each model.
    """
    known = vars(model)
    if "direct_head" not in known and model.modality.is_text:
        few = [[i % (model.vocabulary_size or 4) for i in range(1, 6)]]
        with suppress(
            ValueError, RuntimeError, TypeError, LookupError
        ):  # such as one that needs an image
            (batch,) = model.batches(few, batch_size=1)
            known["direct_head"] = head_of(model, batch)
    found: Head | None = known.get("direct_head")
    return found


def _final_norm(model: LiveModel) -> nn.Module | None:
    try:
        return model.get_module(model.hook_point("final_norm").path)
    except HookPointNotFound:  # the head reads the stream as it is
        return None


def _no_head(model: LiveModel, why: str) -> ValueError:
    return ValueError(
        f"`model` must answer with a projection of what its last block gives, and {model.name} does not: "
        f"{why}. Without an unembedding or class head a lens has nothing to read out; sn.dynamics shows how "
        "its states change over the blocks, and atoms have their examples."
    )


def _unembedding(model: LiveModel, batch: Batch, last: str, name: str | None) -> Head:
    if name is not None:
        raise ValueError(
            f"`head` is for classifiers with several heads, and {model.name} reads "
            f"{model.modality.reads}. Leave it out."
        )
    ran = run(model, batch, read=[last])
    if not ran.answer.by_token:
        raise _no_head(model, "it has no unembedding that predicts the next token")
    wanted, states = ran.answer.tensor.detach().float(), ran.states[last].detach()
    cap = logit_cap(model)
    keep = batch.keep.to(states.device) if batch.keep is not None else slice(None)
    states, wanted, norm = states[keep], wanted[keep], _final_norm(model)
    projections = list(_projections(model, wanted.shape[-1]))
    for module in projections:
        plain = Head(
            model=model, last=last, norm=norm, module=module, pool="each", cap=cap,
            offset=getattr(model.module, "final_logits_bias", None),
        )  # fmt: skip
        if plain.weight.shape[1] != states.shape[-1]:
            continue
        if (head := _scaled(plain, states, wanted)) is not None:
            return _with_slope(head, states)
    for module in projections:
        for between in _between(model, batch, module):
            layers = between if norm is None else nn.Sequential(norm, between)
            head = Head(model=model, last=last, norm=layers, module=module, pool="each")
            if _gives(head, states, wanted):
                return _with_slope(head, states)
    raise _no_head(
        model,
        "neither a norm and an unembedding of the last block's output nor layers of a masked language "
        "model's head between the two give its answer",
    )


def _projections(model: LiveModel, n_outputs: int) -> Iterator[nn.Module]:
    """Yield what may be the last projection: the stated unembedding, then linear layers behind the blocks."""
    find = getattr(model.module, "get_output_embeddings", None)
    stated = find() if callable(find) else None
    outside = (part for _, part in _outside(model) if isinstance(part, nn.Linear))
    for module in (stated, *outside):
        weight = getattr(module, "weight", None)
        fits = isinstance(weight, Tensor) and weight.ndim == 2 and len(weight) == n_outputs
        if fits and isinstance(module, nn.Module):
            yield module


def _outside(model: LiveModel) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules outside the blocks, by path."""
    blocks = "\0" if model.structure is None else f"{model.structure.blocks}."
    named = model.module.named_modules()
    return ((path, part) for path, part in named if not path.startswith(blocks))


# A masked language model's head: what runs between its blocks and the projection.


def _between(model: LiveModel, batch: Batch, projection: nn.Module) -> Iterator[nn.Module]:
    """Yield what may run between the blocks and the projection.

    A module that holds the projection, which is left out of a copy that shares its weights (BERT, RoBERTa);
    or the modules that run next to the projection, before it (DistilBERT, ELECTRA, ModernBERT).
    """
    blocks = "" if model.structure is None else model.structure.blocks
    path = next((path for path, part in _outside(model) if part is projection), "")
    while path := path.rpartition(".")[0]:
        if blocks.startswith(f"{path}."):
            break
        whole = model.module.get_submodule(path)
        shared = {id(x): x for x in (*whole.parameters(), *whole.buffers())}
        yield deepcopy(whole, {**shared, id(projection): nn.Identity()})
    yield nn.Sequential(*_before(model, batch, model.module.get_submodule(path), projection))


def _before(
    model: LiveModel, batch: Batch, parent: nn.Module, projection: nn.Module
) -> list[nn.Module]:
    """Return the children of a module that run after the one with the blocks and before the projection."""
    ran: list[nn.Module] = []
    hooks = [
        part.register_forward_hook(lambda part, *_: ran.append(part)) for part in parent.children()
    ]
    try:
        with model.lock, torch.no_grad():
            model.forward(batch)
    finally:
        for hook in hooks:
            hook.remove()
    blocks = None if model.structure is None else model.get_module(model.structure.blocks)
    first = [i for i, part in enumerate(ran) if any(one is blocks for one in part.modules())]
    end = next((i for i, part in enumerate(ran) if part is projection), 0)
    return ran[first[-1] + 1 : end] if first else []


def _gives(head: Head, states: Tensor, wanted: Tensor) -> bool:
    """Return whether a head gives the answer; one that cannot read such states does not."""
    try:
        with torch.no_grad():
            return _is_close(head.logits(states), wanted)
    except (RuntimeError, TypeError):  # shapes or arguments of something else
        return False


def _with_slope(head: Head, states: Float[Tensor, "rows d"]) -> Head:
    """Return a head with the mean derivative of its layers, where they are more than a norm."""
    if head.norm is None or norm_of(head.norm, head.d) is not None:
        return head
    return replace(head, slope=mean_slope(head, states))


def mean_slope(head: Head, states: Float[Tensor, "rows d"]) -> Float[Tensor, "d_read d"]:
    """Return the mean over states of the derivative of a head's own layers."""
    layers = cast(nn.Module, head.norm)
    with torch.enable_grad():
        x = states.detach().to(cast(Tensor, head.module.weight)).clone().requires_grad_()
        sums = layers(x).float().sum(dim=0)
        slopes = [torch.autograd.grad(one, x, retain_graph=True)[0].mean(dim=0) for one in sums]
    return torch.stack(slopes).float().cpu()


@torch.no_grad()
def _scaled(head: Head, states: Tensor, wanted: Tensor) -> Head | None:
    """Return the head if it gives the answer, as it is or with one factor (Cohere, Granite)."""
    found = head.logits(states)
    if _is_close(found, wanted):
        return head
    if found.shape != wanted.shape:
        return None
    found, cap = replace(head, cap=None).logits(states), head.cap
    free = uncapped(wanted, cap)
    factor = float((found * free).sum() / found.square().sum().clamp_min(1e-12))
    scaled = replace(head, scale=factor)
    return scaled if _is_close(scaled.logits(states), wanted) else None


def _is_close(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape:
        return False
    coarse = 30 if wanted.dtype != torch.float32 else 1
    spread = float((wanted - wanted.mean()).abs().max())
    return float((found - wanted).abs().max()) <= coarse * CLOSE * max(spread, 1e-12)


def _class_head(model: LiveModel, batch: Batch, last: str, name: str | None) -> Head:
    if model.structure is None:
        raise _no_head(model, "it has no blocks")
    inside = f"{model.structure.blocks}."
    several = name is not None
    if several and not callable(getattr(model.module, "forward_heads", None)):
        raise ValueError(f"`head` must be None for {model.name}, which has one, got {name!r}.")
    method = "forward_heads" if several else "__call__"
    plain = run(model, batch, read=[last], method=method)
    answer = plain.answer.heads.get(name) if name is not None else plain.answer.tensor
    if answer is None:
        raise ValueError(f"`head` must be one of {sorted(plain.answer.heads)}, got {shown(name)}.")
    states, wanted, norm = plain.states[last].detach(), answer.detach().float(), _final_norm(model)
    for path, module in model.module.named_modules():
        outside = not path.startswith(inside) and isinstance(module, nn.Linear)
        if not outside or wanted.ndim != 2 or module.weight.shape[0] != wanted.shape[1]:
            continue
        if module.weight.shape[1] != states.shape[-1]:
            continue
        for pool in ("cls", "mean"):
            head = Head(model=model, last=last, norm=norm, module=module, pool=pool, name=name)
            with torch.no_grad():
                if _is_close(head.logits(read := pooled(head, states)), wanted):
                    return _with_slope(head, read)
    raise _no_head(model, "no linear head of cls or of the patches' mean gives its answer")


def pooled(head: Head, states: Float[Tensor, "n places d"]) -> Float[Tensor, "n d"]:
    """Return the states that a class head reads; a mean is taken before the norm."""
    if head.pool == "cls":
        return states[:, 0]
    return states[:, head.model.prefix_tokens :].mean(dim=1)

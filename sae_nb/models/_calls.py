"""The columns of a call: given by a run of a live model, read off the arguments of other calls."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from sae_nb.models import _facts as facts


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Position of the columns that an edit sees, in a text or batch.

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
    """Tokens of each row's prompt without padding; of the whole row in a plain forward pass. None: images, and
    packed windows, where a text may go on in the next."""

    sample: Int[Tensor, "batch time"] | None = None
    """Running index of the sample each column belongs to; −1 at padding."""

    n_samples: int | None = None
    """Rows of the batch, where the model gets it whole."""

    role: Int[Tensor, "batch time"] | None = None
    """Author of each column's token, an index into ``activations.ROLES``; −1 in texts, None if all are."""

    encoder: RunState | None = None
    """Of an encoder–decoder: the state of the encoder's columns, where it runs too."""

    @property
    def n_columns(self) -> int | None:
        """Number of columns of this state; None if the model decides (images)."""
        shaped = self.token_ids if self.token_ids is not None else self.keep
        return None if shaped is None else shaped.shape[1]


class Calls:
    """Where the columns of a call of the whole module are, as far as its own arguments say; by thread.

    Calls with one cache belong together, and those that one `generate` makes.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._prompts: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def state(self, reads_text: bool) -> RunState | str:
        """Return the positions of the columns, or in a phrase why they are not known."""
        alone = "a call of a part of the model" if reads_text else RunState()
        state: RunState | str = vars(self._here).get("call", alone)
        return state

    def count(self, place: object) -> int:
        """Return how often a part ran before in this call, and count one more; 0 outside of a call."""
        runs: Counter[Any] = vars(self._here).get("runs", Counter())
        runs[place] += 1
        return runs[place] - 1

    def begin(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, reads_text: bool
    ) -> None:
        """Note that the whole module is called."""
        here = vars(self._here)
        here["call"], here["n_prompt"], here["runs"] = RunState(), None, Counter()
        if not reads_text:
            return
        named = named_arguments(type(module).forward, args, kwargs)
        cache = facts.cache_of(named)
        begun = self._prompts.get(cache) if hasattr(cache, "get_seq_length") else None
        generates, n_prompt = "prompt" in here, here.get("prompt", begun)
        if "decoder_input_ids" in _signature(type(module).forward).parameters:
            here["call"], here["n_prompt"] = _state_of_pair(named, n_prompt, begins=generates)
        else:
            here["call"], here["n_prompt"] = state_of_call(named, n_prompt, begins=generates)
        if generates:
            here["prompt"] = here["n_prompt"]

    def end(self, output: object) -> None:
        """Note that the call is over; None: it failed."""
        here = vars(self._here)
        here.pop("call", None)
        here.pop("runs", None)
        n_prompt, cache = here.pop("n_prompt", None), facts.cache_of(output)
        if n_prompt is not None and hasattr(cache, "get_seq_length"):
            self._prompts[cache] = n_prompt

    def of_generate(
        self, generate: Callable[..., object], /, *args: object, **kwargs: object
    ) -> object:
        """Run `generate` and remember its prompt: later inputs without a cache do not reveal where it ends."""
        here = vars(self._here)
        here["prompt"] = None
        try:
            return generate(*args, **kwargs)
        finally:
            del here["prompt"]


@lru_cache(maxsize=256)
def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(forward)


def named_arguments(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return a call's arguments by name; without `input_ids`, the first one is called so too."""
    signature = _signature(forward)
    named = signature.bind(None, *args, **kwargs).arguments
    for one in signature.parameters.values():
        if one.kind is one.VAR_KEYWORD:
            named |= named.pop(one.name, {})
    if "input_ids" not in named and args:
        named["input_ids"] = args[0]
    return named


def state_of_call(
    named: dict[str, Any], n_prompt: int | None = None, *, begins: bool = False
) -> tuple[RunState | str, int | None]:
    """Return where the columns of a language model's call are, and how many columns its prompt has.

    A phrase instead, where its token ids, mask, positions and cache do not say. `n_prompt`: from calls before;
    `begins`: this call ends the prompt, though others may have been before it.
    """
    tokens = named.get("input_ids")
    shaped = tokens if tokens is not None else named.get("inputs_embeds")
    if not isinstance(shaped, Tensor) or shaped.ndim < 2:
        return "a call without token ids of shape (batch, time)", n_prompt
    n, time = shaped.shape[:2]
    count = getattr(facts.cache_of(named), "get_seq_length", None)
    offset = int(count()) if callable(count) else 0
    if n_prompt is None:
        if offset and not begins:
            return "a call with a cache from before the edit", None
        n_prompt = offset + time
    mask = named.get("attention_mask")
    if mask is None:
        keep = torch.ones(n, offset + time, dtype=torch.bool, device=shaped.device)
    elif isinstance(mask, Tensor) and mask.shape == (n, offset + time):
        keep = mask.to(shaped.device) > 0
    else:
        return "the mask of the call", n_prompt
    position = keep.long().cumsum(dim=1) - 1
    if mask is None and isinstance(named.get("position_ids"), Tensor):
        given = named["position_ids"].to(shaped.device).expand(n, time)
        position[:, offset:] = given
    position = position.masked_fill(~keep, -1)[:, offset:]
    row = torch.arange(n, device=shaped.device)[:, None].expand(n, time)
    state = RunState(
        step=max(0, offset - n_prompt + 1),
        offset=offset,
        keep=keep[:, offset:],
        token_ids=tokens,
        position=position,
        prompt_length=keep[:, :n_prompt].sum(dim=1),
        sample=row.masked_fill(~keep[:, offset:], -1),
    )
    return state, n_prompt


def _state_of_pair(
    named: dict[str, Any], n_prompt: int | None, *, begins: bool
) -> tuple[RunState | str, int | None]:
    """Return the state of an encoder–decoder's call: of its decoder's columns, with the encoder's."""
    of_decoder = {
        name.removeprefix("decoder_"): value
        for name, value in named.items()
        if name.startswith("decoder_") or name in facts.CACHE_NAMES
    }
    state, n_prompt = state_of_call(of_decoder, n_prompt, begins=begins)
    source: dict[str, Any] = {
        name: named[name] for name in ("input_ids", "attention_mask") if name in named
    }
    encoder, _ = state_of_call(source)
    if isinstance(state, RunState) and isinstance(encoder, RunState):
        state = replace(state, encoder=encoder)
    return state, n_prompt

"""Continuing texts token by token: greedy or sampled, batched, cached, under interventions.

The prompt is one forward pass (step 0), then one per new token (step 1, 2, …). Prompts of different
lengths are padded on the left, so that every row's last column is its newest token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae_nb.checks import check_count, check_real
from sae_nb.models import _facts as facts
from sae_nb.models._interventions import RunState, run_edited
from sae_nb.models._text_inputs import language_samples

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel


Generated = str | Tensor | list[str] | list[Tensor]
Choice = Callable[[Tensor], Tensor]
"""Next-token logits → one token id per row."""


def continue_texts(
    model: LiveModel,
    prompt: Any,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    use_cache: bool = True,
    *,
    return_ids: bool = False,
    echo: bool = True,
) -> Generated:
    """Continue prompts, as `LiveModel.generate` says."""
    check_count(max_new_tokens, name="max_new_tokens")
    _check_generates(model)
    if not 0 <= check_real(temperature, name="temperature") < float("inf"):
        raise ValueError(f"`temperature` must be at least 0, got {temperature}.")
    prompts, single = _prompt_ids(model, prompt)
    longest, limit = max(len(ids) for ids in prompts), model.context_length
    if limit is not None and longest + max_new_tokens > limit:
        raise ValueError(
            f"Prompt and new tokens must fit in the {limit} tokens {model.name} can read, got "
            f"{longest} + {max_new_tokens}. Shorten the prompt or lower `max_new_tokens`."
        )
    new = _continued(model, prompts, max_new_tokens, _choice(temperature, seed), use_cache)
    if return_ids or model.tokenizer is None:
        ids = [torch.cat((p, n)) if echo else n for p, n in zip(prompts, new, strict=True)]
        return ids[0] if single else ids
    texts = [_text(model, p, n, echo) for p, n in zip(prompts, new, strict=True)]
    return texts[0] if single else texts


def step_by_step(
    model: LiveModel, prompt: Any, n_new: int, temperature: float = 0.0, seed: int | None = None
) -> Iterator[int]:
    """Continue one prompt as `continue_texts` does, a forward pass whenever the next token is asked for.

    Interventions may come and go between two tokens; what fits in the context is the caller's to check.
    """
    _check_generates(model)
    (ids,), _ = _prompt_ids(model, prompt)
    text = _left_padded(model, [ids])
    for chosen in _steps(model, text, n_new, _choice(temperature, seed), True):
        yield int(chosen[0])


def _choice(temperature: float, seed: int | None) -> Choice:
    """The likeliest token, or one that is drawn."""
    # On the CPU, so that a seed gives the same text on every device.
    generator = None if seed is None else torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        """Return one token id per row of next-token logits."""
        if temperature == 0:
            return logits.argmax(dim=-1)
        chances = torch.softmax(logits.float().cpu() / temperature, dim=-1)
        return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)

    return choose


def _check_generates(model: LiveModel) -> None:
    if not model.causal or model.kind != "language":
        raise TypeError(
            f"`generate` needs a causal language model, got {model.name}, a {model.kind} model that "
            "does not predict next tokens. Load one such as a GPT-2 or Llama folder."
        )
    can = getattr(model.module, "can_generate", None)
    if callable(can) and not can():
        raise TypeError(
            f"`generate` needs a model with a language-modelling head, got {model.name} "
            f"({type(model.module).__name__}). Wrap or load its ForCausalLM class."
        )


def _prompt_ids(model: LiveModel, prompt: Any) -> tuple[list[Tensor], bool]:
    samples = language_samples(model, prompt)
    rows = []
    for item in samples.items:
        ids = item
        if isinstance(item, str):
            ids = torch.tensor(model.tokenizer(item)["input_ids"], dtype=torch.int64)
        ids = torch.as_tensor(ids, dtype=torch.int64)
        if ids.numel() == 0:
            raise ValueError(f"`prompt` must have at least one token, got {item!r}.")
        rows.append(ids)
    is_tensor = isinstance(prompt, Tensor) and prompt.ndim == 1
    is_ids = isinstance(prompt, Sequence) and bool(prompt) and isinstance(prompt[0], int)
    return rows, isinstance(prompt, str) or is_tensor or is_ids


def _text(model: LiveModel, prompt: Tensor, new: Tensor, echo: bool) -> str:
    def decoded(ids: Tensor) -> str:
        return str(model.tokenizer.decode(ids.tolist(), skip_special_tokens=True))

    before, whole = decoded(prompt), decoded(torch.cat((prompt, new)))
    if echo:
        return whole
    # Decoding only the new tokens would lose the space before the first of them.
    return whole[len(before) :] if whole.startswith(before) else decoded(new)


@dataclass
class _Text:
    """The growing batch."""

    ids: Tensor
    keep: Tensor
    prompt_length: Tensor
    n_prompt: int
    alive: Tensor

    def position(self) -> Tensor:
        position: Tensor = self.keep.long().cumsum(dim=1) - 1
        return position.masked_fill(~self.keep, -1)

    def append(self, chosen: Tensor, alive: Tensor) -> None:
        self.ids = torch.cat((self.ids, chosen[:, None]), dim=1)
        self.keep = torch.cat((self.keep, self.alive[:, None]), dim=1)
        self.alive = alive

    def state(self, step: int) -> RunState:
        first = 0 if step == 0 else self.n_prompt + step - 1
        last = self.n_prompt + step
        keep = self.keep[:, first:last]
        row = torch.arange(len(self.ids), device=self.ids.device)[:, None]
        return RunState(
            step=step,
            offset=first,
            keep=keep,
            token_ids=self.ids[:, first:last],
            position=self.position()[:, first:last],
            prompt_length=self.prompt_length,
            sample=row.expand_as(keep).masked_fill(~keep, -1),
        )


def _continued(
    model: LiveModel,
    prompts: list[Tensor],
    n_new: int,
    choose: Choice,
    use_cache: bool,
) -> list[Tensor]:
    """Return the new tokens of every prompt, up to and with its end-of-text token."""
    # Without an attention mask padding would be read as text: only equal lengths go together.
    groups: dict[int, list[int]] = {}
    for row, ids in enumerate(prompts):
        groups.setdefault(0 if model.takes_mask else len(ids), []).append(row)
    out: list[Tensor | None] = [None] * len(prompts)
    for rows in groups.values():
        text = _left_padded(model, [prompts[row] for row in rows])
        _grow(model, text, n_new, choose, use_cache)
        for place, row in enumerate(rows):
            new = text.ids[place, text.n_prompt :]
            out[row] = new[text.keep[place, text.n_prompt :]].cpu()
    return [ids for ids in out if ids is not None]


def _left_padded(model: LiveModel, prompts: list[Tensor]) -> _Text:
    longest = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), longest), model.pad_id)
    keep = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        keep[row, longest - len(prompt) :] = True
    device = model.device
    ids, keep = ids.to(device), keep.to(device)
    alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
    return _Text(ids, keep, keep.sum(dim=1), longest, alive)


def _grow(model: LiveModel, text: _Text, n_new: int, choose: Choice, use_cache: bool) -> None:
    with model.lock:
        for _ in _steps(model, text, n_new, choose, use_cache):
            pass


def _steps(
    model: LiveModel, text: _Text, n_new: int, choose: Choice, use_cache: bool
) -> Iterator[Tensor]:
    """Append a token to every row and yield them, again and again; the lock is held for a step only."""
    names = facts.forward_names(model.module)
    cached = use_cache and not model.remote and {"past_key_values", "use_cache"} <= names
    ends = torch.tensor(
        sorted(facts.end_token_ids(model.module, model.tokenizer)), device=text.ids.device
    )
    cache: Any = None
    for step in range(n_new):
        states = [text.state(s) for s in ([step] if cached else range(step + 1))]
        with model.lock, torch.no_grad():
            raw = run_edited(model, *_arguments(text, states, names, cached, cache), states)
        cache = getattr(raw, "past_key_values", None)
        chosen = choose(model.main_output(raw)[:, -1])
        chosen = torch.where(text.alive, chosen, model.pad_id)
        text.append(chosen, text.alive & ~torch.isin(chosen, ends.to(chosen.dtype)))
        yield chosen
        if not bool(text.alive.any()):
            return


def _arguments(
    text: _Text, states: list[RunState], names: frozenset[str], cached: bool, cache: Any
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    first = states[0].offset
    ids = text.ids[:, first:]
    args: tuple[Tensor, ...] = () if "input_ids" in names else (ids,)
    offered: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": text.keep.long(),
        "position_ids": text.position()[:, first:].clamp(min=0),
        "use_cache": cached,
        "logits_to_keep": 1,
    }
    if cached:
        offered["past_key_values"] = cache
    return args, {name: value for name, value in offered.items() if name in names}

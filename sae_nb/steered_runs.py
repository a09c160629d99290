"""Run a steered model through nnsight or through plain hooks, to see that both are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.models import facts
from sae_nb.models.interventions import RunState
from sae_nb.models.outputs import collected
from sae_nb.steering import trace_edited
from sae_nb.steering_request import check_choice

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

Backend = Literal["nnsight", "hooks"]
BACKENDS: tuple[Backend, ...] = ("nnsight", "hooks")


def run_steered(
    model: LiveModel,
    inputs: Any,
    *,
    backend: Backend = "nnsight",
    batch_size: int | None = None,
) -> Float[Tensor, "n ..."]:
    """Return the model's answer under the active edits, applied by nnsight or by plain hooks.

    `model(inputs)` is the same with hooks. Both give the same numbers: tests hold them to 1e-6.

    Parameters
    ----------
    model
        With `steer`, `ablate` or `splice` in force, or none.
    inputs, batch_size
        As for `model(…)`.
    backend
        "nnsight" writes `module.output = edited` inside a trace.

    Returns
    -------
    Tensor
        As `model(inputs)`.

    Raises
    ------
    ValueError
        If `backend` is neither.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> with sn.steer(model, "0", direction=torch.ones(2), by=0.5):
    ...     run_steered(model, torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "hooks":
        return model(inputs, batch_size=batch_size)

    def traced(batch: Batch) -> dict[str, Tensor]:
        here = batch.to(model.device)
        with model.lock, torch.no_grad():
            raw = trace_edited(model, here.args, here.kwargs, [here.state()])
        return {"": model.main_output(raw)}

    batches = model.batches(inputs, batch_size=batch_size)
    return collected((batch, traced(batch)) for batch in batches)[""]


def generate_steered(
    model: LiveModel,
    prompt: str | Int[Tensor, " time"],
    max_new_tokens: int = 20,
    *,
    backend: Backend = "nnsight",
    use_cache: bool = True,
) -> Int[Tensor, " longer_time"]:
    """Continue one prompt greedily under the active edits, one nnsight trace per token.

    `model.generate(prompt, return_ids=True)` is the same with hooks, for batches and sampling too.

    Parameters
    ----------
    model
        A causal language model, with edits in force or none.
    prompt
        A text or token ids.
    max_new_tokens
        Tokens to add at most; fewer after an end-of-text token.
    backend
        "nnsight", or "hooks" for `model.generate`.
    use_cache
        Reuse keys and values of earlier tokens.

    Returns
    -------
    Tensor
        Token ids of prompt and continuation.

    Raises
    ------
    ValueError, TypeError
        If `backend` is neither, or the model cannot continue the prompt.
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "hooks":
        new = model.generate(
            prompt, max_new_tokens=max_new_tokens, use_cache=use_cache, return_ids=True
        )
        return cast(Tensor, new)
    check_count(max_new_tokens, name="max_new_tokens")
    if not model.causal:
        raise TypeError(f"`generate_steered` needs a causal language model, got {model.name}.")
    batch = next(model.batches([prompt], batch_size=1)).to(model.device)
    if batch.token_ids is None:
        raise TypeError(f"`prompt` must be a text or token ids, got {type(prompt).__name__}.")
    limit, length = model.context_length, batch.token_ids.shape[1]
    if batch.truncated or (limit is not None and length + max_new_tokens > limit):
        raise ValueError(
            f"Prompt and new tokens must fit in the {limit} tokens {model.name} can read, got {length} "
            f"+ {max_new_tokens}. Shorten the prompt or lower `max_new_tokens`."
        )
    return _continue_traced(model, batch.token_ids, max_new_tokens, use_cache)


def _continue_traced(
    model: LiveModel, ids: Int[Tensor, "1 time"], n_new: int, use_cache: bool
) -> Int[Tensor, " longer_time"]:
    names = facts.forward_names(model.module)
    cached = use_cache and {"past_key_values", "use_cache"} <= names
    ends = facts.end_token_ids(model.module, model.tokenizer)
    n_prompt, cache = ids.shape[1], None
    with model.lock, torch.no_grad():
        for step in range(n_new):
            steps = [step] if cached else range(step + 1)
            states = [_step_state(ids, n_prompt, s) for s in steps]
            args, kwargs = model.text_arguments(
                ids[:, states[0].offset :], torch.ones_like(ids) > 0
            )
            if "use_cache" in names:
                kwargs |= {"use_cache": cached}
            if cached:
                kwargs |= {"past_key_values": cache}
            raw = trace_edited(model, args, kwargs, states)
            cache = getattr(raw, "past_key_values", None)
            chosen = model.main_output(raw)[:, -1].argmax(dim=-1, keepdim=True)
            ids = torch.cat((ids, chosen), dim=1)
            if int(chosen) in ends:
                break
    return ids[0].cpu()


def _step_state(ids: Int[Tensor, "1 time"], n_prompt: int, step: int) -> RunState:
    """Return what edits are told about the prompt (step 0) or about one new token."""
    first = 0 if step == 0 else n_prompt + step - 1
    columns = torch.arange(first, n_prompt + step, device=ids.device)[None]
    return RunState(
        step=step,
        offset=first,
        keep=torch.ones_like(columns, dtype=torch.bool),
        token_ids=ids[:, first : n_prompt + step],
        position=columns,
        prompt_length=torch.full((1,), n_prompt, device=ids.device),
        sample=torch.zeros_like(columns),
    )

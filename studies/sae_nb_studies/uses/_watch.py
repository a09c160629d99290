"""Watch atoms while a model writes: the strength of each at every token, as soon as it has been read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, check_atom, checked
from sae_nb.generation import check_length, check_writer, prompt_ids
from sae_nb.models import TokenStream
from sae_nb.steering import splice
from sae_nb_studies.uses._writing import token_names

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """One token of a text, and how strongly each watched atom fires there; `watch` yields them."""

    position: int
    """Within the text; the prompt's first token is 0."""

    token_id: int
    token: str
    """Its text, or its number where there is no tokenizer."""

    new: bool
    """Whether the model wrote it, and not the prompt."""

    strengths: Float[np.ndarray, " watched"]
    """NaN at the first token, an attention sink that no SAE has learned."""


@checked(leave=("prompt",))
def watch(
    model: LiveModel,
    sae: SparseAutoencoder,
    prompt: Any,
    hook_point: str,
    atoms: int | Sequence[int],
    *,
    max_new_tokens: Count = 40,
    temperature: float = 0.0,
    seed: Seed | None = None,
) -> Iterator[Moment]:
    """Let a model write and yield, token by token, how strongly some atoms fire.

    Nothing runs before a token is asked for and nothing but the newest is kept, so stopping early costs
    nothing. Edits in force when a token is asked for hold for that token: what is read is what passes after
    them, and atoms may be suppressed in the middle of a text. The model is free between two tokens.

    Parameters
    ----------
    prompt
        One text, or token ids; its tokens come first.
    atoms
        Those to watch, in the order of `strengths`.
    max_new_tokens, temperature, seed
        As in `model.generate`, which writes the same text. The text ends before an end-of-text token.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If prompt and new tokens do not fit in the context, or the SAE cannot be read row by row.
    HookPointNotFound, IndexError: If there is no such hook point or atom.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> moments = watch(model, sae, "The list of", "resid_post.3", [454, 25], max_new_tokens=5)
    >>> "".join(moment.token for moment in moments if moment.new)
    ' the lists of the'
    """
    check_writer(model, sae, hook_point)
    if model.remote:
        raise ValueError(
            f"`watch` reads token by token, and {model.name!r} runs remotely. Load it here, or capture "
            "what it wrote."
        )
    listed = [atoms] if isinstance(atoms, int) else list(atoms)
    watched = [check_atom(atom, sae.n_atoms) for atom in listed]
    if not watched:
        raise ValueError("`atoms` must name at least one atom, got none.")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"`temperature` must be at least 0, got {temperature}.")
    ids = prompt_ids(model, prompt)
    check_length(model, len(ids) + max_new_tokens, "Prompt and new tokens")
    # Made here, so that what is wrong is said at the call and not at the first token.
    stream = TokenStream.of(model, ids, temperature, seed)
    # One pass more than there are new tokens: a token is read in the pass after the one that chose it.
    return _moments(stream, model, sae, hook_point, watched, max_new_tokens + 1)


def _moments(
    stream: TokenStream,
    model: LiveModel,
    sae: SparseAutoencoder,
    hook_point: str,
    atoms: Sequence[int],
    n_passes: int,
) -> Iterator[Moment]:
    position, n_prompt = 0, stream.ids.shape[1]
    passed: list[Tensor] = []

    def keep(x: Float[Tensor, "1 time d_in"]) -> Float[Tensor, "1 time d_in"]:
        passed.append(x.detach()[0])
        return x

    for _ in range(n_passes):
        if not bool(stream.alive.any()):
            return
        ids = stream.ids[0, position:]
        with model.lock, splice(model, hook_point, keep, "all", backend="hooks"), torch.no_grad():
            stream.step()
            codes = sae.encode(passed.pop()[-len(ids) :].to(sae.dictionary))
        strengths = codes.of_atoms(atoms).float().cpu().numpy()
        for token_id, name, row in zip(ids.tolist(), token_names(model, ids), strengths):
            if position == 0:
                row = np.full_like(row, np.nan)
            yield Moment(
                position=position, token_id=token_id, token=name, new=position >= n_prompt, strengths=row
            )  # fmt: skip
            position += 1

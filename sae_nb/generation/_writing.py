"""What is checked before a model writes, and the way from a prompt to ids and back to text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor

from sae_nb.corpora._reading import check_row_by_row
from sae_nb.models._generation import prompt_row
from sae_nb.steering._request import check_hook_point

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import HookPoint, LiveModel


def check_writer(model: LiveModel, sae: SparseAutoencoder, hook_point: str) -> HookPoint:
    """Return the hook point at which an SAE reads what a model writes, once all three are checked.

    Raises
    ------
    TypeError: If the model does not continue a text.
    ValueError: If the SAE does not read one place row by row, or another width than the hook point has.
    HookPointNotFound: If there is no such hook point.
    """
    if not model.modality.is_text or not model.causal:
        raise TypeError(
            f"`model` must be a decoder of language, got {model.name}, which reads {model.modality.reads} and "
            "does not continue a text. Load one such as sn.load_model('tiny-gpt'); for what it reads itself, "
            "use InputLens."
        )
    check_row_by_row(sae)
    return check_hook_point(model, hook_point, width=sae.d_in)


def prompt_ids(model: LiveModel, prompt: Inputs) -> Int[Tensor, " n"]:
    """Return one text, conversation or sequence of ids as the ids that `model.generate` continues."""
    return prompt_row(model, prompt).ids


def check_length(model: LiveModel, n_tokens: int, what: str) -> None:
    """Refuse more tokens than the model can read, with a ValueError that begins with `what` they are."""
    if model.context_length is not None and n_tokens > model.context_length:
        raise ValueError(
            f"{what} must fit in the {model.context_length} tokens that {model.name} can read, got "
            f"{n_tokens}. Shorten one of them."
        )


def text_of(model: LiveModel, ids: Int[Tensor, " n"]) -> str:
    """Return tokens as text; ids joined by spaces where there is no tokenizer."""
    if model.tokenizer is None:
        return " ".join(map(str, ids.tolist()))
    return str(model.tokenizer.decode(ids.tolist(), skip_special_tokens=True))

"""One number of a model's answer to one sample, such as a logit; and the edits that change it.

m(y) = ℓ_y − mean(ℓ), a logit above the mean of all logits: a shift common to all is nothing the softmax sees.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._sites import written_codes
from sae_nb.models._answers import AnswerKind as OutcomeKind
from sae_nb.models._one_input import outcome_names
from sae_nb.steering._contexts import Active
from sae_nb.steering._request import Edit, check_hook_point, first_look, tap_of
from sae_nb.steering.edits import Change, MaskedEdit, Positions, Where

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


Target = int | str | Callable[[Tensor], Tensor] | None
"""A class or token id, its name, a function of the answer, or None for the model's own top answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One number of an answer, differentiable, and its name."""

    index: int | None  # class or token id; None for a function or a vector
    name: str  # of the class or token; of the function
    words: str  # what the number is, with its unit
    measure: Callable[[Tensor], Tensor]  # answer of one sample → a scalar


def outcome_of(
    model: LiveModel, answer: Float[Tensor, " outcomes"], kind: OutcomeKind, target: Target = None
) -> Outcome:
    """Return what is measured of an answer."""
    if callable(target) and not isinstance(target, type | torch.nn.Module):
        name = getattr(target, "__name__", "measure").replace("_", " ")
        return Outcome(index=None, name=name, words=name, measure=_one_number(target))
    if target is None and kind == "vector":
        along = answer.detach() / answer.detach().norm().clamp_min(1e-12)
        return Outcome(
            index=None,
            name="its own output",
            words="length of the output along what it is",
            measure=lambda other: other @ along,
        )
    index = (
        int(answer.detach().argmax())
        if target is None
        else outcome_index(model, target, len(answer), otherwise="a function of the answer")
    )
    name = str(index) if kind == "vector" else outcome_names(model, [index])[0]
    above = " above the mean logit" if kind != "vector" else " of the output above their mean"
    noun = {"class": "logit of", "next token": "logit of the next token", "vector": "number"}[kind]
    return Outcome(
        index=index,
        name=name,
        words=f"{noun} “{name}”{above}",
        measure=lambda other: other[index] - other.mean(),
    )


def _cut(name: str) -> str:
    """Quote a text, the beginning alone where it is a long one."""
    return repr(name if len(name) <= LONGEST_QUOTED else f"{name[:LONGEST_QUOTED]}…")


LONGEST_QUOTED = 40
"""Characters of a text that an error quotes."""


def outcome_index(
    model: LiveModel,
    target: Any,
    n_outcomes: int | None = None,
    *,
    otherwise: str = "",
    argument: str = "target",
) -> int:
    """Return the class or token that an id or a name means.

    Parameters
    ----------
    n_outcomes
        Ids must be below it; None: any id.
    otherwise
        What else the argument may be, for the error.
    argument
        Its name, for errors.

    Raises
    ------
    TypeError: If it is no id and no name.
    ValueError: If there is no such class or id, or the text is not one token.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> outcome_index(gpt, 17), gpt.tokenizer.decode([outcome_index(gpt, " fox")])
    (17, ' fox')
    """
    if isinstance(target, str):
        return _named_index(model, target, argument)
    try:
        index = operator.index(target)
    except TypeError:
        index = None
    if index is None or isinstance(target, bool):
        forms = f", its name, or {otherwise}" if otherwise else " or its name"
        raise TypeError(f"`{argument}` must be a class or token id{forms}, got {target!r}.")
    if n_outcomes is not None and not 0 <= index < n_outcomes:
        raise ValueError(
            f"`{argument}` must be between 0 and {n_outcomes - 1}, the outcomes of {model.name}, got "
            f"{index}."
        )
    return index


def _named_index(model: LiveModel, name: str, argument: str) -> int:
    if model.modality.is_text and model.tokenizer is not None:
        ids = model.tokenizer(name, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            from sae_nb.activations.tokens import describe_ids

            pieces = [describe_ids(model.tokenizer, [i])[i] for i in ids]
            raise ValueError(
                f"`{argument}` as a text must be one token of {model.name}, got {_cut(name)}, which is "
                f"{len(ids)}: {pieces[:6]}. Mind the leading space, or pass a token id."
            )
        unknown = getattr(model.tokenizer, "unk_token", None)
        if ids[0] == getattr(model.tokenizer, "unk_token_id", None) and name != unknown:
            raise ValueError(
                f"`{argument}` as a text must be a token that {model.name} knows, got {_cut(name)}, which it "
                f"reads as {unknown}. model.tokenizer.get_vocab() lists its tokens."
            )
        return int(ids[0])
    names = [str(known) for known in model.class_names or ()]
    if name not in names:
        raise ValueError(
            f"`{argument}` must be one of the classes {names} of {model.name}, got {_cut(name)}."
        )
    return names.index(name)


def _one_number(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def measure(answer: Tensor) -> Tensor:
        value = function(answer)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                "`target` as a function must turn the answer to one sample, of shape "
                f"{tuple(answer.shape)}, into one number, got {got}."
            )
        return value.reshape(())

    return measure


def chance_cosine(d_in: int, share: float = 0.95) -> float:
    """Return the |cosine| with a fixed vector that `share` of random directions stay below.

    cos² of a direction drawn evenly from the sphere is Beta(1/2, (d − 1)/2).

    Example
    -------
    >>> round(chance_cosine(3), 3)  # in three dimensions |cosine| is uniform
    0.95
    """
    if d_in == 1:
        return 1.0
    from scipy.special import betaincinv

    return math.sqrt(float(betaincinv(0.5, (d_in - 1) / 2, share)))


# -------------------------------------------------------------------------------------------------
# Which activations are edited.


def atom_removal(
    sae: SparseAutoencoder, atom: int, u: Float[Tensor, " d_out"], stays: float = 0.0
) -> Change:
    """Return the change that takes u away as strongly as an atom fires: x − (z − stays)·u, for `sn.splice`.

    With u the atom's own row this is its ablation, with a random direction the control of that. The atom fires
    by what is read, if that is not what is written.

    Example
    -------
    >>> class Known:
    ...     dictionary, writes = torch.eye(2), None
    ...     def encode(self, x):
    ...         from sae_nb.codes import SparseCodes
    ...         return SparseCodes.from_dense(x.clamp_min(0))
    >>> atom_removal(Known(), 0, torch.tensor([1.0, 0.0]))(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.0, 4.0]]
    """

    def change(
        x: Float[Tensor, "batch time d_out"], read: Float[Tensor, "batch time d_in"] | None = None
    ) -> Float[Tensor, "batch time d_out"]:
        seen = (x if read is None else read).float()
        z = written_codes(sae, sae.encode(seen), seen).of_atoms((atom,)).detach()
        return x - ((z - stays) * u.to(z)).to(x)

    return change


def edited(
    model: LiveModel, hook_point: str, sae: SparseAutoencoder, change: Change, where: Where = None
) -> Active:
    """Return the edit that makes change(x) of x; for a transcoder change(y, x), of what it reads, too."""
    point = check_hook_point(model, hook_point)
    positions = Positions(where, prefix_tokens=model.prefix_tokens)
    tap, look = tap_of(model, point, sae), first_look(model, point, sae)
    edit = MaskedEdit(positions, change, tap, look=look)
    return Active(model, Edit(hook_point=point, edit=edit))

"""read_by_block: what a classifier's own output layers would answer after each block, and how often rightly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Seed, checked
from sae_nb.findings import Finding
from sae_nb.lenses import head_of

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import Batch, LiveModel

FEW = 4
"""Inputs on which an output layer must give the model's answer. Ours."""

READ = 0.9
"""Share of inputs that must be right, after a block and all later ones, for it to have been read. Ours."""


class ReadByBlock(Finding):
    """Answers of output layers after each block; layer 0 are the embeddings."""

    HEADLINE = "{names}: {means} at the end {last}"

    names: tuple[str, ...]
    """Of each output layer what it names."""

    answers: Int[np.ndarray, "heads layers inputs"]
    truth: Int[np.ndarray, "heads inputs"]
    """Class of each input; if `own`, what the model answers in the end."""

    right: Float[np.ndarray, "heads layers"]
    """Share of inputs whose answer is that."""

    control: Float[np.ndarray, "heads layers"]
    """The same with the truth of another input, drawn by chance."""

    own: bool = False
    """Whether no classes were known, so that answers are held against the model's own last ones."""

    @property
    def means(self) -> str:
        """What an answer is that fits."""
        return "as the last answer" if self.own else "right"

    @property
    def last(self) -> tuple[float, ...]:
        """Share of right answers after the last block."""
        return tuple(round(float(one), 3) for one in self.right[:, -1])

    @property
    def read_by(self) -> tuple[int | None, ...]:
        """First layer from which nine answers in ten stay right, and the control's do not; None: none."""
        above = (self.right >= READ) & (self.control < READ)
        stays = np.logical_and.accumulate(above[:, ::-1], axis=1)[:, ::-1]
        return tuple(int(row.argmax()) if row[-1] else None for row in stays)


@checked(leave=("inputs",))
def read_by_block(
    model: LiveModel,
    inputs: Inputs,
    states: Tensor,
    truth: Mapping[str, Any] | None = None,
    *,
    seed: Seed = 0,
) -> ReadByBlock | None:
    """Read the states after each block with the model's own output layers; None where there is nothing to hold
    them against.

    Parameters
    ----------
    model
        A classifier whose answer is one projection of its final norm; with several heads, those that `truth`
        names.
    inputs
        Inputs of the states: the first few show that an output layer gives the model's own answer.
    states
        From `capture_states(model, inputs)`, every token.
    truth
        Class of each input by the name of a head, or by any name for a model that has one. None holds the
        answers of every head against its own after the last block: when does the model settle?
    seed
        Of the other input that each answer is held against as a control.

    Source
    ------
    nostalgebraist, "interpreting GPT: the logit lens" (2020), for class heads.

    Example
    -------
    >>> import sae_nb as sn
    >>> from sae_nb.dynamics import capture_states
    >>> vit, made = sn.load_model("tiny-vit"), sn.data.scenes(8, seed=0, split="test")
    >>> found = read_by_block(vit, made, capture_states(vit, made.images), {"digit": made.digit})
    >>> found.names, found.right.shape
    (('digit',), (1, 13))
    """
    kept = getattr(states, "positions", None)
    whole = kept is None or tuple(kept) == tuple(range(states.shape[2]))
    if not model.modality.is_image or not whole or not len(states):
        return None
    batch = next(iter(model.batches(inputs, batch_size=FEW)))
    found: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name in _names_of_heads(model, batch) if truth is None else ():
        answers = _answers(model, batch, states, name)
        if answers is not None:
            found.append((name, answers[0], answers[0][-1]))
    for name, classes in (truth or {}).items():
        known = np.asarray(classes.cpu() if isinstance(classes, Tensor) else classes)
        if known.shape != (len(states),) or known.dtype.kind not in "iu":
            continue
        answers = _answers(model, batch, states, name)
        if answers is not None and known.max(initial=0) < answers[1]:
            found.append((name, answers[0], known.astype(int)))
    if not found:
        return None
    other = np.random.default_rng(seed).permutation(len(states))
    names, answers_, truths = zip(*found, strict=True)
    said, known = np.stack(answers_), np.stack(truths)
    return ReadByBlock(
        names=names,
        answers=said,
        truth=known,
        right=(said == known[:, None]).mean(axis=-1),
        control=(said == known[:, other][:, None]).mean(axis=-1),
        own=truth is None,
    )


def _names_of_heads(model: LiveModel, batch: Batch) -> list[str]:
    if not callable(getattr(model.module, "forward_heads", None)):
        return ["class"]
    with torch.no_grad():
        return list(model.forward(batch, method="forward_heads"))


def _answers(
    model: LiveModel, batch: Batch, states: Tensor, name: str
) -> tuple[Int[np.ndarray, "layers inputs"], int] | None:
    """Return the answers of the head of a name, or of the only one, and how many classes it has."""
    several = callable(getattr(model.module, "forward_heads", None))
    try:
        head = head_of(model, batch, name if several else None)
    except (
        ValueError,
        RuntimeError,
        TypeError,
        LookupError,
    ):  # no such head, or none that is one projection
        return None
    first = model.prefix_tokens
    rows = states[:, :, 0] if head.pool == "cls" else states[:, :, first:].mean(dim=2)
    with torch.no_grad():
        said = head.logits(rows.float()).argmax(-1).cpu().numpy()
    return said.T, head.n_outputs

"""The arguments of a panel of a live model: model and SAE that fit, inputs by number, the question."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from sae_nb.activations import warn_of_place
from sae_nb.checks import check_data
from sae_nb.evaluation import outcome_index
from sae_nb.figures.theme import format_count
from sae_nb.models import column_of_table, written_texts
from sae_nb.steering import check_hook_point

if TYPE_CHECKING:
    from sae_nb.activations import Context
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.corpora import BaseRate
    from sae_nb.models import LiveModel


def check_parts(model: LiveModel, sae: SparseAutoencoder, hook_point: str) -> None:
    """Refuse arguments that are not a live model, not an SAE, or not a pair of the two."""
    for name in ("hook_points", "interventions", "lock", "batches"):
        if not hasattr(model, name):
            raise TypeError(
                f"`model` must be a live model, got {type(model).__name__}. Make one with "
                "sn.load_model or sn.wrap."
            )
    if not hasattr(sae, "dictionary"):
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}. Load one with sn.load_sae."
        )
    check_point(model, sae, hook_point)


def check_point(model: LiveModel, sae: SparseAutoencoder, name: str) -> None:
    """Refuse a hook point that is not there, cannot be edited or has another width; warn of another place."""
    warn_of_place(sae, name)
    check_hook_point(model, name, width=int(getattr(sae, "d_out", sae.d_in)))


def one_text(model: LiveModel, inputs: Inputs) -> str:
    """Return the one text that a language model is given."""
    texts = written_texts(model, inputs)
    if len(texts) != 1:
        raise ValueError(f"`inputs` must be one text, got {len(texts)}. Pass one of them.")
    return texts[0]


MOST_OF_A_STREAM = 64
"""Samples kept of an iterator, a DataLoader or a folder, which cannot be asked for the i-th."""

DEFAULT_TEXT = "The"
DEFAULT_SCENES = 16


class Samples:
    """Inputs of a live model by number."""

    def __init__(self, model: LiveModel, inputs: Any = None, acts: Any = None) -> None:
        self.made_up = False
        if inputs is None:
            inputs = self._default(model, getattr(acts, "context", None))
        if isinstance(inputs, Tensor):
            check_data(inputs, name="inputs")
        if getattr(inputs, "ndim", 1) == 0:
            raise TypeError("`inputs` must be several samples, got one number.")
        inputs = column_of_table(model, inputs)
        self._items: Any = _by_number(model, inputs)
        if len(self._items) == 0:
            raise ValueError("`inputs` must hold at least one sample, got none.")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> object:
        """Return one sample, in the form `model.batches` reads."""
        return self._items[index : index + 1]

    def text(self, index: int) -> str | None:
        """Return a sample that is a text; None for anything else."""
        item = self._items[index] if isinstance(self._items, list) else None
        return item if isinstance(item, str) else None

    def _default(self, model: LiveModel, context: Context | None) -> object:
        if context is not None and context.pictures is not None:
            return context.pictures
        if context is not None and context.token_ids is not None:
            return [context.token_ids.sample(i).tolist() for i in range(context.n_samples)]
        self.made_up = True
        if model.modality.is_text:
            return [DEFAULT_TEXT]
        if model.modality.examples is not None:
            return model.modality.examples(DEFAULT_SCENES, 0)
        raise TypeError(
            f"`inputs` must be given for {model.name}, which reads tensors; got None. Pass a tensor "
            "whose first axis counts samples."
        )


def _by_number(model: LiveModel, inputs: Inputs) -> Any:
    """Something that slices into samples: a list, or a tensor with samples on its first axis."""
    inputs = getattr(inputs, "images", inputs)
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, Tensor | np.ndarray):
        return inputs[None] if inputs.ndim == (model.modality.n_axes or None) else inputs
    if isinstance(inputs, Sequence):
        one_text_of_ids = model.modality.is_text and inputs and isinstance(inputs[0], int)
        return [list(inputs)] if one_text_of_ids else list(inputs)
    # A batch of one is an input too: see `as_batch`.
    return list(itertools.islice(model.batches(inputs, batch_size=1), MOST_OF_A_STREAM))


def stream_of(model: LiveModel, hook_point: str) -> str:
    """Return a hook point with its stream, where a model has two: a name without one is the decoder's."""
    return str(model.hook_point(hook_point)) if model.streams else hook_point


def facts_of(
    model: LiveModel, sae: SparseAutoencoder, place: str, base: BaseRate | None = None
) -> dict[str, str]:
    """Return a panel's facts about its model, its SAE and the source of usual strengths."""
    facts = {"model": model.name, "hook point": place}
    facts |= {"SAE": type(sae).__name__, "atoms": format_count(int(sae.n_atoms))}
    return facts if base is None else facts | {"usual from": base.source}


def newest(old: object, given: Tensor) -> Tensor:
    """Return `old` where `given` is the same: comparing tensors gives tensors, and traitlets cannot ask if one
    is new.
    """
    if isinstance(old, Tensor) and old.shape == given.shape and bool((old == given).all()):
        return old
    return given


# --- what is asked about --------------------------------------------------------------------------


def target_of(model: LiveModel, asked: str) -> int | None:
    """Turn what is asked about, a name or "#" and a number, into a class or token; None for nothing.

    A word is also looked for as the next one of a text, with the space before it.

    Raises
    ------
    ValueError: If the model has no such answer.
    """
    if not asked:
        return None
    if asked.startswith("#") and asked[1:].isdecimal() and int(asked[1:]) < _n_answers(model):
        return int(asked[1:])
    try:
        return outcome_index(model, asked)
    except ValueError:
        if not model.modality.is_text or asked.startswith(" "):
            raise
        return outcome_index(model, f" {asked}")


def target_rule(model: LiveModel, otherwise: str) -> str:
    """State what can be asked about; `otherwise`: the text for outputs without a name."""
    if model.modality.is_text:
        return f"one token of {model.name}, or nothing for {otherwise}"
    if not model.class_names:
        return "nothing, because this model has no answers"
    return f"one of {', '.join(map(str, model.class_names))}, or nothing for {otherwise}"


def _n_answers(model: LiveModel) -> int:
    return len(model.tokenizer or ()) if model.modality.is_text else len(model.class_names or ())

"""Which atoms one text or picture uses: run the model on it once, forwards and backwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.evaluation.attribution import Attribution, attribute
from sae_nb.evaluation.outcomes import Target, outcome_name
from sae_nb.steering_request import check_hook_point, check_width
from sae_nb.summaries.answers import as_batch, token_names
from sae_nb.summaries.base_rates import NO_BASE_RATE, BaseRate, base_rate, labels_of
from sae_nb.summaries.input_summary import AtomsUsed, InputSummary

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

ANSWERS_SHOWN = 8


def top_atoms(
    model: LiveModel,
    sae: SparseAutoencoder,
    input: Any,
    hook_point: str | None = None,
    *,
    k: int = 10,
    frequency: Any = None,
    labels: Mapping[int, str] | None = None,
    target: Target = None,
) -> InputSummary:
    """Return which atoms one text or picture uses: what fired, and what the answer hung on.

    The model runs once forwards and once backwards. A contribution is gradient × activation,
    z ⟨d, ∂m/∂x⟩, taken at the activation itself (error kept); `splice_check(atom)` gives the exact
    one. A picture of another size or mode is converted, a text that is too long is cut, and `notes`
    say so.

    Parameters
    ----------
    model
        From `load_model` or `wrap`.
    sae
        Whose atoms.
    input
        One text or its token ids; one picture (tensor, array, PIL picture, file); for other models one
        tensor with a first axis of 1.
    hook_point
        Where the SAE reads; None takes the SAE's own.
    k
        Atoms shown overall and per position unless asked otherwise.
    frequency
        Base rates: one share per atom, codes, anything with `.frequency`, or activations. None takes
        those of the ready-made SAE, where this is one; else there is no lift, and `notes` say so.
    labels
        What atoms are called.
    target
        What contributions are to: a class or token id, its name, or a function of the answer to one
        sample. None takes the model's own top answer; for language that is the next token. A logit is
        measured above the mean of all logits.

    Returns
    -------
    InputSummary
        `.used`, `.at(position)`, `.order(by)`, `.table()`, `.splice_check(atom)`, `.compare(other)`.

    Raises
    ------
    TypeError, ValueError, HookPointNotFound, FileNotFoundError
        If the parts do not fit, or the input is empty, several, or not finite.

    Source
    ------
    Attribution: Marks et al., "Sparse Feature Circuits", arXiv 2403.19647. Surprise: the
    log-likelihood ratio of Dunning (1993). Base-rate correction and controls are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> sae = sn.TopK(d_in=64, n_atoms=128, k=4, generator=torch.Generator().manual_seed(0))
    >>> found = top_atoms(model, sae, torch.rand(3, 32, 32), "resid_post.6")
    >>> len(found.tokens), len(found.at(0)), found.base is None
    (69, 4, True)
    >>> check = found.splice_check(found.top(1)[0])
    >>> check.atom == found.top(1)[0]
    True
    """
    point = _checked_point(model, sae, hook_point)
    k = check_count(k, name="k")
    base = base_rate(sae, frequency)
    with torch.inference_mode(False):  # what is made in it can carry no gradient
        batch, notes = one_input(model, input)
        run = attribute(model, batch, point, sae, target=target)
    if base is None:
        notes = (*notes, NO_BASE_RATE)
    return summarise_input(
        run, k=k, base=base, labels=labels_of(sae, labels), notes=notes, text=_text_of(input)
    )


def summarise_input(
    run: Attribution,
    *,
    k: int = 10,
    base: BaseRate | None = None,
    labels: Mapping[int, str] | None = None,
    notes: tuple[str, ...] = (),
    text: str | None = None,
) -> InputSummary:
    """Return the record of a run that is there already.

    Parameters
    ----------
    run
        From `attribute`.
    k, base, labels, notes, text
        As in the record.
    """
    model, batch = run.model, run.batch
    tokens = token_names(model, batch, run.n_positions)
    error = np.full(len(tokens), np.nan, np.float32)
    error[run.position] = run.error
    special = np.zeros(len(tokens), dtype=bool)
    if batch.special is not None:
        special[:] = batch.special[0].cpu().numpy()
    return InputSummary(
        model_name=model.name,
        hook_point=run.hook_point,
        kind=model.kind,
        text=text,
        picture=None if batch.pictures is None else batch.pictures[0].cpu().numpy(),
        tokens=tokens,
        special=special,
        patch_grid=model.patch_grid,
        prefix_tokens=model.prefix_tokens,
        position=run.position[run.codes.support.rows.numpy()],
        atom=run.codes.atoms.numpy().astype(np.int64),
        strength=run.codes.values.float().numpy(),
        attribution=run.effects,
        error_attribution=error,
        used=_used(run, base),
        base=base,
        measure=run.outcome.words,
        value=run.value,
        target=run.outcome.index,
        answers=_answers(run),
        k=k,
        notes=notes,
        labels=labels or {},
        run=run,
    )


def one_input(model: LiveModel, given: Any) -> tuple[Batch, tuple[str, ...]]:
    """Return one input as a batch, and what was done to it in words.

    Parameters
    ----------
    model
        Which reads it.
    given
        As `input` of `top_atoms`.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If the model cannot read it, or it is several.
    """
    if model.kind == "vision":
        from sae_nb.models.single_picture import fit_picture

        picture, notes = fit_picture(model, given)
        return as_batch(model, picture[None]), notes
    if model.kind != "language":
        return as_batch(model, given), ()
    if isinstance(given, str) and not given.strip():
        raise ValueError(
            f"A text must have at least one word for {model.name}, got {given!r}. Type something."
        )
    alone = given if isinstance(given, list | Tensor | np.ndarray) else [given]
    batch = as_batch(model, alone)
    return batch, tuple(_text_notes(model, given, batch))


def _text_notes(model: LiveModel, given: Any, batch: Batch) -> list[str]:
    notes = []
    if batch.truncated:
        notes.append(f"cut at {model.context_length} tokens, all {model.name} can read")
    spelled = [
        token
        for token in getattr(model.tokenizer, "all_special_tokens", ())
        if isinstance(given, str) and token in given
    ]
    if spelled:
        notes.append(
            f"{', '.join(spelled)} in the text is read as a special token, not as characters"
        )
    return notes


def _checked_point(model: Any, sae: Any, hook_point: str | None) -> str:
    if not hasattr(model, "hook_points"):
        raise TypeError(
            f"`model` must be a live model, got {type(model).__name__}. Make one with sn.load_model "
            "or sn.wrap."
        )
    if not hasattr(sae, "encode") or not hasattr(sae, "decode"):
        raise TypeError(
            f"`sae` must be a sparse autoencoder, got {type(sae).__name__}. Load one with sn.load_sae."
        )
    name = hook_point or getattr(sae, "hook_point", None)
    if name is None:
        raise ValueError(
            "`hook_point` must say where the SAE reads, because the SAE itself does not. Pass "
            'hook_point="resid_post.0", say.'
        )
    point = check_hook_point(model, name)
    check_width(model, point, int(sae.d_in), "the SAE")
    if sae.dictionary.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device, {model.device}, got {sae.dictionary.device}. Use "
            "sae.to(model.device)."
        )
    return str(point)


def _text_of(given: Any) -> str | None:
    return given if isinstance(given, str) else None


def _used(run: Attribution, base: BaseRate | None) -> AtomsUsed:
    atom, attribution, control = run.totals()
    place = np.searchsorted(atom, run.codes.atoms.numpy())
    size = np.abs(run.codes.values.double().numpy())
    strongest = np.zeros(len(atom))
    np.maximum.at(strongest, place, size)
    n_fired = np.bincount(place, minlength=len(atom))
    lift = surprise = frequency = None
    if base is not None:
        share = n_fired / len(run.position)
        expected = base.at_least[atom]
        lift, frequency = share / expected, base.frequency[atom]
        surprise = len(run.position) * _divergence(share, expected) * np.sign(lift - 1)
    return AtomsUsed(
        atom=atom.astype(np.int64),
        n_fired=n_fired,
        strength=strongest,
        total_strength=np.bincount(place, weights=size, minlength=len(atom)),
        base_frequency=frequency,
        lift=lift,
        surprise=surprise,
        attribution=attribution,
        control=control,
    )


def _divergence(
    p: Float[np.ndarray, " active"], q: Float[np.ndarray, " active"]
) -> Float[np.ndarray, " active"]:
    """KL of two coins in nats; 0 ln 0 is 0."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    rest = 1 - p
    hit = p * np.log(np.maximum(p, 1e-300) / q)
    miss = np.where(rest > 0, rest * np.log(np.maximum(rest, 1e-300) / (1 - q)), 0.0)
    return np.maximum(hit + miss, 0.0)


def _answers(run: Attribution) -> tuple[tuple[int, str, float], ...]:
    if run.kind == "vector":
        return ()
    p = torch.softmax(run.answer, dim=-1)
    best = p.topk(min(ANSWERS_SHOWN, len(p)))
    return tuple(
        (index, outcome_name(run.model, index), value)
        for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )

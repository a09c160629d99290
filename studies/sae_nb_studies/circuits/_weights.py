"""Circuits from weights alone: what one transcoder writes for the next to read, and what tokens do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from sae_nb.activations.tokens import describe_ids
from sae_nb.capturing import capture
from sae_nb.checks import Count, Inputs, checked
from sae_nb.findings import Finding
from sae_nb.models import norm_of, trial_pass
from sae_nb.statistics import rank_correlation
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.architectures import Transcoder
    from sae_nb.models import LiveModel

FEWEST = 8
"""Firings from which an atom's connections are measured. Ours."""


class AtomConnections(Finding):
    """Connections of two transcoders by weights, beside the running model; made by `check_connections`."""

    HEADLINE = (
        "{table.len} atoms of {earlier} against the atoms of {later}: weights rank what they read like the "
        "running model, {value:.2f} (weights of other atoms: {floor:.2f})"
    )

    table: pd.DataFrame
    """A row per atom of the earlier transcoder: atom, fires (tokens), rank (Spearman's correlation, over the
    later one's atoms, of the weight and the mean change measured), floor (of another atom's weights)."""

    earlier: str
    """Where the first writes."""

    later: str
    """Where the second reads."""

    @property
    def value(self) -> float:
        """Mean rank correlation."""
        return float(self.table["rank"].mean())

    @property
    def floor(self) -> float:
        """The same with the weights of other atoms."""
        return float(self.table["floor"].mean())


@checked(leave=("earlier", "later"))
def weight_connections(
    model: LiveModel, earlier: Transcoder, later: Transcoder
) -> Float[Tensor, "n_earlier n_later"]:
    """Return how strongly each atom of an earlier transcoder excites each atom of a later one, on any input.

    W = D (E C)ᵀ, D the atoms that the earlier one writes into the stream, E what the later one reads, and C
    the norm before its MLP but for its division by the stream's length, one positive number per token: gain,
    and centring where it takes off the mean. Attention and MLPs between are left out.

    Raises
    ------
    ValueError: If widths differ, or the earlier transcoder does not write before the later one reads.

    Source
    ------
    Dunefsky, Chlenski and Nanda, "Transcoders find interpretable LLM feature circuits", arXiv 2406.11944: the
    input-invariant part of an attribution. The norm's gain is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> first, second = (sn.Transcoder(128, 128, 32, 4) for _ in range(2))
    >>> first.hook_point, first.target_hook_point, second.hook_point = "mlp_in.1", "mlp_out.1", "mlp_in.3"
    >>> weight_connections(gpt, first, second).shape
    torch.Size([32, 32])
    """
    wrote, read = str(earlier.target_hook_point), str(later.hook_point)
    if _layer(model, wrote) >= _layer(model, read):
        raise ValueError(
            f"`earlier` must write in a block before that in which `later` reads, got {wrote!r} and {read!r}. "
            "Swap them, or train the second on a later block."
        )
    return earlier.dictionary.detach().float() @ _reads(model, later).T


@checked(leave=("transcoder",))
def de_embed(model: LiveModel, transcoder: Transcoder, atom: int, n: Count = 8) -> pd.DataFrame:
    """Return the tokens whose embedding alone excites an atom of an early transcoder most.

    Returns
    -------
    DataFrame
        `token`, and `score`: e_t · (C E_atom) with ‖e_t‖ = 1, as the norm has it, less its mean over the
        vocabulary, in standard deviations.

    Raises
    ------
    ValueError: If the model has no token embeddings of the transcoder's width.

    Source
    ------
    As `weight_connections`: "de-embeddings".

    Example
    -------
    >>> import sae_nb as sn
    >>> first = sn.Transcoder(128, 128, 32, 4)
    >>> first.hook_point = "mlp_in.0"
    >>> len(de_embed(sn.load_model("tiny-gpt"), first, 3, n=5))
    5
    """
    scores = token_scores(model, transcoder)[:, atom]
    best = scores.topk(n)
    names = describe_ids(model.tokenizer, best.indices.tolist())
    tokens = [names[i] for i in best.indices.tolist()]
    return pd.DataFrame({"token": tokens, "score": best.values.numpy()})


@checked(leave=("earlier", "later"))
def check_connections(
    model: LiveModel,
    earlier: Transcoder,
    later: Transcoder,
    inputs: Inputs,
    *,
    n_atoms: Count = 24,
) -> AtomConnections:
    """Take atoms out of the running model, one at a time, and hold what a later one loses against weights.

    For each of the atoms that fire most often, z d is subtracted where the earlier one writes, at every token;
    the measured connection to a later atom is the mean of the fall of what that atom reads, divided by z, over
    the tokens at which the first fires.

    Parameters
    ----------
    n_atoms
        Atoms of the earlier transcoder.

    Raises
    ------
    ValueError: As `weight_connections`; if no atom fires eight times.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> first, second = (sn.Transcoder(128, 128, 32, 4) for _ in range(2))
    >>> first.hook_point, first.target_hook_point, second.hook_point = "mlp_in.1", "mlp_out.1", "mlp_in.3"
    >>> texts = sn.data.stories(4, seed=0).texts
    >>> check_connections(gpt, first, second, texts, n_atoms=3).later
    'mlp_in.3'
    """
    weights = weight_connections(model, earlier, later)
    wrote, read = str(earlier.target_hook_point), str(later.hook_point)
    seen = capture(model, inputs, [str(earlier.hook_point), read], progress=False)
    codes = earlier.encode(seen[str(earlier.hook_point)].x).to_dense().detach().float()
    fires = (codes != 0).sum(dim=0)
    order = fires.argsort(descending=True, stable=True)[:n_atoms]
    atoms = [int(a) for a in order if fires[a] >= FEWEST]
    if not atoms:
        raise ValueError(
            f"`inputs` must let an atom fire at {FEWEST} tokens or more, and none does. Pass more texts."
        )
    rows, turned = [], np.roll(atoms, 1)
    for atom, other in zip(atoms, turned, strict=True):
        lost = _lost(model, earlier, later, inputs, atom, seen[read].x)
        there = codes[:, atom] != 0
        measured = (lost[there] / codes[there, atom, None]).mean(dim=0).numpy()
        ranks = (
            rank_correlation(weights[a].numpy(), measured, undefined=0.0)
            for a in (atom, int(other))
        )
        rows.append((atom, int(fires[atom]), *ranks))
    table = pd.DataFrame(rows, columns=["atom", "fires", "rank", "floor"])
    return AtomConnections(table=table, earlier=wrote, later=read)


@torch.no_grad()
def _lost(
    model: LiveModel, earlier: Any, later: Any, inputs: Any, atom: int, clean: Float[Tensor, "n d"]
) -> Float[Tensor, "n n_later"]:
    """Return by how much what each later atom reads falls when an earlier one is taken out."""
    direction, read = earlier.dictionary[atom].detach(), str(later.hook_point)
    strengths: list[Tensor] = []

    def noted(x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        strengths.append(earlier.encode(x.flatten(0, -2)).to_dense()[:, atom].view(x.shape[:-1]))
        return x

    def without(y: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return y - strengths.pop()[..., None] * direction.to(y)

    with (
        splice(model, str(earlier.hook_point), noted),
        splice(model, str(earlier.target_hook_point), without),
    ):
        changed = capture(model, inputs, read, progress=False).x
    return (clean - changed).float() @ later.encoder.weight.detach().float().T


def _reads(model: LiveModel, transcoder: Any) -> Float[Tensor, "n d"]:
    """Return what each atom reads, as directions of the stream before the norm of its MLP."""
    reads = transcoder.encoder.weight.detach().float().cpu()
    if not str(transcoder.hook_point).startswith("mlp_in."):
        return reads
    norm = norm_of(_norm_before(model, str(transcoder.hook_point)), reads.shape[1])
    return reads if norm is None else norm.before(reads)


def _norm_before(model: LiveModel, place: str) -> nn.Module | None:
    """Return the module with vectors for weights whose output enters a place, seen in a pass; None without."""
    layer = _layer(model, place)
    block = model.get_module(model.hook_point(f"resid_post.{layer}").path)
    made: list[tuple[nn.Module, Tensor]] = []
    found: list[nn.Module] = []

    def note(part: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            made.append((part, output))

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        found.extend(part for part, y in made if y.data_ptr() == x.data_ptr())

    reader = model.get_module(model.hook_point(place).path)
    hooks = [part.register_forward_hook(note) for part in block.modules()]
    hooks.append(reader.register_forward_pre_hook(enter, with_kwargs=True))
    try:
        with model.lock:
            ran = trial_pass(model)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ValueError(
            "`model` must run on a few tokens, to show which norm its MLPs read through, and "
            f"{model.name} did not. Pass a model of texts."
        )
    return next((part for part in found if norm_of(part) is not None), None)


def token_scores(model: LiveModel, transcoder: Any) -> Float[Tensor, "vocabulary n"]:
    """Return how much each token's embedding alone excites each atom, in deviations over the vocabulary."""
    find = getattr(model.module, "get_input_embeddings", None)
    table = find() if callable(find) else None
    reads = _reads(model, transcoder)
    if table is None or model.tokenizer is None or table.weight.shape[1] != reads.shape[1]:
        raise ValueError(
            f"`model` must have token embeddings of width {reads.shape[1]}, and {model.name} has none. Use a "
            "transcoder of its residual stream's width."
        )
    embedded = table.weight.detach().float().cpu()
    scores = normalize(embedded, dim=1) @ reads.T  # the norm before the MLP makes all of one length
    return (scores - scores.mean(dim=0)) / scores.std(dim=0).clamp_min(1e-12)


def _layer(model: LiveModel, place: str) -> int:
    return int(model.hook_point(place).layer or 0)

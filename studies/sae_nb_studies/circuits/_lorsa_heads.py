"""Where the heads of a Lorsa look, each by itself: the scores of `head_scores` for heads of one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, checked
from sae_nb.circuits import HeadScores, one_input, pattern_scores, position_texts, repeated_texts
from sae_nb.models import AttentionPlace, read_attention, run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import Batch, LiveModel
    from sae_nb_studies.architectures import Lorsa

SCORES = ("induction", "previous", "same", "sink")

MOST_WORDS = 30
"""Of a text whose words stand at the axes."""


@checked(leave=("lorsa",))
@torch.no_grad()
def lorsa_head_scores(
    model: LiveModel,
    lorsa: Lorsa,
    *,
    n_texts: Count = 8,
    n_tokens: int | None = None,
    fewest: Count = 8,
    seed: Seed = 0,
) -> HeadScores:
    """Measure where each head of a Lorsa looks when it is active, on random tokens that come twice.

    In `head_scores` a head's attention A_ts is asked; here |A_ts ⟨x_s − μ, E_j⟩| as shares of their sum over s:
    heads of a group share A and differ in what they take from where. Rows t at which the head is among the k
    active ones count.

    Parameters
    ----------
    lorsa
        Of an attention layer of the model, read at `lorsa.hook_point`.
    n_texts, n_tokens
        As in `head_scores`.
    fewest
        Tokens at which a head must be active for a score; of the others it is NaN.

    Returns
    -------
    As `head_scores`, `head` being the number of the atom: `induction`, `previous`, `same`, `sink`, each beside
    its control, and the `role` that follows by its lines.

    Raises
    ------
    ValueError: If the model reads no tokens, or the Lorsa does not know where it reads.

    Source
    ------
    Olsson et al., arXiv 2209.11895, for the scores. Weighing attention by what is taken is "z pattern" in He et
    al.'s code (arXiv 2504.20938); shares of sizes, and rows at which a head is active, are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> from sae_nb_studies.architectures import Lorsa
    >>> model = sn.load_model("tiny-induction")
    >>> texts = ["q k e f q k e f", "a b c d e a b c d e"]
    >>> lorsa = Lorsa.of_layer(model, 1, texts, n_atoms=32, k=4)
    >>> bool(np.nanmax(lorsa_head_scores(model, lorsa).score("induction")) > 0.8)
    True
    """
    if lorsa.hook_point is None:
        raise ValueError(
            "`lorsa.hook_point` must say where it reads, and is None. Train it on captured activations."
        )
    n_tokens, texts = repeated_texts(model, n_texts, n_tokens, seed=seed)
    sums, counts = (
        np.zeros((2, len(SCORES), lorsa.n_atoms)),
        np.zeros((2, len(SCORES), lorsa.n_atoms)),
    )
    place = AttentionPlace("", model.hook_point(str(lorsa.target_hook_point)).layer or 0)
    for batch, repeats in texts:
        asked = SCORES if repeats else ("induction_control",)
        for row, (atoms, shares) in enumerate(_shares(model, lorsa, batch)):
            ids = None if batch.token_ids is None else batch.token_ids[row : row + 1]
            found = pattern_scores(model, place, shares[None], ids, asked, n_tokens)
            for name, both in found.items():
                first = int(name.endswith("_control"))
                for side, values in enumerate(both, start=first):
                    if values is not None:
                        at = (side, SCORES.index(name.removesuffix("_control")), atoms.numpy())
                        sums[at] += values.double().nansum(dim=1).numpy()
                        counts[at] += values.isfinite().sum(dim=1).numpy()
    counts[0, :, counts[0].max(axis=0) < fewest] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        values, controls = np.where(counts > 0, sums / counts, np.nan)
    return HeadScores(
        model_name=f"a Lorsa of {model.name}",
        scores=SCORES,
        stream=("",) * lorsa.n_atoms,
        layer=np.full(lorsa.n_atoms, place.layer),
        head=np.arange(lorsa.n_atoms),
        values=values.T,
        controls=controls.T,
    )


@checked(leave=("lorsa", "text"))
def draw_lorsa_heads(
    model: LiveModel,
    lorsa: Lorsa,
    text: Inputs,
    atoms: Sequence[int],
    heads: Sequence[int] = (),
) -> Any:
    """Draw where heads of a Lorsa look on one text when they are active, beside heads of the model's own layer.

    Parameters
    ----------
    text
        One input.
    atoms
        Numbers of heads of the Lorsa; rows at which one is not active stay empty.
    heads
        Numbers of the layer's own heads, whose attention is drawn.

    Returns
    -------
    A figure: a square for each, rows are where one looks from, shares of a row from 0 to 1.

    Raises
    ------
    ValueError: If it is not one text, or a number is not there.

    Example
    -------
    >>> import sae_nb as sn
    >>> from sae_nb_studies.architectures import Lorsa
    >>> model, text = sn.load_model("tiny-induction"), "q k e f q k e f"
    >>> lorsa = Lorsa.of_layer(model, 1, [text], n_atoms=32, k=4)
    >>> len(draw_lorsa_heads(model, lorsa, text, atoms=[3, 4], heads=[1]).data)
    3
    """
    from sae_nb.figures import heatmaps, named_ticks, visible_token

    batch = one_input(model, text, name="text")
    if not all(0 <= head < (model.n_heads or 0) for head in heads):
        raise ValueError(
            f"`heads` must be from 0 to {(model.n_heads or 0) - 1}, got {list(heads)}."
        )
    layer = model.hook_point(str(lorsa.target_hook_point)).layer or 0
    own = read_attention(model, batch, layer).pattern.cpu().numpy()
    squares = {f"head {layer}.{head}": own[head] for head in heads}
    chosen = torch.as_tensor(list(atoms))
    ((_, shares),) = _shares(model, lorsa, batch, chosen)
    squares |= {f"atom {int(a)}": one.numpy() for a, one in zip(chosen, shares, strict=True)}
    figure = heatmaps(
        squares,
        ends=(0.0, 1.0),
        hover="from %{y} at %{x}: %{z:.2f}",
        bar="share",
        height=300,
    )
    words = position_texts(model, batch, own.shape[1])
    if len(words) <= MOST_WORDS:
        ticks = named_ticks(visible_token(word.strip()) for word in words)
        figure.update_xaxes(ticks, tickangle=0)
        figure.update_yaxes(ticks)
    figure.update_yaxes(range=[len(words) - 0.5, -0.5])
    return figure


def _shares(
    model: LiveModel, lorsa: Lorsa, batch: Batch, chosen: Int[Tensor, " n"] | None = None
) -> list[tuple[Int[Tensor, " n"], Float[Tensor, "n time source"]]]:
    """Return of each text heads, all that are active unless chosen, and what each takes from where.

    NaN where one is not active.
    """
    point = str(lorsa.hook_point)
    states = run(model, batch, read=[point]).states[point].to(lorsa.dtype)
    found = []
    for x in states:
        active = lorsa.encode(x).to_dense() != 0
        atoms = active.any(dim=0).nonzero().flatten() if chosen is None else chosen
        taken = lorsa.sources(x, atoms).abs()
        shares = taken / taken.sum(dim=-1, keepdim=True)
        shares[~active[:, atoms].T] = torch.nan
        found.append((atoms.cpu(), shares.float().cpu()))
    return found

"""The shortest paths of all: from each head straight to the answer, with everything else as in the clean run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.circuits import part_places
from sae_nb.circuits import written_by_heads
from sae_nb.models import attention_patterns
from sae_nb.models import run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.data import PromptPairs

Read = Callable[[Tensor], Tensor]


class PairEnds(NamedTuple):
    """A pair of texts at their last positions; heads are counted through all layers."""

    end: Float[Tensor, " d"]
    """The clean run's stream before the last norm."""

    clean: Float[Tensor, "heads d"]
    """What each head writes there."""

    corrupted: Float[Tensor, "heads d"]

    read: Read
    """From a stream (…, d) to the logit of the clean answer less that of the corrupted one."""

    answers: tuple[float, float]
    """The model's own difference of the two logits, clean and corrupted."""


@torch.no_grad()
def pair_ends(model: Any, clean: str, corrupted: str, answers: tuple[str, str]) -> PairEnds:
    """Run a pair of texts and return the last stream, what each head wrote, and how answers are read."""
    target, other = (model.tokenizer(one)["input_ids"][-1] for one in answers)
    unembedding = model.module.get_output_embeddings().weight
    direction = (unembedding[target] - unembedding[other]).detach()
    norm = model.get_module(model.hook_point("final_norm").path)
    last, places = f"resid_post.{model.n_layers - 1}", list(map(str, part_places(model, "head")))

    def read(x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = norm(x.to(direction)) @ direction
        return found

    ends, written = [], []
    for text in (clean, corrupted):
        (batch,) = model.batches([text], batch_size=1)
        states = run(model, batch, read=[*places, last]).states
        ends.append(states[last][0, -1])
        heads = []
        for layer, place in enumerate(places):
            z = states[place][0, -1].reshape(model.n_heads, -1)
            alone = torch.eye(len(z)).to(z)[:, :, None] * z  # of each head, the others silent
            heads.append(written_by_heads(model, layer, alone.flatten(1)))
        written.append(torch.cat(heads))
    shown = float(read(ends[0])), float(read(ends[1]))
    return PairEnds(ends[0], written[0], written[1], read, shown)


def straight(
    end: Float[Tensor, " d"],
    clean: Float[Tensor, "heads d"],
    corrupted: Float[Tensor, "heads d"],
    read: Read,
    corrupted_answer: float,
) -> Float[Tensor, " heads"]:
    """Return the share of an answer's change that goes straight from each head to the answer."""
    answer = read(end)
    return (read(end - clean + corrupted) - answer) / (corrupted_answer - answer)


def straight_paths(model: Any, pairs: PromptPairs, *, seed: int = 0) -> DataFrame:
    """Measure the straight path of every head over pairs, next to a random change of the same length.

    Returns
    -------
    Columns `layer`, `head`, `effect` and `control`, shares of the answer's change, the largest first.

    Source
    ------
    Wang et al., arXiv 2211.00593; Goldowsky-Dill et al., arXiv 2304.05969: paths to the logits.
    """
    import pandas as pd

    draws = torch.Generator().manual_seed(seed)
    found, random = [], []
    for pair in zip(pairs.clean, pairs.corrupted, pairs.answers, strict=True):
        end, clean, corrupted, read, (_, changed) = pair_ends(model, *pair)
        found.append(straight(end, clean, corrupted, read, changed))
        drawn = torch.nn.functional.normalize(torch.randn(clean.shape, generator=draws), dim=1)
        moved = drawn.to(clean) * (corrupted - clean).norm(dim=1, keepdim=True)
        random.append(straight(end, clean, clean + moved, read, changed))
    effect, control = (torch.stack(of).mean(dim=0).tolist() for of in (found, random))
    heads = [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]
    table = pd.DataFrame(heads, columns=["layer", "head"]).assign(effect=effect, control=control)
    return table.sort_values("effect", key=abs, ascending=False, ignore_index=True)


def looks(model: Any, pairs: PromptPairs, heads: Sequence[tuple[int, int]]) -> DataFrame:
    """Measure how much the last token attends to the right answer and to the first and last mention of the other."""
    import pandas as pd

    columns = ["right answer", "other, first", "other, last"]
    found = torch.zeros(len(heads), len(columns))
    for text, target, other in zip(pairs.clean, pairs.targets, pairs.others, strict=True):
        (batch,) = model.batches([text], batch_size=1)
        tokens = model.tokenizer(text)["input_ids"]
        right, wrong = (model.tokenizer(one)["input_ids"][-1] for one in (target, other))
        last = len(tokens) - 1 - tokens[::-1].index(wrong)
        at = [tokens.index(right), tokens.index(wrong), last]
        patterns = attention_patterns(model, batch)
        found += torch.stack([patterns[layer][0, head, -1, at].cpu() for layer, head in heads])
    names = [f"{layer}.{head}" for layer, head in heads]
    return pd.DataFrame((found / len(pairs.clean)).numpy(), index=names, columns=columns)

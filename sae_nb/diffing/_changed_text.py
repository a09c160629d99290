"""changed_text: one text as two checkpoints answer it, token by token, and what a direction explains of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.activations.tokens import describe_ids, token_texts
from sae_nb.checks import Count, checked
from sae_nb.diffing._model_diff import ModelDiff, check_alike, check_found, read_by_both
from sae_nb.findings import Finding
from sae_nb.steering._answers import kl

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import LiveModel


class ChangedText(Finding):
    """A text as two models answer it, at every token; made by `changed_text`."""

    tokens: tuple[str, ...]
    """Tokens after which both models answer, spaces included."""

    kl: Float[np.ndarray, " tokens"]
    """KL(a‖b) of the next token, in nats."""

    left: Float[np.ndarray, " tokens"] | None
    """KL in nats that is left when b has a's states along the finding's direction; None without a finding."""

    outcomes: tuple[tuple[str, ...], ...]
    """Per token the answers of both models, then the next tokens whose probability moved most."""

    before: Float[np.ndarray, "tokens outcomes"]
    after: Float[np.ndarray, "tokens outcomes"]
    """Their probabilities under a and under b."""

    set_back: Float[np.ndarray, "tokens outcomes"] | None
    """Their probabilities under b with a's states along the direction; None without a finding."""

    @property
    def headline(self) -> str:
        """Mean KL, the place that moved most, and the part that the direction explains."""
        at = int(self.kl.argmax())
        words = f"{len(self.tokens)} tokens, KL {self.kl.mean():.3g} nats, most after {self.tokens[at]!r}"
        if self.left is None or not self.kl.sum():
            return words
        return f"{words}; {1 - self.left.sum() / self.kl.sum():.0%} of it along the direction"

    @property
    def table(self) -> DataFrame:
        """A row per token: token, kl, left, and the outcome that gains and the one that loses most."""
        import pandas as pd

        moved = self.after - self.before
        rows = np.arange(len(self.tokens))
        gains, loses = moved.argmax(axis=1), moved.argmin(axis=1)
        columns = {
            "token": self.tokens,
            "kl": self.kl,
            "left": self.left,
            "raised": [self.outcomes[i][j] for i, j in zip(rows, gains)],
            "lowered": [self.outcomes[i][j] for i, j in zip(rows, loses)],
        }
        return pd.DataFrame({name: x for name, x in columns.items() if x is not None})


@checked
def changed_text(
    a: LiveModel,
    b: LiveModel,
    text: str,
    found: ModelDiff | None = None,
    *,
    finding: int = 0,
    n_outcomes: Count = 6,
) -> ChangedText:
    """Read one text with both models: where answers differ, and what a finding's direction explains there.

    Costs two forward passes, three with a finding.

    Parameters
    ----------
    a, b
        Before and after, as for `diff_models`; language models.
    text
        Any text; it need not be one of those the models were compared on.
    found
        From `diff_models` of the same two; None: nothing is set back.
    finding
        Row of `found.table` whose direction is set back.
    n_outcomes
        Next tokens that are listed at each place.

    Raises
    ------
    DifferentModelsError: If the two cannot be compared.
    TypeError: If `found` does not come from `diff_models`.
    ValueError: If they read no texts, the text has no token after which they answer, or there is no such
        finding.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> float(changed_text(gpt, gpt, "The cat sat.").kl.max()) < 1e-6
    True
    """
    check_alike(a, b)
    check_found(found)
    if not a.modality.is_text or a.tokenizer is None:
        raise ValueError(
            f"`a` must be a language model, got {a.name}, which reads {a.modality.sample}s. Use "
            "sn.diff_models(a, b, inputs).places."
        )
    batch = next(iter(a.batches([text], batch_size=1)))
    first, old, new, rest = read_by_both(a, b, batch, found, finding)
    keep = first.answer.keep
    if not len(old) or batch.token_ids is None or keep is None:
        raise ValueError(
            "`text` must have at least one token after which the models answer, got none. Pass a longer text."
        )
    p, q = old.softmax(-1), new.softmax(-1)
    moved = (q - p).abs()
    for own in (p, q):  # what each would say is listed, moved or not
        moved.scatter_add_(1, own.argmax(-1, keepdim=True), torch.full_like(moved[:, :1], 2.0))
    top = moved.topk(min(n_outcomes, p.shape[1]), dim=-1).indices
    ids = batch.token_ids[keep.to(batch.token_ids.device)].tolist()
    names = describe_ids(a.tokenizer, set(top.flatten().tolist()))

    def listed(scores: torch.Tensor) -> Float[np.ndarray, "tokens outcomes"]:
        return scores.softmax(-1).gather(1, top).double().cpu().numpy()

    return ChangedText(
        tokens=tuple(token_texts(a.tokenizer, ids)),
        kl=kl(old, new).double().cpu().numpy(),
        left=None if rest is None else kl(old, rest).double().cpu().numpy(),
        outcomes=tuple(tuple(names[one] for one in row) for row in top.tolist()),
        before=listed(old),
        after=listed(new),
        set_back=None if rest is None else listed(rest),
    )


# -------------------------------------------------------------------------------------------------
# A comparison's texts as a page: each token shaded by how far its next answer moved, and what explains it.

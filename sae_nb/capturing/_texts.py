"""Activations text by text, for what is measured within a text and needs no store of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing._harvest import CaptureSettings, Harvest, reporting

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


class TextRows(NamedTuple):
    """A text as the model reads it, and its activations; on the CPU."""

    sample: int
    """Number of the text."""

    token_ids: Int[Tensor, " time"]
    """All of its tokens."""

    x: Float[Tensor, "m d_in"]
    """Activations of those that `capture` keeps, the first tokens of a decoder left out."""

    position: Int[Tensor, " m"]
    """Where in `token_ids` each row is."""


def text_rows(
    model: LiveModel,
    texts: Inputs,
    hook_point: str,
    *,
    batch_size: int | None = None,
    progress: bool = False,
) -> Iterator[TextRows]:
    """Run a model batch by batch and yield each text's activations at a hook point, the rows of `capture`.

    Parameters
    ----------
    texts
        Inputs for `capture`, of a model with a tokenizer.
    progress
        Draw a bar.

    Example
    -------
    >>> import sae_nb as sn
    >>> text = next(text_rows(sn.load_model("tiny-gpt"), ["The list of", "A"], "resid_post.1"))
    >>> len(text.token_ids), text.position.tolist(), tuple(text.x.shape)
    (4, [1, 2, 3], (3, 128))
    """
    settings = CaptureSettings(batch_size=batch_size)
    harvest = Harvest(model, {hook_point: model.hook_point(hook_point)}, settings)
    batches, n_rows = harvest.batches(texts), 0
    with reporting(progress, batches.n_samples) as report:
        for batch in batches:
            rows = harvest.rows(batch, {hook_point: n_rows})[hook_point]
            token_ids, sample = cast(Tensor, batch.token_ids).cpu(), batch.sample.cpu()
            after = batch.first_sample + batch.n
            for number in range(batch.first_sample, after):
                own = rows.sample == number
                ids = token_ids[sample == number]
                yield TextRows(number, ids, rows.x[own], rows.position[own])
            n_rows += len(rows.x)
            report(n_rows, after)

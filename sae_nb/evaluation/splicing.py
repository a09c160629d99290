"""Which inputs an SAE is spliced into, at which positions, and what is put in its place to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import same_length
from sae_nb.edits import Change, Where
from sae_nb.evaluation.downstream import Scores, score_batches
from sae_nb.progress import progress_bar
from sae_nb.steering import splice
from sae_nb.tokens import Ragged

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.evaluation.controls import RandomDictionary
    from sae_nb.models.inputs import Batch, Batches
    from sae_nb.models.live_model import LiveModel

_LOGITS = 2**27  # numbers in one batch of logits: half a gigabyte in fp32
_LONG = 1024  # tokens of a text that memory is planned for


@dataclass(frozen=True, kw_only=True, eq=False)
class SpliceTask:
    """A checked request to run a model on reconstructions."""

    sae: SparseAutoencoder
    model: LiveModel
    hook_point: str
    inputs: Any
    labels: Int[Tensor, " samples"] | None
    drop_first: bool
    """Whether the first token of every text passes through untouched, as capture drops it."""

    keep_special: bool
    """Whether special tokens are spliced."""

    def run(
        self,
        mean: Float[Tensor, " d_in"],
        random: RandomDictionary,
        *,
        batch_size: int | None,
        progress: bool,
    ) -> Scores:
        """Run every variant of the model on every input."""
        batch_size = batch_size or _batch_size(self.model)
        changes: dict[str, Change] = {
            "spliced": self.sae,
            "zero": torch.zeros_like,
            "mean": lambda x: mean.to(x).expand_as(x),
            "random": random,
        }
        batches: Batches = self.model.batches(self.inputs, batch_size=batch_size)
        total = getattr(batches, "n_samples", None)
        if self.labels is not None and total is not None:
            same_length(self.labels, total, name="labels", per="sample of `inputs`")
        with progress_bar(total, "splice", "sample", enabled=progress) as bar:
            return score_batches(
                self.model,
                self.hook_point,
                changes,
                batches,
                self.labels,
                keep=self.keep,
                done=bar.update,
            )

    def keep(self, batch: Batch) -> Where:
        """Return which positions of a batch are spliced: those that capture keeps."""
        if batch.token_ids is None:
            return "not_first" if self.drop_first else None
        kept = batch.sample >= 0
        if self.drop_first:
            # Where a long text was cut in windows, attention begins at the first real column too.
            kept = kept & (batch.position != 0) & (kept.cumsum(dim=1) != 1)
            begin = self.model.beginning_of_text
            kept = kept if begin is None else kept & (batch.token_ids != begin)
        if not self.keep_special and batch.special is not None:
            kept = kept & ~batch.special
        return lambda _state: kept

    def stated(self, scores: Scores) -> dict[str, Any]:
        """Return what was run, for the report."""
        untouched = ["padding"]
        untouched += ["first tokens"] if self.drop_first else []
        untouched += [] if self.keep_special else ["special tokens"]
        return {
            "model": self.model.name,
            "hook_point": self.hook_point,
            "scoring": scores.scoring,
            "passed_through": untouched,
            "n_spliced": scores.n_spliced,
        }


def _batch_size(model: LiveModel) -> int:
    """Return how many samples to run at a time: logits are what fills memory."""
    if model.kind != "language":
        return 64
    n_tokens = min(model.context_length or _LONG, _LONG)
    return max(1, min(16, _LOGITS // ((model.vocabulary_size or 1) * n_tokens)))


def splice_task(
    sae: SparseAutoencoder,
    acts: Activations,
    model: LiveModel | None,
    inputs: Any,
    labels: Int[Tensor, " samples"] | None,
    hook_point: str | None,
) -> SpliceTask | None:
    """Check everything about a splice before anything runs; None where no model is given.

    Raises
    ------
    ValueError
        If the hook point is unknown or of another width, there are no inputs, labels do not fit, or
        SAE and model are on different devices.
    """
    if model is None:
        if inputs is not None or labels is not None or hook_point is not None:
            raise ValueError(
                "`inputs`, `labels` and `hook_point` are about the model's output, but no `model` was "
                "given. Pass model=."
            )
        return None
    name = hook_point or acts.hook_point or sae.hook_point
    if name is None:
        raise ValueError(
            "`hook_point` must say where to splice, because neither `acts` nor `sae` carries one. "
            'Pass hook_point="resid_post.0", say.'
        )
    splice(model, name, sae)  # checks hook point and width, and installs nothing
    if sae.dictionary.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device, {model.device}, got {sae.dictionary.device}. Use "
            "sae.to(model.device)."
        )
    inputs, labels = _inputs_and_labels(acts, inputs, labels)
    policy = acts.context.policy
    return SpliceTask(
        sae=sae,
        model=model,
        hook_point=name,
        inputs=inputs,
        labels=_check_labels(labels, model),
        drop_first=bool(policy.get("drop_first", model.causal)),
        keep_special=bool(policy.get("keep_special", True)),
    )


def _inputs_and_labels(acts: Activations, inputs: Any, labels: Any) -> tuple[Any, Tensor | None]:
    """Return what to run: by default the very samples that the rows come from."""
    labels = None if labels is None else torch.as_tensor(labels)
    if inputs is not None:
        return inputs, labels
    context, present = acts.context, torch.unique(acts.sample)
    if context.token_ids is None and context.pictures is None:
        raise ValueError(
            "`inputs` are needed to run the model, because `acts` do not carry the samples they were "
            "captured from. Pass inputs=."
        )
    if labels is not None and len(labels) == context.n_samples:
        labels = labels[present]
    if context.pictures is not None:
        return context.pictures[present], labels
    texts = cast(Ragged, context.token_ids)
    return [texts.sample(int(sample)) for sample in present], labels


def _check_labels(labels: Tensor | None, model: LiveModel) -> Int[Tensor, " samples"] | None:
    if labels is None:
        return None
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) == 0:
        raise ValueError(
            f"`labels` must be whole numbers, one per sample, got shape {tuple(labels.shape)} of "
            f"{labels.dtype}."
        )
    n_classes = None if model.class_names is None else len(model.class_names)
    if int(labels.min()) < 0 or (n_classes is not None and int(labels.max()) >= n_classes):
        raise ValueError(
            f"`labels` must be classes of the model's first head, 0 … {(n_classes or 0) - 1}, got "
            f"{int(labels.min())} … {int(labels.max())}."
        )
    return labels.long()

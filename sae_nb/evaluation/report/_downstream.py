"""Does the model still work on reconstructions? Its loss with an SAE spliced in, as a whole and by token.

Each batch runs clean, spliced (x̃ = sae(x)), zero-ablated, mean-ablated (x̃ = μ), and with a random
dictionary in the SAE's place. CE recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._positions import PositionPolicy
from sae_nb.checks import checked, same_length
from sae_nb.evaluation.report._measurement import Measurement, Resampling, measured
from sae_nb.models._prefix_cache import PrefixCache
from sae_nb.models._running import run
from sae_nb.progress import progress_bar
from sae_nb.statistics import Interval, Statistic
from sae_nb.steering import splice
from sae_nb.steering._request import policy_for
from sae_nb.steering.edits import Change

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.evaluation.report._measurement import RandomDictionary
    from sae_nb.evaluation.report._sampling import Sampling
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._inputs import Batch, Batches


Scoring = Literal["next_token", "labels", "classes", "vectors"]
Means = Callable[[str, str], np.ndarray]
"""(quantity, variant) → its mean over what was scored."""

_DEGENERATE = 1e-9  # an ablation that changes the loss by less leaves nothing to recover


@dataclass
class Scores:
    """Sums per sample of what each variant of the model scores."""

    scoring: Scoring
    columns: list[str] = field(default_factory=list)
    tables: list[np.ndarray] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    n_spliced: int = 0
    n_massive: int = 0
    complete: bool = True
    """Whether all inputs were scored."""

    @property
    def n(self) -> float:
        """Scored rows of the newest batch."""
        return float(self.tables[-1][:, 0].sum())

    def add(self, sample: Int[Tensor, " batch"], sums: dict[str, Float[Tensor, " batch"]]) -> None:
        """Take in one batch."""
        self.columns = list(sums)
        self.samples.append(sample.cpu().numpy())
        self.tables.append(np.stack([v.double().cpu().numpy() for v in sums.values()], axis=1))

    def by_group(self, resampling: Resampling) -> Float[np.ndarray, "groups columns"]:
        """Return the sums of each bootstrap group."""
        return resampling.grouped(np.concatenate(self.tables), np.concatenate(self.samples))

    def means(self, sums: Float[np.ndarray, "*resamples columns"]) -> Means:
        """Return (quantity, variant) → the mean over what was scored, from sums of the columns."""
        place = {name: i for i, name in enumerate(self.columns)}
        return lambda quantity, variant: sums[..., place[f"{quantity}_{variant}"]] / sums[..., 0]


def scoring_for(model: LiveModel, labels: Tensor | None) -> Scoring:
    """Return how a model's output is scored: the most informative way that the inputs allow."""
    if labels is not None:
        return "labels"
    if model.modality.is_text and model.causal:
        return "next_token"
    return "classes" if model.class_names is not None else "vectors"


Sums = Callable[[Tensor], dict[str, Float[Tensor, " rows"]]]
"""An output → sums over what is scored of every row, compared with the clean output."""


def _next_token(
    clean: Tensor, batch: Batch, _truth: Tensor | None
) -> tuple[Float[Tensor, " rows"], Sums]:
    """−log p of each real next token, and KL from the clean prediction, in fp32."""
    reference = clean.float().log_softmax(dim=-1)
    scored, ids = batch.has_next(), cast(Tensor, batch.token_ids)

    def sums(output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        parts: dict[str, list[Tensor]] = {"ce": [], "kl": [], "agreement": []}
        for row, (logits, usual) in enumerate(zip(output, reference, strict=True)):
            where = scored[row].nonzero().flatten()
            # Row by row: a whole batch in fp32 would be (batch, time, vocabulary) once more.
            log_p, log_clean = logits[where].float().log_softmax(dim=-1), usual[where]
            ce = -log_p.gather(1, ids[row, where + 1][:, None])
            parts["ce"].append(ce.double().sum())
            parts["kl"].append(_kl(log_clean, log_p).double().sum())
            parts["agreement"].append((log_p.argmax(-1) == log_clean.argmax(-1)).double().sum())
        return {name: torch.stack(values) for name, values in parts.items()}

    return scored.sum(dim=1).double(), sums


def _classes(
    clean: Tensor, _batch: Batch, truth: Tensor | None
) -> tuple[Float[Tensor, " rows"], Sums]:
    """KL from the clean probabilities, same top class; of labels −log p, and whether they are the top."""
    if clean.ndim != 2:
        raise ValueError(
            "Scores of classes need one row of class scores per sample, got an output of shape "
            f"{tuple(clean.shape)}. Leave `labels` out."
        )
    reference = clean.float().log_softmax(dim=-1)

    def sums(output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        log_p = output.float().log_softmax(dim=-1)
        top = log_p.argmax(dim=-1)
        agreement = (top == reference.argmax(dim=-1)).double()
        parts = {"kl": _kl(reference, log_p), "agreement": agreement}
        if truth is not None:
            labels = truth.to(log_p.device)
            if int(labels.max()) >= log_p.shape[1]:
                raise ValueError(
                    f"`labels` must be classes of the model's first head, 0 … {log_p.shape[1] - 1}, "
                    f"got {int(labels.max())}."
                )
            parts["ce"] = -log_p.gather(1, labels[:, None])[:, 0]
            parts["accuracy"] = (top == labels).double()
        return parts

    return torch.ones(len(reference), dtype=torch.float64), sums


def _vectors(
    clean: Tensor, batch: Batch, _truth: Tensor | None
) -> tuple[Float[Tensor, " rows"], Sums]:
    """Cosine with the clean output vectors, padding left out."""
    reference, keep = clean.float(), batch.keep
    n, *times, _ = clean.shape
    time = math.prod(times)
    if keep is None or tuple(keep.shape) != (n, time):
        keep = torch.ones(n, time, dtype=torch.bool, device=clean.device)

    def sums(output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        cosine = torch.cosine_similarity(output.float(), reference, dim=-1)
        return {"cosine": (cosine.reshape(len(output), -1) * keep).double().sum(dim=1)}

    return keep.sum(dim=1).double(), sums


_SCORES = {
    "next_token": _next_token,
    "labels": _classes,
    "classes": _classes,
    "vectors": _vectors,
}


def _kl(log_clean: Float[Tensor, "n v"], log_p: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """KL(clean‖other) from log-probabilities; a class the clean model rules out adds nothing."""
    p = log_clean.exp()
    return torch.where(p > 0, p * (log_clean - log_p), 0.0).sum(dim=-1)


Formula = Callable[[Means, str], np.ndarray]
"""(mean(quantity, variant), variant) → the number for that variant."""


def _recovered(quantity: str, ablation: str) -> Formula:
    def formula(mean: Means, variant: str) -> np.ndarray:
        ablated = mean(quantity, ablation)
        whole = np.asarray(ablated - mean(quantity, "clean"))
        whole = np.where(np.abs(whole) > _DEGENERATE, whole, np.nan)
        return (ablated - mean(quantity, variant)) / whole

    return formula


def _plain(quantity: str, of: str | None = None) -> Formula:
    return lambda mean, variant: mean(quantity, of or variant)


def _kl_score(mean: Means, variant: str) -> np.ndarray:
    ablated = np.asarray(mean("kl", "zero"))
    ablated = np.where(ablated > _DEGENERATE, ablated, np.nan)
    return (ablated - mean("kl", variant)) / ablated


_KL_ROWS: dict[str, tuple[str, Formula]] = {
    "kl": ("kl_clean_spliced", _plain("kl")),
    "kl_score": ("kl_score_zero", _kl_score),
    "agreement": ("agreement", _plain("agreement")),
}
_CE_ROWS: dict[str, tuple[str, Formula]] = {
    "ce_recovered": ("ce_recovered_zero", _recovered("ce", "zero")),
    "ce_recovered_mean": ("ce_recovered_mean", _recovered("ce", "mean")),
    "delta_ce": ("delta_ce", lambda mean, variant: mean("ce", variant) - mean("ce", "clean")),
    "ce": ("ce", _plain("ce")),
    "ce_clean": ("ce", _plain("ce", "clean")),
    "ce_zero": ("ce", _plain("ce", "zero")),
}
_ACCURACY_ROWS: dict[str, tuple[str, Formula]] = {
    "accuracy_recovered": ("accuracy_recovered_zero", _recovered("accuracy", "zero")),
    "accuracy_recovered_mean": ("accuracy_recovered_mean", _recovered("accuracy", "mean")),
    "accuracy": ("accuracy", _plain("accuracy")),
    "accuracy_clean": ("accuracy", _plain("accuracy", "clean")),
    "accuracy_zero": ("accuracy", _plain("accuracy", "zero")),
}
_ROWS: dict[Scoring, dict[str, tuple[str, Formula]]] = {
    "next_token": _CE_ROWS | _KL_ROWS,
    "labels": _CE_ROWS | _ACCURACY_ROWS | _KL_ROWS,
    "classes": _KL_ROWS,
    "vectors": {
        "output_cosine": ("output_cosine", _plain("cosine")),
        "cosine_recovered": ("cosine_recovered_zero", _recovered("cosine", "zero")),
    },
}
_RECOVERED = {
    "next_token": "ce_recovered",
    "labels": "ce_recovered",
    "classes": "kl_score",
    "vectors": "cosine_recovered",
}
_UNIT = {"next_token": "tokens", "labels": "samples", "classes": "samples", "vectors": "outputs"}


def downstream_rows(scores: Scores, resampling: Resampling) -> dict[str, Measurement]:
    """Return the report's rows on the model's output: floor = mean ablation, control = random."""
    sums, named = scores.by_group(resampling), _ROWS[scores.scoring]
    total = scores.means(sums.sum(axis=0))

    def statistic(formula: Formula) -> Statistic:
        return lambda resampled: np.asarray(formula(scores.means(resampled), "spliced"))

    statistics = {name: statistic(formula) for name, (_, formula) in named.items()}
    ce = "ce_next_token" if scores.scoring == "next_token" else "ce_labels"
    rows = {}
    for name, (value, interval) in resampling.estimates(sums, statistics).items():
        definition, formula = named[name]
        reference = name.endswith(("_clean", "_zero"))
        rows[name] = measured(
            ce if definition == "ce" else definition,
            value,
            floor=None if reference else formula(total, "mean"),
            control=None if reference else formula(total, "random"),
            interval=interval,
            n=int(sums[:, 0].sum()),
            unit=_UNIT[scores.scoring],
        )
    return rows


# -------------------------------------------------------------------------------------------------
# Which inputs an SAE is spliced into, at which positions, and what is put in its place to compare.


_LOOKS = 200  # resamples behind a look whether an interval is narrow
_LOGITS = 2**27  # numbers in one batch of logits: half a gigabyte in fp32
_LONG = 1024  # tokens of a text that memory is planned for
_WHOLE = 2**29  # numbers in the logits of the longest text a model reads, above which texts are cut


@dataclass(frozen=True, kw_only=True, eq=False)
class SpliceTask:
    """A checked request to run a model on reconstructions; made by `splice_task`."""

    sae: SparseAutoencoder
    model: LiveModel
    hook_point: str
    inputs: Inputs
    labels: Int[Tensor, " samples"] | None
    positions: PositionPolicy  # those that the SAE is for; the others pass through

    def run(
        self,
        mean: Float[Tensor, " d_in"],
        random: RandomDictionary,
        *,
        batch_size: int | None,
        progress: bool,
        sampling: Sampling,
        resampling: Resampling,
    ) -> Scores:
        """Run every variant of the model on as many inputs as are needed."""
        changes: dict[str, Change] = {
            "spliced": self.sae,
            "zero": torch.zeros_like,
            "mean": lambda x: mean.to(x).expand_as(x),
            "random": random,
        }
        size = batch_size or _batch_size(self.model)
        longest = _longest(self.model)
        batches: Batches = self.model.batches(self.inputs, batch_size=size, context_length=longest)
        total = getattr(batches, "n_samples", None)
        if self.labels is not None and total is not None:
            same_length(self.labels, total, name="labels", per="sample of `inputs`")
        # The bootstrap is drawn again at every look: few resamples show whether it is narrow.
        coarse = Resampling(_LOOKS, resampling.seed)

        def enough(batch: Batch, scores: Scores) -> bool:
            def interval() -> Interval:
                return downstream_rows(scores, coarse)[_RECOVERED[scores.scoring]].interval

            return sampling.enough(batch, scores.n, interval)

        with progress_bar(total, "splice", "sample", enabled=progress) as bar:
            ordered = sampling.order(self.model, batches)
            scores = self.scores(changes, ordered, done=bar.update, enough=enough)
        if cut := batches.policy.get("truncated", 0):
            sampling.notes.append(
                f"{cut} of the texts were cut after {longest or self.model.context_length} tokens."
            )
        return scores

    def scores(
        self,
        changes: dict[str, Change],
        batches: Iterable[Batch],
        *,
        done: Callable[[int], Any] = lambda _n: None,
        enough: Callable[[Batch, Scores], bool] = lambda _batch, _scores: False,
    ) -> Scores:
        """Run the model clean and with each change at the hook point, and score every sample, until enough
        are scored.

        Only sums per sample are kept; logits live for one batch.
        """
        model, labels = self.model, self.labels
        scores, n_seen = Scores(scoring_for(model, labels)), 0
        below = PrefixCache(model, self.touched(changes.values()))
        for cpu_batch in batches:
            batch = cpu_batch.to(model.device)
            end = batch.first_sample + batch.n
            n_seen = max(n_seen, end)
            truth = None if labels is None else labels[batch.first_sample : end]
            if truth is not None and len(truth) < batch.n:
                same_length(cast(Tensor, labels), n_seen, name="labels", per="sample of `inputs`")
            # Nobody else's edits or forwards may come between: the variants are one measurement.
            with model.lock, torch.no_grad():
                with below.noted():
                    clean = run(model, batch).answer.tensor
                n, score = _SCORES[scores.scoring](clean, batch, truth)
                sums = {"n": n, **{f"{key}_clean": value for key, value in score(clean).items()}}
                for name, change in changes.items():
                    splicing = splice(model, self.hook_point, change, self.positions)
                    with below.left_out(), splicing as edit:
                        output = run(model, batch).answer.tensor
                    sums |= {f"{key}_{name}": value for key, value in score(output).items()}
                    if name == "spliced":
                        scores.n_spliced += edit.n_touched
                        scores.n_massive += edit.n_massive
            scores.add(batch.sample.amax(dim=1), sums)
            done(batch.n)
            if enough(cpu_batch, scores):
                scores.complete = next(iter(batches), None) is None
                return scores
        if labels is not None:
            same_length(labels, n_seen, name="labels", per="sample of `inputs`")
        return scores

    def touched(self, changes: Iterable[Change]) -> list[HookPoint]:
        """Return where changes read and write while the model runs."""
        points: list[HookPoint] = []
        for change in changes:
            with self.model.lock, splice(self.model, self.hook_point, change, self.positions):
                points += [edit.hook_point for edit in self.model.interventions]
        return points

    def stated(self, scores: Scores) -> dict[str, Any]:
        """Return what was run, for the report."""
        met = replace(self.positions, drop_massive=scores.n_massive > 0)
        untouched = ["padding", *filter(None, met.left_out().split(", "))]
        return {
            "model": self.model.name,
            "hook_point": self.hook_point,
            "scoring": scores.scoring,
            "passed_through": untouched,
            "n_spliced": scores.n_spliced,
        }


def _batch_size(model: LiveModel) -> int:
    """Return how many samples to run at a time: logits are what fills memory."""
    if not model.modality.is_text:
        return 64
    n_tokens = _longest(model) or min(model.context_length or _LONG, _LONG)
    return max(1, min(16, _LOGITS // ((model.vocabulary_size or 1) * n_tokens)))


def _longest(model: LiveModel) -> int | None:
    """Return after how many tokens texts are cut, so that the logits of one fit into memory; None: nowhere."""
    vocabulary, context = model.vocabulary_size or 1, model.context_length or _LONG
    if not model.modality.is_text or vocabulary * context <= _WHOLE:
        return None
    return max(1, _LOGITS // vocabulary)


def splice_task(
    sae: SparseAutoencoder,
    acts: Activations,
    model: LiveModel | None = None,
    inputs: Inputs | None = None,
    labels: Int[Tensor, " samples"] | None = None,
    hook_point: str | None = None,
) -> SpliceTask | None:
    """Check everything about a splice before anything runs, with the arguments of `evaluate`.

    None where no model is given.

    Raises
    ------
    ValueError: If there is nothing to say where to splice, devices differ, or arguments are about a model that
        was not given.
    """
    if model is None:
        if inputs is not None or labels is not None or hook_point is not None:
            raise ValueError(
                "`inputs`, `labels` and `hook_point` are about the model's output, but no `model` was "
                "given. Pass model=."
            )
        return None
    name = hook_point or acts.target.hook_point or written_at(sae)
    if name is None:
        raise ValueError(
            "`hook_point` must say where to splice, because neither `acts` nor `sae` carries one. "
            'Pass hook_point="resid_post.0", say.'
        )
    positions = policy_for(model, sae, acts)
    splice(model, name, sae, positions)  # checks hook point and width, and installs nothing
    if sae.dictionary.device.type != model.device.type:
        raise ValueError(
            f"`sae` must be on the model's device, {model.device}, got {sae.dictionary.device}. Use "
            "sae.to(model.device)."
        )
    inputs, labels = _inputs_and_labels(acts, inputs, labels)
    return SpliceTask(
        sae=sae,
        model=model,
        hook_point=name,
        inputs=inputs,
        labels=_check_labels(labels, model),
        positions=positions,
    )


def written_at(sae: SparseAutoencoder) -> str | None:
    """Return the place where a dictionary writes, as far as it knows."""
    elsewhere = getattr(sae, "writes", None) is not None
    return sae.target_hook_point if elsewhere else sae.hook_point


def _inputs_and_labels(
    acts: Activations, inputs: Inputs | None, labels: object
) -> tuple[Inputs, Tensor | None]:
    """Return what to run: by default the very samples that the rows come from."""
    labels = None if labels is None else torch.as_tensor(labels)
    if inputs is not None:
        return inputs, labels
    context, present = acts.context, torch.unique(acts.sample)
    if labels is not None and len(labels) == context.n_samples:
        labels = labels[present]
    sequences = context.token_ids if context.sounds is None else context.sounds
    if context.sounds is None and context.pictures is not None:
        return context.pictures[present], labels
    if sequences is None:
        raise ValueError(
            "`inputs` are needed to run the model, because `acts` do not carry the samples they were "
            "captured from. Pass inputs=."
        )
    return [sequences.sample(int(sample)) for sample in present], labels


def _check_labels(labels: Tensor | None, model: LiveModel) -> Int[Tensor, " samples"] | None:
    if labels is None:
        return None
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) == 0:
        raise ValueError(
            f"`labels` must be whole numbers, one per sample, got shape {tuple(labels.shape)} of "
            f"{labels.dtype}."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    n_classes = None if model.class_names is None else len(model.class_names)
    if lowest < 0 or (n_classes is not None and highest >= n_classes):
        last = "" if n_classes is None else f" {n_classes - 1}"
        raise ValueError(
            f"`labels` must be classes of the model's first head, 0 …{last}, got {lowest} … {highest}."
        )
    return labels.long()


# -------------------------------------------------------------------------------------------------
# Where in a text an SAE costs: Δ cross-entropy and KL of every next token.
#
# Δ_t = −log p_spliced(x_{t+1}) + log p_clean(x_{t+1}); the mean over tokens is the report's `delta_ce`.


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenCosts:
    """The effect of splicing on every token that has a next one."""

    sample: Int[np.ndarray, " tokens"]
    position: Int[np.ndarray, " tokens"]
    token_id: Int[np.ndarray, " tokens"]
    """Text each token is in, its place there, and the token itself; predicted is the token after it."""

    ce_clean: Float[np.ndarray, " tokens"]
    ce_spliced: Float[np.ndarray, " tokens"]
    kl: Float[np.ndarray, " tokens"]
    """−log p of the next token, nats; the same on reconstructions; KL(clean‖spliced), nats."""

    @property
    def delta(self) -> Float[np.ndarray, " tokens"]:
        """Increase of the next token's cost."""
        return self.ce_spliced - self.ce_clean

    def worst(self, n: int = 10) -> Int[np.ndarray, " n"]:
        """Return the n tokens that cost most, by their place in these arrays."""
        return np.argsort(-self.delta, kind="stable")[:n]


@checked
def token_costs(
    model: LiveModel,
    sae: SparseAutoencoder,
    acts: Activations,
    inputs: Inputs | None = None,
    *,
    hook_point: str | None = None,
    batch_size: int = 8,
) -> TokenCosts:
    """Splice an SAE into a language model and measure every next token.

    Parameters
    ----------
    acts, hook_point
        Captured from the model, in the SAE's units: they say where to splice, unless `hook_point` does.
    inputs, batch_size
        Texts, None being those that `acts` carry; how many at a time.

    Raises
    ------
    ValueError: If the model predicts no next token, or hook point and width do not fit.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> texts = ["The cat sat in the garden.", "Tom walked to the castle."]
    >>> acts = sn.capture(model, texts, "resid_post.3", progress=False)
    >>> costs = token_costs(model, sae, acts, texts)
    >>> costs.delta.shape == costs.kl.shape, bool((costs.kl >= 0).all())
    (True, True)
    """
    if not model.modality.is_text or not model.causal:
        raise ValueError(
            f"`model` must predict next tokens, got {model.name}, of kind {model.kind!r}."
        )
    task = splice_task(sae, acts, model, inputs, None, hook_point)
    if task is None:
        raise ValueError("`model` must be a live model, got none.")
    parts, below = [], PrefixCache(model, task.touched([sae]))
    cut_at = _longest(model)
    size = batch_size if cut_at is None else 1
    for cpu_batch in model.batches(task.inputs, batch_size=size, context_length=cut_at):
        batch = cpu_batch.to(model.device)
        with model.lock, torch.no_grad():
            with below.noted():
                clean = run(model, batch).answer.tensor
            with below.left_out(), splice(model, task.hook_point, sae, task.positions):
                spliced = run(model, batch).answer.tensor
        parts += [_of_text(batch, row, clean[row], spliced[row]) for row in range(len(clean))]
    return TokenCosts(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _of_text(batch: Batch, row: int, clean: Tensor, spliced: Tensor) -> dict[str, np.ndarray]:
    """The costs of one row of a batch; padding and borders between texts left out."""
    where, ids = batch.has_next()[row].nonzero().flatten(), cast(Tensor, batch.token_ids)[row]
    log_p, log_q = (out[where].float().log_softmax(dim=-1) for out in (clean, spliced))
    following = ids[where + 1][:, None]
    columns = {
        "sample": batch.sample[row][where],
        "position": batch.position[row][where],
        "token_id": ids[where],
        "ce_clean": -log_p.gather(1, following)[:, 0].double(),
        "ce_spliced": -log_q.gather(1, following)[:, 0].double(),
        "kl": _kl(log_p, log_q).clamp_min(0).double(),
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}

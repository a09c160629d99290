"""Does the model still work on reconstructions? Loss recovered by splicing an SAE into a live model.

Each batch runs clean, spliced (x̃ = sae(x)), zero-ablated, mean-ablated (x̃ = μ), and with a random
dictionary in the SAE's place. CE recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import same_length
from sae_nb.edits import Change, Where
from sae_nb.evaluation.measurement import Measurement, Resampling, measured
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

Scoring = Literal["next_token", "labels", "classes", "vectors"]

_DEGENERATE = 1e-9  # an ablation that changes the loss by less leaves nothing to recover


@dataclass
class Scores:
    """Sums per sample of what each variant of the model scores."""

    scoring: Scoring
    columns: list[str] = field(default_factory=list)
    tables: list[np.ndarray] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    n_spliced: int = 0

    def add(self, sample: Int[Tensor, " batch"], sums: dict[str, Float[Tensor, " batch"]]) -> None:
        """Take in one batch."""
        self.columns = list(sums)
        self.samples.append(sample.cpu().numpy())
        self.tables.append(np.stack([v.double().cpu().numpy() for v in sums.values()], axis=1))

    def by_group(self, resampling: Resampling) -> Float[np.ndarray, "groups columns"]:
        """Return the sums of each bootstrap group."""
        return resampling.grouped(np.concatenate(self.tables), np.concatenate(self.samples))


def scoring_for(model: LiveModel, labels: Tensor | None) -> Scoring:
    """Return how a model's output is scored: the most telling way that the inputs allow."""
    if labels is not None:
        return "labels"
    if model.kind == "language" and model.causal:
        return "next_token"
    return "classes" if model.class_names is not None else "vectors"


def score_batches(
    model: LiveModel,
    hook_point: str,
    changes: dict[str, Change],
    batches: Iterable[Batch],
    labels: Int[Tensor, " samples"] | None,
    *,
    keep: Callable[[Batch], Where],
    done: Callable[[int], None],
) -> Scores:
    """Run the model clean and with each change at the hook point, and score every sample.

    Only sums per sample are kept; logits live for one batch.

    Parameters
    ----------
    model, hook_point
        Where the changes are spliced in.
    changes
        What replaces the activation, by variant; "spliced" is the SAE.
    batches, labels
        What is run; labels belong to the model's first head.
    keep
        Which positions of a batch are replaced.
    done
        Called with the number of samples finished.

    Raises
    ------
    ValueError
        If there are more or fewer labels than samples.
    """
    scores = Scores(scoring_for(model, labels))
    n_seen = 0
    for cpu_batch in batches:
        batch = cpu_batch.to(model.device)
        n_seen = batch.first_sample + batch.n
        truth = None if labels is None else labels[batch.first_sample : n_seen]
        if truth is not None and len(truth) < batch.n:
            same_length(cast(Tensor, labels), n_seen, name="labels", per="sample of `inputs`")
        # Nobody else's edits or forwards may come between: the variants are one measurement.
        with model.lock, torch.no_grad():
            score = _scorer(scores.scoring, model.main_output(model.forward(batch)), batch, truth)
            sums = score.clean
            for name, change in changes.items():
                with splice(model, hook_point, change, keep(batch)) as edit:
                    output = model.main_output(model.forward(batch))
                sums |= {f"{key}_{name}": value for key, value in score(output).items()}
                scores.n_spliced += edit.n_touched if name == "spliced" else 0
        scores.add(batch.sample.amax(dim=1), sums)
        done(batch.n)
    if labels is not None:
        same_length(labels, n_seen, name="labels", per="sample of `inputs`")
    return scores


class _Score(abc.ABC):
    """Compares an output with the clean one, row by row: subclasses say how."""

    def __init__(self, clean: Tensor, batch: Batch, truth: Tensor | None) -> None:
        self.batch, self.truth = batch, truth
        self.reference = self.prepare(clean)
        self.clean = {"n": self.count(), **{f"{k}_clean": v for k, v in self(clean).items()}}

    @abc.abstractmethod
    def prepare(self, clean: Tensor) -> Tensor:
        """Return what later outputs are compared with."""

    @abc.abstractmethod
    def count(self) -> Float[Tensor, " rows"]:
        """Return how many scored outputs each row has."""

    @abc.abstractmethod
    def __call__(self, output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        """Return sums per row."""


class _NextToken(_Score):
    """−log p of each real next token, and KL from the clean prediction, in fp32."""

    def prepare(self, clean: Tensor) -> Tensor:
        return clean.float().log_softmax(dim=-1)

    def count(self) -> Float[Tensor, " rows"]:
        return self._scored().sum(dim=1).double()

    def _scored(self) -> Tensor:
        # −1 at padding, so one comparison leaves out padding and borders between texts.
        sample = self.batch.sample
        return (sample[:, 1:] >= 0) & (sample[:, 1:] == sample[:, :-1])

    def __call__(self, output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        scored, ids = self._scored(), cast(Tensor, self.batch.token_ids)
        sums: dict[str, list[Tensor]] = {"ce": [], "kl": [], "agreement": []}
        for row, (logits, clean) in enumerate(zip(output, self.reference, strict=True)):
            where = scored[row].nonzero().flatten()
            # Row by row: a whole batch in fp32 would be (batch, time, vocabulary) once more.
            log_p, log_clean = logits[where].float().log_softmax(dim=-1), clean[where]
            ce = -log_p.gather(1, ids[row, where + 1][:, None])
            sums["ce"].append(ce.double().sum())
            sums["kl"].append(_kl(log_clean, log_p).double().sum())
            sums["agreement"].append((log_p.argmax(-1) == log_clean.argmax(-1)).double().sum())
        return {name: torch.stack(values) for name, values in sums.items()}


class _Classes(_Score):
    """KL from the clean class probabilities, whether the top class is the same, and with labels
    −log p of the label and whether it is the top class.
    """

    def prepare(self, clean: Tensor) -> Tensor:
        if clean.ndim != 2:
            raise ValueError(
                "Scores of classes need one row of class scores per sample, got an output of shape "
                f"{tuple(clean.shape)}. Leave `labels` out."
            )
        return clean.float().log_softmax(dim=-1)

    def count(self) -> Float[Tensor, " rows"]:
        return torch.ones(len(self.reference), dtype=torch.float64)

    def __call__(self, output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        log_p = output.float().log_softmax(dim=-1)
        top = log_p.argmax(dim=-1)
        sums = {
            "kl": _kl(self.reference, log_p),
            "agreement": (top == self.reference.argmax(dim=-1)).double(),
        }
        if self.truth is not None:
            truth = self.truth.to(log_p.device)
            if int(truth.max()) >= log_p.shape[1]:
                raise ValueError(
                    f"`labels` must be classes of the model's first head, 0 … {log_p.shape[1] - 1}, "
                    f"got {int(truth.max())}."
                )
            sums["ce"] = -log_p.gather(1, truth[:, None])[:, 0]
            sums["accuracy"] = (top == truth).double()
        return sums


class _Vectors(_Score):
    """Cosine with the clean output vectors, padding left out."""

    def prepare(self, clean: Tensor) -> Tensor:
        return clean.float()

    def count(self) -> Float[Tensor, " rows"]:
        return self._real().sum(dim=1).double()

    def _real(self) -> Tensor:
        shape = self.reference.shape
        time = 1 if len(shape) == 2 else shape[1:-1].numel()
        keep = self.batch.keep
        if keep is not None and tuple(keep.shape) == (shape[0], time):
            return keep
        return torch.ones(shape[0], time, dtype=torch.bool, device=self.reference.device)

    def __call__(self, output: Tensor) -> dict[str, Float[Tensor, " rows"]]:
        cosine = torch.cosine_similarity(output.float(), self.reference, dim=-1)
        return {"cosine": (cosine.reshape(len(output), -1) * self._real()).double().sum(dim=1)}


def _scorer(scoring: Scoring, clean: Tensor, batch: Batch, truth: Tensor | None) -> _Score:
    kinds: dict[Scoring, Callable[[Tensor, Batch, Tensor | None], _Score]] = {
        "next_token": _NextToken,
        "labels": _Classes,
        "classes": _Classes,
        "vectors": _Vectors,
    }
    return kinds[scoring](clean, batch, truth)


def _kl(log_clean: Float[Tensor, "n v"], log_p: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    """KL(clean‖other) from log-probabilities; a class the clean model rules out adds nothing."""
    p = log_clean.exp()
    return torch.where(p > 0, p * (log_clean - log_p), 0.0).sum(dim=-1)


Formula = Callable[[Callable[[str, str], Any], str], Any]
"""(mean(quantity, variant), variant) → the number for that variant."""


def _recovered(quantity: str, ablation: str) -> Formula:
    def formula(mean: Callable[[str, str], Any], variant: str) -> Any:
        ablated = mean(quantity, ablation)
        whole = np.asarray(ablated - mean(quantity, "clean"))
        whole = np.where(np.abs(whole) > _DEGENERATE, whole, np.nan)
        return (ablated - mean(quantity, variant)) / whole

    return formula


def _plain(quantity: str) -> Formula:
    return lambda mean, variant: mean(quantity, variant)


def _fixed(quantity: str, of: str) -> Formula:
    return lambda mean, _variant: mean(quantity, of)


def _kl_score(mean: Callable[[str, str], Any], variant: str) -> Any:
    ablated = np.asarray(mean("kl", "zero"))
    ablated = np.where(ablated > _DEGENERATE, ablated, np.nan)
    return (ablated - mean("kl", variant)) / ablated


def _delta_ce(mean: Callable[[str, str], Any], variant: str) -> Any:
    return mean("ce", variant) - mean("ce", "clean")


_KL_ROWS: dict[str, tuple[str, Formula]] = {
    "kl": ("kl_clean_spliced", _plain("kl")),
    "kl_score": ("kl_score_zero", _kl_score),
    "agreement": ("agreement", _plain("agreement")),
}
_CE_ROWS: dict[str, tuple[str, Formula]] = {
    "ce_recovered": ("ce_recovered_zero", _recovered("ce", "zero")),
    "ce_recovered_mean": ("ce_recovered_mean", _recovered("ce", "mean")),
    "delta_ce": ("delta_ce", _delta_ce),
    "ce": ("ce", _plain("ce")),
    "ce_clean": ("ce", _fixed("ce", "clean")),
    "ce_zero": ("ce", _fixed("ce", "zero")),
}
_ACCURACY_ROWS: dict[str, tuple[str, Formula]] = {
    "accuracy_recovered": ("accuracy_recovered_zero", _recovered("accuracy", "zero")),
    "accuracy_recovered_mean": ("accuracy_recovered_mean", _recovered("accuracy", "mean")),
    "accuracy": ("accuracy", _plain("accuracy")),
    "accuracy_clean": ("accuracy", _fixed("accuracy", "clean")),
    "accuracy_zero": ("accuracy", _fixed("accuracy", "zero")),
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
_UNIT = {"next_token": "tokens", "labels": "samples", "classes": "samples", "vectors": "outputs"}


def downstream_rows(scores: Scores, resampling: Resampling) -> dict[str, Measurement]:
    """Return the report's rows on the model's output: floor = mean ablation, control = random."""
    sums = scores.by_group(resampling)
    total = _means(sums.sum(axis=0), scores.columns)
    named = _ROWS[scores.scoring]
    statistics = {
        name: partial(_spliced, formula=formula, columns=scores.columns)
        for name, (_, formula) in named.items()
    }
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


def _spliced(
    sums: Float[np.ndarray, "resamples columns"], *, formula: Formula, columns: Sequence[str]
) -> Float[np.ndarray, " resamples"]:
    return np.asarray(formula(_means(sums, columns), "spliced"))


def _means(
    sums: Float[np.ndarray, "*resamples columns"], columns: Sequence[str]
) -> Callable[[str, str], Any]:
    place = {name: i for i, name in enumerate(columns)}
    return lambda quantity, variant: sums[..., place[f"{quantity}_{variant}"]] / sums[..., 0]

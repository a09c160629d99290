"""evaluate(sae, acts, model) → a report: every number with its floor, control, interval and formula."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._hints import hint
from sae_nb.activations import Activations
from sae_nb.activations._named_positions import RECONSTRUCTED
from sae_nb.activations._sites import acts_for
from sae_nb.checks import Count, Resamples, Seed, at_least, checked, is_array, warn_caller
from sae_nb.evaluation.report._atom_rows import atom_rows
from sae_nb.evaluation.report._downstream import downstream_rows, splice_task, written_at
from sae_nb.evaluation.report._measurement import (
    Measurement,
    Measurements,
    Resampling,
    define,
    number_text,
    number_texts,
)
from sae_nb.evaluation.report._reconstruction import reconstruction_rows, with_massive
from sae_nb.evaluation.report._row_pass import pass_over_rows, reconstruction_of
from sae_nb.evaluation.report._sampling import Sampling, massive_rows
from sae_nb.evaluation.report._sparsity import sparsity_rows
from sae_nb.files._fingerprints import dictionary_digest
from sae_nb.findings import Finding
from sae_nb.temporal import Sequences

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.evaluation.report._row_pass import RowPass
    from sae_nb.models import LiveModel


HEADLINES = (
    "r2", "ce_recovered_mean", "accuracy", "kl", "l0", "dead_fraction", "max_cosine", "cosine_centred",
    "ood", "agreement", "delta_ce", "ce_recovered", "accuracy_recovered", "r2_with_massive", "norm_ratio",
    "kl_score", "cosine", "density_median", "shrinkage_gamma", "effective_rank",
)  # fmt: skip
"""Rows by how much they tell: wherever a few stand for all, they are the first of these."""

RECOVERED = ("ce_recovered", "kl_score", "cosine_recovered")
"""What a reconstruction recovers of the model's answer: a report has one, by the kind of answer."""

_LINES = 12
_COLUMNS = ["value", "floor", "control", "low", "high", "n", "unit", "definition"]
_HTML_COLUMNS = ("value", "95 %", "floor", "control", "n", "unit")


class Report(Finding, Measurements[str], kw_only=False):
    """The quality of an SAE: a mapping from name to `Measurement`; `report.r2` is `report["r2"]`.

    Printed are the rows that matter most; `.all` prints every one, `.table` and `.to_pandas()` hold them.

    Raises
    ------
    KeyError, AttributeError: If there is no such metric; names the nearest.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> report = sn.evaluate(sn.TopK(d_in=8, n_atoms=16, k=2), x)
    >>> report["l0"].value <= 2, report["r2"].definition
    (True, 'r2_pooled')
    >>> report.r2 is report["r2"], len(report.to_pandas()) == len(report)
    (True, True)
    """

    measurements: Mapping[str, Measurement]
    """By name, in the order of the table."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    """SAE, data, model, policy, seed, and the time it took."""

    complete: bool = False
    """Whether every row is printed."""

    def __getitem__(self, name: str) -> Measurement:
        if name not in self.measurements:
            raise KeyError(self._no_row(name))
        return self.measurements[name]

    def __getattr__(self, name: str) -> Measurement:
        # Copying and unpickling ask before there are fields.
        if name.startswith("_") or name not in vars(self).get("measurements", ()):
            raise AttributeError(self._no_row(name) if "measurements" in vars(self) else name)
        return self.measurements[name]

    def __array__(self, *_: object, **__: object) -> NoReturn:
        # pandas and numpy would read a mapping as the list of its names.
        raise TypeError(
            "A report is a mapping of numbers, not an array of them. Use report.to_pandas(), or "
            "pd.DataFrame({'mine': dict(report)}) for several of them."
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *filter(str.isidentifier, self.measurements)]

    def _no_row(self, name: object) -> str:
        instead = (
            hint(str(name), [*dir(type(self)), *self.measurements]) or "`report.keys()` lists them."
        )
        needs = "Rows on the model's output appear when `model` and `inputs` are given."
        return (
            f"A report has the rows that `list(report)` names, {len(self)} here, got {name!r}. "
            f"{instead} {needs * ('scoring' not in self.provenance)}".rstrip()
        )

    @property
    def all(self) -> Report:
        """The same report, printed in full."""
        return replace(self, complete=True)

    @property
    def rows(self) -> Mapping[str, Measurement]:  # type: ignore[override]
        """The measurements by name."""
        return self.measurements

    @property
    def cautions(self) -> tuple[str, ...]:
        """Limits of the rows, in sentences."""
        return tuple(self.provenance.get("cautions", ()))

    @property
    def table(self) -> pd.DataFrame:
        """One row per measurement, as pandas."""
        import pandas as pd

        rows = [
            (m.value, m.floor, m.control, *m.interval, m.n, m.unit, m.definition)
            for m in self.values()
        ]
        table = pd.DataFrame(rows, index=pd.Index(list(self), name="metric"), columns=_COLUMNS)
        return table.astype({"floor": float, "control": float})  # None becomes NaN

    def _printed(self) -> dict[str, Measurement]:
        """The rows to print: all, or those that matter most; the first where none of those is there."""
        if self.complete or len(self) <= _LINES:
            return dict(self.items())
        first = [name for name in HEADLINES if name in self][:_LINES] or list(self)[:_LINES]
        return {name: m for name, m in self.items() if name in first}

    def _notes(self) -> list[str]:
        """Return how to see the other rows, and the cautions."""
        n_more = len(self) - len(self._printed())
        more = f"… and {n_more} more rows: print(report.all), or report.table (pandas)."
        return [more] * (n_more > 0) + list(self.cautions)

    @property
    def below(self) -> tuple[str | pd.DataFrame, ...]:
        """The rows to print; how to see the others, and the cautions."""
        import pandas as pd

        printed = self._printed()
        names = pd.Index(list(printed), name="metric")
        rows = list(map(_texts, printed.values()))
        return (pd.DataFrame(rows, index=names, columns=_HTML_COLUMNS[:4]), *self._notes())

    def _repr_html_(self) -> str:
        """Show more columns than are printed, and the formula of a row under the pointer."""
        header = "".join(f"<th>{escape(name)}</th>" for name in ("metric", *_HTML_COLUMNS))
        body = "".join(
            f'<tr title="{escape(define(m.definition).formula)}">'
            + "".join(f"<td>{escape(text)}</td>" for text in (name, *_texts(m), str(m.n), m.unit))
            + "</tr>"
            for name, m in self._printed().items()
        )
        return (
            f"<table><caption>{escape(self._line())}</caption><thead><tr>{header}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
            + "".join(f"<p>{escape(sentence)}</p>" for sentence in self._notes())
        )

    @property
    def headline(self) -> str:
        """Names of SAE, hook point and model; the number of rows, and of those left out for their norm."""
        facts = self.provenance
        parts = [str(facts[k]) for k in ("sae", "hook_point", "model") if facts.get(k)]
        if "n_rows" in facts:
            n = facts.get("n_massive", 0)
            parts.append(f"{facts['n_rows']} rows" + f", without {n} of massive norm" * (n > 0))
        return " · ".join(parts)


def _texts(m: Measurement) -> tuple[str, ...]:
    value, low, high, floor, control = number_texts(m)
    interval = "" if math.isnan(m.interval[0]) else f"{low} … {high}"
    return (value, interval, floor, control)


@checked(leave=("acts", "labels", "trained_on"))
def evaluate(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"] | Sequence[Activations | Tensor],
    model: LiveModel | None = None,
    inputs: Inputs | None = None,
    labels: Int[Tensor, " samples"] | None = None,
    *,
    hook_point: str | None = None,
    batch_size: Count = 4096,
    model_batch_size: Count | None = None,
    model_rows: Count | None = None,
    model_seconds: Annotated[float, at_least(0)] | None = None,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    trained_on: Activations | Tensor | None = None,
    progress: bool = False,
) -> Report:
    """Measure what an SAE reconstructs, how sparsely, with which atoms, and whether the model still works.

    Every row comes with a floor (predicting the mean row; mean ablation), a control (as many random unit
    atoms, with the same L0 and the best gain) and a bootstrap interval over samples. With `model`, the SAE
    is also spliced into it: cross-entropy of next tokens, or of `labels` with accuracy, else KL of class
    probabilities, and for encoders the cosine of the output. `evaluation_cost` estimates the time first.

    Parameters
    ----------
    acts
        Activations in the SAE's units that it was not trained on. Rows of more than ten times the median
        norm, if they are at most a tenth, count in `r2_with_massive` alone. For a dictionary that writes
        elsewhere, (x, y): everything is then measured on y.
    model, inputs, labels
        Model that the activations come from; inputs to run, anything that `capture` takes; true classes of
        the first head, one per sample.
    hook_point
        Where to splice; by default that of `acts` or the SAE. Positions that `acts` dropped pass untouched.
    batch_size, model_batch_size
        Rows encoded, and samples run, at a time; None: as many as half a gigabyte of logits allows.
    model_rows, model_seconds
        How much the model answers: so many tokens (samples), or seconds; 10**9 for all. None: all of what
        costs little, parameters × tokens up to 2^38; of more, texts at random until the interval of
        ce_recovered is narrower than .02. The report states how many were run.
    n_bootstrap, seed
        Resamples, 0 leaves intervals out; the seed is of them and of the random control.
    trained_on
        Rows the SAE was trained on: a warning states how many of `acts` are among them.

    Raises
    ------
    ValueError: If widths, labels, hook point or devices do not fit, or `acts` hold NaN or infinity.

    Source
    ------
    R²: "Archetypal SAE", arXiv 2502.12892, appendix C, eq. 5. γ: "Gated SAE", arXiv 2404.16014, eq. 10.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    >>> report = sn.evaluate(sn.TopK(d_in=8, n_atoms=32, k=4), x, n_bootstrap=100)
    >>> abs(report["r2"].floor) < 1e-9, report["dead_fraction"].unit
    (True, 'atoms')
    """
    start = time.perf_counter()
    if is_array(acts) and getattr(sae, "reads_sequences", False):
        acts = Sequences(cast("Tensor", acts)).acts  # the axis before the last is time
    # Finiteness is checked chunk by chunk as the rows are read, in memory and on disk alike.
    acts = acts_for(sae, acts, finite=False, target=True)
    _refuse_reconstructions(acts)
    resampling = Resampling(n_bootstrap, seed)
    if model is None and not (model_rows is None and model_seconds is None):
        raise ValueError(
            "`model_rows` and `model_seconds` are about the model's output, but no `model` was given. Pass "
            "model=."
        )
    task = splice_task(sae, acts, model, inputs, labels, hook_point)
    shared = warn_if_trained_on(acts, trained_on)
    rows, measurements, facts = _on_rows(sae, acts, batch_size, resampling)
    facts["trained_on_share"] = shared
    if task is not None:
        sampling = Sampling(rows=model_rows, seconds=model_seconds, seed=seed)
        scores = task.run(
            rows.mean,
            rows.random,
            batch_size=model_batch_size,
            progress=progress,
            sampling=sampling,
            resampling=resampling,
        )
        measurements |= downstream_rows(scores, resampling)
        facts |= task.stated(scores) | sampling.stated()
        unit = f"{task.model.modality.sample}s"
        facts["cautions"] += tuple(sampling.cautions(unit, scores.complete))
    facts["seconds"] = round(time.perf_counter() - start, 3)
    return Report(measurements, facts)


def _refuse_reconstructions(acts: Activations) -> None:
    """Refuse rows that an SAE made: an SAE explains its own reconstructions nearly whole."""
    name = acts.context.policy.get(RECONSTRUCTED)
    if name:
        raise ValueError(
            f"`acts` must be activations of the model, got the examples of {name!r}, whose rows are that SAE's "
            f"own reconstructions: R² would be near 1. Capture some with sn.capture(model, inputs, "
            f"{str(acts.hook_point)!r}); what was measured is in sn.load_examples({name!r}).facts['report']."
        )


def _on_rows(
    sae: SparseAutoencoder, whole: Activations, batch_size: int, resampling: Resampling
) -> tuple[RowPass, dict[str, Measurement], dict[str, Any]]:
    """Return what the rows alone say: their sums, the report's rows, and its facts."""
    exceptions = massive_rows(sae, whole, batch_size)
    acts = exceptions.left_out_of(whole)
    rows = pass_over_rows(sae, acts, batch_size=batch_size, seed=resampling.seed)
    found = reconstruction_rows(rows.reconstruction, rows.floor, rows.control, resampling)
    if exceptions:
        sums = reconstruction_of(sae, whole, batch_size=batch_size, seed=resampling.seed)
        found = with_massive(found, sums, resampling)
    found |= sparsity_rows(rows.sparsity, rows.control_sparsity, resampling)
    found |= atom_rows(sae, rows, resampling)
    limits = (*training_cut_short(sae), *exceptions.cautions(whole), *cautions(rows, sae.n_atoms))
    return (
        rows,
        found,
        {
            "sae": type(sae).__name__,
            "dictionary": dictionary_digest(sae.dictionary),
            "n_atoms": sae.n_atoms,
            "hook_point": acts.target.hook_point or written_at(sae),
            "model": acts.model_name or sae.model_name,
            "n_rows": len(acts),
            "n_samples": len(torch.unique(acts.sample)),
            "rows_policy": dict(acts.context.policy),
            "control": f"random unit atoms, k={rows.random.k}, gain {rows.random.gain:.3g}",
            "n_control_rows": rows.control_sparsity.n,
            "dead_by_rows": dict(rows.sparsity.dead_by_rows),
            "n_rows_together": rows.codes.codes().n_rows,
            "n_rows_near": len(rows.near),
            "n_bootstrap": resampling.n,
            "seed": resampling.seed,
            "n_massive": len(exceptions),
            "cautions": (*limits, *_undecided(found, len(acts))),
        },
    )


# -------------------------------------------------------------------------------------------------
# What stands in the way of trusting a report: too few rows, dimensions that do not vary, dead SAEs.


USES_NEEDED = 10
"""Firings of an average atom from which shares of dead and rare atoms mean something. Ours: an atom of a
tenth of the average density is then missed in a third of the draws."""

_CHUNK = 8192


def training_cut_short(sae: SparseAutoencoder) -> Iterator[str]:
    """Yield a sentence for the reader of a comparison if an SAE's training was ended before its last step."""
    known = getattr(sae, "measured", None) or {}
    if "of_steps" in known:
        yield (
            f"The training of this SAE was cut short after {known['steps']:.0f} of {known['of_steps']:.0f} "
            "steps: train it to its end before you compare it."
        )


def cautions(rows: RowPass, n_atoms: int) -> Iterator[str]:
    """Yield, in sentences, what these rows cannot show."""
    n, l0 = rows.sparsity.n, rows.sparsity.l0
    constant = int((rows.reconstruction.moments.m2 == 0).sum())
    d_in = len(rows.reconstruction.moments.m2)
    if constant == d_in:
        yield "All rows are the same, so that nothing can be explained: give rows that vary."
    elif constant:
        yield f"{constant} of {d_in} dimensions do not vary; the per-dimension R² leaves them out."
    if l0 == 0:
        yield "No latent was active in any row: this SAE is dead on these activations."
        return
    needed = math.ceil(USES_NEEDED * n_atoms / l0)
    if n < needed:
        yield (
            f"{n} rows let an average atom fire {n * l0 / n_atoms:.1f} times; dead and rare fractions "
            f"need {needed} rows."
        )


_NEED_ROWS = ("ood", "distances_kept")
"""Rows of a report that are left out where rows are too few, or all alike."""


def _undecided(measurements: Mapping[str, Measurement], n: int) -> Iterator[str]:
    """Yield that the mean explains more, and what so few rows, or rows so alike, do not decide."""
    r2 = measurements["r2"].value
    if r2 < 0:
        yield (
            f"R² is {number_text(r2)}, worse than the mean of the rows: are they of the hook point, the "
            "model and the units that this SAE was trained on? `sn.check_fit(model, sae, inputs)` finds out."
        )
    # What atoms need is in another sentence.
    undefined = [n for n, one in measurements.items() if math.isnan(one) and one.unit != "atoms"]
    undefined += [name for name in _NEED_ROWS if name not in measurements]
    if undefined:
        yield f"Of {n} such row{'s' * (n > 1)} there can be no {', '.join(undefined)}."


def warn_if_trained_on(acts: Activations, trained_on: Activations | Tensor | None) -> float | None:
    """Warn where rows to be judged on are among those trained on; return their share."""
    if trained_on is None:
        return None
    known = _keys(
        trained_on if isinstance(trained_on, Activations) else Activations.from_tensor(trained_on)
    )
    shared = float(np.isin(_keys(acts), known).mean())
    if shared > 0:
        warn_caller(
            f"{shared:.1%} of the {len(acts)} rows of `acts` are among those trained on, which flatters "
            "every row of the report. Hold samples out: `train, test = acts.split(0.9)`."
        )
    return shared


def _keys(acts: Activations) -> np.ndarray:
    """One 64-bit number per row, made of its bits."""
    generator = np.random.default_rng(0)
    odd = generator.integers(-(2**62), 2**62, size=acts.d_in, dtype=np.int64) * 2 + 1
    parts = []
    for start in range(0, len(acts), _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, len(acts)))
        bits = acts.rows(index).detach().float().cpu().contiguous().view(torch.int32).numpy()
        with np.errstate(over="ignore"):
            parts.append((bits.astype(np.int64) * odd).sum(axis=1))
    return np.concatenate(parts)


# -------------------------------------------------------------------------------------------------
# How long an evaluation will take, from a small part of it.


_ROWS = 2048
_PASSES = 5  # clean, spliced, zero, mean, random


@dataclass(frozen=True, kw_only=True)
class EvaluationCost:
    """Seconds that the parts of `evaluate` will take here."""

    rows: float
    """Reconstruction, sparsity, the dictionary, and their random control."""

    model: float | None
    """Five forward passes over all inputs; None without a model."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.rows + (self.model or 0.0)

    def __str__(self) -> str:
        text = f"about {self.rows:.0f} s for rows"
        return text if self.model is None else f"{text}, {self.model:.0f} s for the model's answers"


@checked
def evaluation_cost(
    sae: SparseAutoencoder,
    acts: Activations | Tensor,
    model: LiveModel | None = None,
    inputs: Inputs | None = None,
) -> EvaluationCost:
    """Estimate what `evaluate` with the same arguments costs, from 2048 rows and one batch of inputs.

    Raises
    ------
    ValueError: If a model is given without inputs.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    >>> cost = evaluation_cost(sn.TopK(8, 16, 2), x)
    >>> cost.seconds > 0, cost.model
    (True, None)
    """
    source = acts_for(sae, acts, target=True)
    if model is not None and inputs is None:
        raise ValueError("`inputs` are needed to say what the model's part costs. Pass inputs=.")
    few = source.subset(torch.arange(len(source)) < _ROWS)
    evaluate(sae, few.subset(torch.arange(len(few)) < 64), n_bootstrap=0)  # loops compile
    start = time.perf_counter()
    evaluate(sae, few)
    seconds = (time.perf_counter() - start) * max(len(source) / len(few), 1.0)
    return EvaluationCost(
        rows=seconds, model=None if model is None or inputs is None else _passes(model, inputs)
    )


def _passes(model: LiveModel, inputs: Inputs) -> float:
    batches = model.batches(inputs, batch_size=8)
    first = next(iter(batches)).to(model.device)
    with model.lock, torch.no_grad():
        model.forward(first)
        start = time.perf_counter()
        model.forward(first)
    total = getattr(batches, "n_samples", None) or first.n
    return _PASSES * (time.perf_counter() - start) * total / first.n

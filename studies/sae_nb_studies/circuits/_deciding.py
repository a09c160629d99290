"""The fields of a story that decide a model's choice, by several methods, and the worth of that as a
prediction.

Every method gives each field a score from a few stories alone. The predictor is a logistic regression
on few labelled pairs, whose columns are the fields (±1) and their products, each times the score of its
fields: a field of score 0 is ignored. The same regression with equal scores is the prediction
from samples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sae_nb.capturing import capture
from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.circuits import attribution_graph, read_target, written_at
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.models import Frozen, run
from sae_nb.statistics import LogisticProbe, logistic_probe
from sae_nb_studies.data.planted._hidden_rules import REASON

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb_studies.data import HiddenRules

SAMPLES, PROMPTING, KNOWN = "samples alone", "prompting", "rule known"
GRADIENT, RELEVANCE, LENS = "gradient × input", "relevance", "logit lens"
PROBE, GRAPH = "SAE probe", "attribution graph"

N_NODES = 256
"""Atoms of a graph that are looked into."""

_ACTIVATIONS = (functional.silu, functional.gelu, functional.relu)

Scores = Float[np.ndarray, "n_fields"]
Pairs = Int[np.ndarray, " n_pairs"]


class DecisionPredictions(Plotted):
    """The accuracy of predicting a model's decisions from few pairs and a method's scores; by
    `predict_decisions`.
    """

    table: DataFrame
    """A row per method: method, accuracy (on held-out decisions of the model, mean over draws of pairs), sd
    (over draws), shuffled (accuracy where the labels of the pairs are in a random order), found (share of the
    rule's fields among the same number of largest scores; ties count in part)."""

    scores: DataFrame
    """Of every method the score of every field, the largest 1, mean over draws."""

    followed: float
    """Share of the held-out stories on which the model decides as the rule does."""

    named: tuple[str, ...]
    """Fields that the model names when it is asked for a reason, the first story's; none if it names none."""

    def accuracy(self, method: str) -> float:
        """Return the accuracy of one method."""
        methods = self.table.method.tolist()
        if method not in methods:
            raise ValueError(f"`method` must be one of {methods}, got {method!r}.")
        return float(self.table.accuracy[methods.index(method)])

    @property
    def chart(self) -> Chart:
        """The accuracy of every method, and that of shuffled labels."""
        at, methods = self.table.iloc[::-1], self.table.method.tolist()[::-1]
        series = (
            Points("accuracy", at.accuracy, methods, hover="%{x:.3f}"),
            Points("shuffled", at.shuffled, methods, control=True, hover="%{x:.3f}"),
        )
        return Chart(series=series, x="accuracy on held-out decisions", marks=True, height=320)

    @property
    def headline(self) -> str:
        """Every method's accuracy, and how often the rule is followed."""
        said = ", ".join(
            f"{row.method} {row.accuracy:.3f}" for row in self.table.itertuples(index=False)
        )
        return f"{said}; the rule is followed on {self.followed:.0%}"


@checked(leave=("transcoders",))
def predict_decisions(
    model: LiveModel,
    labelled: HiddenRules,
    held_out: HiddenRules,
    *,
    sae: SparseAutoencoder | None = None,
    transcoders: Any = None,
    n_pairs: Annotated[int, at_least(2)] = 10,
    n_draws: Count = 20,
    seed: Seed = 0,
) -> DecisionPredictions:
    """Predict a model's decisions on stories it is not asked about, from few pairs and what a method shows of
    them.

    Methods see the labelled stories alone. Gradient × input and relevance are of the difference of the two
    answers' logits, summed over the words of a field; the logit lens reads the same difference from the stream
    after every block, above the mean of the text; the probe is a logistic regression on the atoms (largest
    strength in the text), whose weights go to fields by the correlation of atom and
    field over all labelled stories; a graph gives the
    influence of the tokens.
    Prompting asks for the reason: fields that are named count 1, others 0, all 1 if none is named.

    Parameters
    ----------
    labelled, held_out
        Stories of the rule that the model was trained to follow; what it decides is asked here.
    sae
        Of one place of the model, for the probe; None: without it.
    transcoders
        As in `attribution_graph`, traced once for each labelled story; None: without it.
    n_pairs, n_draws
        Pairs that the regression is given, and how often they are drawn from `labelled`.
    seed
        Of the draws and of the shuffled labels.

    Raises
    ------
    TypeError, ValueError: If the model writes no text, the records are of different rules or too short, or a
        dictionary does not fit.

    Source
    ------
    After Zhong et al., "Pando", arXiv 2604.11061. There a language model is the agent, in the place of which
    we have the regression; depths and fields differ as in `hidden_rules`. Relevance is LRP as in RelP (Jafari
    et al., arXiv 2508.21258), from the embeddings on and against zero: attention and norms held, activations
    by their secant, half of the product of a gated MLP to each factor.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")  # which follows no rule
    >>> stories = sn.data.hidden_rules(40)
    >>> found = predict_decisions(gpt, stories[:20], stories[20:], n_draws=2)
    >>> found.table.method.tolist()[:3]
    ['samples alone', 'prompting', 'rule known']
    """
    rng = np.random.default_rng(seed)
    _check_records(model, labelled, held_out, n_pairs)
    asking = _Asking(model, labelled)
    decided, target = decisions(model, labelled), decisions(model, held_out)
    named = asking.named()
    shown = {
        SAMPLES: np.ones((len(labelled), len(labelled.fields))),
        PROMPTING: named,
        KNOWN: np.tile(np.isin(labelled.fields, labelled.rule.fields), (len(labelled), 1)),
        GRADIENT: asking.of_tokens(asking.gradient),
        RELEVANCE: asking.of_tokens(asking.relevance),
        LENS: asking.of_tokens(asking.lens),
    }
    if transcoders is not None:
        shown[GRAPH] = asking.of_tokens(partial(asking.graph, transcoders))
    methods: dict[str, Callable[[Pairs], Scores]] = {
        name: partial(_mean, rows.astype(float)) for name, rows in shown.items()
    }
    if sae is not None:
        methods[PROBE] = partial(_probed, asking.atoms(sae), labelled.values.numpy(), decided)
    tables = [_columns(record.values) for record in (labelled, held_out)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    seen: dict[str, list[Scores]] = {name: [] for name in methods}
    for _ in range(n_draws):
        pairs = rng.choice(len(labelled), n_pairs, replace=False)
        mixed = rng.permutation(decided[pairs])
        for name, method in methods.items():
            scores = method(pairs)
            scores = scores / scores.max() if scores.max() > 0 else np.ones_like(scores)
            weights = _columns_of(scores)
            seen[name].append(scores)
            found[name].append(
                tuple(  # type: ignore[arg-type]
                    _accuracy(tables[0][pairs] * weights, labels, tables[1] * weights, target)
                    for labels in (decided[pairs], mixed)
                )
            )
    return DecisionPredictions(
        table=_table(found, seen, labelled),
        scores=_score_table(seen, labelled.fields),
        followed=float((target == held_out.decision.numpy()).mean()),
        named=tuple(np.array(labelled.fields)[named[0] > 0].tolist()) if asking.explains else (),
    )


def decisions(model: LiveModel, record: HiddenRules) -> Bool[np.ndarray, " n"]:
    """Return the model's choices: whether the true answer is likelier than the false one."""
    false, true = (int(model.tokens(" x" + word)["id"].iloc[-1]) for word in record.answers)
    logits = model(list(record.prompts))
    last = (~logits[..., 0].isnan()).sum(dim=1) - 1
    here = logits[torch.arange(len(logits)), last]
    return np.asarray((here[:, true] > here[:, false]).cpu().numpy())


# -------------------------------------------------------------------------------------------------
# What methods show of the labelled stories.


class _Relevance(Frozen):
    """A pass with attention and norms held, and activations by their secant: f(x) = x · [f(x) / x]."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func not in _ACTIVATIONS or self.tries:
            return super().__torch_function__(func, types, args, kwargs)
        x = args[0]
        y = func(*args, **(kwargs or {}))
        safe = torch.where(x == 0, torch.ones_like(x), x)
        return x * (y / safe).detach()


class _Asking:
    """The model, asked about the difference of its two answers, story by story."""

    def __init__(self, model: LiveModel, record: HiddenRules) -> None:
        self.model, self.record = model, record
        self.target = (record.answers[1], record.answers[0])
        self.batches = [
            b.to(model.device) for b in model.batches(list(record.prompts), batch_size=1)
        ]
        self.start = model.hook_point("resid_pre.0")
        self.explains = False

    def of_tokens(self, method: Callable[[int], Float[np.ndarray, " time"]]) -> np.ndarray:
        """|Σ over the tokens of a field| of what a method gives each token, (n, n_fields)."""
        found = np.zeros((len(self.record), len(self.record.fields)))
        for row in range(len(self.record)):
            owner, values = self._owners(row), method(row)
            for field in range(found.shape[1]):
                found[row, field] = abs(values[owner == field].sum())
        return found

    def _owners(self, row: int) -> Int[np.ndarray, " time"]:
        """The field of each token, by its last character; −1 for none."""
        read = self.model.tokenizer(self.record.prompts[row], return_offsets_mapping=True)
        owner = self.record.owner[row].numpy()
        ends = [end - 1 if end > start else None for start, end in read["offset_mapping"]]
        return np.array([
            -1 if end is None or end >= len(owner) else owner[end] for end in ends
        ])  # fmt: skip

    def _slope(self, row: int, halved: Sequence[str] = ()) -> Float[np.ndarray, " time"]:
        """⟨x_t, ∂m/∂x_t⟩ of the stream before the first block."""
        start, puts = self.start, [(place, _half) for place in halved]
        with torch.enable_grad():
            ran = run(self.model, self.batches[row], read=start, put=puts, grad=[start])
            answer = ran.answer.one()
            value = read_target(self.model, answer, ran.answer.kind, self.target)[1](answer)
            slope = ran.gradients(value)[start]
        along = ran.states[start].detach() * slope
        return np.asarray(along[0].sum(dim=-1).double().cpu().numpy())

    def gradient(self, row: int) -> Float[np.ndarray, " time"]:
        """Compute gradient × input."""
        return self._slope(row)

    def relevance(self, row: int) -> Float[np.ndarray, " time"]:
        """Compute the same with all but the products with constants held; Σ over tokens = m − the share
        of biases.
        """
        frozen = _Relevance(self.model)
        with frozen:
            found = self._slope(row, self._gated)
        frozen.check(self.model, self.batches[row])
        return found

    @property
    def _gated(self) -> list[Any]:
        """Outputs of an MLP that multiplied two projections of its input."""
        names = [f"mlp_post.{i}" for i in range(self.model.n_layers or 0)]
        places = [self.model.hook_point(name) for name in names]
        gates = ("gate_proj", "gate_up_proj")
        return [
            place
            for place in places
            if any(hasattr(self.model.get_module(place.path.rpartition(".")[0]), g) for g in gates)
        ]

    def lens(self, row: int) -> Float[np.ndarray, " time"]:
        """Return the difference of the answers' logits in the stream after every block, above the mean
        of the text.
        """
        last = self.model.n_layers or 1
        model = self.model
        ran = run(model, self.batches[row], read=[f"resid_post.{i}" for i in range(last)])
        measure = read_target(model, ran.answer.one(), ran.answer.kind, self.target)[1]
        with model.lock, torch.no_grad():
            norm = model.get_module(model.hook_point("final_norm").path)
            read = model.module.get_output_embeddings()  # type: ignore[operator]
            logits = torch.stack([read(norm(x))[0].float() for x in ran.states.values()])
            found = torch.stack([torch.stack([measure(z) for z in rows]) for rows in logits])
        return np.asarray((found - found.mean(dim=1, keepdim=True)).mean(dim=0).cpu().numpy())

    def graph(self, transcoders: Any, row: int) -> Float[np.ndarray, " time"]:
        """Return influence of the tokens of an attribution graph."""
        graph = attribution_graph(
            self.model, transcoders, self.record.prompts[row], target=self.target, max_nodes=N_NODES
        )
        tokens = (graph.nodes.kind == "token").to_numpy()
        found = np.zeros(len(self._owners(row)))
        np.add.at(found, graph.nodes.position[tokens].to_numpy(int), graph.influence[tokens])
        return found

    def atoms(self, sae: SparseAutoencoder) -> Float[np.ndarray, "n atoms"]:
        """Return largest strength in each story of the atoms that fire in any."""
        place = written_at(sae, self.model)
        acts = capture(self.model, list(self.record.prompts), place, progress=False)
        with torch.no_grad():
            codes = sae.encode(acts.x.to(sae.dictionary)).to_scipy()
        fires = np.unique(codes.indices)
        dense, sample = codes[:, fires].toarray(), acts.sample.cpu().numpy()
        return np.stack([dense[sample == row].max(axis=0) for row in range(len(self.record))])

    def named(self) -> Bool[np.ndarray, "n n_fields"]:
        """Return the fields that the model names when it has answered and is asked for the reason; all
        if none.
        """
        chosen = decisions(self.model, self.record)
        asked_for = [
            prompt + self.record.answers[int(answer)] + REASON
            for prompt, answer in zip(self.record.prompts, chosen, strict=True)
        ]
        reasons = self.model.generate(asked_for, 16, echo=False)
        found = np.array([[field in str(said) for field in self.record.fields] for said in reasons])
        self.explains = bool(found.any())
        found[~found.any(axis=1)] = True
        return found


def _half(x: Tensor) -> Tensor:
    """The same number with half of its slope: relevance of a product goes to both factors in equal parts."""
    return (x + x.detach()) / 2


# -------------------------------------------------------------------------------------------------
# The regression.


def _columns(values: Bool[Tensor, "n n_fields"]) -> Float[np.ndarray, "n columns"]:
    """Fields as ±1, and their products two by two."""
    signs = 2.0 * values.numpy() - 1
    products = [signs[:, i] * signs[:, j] for i, j in combinations(range(signs.shape[1]), 2)]
    return np.column_stack([signs, *products])


def _columns_of(scores: Scores) -> Float[np.ndarray, " columns"]:
    """The score of every column."""
    return np.array([*scores, *(a * b for a, b in combinations(scores, 2))])


def _fitted(x: Float[np.ndarray, "n columns"], labels: Bool[np.ndarray, " n"]) -> LogisticProbe:
    return logistic_probe(x, labels, scale=1.0, centred=False)


def _accuracy(
    x: Float[np.ndarray, "n_pairs columns"],
    labels: Bool[np.ndarray, " n_pairs"],
    others: Float[np.ndarray, "n columns"],
    target: Bool[np.ndarray, " n"],
) -> float:
    """Share of the held-out decisions that are predicted; where all labels are one, that one is."""
    if labels.all() or not labels.any():
        return float((target == labels[0]).mean())
    return float((_fitted(x, labels).predict(others) == target).mean())


def _mean(rows: Float[np.ndarray, "n n_fields"], pairs: Pairs) -> Scores:
    return np.asarray(rows[pairs].mean(axis=0))


def _probed(
    atoms: Float[np.ndarray, "n atoms"],
    values: Bool[np.ndarray, "n n_fields"],
    decided: Bool[np.ndarray, " n"],
    pairs: Pairs,
) -> Scores:
    """Σ_j |weight of atom j| |correlation of atom j with a field|; of the atoms that differ between pairs."""
    x, labels = atoms[pairs], decided[pairs]
    varies = x.std(axis=0) > 0
    if labels.all() or not labels.any() or not varies.any():
        return np.ones(values.shape[1])
    kept = x[:, varies]
    weights = np.abs(_fitted((kept - kept.mean(axis=0)) / kept.std(axis=0), labels).weight[0])
    centred = [m - m.mean(axis=0) for m in (atoms[:, varies], values.astype(float))]
    units = [m / np.maximum(np.linalg.norm(m, axis=0), 1e-12) for m in centred]
    return np.asarray(weights @ np.abs(units[0].T @ units[1]))


# -------------------------------------------------------------------------------------------------
# Tables and checks.


def _table(
    found: dict[str, list[tuple[float, float]]],
    seen: dict[str, list[Scores]],
    record: HiddenRules,
) -> DataFrame:
    import pandas as pd

    rows = []
    for name, pairs in found.items():
        (accuracy, shuffled), sd = np.mean(pairs, axis=0), np.std([one for one, _ in pairs])
        right = np.isin(record.fields, record.rule.fields)
        hits = [_share_found(scores, right) for scores in seen[name]]
        rows.append((name, accuracy, float(sd), shuffled, float(np.mean(hits))))
    return pd.DataFrame(rows, columns=["method", "accuracy", "sd", "shuffled", "found"])


def _share_found(scores: Scores, right: Bool[np.ndarray, " n_fields"]) -> float:
    """Share of the right fields among the largest scores, in the mean over orders of equal ones."""
    n = int(right.sum())
    least = np.sort(scores)[-n]
    above, level = scores > least, scores == least
    part = (n - above.sum()) / level.sum()
    return float((right[above].sum() + part * right[level].sum()) / n)


def _score_table(seen: dict[str, list[Scores]], fields: tuple[str, ...]) -> DataFrame:
    import pandas as pd

    means = {name: np.mean(scores, axis=0) for name, scores in seen.items()}
    return pd.DataFrame(means.values(), index=list(means), columns=list(fields))


def _check_records(
    model: LiveModel, labelled: HiddenRules, held_out: HiddenRules, n_pairs: int
) -> None:
    if not (model.modality.is_text and model.causal):
        raise TypeError(f"`model` must be a causal language model, and {model.name} is none.")
    if labelled.rule != held_out.rule:
        raise ValueError(
            f"`labelled` and `held_out` must be of one rule, got {labelled.rule} and {held_out.rule}."
        )
    if not len(held_out):
        raise ValueError("`held_out` must hold at least one story, got none.")
    if len(labelled) < n_pairs:
        raise ValueError(
            f"`labelled` must hold at least n_pairs={n_pairs} stories, got {len(labelled)}."
        )

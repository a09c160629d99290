"""Words and phrases as sources of contextual decomposition, and neighbours grouped by what they do together.

Of the stream before the first block, β is what a phrase's tokens have there, γ all else; `sae_nb.circuits`
(`head_contributions`) has the rule by which both go on. Attention patterns and norms' scales are held, so that
a phrase moves other positions by what is read of it there, and MLPs g remain. "alone": β' = g(β) − g(0), and
what a phrase and the rest do together is of the rest. "shared": half of it is the phrase's, and then a word
that turns another one over ("not") is as much the cause as in any other order: what two words bring adds up to
what they bring together by construction, where the rest adds to both. Groups need "alone".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked, shown
from sae_nb.circuits import CleanRun, one_input, position_texts
from sae_nb.findings import Finding
from sae_nb.models import Frozen, run as run_model

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.circuits import Question
    from sae_nb.models import LiveModel

GROWN = 10
"""Size beside the whole from which a phrase is refused: one may be the whole, and two may cancel. Ours."""

_BLOCK = 64
"""Phrases that are measured together, each in copies of the text of its own: bounds the memory."""

Span = tuple[int, int]
"""First token, and the one after the last."""

TreeMethod = Literal["alone", "shared", "ablation"]
PhraseMethod = TreeMethod | Literal["gradient"]


class PhraseTree(Finding):
    """Words grouped with their neighbours until one phrase is left; made by `phrase_tree`."""

    HEADLINE = (
        "{name}, {answer:+.2f}; of {words.len} words first joined: {first}, {together:+.2f} together "
        "and {apart:+.2f} as the sum of both"
    )

    name: str
    """Name of the measure of the answer."""

    method: TreeMethod
    answer: float
    """Of it: logits, or the function's units."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]
    """Of each phrase its words, the first and the one after the last: single words, then the groups in the
    order in which they were joined."""

    values: Float[np.ndarray, " phrases"]
    """What each phrase brings, in the answer's units."""

    sums: Float[np.ndarray, " phrases"]
    """What the two that were joined bring, added up; of a word what it brings."""

    @property
    def table(self) -> pd.DataFrame:
        """`phrase`, `first` and `stop` (words), `value`, `interaction`: the value less those of both parts."""
        import pandas as pd

        first, stop = np.array(self.spans).T
        return pd.DataFrame(
            {
                "phrase": [self.phrase(span) for span in self.spans],
                "first": first,
                "stop": stop,
                "value": self.values,
                "interaction": self.values - self.sums,
            }
        )

    def phrase(self, span: Span) -> str:
        """Return the text of some words."""
        return " ".join(word.strip() for word in self.words[span[0] : span[1]])

    @property
    def first(self) -> str:
        """The group that was joined first."""
        return f"“{self.phrase(self.spans[len(self.words)])}”"

    @property
    def together(self) -> float:
        """What it brings."""
        return float(self.values[len(self.words)])

    @property
    def apart(self) -> float:
        """What its two parts bring, added up."""
        return float(self.sums[len(self.words)])

    def plot(self) -> Any:
        """Draw every word in its phrase's colour, below words alone, each line further up one group more."""
        from sae_nb.figures import heatmaps, named_ticks

        n = len(self.words)
        rows = [self.values[:n]]
        for (first, stop), value in zip(self.spans[n:], self.values[n:], strict=True):
            row = rows[-1].copy()
            row[first:stop] = value
            rows.append(row)
        most = max(float(np.abs(self.values).max()), 1e-9)
        frame: dict[str, Any] = {"y": "groups joined", "height": 120 + 24 * n}
        hover = "%{x}: its phrase brings %{z:.2f}"
        drawn = {self.name: np.stack(rows)}
        figure = heatmaps(
            drawn, ends=(-most, most), hover=hover, bar="brings", signed=True, **frame
        )
        return figure.update_xaxes(named_ticks(word.strip() for word in self.words))


@checked(leave=("text", "phrases", "target"))
def phrase_contributions(
    model: LiveModel,
    text: str,
    phrases: Sequence[str | Span],
    *,
    target: Question = None,
    method: PhraseMethod = "alone",
) -> pd.DataFrame:
    """Measure what words or phrases of a text bring to an answer, each by itself, in one pass for all.

    Parameters
    ----------
    phrases
        Parts of the text that are whole tokens, or pairs: number of the first token, and of the one after the
        last. A part that comes twice is the first.
    target
        As in `attribution_graph`: an outcome, a pair of them as a tuple, a function. None: the top answer.
    method
        "alone": contextual decomposition in which what a phrase and the rest do together is of the rest.
        "shared": half of it is the phrase's. "gradient": first order, in which nothing is done together.
        "ablation": the answer less that with the phrase's tokens zero in the stream, in the running model. Of
        many blocks one needs the last two: what is split in each of them may outgrow the whole.

    Returns
    -------
    DataFrame
        `phrase`, `first`, `stop` (tokens), `value` in logits, or the function's units.

    Raises
    ------
    ValueError: If a phrase is not in the text, attention cannot be held, or a part outgrows the whole.

    Source
    ------
    Contextual decomposition of phrases: Murdoch, Liu and Yu, arXiv 1801.05453, of LSTMs; of transformers: Hsu
    et al., arXiv 2407.00886. Patterns held and "alone" at MLPs are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> text = "Anna was happy and she went to"
    >>> found = phrase_contributions(gpt, text, ["Anna", " she"], target=(" her", " his"))
    >>> found.phrase.tolist()
    ['Anna', ' she']
    """
    run, tokens = _clean(model, text, target)
    spans = [_span(tokens, phrase) for phrase in phrases]
    import pandas as pd

    first, stop = np.array(spans, int).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "phrase": ["".join(tokens[a:b]) for a, b in spans],
            "first": first,
            "stop": stop,
            "value": _values(run, spans, method),
        }
    )


@checked(leave=("text", "target"))
def phrase_tree(
    model: LiveModel,
    text: str,
    *,
    target: Question = None,
    method: TreeMethod = "alone",
    drop_first: bool = False,
) -> PhraseTree:
    """Join neighbouring words to phrases: each time the two that bring most together that they do not apart.

    Of two neighbours a and b that is |β(ab) − β(a) − β(b)|, with β of `phrase_contributions`. Tokens that begin
    with a space begin a word; where none does, each token is one. Special tokens are left out.

    Parameters
    ----------
    target, method
        As in `phrase_contributions`; first order has nothing to join.
    drop_first
        Whether the first word stays out: in large models its token is one at which attention rests.

    Raises
    ------
    ValueError: As there; if the text has fewer than two words.

    Source
    ------
    After agglomerative contextual decomposition: Singh, Murdoch and Yu, arXiv 1806.05337. There groups grow
    from the best words, several at a time, by how a neighbour changes a group's score; two parts at a time and
    the difference from their sum are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> tree = phrase_tree(gpt, "Anna was happy and went to", target=(" her", " his"))
    >>> len(tree.words), len(tree.spans)
    (6, 11)
    """
    run, tokens = _clean(model, text, target)
    units = _words(tokens, run.batch.special)[drop_first:]
    if len(units) < 2:
        raise ValueError(
            f"`text` must have two words at least, got {shown(text)}. Pass a longer one."
        )

    def values(spans: Sequence[Span]) -> list[float]:
        found = _values(run, [(units[a][0], units[b - 1][1]) for a, b in spans], method)
        return [float(value) for value in found]

    known = _known([(i, i + 1) for i in range(len(units))], {}, values)
    groups, order, sums = list(known), list(known), list(known.values())
    while len(groups) > 1:
        pairs = [(a[0], b[1]) for a, b in pairwise(groups)]
        known = _known(pairs, known, values)
        apart = [known[a] + known[b] for a, b in pairwise(groups)]
        gain = [abs(known[pair] - both) for pair, both in zip(pairs, apart, strict=True)]
        best = int(np.argmax(gain))
        groups[best : best + 2] = [pairs[best]]
        order.append(pairs[best])
        sums.append(apart[best])
    return PhraseTree(
        name=run.name,
        method=method,
        answer=run.answer,
        words=tuple("".join(tokens[a:b]) for a, b in units),
        spans=tuple(order),
        values=np.array([known[span] for span in order]),
        sums=np.array(sums),
    )


def _known(spans: Sequence[Span], known: dict[Span, float], values: Any) -> dict[Span, float]:
    new = [span for span in spans if span not in known]
    return known | dict(zip(new, values(new), strict=True)) if new else known


def _clean(model: LiveModel, text: str, target: Question) -> tuple[CleanRun, tuple[str, ...]]:
    """Run a text once, with what may be held, and return its tokens."""
    batch = one_input(model, text, name="text")
    run = CleanRun(model, "head", [model.hook_point("resid_pre.0")], batch, target)
    run.frozen.check(model, batch)
    return run, position_texts(model, batch, len(run.outputs[0]))


def _span(tokens: Sequence[str], phrase: str | Span) -> Span:
    if isinstance(phrase, str):
        ends = np.cumsum([0, *map(len, tokens)]).tolist()
        at = "".join(tokens).find(phrase) if phrase else -1
        if at in ends and at + len(phrase) in ends:
            return ends.index(at), ends.index(at + len(phrase))
        raise ValueError(
            f"Each of `phrases` must be whole tokens of the text, got {shown(phrase)}; its tokens are "
            f"{shown(list(tokens))}. Pass some of them joined, or a pair of numbers."
        )
    first, stop = map(int, phrase)
    if not 0 <= first < stop <= len(tokens):
        raise ValueError(
            f"Each of `phrases` must be a first token and the one after the last, of {len(tokens)}, got "
            f"{shown(phrase)}. Pass such as (1, 3)."
        )
    return first, stop


def _words(tokens: Sequence[str], special: Tensor | None) -> list[Span]:
    plain = [i for i in range(len(tokens)) if special is None or not bool(special[0, i])]
    spaced = any(tokens[i].startswith(" ") for i in plain[1:])
    starts = [i for i in plain if i == plain[0] or not spaced or tokens[i].startswith(" ")]
    return list(zip(starts, [*starts[1:], plain[-1] + 1], strict=True)) if starts else []


@torch.no_grad()
def _values(run: CleanRun, spans: Sequence[Span], method: PhraseMethod) -> Float[np.ndarray, " n"]:
    """Return β of the answer of each span: copies hold the whole, 0, γ of each, and β of each."""
    if method == "gradient":
        return _first_order(run, spans)
    found = []
    for start in range(0, len(spans), _BLOCK):
        some = spans[start : start + _BLOCK]
        m = len(some)
        rest, part = list(range(2, 2 + m)), list(range(2 + m, 2 + 2 * m))

        def without(x: Tensor, rows: list[int] = rest, gone: Sequence[Span] = some) -> Tensor:
            x = x.clone()
            for row, (first, stop) in zip(rows, gone, strict=True):
                x[row, first:stop] = 0
            return x

        puts: list[Any] = [(run.places[0], without)]
        held = None
        if method != "ablation":
            for layer in range(run.model.n_layers or 0):
                ends = (f"mlp_in.{layer}", f"mlp_out.{layer}")
                puts += run.split(ends, rest, part, alone=method == "alone")
            held = Frozen(run.model, run.frozen.constants)
        found.append(-run.changes(2 + 2 * m, puts, held)[rest])
    values = torch.cat(found).double().numpy() if found else np.zeros(0)
    if not np.isfinite(values).all() or run.sizes.diverge(GROWN):
        raise ValueError(
            f'What a phrase brings must stay a part of the whole, and by method="{method}" it grows to '
            f"{run.sizes.grown:.3g} times the whole in the blocks of {run.model.name}. Pass "
            'method="gradient" or method="ablation".'
        )
    return values


def _first_order(run: CleanRun, spans: Sequence[Span]) -> Float[np.ndarray, " n"]:
    """Return Σ ⟨x_t, ∂m/∂x_t⟩ over each span's positions, patterns and scales held."""
    with torch.enable_grad(), Frozen(run.model):
        ran = run_model(run.model, run.batch, grad=run.places)
        slopes = ran.gradients(run.measure(ran.answer.one()))[str(run.places[0])]
    flow = (run.outputs[0] * slopes[0].float()).sum(dim=1).double().numpy()
    return np.array([flow[first:stop].sum() for first, stop in spans])

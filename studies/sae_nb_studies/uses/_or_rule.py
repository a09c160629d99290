"""A classifier without training: yes where any of K atoms fires.

Δ_j = P(atom j fires | yes) − P(atom j fires | no); the K atoms of largest Δ are joined by "or". Source:
Qwen-Scope, arXiv 2605.11887. For comparison: logistic regression on the documents' mean activations and
on words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Bool, Int

from sae_nb.checks import Between, Seed, between, check_count, check_integers, checked, shown
from sae_nb.corpora import Documents, check_several
from sae_nb.findings import Finding
from sae_nb.statistics import logistic_probe
from sae_nb_studies.uses._cluster import one_per_document, tfidf

if TYPE_CHECKING:
    from pandas import DataFrame


class OrRule(Finding):
    """Atoms joined by "or", and how that classifies unseen documents; made by `or_rule`."""

    atoms: DataFrame
    """The atoms in the order in which they join: atom, label, delta, yes, no (shares that fire, of the
    documents it was made from)."""

    table: DataFrame
    """Unseen documents, a row per method: "or of K" for each K, then what simpler ones say, "activations" and
    of texts "words" (logistic regression), and "always yes": accuracy, f1."""

    curve: DataFrame
    """Learning curves: n, or_f1 (the best K by the documents it was made from), activations_f1."""

    @property
    def headline(self) -> str:
        """The best F1 of atoms, and that of logistic regression."""
        best = self.table[self.table.method.str.startswith("or of")].f1.max()
        simple = self.table.set_index("method").f1["activations"]
        return f"best F1 {best:.3f} on unseen documents; logistic regression {simple:.3f}"


@checked(leave=("labels",))
def or_rule(
    docs: Documents,
    labels: Any,
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    test_share: Annotated[float, Between(0, 1, "()")] = 0.3,
    shares: Sequence[float] = (0.1, 0.3, 1.0),
    seed: Seed = 0,
) -> OrRule:
    """Classify documents by a few atoms, without training, and compare with logistic regression.

    Parameters
    ----------
    labels
        Documents that are meant: a truth value for each.
    ks
        Numbers of atoms that are tried.
    test_share
        Share of the documents, drawn by `seed`, that nothing is chosen on.
    shares
        Parts of the other documents that the learning curve is made from.

    Raises
    ------
    ValueError: If `labels` are of another length or all the same, or one kind has fewer than four documents.

    Example
    -------
    >>> import torch
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.corpora import documents
    >>> model = wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> sae = TopK(4, 8, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(40) // 10] * 2  # four kinds of documents, ten of each
    >>> docs = documents(model, sae, rows, "0", progress=False)
    >>> rule = or_rule(docs, torch.arange(40) < 10, ks=(1, 2))
    >>> rule.table["method"].tolist()
    ['or of 1', 'or of 2', 'activations', 'always yes']
    """
    check_several(docs, at_least=8)
    kind = one_per_document(labels, docs, "labels", truth=True).astype(bool)
    if min(kind.sum(), (~kind).sum()) < 4:
        raise ValueError(
            f"`labels` must hold at least 4 documents of each kind, got {int(kind.sum())} and "
            f"{int((~kind).sum())}. Pass more documents."
        )
    for share in shares:
        between(share, 0.0, 1.0, name="shares", ends="(]")
    counts = [
        check_count(k, name="ks", at_most=docs.n_atoms) for k in check_integers(ks, name="ks")
    ]
    if not counts:
        raise ValueError("`ks` must hold at least one number, got none.")
    train, test = _split(kind, test_share, seed)
    return _measured(docs, kind, train, test, counts, shares)


@checked(leave=("docs", "labels"))
def or_rule_by_layer(
    docs: Sequence[Documents],
    labels: Any,
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    test_share: float = 0.3,
    seed: Seed = 0,
) -> DataFrame:
    """Make the rule of `or_rule` at several places, and say which one should be used.

    Parameters
    ----------
    docs
        The same documents, at a hook point each. The other arguments are those of `or_rule`.

    Returns
    -------
    DataFrame
        A row per place, in the order given: hook_point, delta (the largest Δ), or_f1 (on unseen documents, K
        chosen on the others), activations_f1 (logistic regression there), chosen (the largest Δ of all, which
        asks no unseen document).

    Raises
    ------
    ValueError, TypeError: As in `or_rule`, or if the documents are not as many at every place, or a place
        comes twice.

    Source
    ------
    The choice by the largest Δ: Qwen-Scope, arXiv 2605.11887.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, stories = sn.load_model("tiny-gpt"), sn.data.stories(40, seed=0)
    >>> docs = []
    >>> for layer in (1, 3):
    ...     sae = sn.load_sae(f"tiny-gpt/mlp.{layer}")
    ...     place = str(sae.hook_point)
    ...     docs.append(sn.uses.documents(gpt, sae, stories.texts, place, progress=False))
    >>> int(or_rule_by_layer(docs, stories.sentiment == 0).chosen.sum())
    1
    """
    import pandas as pd

    several = _same_documents(docs)
    rows = []
    for one in several:
        rule = or_rule(one, labels, ks=ks, test_share=test_share, shares=(1.0,), seed=seed)
        at_end = rule.curve.iloc[-1]
        rows.append(
            {
                "hook_point": one.hook_point,
                "delta": rule.atoms.delta.iloc[0],
                "or_f1": at_end.or_f1,
                "activations_f1": at_end.activations_f1,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(chosen=np.arange(len(table)) == table.delta.argmax())


def _same_documents(docs: Any) -> list[Documents]:
    """Several records of as many documents, each of another place."""
    given = list(docs) if isinstance(docs, Sequence) else []
    if len(given) < 2 or not all(isinstance(one, Documents) for one in given):
        raise TypeError(
            f"`docs` must be a list of documents of two places or more, got {shown(docs)}. Make them with "
            "sn.uses.documents, one call a hook point."
        )
    places, sizes = [one.hook_point for one in given], [len(one) for one in given]
    if len(set(places)) < len(places) or len(set(sizes)) > 1:
        raise ValueError(
            "`docs` must hold the same documents at different hook points, got "
            f"{', '.join(f'{n} at {place}' for n, place in zip(sizes, places, strict=True))}."
        )
    return given


def _split(
    kind: Bool[np.ndarray, " n"], share: float, seed: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " k"]]:
    from sklearn.model_selection import train_test_split

    n_test = int(np.clip(round(share * len(kind)), 2, len(kind) - 4))
    return train_test_split(
        np.arange(len(kind)), test_size=n_test, random_state=seed, stratify=kind
    )


def _measured(
    docs: Documents,
    kind: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    ks: Sequence[int],
    shares: Sequence[float],
) -> OrRule:
    import pandas as pd

    spaces: dict[str, Any] = {"activations": docs.means}
    if docs.has_texts:
        spaces["words"] = tfidf(docs.words[0])
    yes, no = _shares(docs, kind, train)
    best = np.argsort(no - yes, kind="stable")[: max(ks)]
    rows = [_scores(f"or of {k}", kind[test], _fires(docs, best[:k])[test]) for k in ks]
    for name, space in spaces.items():
        rows.append(_scores(name, kind[test], _logistic(space, kind, train, test)))
    rows.append(_scores("always yes", kind[test], np.ones(len(test), bool)))
    curve = [_at(docs, kind, _part(kind, train, share), test, ks) for share in shares]
    atoms = pd.DataFrame(
        {
            "atom": best,
            "label": [docs.label(int(j)) for j in best],
            "delta": (yes - no)[best],
            "yes": yes[best],
            "no": no[best],
        }
    )
    return OrRule(atoms=atoms, table=pd.DataFrame(rows), curve=pd.DataFrame(curve))


def _shares(docs: Documents, kind: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the documents of each kind, among some, in which each atom fires."""
    yes, no = docs.shares(rows[kind[rows]]), docs.shares(rows[~kind[rows]])
    return yes, no


def _fires(docs: Documents, atoms: np.ndarray) -> Bool[np.ndarray, " n"]:
    return np.asarray(docs.present[:, atoms].sum(axis=1)).ravel() > 0


def _part(kind: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    """The first documents of each kind, at least two of it; rows come in random order."""
    sides = (rows[kind[rows]], rows[~kind[rows]])
    return np.concatenate([side[: max(2, round(share * len(side)))] for side in sides])


def _at(
    docs: Documents, kind: np.ndarray, rows: np.ndarray, test: np.ndarray, ks: Sequence[int]
) -> dict[str, Any]:
    """Both methods made from some documents, judged on the unseen ones."""
    yes, no = _shares(docs, kind, rows)
    best = np.argsort(no - yes, kind="stable")
    rules = [_fires(docs, best[:k]) for k in ks]
    chosen = max(rules, key=lambda rule: _scores("", kind[rows], rule[rows])["f1"])
    simple = _logistic(docs.means, kind, rows, test)
    return {
        "n": len(rows),
        "or_f1": _scores("", kind[test], chosen[test])["f1"],
        "activations_f1": _scores("", kind[test], simple)["f1"],
    }


def _logistic(space: Any, kind: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    probe = logistic_probe(space[train], kind[train], scale="largest", centred=False)
    return probe.predict(space[test])


def _scores(method: str, truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, f1_score

    f1 = f1_score(truth, said, zero_division=0.0)
    return {"method": method, "accuracy": accuracy_score(truth, said), "f1": f1}

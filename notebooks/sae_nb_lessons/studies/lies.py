"""Probes on texts of two writers, block by block of tiny-gpt, and on their words alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.lying_probes import (
    Told,
    counts,
    happenings,
    states,
    trials,
)

COLUMNS = {
    "two writers → same": "same writers",
    "shuffled two writers": "control: shuffled labels",
    "two writers → mixed": "writers mixed",
    "mixed → mixed": "trained on mixed",
}
"""What `trials` calls them → what a reader sees."""


def said(told: Told) -> pd.DataFrame:
    """Return a text of each label and writer."""
    _, first = np.unique(2 * told.label + told.writer, return_index=True)
    rows = [(told.texts[i], told.label[i], told.writer[i]) for i in first]
    table = pd.DataFrame(rows, columns=["text", "good", "writer"])
    return table.assign(writer=table.writer.map({False: "first", True: "second"}))


@cache
def by_block(n_splits: int = 5) -> pd.DataFrame:
    """Return shares right on happenings that a probe has not seen, means over splits, with a row for words alone."""
    told, model = happenings(0), sn.load_model("tiny-gpt")
    rows = {
        f"block {i}": states(model, f"resid_post.{i}", told.texts)
        for i in range(model.n_layers or 0)
    }
    rows["floor: counts of words"] = counts(told.texts)
    found = {
        name: pd.DataFrame([trials(x, told, seed) for seed in range(n_splits)]).mean()
        for name, x in rows.items()
    }
    return pd.DataFrame(found).T[list(COLUMNS)].rename(columns=COLUMNS)

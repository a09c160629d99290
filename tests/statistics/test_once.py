"""A statistic stands once: what the room wraps is imported nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import sae_nb_widgets

import sae_nb

WRAPPED = {
    "LogisticRegression",
    "binomtest",
    "bootstrap",
    "false_discovery_control",
    "mannwhitneyu",
    "permutation_test",
    "rankdata",
    "roc_auc_score",
    "spearmanr",
}


def test_no_other_room_has_statistics_of_its_own() -> None:
    """Neither scikit-learn's probe nor scipy's tests, ranks and resamples."""
    found = []
    for package in (sae_nb, sae_nb_widgets):
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            if "statistics" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                outside = isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                    ("scipy", "sklearn")
                )
                names = {alias.name for alias in node.names} if outside else set()
                found += [f"{file}, line {node.lineno}: {name}" for name in names & WRAPPED]
    assert not found, "Use sae_nb.statistics: " + ", ".join(found)

"""Published claims put to the test: one file per experiment, one artefact per run, one table of verdicts.

An experiment is a module in `sae_nb.proofs.experiments` with `run(seed, **size)`, which returns
numbers by name, and `CLAIMS`, which say what the numbers must be. `python -m sae_nb.proofs NAME
--seeds 0 1 2 --out docs/claims` runs it and writes what came out; `docs/claims.md` is made from these
files alone.
"""

from __future__ import annotations

from sae_nb.proofs.artefacts import artefact_of, read_artefacts
from sae_nb.proofs.claims import Claim, Line, Shown, Summary, summarise
from sae_nb.proofs.committed import Recorded, recorded
from sae_nb.proofs.registry import Experiment, experiment, experiment_names
from sae_nb.proofs.running import run_experiment, short_run
from sae_nb.proofs.table import claims_table

__all__ = [
    "Claim",
    "Experiment",
    "Line",
    "Recorded",
    "Shown",
    "Summary",
    "artefact_of",
    "claims_table",
    "experiment",
    "experiment_names",
    "read_artefacts",
    "recorded",
    "run_experiment",
    "short_run",
    "summarise",
]

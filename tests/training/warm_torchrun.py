"""Runs a script for each mode, by itself or under torchrun, whose workers are forked from this process.

    python warm_torchrun.py SCRIPT FOLDER MODE=WORKERS …

What takes seconds to import is imported once, and not by every worker; a mode "killed" may restart once, a
mode "killed-9" nine times.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys

# What the scripts come to use; nothing is computed here, so no thread is left behind by a fork.
import numba  # noqa: F401
import safetensors.torch  # noqa: F401
import torch._dynamo  # every torch.optim asks for it, and it is half of a start
import torch.distributed.checkpoint  # noqa: F401
from numba.core.registry import cpu_target
from torch.distributed.run import main as torchrun

import sae_nb as sn

for used in ("sae_nb.kernels._cpu", "sae_nb.pursuit._cpu"):
    importlib.import_module(used)
for context in (cpu_target.typing_context, cpu_target.target_context):
    context.refresh()  # imports what every loop read from a file asks for
SAES = (
    sn.TopK,
    sn.BatchTopK,
    sn.MatchingPursuit,
    sn.ReLU,
    sn.JumpReLU,
    sn.training.workers,
    sn.train,
)


def run(script: str, folder: str, mode: str, workers: int) -> None:
    if workers == 1:
        run_alone(script, folder, mode)
        return
    options = ["--standalone", "--nproc-per-node", str(workers), "--start-method", "fork"]
    name, _, times = mode.partition("-")
    options += ["--max-restarts", times or "1", "--monitor-interval", "0.1"] * (name == "killed")
    torchrun([*options, "--run-path", script, folder, mode])


def run_alone(script: str, folder: str, mode: str) -> None:
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            sys.exit(1)
        return
    sys.argv = [script, folder, mode]
    runpy.run_path(script, run_name="__main__")
    os._exit(0)


if __name__ == "__main__":
    for pair in sys.argv[3:]:
        name, count = pair.split("=")
        run(sys.argv[1], sys.argv[2], name, int(count))

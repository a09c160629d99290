"""131 072 atoms of width 768 trained by two processes that share them: memory, seconds, a kill and a resume.

Run `python benchmarks/big_training.py [--sae MatchingPursuit] [--rows 512] …`: starts two gloo workers with
one thread each, which train, save and measure an SAE that neither ever has after its first step; kills one
with SIGKILL in its last step, starts both again, and compares what is on disk with the run that nobody
disturbed; measures the saved SAE by tiles in one process. Prints JSON; `RESULTS.md` has figures and load.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

SIZES = {"rows": 1024, "d_in": 768, "n_atoms": 131_072, "k": 32, "steps": 2, "held_out": 256}


def main() -> None:
    """Run the workers as asked, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sae", default="TopK", choices=["TopK", "MatchingPursuit"])
    for name, value in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.worker:
        work(wanted)
    elif wanted.alone:
        print(json.dumps(by_tiles(Path(wanted.alone), data(wanted)[1])))
    else:
        compare(wanted.steps)


def compare(steps: int) -> None:
    """A run, its SAE measured by one process, and a run that is killed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, before = Path(temporary), os.getloadavg()[0]
        whole = run(folder / "whole", None)
        print(json.dumps(whole), flush=True)
        command = [sys.executable, __file__, *sys.argv[1:], "--alone", str(folder / "whole/sae")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(json.dumps({"alone": json.loads(done.stdout)}), flush=True)
        killed = run(folder / "killed", steps)
        same = killed["digests"] == whole["digests"]
        print(json.dumps(killed | {"same_bits": same, "load": [before, os.getloadavg()[0]]}))


def run(folder: Path, kill_at: int | None) -> dict[str, Any]:
    """One training by two workers; what each reports, and what the files hold."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", "1"]
    command += [__file__, *sys.argv[1:], "--worker", str(folder)]
    environment = os.environ | ({} if kill_at is None else {"KILL_AT": str(kill_at)})
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    seconds = time.perf_counter() - start
    workers = [json.loads((folder / f"worker-{rank}.json").read_text()) for rank in range(2)]
    died = (folder / "died").exists()
    return {"seconds": seconds, "died": died, "workers": workers, "digests": digests(folder)}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file with tensors."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[f"{path.parent.name}/{path.name}"] = digest[:16]
    return found


def data(wanted: argparse.Namespace) -> tuple[Any, Any]:
    """Rows to train on and rows held out, of 64 directions and noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(64, wanted.d_in, generator=generator)
    x = torch.randn(2 * wanted.rows + wanted.held_out, 64, generator=generator) @ directions
    x += torch.randn(x.shape, generator=generator)
    return x[: 2 * wanted.rows], x[2 * wanted.rows :]


def by_tiles(folder: Path, x: Any) -> dict[str, float]:
    """What a saved SAE is worth, and what measuring it took, its random control included."""
    from sae_nb.evaluation import evaluate_saved

    before, start = peak(), time.perf_counter()
    report = evaluate_saved(folder, x, n_bootstrap=0)
    seconds = time.perf_counter() - start
    numbers = {name: report[name].value for name in ("r2", "l0", "dead_fraction")}
    return numbers | {"seconds": seconds, "peak": peak(), "before": before}


def work(wanted: argparse.Namespace) -> None:
    """Train as one of the workers, and write down what it took."""
    import torch

    import sae_nb as sn

    torch.set_num_threads(1)
    torch.manual_seed(0)  # a checkpoint keeps the state of the global generator
    folder = Path(wanted.worker)
    peaks: dict[str, int] = {"imported": peak()}
    times: list[float] = []
    with sn.training.workers() as team:
        x, held_out = data(wanted)
        kind, drawn = getattr(sn, wanted.sae), torch.Generator().manual_seed(0)
        sae = kind(wanted.d_in, wanted.n_atoms, wanted.k, generator=drawn)
        peaks["made"] = peak()
        watch(folder, team, peaks, times)
        sn.train(
            sae,
            x,
            steps=wanted.steps,
            batch_size=wanted.rows,
            log_every=1,
            shard_atoms=True,
            checkpoint=folder / "checkpoint",
            checkpoint_every=1,
            save_to=folder / "sae",
            progress=False,
        )
        peaks["ended"] = peak()
        facts: dict[str, Any] = {"peaks": peaks, "step_seconds": times}
        if "KILL_AT" not in os.environ:
            facts["by_shards"] = by_tiles(folder / "sae", held_out)
        (folder / f"worker-{team.rank}.json").write_text(json.dumps(facts))


def watch(folder: Path, team: Any, peaks: dict[str, int], times: list[float]) -> None:
    """Note peaks by phase and seconds by step; kill one worker once, where that was asked for.

    Phases: until the SAE is made; until the first step has ended (the first rows are looked at, or a
    checkpoint is read); further steps; checkpoints; the rest, in which the SAE is saved.
    """
    from sae_nb.training import Learner, Training

    settle, differentiate, save = Learner.settle, Learner.differentiate, Training._save
    last = [time.perf_counter()]

    def settled(learner: Any, *arguments: Any) -> None:
        settle(learner, *arguments)
        times.append(time.perf_counter() - last[0])
        last[0] = time.perf_counter()
        phase = "stepped" if "begun" in peaks else "begun"
        peaks[phase] = max(peaks.get(phase, 0), peak())

    def differentiated(learner: Any, *arguments: Any) -> None:
        mark = folder / "died"
        due = str(len(times) + 1) == os.environ.get("KILL_AT") and team.rank == team.size - 1
        if due and not mark.exists():
            mark.write_text("once")
            os.kill(os.getpid(), 9)
        differentiate(learner, *arguments)

    def saved(training: Any) -> None:
        save(training)
        peaks["saved"] = max(peaks.get("saved", 0), peak())
        last[0] = time.perf_counter()

    Learner.settle, Learner.differentiate, Training._save = settled, differentiated, saved


def peak() -> int:
    """MiB of the most resident memory since the last call (VmHWM, which is set back)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return found // 1024


if __name__ == "__main__":
    main()

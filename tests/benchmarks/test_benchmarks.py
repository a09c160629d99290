"""Promises of the benchmarks that need no run: a table is kept whole, bounds are right, the pack holds its parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from scripts import script

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_a_run_replaces_its_tables_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commit, date, machine and command; a run that fails keeps nothing."""
    record = script(BENCHMARKS / "record.py", "record")
    monkeypatch.setattr(record, "HERE", tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    code = r'print("words\n\n## new\n\n| a | b |\n| --- | --- |\n| x | 1.5 |\n\nmore")'
    (tmp_path / "toy.py").write_text(code + "; raise SystemExit(3)")
    with pytest.raises(SystemExit):
        record.main("toy", [])
    assert not (tmp_path / "toy.json").exists()
    (tmp_path / "toy.py").write_text(code)
    (tmp_path / "toy.json").write_text(json.dumps({"old": {"rows": []}, "new": {"rows": [["y"]]}}))
    record.main("toy", ["--fast"])
    kept = json.loads((tmp_path / "toy.json").read_text())
    assert kept["old"] == {"rows": []}
    assert kept["new"]["columns"] == ["a", "b"]
    assert kept["new"]["rows"] == [["x", "1.5"]]
    assert kept["new"]["command"] == "python benchmarks/toy.py --fast"
    assert {"machine", "date", "commit", "load"} <= set(kept["new"])


def test_bounds_are_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """One size worked out on paper: 65 536 inputs of width 768, 16 384 atoms, 32 steps."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    parts = script(BENCHMARKS / "gpu.py", "gpu")
    size, rates = parts.Size(65536, 768, 16384, 32), parts.Rates(copy=1e12, fp32=1e13, bf16=1e14)
    multiplied = 2 * 65536 * 768 * 16384 / 1e14
    assert parts.product(size, rates.bf16) == pytest.approx(multiplied)
    # Correlations out and in, then 32 Gram rows of 16 bits and 32 atoms.
    moved = 65536 * (8 * 16384 + 32 * (2 * 16384 + 4 * 768)) / 1e12
    assert parts.mp_encode(size, rates) == pytest.approx(3 * multiplied + moved)
    for seconds in parts.BOUNDS.values():
        assert 0 < seconds(size, parts.Rates()) < seconds(size, rates)


PARTS = ("rates", "agree", "train", "pursuits", "live", "compiled", "tests", "wide")


@pytest.mark.slow
def test_the_pack_runs_from_beginning_to_end(tmp_path: Path) -> None:
    """As on a machine with a GPU, at toy sizes on the CPU: every part ends well, every figure says where."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    made = [sys.executable, BENCHMARKS / "gpu_pack.py", "--no-wheels", "--out", tmp_path / "gpu"]
    subprocess.run(made, check=True, capture_output=True)
    tree = tmp_path / "gpu" / "tree"
    assert not list((tree / "sae_nb/pretrained").rglob("*.safetensors"))
    for name in ("kernels", "pursuit"):  # what is compiled here need not be compiled there
        loops = ROOT / "sae_nb" / name / "__pycache__"
        shutil.copytree(loops, tree / "sae_nb" / name / "__pycache__", dirs_exist_ok=True)
    run = subprocess.run(
        ["bash", str(tmp_path / "gpu" / "run.sh"), "--small", "--minutes", "60"],
        env=os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    results = tmp_path / "gpu" / "results"
    lines = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    ends = {line["part"]: line["said"] for line in lines if line["what"] == "end"}
    assert ends == dict.fromkeys(PARTS, "done")
    assert all({"card", "driver", "torch", "date"} <= set(line) for line in lines)
    assert all(
        "+g" in line["sae_nb"] for line in lines
    )  # the version that travels, with its commit
    ways = {(line["what"], line["way"]) for line in lines if "ms" in line}
    both = ("TopK step", "MP encode")
    assert {(what, "plain torch, bf16, compiled") for what in both} <= ways
    shown = (results / "table.md").read_text()
    assert "| MP encode | B 32, d 16, n 48, k 4 | plain torch, bf16, compiled |" in shown
    assert {(what, way) for what in both for way in ("sae_nb", "plain torch, bf16")} <= ways
    live = {"capture, Llama of toy", "evaluate(model=)", "logit lens", "generate"}
    assert live <= {what for what, _ in ways}
    checked = [line for line in lines if line["part"] == "agree" and "gradient" in line]
    assert len(checked) == 6
    assert all(line["good"] for line in checked)


def test_a_part_that_hangs_or_fails_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines stay, the next part runs, and the run does not end well."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu = script(BENCHMARKS / "gpu.py", "gpu")

    def hangs(bench: Any) -> None:
        bench.say("first", good=True)
        time.sleep(60)

    def fails(bench: Any) -> None:
        bench.measure("work", "small", "sae_nb", lambda: 1 / 0)
        raise SystemExit(3)

    wanted = {"hangs": (hangs, 0.02), "fails": (fails, 20), "runs": (lambda b: b.say("x"), 20)}
    monkeypatch.setattr(gpu, "PARTS", wanted)
    options = ["gpu.py", "--small", "--out", str(tmp_path), "--only", ",".join(wanted)]
    monkeypatch.setattr(sys, "argv", options)
    with pytest.raises(SystemExit, match="hangs: end; fails: work; fails: end"):
        gpu.main()
    found = [(line["part"], line["what"], line.get("said")) for line in gpu.findings(tmp_path)]
    assert found == [
        ("hangs", "first", None),
        ("hangs", "end", "out of time"),
        ("fails", "work", None),
        ("fails", "end", "failed (exit 3)"),
        ("runs", "x", None),
        ("runs", "end", "done"),
    ]

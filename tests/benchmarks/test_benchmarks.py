"""Promises of the benchmarks that need no run: a table is kept whole, bounds are right, the pack holds its parts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

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
    gpu = script(BENCHMARKS / "gpu.py", "gpu")
    size, rates = gpu.Size(65536, 768, 16384, 32), gpu.Rates(copy=1e12, fp32=1e13, bf16=1e14)
    assert gpu.product(size, rates.fp32) == pytest.approx(2 * 65536 * 768 * 16384 / 1e13)
    # Correlations once, then 31 times a Gram row and an atom: everything fits shared memory.
    assert gpu.mp_loop(size, rates) == pytest.approx(65536 * (16384 + 31 * (16384 + 768)) * 4e-12)
    assert gpu.mp_loop(size, rates, shared=0) > 2.5 * gpu.mp_loop(size, rates)
    for seconds in gpu.KERNELS.values():
        assert 0 < seconds(size, gpu.H100) < seconds(size, rates)


def test_the_pack_holds_what_it_runs(tmp_path: Path) -> None:
    """Every file that run.sh names travels, and a shell can read the script; pretrained weights stay."""
    pack = script(BENCHMARKS / "gpu_pack.py", "gpu_pack")
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    pack.copy_tree(tmp_path)
    for name in (word for word in pack.RUN.split() if word.endswith(".py")):
        assert (tmp_path / name).is_file(), name
    assert (tmp_path / "benchmarks/pursuit.py").is_file()  # gpu.py imports it
    assert (tmp_path / "sae_nb/models/weights/tiny-gpt").is_dir()
    assert not list((tmp_path / "sae_nb/pretrained").rglob("*.safetensors"))
    (tmp_path / "run.sh").write_text(pack.RUN)
    subprocess.run(["bash", "-n", str(tmp_path / "run.sh")], check=True)

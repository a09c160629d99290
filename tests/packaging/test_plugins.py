"""Another installed package brings an architecture, a reader, a kind of input and a face; a broken part is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "sample_plugin"
USES_ALL = """
import json, sys, warnings
from pathlib import Path
import torch
from safetensors.torch import save_file

folder = Path(sys.argv[1])
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import sae_nb as sn
    free_of_torch = "acme_saes" not in sys.modules
    sae = sn.architectures.ARCHITECTURES["EighthTopK"](d_in=6, n_atoms=16)
    sn.train(sae, torch.rand(64, 6), steps=3, progress=False)
    sae.save(folder / "eighth")
    again = sn.load_sae(folder / "eighth")

    (folder / "theirs").mkdir()
    rows = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    save_file({"rows": rows}, folder / "theirs" / "acme.safetensors")
    (folder / "theirs" / "acme.json").write_text('{"k": 2}')
    theirs = sn.load_sae(folder / "theirs")

    module = torch.nn.Sequential(torch.nn.Linear(8, 4))
    module.modality = "dials"
    model = sn.wrap(module)
    acts = sn.capture(model, torch.ones(2, 8), "0", progress=False)
    face = model.modality.face(torch.ones(8))
checkup = sn.doctor("plugins", "python")
print(json.dumps({
    "free": free_of_torch,
    "kind": type(again).__name__,
    "equal": torch.equal(again.dictionary, sae.dictionary),
    "theirs": bool(torch.allclose(theirs.dictionary, rows, atol=1e-6)) and theirs.k,
    "dials": [model.modality.sample, int(face.sum()), len(acts)],
    "said": sorted({str(one.message) for one in said if "left out" in str(one.message)}),
    "doctor": [checkup["plugins"].state, checkup["plugins"].what, checkup.usable],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, built as a wheel and unpacked as an installation does."""
    out = tmp_path_factory.mktemp("acme")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=SAMPLE, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(out / "site")
    return out / "site"


def _run(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    extra = {} if path is None else {"PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | extra,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_parts_of_an_installed_package_are_used_and_broken_ones_named(
    installed: Path, tmp_path: Path
) -> None:
    """Saved, read, captured and shown by them; three faulty parts are each named once and left out."""
    done = _run(USES_ALL, str(tmp_path), path=installed)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["free"], "import sae_nb alone loads no other package"
    assert (seen["kind"], seen["equal"], seen["theirs"]) == ("EighthTopK", True, 2)
    assert seen["dials"] == ["dial", 0, 2]  # the face that came last is the one that shows
    assert len(seen["said"]) == 3
    broken, no_sae, nowhere = seen["said"]
    assert "'broken' (architectures) of the package acme-saes 1.2" in broken
    assert "ImportError: acme-cuda 3 is needed" in broken
    assert "must be a concrete class of SparseAutoencoder" in no_sae
    assert "'olfactory' (faces)" in nowhere
    state, what, usable = seen["doctor"]
    assert state == "warn"
    assert "acme-cuda 3 is needed" in what
    assert "EighthTopK" not in what  # a part goes by the name of its entry point
    assert "eighth (architectures) of acme-saes 1.2" in what
    assert usable


def test_without_the_package_its_sae_is_refused_in_words(installed: Path, tmp_path: Path) -> None:
    """The error says that a package may be missing."""
    make = "import sys; from acme_saes.eighth import EighthTopK; EighthTopK(4, 8).save(sys.argv[1])"
    folder = str(tmp_path / "sae")
    assert _run(make, folder, path=installed).returncode == 0
    done = _run("import sys, sae_nb as sn; sn.load_sae(sys.argv[1])", folder)
    assert "got 'EighthTopK'. It may be from a newer version of sae_nb, or from a package" in (
        done.stderr
    )

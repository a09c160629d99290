"""On a poor machine: no compiler, no network, a home folder and a package folder that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sae_nb_widgets

import sae_nb

pytestmark = pytest.mark.slow

# A hook of the interpreter answers as such a machine would, whoever runs the test: rights do not hold root back.
POOR = """
import os, sys
closed = tuple(os.path.realpath(folder) + os.sep for folder in sys.argv[1:])
asked = []

def refuse(path):
    if isinstance(path, (str, os.PathLike)) and (os.path.realpath(path) + os.sep).startswith(closed):
        raise PermissionError(13, "Permission denied", os.fspath(path))

def hook(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        refuse(arguments[0])
    elif event in ("os.mkdir", "os.rename", "os.remove"):
        refuse(arguments[0])
    elif event in ("socket.connect", "socket.getaddrinfo"):
        asked.append(f"{event} {arguments[-1]}")
        raise OSError(101, "Network is unreachable")
    elif event in ("subprocess.Popen", "os.posix_spawn", "os.system", "os.exec"):
        asked.append(f"{event} {arguments[0]}")

sys.addaudithook(hook)
"""
WORK = """
import sae_nb as sn
import sae_nb_widgets as sw

model = sn.load_model("tiny-vit")
images = sn.data.scenes(12, seed=7)
acts = sn.capture(model, images, "resid_post.8", progress=False)
for kind in (sn.TopK, sn.MatchingPursuit):
    sae = kind(d_in=acts.d_in, n_atoms=64, k=4)
    sn.train(sae, acts, steps=4, progress=False).plot()
print(sn.evaluate(sae, acts, model=model))
print(sw.AtomBrowser(sae, acts).record)
with sn.steer(model, "resid_post.8", sae, atom=17, by=4.0):
    model(images[:2])
gpt = sn.load_model("tiny-gpt")
print(gpt.generate("Once upon", max_new_tokens=3))
print(sn.doctor("packages", "offline", "kernels", "disk"))
assert sn.doctor("packages", "offline", "kernels", "disk").usable
try:
    open(os.path.join(closed[0], "note"), "w")
except PermissionError:
    print("refused")
print("asked for:", asked)
"""


def test_all_of_the_readme_works_without_compiler_network_or_a_home_to_write_to(
    tmp_path: Path,
) -> None:
    """Load, capture, train, evaluate, look, steer, write: nothing is asked for, nothing is left behind."""
    home, empty = tmp_path / "home", tmp_path / "bin"
    for folder in (home, empty):
        folder.mkdir()
    packages = [str(Path(part).parent) for part in (sae_nb.__file__, sae_nb_widgets.__file__)]
    env = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "HF_"))}
    env |= {"HOME": str(home), "USERPROFILE": str(home), "PATH": str(empty), "CC": "no-compiler"}
    assert shutil.which("cc", path=str(empty)) is None
    done = subprocess.run(
        [sys.executable, "-c", POOR + WORK, str(home), *packages],
        env=env,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("refused\nasked for: []\n"), done.stdout[-500:]
    assert not list(home.iterdir())

"""Compile the loops once, before the tests, and never run one whose source is another by now.

Numba keeps what it compiled in __pycache__ and looks at the file a loop is in, not at the files of the loops
that it calls. So all are compiled anew when any file of the two packages has changed, in two processes and not in
every process of the tests; otherwise this ends at once.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "sae_nb" / "kernels", ROOT / "sae_nb" / "pursuit")
MARK = PACKAGES[0] / "__pycache__" / "loops.sha256"

COMPILE = """
import torch
from sae_nb import kernels, pursuit

dtype = torch.float{bits}
kernels.warm_up(dtype)
dictionary = torch.nn.functional.normalize(torch.randn(300, 16, dtype=dtype), dim=1)
x = torch.randn(100, 16, dtype=dtype)
names = ("matching_pursuit", "orthogonal_matching_pursuit", "gradient_pursuit")
for cap in (10**8, 4 * 10**5, 2 * 10**5):  # with the Gram matrix, with rows of it, without
    for name in names:
        leaf = dictionary.clone().requires_grad_()
        codes = getattr(pursuit, name)(x, leaf, 4, backend="cpu", memory_cap=cap)
        codes.values.sum().backward()
"""


def key() -> str:
    """Of all sources of the two packages, where they are, and Numba."""
    seen = hashlib.sha256(f"{ROOT} {sys.version} {metadata.version('numba')}".encode())
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            seen.update(path.name.encode() + path.read_bytes())
    return seen.hexdigest()


def main() -> None:
    """Compile what has changed, or nothing."""
    wanted = key()
    if MARK.is_file() and MARK.read_text() == wanted:
        return
    for package in PACKAGES:
        for old in [*package.rglob("*.nbi"), *package.rglob("*.nbc")]:
            old.unlink()
    print("Compiling the loops of kernels and pursuit, once.", flush=True)
    compilers = [
        subprocess.Popen([sys.executable, "-c", COMPILE.format(bits=bits)]) for bits in (32, 64)
    ]
    if max(compiler.wait() for compiler in compilers):
        sys.exit("The loops of kernels or pursuit do not compile.")
    MARK.parent.mkdir(exist_ok=True)
    MARK.write_text(wanted)


if __name__ == "__main__":
    main()

"""Promises of the data package's front door."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_nothing_heavy():
    """Names are resolved on first use: neither torch nor scikit-learn comes with the import."""
    code = (
        "import sys, sae_nb.data as d; assert 'scenes' in dir(d);"
        "print([m for m in ('torch', 'sklearn', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

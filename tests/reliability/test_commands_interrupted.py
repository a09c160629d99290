"""Ctrl-C in a terminal: a command ends by one sentence and the status of SIGINT, without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STUBS = {
    "sae_nb": ("sae_nb.diagnosis", "doctor", ["doctor"]),
    "sae_nb_studies.recipes.saes": (
        "sae_nb_studies.recipes.saes._recipe",
        "make",
        ["tiny-vit/resid_post.6", "--out", "x"],
    ),
}

SCRIPT = """
import importlib, os, runpy, signal, sys
place, name = sys.argv[1:3]
module, sys.argv = sys.argv[3], sys.argv[3:]
signal.signal(signal.SIGINT, signal.default_int_handler)
def pressed(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10**6): pass
setattr(importlib.import_module(place), name, pressed)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("module", STUBS)
def test_ctrl_c_ends_a_command_by_one_sentence(module: str, tmp_path: Path) -> None:
    """Wherever it comes: here, as the work begins."""
    place, name, arguments = STUBS[module]
    command = [sys.executable, "-c", SCRIPT, place, name, module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.strip() == "Interrupted; what was not finished is not kept."

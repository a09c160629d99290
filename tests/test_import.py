"""Importing is free: no torch, no network, no CUDA."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sae_nb


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light() -> None:
    """`import sae_nb` loads nothing heavy."""
    heavy = _run(
        """
        import sys
        import sae_nb
        dir(sae_nb)
        print(sorted({"torch", "nnsight", "numba", "umap", "transformers", "sklearn", "numpy"} & set(sys.modules)))
        """
    )
    assert heavy.strip() == "[]"


def test_panels_import_without_the_heavy_ones() -> None:
    """`import sae_nb_widgets` waits with umap, nnsight and numba too."""
    heavy = _run(
        """
        import sys
        import sae_nb_widgets
        print(sorted({"torch", "nnsight", "numba", "umap", "transformers"} & set(sys.modules)))
        """
    )
    assert heavy.strip() == "[]"


@pytest.mark.parametrize(
    ("own", "first", "count"),
    [
        ({}, "", "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "", "None"),
        ({}, "torch, ", "None"),
    ],
)
def test_threads_wait_briefly_unless_the_person_chose(
    own: dict[str, str], first: str, count: str
) -> None:
    """OpenMP's threads hand their core on before torch comes; nothing is claimed once it is there."""
    code = f"import os, {first}sae_nb; print(os.environ.get('GOMP_SPINCOUNT'))"
    chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    env = {name: value for name, value in os.environ.items() if name not in chosen} | own
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, count), done.stderr


def test_every_public_name_resolves() -> None:
    """Each name of `__all__` is there, and `dir` lists it."""
    for name in sae_nb.__all__:
        assert getattr(sae_nb, name) is not None
        assert name in dir(sae_nb)


def test_no_function_shares_a_submodules_name() -> None:
    """A submodule of a public function's name would replace it."""
    import pkgutil

    modules = {module.name for module in pkgutil.iter_modules(sae_nb.__path__)}
    assert not modules & set(sae_nb.__all__)


@pytest.mark.slow
def test_every_name_works_with_sockets_blocked() -> None:
    """Touching the public names opens no connection."""
    _run(
        """
        import socket
        def refuse(*args, **kwargs):
            raise OSError("blocked")
        socket.socket.connect = refuse
        socket.create_connection = refuse
        import sae_nb
        for name in sae_nb.__all__:
            getattr(sae_nb, name)
        """
    )


def test_an_older_python_is_told_what_is_needed() -> None:
    """The first import says it, and its file is one that Python 3.8 can read up to there."""
    module = Path(sae_nb.__file__).read_text(encoding="utf-8")
    ast.parse(module, feature_version=(3, 8))
    assert module.index("version_info") < module.index("from sae_nb")
    _run(
        """
        import sys
        sys.version, sys.version_info = "3.10.4 (main)", (3, 10, 4, "final", 0)
        try:
            import sae_nb
        except ImportError as error:
            assert "needs Python 3.11 or newer, got 3.10.4. Make a new environment" in str(error)
        else:
            raise SystemExit("it was imported")
        """
    )

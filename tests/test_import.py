"""Importing is free: no torch, no network, no CUDA."""

from __future__ import annotations

import subprocess
import sys
import textwrap

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

"""Options, shared fixtures, and two rules for every test: no network, no global randomness."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from warm_python import WarmPython

# The same examples in every run: a failure is then the change's own. `--hypothesis-profile=default`
# draws new ones.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--assets", default=None, help="folder with data/ and tools/ for real-file tests"
    )
    parser.addoption(
        "--real-models", default=None, help="folder with smollm2/ and minilm/ checkpoints"
    )
    parser.addoption(
        "--require-browser", action="store_true", help="a missing Chromium fails browser tests"
    )


def _folder(request: pytest.FixtureRequest, option: str, what: str) -> Path:
    value = request.config.getoption(option)
    if value is None or not Path(value).is_dir():
        pytest.skip(f"needs {what}: pass {option} DIR")
    return Path(value).resolve()


@pytest.fixture(scope="session")
def assets(request: pytest.FixtureRequest) -> Path:
    """Folder of real data and weights that users do not have."""
    return _folder(request, "--assets", "real data and weights")


@pytest.fixture(scope="session")
def real_models(request: pytest.FixtureRequest) -> Path:
    """Folder of real checkpoints (smollm2, minilm)."""
    return _folder(request, "--real-models", "local checkpoints of real language models")


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Starts processes that need not wait for torch."""
    made = WarmPython()
    yield made
    made.close()


@pytest.fixture(scope="session")
def trigram() -> ModuleType:
    """benchmarks/trigram.py: the baseline that the bundled language model must beat."""
    file = Path(__file__).parents[1] / "benchmarks" / "trigram.py"
    spec = importlib.util.spec_from_file_location("benchmarks_trigram", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in LOOPBACK:
            raise OSError(f"tests must not use the network, but something connects to {address!r}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same global randomness, where torch is loaded at all."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)

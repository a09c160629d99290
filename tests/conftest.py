"""Options, shared fixtures, and two rules for every test: no network, no global randomness."""

from __future__ import annotations

import gc
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import lanes
import rewritten
from every_finding import _every_finding_holds as _every_finding_holds
from scripts import script
from warm_python import WarmPython

# The same examples in every run: a failure is then the change's own. `--hypothesis-profile=default`
# draws new ones.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# What is imported and collected stays to the end; until then there is nothing to look for.
gc.disable()

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--assets", default=None, help="folder with data/ and tools/ for real-file tests"
    )
    parser.addoption(
        "--real-models", default=None, help="folder with smollm2/ and minilm/ checkpoints"
    )
    parser.addoption(
        "--short-lane", action="store_true", help="leave out what takes long; says what, at the end"
    )
    parser.addoption(
        "--room", default=None, help="the tests of a room, and of those above it that import it"
    )
    parser.addoption(
        "--require-browser", action="store_true", help="a missing Chromium fails browser tests"
    )
    parser.addoption(
        "--other-sums",
        action="store_true",
        help="sum every product in another order (other_sums.py)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Round as another processor would, where that is asked for."""
    if config.getoption("--other-sums"):
        from other_sums import shuffle_sums

        shuffle_sums()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, keep one lane or one room; of several processes none ends with a long file."""
    seconds = lanes.noted()
    for item in items:
        if lanes.key(item.path.name, item.name) in seconds:
            item.add_marker("slow")
    own, deselected = [], []
    if room := config.getoption("--room"):
        above = _above(room)
        own, deselected = above.own, [item for item in items if not above.concerns(item)]
        items[:] = [item for item in items if above.concerns(item)]
    if config.getoption("--short-lane"):
        choice = lanes.short_lane(items, own)
        items[:] = choice.chosen
        deselected += choice.left_out
        config.stash[LEFT_OUT] = {"tests": choice.tests, "seconds": choice.seconds}
    config.hook.pytest_deselected(items=deselected)
    if worker := getattr(config, "workerinput", None):
        items[:] = lanes.in_order(items, worker["workercount"])


LEFT_OUT = pytest.StashKey[dict[str, Counter[str]]]()


def _above(room: str) -> lanes.Above:
    """The rooms above one, by the import graph of the source."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "tools"))
    import rooms

    try:
        return lanes.Above(room, rooms.House(), rooms)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it left out."""
    if hasattr(session.config, "workeroutput") and LEFT_OUT in session.config.stash:
        session.config.workeroutput["left_out"] = {
            name: dict(counts) for name, counts in session.config.stash[LEFT_OUT].items()
        }


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers leave out the same: the last one's word is kept."""
    if told := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[LEFT_OUT] = {name: Counter(counts) for name, counts in told.items()}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The short lane ends with what it left out."""
    counts = config.stash.get(LEFT_OUT, None)
    if counts and counts["tests"]:
        terminalreporter.section("the short lane")
        for line in lanes.told(counts["tests"], counts["seconds"]):
            terminalreporter.write_line(line)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of several processes each rewrites a share of the files, which all are going to collect."""
    if worker := getattr(session.config, "workerinput", None):
        number, of = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        rewritten.rewrite(rewritten.share(number % of, of), session.config)


def pytest_collection_finish() -> None:
    """Garbage is not looked for among the modules and tests that stay to the end: a twentieth of the time."""
    gc.freeze()
    gc.enable()


_SHARED: dict[tuple[Path, str], float] = {}
"""Seconds that a file's own fixtures took, whichever test was the first to want them."""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Take down what a fixture for several tests of a file costs."""
    began = time.perf_counter()
    made = yield
    if fixturedef.scope in ("module", "class"):
        _SHARED[request.path, fixturedef.argname] = time.perf_counter() - began
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Each test alone would have to wait for its fixtures: where that is long it is noted."""
    names = getattr(item, "fixturenames", ())
    waited = max((_SHARED.get((item.path, name), 0.0) for name in names), default=0.0)
    if waited >= lanes.LONG_SECONDS:
        item.user_properties.append((lanes.SHARED, round(waited, 2)))
    return (yield)


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


def _shared(name: str) -> Iterator[Any]:
    """A bundled model that tests read and leave as it was."""
    import sae_nb as sn

    model = sn.load_model(name)
    begun = [parameter.detach().clone() for parameter in model.module.parameters()]
    yield model
    left = model.module.parameters()
    changed = [b.shape for b, p in zip(begun, left, strict=True) if not bool((b == p).all())]
    assert changed == [], f"{name} is shared by the tests, and one of them changed its weights"
    hooked = [part for part in model.module.modules() if part._forward_hooks]
    assert hooked == [], f"{name} is shared by the tests, and one of them left hooks on it"


@pytest.fixture(scope="session")
def gpt() -> Iterator[Any]:
    """tiny-gpt, one for all tests of a process."""
    yield from _shared("tiny-gpt")


@pytest.fixture(scope="session")
def vit() -> Iterator[Any]:
    """tiny-vit, likewise."""
    yield from _shared("tiny-vit")


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Starts processes that need not wait for torch."""
    made = WarmPython()
    yield made
    made.close()


@pytest.fixture(scope="session")
def trigram() -> ModuleType:
    """trigram.py: the baseline that the bundled language model must beat."""
    return script(Path(__file__).parent / "models" / "trigram.py")


@pytest.fixture(scope="session")
def lab_module(request: pytest.FixtureRequest) -> ModuleType:
    """The harness of `lab.py`, or a skip (a failure with --require-browser) without a Chromium."""
    module = script(Path(__file__).parent / "browser" / "lab.py", "lab")
    if module.chromium() is None:
        reason = "no Chromium here: install one or set SAE_NB_CHROMIUM"
        if request.config.getoption("--require-browser"):
            pytest.fail(reason)
        pytest.skip(reason)
    return module


@pytest.fixture(scope="module")
def chromium(lab_module: ModuleType) -> Iterator[Any]:
    """A Chromium without JupyterLab, for pages that need no kernel."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=lab_module.chromium(), args=lab_module.CHROMIUM_FLAGS
        )
        yield launched
        launched.close()


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


@pytest.fixture
def python_handles_ctrl_c() -> Iterator[None]:
    """Python's own handler: a process started in the background inherits an ignored SIGINT."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)

"""Options, shared fixtures, and two rules for every test: no network, no global randomness."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import platformdirs
import pytest
import torch

if not torch.cuda.is_available():
    # Triton reads it at its import, and whatever loads `torch._dynamo` imports it.
    os.environ["TRITON_INTERPRET"] = "1"

sys.path.insert(0, str(Path(__file__).parent))
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

CACHE = "SAE_NB_CACHE"
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
    parser.addoption(
        "--done",
        default=None,
        help="results (junit) of an earlier run: what passed there is left out",
    )
    parser.addoption(
        "--other-sums",
        action="store_true",
        help="sum every product in another order (other_sums.py)",
    )
    parser.addoption(
        "--shuffled", type=int, metavar="SEED", help="files, and tests of a file, in a drawn order"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Round as another processor would, where that is asked for."""
    if config.getoption("--other-sums"):
        from other_sums import shuffle_sums

        shuffle_sums()


def _passed(results: str) -> set[str]:
    """Names of the tests that passed in a file of results."""
    cases = ElementTree.parse(results).getroot().iter("testcase")
    whole = (case for case in cases if case.find("./*[@message]") is None)
    return {f"{case.get('classname')}.{case.get('name')}" for case in whole}


def _name_in_results(item: pytest.Item) -> str:
    """`tests/codes/test_rows.py::test_a[1-x]` is called `tests.codes.test_rows.test_a[1-x]` there."""
    place, bracket, parameters = item.nodeid.partition("[")
    return place.replace(".py::", ".").replace("::", ".").replace("/", ".") + bracket + parameters


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, before them those in a browser: no process ends with a long one; or by lot."""
    if results := config.getoption("--done"):
        passed = _passed(results)
        items[:] = [item for item in items if _name_in_results(item) not in passed]
    seed = config.getoption("--shuffled")
    if seed is None:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        live = {item.path for item in items if item.get_closest_marker("browser")}
        items.sort(key=lambda item: (item.path not in live, item.path not in slow))
    else:
        draw = random.Random(seed)
        places = {path: draw.random() for path in sorted({item.path for item in items})}
        draw.shuffle(items)
        items.sort(key=lambda item: places[item.path])  # fixtures of a file are seldom made twice


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of several processes each rewrites a share of the files, which all are going to collect."""
    if worker := getattr(session.config, "workerinput", None):
        number, of = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        rewritten.rewrite(rewritten.share(number % of, of), session.config)


def pytest_collection_finish() -> None:
    """Garbage is not looked for among the modules and tests that stay to the end: a twentieth of the time."""
    gc.freeze()
    gc.enable()


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
def smollm2(request: pytest.FixtureRequest) -> Path:
    """Folder of SmolLM2: among the real models, else as `sae-nb get` left it."""
    given = Path(request.config.getoption("--real-models") or "") / "smollm2"
    for folder in (given, Path(os.environ[CACHE]) / "models" / "smollm2-135m"):
        if folder.is_dir():
            return folder.resolve()
    pytest.skip("needs SmolLM2: sae-nb get smollm2-135m, or --real-models DIR")


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
def planted_phrase() -> Any:
    """A model before and after it learned to say a phrase."""
    from sae_nb_studies.models import plant_behaviour

    return plant_behaviour("phrase")


@pytest.fixture(scope="session")
def phrase_difference(planted_phrase: Any) -> Any:
    """What `diff_models` finds of the two on four texts."""
    import sae_nb as sn

    pair = planted_phrase
    return sn.diff_models(
        pair.before, pair.after, pair.inputs(4), steps=20, n_components=1, progress=False
    )


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
    with lab_module.launched() as browser:
        yield browser


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


@pytest.fixture(autouse=True, scope="session")
def _no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that has the user's fetched models and nothing else, and that is not the user's to keep."""
    cache = tmp_path_factory.mktemp("cache")
    fetched = Path(os.environ.get(CACHE) or platformdirs.user_cache_path("sae_nb")) / "models"
    if os.path.isdir(fetched):
        (cache / "models").symlink_to(fetched.absolute(), target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(cache))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same global randomness."""
    torch.manual_seed(0)


@pytest.fixture
def python_handles_ctrl_c() -> Iterator[None]:
    """Python's own handler: a process started in the background inherits an ignored SIGINT."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)

"""Browser tests need a system Chromium: without one they skip, on CI they fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def lab_module(request: pytest.FixtureRequest) -> ModuleType:
    """The harness of `lab.py`, or a skip (a failure with --require-browser) without a Chromium."""
    spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("lab.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lab"] = module
    spec.loader.exec_module(module)
    if module.chromium() is None:
        reason = "no Chromium here: install one or set SAE_NB_CHROMIUM"
        if request.config.getoption("--require-browser"):
            pytest.fail(reason)
        pytest.skip(reason)
    return module

"""The bundled language model and its SAE, loaded once for a file."""

from __future__ import annotations

from typing import Any

import pytest

import sae_nb as sn


@pytest.fixture(scope="module")
def sae() -> Any:
    return sn.load_sae("tiny-gpt/resid_post.3")

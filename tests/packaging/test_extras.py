"""Extras: what an error tells people to install is there, and every extra is named where it is needed."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version
from transformers import GPT2Config, GPT2LMHeadModel

import sae_nb as sn

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("accelerate", {"device_map": "auto"}),
        ("torchao", {"bits": 8}),
        ("bitsandbytes", {"bits": 4}),
    ],
)
def test_an_extra_brings_the_package_that_the_error_asks_for(
    package: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a package is missing, the command in the error installs it."""
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20)).save_pretrained(
        tmp_path
    )
    find, missing = importlib.util.find_spec, ("accelerate", "torchao", "bitsandbytes")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a)
    )
    with pytest.raises(ModuleNotFoundError, match=package) as caught:
        sn.load_model(tmp_path, **options)
    (extra,) = re.findall(r'pip install "sae-nb\[(\w+)\]"', str(caught.value))
    assert any(requirement.startswith(package) for requirement in EXTRAS[extra])


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    """One line per dependency and per package that tests use, with the version that its `>=` names."""
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = [line.split("==") for line in lines if not line.startswith("#")]
    (own,) = re.findall(r"^sae-nb\[(.*)\]$", "\n".join(EXTRAS["dev"]), re.M)
    asked = sum((EXTRAS[name] for name in ["dev", *own.split(",")]), PROJECT["dependencies"])
    bounds = re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\w.]+)", "\n".join(asked), re.M)
    assert len(bounds) == len(asked) - 1  # all but the line of our own extras
    assert [name for name, _ in lowest] == [name for name, _ in bounds]
    for (name, version), (_, bound) in zip(lowest, bounds, strict=True):
        assert Version(version) == Version(bound), name

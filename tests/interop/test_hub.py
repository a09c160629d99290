"""Names on the hub: what is asked for, what is fetched, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.interop import _detection as hub


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """A hub that holds one SAE of ours, and remembers what it was asked."""
    asked: list[dict[str, Any]] = []
    sae = sn.TopK(4, 8, 2, generator=torch.Generator().manual_seed(0))
    sae.save(tmp_path / "saes" / "layer_3")

    def snapshot(name: str, revision: str | None, **options: Any) -> Path | Exception:
        asked.append({"name": name, "revision": revision, **options})
        return OSError("not cached") if options.get("local_files_only") else tmp_path

    monkeypatch.setattr(hub, "snapshot", snapshot)
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    return asked


def test_only_the_folder_named_is_fetched(fetched: list[dict[str, Any]]) -> None:
    """Owner, repository, revision and path reach the hub; nothing else is asked for."""
    sae = sn.load_sae("hf:someone/things@v2/saes/layer_3")
    assert sae.n_atoms == 8
    assert [call["name"] for call in fetched] == ["someone/things"] * 2
    assert fetched[-1]["revision"] == "v2"
    assert fetched[-1]["allow_patterns"] == ["saes/layer_3/*"]


def test_an_interrupted_download_goes_on(
    fetched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cache that holds the manifest and not yet the weights is fetched again, not read."""
    cache = tmp_path / "cache"
    (cache / "saes" / "layer_3").mkdir(parents=True)
    shutil.copy(tmp_path / "saes" / "layer_3" / "manifest.json", cache / "saes" / "layer_3")
    whole = hub.snapshot
    asked: list[bool] = []

    def snapshot(name: str, revision: str | None, **options: Any) -> Path | Exception:
        asked.append(local := bool(options.get("local_files_only")))
        return cache if local else whole(name, revision, **options)

    monkeypatch.setattr(hub, "snapshot", snapshot)
    assert sn.load_sae("hf:someone/things/saes/layer_3").n_atoms == 8
    assert asked == [True, False]

"""What is sent to the hub: a folder that loads again, and a card that says what was measured. No network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn

X = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae() -> sn.TopK:
    made = sn.TopK(6, 12, 2, generator=torch.Generator().manual_seed(1)).eval()
    made.hook_point, made.model_name = "resid_post.3", "someone/a-model"
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """A hub that remembers what it was asked for, and what lay in the folder then."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            asked.append(("login", {"token": token}))

        def create_repo(self, repo: str, **how: Any) -> None:
            asked.append(("create", {"repo": repo, **how}))

        def upload_folder(self, **how: Any) -> Any:
            files = sorted(path.name for path in Path(how["folder_path"]).iterdir())
            asked.append(("upload", {**how, "there": files}))
            return SimpleNamespace(commit_url="https://hub/commit/1")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("sae_nb.interop._publishing.is_offline", lambda: False)
    return asked


def test_a_dry_run_writes_what_would_be_sent(sae: sn.TopK, tmp_path: Path, hub: list[Any]) -> None:
    """The folder loads as the SAE; nothing was asked of the hub; the SAE lives where it did."""
    sent = sae.push_to_hub("someone/things/layer_3", dry_run=True, folder=tmp_path / "out")
    assert not hub
    assert (sent.repo, sent.inside, sent.url) == ("someone/things", "layer_3", None)
    assert sorted(path.name for path in sent.folder.iterdir()) == sent.files["file"].tolist()
    assert int(sent.files["bytes"].sum()) == sum(p.stat().st_size for p in sent.folder.iterdir())
    assert torch.equal(sn.load_sae(sent.folder).dictionary, sae.dictionary)
    assert (sent.folder / "README.md").read_text() == sent.card
    assert sae.folder is None
    assert "not sent" in repr(sent)
    again = sae.push_to_hub("someone/things/layer_3", dry_run=True, folder=tmp_path / "out")
    assert again.files.equals(sent.files)


def test_the_card_is_filled_from_the_report(sae: sn.TopK, tmp_path: Path) -> None:
    """Every row with floor, control and interval, the cautions, and how to load it."""
    report = sn.evaluate(sae, X, n_bootstrap=20)
    card = sae.push_to_hub("me/it", report, dry_run=True, folder=tmp_path / "out").card
    lines = card.splitlines()
    assert lines[0] == "---"
    assert 'base_model: "someone/a-model"' in lines
    assert 'sae = sn.load_sae("hf:me/it")' in lines
    for name, row in report.table.iterrows():
        (line,) = [line for line in lines if line.startswith(f"| {name} |")]
        assert f"| {row['value']:.4g} |" in line or str(int(row["value"])) in line
        assert line.endswith(f"| {row['n']} | {row['unit']} | {row['definition']} |")
    for sentence in report.cautions:
        assert f"- {sentence}" in card
    assert "On 300 rows" in card


def test_names_cannot_break_the_card(sae: sn.TopK, tmp_path: Path) -> None:
    """A line or a bar in a name stays in its cell, and the header stays YAML."""
    sae.model_name = "a | b\n---\nlicense: mine"
    card = sae.push_to_hub("me/it", dry_run=True, folder=tmp_path / "out").card
    assert "| model | a \\| b --- license: mine |" in card
    assert card.count("\n---\n") == 1
    assert "base_model" not in card


def test_what_is_sent_is_the_folder(sae: sn.TopK, hub: list[Any]) -> None:
    """One repository, one commit with every file; the temporary folder is gone."""
    sent = sae.push_to_hub("me/things/a/b", private=True, message="first", token="t")
    (login, create, upload) = hub
    assert login == ("login", {"token": "t"})
    assert create == ("create", {"repo": "me/things", "private": True, "exist_ok": True})
    how = upload[1]
    assert (how["repo_id"], how["path_in_repo"]) == ("me/things", "a/b")
    assert how["commit_message"] == "first"
    assert how["allow_patterns"] == how["there"] == sent.files["file"].tolist()
    assert sent.url == "https://hub/commit/1"
    assert not sent.folder.exists()


def test_a_hub_that_refuses_is_named_and_nothing_is_left(
    sae: sn.TopK, hub: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what to do; the folder that was asked for stays."""
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("You are nobody")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"got 'me/it': You are nobody\. Log in with"):
        sae.push_to_hub("me/it")
    assert not list(tmp_path.iterdir())

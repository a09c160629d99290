"""Hub ids: read from the cache without the network, fetched once, refused clearly when absent."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from sae_nb.models import load_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"

SCRIPT = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"the network was asked: {args}")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import torch
from sae_nb.models import load_model

found = {}
for name in ("someone/story", "someone/photos"):
    model = load_model(name, device="cpu")
    inputs = torch.tensor([[3, 4, 5]]) if model.kind == "language" else torch.full((1, 3, 32, 32), 0.5)
    layout = [model.prefix_tokens, model.patch_grid]
    mean = None if model.preprocess is None else model.preprocess.mean[0]
    found[name] = [model.name, model.kind, model(inputs).sum().item(), layout, mean]
x = torch.tensor([[3, 4, 5]])
for revision in ("main", sys.argv[1]):
    model = load_model("someone/story", device="cpu", revision=revision)
    found[revision] = model(x).sum().item()
bare = load_model("gpt2", device="cpu")
found["gpt2"] = [bare.name, bare(x).sum().item()]
for name in ("someone/pickled", "someone/absent", "gpt3"):
    try:
        load_model(name)
    except Exception as error:
        found[name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


def cached(hub: Path, name: str) -> Path:
    """Make the folder a repository has in the hub's cache."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


@pytest.mark.slow
def test_hub_ids_are_read_from_the_cache_alone(build, tokenizer, tmp_path: Path) -> None:
    """Text and pictures, by branch or commit; pickles and absent ids are refused with the reason.

    The cache's place is fixed when huggingface_hub is imported, so this is a process of its own.
    """
    hub = tmp_path / "hub"
    story, photos, pickled = build("llama"), build("dinov2"), build("gpt2")
    folder = cached(hub, "someone/story")
    story.save_pretrained(folder)
    tokenizer("bos").save_pretrained(folder)
    story.save_pretrained(cached(hub, "gpt2"))
    folder = cached(hub, "someone/photos")
    photos.save_pretrained(folder)
    processor = {
        "size": {"height": 32, "width": 32},
        "image_mean": [0.3] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    folder = cached(hub, "someone/pickled")
    pickled.config.architectures = ["GPT2LMHeadModel"]
    pickled.config.save_pretrained(folder)
    torch.save(pickled.state_dict(), folder / "pytorch_model.bin")

    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, COMMIT],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    with torch.no_grad():
        logits = story(input_ids=torch.tensor([[3, 4, 5]])).logits.sum().item()
        pooled = photos(pixel_values=torch.full((1, 3, 32, 32), 0.4)).pooler_output.sum().item()
    name, kind, total, _, mean = found["someone/story"]
    assert (name, kind, mean) == ("someone/story", "language", None)
    assert [total, found["main"], found[COMMIT]] == pytest.approx([logits] * 3, abs=1e-3)
    name, kind, total, layout, mean = found["someone/photos"]
    assert (kind, layout, mean) == ("vision", [1, [4, 4]], 0.3)
    assert total == pytest.approx(pooled, abs=1e-3)

    error, message = found["someone/pickled"]
    assert error == "ValueError"
    assert "must be safetensors" in message
    assert "'someone/pickled' with pytorch_model.bin" in message
    error, message = found["someone/absent"]
    assert error == "FileNotFoundError"
    assert "someone/absent" in message
    assert "HF_HUB_OFFLINE" in message
    # A name without an owner is one like any other; the message says what is there, the nearest first.
    assert found["gpt2"] == ["gpt2", pytest.approx(logits, abs=1e-3)]
    error, message = found["gpt3"]
    assert error == "FileNotFoundError"
    assert "The cache holds gpt2, someone/photos, someone/pickled, someone/story." in message


class Hub:
    """A hub of one repository that notes what is asked of it."""

    def __init__(self, remote: Path, cache: Path) -> None:
        self.remote, self.cache = remote, cache
        self.fetched: list[str] = []

    def snapshot_download(
        self, name, *, revision, local_files_only=False, allow_patterns=(), ignore_patterns=()
    ) -> str:
        if local_files_only:
            if not self.cache.is_dir():
                raise LocalEntryNotFoundError("not in the cache")
            return str(self.cache)
        if name != "someone/story":
            raise OSError("404 Client Error.\nmore")
        self.cache.mkdir(exist_ok=True)
        for path in sorted(p for p in self.remote.rglob("*") if p.is_file()):
            file_name = path.relative_to(self.remote).as_posix()
            wanted = any(fnmatch.fnmatch(file_name, p) for p in allow_patterns)
            if wanted and not any(fnmatch.fnmatch(file_name, p) for p in ignore_patterns):
                shutil.copy(path, self.cache / file_name)
                self.fetched.append(file_name)
        return str(self.cache)


@pytest.fixture
def hub(build, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A repository in shards, with pickles and subfolders beside them that nobody needs."""
    build("llama").save_pretrained(tmp_path / "remote", max_shard_size="20KB")
    tokenizer("bos").save_pretrained(tmp_path / "remote")
    (tmp_path / "remote" / "pytorch_model.bin").write_bytes(b"never fetched")
    (tmp_path / "remote" / "consolidated.safetensors").write_bytes(b"never fetched")
    (tmp_path / "remote" / "onnx").mkdir()
    (tmp_path / "remote" / "onnx" / "config.json").write_text("{}")
    fake = Hub(tmp_path / "remote", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return fake


def test_only_what_is_needed_is_fetched_and_only_once(hub) -> None:
    """Small files and the shards of the index; then the cache is enough."""
    model = load_model("someone/story", device="cpu")
    assert model.name == "someone/story"
    assert model("the cat sat").isfinite().all()
    assert not any("never" in name or ".bin" in name or "onnx" in name for name in hub.fetched)
    assert "consolidated.safetensors" not in hub.fetched
    assert sum(name.endswith(".safetensors") for name in hub.fetched) > 1
    hub.fetched.clear()
    load_model("someone/story", device="cpu")
    assert hub.fetched == []


def test_an_incomplete_cache_is_completed(hub) -> None:
    """A killed download leaves some shards; the rest is fetched."""
    load_model("someone/story", device="cpu")
    shard = sorted(hub.cache.glob("*.safetensors"))[1]
    shard.unlink()
    hub.fetched.clear()
    load_model("someone/story", device="cpu")
    assert shard.name in hub.fetched


def test_what_the_hub_answers_is_passed_on(hub) -> None:
    """An id that does not exist, or no connection: the first line of the reason."""
    with pytest.raises(FileNotFoundError, match=r"'someone/else': 404 Client Error\. Check"):
        load_model("someone/else", device="cpu")

"""Hub ids: read from the cache without the network, refused clearly when they are not there.

The cache's place is fixed when huggingface_hub is imported, so this runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
for name in ("someone/pickled", "someone/absent"):
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
    """Text and pictures, by branch or commit; pickles and absent ids are refused with the reason."""
    hub = tmp_path / "hub"
    story, photos, pickled = build("llama"), build("dinov2"), build("gpt2")
    folder = cached(hub, "someone/story")
    story.save_pretrained(folder)
    tokenizer("bos").save_pretrained(folder)
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
    error, message = found["someone/absent"]
    assert error == "FileNotFoundError"
    assert "someone/absent" in message
    assert "HF_HUB_OFFLINE" in message

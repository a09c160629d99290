"""The bulk-import tree: every atom once, numbers JSON can hold, the same bytes each time."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.interop import write_neuronpedia

pytestmark = pytest.mark.slow


def lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file, refusing NaN."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{path.name} holds {name}")

    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return [json.loads(line, parse_constant=refuse) for line in text.decode().splitlines()]


@pytest.fixture(scope="module")
def texts() -> tuple[Any, Any, Any]:
    """A small SAE on the bundled language model."""
    model = sn.load_model("tiny-gpt")
    acts = sn.capture(
        model, list(sn.data.stories(20, seed=1).texts), "resid_post.2", progress=False
    )
    sae = sn.TopK(acts.d_in, 150, 4, generator=torch.Generator().manual_seed(0))
    sae.model_name, sae.hook_point = "tiny-gpt", "resid_post.2"
    return model, acts, sae


def test_every_atom_has_a_row_and_its_examples(texts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    """Features, activations and names agree with each other and with the codes."""
    model, acts, sae = texts
    root = write_neuronpedia(sae, acts, tmp_path / "n", model=model) / "tiny-gpt" / "2-sae_nb"
    features = lines(root / "features" / "batch-0.jsonl.gz")
    features += lines(root / "features" / "batch-1.jsonl.gz")
    assert [row["index"] for row in features] == [str(atom) for atom in range(150)]
    assert {row["hookName"] for row in features} == {"blocks.2.hook_resid_post"}
    codes = sae.encode(acts.x)
    share = codes.frequency
    for row in features[:10]:
        assert row["frac_nonzero"] == pytest.approx(float(share[int(row["index"])]), abs=1e-5)
        assert len(row["vector"]) == acts.d_in
        assert len(row["pos_str"]) == len(row["pos_values"])
    shown = lines(root / "activations" / "batch-0.jsonl.gz")
    tops = [row for row in shown if row["binContains"] == -1]
    assert tops
    for row in tops:
        assert len(row["tokens"]) == len(row["values"])
        assert row["maxValue"] == row["values"][row["maxValueTokenIndex"]]
    assert lines(root / "source.jsonl")[0]["id"] == "2-sae_nb"


def test_the_same_sae_gives_the_same_bytes(texts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    """No clock and no order of dictionaries in the files."""
    _, acts, sae = texts
    for name in "ab":
        write_neuronpedia(sae, acts, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.gz"))
    assert files
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    with pytest.raises(FileExistsError):
        write_neuronpedia(sae, acts, tmp_path / "a")

"""Labels of other people's files: read whole or refused, clean, and for the right SAE."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import Labels
from sae_nb.labelling import _reading as reading

HOSTILE = (
    "<script>alert('x')</script> & </textarea>",
    "\u202etxet desrever\u202c",
    "a\x00b\x1b[31mc\r\nd",
    "👩‍👩‍👧 é 🏳️‍🌈 مرحبا",
    "x" * 10_000,
)


def rows(n: int = 6, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "modelId": "gpt2-small",
            "layer": "8-res-jb",
            "index": str(i),
            "description": f"label {i}",
            "typeName": "oai_token-act-pair",
            "explanationModelName": "gpt-4o-mini",
            **more,
        }
        for i in range(n)
    ]


def write_lines(path: Path, content: list[Any]) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in content).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def an_sae(n_atoms: int = 8) -> sn.TopK:
    return sn.TopK(4, n_atoms, 2, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("name", ["labels.jsonl", "batch-0.jsonl.gz"])
def test_an_export_gives_each_atom_its_label_and_who_wrote_it(tmp_path, name: str) -> None:
    found = sn.labels(write_lines(tmp_path / name, rows()))
    assert dict(found) == {i: f"label {i}" for i in range(6)}
    assert (found.model, found.place) == ("gpt2-small", "8-res-jb")
    entry = found.entries[2]
    assert (entry.source, entry.author) == ("oai_token-act-pair", "gpt-4o-mini")
    assert found.evidence(2) is None
    assert Labels(found).label(2) == "label 2"


def test_a_folder_of_batches_is_read_in_order_and_whole(tmp_path) -> None:
    """Also below the folder of its source; a batch that is missing in between is noticed."""
    every = rows(6)
    for i in range(3):
        write_lines(
            tmp_path / "8" / "explanations" / f"batch-{i}.jsonl.gz", every[2 * i : 2 * i + 2]
        )
    assert list(sn.labels(tmp_path / "8")) == [0, 1, 2, 3, 4, 5]
    (tmp_path / "8" / "explanations" / "batch-1.jsonl.gz").unlink()
    with pytest.raises(ValueError, match="batch 1 is missing"):
        sn.labels(tmp_path / "8")


def test_a_single_feature_has_the_first_label_and_keeps_the_others(tmp_path) -> None:
    """As the API gives it, from a file or as it is; without an explanation the atom is unlabelled."""
    feature = {
        "modelId": "gpt2-small",
        "layer": "8-res-jb",
        "index": "17",
        "pos_str": ["x"],
        "explanations": [
            {"description": "days"},
            {"description": "weekdays"},
            {"description": "days"},
        ],
    }
    path = tmp_path / "17.json"
    path.write_text(json.dumps(feature))
    for found in (sn.labels(path), sn.labels(feature)):
        assert (found[17], found.entries[17].also) == ("days", ("weekdays",))
    both = sn.labels({"explanations": [{"index": 1, "description": "a"}]} | {"index": 1})
    assert dict(both) == {1: "a"}
    path.write_text(json.dumps([feature, {**feature, "index": "18", "explanations": []}]))
    assert list(sn.labels(path).unlabelled) == [18]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'atom,label,method\n3,"digit 7, bold",mine\n5,tail,mine\n'),
        ("a.tsv", "index\texplanation\n3\tdigit 7, bold\n5\ttail\n"),
        ("a.csv", '\ufefffeature,description\r\n3,"digit 7, bold"\r\n5,tail\r\n'),
        ("a.json", '{"3": "digit 7, bold", "5": "tail"}'),
        ("a.json", '[{"atom": 3, "label": "digit 7, bold"}, {"atom": 5, "text": "tail"}]'),
    ],
)
def test_tables_and_plain_json_are_read(tmp_path, name: str, text: str) -> None:
    """Whatever the columns are called, with a byte order mark, and commas within quotes."""
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert dict(sn.labels(tmp_path / name)) == {3: "digit 7, bold", 5: "tail"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv"])
def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path, name: str) -> None:
    """No cut within a row gives fewer labels without a word; nothing is half-imported."""
    path = tmp_path / name
    if name.endswith((".jsonl", ".gz")):
        write_lines(path, rows())
    elif name == "a.json":
        path.write_text(json.dumps(rows()))
    else:
        path.write_text(
            "atom,label,method\n" + "".join(f'{i},"label, {i}",mine\n' for i in range(6))
        )
    whole = path.read_bytes()
    full = dict(sn.labels(path))
    ends_of_lines = {i + 1 for i, byte in enumerate(whole) if byte == 10}
    for cut in random.Random(0).sample(range(1, len(whole) - 1), 60):
        if not name.endswith(".gz") and {cut, cut + 1} & ends_of_lines:
            continue  # a whole row shorter: no file of lines can say so
        path.write_bytes(whole[:cut])
        found: dict[int, str] = {}
        with contextlib.suppress(ValueError):
            found = dict(sn.labels(path))
        # A table alone may be cut within its last column, which is not the label's.
        assert not found or name == "a.csv"
        assert all(full[atom] == text for atom, text in found.items())


def test_labels_for_another_width_or_source_are_refused(tmp_path) -> None:
    """The SAE says how many atoms there are, and which source it is."""
    path = write_lines(tmp_path / "a.jsonl", rows(9))
    with pytest.raises(ValueError, match="another width"):
        sn.labels(path, an_sae(8))
    found = sn.labels(path, an_sae(16))
    assert (found.n_atoms, "9 of 16 atoms" in repr(found)) == (16, True)
    sae = SimpleNamespace(
        n_atoms=16,
        dictionary=torch.eye(16),
        origin=SimpleNamespace(neuronpedia="gpt2-small/9-res-jb"),
    )
    with pytest.raises(ValueError, match="got those of 'gpt2-small/8-res-jb'"):
        sn.labels(path, sae)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_one_line_without_signs_that_act_on_what_follows(tmp_path, text: str) -> None:
    """Control signs and turns of direction are gone, the words stay."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"atom": 0, "label": text}]))
    found = sn.labels(path)[0]
    assert found.isprintable() or "\u200d" in found
    assert not set(found) & set("\u202e\u202c\x00\x1b\r\n")
    assert len(found) <= 2000


class Net:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        every = rows(4)
        zipped = [gzip.compress("".join(json.dumps(r) + "\n" for r in part).encode())
                  for part in (every[:2], every[2:])]  # fmt: skip
        self.files = {
            reading.EXPORTS.format("gpt2-small/8-res-jb", i): z for i, z in enumerate(zipped)
        }
        feature = {
            "modelId": "gpt2-small",
            "layer": "8-res-jb",
            "index": "3",
            "explanations": rows(1),
        }
        self.files[reading.FEATURE.format("gpt2-small/8-res-jb/3")] = json.dumps(feature).encode()
        monkeypatch.setattr(reading, "is_offline", lambda: False)
        monkeypatch.setattr(reading.urllib.request, "urlopen", self.open)

    def open(self, address: str, timeout: float) -> io.BytesIO:
        self.asked.append(address)
        if address not in self.files:
            raise urllib.error.HTTPError(address, 403, "Forbidden", {}, None)  # type: ignore[arg-type]
        return io.BytesIO(self.files[address])


def test_a_source_is_fetched_batch_by_batch_until_there_are_no_more(monkeypatch) -> None:
    """A feature is one answer; what Neuronpedia has not is a file that is not there."""
    net = Net(monkeypatch)
    assert list(sn.labels("gpt2-small/8-res-jb")) == [0, 1, 2, 3]
    assert len(net.asked) == 3
    assert sn.labels("gpt2-small/8-res-jb/3")[3] == "label 0"
    with pytest.raises(FileNotFoundError, match="neuronpedia"):
        sn.labels("gpt2-small/9-res-jb")


def test_a_fetched_batch_that_was_cut_leaves_nothing(monkeypatch) -> None:
    net = Net(monkeypatch)
    second = reading.EXPORTS.format("gpt2-small/8-res-jb", 1)
    net.files[second] = net.files[second][:-9]
    with pytest.raises(ValueError, match="Nothing was read"):
        sn.labels("gpt2-small/8-res-jb")

"""A token is shown alike wherever it is named: a character is in the token in which it begins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.activations.tokens import CONTINUED
from tests.files.by_hand import write_manifest

TEXTS = ["我在中国 and 👩‍👩‍👧", "plain words", "naïve ð, CAFÉ» Ã© � e\u0301"]


@pytest.fixture(scope="module")
def model():
    return sn.load_model("tiny-gpt")


@pytest.fixture(scope="module")
def acts(model) -> Activations:
    return sn.capture(model, TEXTS, "resid_post.1", drop_first=False, progress=False)


def first_bytes(model, text: str) -> dict[int, str]:
    """Each character of a text by the token that holds its first byte, by the tokenizer's own offsets."""
    read = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    found: dict[int, str] = {}
    for token, (start, _) in enumerate(read.offset_mapping):
        known = {place for place, _ in found.values()}
        if start not in known:
            found[token] = (start, text[start])
    return {token: character for token, (_, character) in found.items()}


def test_tokens_of_signs_show_the_sign(model, acts: Activations) -> None:
    """Where its first byte is, as the tokenizer's offsets say; the text can be read off them."""
    whole = [[t for t in acts[acts.sample == i].tokens[1:] if t != CONTINUED] for i in range(3)]
    assert ["".join(one) for one in whole] == TEXTS
    own = acts[acts.sample == 0]
    for token, character in first_bytes(model, "我在中国").items():
        assert own.tokens[1 + token] == character
    places = np.flatnonzero(own.tokens == "中")
    assert places.tolist() == [
        1 + t for t, c in first_bytes(model, "我在中国").items() if c == "中"
    ]
    assert own[int(places[0]) + 1].tokens[0] == CONTINUED  # of any choice of rows


def test_tables_words_and_errors_show_the_same(model, acts: Activations) -> None:
    own = acts[acts.sample == 0]
    assert own.to_pandas()["token"].tolist() == own.tokens[:]
    assert model.tokens(TEXTS[0])["token"].tolist() == own.tokens[:]
    at = int(np.flatnonzero(own.tokens == "中")[0])
    for row in (at, at + 1, at + 2):
        assert "⟦中⟧" in own.where(row)
        assert CONTINUED not in own.where(row)
    names, of_row = own.tokens.words()
    assert [names[i] for i in of_row[at : at + 3]] == ["中"] * 3


def test_a_byte_alone_is_a_number() -> None:
    """Of what a model might say next no neighbour is known; true letters stay."""
    from sae_nb.activations.tokens import describe_ids

    tokenizer = sn.load_model("tiny-gpt").tokenizer
    ids = tokenizer("中é», �", add_special_tokens=False).input_ids
    names = describe_ids(tokenizer, ids)
    assert "".join(names[i] for i in ids[:3]) == "<0xE4><0xB8><0xAD>"


def test_stores_say_how_bytes_are_written(acts: Activations, tmp_path: Path) -> None:
    """A store keeps what is shown, and one of old, with bytes as letters, shows the same signs."""
    acts.save(tmp_path / "new")
    assert sn.load_activations(tmp_path / "new").tokens[:] == acts.tokens[:]
    vocabulary = {1: "ä¸", 2: "Ń", 3: "plain"}
    ids = Ragged(torch.tensor([1, 2, 3]), torch.tensor([0, 3]))
    old = Activations.from_tensor(
        torch.eye(3),
        sample=torch.zeros(3, dtype=torch.long),
        position=torch.arange(3),
        context=Context(kind="language", n_samples=1, token_ids=ids, vocabulary=vocabulary),
    )
    assert old.tokens[:] == ["ä¸", "Ń", "plain"]  # letters, as far as is known
    old.save(tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    for point in manifest["points"]:
        del point["bytes_as_letters"]
    del manifest["checksum"]
    write_manifest(tmp_path / "old", **manifest)
    read = sn.load_activations(tmp_path / "old")
    assert read.tokens[:] == ["中", CONTINUED, "plain"]
    read.save(tmp_path / "again")
    assert sn.load_activations(tmp_path / "again").tokens[:] == read.tokens[:]

"""Texts and ids: every form reads the same, padding changes nothing, nothing bad gets in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sae_nb.models import LiveModel, wrap
from sae_nb.models._inputs import Batch

TEXTS = ["the cat sat", "a dog ran far .", "the mat"]
IDS = [[6, 7, 9], [11, 8, 13, 14, 15], [6, 12]]


@pytest.fixture(scope="module")
def gpt2(build, tokenizer) -> LiveModel:
    return wrap(build("gpt2"), tokenizer=tokenizer())


def samples(model: LiveModel, inputs: object, **options: object) -> list[list[int]]:
    """Kept token ids by sample, whatever the batching."""
    found: dict[int, list[int]] = {}
    for batch in model.batches(inputs, **options):
        for ids, sample, keep in zip(batch.token_ids, batch.sample, batch.keep, strict=True):
            for token, index in zip(ids[keep].tolist(), sample[keep].tolist(), strict=True):
                found.setdefault(index, []).append(token)
    assert list(found) == sorted(found)
    return [found[index] for index in sorted(found)]


class Texts(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[str, int]:
        if index >= 3:
            raise AssertionError("a dataset is not read past its length")
        return TEXTS[index], index


FORMS = {
    "texts": TEXTS,
    "tuple": tuple(TEXTS),
    "iterator": iter(TEXTS),
    "generator of lists": ([text] for text in TEXTS),
    "object with texts": SimpleNamespace(texts=TEXTS),
    "ids": IDS,
    "ragged tensors": [torch.tensor(row) for row in IDS],
    "arrays": [np.array(row) for row in IDS],
    "dataset with labels": Texts(),
    "DataLoader with labels": DataLoader(Texts(), batch_size=2),
    "mixed": [TEXTS[0], IDS[1], torch.tensor(IDS[2])],
    "encoding": {
        "input_ids": torch.tensor([[6, 7, 9, 0, 0], [11, 8, 13, 14, 15], [6, 12, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]),
    },
    "left-padded encoding": {
        "input_ids": torch.tensor([[0, 0, 6, 7, 9], [11, 8, 13, 14, 15], [0, 0, 0, 6, 12]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_reads_the_same(gpt2, form) -> None:
    """Texts, ids, iterators, datasets, DataLoaders and encodings give the same samples."""
    assert samples(gpt2, FORMS[form], batch_size=2) == IDS


def test_one_text_or_one_row_of_ids_is_one_sample(gpt2) -> None:
    """A string is not a list of letters; a flat list of ids is one text."""
    assert samples(gpt2, TEXTS[0]) == [IDS[0]]
    assert samples(gpt2, IDS[1]) == [IDS[1]]
    assert samples(gpt2, torch.tensor(IDS[1])) == [IDS[1]]
    assert samples(gpt2, torch.tensor([IDS[1], IDS[1]])) == [IDS[1], IDS[1]]


def test_a_text_file_is_read(gpt2, tmp_path: Path) -> None:
    """A path is a document."""
    (tmp_path / "a.txt").write_text("the cat sat", encoding="utf-8")
    assert samples(gpt2, tmp_path / "a.txt") == [IDS[0]]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt", "bloom", "bert", "roberta"])
def test_padding_changes_nothing(build, family) -> None:
    """A text in a padded batch gets the answer it gets alone; what is after its end is NaN."""
    model = wrap(build(family))
    rows = [[6, 7, 9], [11, 8, 13, 14, 15, 20, 21], [6, 12]]
    together = model(rows, batch_size=3)
    assert together.shape[:2] == (3, 7)
    for row, answer in zip(rows, together, strict=True):
        torch.testing.assert_close(answer[: len(row)], model(row)[0], atol=1e-5, rtol=1e-4)
        assert answer[len(row) :].isnan().all()
    torch.testing.assert_close(
        model(rows, batch_size=2), together, equal_nan=True, atol=1e-5, rtol=1e-4
    )


def test_positions_samples_and_padding_are_told_for_every_column(gpt2) -> None:
    """Batches count samples on, positions start anew, padding is −1 and not kept."""
    first, second = list(gpt2.batches(TEXTS, batch_size=2))
    assert first.sample.tolist() == [[0, 0, 0, -1, -1], [1] * 5]
    assert first.position.tolist() == [[0, 1, 2, -1, -1], [0, 1, 2, 3, 4]]
    assert first.keep.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert (second.first_sample, second.n, second.sample.tolist()) == (2, 1, [[2, 2]])
    assert gpt2.batches(TEXTS).n_samples == 3
    assert gpt2.batches(iter(TEXTS)).n_samples is None


def test_long_texts_are_cut_and_counted(gpt2) -> None:
    """The policy states how many samples lost their end."""
    batches = gpt2.batches(TEXTS, context_length=3)
    (batch,) = list(batches)
    assert batch.keep.sum(dim=1).tolist() == [3, 3, 2]
    assert batches.policy["truncated"] == 1
    assert batches.policy["context_length"] == 3
    limited = gpt2.batches("the " * 100)
    assert next(limited).token_ids.shape == (1, 48)
    assert limited.policy["truncated"] == 1


def test_an_encoder_keeps_its_closing_token_when_cut(build, tokenizer) -> None:
    """[SEP] stays, as in the tokenizer's own truncation."""
    names = tokenizer("cls")
    model = wrap(build("bert"), tokenizer=names)
    ours = samples(model, TEXTS[1], context_length=4)[0]
    assert ours == names(TEXTS[1], truncation=True, max_length=4)["input_ids"]
    (batch,) = model.batches(TEXTS[1])
    assert batch.special[0].tolist() == [True, *[False] * 5, True]


@pytest.mark.parametrize(
    ("style", "add_bos", "expected"),
    [
        ("plain", "auto", [6, 7]),
        ("plain", True, [1, 6, 7]),
        ("plain", False, [6, 7]),
        ("bos", "auto", [1, 6, 7]),
        ("bos", True, [1, 6, 7]),
        ("bos", False, [6, 7]),
    ],
)
def test_the_beginning_of_text_is_added_or_not_as_asked(
    build, tokenizer, style, add_bos, expected
) -> None:
    """ "auto" is the tokenizer's own habit; it is never added twice."""
    model = wrap(build("llama"), tokenizer=tokenizer(style))
    batches = model.batches("the cat", add_bos=add_bos)
    assert next(batches).token_ids[0].tolist() == expected
    assert batches.policy["bos"] == add_bos


def test_ids_are_taken_as_they_are_unless_a_bos_is_asked_for(build, tokenizer) -> None:
    """False removes only what the tokenizer added."""
    model = wrap(build("llama"), tokenizer=tokenizer("bos"))
    assert samples(model, [[1, 6]], add_bos=False) == [[1, 6]]
    assert samples(model, [[1, 6]], add_bos=True) == [[1, 6]]
    assert samples(model, [[6]], add_bos=True) == [[1, 6]]


def test_packing_puts_documents_end_to_end(gpt2) -> None:
    """Rows of exactly the asked length, end-of-text between, sample and position per token."""
    batches = gpt2.batches(TEXTS, pack=True, context_length=4, batch_size=2)
    first, second = list(batches)
    flat = [token for batch in (first, second) for token in batch.token_ids[batch.keep].tolist()]
    assert flat == [6, 7, 9, 2, 11, 8, 13, 14, 15, 2, 6, 12, 2]
    assert first.token_ids.shape == (2, 4)
    assert first.sample.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert first.position.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert second.sample.tolist() == [[1, 1, 2, 2], [2, -1, -1, -1]]
    assert second.position.tolist() == [[4, 5, 0, 1], [2, -1, -1, -1]]
    assert second.special[0].tolist() == [False, True, False, False]
    assert batches.policy["packed"] is True
    assert batches.policy["truncated"] == 0


def test_a_long_document_is_packed_over_rows_not_cut(gpt2) -> None:
    """Nothing is lost: positions run through."""
    ids = torch.randint(3, 60, (101,)).tolist()
    rows = list(gpt2.batches([ids], pack=True, context_length=20, batch_size=3))
    assert torch.cat([b.token_ids[b.keep] for b in rows]).tolist() == [*ids, 2]
    assert torch.cat([b.position[b.keep] for b in rows]).tolist() == list(range(102))


def test_packing_does_not_double_the_end_of_text(gpt2) -> None:
    """A document that already ends with it gets no second one."""
    (batch,) = gpt2.batches([[6, 2], [7]], pack=True, context_length=4)
    assert batch.token_ids.tolist() == [[6, 2, 7, 2]]


class Recurrent(nn.Module):
    """A language model without an attention mask: padding would be read as text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 8)
        self.cell = nn.GRU(8, 8, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.cell(self.embed(tokens))[0]


def test_a_model_without_a_mask_never_sees_padding(tokenizer) -> None:
    """Only texts of equal length share a batch, in order; each gets the answer it gets alone."""
    torch.manual_seed(0)
    model = wrap(Recurrent(), tokenizer=tokenizer())
    texts = ["the cat", "a dog", "the cat sat", "a"]
    batches = list(model.batches(texts, batch_size=8))
    assert [batch.n for batch in batches] == [2, 1, 1]
    assert all(bool(batch.keep.all()) for batch in batches)
    answers = model(texts)
    for text, answer in zip(texts, answers, strict=True):
        n = len(text.split())
        torch.testing.assert_close(answer[:n], model(text)[0])
        assert answer[n:].isnan().all()


def test_batches_are_made_lazily(gpt2) -> None:
    """An endless iterator can be read; only a few texts are taken ahead."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield "the cat"

    batches = gpt2.batches(endless(), batch_size=2)
    assert isinstance(next(batches), Batch)
    assert taken <= 100

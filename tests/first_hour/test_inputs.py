"""Inputs in every form that people have: read as plain hooks read them, or refused with what to write."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import sae_nb as sn

POINT = "resid_post.1"
A, B = [3, 6, 7, 8, 9], [3, 10, 11]
RIGHT = torch.tensor([A, [*B, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@pytest.fixture(scope="module")
def llama() -> Any:
    """A random language model with a padding token, 1."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=1, eos_token_id=2, bos_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    return sn.wrap(LlamaForCausalLM(config).eval())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text[:60] for text in sn.data.stories(3, seed=0).texts]


def plain(model: Any, rows: list[list[int]]) -> Tensor:
    """Return what plain hooks see at `POINT`, each row alone."""
    seen: list[Tensor] = []

    def note(_: Any, __: Any, out: Any) -> None:
        seen.append((out[0] if isinstance(out, tuple) else out)[0])

    named = dict(model.module.named_modules())
    (block,) = (part for name, part in named.items() if re.fullmatch(r".*layers?\.1", name))
    hook = block.register_forward_hook(note)
    with torch.no_grad():
        for row in rows:
            model.module(input_ids=torch.tensor([row]))
    hook.remove()
    return torch.cat(seen)


def captured(model: Any, inputs: Any) -> Tensor:
    acts = sn.capture(model, inputs, POINT, progress=False, drop_first=False)
    assert isinstance(acts, sn.Activations)
    return acts.x


# Texts

TABLES: dict[str, Any] = {
    "array": lambda t: np.array(t),
    "array of objects": lambda t: np.array(t, dtype=object),
    "column of an array": lambda t: pd.DataFrame({"t": t}).to_numpy(),
    "string series": lambda t: pd.Series(t, dtype="string", index=[7, 7, 2]),
    "categories": lambda t: pd.Series(t, dtype="category"),
    "index": lambda t: pd.Index(t),
    "texts and labels": lambda t: (t, [0, 1, 0]),
    "pairs with labels": lambda t: list(zip(t, [0, 1, 0], strict=True)),
    "generator": lambda t: (text for text in t),
}


@pytest.mark.parametrize("form", TABLES)
def test_texts_in_other_containers_are_the_same_texts(
    form: str, gpt: Any, texts: list[str]
) -> None:
    """As in a list: labels and row names never become samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(captured(gpt, TABLES[form](texts)), captured(gpt, texts))


def test_a_table_of_token_ids_is_read_with_its_mask(llama: Any) -> None:
    """By the names that tokenizers give; one row of it too."""
    frame = pd.DataFrame({"input_ids": RIGHT.tolist(), "attention_mask": MASK.tolist(), "n": 1})
    expected = plain(llama, [A, B])
    assert torch.allclose(captured(llama, frame), expected, atol=1e-5)
    assert torch.allclose(captured(llama, frame.iloc[1]), expected[5:], atol=1e-5)


def test_an_item_of_a_stream_that_is_refused_is_numbered(gpt: Any) -> None:
    """Counted from 0, as a note below the error."""
    with pytest.raises(TypeError, match="NoneType") as said:
        captured(gpt, (text for text in ["a dog", "a cat", None]))
    assert said.value.__notes__ == ["At item 2 of `inputs`, counted from 0."]


@pytest.mark.parametrize("name", ["a.txt", "my notes/a.txt", r"my notes\a.txt", "of Monday.txt"])
def test_a_text_that_is_a_files_name_is_warned_of(
    name: str, gpt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is not there, and with blanks; it is read as text."""
    (tmp_path / "of Monday.txt").write_text("One day Emma went home.")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"read as text. Pass pathlib.Path"):
        captured(gpt, name)


def test_a_text_about_a_file_is_read_in_silence(gpt: Any, tmp_path: Path) -> None:
    """And so is a file that is given as a path."""
    (tmp_path / "a.txt").write_text("One day Emma went home.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured(gpt, "One day Emma wrote a.txt")
        captured(gpt, "She looked in her notes/\nand it was a.txt")
        captured(gpt, tmp_path / "a.txt")


# Token ids

KINDS = ["int8", "uint8", "uint16", "int32", "uint32", "uint64", ">i8"]


@pytest.mark.parametrize("kind", KINDS)
def test_token_ids_of_any_whole_kind_are_read(kind: str, llama: Any) -> None:
    """Also of a view that runs backwards, and of memory that cannot be written."""
    ids = np.array([A[::-1]], dtype=kind)[:, ::-1]
    ids.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(captured(llama, ids), plain(llama, [A]), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", [torch.long, torch.bool, torch.float32, "lists", "rows"])
def test_padding_never_becomes_rows(side: str, kind: Any, llama: Any) -> None:
    """On either side, whatever the mask's type: what plain hooks see of each text alone."""
    ids, mask = (RIGHT, MASK) if side == "right" else (RIGHT.clone(), MASK.flip(1))
    if side == "left":
        ids[1] = torch.tensor([1, 1, *B])
        mask[0] = 1
    given: Any = {"input_ids": ids, "attention_mask": mask}
    if kind == "lists":
        given = {name: x.tolist() for name, x in given.items()}
    elif kind == "rows":
        given = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]
    else:
        given["attention_mask"] = mask.to(kind)
    assert torch.allclose(captured(llama, given), plain(llama, [A, B]), atol=1e-5)


IDS: dict[str, tuple[Any, str]] = {
    "pair": ((RIGHT, MASK), "attention mask under its name"),
    "list": ([RIGHT, MASK], "attention mask under its name"),
    "dataset": (torch.utils.data.TensorDataset(RIGHT, MASK), "attention mask under its name"),
    "loader": (
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(RIGHT, MASK), batch_size=2),
        "attention mask under its name",
    ),
    "masked array": (np.ma.masked_array(RIGHT.numpy(), MASK.numpy() == 0), "2 of 10 masked"),
    "additive": (
        {"input_ids": RIGHT, "attention_mask": (1 - MASK) * -1e9},
        r"1 at tokens and 0 at padding.*\(mask == 0\)",
    ),
    "NaN": ({"input_ids": RIGHT, "attention_mask": MASK * float("nan")}, "1 at tokens"),
    "gap": (
        {"input_ids": RIGHT[:1], "attention_mask": torch.tensor([[1, 1, 0, 1, 1]])},
        "gap at token 2 of row 0",
    ),
    "no token": ({"input_ids": RIGHT, "attention_mask": MASK * 0}, "none in row 0"),
    "4 axes": ({"input_ids": RIGHT, "attention_mask": MASK[:, None, None]}, r"got \(2, 1, 1, 5\)"),
    "one number": ({"input_ids": RIGHT, "attention_mask": 1}, r"shape of `input_ids`, got \(\)"),
    "a word": ({"input_ids": RIGHT, "attention_mask": "all"}, "must be numbers"),
    "positions": (
        {"input_ids": RIGHT[:1], "position_ids": torch.tensor([[0, 1, 0, 1, 2]])},
        "count from 0 at every text",
    ),
    "nested": (torch.nested.nested_tensor([torch.tensor(A)], layout=torch.jagged), "got a nested one"),
}  # fmt: skip


@pytest.mark.parametrize("form", IDS)
def test_token_ids_that_would_be_read_wrongly_are_refused(form: str, llama: Any) -> None:
    """A mask that is lost or of another meaning, and positions that the model is not given."""
    inputs, says = IDS[form]
    with pytest.raises((TypeError, ValueError), match=says):
        captured(llama, inputs)


def test_segments_of_a_pair_of_texts_are_not_left_out_in_silence() -> None:
    """Without them an encoder computes something else, so they are refused; zeros are what it is given."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
    )
    bert = sn.wrap(BertModel(config).eval())
    given = {"input_ids": RIGHT[:1], "token_type_ids": torch.zeros(1, 5).long()}
    assert torch.allclose(captured(bert, given), plain(bert, [A]), atol=1e-5)
    given["token_type_ids"][0, 3:] = 1
    with pytest.raises(ValueError, match=re.escape("0 at every token")):
        captured(bert, given)

"""Characters are written whole, in the token in which they begin, and no token is lost."""

from __future__ import annotations

import unicodedata

import pytest
import torch

from sae_nb.activations import Context, Ragged
from sae_nb.activations.tokens import CONTINUED, is_special, texts_to_draw

TEXTS = (
    "plain words, and 1.5 numbers\n\tindented",
    "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 and 🏳️‍🌈 and 👍🏽 and 🇺🇦🇧🇷",
    "e\u0301te\u0301, na\u00efve, Z\u0335a\u0337lgo\u0301\u0302\u0303",
    "नमस्ते, สวัสดี, 한국어, 日本語",
    "ðe þing é » ¿",
)


def _tokens(text: str, size: int) -> list[str]:
    content, tokens = text.encode(), []
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        try:
            tokens.append(piece.decode())
        except UnicodeDecodeError:
            tokens.append("".join(f"<0x{byte:02X}>" for byte in piece))
    return tokens


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_wherever_a_text_is_cut_it_reads_as_it_was_written(text: str, size: int) -> None:
    """One text per token; together, without the marks, they are the text."""
    tokens = _tokens(text, size)
    shown = texts_to_draw(tokens)
    assert len(shown) == len(tokens)
    assert "".join(piece for piece in shown if piece != CONTINUED) == text
    for piece in shown[1:]:
        assert not unicodedata.combining(piece[0])
        assert piece[0] not in "\u200d\ufe0f"
        assert not 0x1F3FB <= ord(piece[0]) <= 0x1F3FF


def test_joined_emoji_are_one_character() -> None:
    """A family cut into its members is drawn where it begins; flags come in pairs."""
    assert texts_to_draw(["👩", "\u200d", "👩", "\u200d", "👧", "!"]) == [
        "👩\u200d👩\u200d👧", CONTINUED, CONTINUED, CONTINUED, CONTINUED, "!",
    ]  # fmt: skip
    assert texts_to_draw(["🇺", "🇦", "🇧", "🇷"]) == ["🇺🇦", CONTINUED, "🇧🇷", CONTINUED]


def test_bytes_of_other_tokenizers_are_read_too() -> None:
    assert texts_to_draw(["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "x"])[0] == "😀"
    assert texts_to_draw(["<0xF0>", "<0x9F>"]) == ["<0xF0>", "<0x9F>"]


def test_true_letters_are_not_taken_for_bytes() -> None:
    """In byte-level vocabularies ð is a first byte, and É» are the bytes of one letter."""
    assert texts_to_draw(["ð", "a", "é", "þ"]) == ["ð", "a", "é", "þ"]
    assert texts_to_draw(["CAF", "É", "»", "Ã", "©"]) == ["CAF", "É", "»", "Ã", "©"]


def test_bytes_of_files_of_old_are_read_as_letters() -> None:
    """Where a file says so; a letter that begins no character stays."""
    assert texts_to_draw(["ä¸", "Ń", "é"], letters=True) == ["中", CONTINUED, "é"]
    assert texts_to_draw(["ð", "a", "é", "þ"], letters=True) == ["ð", "a", "é", "þ"]


def test_special_tokens_take_no_accents_and_lose_none() -> None:
    """A mark at the start of a text stays at the start of the text."""
    assert texts_to_draw(["<|endoftext|>", "\u0301a"]) == ["<|endoftext|>", "\u0301a"]
    assert [is_special(t) for t in ("<|begin|>", "[CLS]", "</s>", "<b>", "<script>")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "shown"), [("dna", "A"), ("language", " A")])
def test_a_letter_of_a_sequence_stands_without_white_space(kind: str, shown: str) -> None:
    """Tokens of texts keep theirs; one that the vocabulary does not have is named by its number."""
    ids = Ragged(torch.tensor([0, 1, 7]), torch.tensor([0, 3]))
    context = Context(kind=kind, n_samples=1, vocabulary={0: " A", 1: "C"}, token_ids=ids)
    assert context.token_names(0) == [shown, "C", "<id 7>"]
    assert context.token_name(5, 0) == shown

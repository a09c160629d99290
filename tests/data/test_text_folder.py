"""Promises of the reader of text folders: every paragraph once, and clear refusals."""

from __future__ import annotations

import pytest

from sae_nb.data import text


def test_paragraphs_come_in_the_order_of_the_files(tmp_path):
    """Blank lines part them, also Windows ones and such with spaces; a byte-order mark goes."""
    (tmp_path / "b.txt").write_bytes("\ufeffthird\r\n\r\nfourth\r\nstill fourth\r\n".encode())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.TXT").write_text("first\n \t\n\n\nsecond\n")
    (tmp_path / "notes.md").write_text("not a text file")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "c.txt").write_text("hidden")
    found = text(tmp_path)
    assert found.texts == ("first", "second", "third", "fourth\nstill fourth")
    assert found.file == ("a/z.TXT", "a/z.TXT", "b.txt", "b.txt")
    assert len(found) == 4


def test_a_missing_folder_is_named(tmp_path):
    """The path is in the message."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        text(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    """A path to one file is not a folder."""
    (tmp_path / "one.txt").write_text("words")
    with pytest.raises(FileNotFoundError, match=r"one\.txt"):
        text(tmp_path / "one.txt")


@pytest.mark.parametrize("content", [None, b"", b" \n\n\t"])
def test_a_folder_without_words_is_refused(tmp_path, content):
    """No file, an empty file, only spaces: said, with the number of files found."""
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"with {int(content is not None)} such files"):
        text(tmp_path)


def test_a_file_in_another_encoding_is_named(tmp_path):
    """File, byte and place are given, and how to convert it."""
    (tmp_path / "old.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"old\.txt' with byte 0xe9 at 3.*iconv"):
        text(tmp_path)


def test_binary_content_is_refused(tmp_path):
    """A file that is only called .txt does not become tokens."""
    (tmp_path / "weights.txt").write_bytes(b"abc\x00def")
    with pytest.raises(ValueError, match="zero bytes"):
        text(tmp_path)


def test_a_wrong_type_is_refused():
    """A list of texts is not a folder."""
    with pytest.raises(TypeError, match="`folder` must be a path, got list"):
        text(["some words"])  # type: ignore[arg-type]

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


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("old.txt", "caf\u00e9".encode("latin-1"), r"old\.txt' with byte 0xe9 at 3.*iconv"),
        ("weights.txt", b"abc\x00def", "zero bytes"),
    ],
)
def test_a_file_that_is_not_text_is_named(tmp_path, file, content, message):
    """Another encoding with byte, place and how to convert it; binary content does not become tokens."""
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        text(tmp_path)

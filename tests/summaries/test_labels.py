"""Labels survive the session and refuse files that are something else."""

from __future__ import annotations

import json

import pytest

from sae_nb.summaries.labels import Labels


def test_labels_come_back_from_the_folder(tmp_path) -> None:
    """Written at once, beside whatever else the folder holds; hostile text stays text."""
    labels = Labels(tmp_path)
    labels.write(17, "<script>seven</script>", note="مرحبا 🙂")
    again = Labels(tmp_path)
    assert dict(again) == {17: "<script>seven</script>"}
    assert again.note(17) == "مرحبا 🙂"
    assert (tmp_path / "labels.json").is_file()
    assert not list(tmp_path.glob(".labels*")), "a temporary file was left behind"


def test_an_empty_label_forgets_the_atom(tmp_path) -> None:
    """Clearing both fields leaves no entry; a note alone is kept."""
    labels = Labels(tmp_path / "mine.json")
    labels.write(3, "x")
    labels.write(4, "", note="only a note")
    labels.write(3, "")
    assert list(Labels(tmp_path / "mine.json")) == [4]
    assert labels.label(3) == labels.note(3) == ""


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"kind": "atom labels", "version": 2, "atoms": {}}', '{"kind"', '"x"']
)
def test_another_file_is_refused_and_not_overwritten(tmp_path, content: str) -> None:
    """Rule, given, do; the file stays as it is."""
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="labels.json"):
        Labels(path)
    assert path.read_text() == content


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch) -> None:
    """In memory only."""
    monkeypatch.chdir(tmp_path)
    Labels().write(1, "x")
    assert list(tmp_path.iterdir()) == []
    assert json.dumps(dict(Labels())) == "{}"

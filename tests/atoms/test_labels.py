"""Labels in memory: a mapping from atom to text, with a note beside it."""

from __future__ import annotations

from sae_nb.atoms import LabelEvidence, Labels


def test_an_empty_label_forgets_the_atom() -> None:
    """Clearing both fields leaves no entry; a note alone is kept."""
    labels = Labels()
    labels.write(3, "x")
    labels.write(4, "", note="only a note")
    labels.write(3, "")
    assert list(labels) == [4]
    assert labels.label(3) == labels.note(3) == ""
    assert labels.note(4) == "only a note"


def test_labels_begin_with_what_is_given_and_never_change_it() -> None:
    """From a plain mapping, or from other labels with their notes."""
    first = Labels({1: "one"})
    first.write(2, "two", note="a note")
    second = Labels(first)
    second.write(1, "changed")
    assert dict(first) == {1: "one", 2: "two"}
    assert dict(second) == {1: "changed", 2: "two"}
    assert second.note(2) == "a note"


def test_nothing_is_written_to_disk(tmp_path, monkeypatch) -> None:
    """In memory only."""
    monkeypatch.chdir(tmp_path)
    Labels().write(1, "x")
    assert list(tmp_path.iterdir()) == []


def test_dots_count_from_chance_to_certainty() -> None:
    """Chance is what others' labels reach, at least ½ for a balanced accuracy; the F1 counts where there is one."""
    assert LabelEvidence(by="rule", detection=1.0, control=0.48, n=40).dots == 4
    assert LabelEvidence(by="rule", detection=0.75, control=0.3, n=40).dots == 2
    assert LabelEvidence(by="rule", detection=0.4, control=0.5, n=40).dots == 0
    assert LabelEvidence(by="rule", detection=0.54, control=0.5, n=40, f1=0.93).dots == 4
    assert LabelEvidence(by="caption", f1=0.6, f1_control=0.5).dots == 1
    assert LabelEvidence(by="judge", why="no judge").dots is None
    assert LabelEvidence(by="rule", detection=1.0, control=1.0, n=40).beyond_chance == 0

"""Labels in memory: a mapping from atom to text, with a note beside it."""

from __future__ import annotations

from sae_nb.atoms import LabelEvidence


def test_dots_count_from_chance_to_certainty() -> None:
    """Chance is what others' labels reach, at least ½ for a balanced accuracy; the F1 counts where there is one."""
    assert LabelEvidence(by="rule", detection=1.0, control=0.48, n=40).dots == 4
    assert LabelEvidence(by="rule", detection=0.75, control=0.3, n=40).dots == 2
    assert LabelEvidence(by="rule", detection=0.4, control=0.5, n=40).dots == 0
    assert LabelEvidence(by="rule", detection=0.54, control=0.5, n=40, f1=0.93).dots == 4
    assert LabelEvidence(by="caption", f1=0.6, f1_control=0.5).dots == 1
    assert LabelEvidence(by="judge", why="no judge").dots is None
    assert LabelEvidence(by="rule", detection=1.0, control=1.0, n=40).beyond_chance == 0


def test_evidence_equals_what_measured_the_same() -> None:
    """NaN stands for what was not measured, whichever NaN it is; as a key it is one."""
    one, same = (LabelEvidence(by="rule", detection=0.9, f1=float("nan")) for _ in range(2))
    assert one == same
    assert len({one, same}) == 1
    assert one != LabelEvidence(by="rule", detection=0.9, f1=0.5)
    assert one != LabelEvidence(by="rule", f1=float("nan"))

"""Labels in memory: a mapping from atom to text, with a note beside it."""

from __future__ import annotations

from sae_nb.atoms import LabelEvidence
from sae_nb.atoms._evidence import badge
from sae_nb.atoms._labels import Labels


def test_dots_count_from_chance_to_certainty() -> None:
    """Chance is what others' labels reach, at least ½ for a balanced accuracy; the F1 counts where there is one."""
    assert LabelEvidence(by="rule", detection=1.0, control=0.48, n=40).dots == 4
    assert LabelEvidence(by="rule", detection=0.75, control=0.3, n=40).dots == 2
    assert LabelEvidence(by="rule", detection=0.4, control=0.5, n=40).dots == 0
    assert LabelEvidence(by="rule", detection=0.54, control=0.5, n=40, f1=0.93).dots == 4
    assert LabelEvidence(by="caption", f1=0.6, f1_control=0.5).dots == 1
    assert LabelEvidence(by="judge", why="no judge").dots is None
    assert LabelEvidence(by="rule", detection=1.0, control=1.0, n=40).beyond_chance == 0
    nothing = LabelEvidence()
    assert (nothing.n, nothing.returns, nothing.n_sisters, nothing.n_turned) == (0, None, 0, 0)


def test_evidence_equals_what_measured_the_same() -> None:
    """NaN stands for what was not measured, whichever NaN it is; as a key it is one."""
    one, same = (LabelEvidence(by="rule", detection=0.9, f1=float("nan")) for _ in range(2))
    assert one == same
    assert len({one, same}) == 1
    assert one != LabelEvidence(by="rule", detection=0.9, f1=0.5)
    assert one != LabelEvidence(by="rule", f1=float("nan"))


def test_a_badge_says_in_percent_what_was_measured() -> None:
    found = LabelEvidence(
        by="rule", detection=0.9, control=0.6, n=100, f1=0.8, fits=0.75, f1_control=0.25,
        returns=2, n_sisters=3, turned=24, n_turned=30,
    )  # fmt: skip
    shown = badge(found)
    assert shown is not None
    assert shown.text == (
        "✓ detects 0.90 · another’s 0.60 · F1 0.80 · another’s 0.25 · returns 2 of 3 · "
        "turned up 24 of 30"
    )
    for said in ("90 % of 100 windows", "other atoms: 60 %.", "true of 75 % of", "on these: 0.25."):
        assert said in shown.title
    assert badge(None) is None


def test_a_label_holds_two_standard_errors_above_another() -> None:
    """1 / √100 = 0.1 above the larger of a half and what another's label reaches."""
    for detection, control, standing in (
        (0.61, 0.4, "holds"), (0.59, 0.4, "fails"), (0.81, 0.7, "holds"), (0.79, 0.7, "fails"),
        (0.61, float("nan"), "holds"), (0.59, float("nan"), "fails"),
    ):  # fmt: skip
        assert LabelEvidence(by="rule", detection=detection, control=control, n=100).standing == (
            standing
        )
    assert LabelEvidence(by="words", detection=0.5, n=100).standing == "open"
    assert LabelEvidence(by="rule", detection=0.9, n=0).standing == "open"


def test_a_name_may_be_quoted_by_its_f1() -> None:
    for f1, fits, worth in (
        (0.7, 0.0, "sure"), (0.69, 0.5, "mostly"), (0.3, 0.5, "mostly"), (0.29, 0.9, "unclear"),
        (0.69, 0.49, "unclear"),
    ):  # fmt: skip
        found = LabelEvidence(by="caption", f1=f1, fits=fits)
        assert found.worth == worth
        assert found.standing == ("holds" if worth == "sure" else "open")
    assert LabelEvidence(by="judge", detection=0.2, n=100).worth == "unclear"
    assert LabelEvidence(by="rule", turned=4, n_turned=5).steers
    assert not LabelEvidence(by="rule", turned=7, n_turned=9).steers
    assert not LabelEvidence(by="rule").steers


def test_labels_have_notes_and_scores() -> None:
    labels = Labels({3: "dog"})
    labels.write(4, "cat", "seen twice")
    assert (labels.label(4), labels.note(4)) == ("cat", "seen twice")
    assert (labels.label(5), labels.note(5), labels.note(3)) == ("", "", "")
    labels.take_scores(3, f1=0.8, fits=0.6, fits_floor=0.1)
    found = labels.evidence(3)
    assert found is not None
    assert (found.f1, found.fits, found.fits_floor) == (0.8, 0.6, 0.1)
    assert labels.evidence(4) is None

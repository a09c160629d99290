"""The table of forms and conditions has what the code has: forms are found where they stand, with their branches."""

from __future__ import annotations

from tests.sentence_forms import all_forms, forms_of


def test_a_form_stands_beside_the_branches_that_lead_to_it() -> None:
    """Else-branches and what follows a return are the contrary; a choice within a line is two forms."""
    code = """
def said(a: int, b: int) -> str:
    if a > b:
        if not a:
            return "first one here"
        extra = "more than that" if b else "no more here"
    else:
        return f"{a} against {b} here"
    return "and the last"
def number(a: int) -> int:
    return len("no sentence at all")
"""
    assert [(form.conditions, form.text) for form in forms_of(code)] == [
        (("a > b", "not a"), "first one here"),
        (("a > b", "a", "b"), "more than that"),
        (("a > b", "a", "not b"), "no more here"),
        (("not (a > b)",), "{a} against {b} here"),
        (("a > b",), "and the last"),
    ]


def test_panels_have_their_forms_in_the_table() -> None:
    """A title by its predicate, and most panels with words of their own."""
    forms = all_forms()
    (rare,) = (form for form in forms if form.text.endswith("because they are rare"))
    assert rare.panel == "superposition"
    assert "not (kept <= len(dense.stored))" in rare.conditions
    assert len({form.panel for form in forms}) >= 12

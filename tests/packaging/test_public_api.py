"""Public names are those of the last release, or the changelog says what became of them."""

from __future__ import annotations

import pytest

from tests.packaging.public_api import as_list, changes, listed, since_release, unexplained

RELEASED = {
    "sn": None,
    "sn.Kind": ["d_in"],
    "sn.Kind.encode": ["x"],
    "sn.capture": ["model", "inputs", "batch_size=None", "*", "progress=True"],
}


@pytest.mark.slow
def test_what_changed_since_the_release_is_in_the_changelog() -> None:
    """`python -m tests.packaging.public_api` prints the same."""
    assert since_release() == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (["model", "inputs", "batch_size=None", "*", "progress=True"], []),
        (["model", "inputs", "batch_size=None", "seed=0", "*", "progress=True", "x=1"], []),
        (["model", "inputs", "batch_size=None", "progress=True"], []),
        (["model", "inputs", "*", "progress=True"], ["takes no `batch_size` any more"]),
        (["model", "inputs", "batch_size=None", "*", "progress=False"], ["`progress`: True is False now"]),
        (["model", "inputs", "batch_size", "*", "progress=True"], ["`batch_size`: None is no default now"]),
        (["model", "inputs", "batch_size=None", "*", "progress=True", "seed"], ["needs `seed` now"]),
        (["inputs", "model", "batch_size=None", "*", "progress=True"], ["takes its arguments in another order"]),
        (["model", "inputs", "*", "batch_size=None", "progress=True"], ["takes its arguments in another order"]),
    ],
)  # fmt: skip
def test_a_signature_breaks_where_an_old_call_would(now: list[str], said: list[str]) -> None:
    """More parameters with a default behind the others, or one that may be given by place too, break nothing."""
    found = changes(RELEASED, RELEASED | {"sn.capture": now})
    assert [one for _, one, _ in found] == said


def test_a_list_is_read_as_it_was_written() -> None:
    """Also what takes nothing, and a default that holds commas and brackets."""
    names = RELEASED | {"sn.take": [], "sn.widths": ["steps=(1, 2)"]}
    assert as_list(RELEASED).splitlines()[:3] == ["sn", " Kind(d_in)", "  encode(x)"]
    assert listed(as_list(names)) == names


def test_a_name_that_is_gone_is_said_once() -> None:
    """A class with what was in it; a method alone by itself."""
    without = {name: given for name, given in RELEASED.items() if "Kind" not in name}
    assert [name for name, *_ in changes(RELEASED, without)] == ["sn.Kind"]
    without = {name: given for name, given in RELEASED.items() if "encode" not in name}
    assert [name for name, *_ in changes(RELEASED, without)] == ["sn.Kind.encode"]


def test_a_line_above_the_release_must_name_what_changed() -> None:
    """In code, the name and the parameter in one line; a line of an older version does not count."""
    found = changes(RELEASED, RELEASED | {"sn.capture": ["model", "inputs", "*", "progress=True"]})
    text = "## Unreleased\n\n{}\n\n## 0.3.0 (2026-11-29)\n\n{}\n"
    line = "- `sn.capture` has no `batch_size=` any more."
    assert unexplained(found, text.format(line, ""), "0.3.0") == []
    for wrong in (
        text.format("", line),
        text.format("- `sn.capture` is faster.\n- `batch_size` is gone elsewhere.", ""),
        text.format("- capture lost its batch_size.", ""),
    ):
        (said,) = unexplained(found, wrong, "0.3.0")
        assert "`sn.capture` takes no `batch_size` any more" in said

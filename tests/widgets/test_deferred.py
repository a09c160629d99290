"""The place of a panel is there before the panel; they are made in order, and a failure is said in its place."""

from __future__ import annotations

import subprocess
import sys
import threading

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw


def test_the_place_is_there_first_and_panels_are_made_in_order() -> None:
    """A kernel that is slow shows what it does; a later panel may build on an earlier one."""
    go, made = threading.Event(), []

    def slow() -> ipw.Label:
        go.wait(20)
        made.append("first")
        return ipw.Label("one")

    first = sw.Deferred(slow, "Loading <b>SmolLM2</b>")
    second = sw.Deferred(lambda: ipw.Label(first.wait().value + " and two"))
    (place,) = first.children
    assert 'role="status"' in place.value
    assert "Loading &lt;b&gt;SmolLM2&lt;/b&gt; …" in place.value
    with pytest.raises(TimeoutError, match="Loading"):
        first.wait(0.01)
    go.set()
    assert second.wait(20).value == "one and two"
    assert first.children == (first.wait(),)
    assert made == ["first"]


def test_what_cannot_be_made_says_why_and_the_next_one_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sentence is in its place, the traceback in the log, and the cause is raised to who waits."""

    def fails() -> ipw.Label:
        raise FileNotFoundError("weights.safetensors is not there")

    broken = sw.Deferred(fails, "Loading the model")
    after = sw.Deferred(lambda: ipw.Label("here"))
    assert after.wait(20).value == "here"
    (place,) = broken.children
    assert 'role="alert"' in place.value
    with pytest.raises(RuntimeError, match="weights"):
        broken.wait()
    assert "weights.safetensors" in caplog.text


def test_the_first_cell_of_the_demo_imports_nothing_heavy() -> None:
    """What the cell itself runs before its place is on screen."""
    code = (
        "import sys, sae_nb_widgets as sw; from sae_nb_lessons import demo; sw.Deferred; "
        "print(sorted({'torch', 'numba', 'plotly', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

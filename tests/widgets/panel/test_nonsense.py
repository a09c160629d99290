"""Nonsense in every field of every panel, as a browser sends it: a sentence, and no field that lies."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import ipywidgets as ipw
import pytest
import torch
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import Entry
from sae_nb_widgets.panel._pages import descendants

import sae_nb as sn
from tests.scripts import script
from tests.widgets.made import HOSTILE

pytestmark = pytest.mark.slow

NONSENSE = (
    "abc",
    "-3",
    "99999999999",
    "",
    "  ",
    "٣٤ 中文 👩‍🔬",
    "x" * 10_000,
    "inf",
    "nan",
    "1e999",
    HOSTILE,
)
LONGEST_SENTENCE = 300
FIELDS = (ipw.Text, ipw.Textarea, ipw.IntText, ipw.BoundedIntText, ipw.FloatText)
FIELDS += (ipw.BoundedFloatText, ipw.Combobox)
PYTHON = re.compile(
    r"invalid literal|could not convert|Expecting |Traceback|object has no|not supported between|"
    r"unexpected keyword|codec can't|\bNoneType\b|\bTraitError\b|`"
)
"""What Python says to programmers, and names of parameters in backticks."""


def _grammar() -> ModuleType:
    return script(Path(__file__).with_name("test_grammar.py"))


MAKERS = dict(_grammar().MAKERS)


def _live_monitor() -> Panel:
    import sae_nb_widgets as sw

    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    config = sn.TrainConfig(steps=10**6, batch_size=32, seed=0)
    run = sn.start_training(sn.TopK(d_in=8, n_atoms=16, k=2), x, config)
    run.pause()
    panel = sw.TrainingMonitor(run)
    whole = panel.close

    def close() -> None:
        whole()
        run.stop()

    panel.close = close  # type: ignore[method-assign]
    return panel


def _dashboard() -> Any:
    import sae_nb_widgets as sw

    v = _grammar().vision()
    return sw.dashboard(v.model, v.sae)


def _texts(kind: str) -> Panel:
    import sae_nb_widgets as sw

    model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    text = "Tom and Lucy walked to the castle."
    if kind == "lens":
        lens = sw.InputLens(model, sae, examples=sn.load_examples("tiny-gpt/resid_post.3"))
        lens.text = text
        return lens
    return sw.SteeringPanel(model, sae.hook_point, sae, [text], atom=3)


def _depth_with_atoms() -> Panel:
    import sae_nb_widgets as sw

    v = _grammar().vision()
    return sw.DepthTrajectory(v.model, v.pictures, sae=v.sae)


MAKERS |= {
    "DepthTrajectory of an SAE": _depth_with_atoms,
    "InputLens of texts": partial(_texts, "lens"),
    "SteeringPanel of texts": partial(_texts, "steering"),
    "TrainingMonitor of a run": _live_monitor,
    "dashboard": _dashboard,
}


@pytest.fixture
def panel(request: pytest.FixtureRequest) -> Panel:
    """A panel of its own: nonsense that it takes must not reach the next test."""
    made = MAKERS[request.param]()
    made.wait(120)
    return made


def fields(panel: Panel) -> list[ipw.Widget]:
    return [one for one in descendants(panel) if isinstance(one, FIELDS) and not one.disabled]


def sent(field: ipw.Widget, text: str) -> Any:
    """What the page sends when `text` is typed; None where the page itself lets nothing through."""
    if isinstance(field, ipw.Text | ipw.Textarea | ipw.Combobox):
        return text
    try:
        number = float(text)
        return int(number) if isinstance(field, ipw.IntText | ipw.BoundedIntText) else number
    except (ValueError, OverflowError):
        return None


@pytest.mark.parametrize("panel", sorted(MAKERS), indirect=True)
def test_nonsense_is_answered_in_a_sentence_and_leaves_no_lie(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    """In every field: what is refused is said by the field's name and goes; what is taken is shown."""
    complaints: list[str] = []
    for field in fields(panel):
        name = field.description or field.placeholder or field.tooltip or type(field).__name__
        for text in NONSENSE:
            value = sent(field, text)
            if value is None:
                continue
            caplog.clear()
            before = (field.value, answers(panel), panel.state())
            field.set_state({"value": value})
            panel.wait(120)
            found = wrong(panel, field, value, caplog)
            # Refused: then nothing else has changed either.
            if (
                not same(field.value, value)
                and (field.value, answers(panel), panel.state()) != before
            ):
                found.append("neither taken nor left alone")
            complaints += [f"{name} ← {text[:20]!r}: {what}" for what in found]
    assert not complaints, "\n".join(complaints)


def parts(panel: Any) -> list[Any]:
    """The panel and those inside it, which have status lines of their own."""
    return [one for one in descendants(panel) if one is panel or isinstance(one, Panel)]


def answers(panel: Any) -> list[str]:
    return [getattr(one, "answer", "") for one in parts(panel)]


def same(shown: Any, typed: Any) -> bool:
    """Whether a field shows what was typed, perhaps as the same number in other digits; spaces are nothing."""
    if shown == "" and isinstance(typed, str) and not typed.strip():
        return True
    try:
        return shown == typed or math.isclose(float(shown), float(typed), rel_tol=1e-4)
    except ValueError:
        return False


def wrong(panel: Any, field: ipw.Widget, value: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is wrong with a panel after `value` was typed into one of its fields."""
    found, shown = [], field.value
    said = " ".join(one.status for one in parts(panel))
    problem = any(one.problem for one in parts(panel))
    refused = not same(shown, value)
    tracebacks = [record for record in caplog.records if record.exc_info]
    if tracebacks and not problem:
        found.append(f"an error in the log and no sentence: {tracebacks[0].getMessage()!r}")
    if PYTHON.search(said):
        found.append(f"the status line says {said[:120]!r}")
    if any(len(one.status) > LONGEST_SENTENCE for one in parts(panel)):
        found.append(f"the status line is {len(said)} characters long")
    lines = (one for one in descendants(panel) if isinstance(one, ipw.HTML))
    if any(HOSTILE in one.value for one in lines):
        found.append("markup becomes markup")
    if refused and not problem:
        found.append(f"became {str(shown)[:30]!r} without a word")
    if isinstance(field, Entry):
        if refused and field.description.lower() not in said.lower():
            found.append(f"the status line does not name the field: {said[:120]!r}")
        if shown and not re.fullmatch(r"[-−]?[\d.e+-]+", shown):
            found.append(f"the field shows {shown[:30]!r}")
    return found

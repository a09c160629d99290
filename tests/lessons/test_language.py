"""The language model of the notebooks: which one it is, how it says so, and what is counted with it."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sae_nb_lessons import LanguageModel, language_model
from sae_nb_lessons._language import BUNDLED, REAL, Plan, _opened


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be asked of a network")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def bundled(cache: Path) -> LanguageModel:
    return language_model()


def test_without_a_fetched_model_it_is_the_bundled_one_and_says_how_to_have_the_other(
    bundled: LanguageModel,
) -> None:
    assert bundled.model.name == "tiny-gpt"
    assert str(bundled).endswith("sae-nb get smollm2-135m")
    assert "\n" not in str(bundled)


@pytest.mark.slow
def test_the_atom_writes_what_it_is_named_for_and_random_directions_do_not(
    bundled: LanguageModel,
) -> None:
    _holds(bundled)


def test_words_count_whole() -> None:
    lm = _about(REAL)
    assert not lm.says("On the embankment he accounted for a repayment.")
    assert lm.says("lost all his money")
    assert lm.says("To the bank, then")


@pytest.mark.parametrize("plan", [REAL, BUNDLED], ids=lambda plan: plan.name)
def test_what_is_continued_has_none_of_the_words(plan: Plan) -> None:
    assert not any(map(_about(plan).says, (plan.beginning, *plan.beginnings)))


@pytest.mark.slow
def test_where_it_was_fetched_the_real_one_is_read(smollm2: Path, cache: Path) -> None:
    (cache / "smollm2-135m").symlink_to(smollm2)
    lm = language_model()
    assert lm.model.name == "smollm2-135m"
    assert str(lm).startswith("The model here is SmolLM2-135M: real")
    _holds(lm)


def _about(plan: Plan) -> LanguageModel:
    nothing: Any = None
    return LanguageModel(
        model=nothing, sae=nothing, examples=nothing, plan=plan, atom=0, beginnings=[]
    )


def _holds(lm: LanguageModel) -> None:
    counted = lm.count()
    share = counted["share"]
    assert list(counted.index) == ["as it is", "turned up", "random 0", "random 1"]
    assert share["turned up"] > share.drop("turned up").max() + 0.2
    assert not lm.model.interventions


def test_it_is_asked_for_by_name(bundled: LanguageModel) -> None:
    """Without the counted concept a labelled atom is turned up, and no word counts; without an SAE it is refused."""
    assert language_model("tiny-gpt").atom == bundled.atom
    other = _opened(replace(BUNDLED, concepts=("of no label",)))
    assert other.concept
    assert not other.says("sad")
    with pytest.raises(ValueError, match="tiny-gpt/resid_post"):
        language_model("tiny-induction")

"""Planted functions: true where their words say, noisy and biased by as much as promised, judged without luck."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest

import sae_nb as sn
from sae_nb_studies.evaluation import PlantedFunctions, planted_functions


@cache
def acts() -> Any:
    texts = sn.data.prose().texts[:60]
    return sn.capture(sn.load_model("tiny-gpt"), texts, "resid_post.0", progress=False)


@cache
def planted() -> PlantedFunctions:
    return planted_functions(acts(), n_each=2, noise=0.25)


def fires(atom: int) -> np.ndarray:
    return planted().codes.to_dense()[:, atom].numpy() > 0


def names() -> list[str]:
    return [acts().context.token_name(1, int(i)) for i in acts().tokens.ids]


def of_kind(kind: str) -> list[int]:
    return [atom for atom, its in enumerate(planted().kinds) if its == kind]


@pytest.mark.slow
def test_tokens_and_letters_are_those_that_the_words_name() -> None:
    for atom in of_kind("token"):
        listed = set(re.findall("“(.*?)”", planted().texts[atom]))
        assert fires(atom).tolist() == [name in listed for name in names()]
    for atom in of_kind("letters"):
        (ending,) = re.findall("“(.*?)”", planted().texts[atom])
        assert fires(atom).tolist() == [name.strip().endswith(ending) for name in names()]


@pytest.mark.slow
def test_places_are_those_that_the_words_name() -> None:
    for atom in of_kind("place"):
        first, end = map(int, re.findall(r"\d+", planted().texts[atom]))
        position = np.asarray(acts().position)
        assert (fires(atom) == ((position >= first) & (position < end))).all()


def test_noise_leaves_out_and_puts_elsewhere() -> None:
    for atom in of_kind("noisy"):
        listed = set(re.findall("“(.*?)”", planted().texts[atom]))
        true = np.array([name in listed for name in names()])
        n = round(0.25 * true.sum())
        assert (true & ~fires(atom)).sum() == (~true & fires(atom)).sum() == n


def test_a_biased_one_is_silent_later() -> None:
    for atom in of_kind("biased"):
        quoted, at = planted().texts[atom].rsplit(", and nowhere from position ", 1)
        listed, position = set(re.findall("“(.*?)”", quoted)), np.asarray(acts().position)
        true = np.array([name in listed for name in names()])
        assert (fires(atom) == (true & (position < int(at.split()[0])))).all()


@pytest.mark.slow
def test_rules_say_what_is_one_statement() -> None:
    table = planted().score(n_examples=24).set_index("kind")
    assert table.score["token"] > 0.9
    assert (table.other < 0.8).all()
    judged = planted().score(lambda _: "no", n_examples=16)
    assert judged.score.dropna().tolist() == [0.5] * judged.score.count()
    assert judged.score.count() > 0

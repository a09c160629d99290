"""Promises of the proof harness: honest verdicts, resumable runs, artefacts that name no machine."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sae_nb_studies.reproductions import (
    Claim,
    Line,
    Shown,
    Summary,
    _registry as registry,
    experiment,
    experiment_names,
    run_experiment,
    summarise,
)
from sae_nb_studies.reproductions.__main__ import judge, main
from sae_nb_studies.reproductions._committed import recorded_seeds

CALLS: list[int] = []


def toy(seed: int, *, height: float = 1.0, ks: tuple[int, ...] = (1, 2)) -> dict[str, float]:
    CALLS.append(seed)
    if height < 0:
        raise KeyboardInterrupt
    return {"a": height + 0.01 * seed, "floor": 0.0}


LINES = (Line(number="a", label="height", at_least=0.9, short=0.5),)
FLOOR = Shown(number="floor", label="nothing")
TOY = """
title = "Toys"
kind = "codes"
[[claim]]
name = "high"
text = "a | b is high"
paper = "arXiv 0000.00000"
notebook = "notebooks/00"
lines = [{ number = "a", line = "≥ 0.9", short = 0.5, label = "height" }]
floor = { number = "floor", label = "nothing" }
"""


@pytest.fixture
def toy_experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    room = tmp_path / "toy_room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "toy.py").write_text("SHORT = {'height': 0.7}\n")
    (room / "toy.toml").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "experiments", importlib.import_module("toy_room"))
    module = importlib.import_module("toy_room.toy")
    module.run = toy
    CALLS.clear()
    yield module
    for name in ("toy_room.toy", "toy_room"):
        del sys.modules[name]


def summaries(*values: float) -> dict[str, Summary]:
    return {"a": summarise(list(values))}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.0, 1.01, 1.02), "holds"),
        ((0.8, 1.0, 1.2), "too few seeds"),
        ((0.5, 0.6, 0.7), "does not hold at this scale"),
        ((0.8, 0.8, 1.0, 1.2, 1.2), "partly"),
        ((0.7, 0.7, 0.8, 1.0, 1.0), "does not hold at this scale"),
        ((0.9, 0.92, 0.93, 0.95, 0.95), "holds"),
        ((1.0, 1.0), "too few seeds"),
    ],
)
def test_a_claim_holds_by_the_interval_of_its_mean(values: Any, verdict: str) -> None:
    """Student's, of 95 %; what includes the bound is open, and with fewer than five seeds not judged."""
    claim = Claim(name="c", text="t", paper="ours", lines=LINES, floor=FLOOR)
    assert claim.verdict(summaries(*values)) == verdict


def test_a_claim_with_one_line_of_two_holds_partly() -> None:
    lines = (*LINES, Line(number="a", label="not too high", at_most=0.95))
    claim = Claim(name="c", text="t", paper="ours", lines=lines, floor=FLOOR)
    assert claim.verdict(summaries(1.0, 1.0, 1.0)) == "partly"
    assert Claim(name="c", text="t", paper="ours", lines=()).verdict({}) == "shown, not asserted"


def test_a_lead_is_taken_seed_by_seed(toy_experiment: Any, tmp_path: Path) -> None:
    """What goes up and down together has a narrow difference; the card says what was taken off."""
    texts = Path(toy_experiment.__file__).with_suffix(".toml")
    texts.write_text(TOY.replace('"≥ 0.9"', '"≥ 0.4", minus = "b"'), encoding="utf-8")
    toy_experiment.run = lambda seed, *, height=1.0: {"a": seed, "b": seed - 0.5, "floor": 0.0}
    (claim,) = run_experiment("toy", range(5), tmp_path)["claims"]
    (line,) = claim["lines"]
    assert claim["verdict"] == "holds"
    assert (line["mean"], line["sd"], line["minus"], line["state"]) == (0.5, 0.0, "b", "met")
    toy_experiment.run = lambda seed, *, height=1.0: {"a": seed, "floor": 0.0}
    with pytest.raises(ValueError, match="needs the number 'b'"):
        run_experiment("toy", [0], tmp_path, fresh=True)


def test_bounds_are_on_the_side_they_say() -> None:
    least, most = LINES[0], Line(number="a", label="l", at_most=0.9)
    spread = Summary(mean=1.0, sd=0.1, n=3)
    assert (least.met_by(0.9), least.met_by(0.89), least.met_by(0.5, short=True)) == (
        True,
        False,
        True,
    )
    assert (most.met_by(0.9), most.met_by(0.91), most.met_by(5.0, short=True)) == (
        True,
        False,
        True,
    )
    half = 4.302653 * 0.1 / 3**0.5
    assert (least.gate(spread), most.gate(spread)) == pytest.approx((1 - half, 1 + half))
    assert (str(least), str(most)) == ("≥ 0.9", "≤ 0.9")


def test_an_artefact_tells_what_made_it_and_no_more(toy_experiment: Any, tmp_path: Path) -> None:
    out = tmp_path / "claims"
    made = run_experiment("toy", [0, 1, 2], out, size={"ks": [3]})
    assert json.loads((out / "toy.json").read_text("utf-8")) == json.loads(json.dumps(made))
    assert made["numbers"]["a"] == {"mean": 1.01, "sd": 0.01, "n": 3}
    assert [made["seeds"][s]["numbers"]["a"] for s in "012"] == [1.0, 1.01, 1.02]
    assert made["command"] == (
        "python -m sae_nb_studies.reproductions toy --seeds 0 1 2 --size ks=[3] --out docs/claims"
    )
    claim = made["claims"][0]
    assert (claim["verdict"], claim["lines"][0]["gate"], claim["floor"]["mean"]) == (
        "holds",
        0.985159,
        0,
    )
    record = made["seeds"]["0"]
    assert {"torch", "numba", "cores", "threads", "python"} <= set(record["environment"])
    assert str(tmp_path) not in json.dumps(made)
    assert "/" not in json.dumps([r["environment"] for r in made["seeds"].values()])


def test_a_killed_run_keeps_the_seeds_it_finished(toy_experiment: Any, tmp_path: Path) -> None:
    run_experiment("toy", [0], tmp_path)

    def dies(seed: int, *, height: float = 1.0, ks: tuple[int, ...] = (1, 2)) -> dict[str, float]:
        if seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return toy(seed, height=height)

    toy_experiment.run = dies
    child = os.fork()
    if child == 0:
        try:
            run_experiment("toy", [0, 1, 2], tmp_path)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert CALLS == [0]
    assert sorted(json.loads((tmp_path / "toy.json").read_text("utf-8"))["seeds"]) == ["0", "1"]
    toy_experiment.run = toy
    run_experiment("toy", [0, 1, 2], tmp_path)
    assert CALLS == [0, 2]
    assert sorted(json.loads((tmp_path / "toy.json").read_text("utf-8"))["seeds"]) == [
        "0",
        "1",
        "2",
    ]
    run_experiment("toy", [0], tmp_path, size={"height": 2.0})
    assert CALLS == [0, 2, 0]
    run_experiment("toy", [0], tmp_path, size={"height": 2.0}, fresh=True)
    assert CALLS == [0, 2, 0, 0]


def test_numbers_must_be_finite_and_the_same_for_every_seed(
    toy_experiment: Any, tmp_path: Path
) -> None:
    toy_experiment.run = lambda seed, *, height=1.0: {"a": float("inf")}
    with pytest.raises(ValueError, match="must be finite, got a = inf for seed 0"):
        run_experiment("toy", [0], tmp_path)
    toy_experiment.run = lambda seed, *, height=1.0: {"b": 1.0, "floor": 0.0}
    with pytest.raises(ValueError, match="Claim 'high' needs the number 'a'"):
        run_experiment("toy", [0], tmp_path)
    toy_experiment.run = lambda seed, *, height=1.0: {"a": 1.0, "floor": 0.0} | {f"s{seed}": 1.0}
    with pytest.raises(ValueError, match="must give the same numbers"):
        run_experiment("toy", [0, 1], tmp_path)


def test_claims_worded_anew_are_judged_anew(toy_experiment: Any, tmp_path: Path) -> None:
    """By the numbers there are; why and curve come along, and what still changes is undecided."""
    run_experiment("toy", [0, 1, 2], tmp_path)
    texts = Path(toy_experiment.__file__).with_suffix(".toml")

    def judged(words: str) -> dict[str, Any]:
        texts.write_text(TOY.replace("≥ 0.9", "≥ 5") + words, encoding="utf-8")
        judge(tmp_path)
        return json.loads((tmp_path / "toy.json").read_text("utf-8"))["claims"][0]

    plain = judged("")
    assert plain["verdict"] == "does not hold at this scale"
    assert plain["why"] is plain["curve"] is None
    told = judged('why = { cause = "(b) suspected", evidence = "e" }\n')
    assert (told["verdict"], told["why"]["evidence"]) == ("does not hold at this scale", "e")
    moving = judged(
        'why = { still_changing_at = 600, hours = 2, evidence = "e" }\n'
        'curve = { label = "l", against = "steps", at = [1, 2], numbers = ["floor", "a"] }\n'
    )
    assert moving["verdict"] == "undecided"
    assert moving["curve"] == {
        "label": "l",
        "against": "steps",
        "at": [1, 2],
        "mean": [0, 1.01],
        "sd": [0, 0.01],
    }


def test_a_claim_beside_another_has_its_words_and_a_verdict_of_its_own(
    toy_experiment: Any, tmp_path: Path
) -> None:
    room = Path(toy_experiment.__file__).parent
    (room / "other.py").write_text(
        "SHORT = {}\ndef run(seed):\n    return {'b': 0.1, 'floor': 0.0}\n"
    )
    other = room / "other.toml"
    beside = TOY.replace('name = "high"\ntext = "a | b is high"\npaper = "arXiv 0000.00000"', "")
    beside = beside.replace('number = "a"', 'number = "b"').replace("notebook", "#")
    beside = beside.replace(
        "[[claim]]", 'columns = ["blocks", "balls"]\n[[claim]]\nbeside = "toy / high"'
    )
    other.write_text(beside, encoding="utf-8")
    artefact = run_experiment("other", (0, 1, 2), tmp_path)
    (claim,) = artefact["claims"]
    assert (claim["text"], claim["paper"]) == ("a | b is high", "arXiv 0000.00000")
    assert (claim["name"], claim["beside"]) == ("toy / high", "toy / high")
    assert (claim["verdict"], artefact["columns"]) == (
        "does not hold at this scale",
        ["blocks", "balls"],
    )


def test_short_runs_report_what_they_miss(
    toy_experiment: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["toy", "--short", "--out", str(tmp_path / "claims")]) == 0
    assert "toy a 0.7" in capsys.readouterr().out
    toy_experiment.SHORT = {"height": 0.1}
    assert main(["toy", "--short", "--out", str(tmp_path / "claims")]) == 1
    assert "height (a) is 0.1, and a short run must reach 0.5" in capsys.readouterr().out
    assert not (tmp_path / "claims").exists()


def test_the_command_line_runs_and_refuses(
    toy_experiment: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "claims")
    assert main(["toy", "--seeds", "3", "--size", "height=2", "--out", out]) == 0
    assert (
        json.loads((tmp_path / "claims" / "toy.json").read_text("utf-8"))["numbers"]["a"]["mean"]
        == 2.03
    )
    for words, message in ((["other"], "toy"), (["toy", "--size", "width=2"], "got 'width'")):
        with pytest.raises(SystemExit):
            main([*words, "--out", out])
        assert message in capsys.readouterr().err


def test_an_experiment_without_its_data_is_skipped_among_all(
    toy_experiment: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(seed: int, *, height: float = 1.0) -> dict[str, float]:
        raise FileNotFoundError("No file 'recordings.npz'.")

    toy_experiment.run = run
    out = str(tmp_path / "claims")
    assert main(["--all", "--out", out]) == 0
    assert not (tmp_path / "claims" / "toy.json").exists()
    with pytest.raises(SystemExit):
        main(["toy", "--out", out])
    assert "No file 'recordings.npz'." in capsys.readouterr().err


def test_a_run_without_seeds_takes_those_on_record(toy_experiment: Any, tmp_path: Path) -> None:
    assert main(["toy", "--out", str(tmp_path / "claims")]) == 0
    assert CALLS == [0, 1, 2]
    found = {name: recorded_seeds(name) for name in experiment_names()}
    assert found == {"toy": [0, 1, 2]}
    assert recorded_seeds("absorbed_parents") == list(range(30, 38))


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_keeps_the_rules(name: str) -> None:
    """Claims with names of their own, a paper each, and short sizes that exist."""
    found = experiment(name)
    assert found.title
    assert len({claim.name for claim in found.claims}) == len(found.claims) > 0
    assert all(claim.paper and claim.text for claim in found.claims)
    assert set(found.short) <= set(found.size)
    json.dumps(found.size)

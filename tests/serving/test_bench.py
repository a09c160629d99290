"""Agents are scored on tasks with known answers: the oracle is right, rules are above a guess, programs are held."""

import json
import sys
from importlib.util import find_spec

import pytest
import torch

import sae_nb as sn
from sae_nb.__main__ import main
from sae_nb.serving import AgentBench, NoAnswerError, Session, bench_agent
from sae_nb.serving._bench_agents import oracle, program, rule_based
from sae_nb.serving._bench_tasks import AgentTask, task
from tests.serving.speaking import Client, told


@pytest.fixture(scope="module")
def head():
    return task("head", 0)


@pytest.fixture(scope="module")
def found():
    return bench_agent(lambda session: "9", tasks=["head", "neurons"], seeds=2, progress=False)


def scores(found, agent):
    table = found.table[found.table["agent"] == agent]
    return dict(zip(table["task"], table["score"]))


def test_the_oracle_is_right_and_the_rules_are_above_a_guess(found):
    assert set(scores(found, "oracle").values()) == {1.0}
    rules = found.table[found.table["agent"] == "rule-based"]
    assert (rules["score"] > rules["chance"] + 0.15).all()
    assert rules["low"].notna().all()


def test_an_answer_of_another_form_scores_nothing_and_has_its_reason(found):
    assert set(scores(found, "yours").values()) == {0.0}
    own = found.runs[found.runs["agent"] == "yours"]
    assert own["reason"].str.startswith("`answer").all()
    assert set(own["chance"].round(2)) == {0.25, 0.6}


@pytest.mark.parametrize("name", ["atoms", "faint change"])
def test_what_is_planted_can_be_found_with_the_tools(name):
    drawn = task(name, 1)
    session = Session(drawn, 30)
    assert drawn.score(oracle(drawn)) == 1
    assert drawn.score(rule_based(session)) > drawn.chance + 0.2
    assert 0 < len(session.calls) <= 30


def test_an_agent_is_not_given_the_answer():
    """Nothing that a function gets hold of through its session has the truth or the task."""

    def search(session):
        parts = [session, *vars(session).values(), *vars(session._tools).values()]
        parts += [
            value for part in parts if hasattr(part, "__dict__") for value in vars(part).values()
        ]
        found.append(
            [part for part in parts if isinstance(part, AgentTask) or hasattr(part, "truth")]
        )
        return "0"

    found = []
    bench_agent(search, tasks=["head"], seeds=1, progress=False)
    assert found == [[]]


def test_heads_change_places_and_the_model_computes_what_it_did(head):
    known = {task("head", seed).truth for seed in range(6)}
    assert len(known) > 1
    plain, shuffled = sn.load_model("tiny-induction"), head.registry.model("letters")
    text = head.material["pairs"][0][0]
    torch.testing.assert_close(plain(text), shuffled(text), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["head", "neurons"])
def test_the_same_seed_draws_the_same_task(name):
    one, two, other = task(name, 3), task(name, 3), task(name, 4)
    assert (one.question, one.truth) == (two.question, two.truth)
    assert (one.question, one.truth) != (other.question, other.truth)


def test_only_what_a_task_is_about_is_on_its_shelf(head):
    session = Session(head, 2)
    assert session.call("list_models", {})["answer"] == {"models": ["letters"], "saes": []}
    refused = session.call("capture", {"model": "tiny-gpt", "inputs": ["a"], "hook_point": "embed"})
    assert "`model` must be one of" in refused["error"]
    assert "No calls are left" in session.call("list_models", {})["error"]
    assert len(session.calls) == 3


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("erase", {}, "`call` must be one of"),
        ("patch", [], "must be an object"),
        ("patch", {"model": "letters"}, "Add clean, corrupted"),
        ("lens", {"model": "letters", "inputs": ["a b"], "path": "/"}, "Leave the others out"),
    ],
)
def test_a_call_that_cannot_be_made_comes_back_as_an_error(head, name, arguments, words):
    assert words in Session(head, 30).call(name, arguments)["error"]


ANSWERS = """
import json, sys
task = json.loads(sys.stdin.readline())
def say(content):
    print(json.dumps(content), flush=True)
    return json.loads(sys.stdin.readline())
assert {"question", "tools", "calls"} == set(task)
pair = json.loads(task["question"].split("Given: ")[1].splitlines()[0])["pairs"][0]
assert "error" in say({"call": "patch", "arguments": {"model": "/etc"}})
ask = {"model": "letters", "clean": pair[0], "corrupted": pair[1], "sites": "heads"}
best = say({"call": "patch", "arguments": ask})["result"]["answer"]["places"][0]
print(json.dumps({"answer": str(best["head"])}), flush=True)
"""


CLOSES = """
import os
os.close(0)
print('{"call": "patch", "arguments": {}}')
print('[1]')
"""


def written(code, timeout=60.0):
    return program([sys.executable, "-c", code], timeout)


def test_a_program_calls_tools_and_is_scored(head):
    session = Session(head, 30)
    assert head.score(written(ANSWERS)(session)) == 1
    assert [call["tool"] for call in session.calls] == ["patch", "patch"]


@pytest.mark.parametrize(
    ("code", "timeout", "reason"),
    [
        ("pass", 60.0, "ended before it answered"),
        ("print('hello')", 60.0, "must be JSON"),
        (CLOSES, 60.0, "must be a JSON object"),
        ("print('{\"think\": 1}')", 60.0, '"call" or "answer", got think'),
        ("import time; time.sleep(60)", 1.0, "within the time"),
    ],
)
def test_a_program_without_an_answer_is_ended_with_the_reason(head, code, timeout, reason):
    with pytest.raises(NoAnswerError, match=reason):
        written(code, timeout)(Session(head, 30))


def test_a_program_that_fails_scores_nothing_and_the_bench_continues():
    broken = [sys.executable, "-c", "raise SystemExit(3)"]
    found = bench_agent(broken, tasks=["head"], seeds=1, progress=False)
    assert scores(found, "yours") == {"all": 0.0, "head": 0.0}
    assert int(found.table["unanswered"].max()) == 1


def test_scores_are_kept_with_every_call(found, tmp_path):
    found.save(tmp_path / "bench")
    again = AgentBench.load(tmp_path / "bench")
    assert again.table.equals(found.table)
    text = again.transcript("head", 1)
    assert text.count("**Call.** `patch`") == 4
    assert "Score 1.00; a guess 0.25." in text
    with pytest.raises(ValueError, match="must be of this bench"):
        found.transcript("atoms")


def test_the_command_prints_and_keeps_the_scores(tmp_path, capsys):
    where = tmp_path / "kept"
    assert main(["bench", "agent", "--tasks", "head", "--seeds", "1", "--out", str(where)]) == 0
    assert "rule-based 1.00, oracle 1.00" in capsys.readouterr().out
    assert AgentBench.load(where).runs["task"].tolist() == ["head", "head"]
    assert main(["bench", "agent", "--tasks", "head", "--seeds", "1", "--out", str(where)]) == 2
    assert main(["bench", "agent", "--mcp"]) == 2
    assert "`--mcp` must come with `--out`" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mcp") is None, reason="needs the package mcp")
def test_a_client_of_the_protocol_takes_the_same_bench(tmp_path):
    where = tmp_path / "kept"
    asked = ["bench", "agent", "--mcp", "--tasks", "head", "--seeds", "1", "--out", str(where)]
    with Client(*asked) as client:
        early = client.call("submit", answer="1")
        assert early["isError"]
        assert "Call next_task" in early["content"][0]["text"]
        question = told(client.call("next_task"))["question"]
        assert told(client.call("next_task"))["question"] == question
        assert told(client.call("list_models"))["answer"]["models"] == ["letters"]
        assert client.call("submit", answer="twelve")["isError"]
        assert told(client.call("submit", answer="1")) == {"taken": "1"}
        assert told(client.call("next_task")) == {"done": True}
    kept = AgentBench.load(where)
    assert kept.runs["agent"].tolist() == ["rule-based", "oracle", "yours"]
    own = kept.runs.iloc[2]
    assert (json.loads(own["answer"]), own["calls"]) == ("1", 1)

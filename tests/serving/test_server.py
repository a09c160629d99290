"""`sae-nb mcp` answers over stdin and stdout: every tool, with its control and what it does not show."""

import subprocess
import sys

import pytest

from sae_nb.serving import Registry
from sae_nb.serving._tools import MAX_CHARACTERS, MAX_INPUTS, Tools, tool_names
from tests.serving.speaking import Client, told

STORY = "Mia found a small cat in the garden. She was happy."


@pytest.fixture(scope="module")
def client():
    with Client("mcp") as client:
        yield client


@pytest.mark.slow
def test_a_server_is_made_after_a_model_was_run():
    """nnsight gives every object a `save`, with which anyio cannot be imported; it has it again afterwards."""
    made = "import nnsight; from sae_nb.serving import server; server(); print(object.save)"
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "save" in done.stdout


def test_tools_are_listed_as_read_only(client):
    tools = client.ask("tools/list", {})["result"]["tools"]
    assert [tool["name"] for tool in tools] == list(tool_names())
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools)
    steer = next(tool for tool in tools if tool["name"] == "steer")
    assert set(steer["inputSchema"]["properties"]) == {"sae", "atom", "inputs"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("list_models", {}),
        ("capture", {"model": "tiny-gpt", "inputs": [STORY], "hook_point": "resid_post.3"}),
        ("search_atoms", {"sae": "tiny-gpt/resid_post.3", "words": "cat"}),
        ("card", {"sae": "tiny-gpt/resid_post.3", "atom": 9}),
        ("steer", {"sae": "tiny-gpt/resid_post.3", "atom": 9, "inputs": [STORY, "The dog ran to"]}),
        ("lens", {"model": "tiny-gpt", "inputs": [STORY, "The dog ran to the"]}),
        (
            "patch",
            {
                "model": "tiny-gpt",
                "clean": "The cat sat",
                "corrupted": "The dog sat",
                "answer": " the",
                "other": " a",
            },
        ),
        ("circuit", {"model": "tiny-gpt", "text": "The cat sat in the", "k": 8}),
        ("diff", {"model_a": "tiny-gpt", "model_b": "tiny-gpt", "inputs": [STORY]}),
    ],
)
def test_every_answer_has_its_control_and_what_it_does_not_show(client, name, arguments):
    answer = told(client.call(name, **arguments))
    assert set(answer) == {"answer", "control", "does_not_show"}
    assert answer["answer"]
    assert answer["does_not_show"].endswith(".")
    if name not in ("list_models", "diff"):
        assert answer["control"]


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("card", {"sae": "../../etc/passwd", "atom": 1}, "`sae` must be one of"),
        (
            "capture",
            {"model": "/tmp", "inputs": ["a"], "hook_point": "embed"},
            "`model` must be one of",
        ),
        (
            "lens",
            {"model": "tiny-gpt", "inputs": ["x" * (MAX_CHARACTERS + 1), "y"]},
            "at most 4000",
        ),
        (
            "lens",
            {"model": "tiny-gpt", "inputs": ["a\x00b", "c"]},
            "control characters, got U[+]0000",
        ),
        ("lens", {"model": "tiny-gpt", "inputs": ["a"] * (MAX_INPUTS + 1)}, "at most 16"),
        ("card", {"sae": "tiny-gpt/resid_post.3", "atom": 10**9}, "`atom` must be from 0 to"),
        ("search_atoms", {"sae": "tiny-gpt/resid_post.3", "words": " "}, "must have characters"),
    ],
)
def test_what_a_client_may_not_send_is_refused_by_name(name, arguments, named):
    with pytest.raises((ValueError, TypeError), match=named):
        getattr(Tools(BUNDLED), name)(**arguments)


BUNDLED = Registry()


@pytest.mark.slow
def test_a_refusal_reaches_the_client_as_an_error_and_the_server_lives_on(client):
    refused = client.call("card", sae="/etc/passwd", atom=0)
    assert refused["isError"]
    assert "must be one of" in refused["content"][0]["text"]
    assert told(client.call("list_models"))["answer"]["models"]

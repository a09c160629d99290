"""Whose words: a role is what that role was given to say, whatever a template adds and wherever it puts it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn

POINT = "resid_post.0"
ASKS = "{% if add_generation_prompt %}{{ 'ASKED' }}{% endif %}"
TURNS = "{% for m in messages %}TURN{% endfor %}"
STRICT = "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles take turns.') }}{% endif %}"
GIVEN_OR = (
    "{% if messages[0].role == 'system' %}{% set said = messages[0].content %}"
    "{% set messages = messages[1:] %}{% else %}{% set said = 'DEFAULT' %}{% endif %}"
)


def loop(turn: str, asked: str = "") -> str:
    """A template that writes one turn after another."""
    return TURNS.replace("TURN", turn) + ASKS.replace("ASKED", asked)


CHATML = loop(
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}", "<|im_start|>assistant\n"
)
HEADER = "<|start_header_id|>"
LLAMA_3_TURN = (
    "{{ 'H' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}".replace(
        "'H'", f"'{HEADER}'"
    )
)
LLAMA_3_ASKED = HEADER + "assistant<|end_header_id|>\n\n"
GEMMA_TURN = (
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}FIRST"
    "{{ m.content | trim + '<end_of_turn>\n' }}"
)
TEMPLATES = {
    "chatml": CHATML,
    "smollm": (
        "{% if messages[0].role != 'system' %}"
        "{{ '<|im_start|>system\nYou are SmolLM.<|im_end|>\n' }}{% endif %}" + CHATML
    ),
    "llama-2": GIVEN_OR.replace("DEFAULT", "You are helpful.")
    + loop(
        STRICT
        + "{% set words = '<<SYS>>\n' + said + '\n<</SYS>>\n\n' + m.content if loop.first else m.content %}"
        "{{ bos_token + '[INST] ' + words.strip() + ' [/INST]' if m.role == 'user' "
        "else ' ' + words.strip() + ' ' + eos_token }}"
    ),
    "llama-3": "{{ bos_token }}" + loop(LLAMA_3_TURN, LLAMA_3_ASKED),
    "mistral": "{{ bos_token }}"
    + loop(
        STRICT
        + "{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else m.content + eos_token }}"
    ),
    "gemma-3": GIVEN_OR.replace("DEFAULT", "")
    + "{{ bos_token }}"
    + loop(
        STRICT + GEMMA_TURN.replace("FIRST", "{{ said + '\n\n' if loop.first and said else '' }}"),
        "<start_of_turn>model\n",
    ),
    "vicuna": GIVEN_OR.replace("DEFAULT", "A chat.")
    + "{{ said }}"
    + loop(
        "{{ ' USER: ' + m.content.strip() if m.role == 'user' "
        "else ' ASSISTANT: ' + m.content.strip() + eos_token }}",
        " ASSISTANT:",
    ),
    # It forgets earlier thoughts, and tools that answer together share a turn.
    "qwen": loop(
        "{% set words = m.content if loop.last else m.content.split('</think>')[-1] %}"
        "{% if m.role == 'tool' %}"
        "{{ '<|im_start|>user' if messages[loop.index0 - 1].role != 'tool' else '' }}"
        "{{ '\n<tool>' + words + '</tool>' }}"
        "{{ '<|im_end|>\n' if loop.last or messages[loop.index0 + 1].role != 'tool' else '' }}"
        "{% else %}{{ '<|im_start|>' + m.role + '\n' + words + '<|im_end|>\n' }}{% endif %}",
        "<|im_start|>assistant\n",
    ),
    "counting": "{{ messages | length }}" + loop("{{ '[' + m.role + '] ' + m.content + '\n' }}"),
}


def said(*messages: str) -> list[dict[str, str]]:
    """Messages from "role: words"."""
    return [dict(zip(("role", "content"), one.split(": ", 1))) for one in messages]


HI = said("user: Hi")
TWICE = said("user: Say it.", "assistant: Say it.", "user:   Say it.  ")
KIND = said("system: Be kind.", "user: Hi")
BOS = "<|endoftext|>"
TO_USER, TO_MODEL = f"{HEADER}user<|end_header_id|>\n\n", f"{HEADER}assistant<|end_header_id|>\n\n"
TURN = "<start_of_turn>"

CASES: list[tuple[str, Any, list[tuple[str, int, str]]]] = [
    ("chatml", HI, [("user", 0, "<|im_start|>user\nHi<|im_end|>\n")]),
    (
        "smollm",
        HI,
        [
            ("system", 0, "<|im_start|>system\nYou are SmolLM.<|im_end|>\n"),
            ("user", 0, "<|im_start|>user\nHi<|im_end|>\n"),
        ],
    ),
    (
        "smollm",  # a user who says what the template says
        said("user: You are SmolLM.<|im_end|>", "assistant: You are SmolLM."),
        [
            ("system", 0, "<|im_start|>system\nYou are SmolLM.<|im_end|>\n"),
            ("user", 0, "<|im_start|>user\nYou are SmolLM.<|im_end|><|im_end|>\n"),
            ("template", 1, "<|im_start|>assistant\n"),
            ("assistant", 1, "You are SmolLM.<|im_end|>\n"),
        ],
    ),
    (
        "smollm",
        KIND,
        [
            ("system", 0, "<|im_start|>system\nBe kind.<|im_end|>\n"),
            ("user", 1, "<|im_start|>user\nHi<|im_end|>\n"),
        ],
    ),
    (
        "llama-2",
        TWICE,
        [
            ("template", 0, f"{BOS}[INST] <<SYS>>\n"),
            ("system", 0, "You are helpful."),
            ("template", 0, "\n<</SYS>>\n\n"),
            ("user", 0, "Say it. [/INST]"),
            ("assistant", 1, f" Say it. {BOS}"),
            ("user", 2, f"{BOS}[INST] Say it. [/INST]"),
        ],
    ),
    (
        "llama-2",
        KIND,
        [
            ("template", 0, f"{BOS}[INST] <<SYS>>\n"),
            ("system", 0, "Be kind."),
            ("template", 1, "\n<</SYS>>\n\n"),
            ("user", 1, "Hi [/INST]"),
        ],
    ),
    (
        "llama-3",
        TWICE,
        [
            ("template", 0, BOS),
            ("user", 0, f"{TO_USER}Say it.<|eot_id|>"),
            ("template", 1, TO_MODEL),
            ("assistant", 1, "Say it.<|eot_id|>"),
            ("user", 2, f"{TO_USER}Say it.<|eot_id|>"),
        ],
    ),
    (
        "mistral",
        TWICE,
        [
            ("template", 0, BOS),
            ("user", 0, "[INST] Say it. [/INST]"),
            ("assistant", 1, f"Say it.{BOS}"),
            ("user", 2, "[INST]   Say it.   [/INST]"),
        ],
    ),
    (
        "gemma-3",
        KIND,
        [
            ("template", 0, f"{BOS}{TURN}user\n"),
            ("system", 0, "Be kind."),
            ("template", 1, "\n\n"),
            ("user", 1, "Hi<end_of_turn>\n"),
        ],
    ),
    ("vicuna", HI, [("system", 0, "A chat."), ("user", 0, " USER: Hi")]),
    (
        "qwen",
        said(
            "user: q",
            "assistant: <think>z</think>z",
            "tool: 1",
            "tool: 2",
            "user: q",
            "assistant: z",
        ),
        [
            ("user", 0, "<|im_start|>user\nq<|im_end|>\n"),
            ("template", 1, "<|im_start|>assistant\n"),
            ("assistant", 1, "z<|im_end|>\n"),
            ("tool", 2, "<|im_start|>user\n<tool>1"),
            ("template", 3, "</tool>\n<tool>"),
            ("tool", 3, "2</tool><|im_end|>\n"),
            ("user", 4, "<|im_start|>user\nq<|im_end|>\n"),
            ("template", 5, "<|im_start|>assistant\n"),
            ("assistant", 5, "z<|im_end|>\n"),
        ],
    ),
    (
        "counting",
        TWICE[:2],
        [
            ("template", 0, "2[user]"),
            ("user", 0, " Say it.\n"),
            ("assistant", 1, "[assistant] Say it.\n"),
        ],
    ),
]


@pytest.fixture
def gpt() -> Any:
    """A model whose template a test chooses."""
    return sn.load_model("tiny-gpt")


def runs_of(model: Any, table: Any) -> list[tuple[str, int, str]]:
    """Role, turn and text of neighbouring tokens."""
    rows = zip(table["role"], table["turn"], table["id"])
    return [
        (role, turn, model.tokenizer.decode([i for _, _, i in run]))
        for (role, turn), run in itertools.groupby(rows, key=lambda row: row[:2])
    ]


@pytest.mark.parametrize(("name", "chat", "expected"), CASES)
def test_each_role_has_its_own_words(gpt: Any, name: str, chat: Any, expected: Any) -> None:
    """The ids are those of transformers; the words of each message are its role's, with its turn's markers."""
    gpt.tokenizer.chat_template = TEMPLATES[name]
    table = gpt.tokens(chat)
    assert table["id"].tolist() == gpt.tokenizer.apply_chat_template(chat)["input_ids"]
    assert runs_of(gpt, table) == expected


@pytest.mark.parametrize("name", ["smollm", "llama-2", "vicuna"])
def test_a_system_prompt_that_a_template_inserts_is_found_and_not_the_users(
    gpt: Any, name: str
) -> None:
    """Rows of a role are those rows of the whole; steering in a pass and in a prompt reaches the same places."""
    gpt.tokenizer.chat_template = TEMPLATES[name]
    how = {"drop_first": False, "drop_massive": False, "progress": False}
    whole = sn.capture(gpt, HI, POINT, **how)
    direction = torch.ones(gpt.width(POINT))
    for role in ("user", "system"):
        mine = torch.from_numpy(whole.roles == role)
        alone = sn.capture(gpt, HI, POINT, positions=role, **how)
        assert 0 < len(alone) < len(whole)
        assert torch.equal(alone.x, whole.x[mine])
        with sn.steer(gpt, POINT, direction=direction, positions=role):
            moved = sn.capture(gpt, HI, POINT, **how).x - whole.x
        assert torch.equal(moved.abs().amax(dim=1) > 0.5, mine)
    user = gpt.tokenizer.decode(whole.tokens.ids[torch.from_numpy(whole.roles == "user")])
    assert "Hi" in user
    assert not any(word in user for word in ("You are", "A chat", "Today"))
    states: list[Any] = []

    def looked(state: Any) -> torch.Tensor:
        states.append(state)
        return state.role >= 0

    with sn.steer(gpt, POINT, direction=direction, positions=looked):
        gpt.generate(HI, 2)
    roles = ["template", "system", "user", "assistant", "tool", "other"]
    assert states[0].role[0, : len(whole)].tolist() == [roles.index(role) for role in whole.roles]


def test_a_model_goes_on_with_what_the_assistant_began(gpt: Any) -> None:
    """As transformers renders it; its words are the assistant's."""
    gpt.tokenizer.chat_template = TEMPLATES["llama-3"]
    chat = said("user: Who ran?", "assistant: The old fox")
    ids = gpt.tokenizer.apply_chat_template(chat, continue_final_message=True, return_tensors="pt")
    how = {"max_new_tokens": 4, "return_ids": True}
    assert torch.equal(gpt.generate(chat, **how), gpt.generate(ids["input_ids"][0], **how))


def test_the_rendered_text_is_read_as_its_messages(gpt: Any) -> None:
    """A template that writes BOS, and a tokenizer that does: passed as a text it has one."""
    gpt.tokenizer.chat_template = TEMPLATES["mistral"]
    text = gpt.tokenizer.apply_chat_template(TWICE, tokenize=False)
    with pytest.warns(UserWarning, match="endoftext"):
        logits = gpt(text)
    torch.testing.assert_close(logits, gpt(TWICE))
    with pytest.warns(UserWarning, match="endoftext"):
        new = gpt.generate(text, 3, return_ids=True)
    assert torch.equal(
        new, gpt.generate(gpt.tokenizer.apply_chat_template(TWICE), 3, return_ids=True)[0]
    )


def test_smollm2_keeps_its_own_prompt_apart(smollm2: Path) -> None:
    """Five rows are the user's of the six tokens of its turn, of which the first is BOS."""
    model = sn.load_model(smollm2)
    user, system = (
        sn.capture(model, HI, POINT, positions=role, progress=False) for role in ("user", "system")
    )
    ids = model.tokenizer.apply_chat_template(HI)["input_ids"]
    assert user.tokens.ids.tolist() == ids[-5:]
    assert system.tokens.ids.tolist() == ids[1:-6]

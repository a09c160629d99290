"""Conversations: rendered by the template, with role and turn of every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('No robots.') }}{% endif %}"
    "{{ '[' + m.role + '] ' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
CHAT = [
    {"role": "user", "content": "Where is the fox?"},
    {"role": "assistant", "content": "In the forest."},
    {"role": "user", "content": "And Anna?"},
]
POINT = "resid_post.0"


class SlowTokenizer:
    """A tokenizer of pure Python."""

    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.chat_template = TEMPLATE

    def __getattr__(self, name: str) -> Any:
        """What the tokenizer has."""
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)


@pytest.fixture(scope="module")
def gpt() -> Any:
    """The bundled language model with a template."""
    model = sn.load_model("tiny-gpt")
    model.tokenizer.chat_template = TEMPLATE
    return model


def captured(gpt: Any, inputs: Any, **how: Any) -> Any:
    """Rows at the first block."""
    return sn.capture(gpt, inputs, POINT, progress=False, **how)


def text_of(acts: Any, rows: Any) -> str:
    """The tokens of some rows."""
    return "".join(name for name, taken in zip(acts.tokens, rows) if taken)


@pytest.mark.slow
def test_rows_know_who_wrote_them_and_when(gpt: Any) -> None:
    """Headers and ends included; what asks for an answer is the template's."""
    acts = captured(gpt, CHAT, drop_first=False)
    whole = gpt.tokenizer.apply_chat_template(CHAT, tokenize=False)
    ids = gpt.tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert acts.tokens.ids.tolist() == ids
    assert text_of(acts, acts.roles == "template") == "[assistant]"
    answer = text_of(acts, acts.roles == "assistant")
    assert answer.strip().startswith("In the forest.")
    assert answer.endswith(gpt.tokenizer.eos_token)
    assert "Anna" in text_of(acts, acts.turns == 2)
    assert "fox" in text_of(acts, (acts.turns == 0).numpy() & (acts.roles == "user"))
    assert acts.turns.tolist() == sorted(acts.turns.tolist())


def test_only_what_the_assistant_wrote(gpt: Any) -> None:
    """The same rows as chosen by hand; the policy says so, and ids of one's own are dropped."""
    every = captured(gpt, [CHAT, CHAT[:2]])
    alone = captured(gpt, [CHAT, CHAT[:2]], positions="assistant")
    mine = torch.from_numpy(every.roles == "assistant")
    assert torch.equal(alone.x, every.x[mine])
    assert torch.equal(alone.sample, every.sample[mine])
    assert set(alone.roles) == {"assistant"}
    unwanted = alone.tokens.ids[0].item()
    fewer = captured(gpt, [CHAT, CHAT[:2]], positions="assistant", drop_ids=[unwanted])
    assert len(fewer) == len(alone) - fewer.context.policy["n_dropped_ids"] <= len(alone) - 2
    assert unwanted not in fewer.tokens.ids


@pytest.mark.slow
def test_roles_live_on_in_files_subsets_and_beside_texts(gpt: Any, tmp_path: Path) -> None:
    """Saved, stored in shards, packed, split and joined; a text has none."""
    acts = captured(gpt, CHAT)
    acts.save(tmp_path / "saved")
    stored = captured(
        gpt, ["A fox ran.", CHAT], store=tmp_path / "stored", shard_rows=4, batch_size=1
    )
    assert (sn.load_activations(tmp_path / "saved").roles == acts.roles).all()
    assert set(stored.roles[stored.sample.numpy() == 0]) == {""}
    assert (stored.roles[stored.sample.numpy() == 1] == acts.roles).all()
    joined = sn.activations.concatenate([captured(gpt, "A fox ran."), acts[3:]])
    assert set(joined.roles[joined.sample.numpy() == 0]) == {""}
    assert (joined.roles[joined.sample.numpy() == 1] == acts.roles[3:]).all()
    packed = captured(gpt, [CHAT, CHAT], pack=True, context_length=16, drop_first=False)
    assert (packed.roles[packed.sample.numpy() == 1][: len(acts)] != "").all()
    assert captured(gpt, "A fox ran.").roles is None


@pytest.mark.slow
def test_a_model_answers_where_the_template_asks(gpt: Any) -> None:
    """Messages are continued as their rendering is; a begun answer goes on."""
    asked = gpt.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor(gpt.tokenizer(asked, add_special_tokens=False)["input_ids"])
    how = {"max_new_tokens": 5, "echo": False}
    assert gpt.generate(CHAT, **how) == gpt.generate(ids, **how)
    assert gpt.generate([CHAT, CHAT], **how) == [gpt.generate(CHAT, **how)] * 2
    table = gpt.tokens(CHAT)
    assert set(table["role"]) == {"user", "assistant", "template"}
    assert table["turn"].is_monotonic_increasing


def test_without_a_template_or_roles_it_is_said(gpt: Any) -> None:
    """No template; roles asked of texts; a tokenizer that does not tell where its tokens lie."""
    plain = sn.load_model("tiny-gpt")
    with pytest.raises(
        ValueError, match="need a tokenizer with a chat template, and tiny-gpt has none"
    ):
        captured(plain, CHAT)
    with pytest.raises(ValueError, match="conversations have roles"):
        captured(gpt, "A fox ran.", positions="assistant")
    slow = sn.wrap(plain.module, tokenizer=SlowTokenizer(plain.tokenizer))
    with pytest.raises(ValueError, match="fast"):
        captured(slow, CHAT)


@pytest.mark.slow
def test_steering_reaches_what_a_role_wrote(gpt: Any) -> None:
    """Only the assistant's tokens move, in a pass, in a batch beside a text, and in the answer it writes."""
    direction = torch.ones(gpt.width(POINT))
    before = captured(gpt, [CHAT, "A fox ran."], drop_first=False)
    with sn.steer(gpt, POINT, direction=direction, positions="assistant"):
        after = captured(gpt, [CHAT, "A fox ran."], drop_first=False)
    moved = (after.x - before.x).abs().amax(dim=1) > 0.5
    assert torch.equal(moved, torch.from_numpy(before.roles == "assistant"))
    asked = gpt.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    prompt = gpt.tokenizer(asked, add_special_tokens=False)["input_ids"]
    states: list[Any] = []

    def looked(state: Any) -> torch.Tensor:
        states.append(state)
        return torch.zeros_like(state.position, dtype=torch.bool)

    with pytest.warns(UserWarning, match="no position"):
        with sn.steer(gpt, POINT, direction=direction, positions=looked):
            gpt.generate(CHAT, 3)
    assert states[0].role.shape[1] == len(prompt)
    assert all((state.role == 2 + 1).all() for state in states[1:])
    how = {"max_new_tokens": 5, "echo": False}
    strong = 30 * direction
    with sn.steer(gpt, POINT, direction=strong, positions="assistant", steps="new"):
        by_role = gpt.generate(CHAT, **how)
    with sn.steer(gpt, POINT, direction=strong, steps="new"):
        assert by_role == gpt.generate(CHAT, **how)


def test_roles_that_nobody_knows_are_refused(gpt: Any) -> None:
    """Of texts, of the module's own calls, and in a plain module."""
    with sn.steer(gpt, POINT, direction=torch.ones(gpt.width(POINT)), positions="user") as steering:
        with pytest.raises(ValueError, match='`positions="user"` needs conversations'):
            captured(gpt, "A fox ran.")
        with pytest.raises(ValueError, match='`positions="user"` needs conversations'):
            gpt.module(torch.tensor([[1, 2]]))
        captured(gpt, CHAT)
        with pytest.raises(ValueError, match="`to_hooks` edits plain modules"):
            steering.recipe.to_hooks(gpt.module)

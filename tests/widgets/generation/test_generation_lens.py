"""GenerationLens: what is written, named, pinned, explained, gone on with, kept and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

import ipywidgets as ipw
import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.components._base import is_shared
from sae_nb_widgets.generation import GenerationLens
from sae_nb_widgets.generation._queries import N_AHEAD
from sae_nb_widgets.generation._views import strong_and_rare

import sae_nb as sn
from sae_nb.atoms import LabelEvidence, peaks
from sae_nb.generation import Branch, Generation
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.sessions import names_of
from tests.widgets.made import soon

PLACE, PROMPT = "resid_post.3", "The list of"


@pytest.fixture(scope="module")
def sae() -> Any:
    return sn.load_sae(f"tiny-gpt/{PLACE}")


@pytest.fixture
def lens(gpt: Any, sae: Any) -> GenerationLens:
    made = GenerationLens(gpt, sae, prompt=PROMPT, pinned=[25])
    made.speed = 1000.0
    made.wait()
    assert not made.problem, made.status
    return made


def usual(lens: GenerationLens, atom: int) -> float:
    """How strongly the atom usually fires in the examples, as every panel of this SAE has it."""
    return float(peaks(lens.sae, lens.names.catalogue).usual[atom])


def strengths(strip: sw.TokenStrip) -> np.ndarray:
    return np.frombuffer(strip.token_strengths, np.float32)


@pytest.mark.slow
def test_tokens_come_one_by_one_with_their_atoms(lens: GenerationLens, gpt: Any, sae: Any) -> None:
    """The model's own text, the strongest and rarest atoms by name, strips that fill."""
    assert len(lens.views.text.prompt) == 4
    lens.step()
    lens.step(4)
    assert lens.written == gpt.generate(PROMPT, 5, echo=False)
    assert [len(row) for row in (lens.views.text.prompt, *lens.views.text.rows)] == [4, 5]
    assert lens.views.text.labels == ["written"]
    codes = sae.encode(sn.capture(gpt, [PROMPT + lens.written], PLACE, progress=False)).to_dense()
    wanted = codes[:, 25].detach().numpy() / usual(lens, 25)
    (pinned,) = lens.views.pins.tokens
    assert "".join(pinned).endswith(lens.written)
    assert strengths(lens.views.pins)[1:] == pytest.approx(wanted, abs=1e-3)
    shown = lens._now.notable(8, 3)
    assert [atom for atom, _ in shown] == lens.views.here_atoms[: len(shown)]
    assert all(lens.names.in_text(atom) in lens.answer for atom, _ in shown[:2])
    assert all(f'data-atom="{atom}"' in lens.views.log.value for atom, _ in shown)


@pytest.mark.slow
def test_play_and_pause_lose_nothing(lens: GenerationLens, gpt: Any) -> None:
    """It pauses after so many tokens; what was written stays, and goes on as without a pause."""
    lens.n_new, lens.speed = 12, 10.0
    lens.play()
    assert soon(lambda: lens.n_tokens >= 7)
    lens.pause()
    lens._player.wait(5)
    half = lens.n_tokens
    assert 7 <= half < 16
    lens.step()
    lens.speed, lens.playing = 1000.0, True
    lens.wait()
    assert not lens.playing
    # What was left of the stretch is written, the step between comes on top.
    assert lens.n_tokens == 4 + 12 + 1
    assert lens.written == gpt.generate(PROMPT, 13, echo=False)
    assert "Paused" in lens.status


@pytest.mark.slow
def test_a_token_is_explained_as_in_the_input_lens(
    lens: GenerationLens, gpt: Any, sae: Any
) -> None:
    """By what came before it, for that very token; atoms are chosen in the bars."""
    lens.step(6)
    lens.token = 6
    found = lens.summary
    ids = lens.generation.branches[0].text.ids
    wanted = sn.top_atoms(gpt, sae, ids[:6], PLACE, target=ids[6])
    assert found is not None
    assert found.target == ids[6]
    assert found.attribution == pytest.approx(wanted.attribution, abs=1e-4)
    assert lens.views.text.selected == (0, 6)
    lens.views.why.selected = 0
    assert lens.atom == lens.views.why_atoms[0]
    lens.views.here.selected = 1
    assert lens.atom == lens.views.here_atoms[1]
    lens.views.text.selected = (0, 1)
    assert (lens.token, lens.summary) == (1, None)
    lens.press("Escape")
    assert lens.token == -1
    assert lens.views.why.layout.display == "none"


@pytest.mark.slow
def test_the_text_goes_on_another_way(lens: GenerationLens, gpt: Any, sae: Any) -> None:
    """Five rows from one state; the unsteered one is what the text was; the list, back, undo."""
    lens.step(8)
    before = lens.written
    lens.token, lens.atom, lens.strength = 4, 25, -2.0
    lens.go_on(4)
    assert (lens.branch, lens.token, lens.problem) == (1, -1, False)
    made = lens.generation.branches[1]
    by = -2.0 * usual(lens, 25) * float(sae.dictionary[25].norm())
    assert made.fork.by == pytest.approx(by, rel=1e-5)
    texts = [
        lens.generation.new_text(1, row)
        for row in (Branch.STEERED, Branch.UNSTEERED, Branch.RANDOM)
    ]
    first = lens.generation.tokens(0)[4]
    assert before.startswith(first + texts[Branch.UNSTEERED])
    assert texts[Branch.STEERED] != texts[Branch.UNSTEERED]
    assert lens.views.text.kinds == ["down", "same", *["random"] * 3]
    rows = (lens.views.text.prompt, *lens.views.text.rows)
    assert [len(row) for row in rows] == [5, *[4] * 5]
    numbered = [f"random {i}, same length" for i in (1, 2, 3)]
    assert lens.views.text.labels == ["− atom 25 2×", "untouched", *numbered]
    assert "random push" in lens.answer
    same = [
        SequenceMatcher(a=rows[2], b=row, autojunk=False).get_matching_blocks() for row in rows[3:]
    ]
    changed = [4 - sum(block.size for block in blocks) for blocks in same]
    assert f"{min(changed)} to {max(changed)}" in lens.reasons
    assert [row[0] for row in lens.views.table.cells] == ["0", "1"]
    lens.token = 6  # a steered token is explained as it was written, steered
    assert lens.summary is not None
    lens.token = -1
    lens.views.table.selected = 0
    assert lens.written == before
    lens.n_new = 3
    lens.branch = 1
    lens.token = 7
    lens.go_on()
    lens.wait()
    assert lens.n_branches == 3
    assert lens.generation.branches[2].fork.branch == 1
    lens.undo()
    assert (lens.branch, lens.token, lens.n_branches) == (1, 7, 2)
    lens.undo()
    lens.undo()
    assert (lens.branch, lens.n_branches) == (0, 1)
    assert lens.written == before
    lens.step(2)
    assert lens.written == gpt.generate(PROMPT, 10, echo=False)
    lens.wait()
    assert not gpt.interventions


def _ahead(lens: GenerationLens) -> list[str]:
    """What each of the ways adds to the prompt, as it stands on screen."""
    return ["".join(row) for row in lens.views.text.rows]


def test_it_opens_on_a_text_that_goes_on_in_five_ways(lens: GenerationLens, gpt: Any) -> None:
    """Untouched is what the model writes; the sentence and the heading are about the atom that is turned up."""
    lens.wait()
    assert lens.views.text.kinds == ["up", "same", *["random"] * 3]
    steered, untouched, *random = _ahead(lens)
    assert untouched == gpt.generate(PROMPT, len(lens.views.text.rows[1]), echo=False)
    assert steered != untouched
    assert all(random)
    told = lens.headline.partition(" turned up: ")[2]
    assert told
    assert "random push" in lens.answer
    assert len(lens.answer.split()) <= 12
    quoted = lens.reasons.partition("“")[2].partition("”")[0].removesuffix(" …").removeprefix("… ")
    assert quoted in " ".join(steered.split())
    assert quoted not in " ".join(untouched.split())
    assert (lens.n_branches, lens.views.text.stale) == (1, False)
    last = lens.views.text.prompt[-1].strip()
    assert lens.views.text.note.startswith(f"push: from “{last}” on")
    strength = lens.controls.strength.slider
    assert strength.value * strength.size == pytest.approx(
        lens.strength * lens.scale.unit_size(lens.atom, "add")
    )


def test_it_opens_on_a_name_whose_words_come_when_its_atom_is_turned_up(gpt: Any) -> None:
    """It need not fire in the prompt; an atom that was given is shown all the same."""
    own = sn.load_sae(f"tiny-gpt/{PLACE}")
    found = LabelEvidence(by="rule", detection=0.9, control=0.5, n=120)
    steers = replace(found, detection=0.8, turned=29, n_turned=30)
    entries = {
        3: AtomLabel(atom=3, text="a name", evidence=found),
        25: AtomLabel(atom=25, text="love", evidence=steers),
    }
    names_of(own, labels=AtomLabels(entries=entries))
    lens = GenerationLens(gpt, own, prompt=PROMPT)
    lens.wait()
    assert lens.atom == 25
    assert lens.headline.startswith("“love” turned up: ")
    assert len(lens.views.text.rows) == 5
    panel = sw.SteeringPanel(gpt, PLACE, own, [PROMPT])
    panel.wait()
    assert (panel.atom, panel.strength > 0) == (25, True)
    given = GenerationLens(gpt, own, prompt=PROMPT)
    given.atom = 3
    given.wait()
    assert given.atom == 3


def test_a_strength_on_its_slider_asks_anew_and_the_old_texts_dim_at_once(
    lens: GenerationLens,
) -> None:
    """The newest question is answered; of an older one nothing stays but dimmed texts."""
    lens.wait()
    before = _ahead(lens)
    seen: list[bool] = []
    lens.views.text.observe(lambda change: seen.append(change["new"]), "stale")
    lens.controls.strength.slider.value = -1.5
    assert lens.strength == pytest.approx(-1.5)
    assert seen[0] is True
    lens.wait()
    assert lens.views.text.stale is False
    assert lens.views.text.kinds[0] == "down"
    assert " turned down: " in lens.headline
    assert _ahead(lens)[1] == before[1]
    lens.strength = 0.0
    lens.wait()
    assert lens.views.text.stale is True


def test_a_way_is_kept_as_a_branch_and_goes_on_from_where_it_stands(lens: GenerationLens) -> None:
    """What was on screen is not written a second time; it is continued by so many tokens."""
    lens.wait()
    ahead, lens.n_new, lens.speed = _ahead(lens), 4, 1000.0
    lens.write_on()
    lens.wait()
    assert (lens.branch, lens.n_branches, lens.problem) == (1, 2, False)
    kept = [lens.generation.tokens(1, row)[4:] for row in range(5)]
    assert all("".join(row).startswith(text) for row, text in zip(kept, ahead, strict=True))
    assert len(kept[0]) == len(lens.views.text.rows[0]) > N_AHEAD
    # More ways leave the text that is steered already: all of it stands above them, and it says so.
    lens.strength = 2.0
    lens.wait()
    text = lens.views.text
    assert text.prompt == lens.generation.tokens(1)
    assert len(text.rows) == 5
    assert text.leaves.startswith("after the text above")
    assert (text.labels[0][-2:], len(text.earlier)) == ("2×", 1)
    assert "untouched" in text.earlier[0][1]
    lens.undo()
    lens.again()
    lens.wait()
    assert (lens.n_branches, lens.seed, lens.temperature > 0) == (1, 3, True)


def test_a_way_that_is_kept_while_it_is_written_is_the_text_of_a_fork(
    lens: GenerationLens, gpt: Any, sae: Any
) -> None:
    """The button may be pressed at any moment: two threads never write in one branch at a time."""
    lens.wait()
    lens.n_new, lens.speed = 6, 1000.0
    for atom in (25, 60):
        lens.token, lens.atom, lens.strength = 2, atom, 3.0
        assert soon(lambda: lens._ways.shown()[1])
        assert not lens._ways.shown()[0].done
        lens.write_on()
        lens.wait()
        made, fork = lens.generation.branches[1], lens.generation.branches[1].fork
        again = Generation(gpt, sae, PROMPT, PLACE)
        again.fork(fork.position, fork.atom, fork.by, seed=fork.seed)
        while again.branches[1].n_tokens < made.n_tokens:
            again.step(1)
        assert [row.ids for row in made.rows] == [row.ids for row in again.branches[1].rows]
        lens.undo()
        lens.branch = 0


@pytest.mark.slow
def test_keys_go_from_token_to_token(lens: GenerationLens) -> None:
    """→ writes at the end, ← goes back; a click on a row that is no text says so."""
    lens.press("ArrowRight")
    assert (lens.n_tokens, lens.token) == (5, -1)
    lens.press("ArrowLeft")
    lens.press("ArrowLeft")
    assert lens.token == 2
    lens.press("ArrowRight")
    assert (lens.token, lens.n_tokens) == (3, 5)
    lens.go_on(2)
    lens.views.text.selected = (2, 0)
    assert "branch 0" in lens.status
    assert lens.token == -1


@pytest.mark.slow
def test_what_changes_the_text_begins_anew(lens: GenerationLens, gpt: Any) -> None:
    """Prompt, temperature, seed; an empty prompt empties the panel; sampled as generate samples."""
    lens.step(2)
    lens.go_on(1)
    lens.temperature, lens.seed = 1.0, 3
    lens.step(6)
    assert (lens.branch, lens.n_branches) == (0, 1)
    assert lens.written == gpt.generate(PROMPT, 6, echo=False, temperature=1.0, seed=3)
    lens.prompt = "  "
    assert (lens.views.text.prompt, lens.views.text.rows, lens.answer) == ([], [], "")
    assert "Type a prompt" in lens.status
    with pytest.raises(RuntimeError, match="no text yet"):
        lens.step()
    lens.play()
    lens.wait()
    assert not lens.playing
    lens.prompt = "word " * 600
    lens.wait()
    assert lens.problem
    lens.prompt = "Anna"
    lens.wait()
    assert not lens.problem


def test_pinned_atoms_and_what_a_session_keeps(lens: GenerationLens, gpt: Any, sae: Any) -> None:
    """Pinned by the button too; each once; a panel opens with what was set."""
    lens.atom = 3
    lens.pin()
    assert lens.pinned == [25, 3]
    assert len(lens.views.pins.tokens) == 2
    lens.pin()
    assert lens.pinned == [25]
    for wrong in ([1, 1], [sae.n_atoms]):
        with pytest.raises(t.TraitError):
            lens.pinned = wrong
    lens.strength, lens.n_named = 0.5, 2
    other = GenerationLens(gpt, sae)
    other.restore(lens.state())
    other.wait()
    assert other.state() == lens.state()


@pytest.mark.slow
def test_a_session_keeps_every_branch(lens: GenerationLens, gpt: Any, sae: Any) -> None:
    """Texts, forks, strengths and place come back by way of JSON, and go on as they would have."""
    lens.temperature, lens.seed = 0.8, 5
    lens.step(6)
    lens.token, lens.atom, lens.strength = 5, 25, -1.5
    lens.go_on(4)
    lens.token, lens.atom, lens.strength = 7, 3, 0.5
    lens.go_on(3)
    lens.branch, lens.token = 1, 6
    state = json.loads(json.dumps(lens.state()))
    other = GenerationLens(gpt, sae)
    other.restore(state)
    other.wait()
    assert not other.problem, other.status
    assert other.state() == state
    assert other.record == lens.record
    assert other.answer == lens.answer
    for panel in (lens, other):
        panel.branch = 2
        panel.step(3)
        panel.undo()
        panel.branch = 0
        panel.step(2)
    assert other.record == lens.record
    known = lens.generation.branches[1].text.codes
    for (atoms, values), (again, anew) in zip(known, other.generation.branches[1].text.codes):
        assert set(atoms) == set(again)
        assert np.sort(values) == pytest.approx(np.sort(anew), abs=1e-3)


@pytest.mark.slow
def test_kept_texts_are_those_that_were_kept(lens: GenerationLens, gpt: Any) -> None:
    """Also where the model would have written otherwise; what is no branch of this model is refused."""
    lens.step(3)
    state = lens.state()
    ids = gpt.tokenizer(" a dog and a fox", add_special_tokens=False)["input_ids"]
    state["branches"][0]["rows"] = [ids]
    lens.restore(state)
    lens.wait()
    assert lens.written == " a dog and a fox"
    begun = gpt.tokenizer(PROMPT)["input_ids"]
    lens.step(2)
    wanted = gpt.generate(begun + ids, 2, return_ids=True)[-2:].tolist()
    assert lens.generation.branches[0].text.ids[-2:] == wanted
    lens.restore(state | {"shown": [0, 5]})
    lens.wait()
    assert (lens.token, lens.problem) == (5, False), lens.status
    lens.restore({"branches": [{"rows": [[10**9]], "fork": None}]})
    lens.wait()
    assert lens.problem


@pytest.mark.slow
def test_a_conversation_is_answered(gpt: Any, sae: Any) -> None:
    """Rendered by the template up to the answer; the box holds the user's next message."""
    chat = [
        {"role": "user", "content": "Where is the fox?"},
        {"role": "assistant", "content": "In the forest."},
        {"role": "user", "content": "And Anna?"},
    ]
    model = sn.load_model("tiny-gpt")
    model.tokenizer.chat_template = (
        "{% for m in messages %}{{ '[' + m.role + '] ' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    )
    lens = GenerationLens(model, sae, prompt=chat)
    assert (lens.messages, lens.prompt) == (chat[:2], "And Anna?")
    lens.step(4)
    assert lens.written == model.generate(chat, 4, echo=False)
    assert lens.record["message 1, assistant"] == "In the forest."
    direction = torch.ones(sae.d_in)
    with sn.steer(model, PLACE, direction=direction, by=30.0, positions="assistant"):
        lens.refresh()
        lens.step(4)
        assert lens.written == model.generate(chat, 4, echo=False)
    state = lens.state()
    lens.prompt = "And Tom?"
    lens.step(2)
    assert lens.written == model.generate(
        [*chat[:2], {**chat[2], "content": "And Tom?"}], 2, echo=False
    )
    other = GenerationLens(model, sae)
    other.restore(state)
    other.wait()
    assert other.record is not None
    assert other.record["prompt"] == "And Anna?"
    with pytest.raises(t.TraitError, match="role and a content"):
        other.messages = [{"role": "user"}]
    lens = GenerationLens(gpt, sae, prompt=chat)
    lens.wait()
    assert "chat template" in lens.status


@pytest.mark.slow
def test_without_base_rates_strengths_are_in_model_units(gpt: Any) -> None:
    """Of an SAE nobody knows; with activations its percentiles are measured."""
    plain = sn.TopK(gpt.width(PLACE), 32, 2).eval()
    lens = GenerationLens(gpt, plain, PLACE, PROMPT)
    lens.step(2)
    lens.go_on(1)
    # As strong as atoms fire in the prompt: at one model unit nothing would change.
    fired = lens.generation.branches[0].text.strengths(lens.atom)
    assert lens.generation.branches[1].fork.by == lens.strength
    assert lens.strength >= float(f"{np.nanmax(fired):.2g}") > 0
    assert "model units" in lens.controls.unit.value
    acts = sn.capture(gpt, ["Anna lived near the river."], PLACE, progress=False)
    lens = GenerationLens(gpt, plain, PLACE, PROMPT, acts=acts)
    lens.wait()
    assert "usual from" in lens.chips
    assert lens.scale.sizes is not None


def test_nothing_is_left_behind(gpt: Any, sae: Any) -> None:
    before = set(ipw.widgets.widget._instances)
    lens = GenerationLens(gpt, sae, prompt=PROMPT)
    lens.wait()
    lens.speed = 20.0
    lens.play()
    lens.close()
    lens._player.wait(5)
    assert not lens._player.alive
    assert not gpt.interventions
    alive = ipw.widgets.widget._instances.items()
    assert [w for key, w in alive if key not in before and not is_shared(w)] == []


def test_strong_and_rare_atoms_come_first() -> None:
    """Strength next to the 99th percentile, times the surprise; what always fires has none."""
    codes = np.array([0, 1, 2, 3]), np.array([10.0, 1.0, 1.0, -2.0])
    p99, frequency = np.array([10.0, 2.0, 2.0, 2.0]), np.array([1.0, 0.5, 0.01, 0.5])
    found = strong_and_rare(codes, 3, p99=p99, frequency=frequency)
    assert found == [(2, 1.0), (3, -2.0), (1, 1.0)]
    assert [atom for atom, _ in strong_and_rare(codes, 9)] == [0, 3, 1, 2]
    assert strong_and_rare((np.zeros(0, int), np.zeros(0)), 3, frequency=frequency) == []

"""Labels that are made and judged: evidence against another's label, judges that fail, runs that were killed."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.labelling import (
    AtomLabel,
    AtomLabels,
    _judging as judging,
    _writing as writing,
    judge_labels,
    replace_labels,
)
from sae_nb.sessions import names_of
from tests.evaluation.test_explanations import second_code_of

TRUTH = {0: "cat dog", 1: "undone untied", 2: "the", 3: "Paris"}


def label(sae: Any, rows: Any, judge: Any = None, **more: Any) -> AtomLabels:
    acts, codes = rows
    return sn.label(
        sae, acts, judge, **{"codes": codes, "progress": False, "n_examples": 80, **more}
    )


class Judge:
    """A judge who names the marked words, and says yes where one of a label's words is in the text."""

    def __init__(self, fails: Any = ()) -> None:
        self.asked, self.fails = 0, fails

    def __call__(self, prompt: str) -> str:
        self.asked += 1
        if self.asked in self.fails:
            raise TimeoutError("no answer in 60 s")
        if "Say in at most" in prompt:
            return " ".join(sorted(set(re.findall(r"<<\s*(\w+)>>", prompt))))
        wanted, text = re.findall(r"fires on: (.*)\nText: (.*)\n", prompt)[0]
        return "Yes." if set(wanted.split()) & set(re.findall(r"\w+", text)) else "no"


def test_planted_rules_detect_and_other_labels_and_chance_do_not(rows, sae) -> None:
    """The right label sorts every window, another's about half of them; an atom of chance fails."""
    found = label(sae, rows)
    for atom in (0, 1, 2):
        evidence = found.evidence(atom)
        assert evidence.detection == 1
        assert evidence.by == "rule"
        assert evidence.control < 0.75
        assert evidence.standing == "holds"
    assert abs(found.evidence(3).detection - 0.5) < 0.2
    assert found.evidence(3).standing == "fails"
    assert list(found.unlabelled) == [4]
    assert "too rarely" in found.unlabelled[4]


def test_given_labels_are_kept_and_judged_too(rows, sae) -> None:
    """By their words where they name some; a wrong one scores as chance; the other atoms get rules."""
    given = sn.labels({"0": "references to a cat or a dog", "1": "the blue colour of Paris"})
    found = label(sae, rows, labels=given)
    assert (found[0], found[1]) == (given[0], given[1])
    assert found.evidence(0).by == "words"
    assert found.evidence(0).detection == 1
    assert found.evidence(1).detection < 0.7
    assert (found.entries[0].source, found.entries[2].source) == ("file", "rule")
    abstract = label(sae, rows, labels={0: "tokens related to the text"})
    assert math.isnan(abstract.evidence(0).detection)
    assert "no word" in abstract.evidence(0).why


def test_labels_from_elsewhere_are_judged_on_all_samples(rows, sae) -> None:
    """Twice the windows of a call that writes on one half; alone, a token does not show the one before it."""
    acts, codes = rows
    said = {0: "references to a cat or a dog", 2: "the"}
    rules = {0: (), 2: (("token", (" the", "the")),)}
    given = AtomLabels(
        entries={a: AtomLabel(atom=a, text=text, rule=rules[a]) for a, text in said.items()}
    )
    found = judge_labels(sae, acts, given, codes=codes, n_examples=100_000)
    half = label(sae, rows, labels=given, atoms=[0, 2], n_examples=100_000)
    assert dict(found) == said
    assert found.evidence(0).detection == 1
    assert found.evidence(0).n > 1.5 * half.evidence(0).n
    alone = judge_labels(sae, acts, given, codes=codes, single_tokens=True)
    assert alone.evidence(0).detection == 1
    assert alone.evidence(2).detection < 0.5 < found.evidence(2).detection


def test_labels_of_a_file_are_replaced_and_its_making_stays(rows, sae, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    made = label(sae, rows, file=file)
    before = json.loads(file.read_text())
    replace_labels(file, AtomLabels(entries={2: made.entries[2]}, n_atoms=sae.n_atoms))
    assert dict(sn.labels(file, sae)) == {2: made[2]}
    after = json.loads(file.read_text())
    assert (after["made"], after["sae"]) == (before["made"], before["sae"])
    with pytest.raises(FileNotFoundError):
        replace_labels(tmp_path / "none.json", made)


def test_a_label_that_names_an_attribute_is_judged_by_it(rows, sae) -> None:
    """Also where there are no texts; any other label of images says why nobody reads it."""
    acts, codes = rows
    truth = torch.zeros(len(acts), dtype=torch.bool)
    truth[codes.strengths(0)[0]] = True
    found = label(sae, rows, labels={0: "an animal"}, attributes={"an animal": truth})
    assert found.evidence(0).by == "attribute"
    assert found.evidence(0).detection == 1
    vectors = sn.Activations.from_tensor(acts.x, sample=acts.sample)
    plain = label(
        sae, (vectors, codes), labels={0: "an animal", 1: "other"}, attributes={"an animal": truth}
    )
    assert plain.evidence(0).by == "attribute"
    assert "attributes=" in plain.evidence(1).why


def test_atoms_return_in_the_sisters_that_have_them_and_random_directions_do_not(rows, sae) -> None:
    """Two sisters: one with all atoms in another order, one with the first two alone."""
    own = sae.dictionary
    elsewhere = torch.nn.functional.normalize(torch.tensor([[0.0, 0, 0, 0, 0, 1]] * 3), dim=1)
    sisters = [
        SimpleNamespace(d_in=6, n_atoms=5, dictionary=own.flip(0)),
        SimpleNamespace(d_in=6, n_atoms=5, dictionary=torch.cat([own[:2], elsewhere])),
    ]
    found = label(sae, rows, sisters=sisters)
    returns = [(found.evidence(a).returns, found.evidence(a).n_sisters) for a in range(4)]
    assert returns == [(2, 2), (2, 2), (1, 2), (1, 2)]
    assert found.floor < 1
    assert label(sae, rows).evidence(0).returns is None
    with pytest.raises(ValueError, match="the SAE itself"):
        label(sae, rows, sisters=[SimpleNamespace(d_in=6, n_atoms=5, dictionary=own)])
    with pytest.raises(ValueError, match="width 6"):
        label(sae, rows, sisters=[SimpleNamespace(d_in=7, n_atoms=5, dictionary=torch.eye(7)[:5])])


def test_a_judge_that_is_right_is_believed(rows, sae) -> None:
    """It writes the label from half of the samples and detects by it on the other."""
    judge = Judge()
    found = label(sae, rows, judge)
    assert (found[0], found[1]) == ("cat dog", "undone untied")
    assert found.evidence(0).by == "judge"
    assert found.evidence(0).detection == 1
    assert found.counts["calls"] == judge.asked
    assert not found.counts.get("failed")


@pytest.mark.slow
def test_a_judge_that_fails_leaves_the_atom_unlabelled_and_is_asked_again(
    rows, sae, tmp_path
) -> None:
    """Counted; a try that succeeds is taken; the next call asks for what is missing and for nothing else."""
    once = label(sae, rows, Judge(fails={1}), file=tmp_path / "once")
    assert (once[0], once.counts["failed"]) == ("cat dog", 1)
    first = Judge(fails={1, 2, 3})
    found = label(sae, rows, first, file=tmp_path)
    assert 0 not in found
    assert "no answer in 60 s" in found.unlabelled[0]
    assert (found[1], found.counts["failed"]) == ("undone untied", 3)
    second = Judge()
    again = label(sae, rows, second, file=tmp_path)
    assert again[0] == "cat dog"
    assert {a: again[a] for a in (1, 2, 3)} == {a: found[a] for a in (1, 2, 3)}
    assert second.asked < 0.5 * first.asked
    assert again.counts["failed"] == 3
    third = Judge()
    label(sae, rows, third, file=tmp_path)
    assert third.asked == 0


@pytest.mark.parametrize(
    "answer", ["", "…!?", "word " * 80, "I'm sorry, I cannot help with that.", None, 7]
)
def test_nonsense_is_no_label(rows, sae, answer: Any) -> None:
    """Nothing is written down of what cannot be a label; every atom says why."""
    found = label(sae, rows, lambda _: answer, atoms=[0, 1])
    assert len(found) == 0
    assert set(found.unlabelled) == {0, 1}
    assert found.counts.get("nonsense", 0) + found.counts.get("failed", 0) == 6


def test_a_judge_that_says_neither_yes_nor_no_gives_no_score(rows, sae) -> None:
    """The label stands; its evidence says what happened, and is not a half."""
    found = label(sae, rows, lambda p: "animals" if "Say in" in p else "perhaps", atoms=[0])
    assert found[0] == "animals"
    assert math.isnan(found.evidence(0).detection)
    assert "neither yes nor no" in found.evidence(0).why


def test_a_dead_judge_is_not_asked_for_every_atom(rows, sae, monkeypatch) -> None:
    """After some atoms without an answer the others are left for the next call."""
    monkeypatch.setattr(writing, "IN_A_ROW", 2)
    dead = Judge(fails=range(10_000))
    found = label(sae, rows, dead, n_tries=2)
    assert dead.asked == 4
    assert "not asked" in found.unlabelled[3]


@pytest.mark.slow
def test_a_local_model_is_a_judge(rows, sae, monkeypatch) -> None:
    """Any language model of `load_model`; what a tiny one says is a label, or the reason why it is none."""
    monkeypatch.setattr(judging, "NEW_TOKENS", 3)
    found = label(sae, rows, sn.load_model("tiny-gpt"), atoms=[0], n_examples=8, n_tries=1)
    assert set(found.entries) == {0}
    assert found.counts["calls"] >= 1
    assert found.entries[0].text or "gave no label" in found.entries[0].why
    with pytest.raises(ValueError, match="language model"):
        label(sae, rows, sn.load_model("tiny-vit"))


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(rows, sae, tmp_path) -> None:
    """SIGKILL in the middle: what was answered is on disk, is not asked again, and nothing is lost."""
    script = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
import conftest, test_writing
test_writing.writing.PAUSE, test_writing.writing.SHARE_OF_WRITING = 0, 1e9
class Killed(test_writing.Judge):
    def __call__(self, prompt):
        if self.asked == 90:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(prompt)
test_writing.label(conftest.an_sae(), conftest.made(), Killed(), file={str(tmp_path)!r}, n_examples=20)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    kept = sn.labels(tmp_path)
    assert set(TRUTH) <= set(kept)
    going_on = Judge()
    # The judge of the file is told by its name: this one takes its place.
    content = json.loads((tmp_path / "labels.json").read_text())
    assert content["made"]["judge"] == "Killed"
    going_on.__class__ = type("Killed", (Judge,), {})
    found = label(sae, rows, going_on, file=tmp_path, n_examples=20)
    whole = Judge()
    fresh = label(sae, rows, whole, n_examples=20)
    assert going_on.asked < whole.asked - 60
    assert dict(found) == dict(fresh)
    assert [found.evidence(a) for a in found] == [fresh.evidence(a) for a in fresh]


@pytest.mark.slow
def test_labels_lie_beside_the_sae_and_show_in_panels(tmp_path) -> None:
    """After a new start, too: name, badge and source of the card; somebody's own label comes first."""
    examples = sn.load_examples("tiny-gpt/resid_post.3")
    bundled = sn.load_sae("tiny-gpt/resid_post.3")
    bundled.save(tmp_path / "sae")
    sae = sn.load_sae(tmp_path / "sae")
    found = sn.label(sae, examples.acts, codes=examples.codes, atoms=[9, 10, 15], progress=False)
    assert Path(found.path) == tmp_path / "sae" / "labels.json"
    again = sn.load_sae(tmp_path / "sae")
    names = names_of(again)
    assert names.words(9) == found[9]
    assert f"{found.evidence(9).detection:.2f}" in names.card(9).badge.text
    names.labels.write(9, "It, my own words")
    assert names.badge(9) is None
    names.labels.write(9, found[9])
    assert names.badge(9) is not None
    again.save(tmp_path / "sae")
    assert sn.labels(tmp_path / "sae", again)[9] == found[9]


@pytest.mark.slow
def test_bundled_labels_stay_and_take_evidence_that_is_theirs() -> None:
    """A rule does not replace "any place"; judged itself, that label has a badge."""
    examples, sae = sn.load_examples("tiny-gpt/resid_post.3"), sn.load_sae("tiny-gpt/resid_post.3")
    before = dict(examples.labels)
    names = names_of(sae)
    sn.label(sae, examples.acts, codes=examples.codes, atoms=[9, 15], progress=False)
    assert {a: names_of(sae).labels.label(a) for a in before} == before
    assert names_of(sae).badge(15) is None
    sn.label(sae, examples.acts, codes=examples.codes, atoms=[9, 15], labels=before, progress=False)
    assert names_of(sae) is names
    assert names.labels.label(15) == before[15]
    assert names.badge(15) is not None


@pytest.mark.slow
def test_a_file_of_another_making_or_another_sae_is_not_written_over(rows, sae, tmp_path) -> None:
    """It says what differs; a damaged file is refused as well."""
    label(sae, rows, file=tmp_path)
    before = (tmp_path / "labels.json").read_bytes()
    with pytest.raises(ValueError, match=r"another n_examples, seed"):
        label(sae, rows, file=tmp_path, n_examples=20, seed=1)
    other = SimpleNamespace(**{**vars(sae), "dictionary": sae.dictionary.flip(0)})
    with pytest.raises(ValueError, match="those of another"):
        label(other, rows, file=tmp_path)
    with pytest.raises(ValueError, match="those of another"):
        sn.labels(tmp_path, other)
    assert (tmp_path / "labels.json").read_bytes() == before
    assert label(sae, rows, file=tmp_path, seed=1, replace_file=True).n_judged == 4
    (tmp_path / "labels.json").write_bytes(before.replace(b"cat", b"cow"))
    with pytest.raises(ValueError, match=r"labels\.json"):
        label(sae, rows, file=tmp_path)


def test_labels_judged_on_kept_firings_are_others(rows, sae, tmp_path) -> None:
    """Judged on what a second code keeps, from the same label; a file of the others is not mixed with them."""
    _, codes = rows
    all_kept = second_code_of(codes, torch.ones(codes.nnz, dtype=torch.bool))
    half = torch.rand(codes.nnz, generator=torch.Generator().manual_seed(0)) < 0.5
    every = label(sae, rows, file=tmp_path / "labels.json")
    same = label(sae, rows, second=all_kept, file=tmp_path / "kept.json")
    assert {a: same.evidence(a) for a in TRUTH} == {a: every.evidence(a) for a in TRUTH}
    fewer = label(sae, rows, second=second_code_of(codes, half), file=tmp_path / "half.json")
    assert fewer[0] == every[0]
    assert fewer.evidence(0).detection == 1
    with pytest.raises(ValueError, match="another kept"):
        label(sae, rows, second=all_kept, file=tmp_path / "labels.json")
    with pytest.raises(ValueError, match="another kept"):
        label(sae, rows, file=tmp_path / "kept.json")

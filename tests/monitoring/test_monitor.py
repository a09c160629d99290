"""A watch on a live model: what it reads, its threshold, its floors, on planted texts and bundled models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.monitoring import Monitor, MonitorReport, attention_probe
from sae_nb.monitoring._channels import attended, pooled, threshold_of

D = 16
AXIS = torch.eye(D)[-1]


@pytest.fixture(autouse=True)
def _axes_are_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*the layout of their module.*")
        yield


@pytest.fixture
def plain() -> sn.LiveModel:
    return sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))


def texts(n: int, length: int, seed: int, *, says: float = 0.0) -> Tensor:
    """Texts of noise, of which one place lies far along the last axis, and is loud along the first one."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, length, D, generator=rng)
    where = torch.randint(length, (n,), generator=rng)
    if says:
        x[torch.arange(n), where, -1] += says
    x[torch.arange(n), where, 0] += 8.0
    return x


def test_scores_are_what_the_words_say() -> None:
    values = np.array([0.0, 4.0, 2.0, 0.0, 9.0])
    assert pooled(values, "mean", 2) == 3.0
    assert pooled(values, "max", 2) == 9.0
    assert pooled(values, "rolling", 2) == 4.5
    assert pooled(values, "rolling", 1) == 9.0
    assert pooled(values, "rolling", 50) == 3.0  # longer than the text: its mean
    assert pooled(values[:1], "rolling", 8) == 0.0
    assert attended(values, np.zeros(5)) == pytest.approx(3.0)
    assert attended(values, np.array([0, 50.0, 0, 0, 0])) == pytest.approx(4.0)


@pytest.mark.parametrize(("n", "fpr"), [(19, 0.05), (20, 0.05), (99, 0.1), (9, 0.5), (1, 0.5)])
def test_a_further_neutral_text_is_above_the_threshold_at_most_so_often(n: int, fpr: float) -> None:
    """Of n + 1 scores in any order, the share of those above the threshold of the others."""
    scores = np.random.default_rng(n).permutation(n + 1).astype(float)
    above = [scores[i] > threshold_of(np.delete(scores, i), fpr) for i in range(n + 1)]
    assert fpr - 1 / (n + 1) < np.mean(above) <= fpr


def test_the_usual_range_is_one_on_each_side(plain) -> None:
    places = {"axis": ("0", AXIS), "other": ("0", torch.eye(D)[0])}
    meter = sn.monitor(plain, places, texts(60, 12, 0))
    meter = replace(meter, usual=np.array([[-9.0, 0.0, 9.0], [-1.0, 0.0, 4.0]]))
    read = meter.from_usual(np.array([-1.0, 0.0, 2.0, 8.0]), 1)
    assert read.tolist() == [-1.0, 0.0, 0.5, 2.0]


def test_planted_projections_and_alarms(plain) -> None:
    meter = sn.monitor(plain, {"axis": ("0", 2 * AXIS)}, texts(60, 12, 0), pool="max")
    found = meter.read(texts(5, 12, 1, says=9.0))
    again = texts(5, 12, 1, says=9.0)
    assert np.allclose(found.values[3][:, 0], 2 * again[3, :, -1], atol=1e-5)
    assert found.alarms.all()
    assert meter.read(texts(60, 12, 2)).alarms.mean() < 0.15
    assert found.table["axis alarm"].tolist() == [True] * 5
    low, middle, high = meter.usual[0]
    assert low == pytest.approx(-3.3, abs=0.5)  # ±1.64 standard deviations of 2
    assert middle == pytest.approx(0.0, abs=0.3)
    assert high == pytest.approx(3.3, abs=0.5)


def test_an_attention_probe_looks_where_it_is_said(plain) -> None:
    """Trained on 6 places, read on 48: the mean loses the one place that says it, attention finds it."""
    probe = attention_probe(plain, "0", texts(200, 6, 0, says=3.0), texts(200, 6, 1))
    assert probe.separation > 0.9 > probe.separation_mean
    # The place is marked by the loud axis, and by what it says.
    share = probe.query[[0, -1]].norm() / probe.query.norm()
    assert float(share) > 0.8
    meter = sn.monitor(plain, {"it": probe}, texts(40, 6, 2))
    tests = {"as long": (texts(40, 6, 3, says=3.0), texts(40, 6, 4))}
    tests["longer"] = texts(40, 48, 5, says=3.0), texts(40, 48, 6)
    trained = texts(200, 6, 0, says=3.0), texts(200, 6, 1)
    report = meter.report(tests, trained, n_random=5, n_resamples=200)
    table = report.table.set_index(["test", "method"])
    ours, mean = (table.loc[("longer", m)] for m in ("it, attention", "probe of mean rows, 0"))
    assert ours["low"] > mean["AUC"] + 0.1
    assert ours["low"] < ours["AUC"] < ours["high"]
    assert ours["found at 0.05 false"] > mean["found at 0.05 false"]
    assert table.loc[("longer", "random direction, mean, 0")]["AUC"] < 0.75
    assert "bag of words" not in report.method  # these are no texts


def test_of_noise_nothing_is_found(plain) -> None:
    trained = texts(40, 6, 0), texts(40, 6, 1)
    probe = attention_probe(plain, "0", *trained)
    meter = sn.monitor(plain, {"it": probe}, texts(40, 6, 2))
    found = meter.report({"t": (texts(40, 6, 3), texts(40, 6, 4))}, trained, n_resamples=200)
    assert found.low[0] < 0.5 + 0.15
    assert found.high[0] > 0.5


def test_a_cascade_asks_only_where_the_cheap_one_is_unsure(plain) -> None:
    asked = []

    def judge(some: Tensor) -> Tensor:
        asked.append(len(some))
        return some[:, :, -1].amax(dim=1)

    neutral = texts(99, 8, 0)
    meter = sn.monitor(plain, {"axis": ("0", AXIS), "loud": ("1", AXIS)}, neutral, fpr=0.05)
    mixed = torch.cat([texts(20, 8, 1, says=12.0), texts(80, 8, 2)])
    found = meter.cascade(mixed, "axis", judge, neutral=neutral, share=0.2)
    assert asked == [99, found.n_asked]
    assert found.n_asked < 60
    assert found.alarms[:20].all()
    assert found.alarms[20:].mean() < 0.12
    assert np.isnan(found.dear_scores).sum() == 100 - found.n_asked
    same = meter.cascade(mixed, "axis", "loud", share=0.2)
    assert np.nanmax(np.abs(same.dear_scores - same.cheap_scores)) < 1e-5
    with pytest.raises(ValueError, match="`neutral` must be texts where `dear` is a function"):
        meter.cascade(mixed, "axis", judge)
    with pytest.raises(ValueError, match="`dear` must be"):
        meter.cascade(mixed, "axis", "none")


# --- On a model that writes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def glad(gpt) -> sn.steering.Direction:
    kinds = [["happy", "glad", "proud", "warm"], ["sad", "angry", "cold", "lost"]]
    groups = [[f"The {a} was {b}" for a in ("dog", "girl") for b in some] for some in kinds]
    return sn.direction(gpt, "resid_post.2", *groups, n_random=5)


def test_it_reads_what_is_written_as_it_reads_the_text(gpt, glad) -> None:
    """Token by token while the model writes, and the whole text read at once afterwards."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    channels = {"glad": glad, "atom": (sae, 25)}
    meter = sn.monitor(gpt, channels, sn.data.stories(20).texts, pool="max")
    with meter.watch() as seen:
        ids = gpt.generate("Once there was a", max_new_tokens=6, return_ids=True)
    written = torch.as_tensor(ids).reshape(1, -1)
    read = meter.read(written)
    for name in meter.names:
        live = seen.values[name]
        assert np.isnan(live[0])  # an attention sink
        assert np.isfinite(live[1:]).all()
        n = len(live) - 1  # the last token was chosen, and not read
        assert np.allclose(live[1:], read.of()[name][:n], atol=1e-3)
    assert not gpt.interventions
    x = sn.capture(gpt, written, "resid_post.3", drop_massive=False, progress=False).x
    atom = sae.dictionary[25].detach()
    expected = (x - sae.bias.detach()) @ atom / atom.norm()
    assert np.allclose(read.of()["atom"], expected, atol=1e-3)


def test_a_watch_reads_texts_of_other_lengths_and_what_was_steered(gpt, glad) -> None:
    meter = sn.monitor(gpt, {"glad": glad}, sn.data.stories(20).texts)
    prompts = ["Once there was a", "The list"]
    with meter.watch() as seen:
        gpt.generate(prompts, max_new_tokens=3)
    with meter.watch() as alone:
        gpt.generate(prompts[1], max_new_tokens=3)
    long, short = (one["glad"] for one in seen.texts)
    assert len(long) > len(short) == len(alone.values["glad"])
    assert np.allclose(short[1:], alone.values["glad"][1:], atol=1e-3)
    with sn.steer(gpt, "resid_post.2", direction=glad, by=5.0), meter.watch() as steered:
        gpt.generate(prompts[1], max_new_tokens=1)
    n = len(steered.values["glad"])
    moved = steered.values["glad"][1:] - alone.values["glad"][1:n]
    assert np.allclose(moved, 5.0, atol=1e-2)
    with meter.watch() as unused, pytest.raises(RuntimeError, match="has not run yet"):
        _ = unused.values


def test_it_is_kept_and_opened_again(gpt, glad, tmp_path: Path) -> None:
    meter = sn.monitor(gpt, {"glad": glad}, sn.data.stories(20).texts, pool="rolling", k=4)
    meter.save(tmp_path / "meter")
    again = sn.monitor(gpt, tmp_path / "meter")
    story = sn.data.stories(1, seed=9).texts
    assert np.array_equal(again.read(story).scores, meter.read(story).scores)
    assert again.thresholds.tolist() == meter.thresholds.tolist()
    with pytest.raises(RuntimeError, match=r"sn\.monitor\(model, folder\)"):
        Monitor.load(tmp_path / "meter").read(story)
    with pytest.raises(ValueError, match="must be of tiny-induction, got one of tiny-gpt"):
        sn.monitor(sn.load_model("tiny-induction"), tmp_path / "meter")


@pytest.mark.slow
def test_feelings_of_stories_beside_words_and_chance(gpt) -> None:
    """Sentences of the stories' own grammar: words tell them apart, a random direction does not."""
    groups = []
    for sign in (1, -1):
        record = sn.data.stories(150, seed=3)
        c = record.clauses
        at = (c.sentiment == sign).nonzero()[:, 0].tolist()
        groups.append(
            list(dict.fromkeys(record.texts[int(c.story[i])][c.start[i] : c.end[i]] for i in at))
        )
    train = tuple(one[:60] for one in groups)
    held = tuple(one[60:100] for one in groups)
    d = sn.direction(gpt, "resid_post.3", *train, "probe", "all", n_random=5)
    meter = sn.monitor(gpt, {"feeling": d}, train[1])
    found = meter.report({"held out": held}, train, n_random=10, n_resamples=200)
    assert isinstance(found, MonitorReport)
    table = found.table.set_index("method")
    assert table.loc["feeling, mean", "AUC"] > 0.9
    assert table.loc["bag of words", "AUC"] > 0.9
    chance = table.loc["random direction, mean, resid_post.3", "AUC"]
    assert chance < table.loc["feeling, mean", "low"]
    with pytest.raises(ValueError, match="must be of texts that were not trained on"):
        meter.report({"t": train}, train)


def test_smollm2_reads_what_it_writes(smollm2: Path) -> None:
    model = sn.load_model(smollm2)
    good, bad = ("love", "enjoy", "like", "adore"), ("hate", "dread", "loathe", "despise")
    groups = [[f"I {one} this film" for one in some] for some in (good, bad)]
    d = sn.direction(model, "resid_post.15", *groups, positions="all", n_random=5)
    meter = sn.monitor(model, {"love": d}, sn.data.stories(20).texts)
    ours, theirs = meter.read(
        ["We adore the new song, it is great", "We loathe the new song, it is bad"]
    ).scores[:, 0]
    assert ours > theirs
    with meter.watch() as seen:
        model.generate("The film was", max_new_tokens=4)
    assert np.isfinite(seen.values["love"][1:]).all()


# --- What is refused ------------------------------------------------------------------------------

STORIES = sn.data.stories(20).texts


@pytest.mark.parametrize(
    ("channels", "neutral", "options", "says"),
    [
        ({}, STORIES, {}, "`channels` must name at least one direction"),
        ([], STORIES, {}, "`channels` must name at least one direction"),
        ({"a": 3}, STORIES, {}, r"`channels\['a'\]` must be a direction"),
        ({"a": ("resid_post.2", AXIS)}, STORIES, {}, r"must be as wide as resid_post\.2, \d+, got 16"),
        ({"a": ("resid_post.2", torch.full((128,), torch.nan))}, STORIES, {}, "must be finite"),
        ({"a": ("resid_post.99", AXIS)}, STORIES, {}, r"No hook point"),
        ("glad", None, {}, "`neutral` must be texts in which there is nothing to find"),
        ("glad", [], {}, "`neutral` must hold at least one input, got none"),
        ("glad", "one text", {}, "`neutral` must be several inputs, got one str"),
        ("glad", STORIES[:1], {}, r"`fpr` must be at least 1 / \(1 neutral texts \+ 1\), got 0\.05"),
        ("glad", STORIES, {"fpr": 0.0}, "`fpr` must"),
        ("glad", STORIES, {"fpr": 1.0}, "`fpr` must"),
        ("glad", STORIES, {"k": 0}, "`k` must"),
        ("glad", STORIES, {"pool": "median"}, "`pool` must"),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_refused(gpt, glad, channels, neutral, options, says) -> None:
    given = {"glad": glad} if channels == "glad" else channels
    with pytest.raises((ValueError, TypeError, sn.HookPointNotFound), match=says):
        sn.monitor(gpt, given, neutral, **options)


def test_a_direction_of_another_model_is_refused_by_name(gpt, glad) -> None:
    other = sn.load_model("tiny-induction")
    with pytest.raises(
        ValueError, match=r"`channels\['it'\]` must be of tiny-induction, got one of tiny-gpt"
    ):
        sn.monitor(other, {"it": glad}, STORIES)
    meter = sn.monitor(gpt, {"it": glad}, STORIES[:1], fpr=0.5)  # one text is enough for a half
    assert meter.n_neutral == 1
    ids = [torch.tensor([5, 6, 7]), torch.tensor([5])]
    with pytest.raises(ValueError, match="a token after the first, got none in input 1"):
        meter.read(ids)

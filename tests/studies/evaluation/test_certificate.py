"""A certificate calls real what the data determine, nothing else, and says what it did not measure."""

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.__main__ import main
from sae_nb.statistics import auroc
from sae_nb_studies.evaluation.certifying._doing import _Added
from sae_nb_studies.evaluation.certifying._returns import AtomNumbers

HOW = sn.TrainConfig(steps=150, batch_size=512)


def trained(x, n_atoms, k, seed=0):
    sae = sn.TopK(x.shape[1], n_atoms, k, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, x, sn.TrainConfig(steps=150, batch_size=512, seed=seed), progress=False)
    return sae


@pytest.fixture(scope="module")
def planted():
    data = sn.data.planted_dictionary(24, 20, 3000, 3, seed=7)
    sae = trained(data.x, 32, 3)
    return data, sae, sn.certificate(sae, data.x, config=HOW, progress=False)


@pytest.mark.slow
def test_what_is_called_real_is_real_and_the_controls_have_none(planted):
    data, sae, found = planted
    true = ((sae.dictionary @ data.dictionary.T).amax(dim=1) > 0.9).numpy()
    said = (found.table["verdict"] == "real").to_numpy()
    assert 0.3 < true.mean() < 1
    # 0.78 of 0.81, 0.07 ± 0.04 below it on three seeds; where one sister that missed an atom moved its verdict, 0.63.
    assert true.mean() - 0.15 <= said.mean() <= true.mean() + 0.02
    assert true[said].mean() >= 0.95
    assert auroc(found.table["sure"].to_numpy(), true)[0] >= 0.95
    assert (found.controls["real"] <= 0.02).all()
    assert len(found.controls) == 3
    assert found.shares["real"] == said.mean()
    assert set(found.real()) == set(np.flatnonzero(said))


@pytest.mark.slow
def test_another_code_is_asked_too_with_both_controls(planted):
    data, sae, found = planted
    second = sn.second_code(sae, data.x, ("omp",))
    kept, noise = (found.numbers.set_index("number").loc[one] for one in ("kept", "kept in noise"))
    assert found.table["kept"].equals(second.table["kept"])
    assert kept["value"] == pytest.approx(second.measurements["kept_by_second_code"].value)
    assert kept["control"] < 0.3 < kept["value"] < noise["value"]
    assert {"kept_by_second_code", "kept_in_noise"} <= set(found.measurements)


def judged(seeds, halves=None):
    found = AtomNumbers(
        seeds=np.array(seeds),
        halves=None if halves is None else np.array(halves),
        origin=None,
        density=None,
    )
    return found.bar, found.verdicts(0.3).tolist()


@pytest.mark.parametrize(
    ("usual", "bar"), [(0.5, 0.9), (0.975, 0.9), (0.99, 0.95), (0.996, 0.98), (1.0, 0.98)]
)
def test_the_bar_rises_where_the_usual_atom_returns_exactly(usual, bar):
    found, verdicts = judged([np.r_[np.full(8, 0.4), np.full(3, 0.94), np.full(4, usual)]])
    assert found == pytest.approx(bar)
    assert (verdicts[8] == "real") == (bar <= 0.94)


def test_one_of_five_trainings_may_miss_a_real_atom_and_two_may_not():
    seeds = [[0.999, 0.999, 0.85, 0.85], [0.999] * 4, [0.999] * 4]
    halves = [[0.999, 0.85, 0.999, 0.85], [0.999] * 4]
    assert judged(seeds, halves) == (0.98, ["real", "real", "real", "unclear"])
    assert judged(seeds) == (0.98, ["real", "real", "unclear", "unclear"])


def test_a_few_exact_atoms_do_not_raise_the_bar_for_all_others():
    assert set(judged([[0.999] * 2 + [0.96] * 8])[1]) == {"real"}


@pytest.mark.slow
def test_a_call_that_was_interrupted_continues_to_the_same_bits(planted, tmp_path, monkeypatch):
    data, sae, _ = planted
    how = sn.TrainConfig(steps=20, batch_size=256)
    whole = sn.certificate(sae, data.x, config=how, progress=False)
    loss, calls = sn.TopK.training_loss, []

    def interrupted(self, *arguments, **named):
        calls.append(1)
        if len(calls) == 50:  # in the third training
            raise KeyboardInterrupt
        return loss(self, *arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sn.TopK, "training_loss", interrupted)
        sn.certificate(sae, data.x, config=how, folder=tmp_path, progress=False)
    calls.clear()
    again = sn.certificate(sae, data.x, config=how, folder=tmp_path, progress=False)
    assert again.table.equals(whole.table)
    assert again.controls.equals(whole.controls)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ReLU", "JumpReLU", "Gated", "BatchTopK"])
def test_sisters_of_other_rules_of_files_have_its_size_and_its_sparsity(kind, planted, tmp_path):
    x = planted[0].x
    sae = getattr(sn, kind)(20, 32, **({"k": 3} if kind == "BatchTopK" else {"l0": 3.0}))
    sn.train(sae, x, steps=60, batch_size=256, progress=False)
    sn.interop.write_saelens(sae, tmp_path / "theirs")
    theirs = sn.load_sae(tmp_path / "theirs")
    how = sn.TrainConfig(steps=60, batch_size=256)
    found = sn.certificate(theirs, x, config=how, n_sisters=2, progress=False)
    assert len(found.table) == 32
    assert found.facts["l0"] == pytest.approx(float(sae.encode(x).l0.float().mean()), rel=0.05)
    assert (found.controls["real"] <= 0.05).all()


@pytest.mark.slow
def test_atoms_that_return_but_lean_on_the_bias_are_not_called_real():
    data = sn.data.planted_dictionary(48, 32, 4000, 5, coherence=0.35, noise=0.04, seed=3)
    saes = [sn.ReLU(32, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for seed, one in enumerate(saes):
        sn.train(one, data.x, steps=250, seed=seed, progress=False)
    sae, *sisters = saes
    found = sn.certificate(sae, data.x, sisters=sisters, progress=False)
    true = ((sae.dictionary @ data.dictionary.T).amax(dim=1) > 0.9).numpy().mean()
    again = (found.table["return"] >= 0.9).mean()
    assert again > true + 0.1  # seeds alone would call more of them real
    assert found.shares["real"] <= true + 0.1
    assert "halves" not in found.table
    assert any("Sisters were given" in note for note in found.notes)


@pytest.mark.slow
def test_sisters_that_learned_little_do_not_speak_against_an_atom(planted):
    data, sae, _ = planted
    sisters = [sn.TopK(20, 32, 3, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)]
    for sister in sisters:
        sn.train(sister, data.x, steps=2, progress=False)
    found = sn.certificate(sae, data.x, sisters=sisters, progress=False)
    fires = found.table["density"] > 0
    assert set(found.table.loc[fires, "verdict"]) == {"unclear"}
    assert any("sisters explain less" in note for note in found.notes)


@pytest.mark.slow
def test_what_an_atom_does_is_compared_with_random_directions_of_equal_cost():
    torch.manual_seed(0)
    atoms = torch.eye(8)
    head = torch.nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        head.weight.copy_(3 * torch.eye(8)[:4])
    model = sn.wrap(
        torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b", "c", "d"]
    )
    x = sn.matching_pursuit(torch.randn(400, 8).abs(), atoms, 2).to_dense()
    sae, *sisters = (trained(x, 8, 2, seed) for seed in range(3))
    sae.hook_point = "0"
    found = sn.certificate(sae, x, model, sisters, inputs=x[:10], n_atoms=8, progress=False)
    table = found.table.dropna(subset=["effect"])
    axis = (sae.dictionary.detach() @ atoms.T)[table["atom"].to_numpy()]
    heard = ((axis.max(dim=1).values > 0.95) & (axis.argmax(dim=1) < 4)).numpy()
    assert heard.any()
    named = ["abcd"[i] for i in axis.argmax(dim=1)[torch.from_numpy(heard)].tolist()]
    assert table.loc[heard, "outcome"].tolist() == named
    assert (table.loc[heard, "effect"] > 0).all()
    # At equal cost a linear head moves as far along any direction: no atom can be told from chance.
    assert not table["steers"].all()
    assert found.numbers.set_index("number").loc["steers", "control"] < 0.2


def test_the_command_writes_a_page(tmp_path, capsys):
    x = sn.data.planted_dictionary(12, 8, 200, 2, seed=7).x
    sae = sn.TopK(8, 12, 2)
    sn.train(sae, x, steps=5, progress=False)  # its sisters have no more steps than it had
    sae.save(tmp_path / "sae")
    sn.activations.Activations.from_tensor(x).save(tmp_path / "acts")
    command = ["certificate", str(tmp_path / "sae"), "--acts", str(tmp_path / "acts")]
    assert main([*command, "--budget", "2 h"]) == 0
    assert "atoms:" in capsys.readouterr().out
    page = (tmp_path / "sae" / "certificate.html").read_text()
    assert "<svg" in page
    assert "Every atom" in page
    assert "real from here" in page
    assert "the return that four of five sisters reach" in " ".join(page.split())
    assert page.count("What atoms do was not measured") == 1
    said = sn.atoms.AtomCatalogue(sn.load_sae(tmp_path / "sae"), x)
    asked = sn.second_code(sae, x, ("omp",))
    fires = int(asked.table["fires"].idxmax())
    assert said.keeps(fires) == asked.sentence(fires)
    assert main([*command, "--budget", "soon"]) == 2
    assert "`budget` must be a time" in capsys.readouterr().err


def test_what_lies_below_an_atom_is_computed_once_and_answers_are_the_same(gpt):
    texts, place = ["The cat sat.", "Tom walked to the farm with a dog."], "resid_post.2"
    direction = torch.ones(gpt.width())

    def last(by):
        with sn.splice(gpt, place, lambda x: x + by * direction):
            answers = gpt(texts)
        return torch.stack([row[~row.isnan().any(dim=-1)][-1] for row in answers])

    # The first batch of a model is preceded by two passes of its own: does it feel padding?
    expected = {by: last(by) for by in (0.0, 0.5, 2.0)}
    added = _Added(gpt, texts, place)
    assert added._below.n_kept == 3
    assert torch.equal(added.clean, expected[0.0])
    for by in (0.5, 2.0):
        assert torch.equal(added.add(direction, by), expected[by])

"""A bad SAE never scores well: on no row is it better than its random control by what training earns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import define, identifiability, stability
from sae_nb_studies.evaluation import plausibility

D, C, K = 24, 48, 3
FAST = {"n_bootstrap": 20}


@pytest.fixture(scope="module")
def data():
    return sn.data.planted_dictionary(n_atoms=C, d_in=D, n=2500, k=K, seed=0)


class Fixed(torch.nn.Module):
    """Atoms used as the k largest correlations, with the mean put back."""

    hook_point = model_name = None

    def __init__(self, atoms: torch.Tensor, mean: torch.Tensor, k: int = K) -> None:
        super().__init__()
        self.dictionary = torch.nn.functional.normalize(atoms, dim=1)
        self.mean, self.k = mean, k
        self.n_atoms, self.d_in = atoms.shape

    def encode(self, x: torch.Tensor) -> SparseCodes:
        u = (x - self.mean) @ self.dictionary.T
        top = u.topk(self.k, dim=1)
        z = torch.zeros_like(u).scatter(1, top.indices, top.values.clamp_min(0))
        return SparseCodes.from_dense(z)

    def decode(self, codes: SparseCodes) -> torch.Tensor:
        return codes.to_dense() @ self.dictionary + self.mean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


class Dead(Fixed):
    """Never fires."""

    def encode(self, x: torch.Tensor) -> SparseCodes:
        return SparseCodes.from_dense(torch.zeros(len(x), self.n_atoms))


def drawn(n: int, seed: int = 99) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def bad(kind: str, data, seed: int = 99) -> Fixed:
    mean = data.x.mean(dim=0)
    if kind == "random":
        return Fixed(drawn(C, seed), mean)
    if kind == "collapsed":
        return Fixed((data.x[0] - mean).expand(C, D) + 1e-4 * drawn(C, seed), mean)
    if kind == "copied":
        return Fixed(drawn(3, seed).repeat(C // 3, 1) + 1e-4 * drawn(C, seed), mean)
    return Dead(drawn(C, seed), mean)


@pytest.fixture(scope="module")
def good(data):
    return Fixed(data.dictionary, data.x.mean(dim=0))


BAD = ("random", "collapsed", "copied", "dead")


def skill(name: str, measured) -> float:
    """How much better than the control (or floor) a value is, in the direction that is better."""
    better = define(measured.definition).better
    control = measured.floor if measured.control is None else measured.control
    if better == "none" or control is None or math.isnan(measured.value):
        return 0.0
    if better == "one":
        return abs(control - 1) - abs(measured.value - 1)
    return (measured.value - control) * (1 if better == "higher" else -1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_no_row_of_the_report_flatters_a_bad_sae(kind, data, good):
    """Every row with a direction: no skill over the random control beyond a fraction of a good SAE's."""
    report = sn.evaluate(bad(kind, data), data.x, **FAST)
    reference = sn.evaluate(good, data.x, **FAST)
    for name, measured in report.items():
        earned = max(skill(name, reference[name]), 0.0)
        assert skill(name, measured) <= 0.25 * earned + 0.03, name


@pytest.mark.slow
def test_a_good_dictionary_does_score(data, good):
    report = sn.evaluate(good, data.x, **FAST)
    for name in ("r2", "fvu", "cosine", "ood"):
        assert skill(name, report[name]) > 0.05, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_a_dead_or_bad_sae_is_named_by_some_row(kind, data):
    """Each kind of badness has a row that is far off: R², duplicates, or dead atoms."""
    report = sn.evaluate(bad(kind, data), data.x, **FAST)
    r2_is_low = report["r2"].value <= report["r2"].control + 0.02
    assert r2_is_low or report["duplicate_fraction"].value > 0.5
    if kind in ("collapsed", "copied"):
        assert report["duplicate_fraction"].value > 0.9
        assert report["duplicate_fraction"].control < 0.05
        assert report["coherence"].value > 0.999
        assert report["ood"].value > 0.9
    if kind == "dead":
        assert report["dead_fraction"].value == 1
        assert any("No latent was active" in sentence for sentence in report.cautions)


@pytest.mark.parametrize("kind", BAD)
def test_bad_dictionaries_are_neither_stable_nor_plausible(kind, data, good):
    pair = stability([bad(kind, data, 1), bad(kind, data, 2)])
    assert pair.value - max(pair.floor, pair.control) < 0.05
    assert plausibility(bad(kind, data), data.dictionary).value < 0.75
    assert plausibility(good, data.dictionary).value == pytest.approx(1)


@pytest.mark.parametrize("kind", BAD)
def test_bad_dictionaries_tell_no_factor(kind, data, good):
    truth = (data.codes.to_dense() > 0).numpy()[:, :6]
    found = identifiability(bad(kind, data), data.x, truth, **FAST)
    assert found.value < max(found.control, 0.5) + 0.05
    assert identifiability(good, data.x, truth, **FAST).value > found.value + 0.05


# What rows cannot show


def test_dimensions_that_do_not_vary_are_named(data):
    """Some, and all of them: then nothing is explained, and no row is a number by accident."""
    x = data.x[:400].clone()
    x[:, :2] = 7
    sae = Fixed(data.dictionary, x.mean(dim=0))
    assert "2 of 24 dimensions do not vary" in sn.evaluate(sae, x, **FAST).cautions[0]
    still = sn.evaluate(sae, torch.ones(300, D), **FAST)
    assert still.cautions[0].startswith("All rows are the same")
    assert np.isnan(still["r2"].value)
    assert "ood" not in still


@pytest.mark.slow
def test_rows_that_were_trained_on_are_noticed(good, data):
    with pytest.warns(UserWarning, match=r"20\.0% of the 1000 rows"):
        report = sn.evaluate(good, data.x[:1000], trained_on=data.x[800:], **FAST)
    assert report.provenance["trained_on_share"] == pytest.approx(0.2)
    held_out = sn.evaluate(good, data.x[:800], trained_on=data.x[800:], **FAST)
    assert held_out.provenance["trained_on_share"] == 0


@pytest.mark.slow
def test_strengths_are_those_of_unit_atoms(data):
    """Atoms twice as long and strengths half as large: the same L1 and Hoyer."""
    mean = data.x.mean(dim=0)
    plain_sae, long = Fixed(data.dictionary, mean), Fixed(data.dictionary, mean)
    long.dictionary = 2 * data.dictionary
    long.encode = lambda x: SparseCodes.from_dense(plain_sae.encode(x).to_dense() / 2)
    plain, scaled = (sn.evaluate(s, data.x, **FAST) for s in (plain_sae, long))
    for name in ("l1", "hoyer", "negative_interference", "connectivity", "ood", "r2"):
        assert scaled[name].value == pytest.approx(plain[name].value, rel=1e-4), name
    z = plain_sae.encode(data.x).to_dense().double()
    assert plain["l1"].value == pytest.approx(float(z.abs().sum(1).mean()), rel=1e-6)
    hoyer = (C**0.5 - z.abs().sum(1) / z.norm(dim=1)) / (C**0.5 - 1)
    assert plain["hoyer"].value == pytest.approx(float(hoyer.mean()), rel=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "x",
    [torch.randn(1, D), torch.ones(1, D), torch.randn(2, D), torch.ones(9, D), torch.zeros(3, D)],
    ids=["one row", "one row of ones", "two rows", "rows alike", "rows of zeros"],
)
def test_rows_too_few_for_a_number_are_named(good, x):
    """In the report, and not by a warning of numpy: what is undefined is NaN and listed, else finite."""
    report = sn.evaluate(good, x, **FAST)
    undefined = [n for n, row in report.items() if np.isnan(row.value) and row.unit != "atoms"]
    undefined += [name for name in ("ood", "distances_kept") if name not in report]
    (said,) = [one for one in report.cautions if "there can be no" in one]
    assert said.removesuffix(".").partition("no ")[2].split(", ") == undefined
    assert said in repr(report)
    assert ("r2" in undefined) == (not bool((x != x[0]).any()))
    assert "distances_kept" in undefined


@pytest.mark.filterwarnings("error")
def test_one_sample_and_one_class_need_no_warning_of_numpy():
    model, images = sn.load_model("tiny-vit"), sn.data.scenes(2, seed=0).images
    acts = sn.capture(model, images, "resid_post.6", progress=False)
    sae = sn.TopK(acts.d_in, 64, k=4)
    report = sn.evaluate(
        sae,
        acts[:1],
        model=model,
        inputs=images[:1],
        labels=torch.zeros(1, dtype=torch.long),
        **FAST,
    )
    assert np.isnan(report["r2"].value)
    alike = sn.evaluate(
        sae,
        acts[acts.sample == 0],
        model=model,
        inputs=images,
        labels=torch.zeros(2, dtype=torch.long),
        **FAST,
    )
    assert np.isfinite(alike["r2"].value)


@pytest.mark.filterwarnings("error")
def test_rows_that_are_the_bias_have_no_length_to_miss():
    sae = sn.TopK(D, 48, k=3)
    assert np.isnan(sn.evaluation.quasi_orthogonality(sae, torch.zeros(4, D)).missed)

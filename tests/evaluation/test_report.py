"""evaluate: closed forms at both ends, every number redone by hand, floors and controls, refusals."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Identifiability, Measurement, RandomDictionary, Report
from sae_nb.evaluation.report._downstream import _ROWS, _batch_size, _kl, _longest, _next_token
from sae_nb.evaluation.report._measurement import chance_generator
from sae_nb.evaluation.report._report import warn_if_trained_on

D = 8
FAST = {"n_bootstrap": 50}


class Signed(nn.Module):
    """z = shrink(x, by): with by = 0 every input comes back exactly, with by = ∞ only the bias does."""

    def __init__(self, d_in: int = D, by: float = 0.0, bias: Tensor | None = None) -> None:
        super().__init__()
        self.d_in = self.n_atoms = d_in
        self.by = by
        self.register_buffer("dictionary", torch.eye(d_in))
        self.register_buffer("bias", torch.zeros(d_in) if bias is None else bias)
        self.hook_point = self.model_name = None

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(F.softshrink(x, self.by))

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() + self.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def nothing(**how) -> Signed:
    return Signed(by=1e9, **how)


@pytest.fixture(scope="module")
def gpt():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_embd=D,
        n_head=2,
        vocab_size=30,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.6,
    )
    return sn.wrap(GPT2LMHeadModel(config).eval())


@pytest.fixture(scope="module")
def texts():
    generator = torch.Generator().manual_seed(0)
    lengths = [9, 5, 12, 2, 7, 11]
    return [torch.randint(2, 30, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, D), nn.Tanh(), nn.Linear(D, 4))
    return sn.wrap(net, class_names=["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def points():
    return torch.randn(60, 6, generator=torch.Generator().manual_seed(1))


def captured(model, inputs, point):
    return sn.capture(model, inputs, point, progress=False)


# Reconstruction and sparsity


@pytest.mark.slow
def test_a_perfect_sae_scores_one_and_an_empty_one_its_floor():
    """R² 1 and cosine 1 at one end; with the mean as bias, R² 0 = floor at the other."""
    x = torch.randn(300, D, generator=torch.Generator().manual_seed(0)) + 2
    perfect = sn.evaluate(Signed(), x, **FAST)
    assert perfect["r2"].value == 1
    assert perfect["r2"].interval == (1.0, 1.0)
    assert perfect["l0"].value == D
    assert perfect["dead_fraction"].value == 0
    empty = sn.evaluate(nothing(bias=x.mean(dim=0)), x, **FAST)
    assert empty["r2"].value == pytest.approx(0, abs=1e-6)
    assert empty["r2"].floor == pytest.approx(0, abs=1e-6)
    assert empty["dead_fraction"].value == 1
    assert empty["l0"].value == 0
    for name in ("cosine", "norm_ratio", "fvu", "mse", "r2_per_dimension"):
        assert empty[name].value == pytest.approx(empty[name].floor, abs=1e-5), name


def test_a_topk_sae_is_measured_as_dense_arithmetic_says():
    x = torch.randn(60, D, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.linspace(0.3, 2, D)
    )
    sae = sn.TopK(d_in=D, n_atoms=24, k=3, generator=torch.Generator().manual_seed(0)).eval()
    report = sn.evaluate(sae, x, batch_size=25, **FAST)
    with torch.no_grad():
        z, x_hat = sae.encode(x).to_dense(), sae(x)
    mean = x.mean(dim=0)
    r2 = 1 - (x - x_hat).square().sum() / (x - mean).square().sum()
    assert report["r2"].value == pytest.approx(float(r2), abs=1e-5)
    assert report["fvu"].value == pytest.approx(1 - float(r2), abs=1e-5)
    assert report["l0"].value == pytest.approx(float((z != 0).sum(dim=1).float().mean()))
    assert report["dead_fraction"].value == pytest.approx(float((z == 0).all(dim=0).float().mean()))
    low, high = report["r2"].interval
    assert low < report["r2"].value < high


@pytest.mark.slow
def test_batch_size_changes_no_number():
    x = torch.randn(257, D, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(d_in=D, n_atoms=24, k=3).eval()
    one, other = (sn.evaluate(sae, x, batch_size=size, **FAST) for size in (257, 10))
    for name in one:
        assert other[name].value == pytest.approx(one[name].value, rel=1e-6), name
        if one[name].control is not None:
            assert other[name].control == pytest.approx(one[name].control, rel=1e-4), name


def test_the_control_is_a_random_dictionary_of_the_same_l0():
    """Its R² by dense arithmetic: top-k correlations, one gain, the mean added back."""
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(0)) + 1
    sae = sn.TopK(d_in=D, n_atoms=24, k=3).eval()
    report = sn.evaluate(sae, x, seed=7, **FAST)
    mean = x.double().mean(dim=0).float()
    rows = torch.randn(24, D, generator=chance_generator(7))
    rows = rows / rows.norm(dim=1, keepdim=True)
    u = (x - mean) @ rows.T
    k = round(report["l0"].value)
    z = torch.zeros_like(u).scatter(
        1, u.topk(k, dim=1).indices, u.topk(k, dim=1).values.clamp_min(0)
    )
    y = z @ rows
    gain = float(((x - mean) * y).sum() / y.square().sum())
    r2 = 1 - float((x - mean - gain * y).square().sum() / (x - mean).square().sum())
    assert report["r2"].control == pytest.approx(r2, abs=1e-4)
    assert report["dead_fraction"].control == pytest.approx(
        float((z == 0).all(dim=0).float().mean())
    )


def test_the_random_dictionary_takes_signs_where_the_sae_has_them():
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(0))
    mean = torch.zeros(D)
    plain = RandomDictionary(D, 16, 2, mean=mean).encode(x)
    signed = RandomDictionary(D, 16, 2, mean=mean, signed=True).encode(x)
    assert bool((plain.values >= 0).all())
    assert bool((signed.values < 0).any())
    assert signed.values.abs().sum() >= plain.values.abs().sum()


def test_the_gain_of_random_atoms_is_least_squares_by_hand() -> None:
    """Rows (3 1) and (1 5) around the mean (1 1): atoms (1 0) and (.6 .8) give 2 and 3.2, of which γ is kept."""
    random = RandomDictionary(2, 2, 1, mean=torch.ones(2))
    random.dictionary = torch.tensor([[1.0, 0], [0.6, 0.8]])
    x = torch.tensor([[3.0, 1.0], [1.0, 5.0]])
    codes = random.encode(x)
    assert codes.to_dense().tolist() == [[2, 0], [0, pytest.approx(3.2)]]
    # 2 · (1 0) against (2 0), 3.2 · (.6 .8) against (0 4): inner 4 + 10.24, power 4 + 10.24.
    assert random.fit(x).gain == pytest.approx(1)
    random.dictionary = torch.tensor(
        [[1.0, 0], [2.0, 0]]
    )  # the second proposes 4 · (2 0) for (2 0)
    scaled = random.fit_codes(x[:1], random.encode(x[:1]))
    assert random.gain == pytest.approx(16 / 64)
    assert scaled.to_dense().tolist() == [[0, pytest.approx(1)]]
    assert random.decode(scaled).tolist() == [[pytest.approx(3), pytest.approx(1)]]


@pytest.mark.slow
def test_intervals_resample_samples_not_rows():
    x = torch.randn(60, D, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(d_in=D, n_atoms=24, k=2).eval()
    repeated = sn.Activations.from_tensor(
        x.repeat_interleave(10, dim=0), sample=torch.arange(60).repeat_interleave(10)
    )
    one = sn.evaluate(sae, x, n_bootstrap=500)["r2"].interval
    ten = sn.evaluate(sae, repeated, n_bootstrap=500)["r2"].interval
    rows = sn.evaluate(sae, repeated.x, n_bootstrap=500)["r2"].interval
    assert ten == pytest.approx(one, abs=1e-6)
    assert rows[1] - rows[0] < 0.5 * (one[1] - one[0])


# Splicing into a language model


@pytest.mark.slow
def test_a_perfect_sae_recovers_everything_and_an_empty_one_nothing(gpt, texts):
    """CE recovered 1, ΔCE 0, KL 0; with x̂ = 0 the spliced model is the zero-ablated one."""
    acts = captured(gpt, texts, "resid_post.0")
    perfect = sn.evaluate(Signed(), acts, gpt, texts, **FAST)
    assert perfect["ce_recovered"].value == 1
    assert perfect["ce_recovered_mean"].value == 1
    assert perfect["delta_ce"].value == 0
    assert perfect["kl"].value == 0
    assert perfect["agreement"].value == 1
    zero = sn.evaluate(nothing(), acts, gpt, texts, **FAST)
    assert zero["ce_recovered"].value == pytest.approx(0, abs=1e-9)
    assert zero["kl_score"].value == pytest.approx(0, abs=1e-9)
    assert zero["ce"].value == pytest.approx(zero["ce_zero"].value)
    mean = sn.evaluate(nothing(bias=acts.x.mean(dim=0)), acts, gpt, texts, **FAST)
    assert mean["ce_recovered_mean"].value == pytest.approx(0, abs=1e-4)
    assert mean["ce_recovered"].value == pytest.approx(mean["ce_recovered"].floor, abs=1e-4)
    assert mean["delta_ce"].value == pytest.approx(mean["delta_ce"].floor, abs=1e-4)


def by_hand(model, texts, edit) -> tuple[float, float, int]:
    """CE and KL of a spliced model, text by text without padding, first position untouched."""
    ce, kl, n = 0.0, 0.0, 0
    block = model.module.transformer.h[0]
    for ids in texts:
        tokens = torch.tensor([ids])
        with torch.no_grad():
            clean = model.module(tokens).logits[0].double()

            def hook(_module, _args, output):
                return torch.cat((output[:, :1], edit(output[:, 1:])), dim=1)

            handle = block.register_forward_hook(hook)
            logits = model.module(tokens).logits[0].double()
            handle.remove()
        p, log_q = clean.softmax(-1)[:-1], logits.log_softmax(-1)[:-1]
        ce += float(F.cross_entropy(logits[:-1], tokens[0, 1:], reduction="sum"))
        kl += float((p * (p.log() - log_q)).sum())
        n += len(ids) - 1
    return ce / n, kl / n, n


def test_losses_equal_those_of_a_loop_over_single_texts(gpt, texts):
    """Padding, batching, masking and fp32 log-softmax add nothing to the plain definition."""
    sae, texts = Signed(by=0.7), texts[:3]
    acts = captured(gpt, texts, "resid_post.0")
    report = sn.evaluate(sae, acts, gpt, texts, model_batch_size=2, **FAST)
    mean = acts.x.mean(dim=0)
    clean, _, n = by_hand(gpt, texts, lambda x: x)
    spliced, kl, _ = by_hand(gpt, texts, sae)
    zero, kl_zero, _ = by_hand(gpt, texts, torch.zeros_like)
    ablated, kl_mean, _ = by_hand(gpt, texts, lambda x: mean.expand_as(x))
    expected = {
        "ce_clean": clean,
        "ce": spliced,
        "ce_zero": zero,
        "delta_ce": spliced - clean,
        "kl": kl,
        "kl_score": (kl_zero - kl) / kl_zero,
        "ce_recovered": (zero - spliced) / (zero - clean),
        "ce_recovered_mean": (ablated - spliced) / (ablated - clean),
    }
    for name, value in expected.items():
        assert report[name].value == pytest.approx(value, abs=2e-5), name
        assert report[name].n == n
    assert report["kl"].floor == pytest.approx(kl_mean, abs=2e-5)
    assert report["ce"].floor == pytest.approx(ablated, abs=2e-5)
    assert report["ce_recovered"].floor == pytest.approx(
        (zero - ablated) / (zero - clean), abs=1e-4
    )
    assert report.provenance["passed_through"] == ["padding", "first tokens"]
    assert report.provenance["n_spliced"] == n


def test_first_tokens_are_spliced_where_they_were_captured(gpt, texts):
    acts = sn.capture(gpt, texts, "resid_post.0", drop_first=False, progress=False)
    report = sn.evaluate(Signed(), acts, gpt, texts, **FAST)
    assert report.provenance["passed_through"] == ["padding"]
    assert report.provenance["n_spliced"] == sum(map(len, texts))


def test_the_samples_of_the_activations_are_the_default_inputs(gpt, texts):
    acts = captured(gpt, texts, "resid_post.0")
    _, held_out = acts.split(0.5, seed=0)
    chosen = [texts[i] for i in held_out.sample.unique()]
    given = sn.evaluate(Signed(by=0.5), held_out, gpt, chosen, **FAST)
    default = sn.evaluate(Signed(by=0.5), held_out, gpt, **FAST)
    assert default["ce"].value == pytest.approx(given["ce"].value, abs=1e-6)
    assert default["ce"].n == sum(len(t) - 1 for t in chosen)


def test_splicing_leaves_the_model_as_it_was(gpt, texts):
    before = gpt(texts)
    sn.evaluate(Signed(by=0.5), captured(gpt, texts, "resid_post.0"), gpt, texts, **FAST)
    assert gpt.interventions == []
    assert torch.equal(gpt(texts).nan_to_num(), before.nan_to_num())


# Splicing into other models


def test_labels_give_accuracy_and_cross_entropy(classifier, points):
    acts = captured(classifier, points, "1")
    labels = classifier(points).argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 4
    sae = Signed(by=0.4)
    report = sn.evaluate(sae, acts, classifier, points, labels, **FAST)
    head, x = classifier.module[2], acts.x
    variants = {"clean": x, "spliced": sae(x), "zero": 0 * x, "mean": x.mean(dim=0).expand_as(x)}
    with torch.no_grad():
        logits = {name: head(v) for name, v in variants.items()}
    ce = {name: float(F.cross_entropy(v, labels)) for name, v in logits.items()}
    hits = {name: float((v.argmax(1) == labels).float().mean()) for name, v in logits.items()}
    assert report["accuracy_clean"].value == pytest.approx(48 / 60)
    assert report["accuracy"].value == pytest.approx(hits["spliced"])
    assert report["accuracy"].floor == pytest.approx(hits["mean"])
    expected = (ce["zero"] - ce["spliced"]) / (ce["zero"] - ce["clean"])
    assert report["ce_recovered"].value == pytest.approx(expected, abs=1e-4)
    expected = (hits["spliced"] - hits["mean"]) / (hits["clean"] - hits["mean"])
    assert report["accuracy_recovered_mean"].value == pytest.approx(expected, abs=1e-5)
    assert report["ce"].definition == "ce_labels"


def test_without_labels_class_probabilities_are_compared(classifier, points):
    acts = captured(classifier, points, "1")
    report = sn.evaluate(Signed(by=0.4), acts, classifier, points, **FAST)
    with torch.no_grad():
        clean = classifier.module[2](acts.x).log_softmax(1)
        spliced = classifier.module[2](Signed(by=0.4)(acts.x)).log_softmax(1)
    kl = float((clean.exp() * (clean - spliced)).sum(dim=1).mean())
    assert report["kl"].value == pytest.approx(kl, abs=1e-5)
    assert "ce_recovered" not in report
    perfect = sn.evaluate(Signed(), acts, classifier, points, **FAST)
    assert perfect["kl"].value == 0
    assert perfect["agreement"].value == 1


def test_encoders_are_scored_by_their_output_vectors():
    """A model without classes: cosine of clean and spliced outputs, 1 for a perfect SAE."""
    torch.manual_seed(0)
    model = sn.wrap(nn.Sequential(nn.Linear(6, D), nn.Tanh(), nn.Linear(D, 5)))
    points = torch.randn(30, 6)
    acts = captured(model, points, "1")
    perfect = sn.evaluate(Signed(), acts, model, points, **FAST)
    assert perfect["output_cosine"].value == pytest.approx(1, abs=1e-6)
    assert perfect["cosine_recovered"].value == pytest.approx(1, abs=1e-6)
    empty = sn.evaluate(nothing(), acts, model, points, **FAST)
    assert empty["cosine_recovered"].value == pytest.approx(0, abs=1e-6)
    sae = Signed(by=0.5)
    report = sn.evaluate(sae, acts, model, points, **FAST)
    with torch.no_grad():
        expected = F.cosine_similarity(model.module[2](acts.x), model.module[2](sae(acts.x)), dim=1)
    assert report["output_cosine"].value == pytest.approx(float(expected.mean()), abs=1e-5)
    assert report["output_cosine"].unit == "outputs"


def test_an_ablation_without_effect_leaves_recovery_undefined(points):
    """Where zero ablation costs nothing there is nothing to recover, and the report says so."""

    class Ignores(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.head = nn.Linear(6, D), nn.Linear(6, 3)

        def forward(self, x):
            self.unused(x)
            return self.head(x)

    torch.manual_seed(0)
    model = sn.wrap(Ignores(), class_names=["a", "b", "c"])
    acts = captured(model, points, "unused")
    report = sn.evaluate(Signed(), acts, model, points, torch.zeros(60, dtype=torch.long), **FAST)
    assert math.isnan(report["ce_recovered"].value)
    assert report["delta_ce"].value == 0
    assert "undefined" in repr(report)


# The record


@pytest.fixture(scope="module")
def report():
    x = torch.randn(120, D, generator=torch.Generator().manual_seed(0))
    return sn.evaluate(sn.TopK(d_in=D, n_atoms=16, k=2).eval(), x, **FAST)


def test_a_measurement_compares_as_its_number_and_keeps_what_belongs_to_it(report):
    """Also against another of its kind, and one of a kind with fields of its own; a copy keeps every field."""
    one = report.r2
    other = replace(one, n=1, floor=None)
    assert one == other == one.value
    assert (one != other) is False
    assert hash(one) == hash(other) == hash(one.value)
    assert one != replace(one, value=0.25)
    told = Identifiability.of(one, factors=())
    assert told == one == told.value
    assert len({told, one, one.value}) == 1
    for copied in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        kept = {name: vars(copied)[name] for name in vars(one) if name != "seconds"}
        assert kept == {name: value for name, value in vars(one).items() if name != "seconds"}
        assert copied + 0 == one.value
    for computed in (one + 0, one - other, -one, abs(one), round(one, 2), sum([one, other])):
        assert type(computed) is float
    assert max(one, 2 * one - 5) is one


def test_a_report_in_full_does_not_speak_of_further_rows(report):
    hidden = len(report) - len(report._printed())
    assert hidden > 0
    assert report._notes()[0].startswith(f"… and {hidden} more rows")
    assert report.all._notes() == list(report.cautions)


@pytest.mark.parametrize(
    ("vocabulary", "context", "at_once", "cut"),
    [
        (100, 64, 16, None),
        (2**17, 128, 8, None),
        (2**17, 2**12, 1, None),  # 2²⁹ numbers are not too many
        (2**17, 2**12 + 1, 1, 1024),
        (2**28, 8, 1, 1),
    ],
)
def test_a_batch_holds_half_a_gigabyte_of_logits(vocabulary, context, at_once, cut):
    """2²⁷ numbers: texts side by side, at most 16, of 1024 tokens at most; a longer one is cut."""
    text = SimpleNamespace(is_text=True)
    model = SimpleNamespace(modality=text, vocabulary_size=vocabulary, context_length=context)
    assert (_batch_size(model), _longest(model)) == (at_once, cut)
    assert _batch_size(SimpleNamespace(modality=SimpleNamespace(is_text=False))) == 64


def test_rows_about_the_output_are_shares_of_what_an_ablation_costs():
    """Of means 2 clean, 6 or 5 ablated and 3 spliced, and their like; without a cost there is no share."""
    of = {
        "ce": {"clean": 2.0, "zero": 6.0, "mean": 5.0, "spliced": 3.0},
        "kl": {"zero": 4.0, "mean": 3.0, "spliced": 1.0},
        "accuracy": {"clean": 0.9, "zero": 0.1, "mean": 0.3, "spliced": 0.7},
        "cosine": {"clean": 1.0, "zero": 0.2, "mean": 0.5, "spliced": 0.8},
        "agreement": {"spliced": 0.6},
    }
    expected = {
        "kl": 1, "kl_score": 3 / 4, "agreement": 0.6,
        "ce_recovered": 3 / 4, "ce_recovered_mean": 2 / 3, "delta_ce": 1,
        "ce": 3, "ce_clean": 2, "ce_zero": 6,
        "accuracy_recovered": 3 / 4, "accuracy_recovered_mean": 2 / 3,
        "accuracy": 0.7, "accuracy_clean": 0.9, "accuracy_zero": 0.1,
        "output_cosine": 0.8, "cosine_recovered": 3 / 4,
    }  # fmt: skip
    formulas = {name: row for rows in _ROWS.values() for name, (_, row) in rows.items()}
    found = {
        name: float(row(lambda quantity, variant: of[quantity][variant], "spliced"))
        for name, row in formulas.items()
    }
    assert found == pytest.approx(expected)
    for name in ("ce_recovered", "kl_score"):
        assert np.isnan(formulas[name](lambda quantity, variant: 0.0, "spliced"))


def test_next_tokens_are_scored_where_there_is_one():
    """Tokens 2 0 1 and padding: what comes next has ¼ and ½, spliced ½ and ¼; another class leads once."""
    batch = SimpleNamespace(
        has_next=lambda: torch.tensor([[True, True, False, False]]),
        token_ids=torch.tensor([[2, 0, 1, 0]]),
    )
    clean = torch.tensor([[[0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [1.0, 1, 1], [1.0, 1, 1]]]).log()
    spliced = torch.tensor([[[0.5, 0.25, 0.25], [0.3, 0.4, 0.3], [1.0, 1, 1], [1.0, 1, 1]]]).log()
    n, sums = _next_token(clean, batch, None)
    found = {name: value.tolist() for name, value in sums(spliced).items()}
    assert n.tolist() == [2]
    assert found["ce"] == pytest.approx([math.log(2) - math.log(0.4)])
    first, second = 0.25 * math.log(2), 0.5 * math.log(0.25 / 0.3) + 0.5 * math.log(0.5 / 0.4)
    assert found["kl"] == pytest.approx([first + second])
    assert found["agreement"] == [1]


def test_rows_that_were_trained_on_are_counted():
    """Ten of twenty; the same numbers in another order are another row."""
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    acts = sn.Activations.from_tensor(x[20:])
    with pytest.warns(UserWarning, match=r"50\.0% of the 20 rows"):
        assert warn_if_trained_on(acts, x[:30]) == 0.5
    assert warn_if_trained_on(acts, x[:20]) == 0
    assert warn_if_trained_on(acts, x[20:].flip(1)) == 0
    assert warn_if_trained_on(acts, None) is None


def test_divergence_of_three_classes_by_hand():
    """½ ln 2 + ½ ln ⅔, and a class that the clean model rules out adds nothing."""
    clean = torch.tensor([[0.5, 0.5, 0.0]]).log().expand(2, 3, 3)
    other = torch.tensor([[0.25, 0.75, 0.0]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    torch.testing.assert_close(_kl(clean, other), torch.full((2, 3), expected))


def test_what_is_zero_to_rounding_is_printed_as_zero():
    """Against the largest number of its measurement: a floor of −5e−8 under 0.9, not a value of 5e−8 alone."""
    row = Measurement(
        value=0.9,
        floor=-5.102e-08,
        control=4e-5,
        interval=(-3e-8, 0.95),
        definition="ev_rowwise",
        n=3,
        unit="rows",
    )
    assert str(row) == "Measurement(ev_rowwise 0.9 [0, 0.95], floor 0, control 4e-05; 3 rows)"
    assert row.floor == -5.102e-08
    shown = str(Report({"ev": row}, {}))
    assert "e-08" not in shown
    assert "0 … 0.95" in shown
    small = replace(row, value=5e-8, floor=4e-8, control=None, interval=(3e-8, 6e-8))
    assert "5e-08 [3e-08, 6e-08], floor 4e-08" in str(small)


def test_names_are_inert_in_html():
    row = Measurement(
        value=1.0,
        floor=None,
        control=None,
        interval=(math.nan, math.nan),
        definition="r2_pooled",
        n=3,
        unit="<b>rows</b>",
    )
    html = Report({"<script>alert(1)</script>": row}, {"model": "<script>"})._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html


# What is refused

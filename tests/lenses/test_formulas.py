"""Every number of a lens against its formula, in plain torch, on networks of a few numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

import sae_nb as sn
from sae_nb.lenses import _fitting, _jacobian, _lens, measured_effects
from sae_nb.lenses._attaching import layer_of
from sae_nb.lenses._checking import _chosen, scored
from sae_nb.lenses._head import _before, _is_close, direct_head, head_of, pooled
from sae_nb.lenses._reading import compare_all, reading_of, rows_at_once
from sae_nb.lenses._rows import Rows, kind_at, rows_of
from tests.left_out import numbers_left_out

PROMPTS = [[1, 5, 9, 3, 7, 2, 8], [4, 4, 6, 11, 30, 12]]


@pytest.fixture(scope="module")
def gpt() -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=3, n_embd=12, n_head=2, vocab_size=40, n_positions=16, **special)
    module = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    return sn.wrap(module, name="small")


@pytest.fixture(scope="module")
def vit() -> Any:
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        image_size=(8, 12), patch_size=4, num_labels=5,
    )  # fmt: skip
    module = ViTForImageClassification(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    return sn.wrap(module, name="small-vit")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def streams(blocks: Any, ask: Callable[[], Any]) -> list[torch.Tensor]:
    """The states after each block, by plain hooks."""
    kept: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in blocks
    ]
    ask()
    for hook in hooks:
        hook.remove()
    return kept


def of_gpt(gpt: Any, prompt: list[int]) -> list[torch.Tensor]:
    return streams(gpt.module.transformer.h, lambda: gpt.module(torch.tensor([prompt])))


def of_vit(vit: Any, image: torch.Tensor) -> list[torch.Tensor]:
    return streams(vit.module.vit.layers, lambda: vit.module(image[None]))


def gpt_logits(gpt: Any, x: torch.Tensor) -> torch.Tensor:
    return F.linear(gpt.module.transformer.ln_f(x), gpt.module.lm_head.weight).detach()


def vit_logits(vit: Any, x: torch.Tensor) -> torch.Tensor:
    return vit.module.classifier(vit.module.vit.layernorm(x)).detach()


def kl(own: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    own, seen = own.log_softmax(-1), seen.log_softmax(-1)
    return (own.exp() * (own - seen)).sum(-1)


@pytest.mark.parametrize(
    ("at_once", "copies"), [(300_000, 8), (8 * 7 * 8 - 1, 4), (3 * 7 * 8, 3), (1, 1)]
)
def test_maps_of_images_are_those_of_each_kind_of_place(
    vit: Any, images: torch.Tensor, at_once: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the class head reads is cls; of sources the mean over patches, and cls. In one pass, or in several."""
    asked, repeated = [], _jacobian.repeated
    monkeypatch.setattr(_jacobian, "NUMBERS_AT_ONCE", at_once)
    monkeypatch.setattr(_jacobian, "repeated", lambda x, n: repeated(x, asked.append(n) or n))
    lens = sn.fit_lens(vit, images, progress=False)
    assert asked == [copies] * 3
    wanted, each = torch.zeros(2, 2, 8, 8), []
    for image in images:
        *layers, last = of_vit(vit, image)
        one = torch.zeros(2, 2, 8, 8)
        for row in range(8):
            slopes = torch.autograd.grad(last[0, 0, row], layers, retain_graph=True)
            for i, slope in enumerate(slopes):
                one[i, 0, row], one[i, 1, row] = slope[0, 0], slope[0, 1:].mean(dim=0)
        wanted += one / 3
        each.append(one.flatten(1))
    torch.testing.assert_close(lens.maps, wanted, atol=1e-5, rtol=1e-3)
    halves = F.cosine_similarity(each[0] + each[2], each[1], dim=1)
    assert lens.curve["n"].tolist() == [1, 2, 3]
    assert np.isnan(lens.curve["layer 0"][0])
    assert lens.curve.iloc[2, 1:].tolist() == pytest.approx(halves.tolist(), abs=1e-4)
    assert (lens.n_done, lens.n_wanted, lens.partial, lens.counts) == (3, 3, False, (1, 6))
    assert lens.skip_first == 0
    # A direction is added at all places: one cls and six patches.
    directions = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    norm, head = vit.module.vit.layernorm, vit.module.classifier
    for layer in (0, 1):
        moved = directions @ (wanted[layer, 0] + 6 * wanted[layer, 1]).T
        effect = ((moved - moved.mean(dim=1, keepdim=True)) * norm.weight) @ head.weight.T
        torch.testing.assert_close(
            lens.effects(directions, layer), effect.detach(), atol=1e-4, rtol=1e-3
        )
    row = head.weight[3] * norm.weight
    reads = (row - row.mean()) @ (wanted[1, 0] + 6 * wanted[1, 1])
    torch.testing.assert_close(lens.direction(3, 1), reads.detach(), atol=1e-4, rtol=1e-3)
    # At the last block the head reads cls alone.
    last = ((directions - directions.mean(dim=1, keepdim=True)) * norm.weight) @ head.weight.T
    torch.testing.assert_close(lens.effects(directions, 2), last.detach(), atol=1e-5, rtol=1e-4)
    assert lens.matrix(2).tolist() == [torch.eye(8).tolist()] * 2
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match="between 0 and 4"):
            lens.direction(wrong, 1)
    # States are moved by the map of their kind.
    x, kind = torch.randn(3, 8), torch.tensor([1, 0, 1])
    by_hand = torch.stack([wanted[1, k] @ one for k, one in zip(kind, x, strict=True)])
    torch.testing.assert_close(lens._moved(1, x, kind), by_hand, atol=1e-4, rtol=1e-3)


def test_kinds_of_places_follow_the_prefix() -> None:
    position = torch.arange(6)
    assert kind_at(("token",), position, 0).tolist() == [0] * 6
    assert kind_at(("patches",), position, 0).tolist() == [0] * 6
    assert kind_at(("cls", "patches"), position, 1).tolist() == [0, 1, 1, 1, 1, 1]
    assert kind_at(("cls", "registers", "patches"), position, 3).tolist() == [0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", ["gpt", "vit"])
def test_a_tuned_lens_is_adams(name: str, request: pytest.FixtureRequest) -> None:
    """Of one sample trained on and measured: Adam on KL(model ‖ lens), at a rate that falls to zero."""
    model = request.getfixturevalue(name)
    if name == "gpt":
        inputs: Any = PROMPTS[:1]
        states, places = [x.detach()[0, 2:6] for x in of_gpt(model, PROMPTS[0])], [0] * 4
        own, d = gpt_logits(model, states[-1]), 12
    else:
        inputs = request.getfixturevalue("images")[:1]
        states, places = [x.detach()[0] for x in of_vit(model, inputs[0])], [0, *[1] * 6]
        own, d = vit_logits(model, states[-1][:1]).expand(7, -1), 8
    steps, rate, seed = 3, 0.05, 2
    lens = sn.fit_lens(
        model, inputs, "tuned", steps=steps, learning_rate=rate, rows_per_step=3, seed=seed,
        skip_first=2, progress=False,
    )  # fmt: skip
    kind, n_kinds = torch.tensor(places), max(places) + 1
    start, end = [], []
    for layer in (0, 1):
        maps = torch.zeros(n_kinds, d, d + 1, requires_grad=True)

        def change(
            which: torch.Tensor, x: torch.Tensor = states[layer], maps: torch.Tensor = maps
        ) -> torch.Tensor:
            rows = [
                x[i] + maps[kind[i], :, :-1] @ x[i] + maps[kind[i], :, -1] for i in which.tolist()
            ]
            return torch.stack(rows)

        def answer(x: torch.Tensor) -> torch.Tensor:
            if name == "gpt":
                return F.linear(model.module.transformer.ln_f(x), model.module.lm_head.weight)
            return model.module.classifier(model.module.vit.layernorm(x))

        every = torch.arange(len(kind))
        start.append(float(kl(own, answer(states[layer])).mean().detach()))
        adam = torch.optim.Adam([maps], lr=rate)
        for step in range(steps):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            which = torch.randint(len(kind), (3,), generator=generator)
            adam.param_groups[0]["lr"] = rate * (1 - step / steps)
            adam.zero_grad()
            loss = kl(own[which], answer(change(which))).mean()
            (maps.grad,) = torch.autograd.grad(loss, maps)
            adam.step()
        end.append(float(kl(own, answer(change(every))).mean().detach()))
        found = maps.detach()
        assert lens.maps is not None
        assert lens.offsets is not None
        torch.testing.assert_close(
            lens.maps[layer], found[..., :-1] + torch.eye(d), atol=2e-4, rtol=0
        )
        torch.testing.assert_close(lens.offsets[layer], found[..., -1], atol=2e-4, rtol=0)
        x = states[layer][every]
        torch.testing.assert_close(
            lens._moved(layer, x, kind), change(every).detach(), atol=1e-3, rtol=1e-3
        )
    assert lens.curve["n"].tolist() == [0, 3]
    assert lens.curve.iloc[0, 1:].tolist() == pytest.approx(start, rel=1e-3)
    assert lens.curve.iloc[1, 1:].tolist() == pytest.approx(end, rel=1e-2)
    assert (lens.n_done, lens.n_wanted) == (3, 3)


def rows(n: int, layers: int, d: int = 12) -> Rows:
    generator = torch.Generator().manual_seed(5)
    return Rows(
        states=torch.randn(layers, n, d, generator=generator),
        last=torch.randn(n, d, generator=generator), sample=torch.arange(n) // 4,
        position=torch.arange(n) % 4, kind=torch.zeros(n, dtype=torch.int64),
        token=torch.arange(n) % 40,
    )  # fmt: skip


def test_rows_without_a_hook_point_are_those_of_the_answer(gpt: Any) -> None:
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    found = rows_of(head, PROMPTS, [], skip_first=None)
    assert found.states.shape == (0, 13, 12)
    assert found.position.tolist() == [*range(7), *range(6)]
    wanted = torch.cat([of_gpt(gpt, prompt)[-1][0] for prompt in PROMPTS])
    torch.testing.assert_close(found.last, wanted)


@pytest.mark.parametrize(
    ("order", "found"), [("abcd", "bc"), ("bacd", "c"), ("abc", ""), ("bcd", "")]
)
def test_layers_of_a_head_run_between_the_blocks_and_the_projection(order: str, found: str) -> None:
    """The blocks are in a, the projection is d; one that does not run has none before it."""
    parent = torch.nn.ModuleDict(
        {name: torch.nn.Sequential(torch.nn.Identity()) for name in "abcd"}
    )

    def forward(batch: torch.Tensor) -> None:
        for name in order:
            parent[name](batch)

    model: Any = SimpleNamespace(
        lock=nullcontext(), forward=forward, structure=SimpleNamespace(blocks="a.0"),
        get_module=parent.get_submodule,
    )  # fmt: skip
    layers = _before(model, torch.zeros(1), parent, parent["d"])  # type: ignore[arg-type]
    assert [*map(id, layers)] == [id(parent[name]) for name in found]


def test_answers_are_compared_by_place_and_layer(gpt: Any) -> None:
    """More rows than are held at once; top, probability, divergence and rank of each."""
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    assert rows_at_once(head) == 128
    some = rows(131, 3)
    own = gpt_logits(gpt, some.last).log_softmax(-1)
    for layer, found in enumerate(compare_all(head, list(some.states), some, k=2)):
        seen = gpt_logits(gpt, some.states[layer]).log_softmax(-1)
        answer = own.argmax(dim=1)
        assert found.own.tolist() == answer.tolist()
        torch.testing.assert_close(found.own_probability, own.max(dim=1).values.exp())
        assert found.top.tolist() == seen.topk(2).indices.tolist()
        torch.testing.assert_close(found.probability, seen.topk(2).values.exp())
        torch.testing.assert_close(found.kl, kl(own, seen), atol=1e-5, rtol=1e-4)
        above = [int((seen[i] > seen[i, answer[i]]).sum()) for i in range(131)]
        assert found.rank.tolist() == above


def test_a_reading_is_a_table_of_its_comparisons(gpt: Any) -> None:
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    some = rows(6, 2)
    found = compare_all(head, [some.last, *some.states], some, k=2)
    reading = reading_of(head, "logit", (0, 2, 5), some, [found[1], found[0], found[2]])
    assert reading.agreement[1] == 1
    agrees = [(one.top[:, 0] == one.own).tolist() for one in (found[1], found[0], found[2])]
    for i in range(6):
        first = -1
        for layer, agreed in zip((5, 2, 0), agrees[::-1], strict=True):
            if not agreed[i]:
                break
            first = layer
        assert reading.settles[i] == first
    assert reading.tokens == ("0", "1", "2", "3", "4", "5")
    table = reading.table
    assert table["layer"].tolist() == [0] * 6 + [2] * 6 + [5] * 6
    assert table["sample"].tolist() == [0, 0, 0, 0, 1, 1] * 3
    assert table["position"].tolist() == [0, 1, 2, 3, 0, 1] * 3
    assert table["token"].tolist() == [*"012345"] * 3
    assert table["top"].tolist()[6:12] == [str(i) for i in found[0].own.tolist()]
    assert table["answer"].tolist() == [str(i) for i in found[0].own.tolist()] * 3
    likely = np.stack([one.probability[:, 0].numpy() for one in (found[1], found[0], found[2])])
    np.testing.assert_array_equal(table["probability"], likely.ravel())
    grid = reading.grid(1)
    assert grid.index.tolist() == [5, 2, 0]
    assert grid.columns.tolist() == ["4", "5"]
    assert grid.iloc[0].tolist() == [str(i) for i in found[2].top[4:, 0].tolist()]
    with pytest.raises(IndexError, match="one of the 2 that were read"):
        reading.grid(2)
    assert f"agrees {reading.agreement[0]:.2f}, 1.00, " in repr(reading)
    many = tuple(range(17))
    longer = reading_of(head, "logit", many, some, [found[0], *[found[1]] * 15, found[2]])
    least = min(reading.agreement)
    assert f"1.00 at layer 0, {reading.agreement[2]:.2f} at layer 16, at least {least:.2f}" in repr(
        longer
    )


def test_an_effect_is_the_answer_with_a_direction_less_that_without(gpt: Any) -> None:
    """Added at every token after the first two, and the mean over them and over texts."""
    directions = torch.randn(2, 12, generator=torch.Generator().manual_seed(6))
    strengths = [0.5, 2.0]
    wanted = torch.zeros(2, 40)
    block = gpt.module.transformer.h[1]
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            before = gpt.module(ids).logits[0, 2:]
            for i in range(2):

                def add(_m: Any, _i: Any, out: Any, i: int = i) -> Any:
                    x = (out[0] if isinstance(out, tuple) else out).clone()
                    x[:, 2:] += strengths[i] * directions[i]
                    return (x, *out[1:]) if isinstance(out, tuple) else x

                hook = block.register_forward_hook(add)
                wanted[i] += (gpt.module(ids).logits[0, 2:] - before).mean(dim=0) / 2
                hook.remove()
    found = measured_effects(gpt, PROMPTS, "resid_post.1", directions, strengths, skip_first=2)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-3)
    with pytest.raises(ValueError, match="one entry per direction, 2, got 3"):
        measured_effects(gpt, PROMPTS, "resid_post.1", directions, [1, 2, 3])
    # A token after those that are skipped is enough to be measured, one more to be fitted.
    assert measured_effects(gpt, PROMPTS, "resid_post.1", directions, skip_first=5).shape == (2, 40)
    with pytest.raises(ValueError, match="at least 7 tokens"):
        measured_effects(gpt, PROMPTS, "resid_post.1", directions, skip_first=6)
    assert sn.fit_lens(gpt, PROMPTS[1:], progress=False).skip_first == 4
    with pytest.raises(ValueError, match="at least 7 tokens"):
        sn.fit_lens(gpt, PROMPTS, skip_first=5, progress=False)
    cut = measured_effects(
        gpt, PROMPTS[:1], "resid_post.1", directions, skip_first=2, context_length=4
    )
    short = measured_effects(gpt, [PROMPTS[0][:4]], "resid_post.1", directions, skip_first=2)
    torch.testing.assert_close(cut, short)


def test_a_lens_is_scored_by_its_table(gpt: Any) -> None:
    """Agreement and divergence of the lens, of none, of a constant answer, and at another place."""
    lens = sn.fit_lens(gpt, PROMPTS[:1], skip_first=2, progress=False)
    directions = torch.randn(5, 12, generator=torch.Generator().manual_seed(7))
    found = lens.check(PROMPTS, directions, 1, n_atoms=4, seed=3)
    states = [torch.cat([x[0, 2:-1] for x in one]) for one in zip(
        *(of_gpt(gpt, prompt) for prompt in PROMPTS), strict=True)]  # fmt: skip
    states = [x.detach() for x in states]
    own, n = gpt_logits(gpt, states[-1]), len(states[-1])
    assert found.n_places == n == 7
    generator = torch.Generator().manual_seed(3)
    shift = int(torch.randint(1, n, (), generator=generator))
    other = torch.randperm(n, generator=generator)
    elsewhere = torch.empty_like(other)
    elsewhere[other] = other.roll(shift)
    assert bool((elsewhere != torch.arange(n)).all())
    tops, mean = own.argmax(dim=1), own.softmax(-1).mean(dim=0)
    assert "place" not in found.table
    for layer in (0, 1):
        line = found.table.iloc[layer]
        assert lens.maps is not None
        moved = states[layer] @ lens.maps[layer, 0].T
        for name, x in (("", moved), ("logit ", states[layer]), ("control ", moved[elsewhere])):
            seen = gpt_logits(gpt, x)
            agreed = (seen.argmax(dim=1) == tops).float().mean()
            assert line[f"{name}agreement"] == pytest.approx(float(agreed))
            assert line[f"{name}kl"] == pytest.approx(float(kl(own, seen).mean()), rel=1e-3)
        assert line["floor agreement"] == pytest.approx(int(tops.bincount().max()) / n)
        floor = float(kl(own, mean.log()).mean())
        assert line["floor kl"] == pytest.approx(floor, rel=1e-4)
    # Four of the directions, then as many random ones of the same lengths.
    generator = torch.Generator().manual_seed(3)
    which = torch.randperm(5, generator=generator)[:4]
    drawn = torch.randn(4, 12, generator=generator)
    same = drawn / drawn.norm(dim=1, keepdim=True) * directions[which].norm(dim=1, keepdim=True)
    strength = 0.3 * float(states[1].norm(dim=1).median()) / directions[which].norm(dim=1)
    atoms = found.atoms
    assert atoms is not None
    assert atoms["direction"].tolist() == [
        *map(str, which.tolist()), "random 0", "random 1", "random 2", "random 3",
    ]  # fmt: skip
    assert atoms["kind"].tolist() == ["direction"] * 4 + ["random"] * 4
    assert atoms["strength"].tolist() == pytest.approx(strength.tolist() * 2, rel=1e-4)
    added = torch.cat([directions[which], same])
    truth = measured_effects(
        gpt, PROMPTS, "resid_post.1", added, atoms["strength"].tolist(), skip_first=2
    )
    for name, guess in (("", lens.effects(added, 1)), ("logit ", lens.effects(added, 2))):
        for i in range(8):
            wanted = spearmanr(guess[i], truth[i]).statistic
            assert atoms[f"{name}correlation"][i] == pytest.approx(wanted, abs=2e-3)
            best = set(guess[i].topk(10).indices.tolist()) & set(truth[i].topk(10).indices.tolist())
            assert atoms[f"{name}hits"][i] == pytest.approx(len(best) / 10)
            assert atoms[f"{name}top"][i] == (int(guess[i].argmax()) == int(truth[i].argmax()))
    means = found.atoms_by_kind
    assert means.loc["random", "hits"] == pytest.approx(atoms["hits"][4:].mean())
    score = lens.with_score(found).facts["scores"]["1"]
    assert score["n"] == 4
    assert score["correlation"] == pytest.approx(atoms["correlation"][:4].mean())
    assert score["direct"] == pytest.approx(atoms["logit correlation"][:4].mean())
    assert score["random"] == pytest.approx(atoms["correlation"][4:].mean())
    assert f"agreement at block 1 {found.table['agreement'][1]:.2f}" in found.words


def test_atoms_are_measured_at_their_largest_codes(gpt: Any) -> None:
    torch.manual_seed(2)
    sae = sn.ReLU(12, 6)
    sae.hook_point = "resid_post.1"
    lens = sn.fit_lens(gpt, PROMPTS[:1], "logit", skip_first=2, progress=False)
    atoms = lens.check(PROMPTS, sae, n_atoms=3).atoms
    assert atoms is not None
    states = torch.cat([of_gpt(gpt, prompt)[1][0, 2:-1] for prompt in PROMPTS]).detach()
    codes = sae.encode(states).to_dense().detach()
    n = int((atoms["kind"] == "atom").sum())
    assert n == min(3, int((codes.max(dim=0).values > 0).sum()))
    for i in range(n):
        largest = float(codes[:, int(atoms["direction"][i])].max())
        assert largest > 0
        assert atoms["strength"][i] == pytest.approx(largest, rel=1e-4)


def test_a_lens_without_maps_reads_states_as_they_are(gpt: Any) -> None:
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    reading = lens.read(PROMPTS, k=40)
    assert reading.sample.tolist() == [0] * 7 + [1] * 6
    assert reading.position.tolist() == [*range(7), *range(6)]
    assert list(reading.tokens) == [str(i) for prompt in PROMPTS for i in prompt]
    for layer in (0, 1):
        states = torch.cat([of_gpt(gpt, prompt)[layer][0] for prompt in PROMPTS])
        last = torch.cat([of_gpt(gpt, prompt)[2][0] for prompt in PROMPTS])
        own, seen = gpt_logits(gpt, last), gpt_logits(gpt, states)
        assert reading.kl[layer] == pytest.approx(kl(own, seen).numpy(), rel=1e-2, abs=1e-5)
        assert reading.top[layer, :, 0].tolist() == seen.argmax(dim=1).tolist()
        assert reading.top_probability[layer].sum(axis=1) == pytest.approx(np.ones(13))
    _, plain, more = lens.read_with(PROMPTS, ["resid_post.2"], plain_at=[1])
    assert plain.kl[0] == pytest.approx(reading.kl[1], abs=1e-5)
    torch.testing.assert_close(more["resid_post.2"], last.detach(), atol=1e-5, rtol=1e-5)


def test_a_head_may_scale_and_shift_its_answer(gpt: Any) -> None:
    """s · logits + b, capped: c · tanh(· / c)."""
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    x, offset = torch.randn(3, 12), torch.randn(1, 40)
    moved = replace(head, scale=2.5, offset=offset, cap=3.0)
    plain = gpt_logits(gpt, x)
    wanted = 3 * ((2.5 * plain + offset) / 3).tanh()
    torch.testing.assert_close(moved.logits(x), wanted)
    centred = (x - x.mean(dim=1, keepdim=True)) * gpt.module.transformer.ln_f.weight
    direct = 2.5 * centred @ gpt.module.lm_head.weight.T
    torch.testing.assert_close(moved.effects(x), direct.detach(), atol=1e-5, rtol=1e-4)
    assert [head.output(i) for i in (0, 39)] == [0, 39]
    for wrong in (-1, 40):
        with pytest.raises(ValueError, match="between 0 and 39"):
            head.output(wrong)


def test_layers_of_a_lens_are_those_before_the_last(gpt: Any) -> None:
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    assert (lens.layers, lens.blocks, lens.n_layers, lens.d) == ((0, 1), (0, 1, 2), 3, 12)
    assert repr(lens) == "Lens(logit of small: blocks 0 … 1 of 3)"
    one = sn.fit_lens(gpt, PROMPTS, "logit", [1, 1], progress=False)
    assert repr(one) == "Lens(logit of small: block 1)"
    assert one.effects(torch.eye(12)).shape == (12, 40)
    with pytest.raises(ValueError, match="must state where the directions are added"):
        lens.effects(torch.eye(12))
    for layers in ([2], [-1], []):
        with pytest.raises(ValueError, match="between 0 and 1"):
            sn.fit_lens(gpt, PROMPTS, "logit", layers, progress=False)
    for wrong in (torch.eye(11), torch.zeros(0, 12), torch.zeros(1, 2, 12)):
        with pytest.raises(ValueError, match="directions of width 12"):
            lens.effects(wrong, 1)
    part = replace(lens, kind="jacobian", n_done=2, n_wanted=3)
    assert "fitted on 2 samples; partial: stopped at 2 of 3" in repr(part)
    plain = part.plain()
    assert (plain.n_done, plain.n_wanted, plain.partial) == (0, 0, False)


def test_a_lens_of_another_model_is_told_by_its_answers(gpt: Any) -> None:
    """Only one that states no weights is judged, once, and only if it reads much worse than none does."""
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    bad = replace(lens, weights=None, maps=torch.zeros(2, 1, 12, 12))
    head, some = lens.head, rows(8, 3)
    assert head is not None
    plain = kl(gpt_logits(gpt, some.last), gpt_logits(gpt, some.states[2])).mean()
    reading = reading_of(head, "tuned", (0, 1), some, compare_all(head, [some.last] * 2, some, k=1))
    worst = np.stack([np.zeros(8), np.full(8, 2 * float(plain) + 1.01)])
    for one, of, seen in (
        (bad, some, np.stack([worst[1] + 9, worst[1] - 0.02])),
        (replace(bad, weights=lens.weights), some, worst),
        (replace(bad), some.chosen(torch.arange(7)), worst),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one._warn_of_misfit(of, replace(reading, kl=seen))
    again = replace(bad)
    with pytest.warns(UserWarning, match="may be of another model than small: at block 1"):
        again._warn_of_misfit(some, replace(reading, kl=worst))
    again._warn_of_misfit(some, replace(reading, kl=worst))


def test_places_of_images_have_names_and_readings(vit: Any, images: torch.Tensor) -> None:
    reading = sn.fit_lens(vit, images, "logit", progress=False).read(images[:1])
    assert reading.tokens == (
        "cls", "patch 0,0", "patch 0,1", "patch 0,2", "patch 1,0", "patch 1,1", "patch 1,2",
    )  # fmt: skip


def test_a_fit_tells_how_far_it_is(gpt: Any) -> None:
    """The measure is the mean over layers of the curve's last line; NaN where there is none yet."""
    seen: list[Any] = []
    lens = sn.fit_lens(gpt, PROMPTS, skip_first=2, progress=seen.append)
    assert [(one.n_done, one.n_wanted) for one in seen] == [(1, 2), (2, 2)]
    assert np.isnan(seen[0].measure)
    assert seen[1].measure == pytest.approx(lens.curve.iloc[1, 1:].mean())
    assert 0 <= seen[0].seconds <= seen[1].seconds < 60
    steps: list[Any] = []
    tuned = sn.fit_lens(gpt, PROMPTS, "tuned", skip_first=2, steps=11, progress=steps.append)
    assert tuned.curve["n"].tolist() == [0, 10, 11]
    means = tuned.curve.iloc[:, 1:].mean(axis=1).tolist()
    wanted = [means[0]] * 9 + means[1:]
    assert [one.measure for one in steps] == pytest.approx(wanted)


def test_a_fit_is_drawn_at_its_first_middle_and_last_layer(gpt: Any) -> None:
    lens = sn.fit_lens(gpt, PROMPTS, skip_first=2, progress=False)
    five = replace(lens, layers=(0, 1, 2, 3, 4), course=torch.arange(12.0).reshape(2, 6))
    for kind, titles in (
        ("jacobian", ("samples", "agreement of halves")),
        ("tuned", ("steps", "KL to the answer, nats")),
    ):
        drawn = replace(five, kind=kind).plot()
        assert [one.name for one in drawn.data] == ["block 0", "block 2", "block 4"]
        assert [list(one.y) for one in drawn.data] == [[1, 7], [3, 9], [5, 11]]
        assert list(drawn.data[0].x) == [0, 6]
        assert (drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text) == titles


def test_a_lens_of_a_file_without_a_number_of_blocks_takes_the_models(gpt: Any) -> None:
    """Of one layer alone: its model may have more blocks, but not fewer; where all are there, they are counted."""
    lens = sn.fit_lens(gpt, PROMPTS, "logit", [1], progress=False)
    some = replace(lens, n_layers=2, facts={"blocks assumed": True})
    assert some.on(gpt).n_layers == 3
    assert replace(some, layers=(0,), n_layers=1).on(gpt).n_layers == 3
    with pytest.raises(ValueError, match="must have 2 blocks of width 12"):
        replace(some, facts={}).on(gpt)
    with pytest.raises(ValueError, match="must have 2 blocks of width 12"):
        replace(some, layers=(0, 1)).on(gpt)
    with pytest.raises(ValueError, match="must have 4 blocks of width 12"):
        replace(some, n_layers=4).on(gpt)
    with pytest.raises(ValueError, match="must have 3 blocks of width 11"):
        replace(lens, d=11).on(gpt)


def test_a_score_in_words_is_that_of_the_deepest_layer() -> None:
    table = pd.DataFrame(
        {
            "layer": [0, 1, 2],
            "agreement": [0.1, 0.2, 0.3],
            "logit agreement": [0.4, 0.5, 0.6],
            "control agreement": [0.7, 0.8, 0.9],
        }
    )
    found = sn.lenses.LensCheck(kind="logit", model_name="m", n_places=4, table=table)
    assert found.words == "agreement at block 2 0.30 (logit lens 0.60, control 0.90)"
    plain = replace(found, table=table.drop(columns="logit agreement"))
    assert plain.words == "agreement at block 2 0.30 (control 0.90)"
    lines = pd.DataFrame(
        {
            "direction": ["3", "5", "random 0"],
            "kind": ["atom", "atom", "random"],
            "correlation": [0.5, 0.7, 0.1],
            "logit correlation": [0.2, 0.4, 0.05],
        }
    )
    assert replace(found, atoms=lines, layer=2).words.endswith(
        "effects of atoms: rank correlation 0.60 (logit lens 0.30, random directions 0.10)"
    )


def test_an_answer_may_differ_by_its_rounding_alone() -> None:
    """By a thousandth of its largest deviation from the mean; thirty where the model rounds to half precision."""
    for dtype, most, unit in (
        (torch.float32, 3e-3, 1),
        (torch.bfloat16, 9e-2, 1),
        (torch.float32, 3e-3, 2**-10),
    ):
        wanted = unit * torch.tensor([[0.0, 4.0], [1.0, -1.0]])  # 3 from its mean
        for factor in (0.99, -0.99):
            off = torch.tensor([[0.0, 0.0], [0.0, factor * most * unit]])
            assert _is_close(wanted + off, wanted.to(dtype))
            assert not _is_close(wanted + off / 0.9, wanted.to(dtype))
    assert not _is_close(wanted[:1], wanted)


@pytest.mark.parametrize("kind", ["jacobian", "tuned"])
def test_a_killed_fit_continues_to_the_same_bits(kind: Any, gpt: Any, tmp_path: Path) -> None:
    more: dict[str, Any] = {"steps": 4} if kind == "tuned" else {}
    texts = [*PROMPTS, PROMPTS[0][:5]]
    more["skip_first"] = 2
    whole = sn.fit_lens(gpt, texts, kind, progress=False, **more)

    def die(record: Any) -> None:
        if record.n_done == 2:
            raise RuntimeError("killed")

    folder = tmp_path / "lens"
    call = {"store": folder, "checkpoint_every": 1, **more}
    with pytest.raises(RuntimeError, match="killed"):
        sn.fit_lens(gpt, texts, kind, progress=die, **call)
    assert sn.load_lens(folder, gpt).partial
    seen: list[int] = []
    again = sn.fit_lens(gpt, texts, kind, progress=lambda r: seen.append(r.n_done), **call)
    assert seen[0] == 2
    assert not again.partial
    assert torch.equal(again.maps, whole.maps)
    assert torch.equal(sn.load_lens(folder, gpt).maps, whole.maps)
    with pytest.raises(ValueError, match="inputs differ"):
        sn.fit_lens(gpt, PROMPTS[:1], kind, progress=False, **call)


def test_frozen_weights_give_the_same_maps(gpt: Any) -> None:
    """A model loaded for inference alone has a lens, too."""
    lens = sn.fit_lens(gpt, PROMPTS, skip_first=2, progress=False)
    gpt.module.requires_grad_(False)
    try:
        frozen = sn.fit_lens(gpt, PROMPTS, skip_first=2, progress=False)
    finally:
        gpt.module.requires_grad_(True)
    assert torch.equal(frozen.maps, lens.maps)


def test_an_effect_on_images_is_that_of_every_place(vit: Any, images: torch.Tensor) -> None:
    """Added at cls and all patches; the change of the class logits, mean over images."""
    directions = torch.randn(2, 8, generator=torch.Generator().manual_seed(8))
    wanted = torch.zeros(2, 5)
    with torch.no_grad():
        for i in range(2):
            before = vit.module(images).logits
            hook = vit.module.vit.layers[1].register_forward_hook(
                lambda _m, _i, out, i=i: out + 3 * directions[i]
            )
            wanted[i] = (vit.module(images).logits - before).mean(dim=0)
            hook.remove()
    found = measured_effects(vit, images, "resid_post.1", directions, 3.0)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-3)


def test_a_class_head_reads_cls_or_the_mean_of_the_patches(vit: Any, images: torch.Tensor) -> None:
    head = head_of(vit, next(iter(vit.batches(images))))
    x = torch.randn(2, 7, 8)
    assert torch.equal(pooled(head, x), x[:, 0])
    assert torch.equal(pooled(replace(head, pool="mean"), x), x[:, 1:].mean(dim=1))


def test_the_direct_head_of_texts_is_found_by_its_answer(gpt: Any, vit: Any) -> None:
    found = direct_head(gpt)
    assert found is not None
    assert found.module is gpt.module.lm_head
    assert direct_head(gpt) is found
    assert direct_head(vit) is None


def test_a_head_of_another_width_is_not_of_these_states(gpt: Any) -> None:
    """Of two projections with as many outputs the one as wide as the states is the head."""
    wide = torch.nn.Linear(7, 40)
    gpt.module.add_module("a_wide_one", wide)
    try:
        assert head_of(gpt, next(iter(gpt.batches(PROMPTS[:1])))).module is gpt.module.lm_head
    finally:
        del gpt.module.a_wide_one


def test_a_fit_without_further_settings_has_those_of_its_documentation(
    gpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, int]] = []

    def carried_out(work: Any, _begun: Any, _store: Any, _call: Any, every: int, _p: Any) -> Any:
        made.append((work, every))
        return work.fit.lens(None, n_done=0, n_wanted=0)

    monkeypatch.setattr(_fitting, "_carried_out", carried_out)
    sn.fit_lens(gpt, PROMPTS[1:])
    sn.fit_lens(gpt, PROMPTS[1:], "tuned")
    sn.fit_lens(gpt, PROMPTS[1:], checkpoint_every=7)
    (jacobian, one), (tuned, more), (_, seven) = made
    assert (one, more, seven) == (1, 25, 7)
    assert jacobian.settings == {}
    assert tuned.settings == {
        "steps": 300, "learning_rate": 1e-3, "rows_per_step": 256, "seed": 0,
    }  # fmt: skip
    assert (jacobian.fit.skip_first, jacobian.fit.context_length) == (4, 128)


def test_a_reading_has_ten_outputs_and_a_check_24_directions(gpt: Any) -> None:
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    assert lens.read(PROMPTS[:1]).top.shape == (2, 7, 10)
    assert [one.top.shape[2] for one in lens.read_both(PROMPTS[:1])] == [10, 10]
    assert [one.top.shape[2] for one in lens.read_with(PROMPTS[:1])[:2]] == [10, 10]
    directions = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    lens = replace(lens, skip_first=2)
    atoms = lens.check(PROMPTS, directions, 1).atoms
    assert atoms is not None
    assert atoms["kind"].value_counts().to_dict() == {"direction": 24, "random": 24}
    plain = measured_effects(gpt, PROMPTS, "resid_post.1", directions[:2])
    once = measured_effects(gpt, PROMPTS, "resid_post.1", directions[:2], 1.0, skip_first=4)
    assert torch.equal(plain, once)


@pytest.mark.parametrize(("n_outputs", "n"), [(40, 128), (2**17, 128), (2**18, 64), (2**22, 16)])
def test_as_many_rows_are_read_at_once_as_their_logits_allow(n_outputs: int, n: int) -> None:
    head: Any = SimpleNamespace(n_outputs=n_outputs)
    assert rows_at_once(head) == n


def test_a_course_is_measured_on_every_tenth_sample_or_the_last(
    gpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten samples the tenth, of two the second, of one that one; not at more places than are held."""
    for n, held, train in ((20, [9, 19], 18), (10, [9], 9), (2, [1], 1), (1, [0], 1)):
        fit = _fitting._Fit.of(gpt, [PROMPTS[1]] * n, "tuned", None, None, None, 2, 128)
        on, off = _fitting._Tuning(fit, 5, 0.1, 8, 0).rows
        assert sorted(set(off.sample.tolist())) == held
        assert len(set(on.sample.tolist())) == train
        assert len(off) == 3 * len(held)
    monkeypatch.setattr(_fitting, "HELD_ROWS", 2)
    assert len(_fitting._Tuning(fit, 5, 0.1, 8, 0).rows[1]) == 2


def test_memory_of_a_fit_is_counted_before_it_begins(
    gpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of maps in float32 four, of a tuned lens six: with Adam's moments and the gradient."""
    asked: list[int] = []
    monkeypatch.setattr(_fitting, "check_memory", lambda size, *_: asked.append(size))
    for kind in ("jacobian", "tuned"):
        _fitting._Fit.of(gpt, PROMPTS[:1], kind, None, None, None, 2, 128)
    assert asked == [4 * 4 * 2 * 12 * 12, 4 * 6 * 2 * 12 * 12]


def test_an_encoder_has_jacobians_alone_and_a_decoder_everything() -> None:
    two: Any = SimpleNamespace(streams={"encoder": 1, "decoder": 1}, name="two")
    for stream, kind in (("encoder", "jacobian"), ("decoder", "tuned"), (None, "logit")):
        _fitting._check_stream(two, stream, kind)
    with pytest.raises(ValueError, match="must be 'jacobian' for an encoder, got 'tuned'"):
        _fitting._check_stream(two, "encoder", "tuned")
    one: Any = SimpleNamespace(streams={}, name="one")
    with pytest.raises(ValueError, match="must be None for one"):
        _fitting._check_stream(one, "decoder", "jacobian")


def test_atoms_that_fire_weakly_are_measured_as_well() -> None:
    """Those that fire at all, at their largest code; directions at 0.3 of a typical state."""
    codes = torch.tensor([[0.5, 0.0, 2.0, 0.0], [0.25, 0.0, 1.0, -1.0]])
    sae = SimpleNamespace(encode=lambda _: sn.SparseCodes.from_dense(codes))
    which, size = _chosen(sae, torch.eye(4), torch.ones(2, 4), 9, torch.Generator())
    assert {int(i): float(x) for i, x in zip(which, size, strict=True)} == {0: 0.5, 2: 2.0}
    assert len(_chosen(sae, torch.eye(4), torch.ones(2, 4), 1, torch.Generator())[0]) == 1
    x = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 1.0]])  # 5 in the middle
    which, size = _chosen(None, torch.tensor([[2.0, 0], [0, 0.5]]), x, 9, torch.Generator())
    wanted = {0: 0.3 * 5 / 2, 1: 0.3 * 5 / 0.5}
    assert {int(i): float(y) for i, y in zip(which, size, strict=True)} == pytest.approx(wanted)


def test_effects_are_scored_by_ten_hits_or_a_third_of_the_outputs() -> None:
    guess, truth = torch.arange(40.0)[None], torch.arange(40.0).roll(5)[None]
    assert scored(guess, truth)[1] == [
        0.5
    ]  # 35 to 39 of 30 to 39: the truth's largest are 0 … 4 on
    assert scored(guess, guess) == ([1.0], [1.0], [True])
    few = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 0.0]])
    other = torch.tensor([[1.0, 2.0, 3.0, 5.0, 4.0, 0.0]])
    assert scored(few, other)[1:] == ([1.0], [False])  # two of six
    assert scored(few[:, :2], few[:, :2])[1] == [1.0]


def test_the_layer_of_a_hook_point_is_the_block_whose_output_it_moves() -> None:
    places = {"resid_post.0": 0, "resid_post.3": 3, "mlp_out.2": 2, "resid_pre.3": 2}
    assert {place: layer_of(place) for place in places} == places
    assert layer_of("encoder.resid_post.1", "encoder") == 1
    for wrong in ("resid_pre.0", "head_out.1", "elsewhere"):
        with pytest.raises(ValueError, match="on the residual stream after a block"):
            layer_of(wrong)
    with pytest.raises(ValueError, match="must be in the decoder"):
        layer_of("encoder.resid_post.1")


def test_a_lens_is_attached_by_tokens_that_the_model_has() -> None:
    """Of nine: an id of nine would be none of them."""
    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=2, n_embd=4, n_head=1, vocab_size=9, n_positions=16, **special)
    model = sn.wrap(GPT2LMHeadModel(config).eval(), name="nine")
    lens = sn.fit_lens(model, [[1, 5, 3, 7]], "logit", progress=False)
    attached = replace(lens, head=None).on(model)
    assert attached.head is not None
    assert attached.head.module is model.module.lm_head


def test_effects_and_checks_are_refused_where_they_would_not_fit(
    gpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    asked: list[int] = []
    monkeypatch.setattr(_lens, "check_memory", lambda size, *_: asked.append(size))
    lens.effects(torch.eye(12)[:3], 1)
    assert asked == [4 * 3 * 40]
    few = replace(lens, skip_first=2)
    assert few.check([PROMPTS[0][:5]]).n_places == 2
    with pytest.raises(ValueError, match="at least two places after the first 2 tokens"):
        few.check([PROMPTS[0][:4]])


def test_a_printed_reading_lists_sixteen_layers_and_twenty_four_places(gpt: Any) -> None:
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    for n, listed in ((16, True), (17, False)):
        some = rows(4, 1)
        (found,) = compare_all(head, [some.last], some, k=1)
        reading = reading_of(head, "logit", tuple(range(n)), some, [found] * n)
        assert ("1.00, 1.00" in reading.headline) == listed
        assert ("at least 1.00" in reading.headline) != listed
    for n in (24, 25):
        some = rows(n, 1)
        (found,) = compare_all(head, [some.last], some, k=1)
        assert len(reading_of(head, "logit", (0,), some, [found]).below) == (n == 24)


def test_texts_are_cut_at_128_tokens() -> None:
    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_layer=2, n_embd=4, n_head=1, vocab_size=9, n_positions=160, **special)
    torch.manual_seed(0)
    model = sn.wrap(GPT2LMHeadModel(config).eval(), name="long")
    long = [[1 + i * i % 8 for i in range(140)]]
    cut = [long[0][:128]]
    lens = replace(sn.fit_lens(model, cut, "logit", progress=False), skip_first=4)
    assert lens.check(long).n_places == 128 - 4 - 1
    assert lens.check(long, context_length=None).n_places == 140 - 4 - 1
    found, same = (
        measured_effects(model, text, "resid_post.0", torch.eye(4)) for text in (long, cut)
    )
    torch.testing.assert_close(found, same)


def test_an_answer_settles_where_it_stays_on_top_to_the_end(gpt: Any) -> None:
    head = head_of(gpt, next(iter(gpt.batches(PROMPTS[:1]))))
    some = rows(4, 1)
    (found,) = compare_all(head, [some.last], some, k=1)
    reading = reading_of(head, "logit", (0, 2, 5), some, [found] * 3)
    agrees = np.array([[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], dtype=bool)
    top = np.where(agrees, reading.answer, reading.answer + 1)[:, :, None]
    moved = replace(reading, top=top)
    assert moved.agrees.tolist() == agrees.tolist()
    assert moved.agreement.tolist() == [0.75] * 3
    assert moved.settles.tolist() == [2, 0, 5, -1]


def test_a_lens_knows_its_model_by_weights_of_one_type(gpt: Any) -> None:
    """Of another type the digest is another, and the name decides."""
    lens = sn.fit_lens(gpt, PROMPTS, "logit", progress=False)
    replace(lens, weights=("x", "float16")).on(gpt)
    replace(lens, model_name="other").on(gpt)
    with pytest.raises(ValueError, match="which has other weights"):
        replace(lens, weights=("x", "float32")).on(gpt)
    with pytest.raises(ValueError, match="another name and other weights"):
        replace(lens, weights=("x", "float16"), model_name="other").on(gpt)


@pytest.mark.parametrize(
    ("n_layers", "every", "layers", "found"),
    [(1, True, None, (0,)), (2, False, None, (0,)), (3, False, None, (0, 1)), (3, True, None, (0, 1, 2)),
     (3, False, [1, 0], (0, 1)), (3, True, [2], (2,))],
)  # fmt: skip
def test_blocks_that_a_lens_reads(n_layers: int, every: bool, layers: Any, found: Any) -> None:
    """All but the last, of an encoder all."""
    assert set(_fitting._checked_layers(layers, n_layers, "m", all_of_them=every)) == set(found)
    for wrong in ([], [n_layers - (not every)], [-1]):
        if n_layers > 1:
            with pytest.raises(ValueError, match="layers"):
                _fitting._checked_layers(wrong, n_layers, "m", all_of_them=every)
    with pytest.raises(ValueError, match="at least two blocks"):
        _fitting._checked_layers(None, 1, "m", all_of_them=False)


@pytest.mark.parametrize(
    ("own", "encoder", "grid", "prefix", "longest"),
    [(9, 5, None, 3, 9), (5, 9, None, 3, 9), (2, 2, (3, 4), 5, 17), (2, 2, None, 3, 4)],
)
def test_a_sample_is_as_long_as_its_words_or_its_patches(
    own: int, encoder: int, grid: Any, prefix: int, longest: int
) -> None:
    model: Any = SimpleNamespace(patch_grid=grid, prefix_tokens=prefix)
    seen = SimpleNamespace(sample=torch.zeros(1, encoder))
    batch: Any = SimpleNamespace(encoder=None, sample=torch.zeros(1, own), at_encoder=seen)
    assert _jacobian._longest(model, batch) == longest
    batch.encoder = SimpleNamespace(keep=None)  # known from a run alone: copies run one by one
    assert _jacobian._longest(model, batch) == _jacobian.NUMBERS_AT_ONCE
    batch.encoder = SimpleNamespace(keep=torch.ones(1, encoder))
    assert _jacobian._longest(model, batch) == longest


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Lens.check", {'n_atoms': 24, 'seed': 0, 'context_length': 128}),
        ("Lens.read", {'k': 10}),
        ("fit_lens", {'skip_first': 4, 'context_length': 128, 'steps': 300, 'learning_rate': 0.001, 'rows_per_step': 256, 'seed': 0}),
        ("measured_effects", {'strengths': 1.0, 'skip_first': 4, 'context_length': 128}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.lenses)) == numbers

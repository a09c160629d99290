"""Crosscoders and cross-layer transcoders of other libraries: codes and values by their formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    ImportedCrosscoder,
    ImportedCrossLayerTranscoder,
    read_circuit_tracer,
    read_dictionary_learning,
)
from tests.interop.made import draw

SITES, D, N = 2, 6, 10
LAYERS, WIDE = 4, 128


@pytest.fixture
def x() -> Tensor:
    """A few activations of both sites, (rows, sites, width), not around 0."""
    return 3 * draw(7, SITES, D, seed=9) + 1


# -------------------------------------------------------------------------------------------------
# Crosscoders of dictionary_learning's forks.


def state() -> dict[str, Tensor]:
    """Tensors of a crosscoder, by the library's names."""
    return {
        "encoder.weight": draw(SITES, D, N, seed=1),
        "encoder.bias": draw(N, seed=2),
        "decoder.weight": draw(SITES, N, D, seed=3),
        "decoder.bias": draw(SITES, D, seed=4),
    }


def trainer_folder(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    """As its trainers write one."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"trainer": config}))
    torch.save(tensors, folder / "ae.pt")
    return folder


def hub_folder(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    """As they lie on the hub."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def coded(x: Tensor, t: dict[str, Tensor]) -> Tensor:
    """[Σ_m x_m E_m + a]₊."""
    return torch.relu(torch.einsum("bld,ldf->bf", x, t["encoder.weight"]) + t["encoder.bias"])


def decoded(z: Tensor, t: dict[str, Tensor]) -> Tensor:
    """z D_m + b_m at every site."""
    return torch.einsum("bf,lfd->bld", z, t["decoder.weight"]) + t["decoder.bias"]


def agrees(c: Any, x: Tensor, z: Tensor, x_hat: Tensor, atol: float = 1e-5) -> None:
    """Codes of a list and of what is side by side, and what is made of them."""
    parts = list(x.unbind(dim=1))
    assert torch.allclose(c.encode(parts).to_dense(), z, atol=atol)
    assert torch.allclose(c.encode(x.flatten(1)).to_dense(), z, atol=atol)
    for made in (c(parts), c.decode(c.encode(parts))):
        assert torch.allclose(torch.stack(made, dim=1), x_hat, atol=10 * atol)
    assert torch.allclose(c(x.flatten(1)), x_hat.flatten(1), atol=10 * atol)


@pytest.mark.parametrize("on_hub", [False, True])
def test_a_crosscoder_gives_its_formula(tmp_path: Path, x: Tensor, on_hub: bool) -> None:
    """From both kinds of folders, and again from ours; where its atoms live is in their norms."""
    t, facts = state(), {"activation_dim": D, "dict_size": N, "num_layers": SITES}
    folder = (
        hub_folder(tmp_path / "h", t, **facts)
        if on_hub
        else trainer_folder(tmp_path / "t", t, dict_class="CrossCoder", lm_name="gemma", **facts)
    )
    c = sn.load_sae(folder)
    assert isinstance(c, ImportedCrosscoder)
    z = coded(x, t)
    agrees(c, x, z, decoded(z, t))
    norms = t["decoder.weight"].norm(dim=2).T
    assert torch.allclose(c.difference(), norms[:, 1] / norms.sum(dim=1), atol=1e-6)
    for own, theirs in zip(c.dictionaries, t["decoder.weight"], strict=True):
        assert torch.equal(own, theirs)
    assert (c.origin.architecture, c.hook_point) == ("CrossCoder", None)
    c.save(tmp_path / "own")
    again = sn.load_sae(tmp_path / "own")
    assert isinstance(again, ImportedCrosscoder)
    assert torch.equal(again(x.flatten(1)), c(x.flatten(1)))


@pytest.mark.parametrize(
    ("number", "name"),
    [(None, "CROSSCODER"), (1, "CROSSCODER"), (2, "SAE"), (3, "MIXED"), (4, "NONE")],
)
def test_thresholds_are_of_codes_times_a_norm(
    tmp_path: Path, x: Tensor, number: int | None, name: str
) -> None:
    """f · n_j > θ, with the norm that the file names; an atom of no norm never fires."""
    t = state()
    t["decoder.weight"][:, 0] = 0
    d = t["decoder.weight"]
    each, whole = d.norm(dim=2).sum(dim=0), d.norm(dim=(0, 2))
    norms = {"CROSSCODER": each, "SAE": whole, "MIXED": 0.5 * whole + 0.1 * each}.get(name)
    norms = torch.ones(N) if norms is None else norms
    t |= {"k": torch.tensor(3, dtype=torch.int32), "threshold": torch.tensor(9.0)}
    t |= {} if number is None else {"code_normalization_id": torch.tensor(number)}
    alpha = {"code_normalization_alpha_sae": 0.5}
    c = sn.load_sae(hub_folder(tmp_path / "h", t, dict_class="BatchTopKCrossCoder", **alpha))
    z = coded(x, t)
    z = z * (z * norms > 9.0)
    assert 0 < int((z > 0).sum()) < int((coded(x, t) > 0).sum())
    agrees(c, x, z, decoded(z, t))
    assert c.origin.architecture == "BatchTopKCrossCoder"


def test_activations_are_normalised_as_the_file_says(tmp_path: Path, x: Tensor) -> None:
    """(x − μ_m) s_m on the way in, x / (s_m + 1e-8) + μ_m on the way out; NaN: not at all."""
    t = state()
    nothing = torch.full((SITES, D), torch.nan)
    scale = torch.tensor([0.2, 1e-4])
    with_it = {
        "activation_mean": draw(SITES, D, seed=5),
        "activation_std": draw(SITES, D, seed=6).abs(),
        "activation_global_scale": scale,
        "target_rms": torch.tensor(1.0),
    }
    without = with_it | {"activation_mean": nothing, "activation_std": nothing.clone()}
    plain = sn.load_sae(hub_folder(tmp_path / "plain", t | without))
    agrees(plain, x, coded(x, t), decoded(coded(x, t), t))
    c = sn.load_sae(hub_folder(tmp_path / "h", t | with_it))
    mean = with_it["activation_mean"]
    z = coded((x - mean) * scale[:, None], t)
    made = c(list(x.unbind(dim=1)))
    assert torch.allclose(c.encode(x.flatten(1)).to_dense(), z, atol=1e-5)
    expected = decoded(z, t) / (scale[:, None] + 1e-8) + mean
    assert torch.allclose(torch.stack(made, dim=1), expected, rtol=1e-4, atol=1e-3)


def test_compiled_and_backed_up_states_are_read(tmp_path: Path, x: Tensor) -> None:
    """Names that torch.compile and a training backup put in front."""
    t = state()
    compiled = {f"_orig_mod.{name}": value for name, value in t.items()}
    c = sn.load_sae(trainer_folder(tmp_path / "c", compiled, dict_class="CrossCoder"))
    backup: Any = {"step": 3, "ae": t}
    b = sn.load_sae(trainer_folder(tmp_path / "b", backup, dict_class="CrossCoder"))
    for one in (c, b):
        agrees(one, x, coded(x, t), decoded(coded(x, t), t))


UNREADABLE: list[tuple[dict[str, Tensor], dict[str, Any], str]] = [
    ({"code_normalization_id": torch.tensor(5)}, {}, "one code for all sites.*DECOUPLED"),
    ({"threshold": torch.tensor(-1.0)}, {}, "must have a threshold, got -1.*later checkpoint"),
    ({}, {"encoder_layers": [0]}, r"read the sites that it writes.*\[0\]"),
    ({"decoder.weight": draw(3, N, D)}, {}, "read the sites that it writes, got 2 and 3"),
    ({"decoder.weight": draw(SITES, N, D + 1)}, {}, r"must have shape \(2, 10, 6\)"),
    ({"decoder.bias": draw(D)}, {}, r"`bias` in the file must have shape \(12,\)"),
    ({"encoder.bias": draw(N) / 0}, {}, "`encoder_bias` in the file must be finite"),
    ({"encoder.weight": draw(D, N)}, {}, r"sites|shape"),
]


@pytest.mark.parametrize(("changes", "config", "message"), UNREADABLE)
def test_crosscoders_that_cannot_be_read_are_named(
    tmp_path: Path, changes: dict[str, Tensor], config: dict[str, Any], message: str
) -> None:
    """Rule, what is in the file, and what to do."""
    t = state() | {"threshold": torch.tensor(1.0), "k": torch.tensor(3)} | changes
    with pytest.raises(ValueError, match=message):
        read_dictionary_learning(hub_folder(tmp_path / "h", t, **config))


# -------------------------------------------------------------------------------------------------
# Cross-layer transcoders of circuit-tracer and Gemma Scope 2.


def layers(jumps: bool, skips: bool, n: int = LAYERS, d: int = D) -> list[dict[str, Tensor]]:
    """Tensors of each layer by circuit-tracer's names, without the number."""
    made = []
    for i in range(n):
        t = {
            "W_enc": draw(N, d, seed=10 * i + 1),
            "b_enc": draw(N, seed=10 * i + 2),
            "W_dec": draw(N, n - i, d, seed=10 * i + 3) / d,
            "b_dec": draw(d, seed=10 * i + 4),
        }
        t |= {"threshold": draw(N, seed=10 * i + 5).abs()} if jumps else {}
        t |= {"W_skip": draw(d, d, seed=10 * i + 6) / d} if skips else {}
        made.append(t)
    return made


def circuit_tracer(folder: Path, made: list[dict[str, Tensor]], dtype: torch.dtype) -> Path:
    """As it writes them."""
    folder.mkdir()
    for i, t in enumerate(made):
        named = {f"{name}_{i}": value.to(dtype) for name, value in t.items()}
        atoms = f"W_dec_{i}"
        save_file({atoms: named.pop(atoms)}, folder / f"{atoms}.safetensors")
        save_file(named, folder / f"W_enc_{i}.safetensors")
    return folder


def by_formula(
    xs: list[Tensor], made: list[dict[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Codes of every layer, and what is written at every layer."""
    zs = []
    for x, t in zip(xs, made, strict=True):
        u = x @ t["W_enc"].T + t["b_enc"]
        zs.append(u * (u > t["threshold"]) if "threshold" in t else torch.relu(u))
    ys = [
        t["b_dec"] + (x @ t["W_skip"] if "W_skip" in t else 0)
        for x, t in zip(xs, made, strict=True)
    ]
    for i, (z, t) in enumerate(zip(zs, made, strict=True)):
        for at in range(i, len(made)):
            ys[at] = ys[at] + z @ t["W_dec"][:, at - i]
    return zs, ys


@pytest.mark.slow
@pytest.mark.parametrize(("jumps", "skips"), [(True, False), (False, True), (True, True)])
def test_a_cross_layer_transcoder_gives_its_formula(
    tmp_path: Path, jumps: bool, skips: bool
) -> None:
    """Every layer's codes and every layer's value; its places; again from a folder of ours."""
    made = layers(jumps, skips)
    folder = circuit_tracer(tmp_path / "clt", made, torch.float32)
    c = sn.load_sae(folder)
    assert isinstance(c, ImportedCrossLayerTranscoder)
    assert (c.hook_point, c.target_hook_point, c.n_atoms) == (None, None, LAYERS * N)
    xs = [draw(7, D, seed=50 + i) for i in range(LAYERS)]
    zs, ys = by_formula(xs, made)
    for own, z in zip(c.encode(xs), zs, strict=True):
        assert torch.allclose(own.to_dense(), z, atol=1e-5)
    for own, y in zip(c(xs), ys, strict=True):
        assert torch.allclose(own, y, atol=1e-4)
    beside = torch.cat(xs, dim=1)
    assert torch.allclose(c(beside), torch.cat(ys, dim=1), atol=1e-4)
    running: list[Any] = []
    for x, y in zip(xs, ys, strict=True):
        assert torch.allclose(c.write_at(x, running), y, atol=1e-4)
    assert torch.equal(c.written(1, 3), made[1]["W_dec"][:, 2])
    assert torch.allclose(c.shares().sum(dim=1), torch.ones(LAYERS * N))
    assert sn.evaluate(c, (xs, ys), n_bootstrap=0)["r2"].value == pytest.approx(1, abs=1e-4)
    c.save(tmp_path / "own")
    assert torch.equal(sn.load_sae(tmp_path / "own")(beside), c(beside))


def test_places_and_lower_precision_are_understood(tmp_path: Path) -> None:
    """bfloat16 is read as float32; one threshold for a layer is that of all its atoms."""
    made = layers(jumps=True, skips=False)
    for t in made:
        t["threshold"] = torch.tensor([0.5])
    folder = circuit_tracer(tmp_path / "clt", made, torch.bfloat16)
    (folder / "config.yaml").write_text(
        'model_name: "m"\nmodel_kind: cross_layer_transcoder\nfeature_input_hook: "hook_resid_mid"\n'
        'feature_output_hook: "hook_mlp_out"\n'
    )
    c = read_circuit_tracer(folder)
    assert c.hook_point == "resid_mid.0 + resid_mid.1 + resid_mid.2 + resid_mid.3"
    assert c.target_hook_point == "mlp_out.0 + mlp_out.1 + mlp_out.2 + mlp_out.3"
    assert (c.model_name, c.dtype) == ("m", torch.float32)
    rounded = [{n: v.bfloat16().float() for n, v in t.items()} for t in made]
    xs = [draw(7, D, seed=50 + i) for i in range(LAYERS)]
    for own, z in zip(c.encode(xs), by_formula(xs, rounded)[0], strict=True):
        assert torch.allclose(own.to_dense(), z, atol=1e-5)


def test_negative_thresholds_are_said(tmp_path: Path) -> None:
    """Codes here are positive."""
    made = layers(jumps=True, skips=False, n=2)
    made[1]["threshold"][3] = -0.1
    with pytest.warns(UserWarning, match="Some thresholds are negative"):
        sn.load_sae(circuit_tracer(tmp_path / "clt", made, torch.float32))


def gemma(folder: Path, made: list[dict[str, Tensor]], earlier: float = 0.0) -> Path:
    """The same layers as Gemma Scope 2 writes them, atoms over all layers."""
    folder.mkdir(parents=True)
    for i, t in enumerate(made):
        atoms = torch.cat([torch.full((N, i, D), earlier), t["W_dec"]], dim=1)
        named = {"w_enc": t["W_enc"].T, "b_enc": t["b_enc"], "threshold": t["threshold"]}
        named |= {"w_dec": atoms, "b_dec": t["b_dec"]}
        named |= {"affine_skip_connection": t["W_skip"]} if "W_skip" in t else {}
        save_file(
            {n: v.contiguous() for n, v in named.items()}, folder / f"params_layer_{i}.safetensors"
        )
    return folder


def test_layers_of_gemma_scope_are_read(tmp_path: Path) -> None:
    """The same values as of circuit-tracer's files; what is written before an atom's layer is left out."""
    made = layers(jumps=True, skips=True)
    xs = [draw(7, D, seed=50 + i) for i in range(LAYERS)]
    c = sn.load_sae(gemma(tmp_path / "clt" / "width_262k_l0_big_affine", made))
    for own, y in zip(c(xs), by_formula(xs, made)[1], strict=True):
        assert torch.allclose(own, y, atol=1e-4)
    with pytest.warns(UserWarning, match="layers 1, 2, 3 also write at layers before"):
        d = sn.load_sae(gemma(tmp_path / "clt" / "acausal", made, earlier=0.5))
    assert torch.equal(d(torch.cat(xs, dim=1)), c(torch.cat(xs, dim=1)))
    (tmp_path / "clt" / "acausal" / "params_layer_3.safetensors").unlink()
    with pytest.raises(ValueError, match=r"`w_dec`.*3 layers.*\(10, 4, 6\)"):
        sn.load_sae(tmp_path / "clt" / "acausal")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_crosscoder_of_gemma_scope_is_one_code_of_all_its_sites(
    tmp_path: Path, by_name: bool
) -> None:
    """Each atom is read where its file is, and written there and later, with no warning."""
    made = layers(jumps=True, skips=False)
    place = "crosscoder/layer_5_9_12_15_width_10_l0_big" if by_name else "some/layer_5_9_12_15"
    folder = gemma(tmp_path / place, made)
    facts = {"architecture": "jump_relu", "l0": 150, "model_name": "google/gemma-3-270m"}
    facts |= {} if by_name else {"type": "crosscoder"}
    (folder / "config.json").write_text(json.dumps(facts))
    c = sn.load_sae(folder)
    assert isinstance(c, ImportedCrosscoder)
    xs = [draw(7, D, seed=50 + i) for i in range(LAYERS)]
    pre = [x @ t["W_enc"].T + t["b_enc"] for x, t in zip(xs, made, strict=True)]
    z = [u * (u > t["threshold"]) for u, t in zip(pre, made, strict=True)]
    assert torch.allclose(c.encode(xs).to_dense(), torch.cat(z, dim=1), atol=1e-5)
    for site, own in enumerate(c(xs)):
        written = [z[i] @ made[i]["W_dec"][:, site - i] for i in range(site + 1)]
        assert torch.allclose(own, sum(written) + made[site]["b_dec"], atol=1e-4)
    assert c.hook_point == " + ".join(f"resid_post.{n}" for n in (5, 9, 12, 15))
    assert (c.model_name, c.origin.stated) == ("google/gemma-3-270m", {"l0": 150.0})
    assert not any("not known" in note for note in c.origin.notes)


# -------------------------------------------------------------------------------------------------
# In a live model.


TEXT = ["One day Tom went to the forest."]


@pytest.mark.slow
def test_it_takes_the_place_of_all_mlps(tmp_path: Path, gpt: sn.LiveModel) -> None:
    """Spliced in, each layer writes what the formula makes of what then entered it and all before."""
    made = layers(jumps=True, skips=True, d=WIDE)
    c = sn.load_sae(circuit_tracer(tmp_path / "clt", made, torch.float32))
    names = [f"{side}.{i}" for side in ("mlp_in", "mlp_out") for i in range(LAYERS)]
    c.hook_point = " + ".join(names[:LAYERS])
    plain = gpt(TEXT)
    with sn.splice(gpt, names[LAYERS:], c, "all"):
        seen = sn.capture(gpt, TEXT, names, drop_first=False, progress=False)
    parts = [one.x for one in seen.values()]
    for own, y in zip(parts[LAYERS:], by_formula(parts[:LAYERS], made)[1], strict=True):
        assert torch.allclose(own, y, atol=1e-3)
    with sn.splice(gpt, names[LAYERS:], c, keep_error=True):
        assert torch.allclose(gpt(TEXT), plain, atol=1e-2)
    with sn.steer(gpt, "mlp_out.1", direction=c.written(0, 1)[3], by=50.0):
        assert not torch.allclose(gpt(TEXT), plain, atol=1e-2)

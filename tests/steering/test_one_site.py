"""Dictionaries of several sites steered at one of them: the edit is the formula, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sae_nb as sn

TEXTS = ["One day Tom went to the forest.", "The cat sat in the garden."]
SITES = ["resid_post.0", "resid_post.2"]
NAMES = ("Crosscoder", "UniversalSAE", "GroupSparse")


@pytest.fixture(scope="module")
def captured(gpt: sn.LiveModel) -> list[sn.Activations]:
    return list(sn.capture(gpt, TEXTS, SITES, drop_first=False, progress=False).values())


def made(name: str, acts: list[sn.Activations]) -> Any:
    widths, generator = [one.d_in for one in acts], torch.Generator().manual_seed(0)
    sizes = widths if name == "GroupSparse" else [widths]
    sae = getattr(sn, name)(*sizes, 32, 4, generator=generator)
    sn.train(sae, acts, steps=3, progress=False)
    return sae


@pytest.fixture(scope="module", params=NAMES)
def sae(request: pytest.FixtureRequest, captured: list[sn.Activations]) -> Any:
    return made(request.param, captured)


def rows(gpt: sn.LiveModel, point: str) -> torch.Tensor:
    return sn.capture(gpt, TEXTS, point, drop_first=False, progress=False).x


def code_at(sae: Any, site: int, acts: list[sn.Activations]) -> sn.SparseCodes:
    """The code that an edit of a site reads: of all sites, or of that one."""
    return (
        sae.encode(acts)
        if type(sae).__name__ == "Crosscoder"
        else sae.encode(acts[site], reads=site)
    )


@pytest.mark.slow
@pytest.mark.parametrize("site", [0, 1])
def test_adding_adds_the_unit_part_of_the_atom_at_that_site(
    gpt: sn.LiveModel, sae: Any, captured: list[sn.Activations], site: int
) -> None:
    """x + by · d_mj / ‖d_mj‖, to 1e-6; the site is known by its hook point, or by its number."""
    d = sae.dictionaries[site][5]
    expected = captured[site].x + 3.0 * d / d.norm()
    for chosen in ({}, {"site": site}):
        with sn.steer(gpt, SITES[site], sae, atom=5, by=3.0, **chosen) as steering:
            seen = rows(gpt, SITES[site])
        assert steering.atoms == (5,)
        torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_latents_are_read_and_moved_at_the_last_site(
    gpt: sn.LiveModel, sae: Any, captured: list[sn.Activations], backend: Any
) -> None:
    """x + (z' − z_j) d_mj for set, ablate and scale; a reconstruction without its error."""
    codes = code_at(sae, 1, captured)
    atom, x = int(codes.atoms[0]), captured[1].x
    z, d = codes.to_dense()[:, [atom]].detach(), sae.dictionaries[1][atom]
    assert float(z.abs().max()) > 0
    edits = {
        "set": (
            sn.steer(gpt, SITES[1], sae, atom, 0.5, mode="set", backend=backend),
            x + (0.5 - z) * d,
        ),
        "scale": (
            sn.steer(gpt, SITES[1], sae, atom, 3.0, mode="scale", backend=backend),
            x + 2 * z * d,
        ),
        "ablate": (sn.ablate(gpt, SITES[1], sae, atom, backend=backend), x - z * d),
        "no error": (
            sn.ablate(gpt, SITES[1], sae, atom, keep_error=False, backend=backend),
            sae.decode(codes)[1].detach() - z * d,
        ),
    }
    for edit, expected in edits.values():
        with edit:
            seen = rows(gpt, SITES[1])
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6 * float(x.abs().max()))


def test_the_first_site_gives_a_code_alone_or_none(
    gpt: sn.LiveModel, sae: Any, captured: list[sn.Activations]
) -> None:
    """A crosscoder's later site has not been reached: refused by name before anything runs."""
    if type(sae).__name__ == "Crosscoder":
        with pytest.raises(
            ValueError, match=r'Crosscoder reads a code at all.*"resid_post\.2" is not reached'
        ):
            sn.ablate(gpt, SITES[0], sae, 5)
        return
    codes = sae.encode(captured[0], reads=0)
    atom = int(codes.atoms[0])
    with sn.ablate(gpt, SITES[0], sae, atom):
        seen = rows(gpt, SITES[0])
    z = codes.to_dense()[:, [atom]].detach()
    expected = captured[0].x - z * sae.dictionaries[0][atom]
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_percentiles_are_of_the_dictionary_s_own_codes(
    gpt: sn.LiveModel, sae: Any, captured: list[sn.Activations]
) -> None:
    """By × p99 × ‖d_mj‖, from activations of all sites."""
    codes = code_at(sae, 1, captured)
    atom = int(codes.atoms[0])
    strengths = codes.values[codes.atoms == atom].detach().abs().double()
    with sn.steer(gpt, SITES[1], sae, atom, 2.0, unit="p99", acts=captured) as steering:
        pass
    expected = 2 * strengths.quantile(0.99) * sae.dictionaries[1][atom].norm()
    assert steering.amount[0] == pytest.approx(float(expected), rel=1e-5)


def test_a_crosscoder_of_two_models_adds_and_reads_no_code(
    gpt: sn.LiveModel, captured: list[sn.Activations]
) -> None:
    """Nor does a dictionary that writes several layers know one place."""
    c = made("Crosscoder", captured)
    c.model_name = "other + tiny-gpt"
    sn.steer(gpt, SITES[1], c, 0, 1.0)
    with pytest.raises(ValueError, match=r'"resid_post\.0" is not in tiny-gpt. Add the atom'):
        sn.steer(gpt, SITES[1], c, 0, 1.0, mode="scale")
    with pytest.raises(ValueError, match="CrossLayerTranscoder, which writes 2.*with sn.splice"):
        sn.steer(gpt, "mlp_out.1", sn.CrossLayerTranscoder([128, 128], 8, 2), 0, 1.0)


class Blocks(torch.nn.Module):
    """Three layers, each a hook point of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_a_code_of_three_sites_is_read_when_the_last_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """x + (z' − z_j) d_mj with z from all three in their order; the middle one comes too early, the first twice so."""
    torch.manual_seed(0)
    model = sn.wrap(Blocks(), name="blocks")
    points = ["layers.0", "layers.1", "layers.2"]
    sae = sn.Crosscoder([3, 3, 3], 6, k=2, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 3)
    states = [x]
    with torch.no_grad():
        for layer in model.module.layers:
            states.append(layer(states[-1]))
    codes = sae.encode(states[1:]).to_dense().detach()
    for order in ((0, 1, 2), (2, 0, 1)):
        here = sn.Crosscoder([3, 3, 3], 6, k=2, generator=torch.Generator().manual_seed(0))
        here.hook_point = " + ".join(points[i] for i in order)
        here.model_name = "blocks"
        codes = here.encode([states[1 + i] for i in order]).to_dense().detach()
        atom = int(codes.abs().sum(dim=0).argmax())
        d = here.dictionaries[order.index(2)][atom]
        with sn.ablate(model, "layers.2", here, atom):
            found = model(x)
        torch.testing.assert_close(found, states[3] - codes[:, [atom]] * d, atol=1e-5, rtol=1e-4)
        for early in points[:2]:
            with pytest.raises(ValueError, match="is not reached before"):
                sn.ablate(model, early, here, atom)
    with monkeypatch.context() as unknown:  # an order that nobody knows is not refused
        unknown.setattr(type(model), "hook_points", lambda _: [])
        sn.ablate(model, "layers.2", here, atom)
    here.hook_point = None
    for site in (-1, 3):
        with pytest.raises(ValueError, match="`site` must be"):
            sn.steer(model, "layers.2", here, 0, 1.0, site=site)
    sn.steer(model, "layers.2", here, 0, 1.0, site=0)
    sn.steer(model, "layers.2", here, 0, 1.0, site=2)

"""Dictionaries of several places in the panels: shown where that is meant, refused by name where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sae_nb_widgets import AtomBrowser, ConceptMap, InputLens
from torch import Tensor
from traitlets import TraitError

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue

N, D, D_OUT, ATOMS, K = 300, 6, 5, 16, 3
NAMES = ("SkipTranscoder", "Crosscoder", "UniversalSAE", "CrossLayerTranscoder")


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator)
    return x, torch.relu(x @ torch.randn(D, D_OUT, generator=generator)) + 3


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A dictionary of the name after a few steps, and what it is asked with."""
    (x, y), kind = pair(), getattr(sn, request.param)
    if request.param == "CrossLayerTranscoder":
        sae, data = kind([D, D], ATOMS, K), ([x, x.flip(1)], [x.relu(), x.abs()])
    elif request.param in ("Crosscoder", "UniversalSAE"):
        sae, data = kind([D, D_OUT], ATOMS, K), [x, y]
    else:
        sae, data = kind(D, D_OUT, ATOMS, K), (x, y)
    sn.train(sae, data, steps=10, batch_size=50, progress=False)
    return sae, data


@pytest.mark.slow
def test_the_browser_says_the_r2_that_evaluate_measures(trained: tuple[Any, Any]) -> None:
    """Of what is written, also with a linear map beside the atoms; all sites of a crosscoder together."""
    sae, data = trained
    r2 = AtomCatalogue(sae, data).r2
    assert r2 == pytest.approx(sn.evaluate(sae, data, n_bootstrap=0)["r2"].value, abs=1e-4)
    browser = AtomBrowser(sae, data)
    assert browser.summary.frequency >= 0
    assert "R²" in browser.chips


def test_without_a_target_there_is_no_r2() -> None:
    """A transcoder's input says nothing of what it should write."""
    x, y = pair()
    t = sn.Transcoder(D, D_OUT, ATOMS, K)
    sn.train(t, (x, y), steps=5, batch_size=50, progress=False)
    assert AtomCatalogue(t, x).r2 is None
    with pytest.raises(ValueError, match=r"two things for Transcoder.*Pass \(x, y\)"):
        sn.atoms.sum_of_atoms(t, x)


@pytest.mark.slow
def test_each_place_can_be_shown_alone(trained: tuple[Any, Any]) -> None:
    """Its directions, its width, its R²; the name is kept by a session and stands in what leaves."""
    sae, data = trained
    browser, panel = AtomBrowser(sae, data), ConceptMap(sae, data)
    panel.layout_by = "pca"  # at once; a UMAP is a process of its own
    panel.wait()
    assert browser.sites == panel.sites
    assert len(browser.sites) == len(sae.sites)
    for i, site in enumerate(browser.sites):
        browser.site = panel.site = site
        assert torch.equal(browser.catalogue.dictionary, sae.at_sites[i].cpu())
        assert torch.equal(panel.atlas.dictionary, sae.at_sites[i].float().cpu())
        assert (
            browser.summary.nearest_atoms.tolist()
            == browser.catalogue.nearest(browser.atom, 6)[0].tolist()
        )
        assert browser.static_chips()["site"] == panel.chips["site"] == site
        assert not browser.problem
        assert not panel.problem
    for one in (browser, panel):
        state = one.state()
        assert state["site"] == browser.sites[-1]
        one.site = "all"
        one.restore(state)
        assert one.site == browser.sites[-1]


def test_the_parts_of_r2_are_those_of_the_places(trained: tuple[Any, Any]) -> None:
    """Of a place that is written what `decode` gives there; none where the dictionary only reads."""
    sae, data = trained
    whole = AtomCatalogue(sae, data)
    written = [data] if sae.writes is None else [data[1]]
    targets = list(written[0]) if isinstance(written[0], list | tuple) else written
    got = [whole.at(site).r2 for site in whole.sites]
    skipped = len(got) - len(targets)
    assert got[:skipped] == [None] * skipped
    for site, r2, x in zip(whole.sites[skipped:], got[skipped:], targets, strict=True):
        at = whole.at(site)
        if sae.writes is None:
            parts = sae.decode(at.codes)
            x_hat = parts[whole.sites.index(site)]
        else:
            x_hat = sae(data[0])
            x_hat = x_hat[whole.sites.index(site) - skipped] if isinstance(x_hat, list) else x_hat
        assert r2 == pytest.approx(sn.evaluation.explained_variance(x, x_hat), abs=1e-4)


def test_a_model_read_alone_has_codes_of_its_own(trained: tuple[Any, Any]) -> None:
    """A universal code differs with the model that gives it; a crosscoder has one for all."""
    sae, data = trained
    whole = AtomCatalogue(sae, data)
    for i, site in enumerate(whole.sites):
        at = whole.at(site)
        if sae.reads_alone:
            wanted = sae.encode(data[i], reads=i).detach()
            assert torch.equal(at.codes.to_dense(), wanted.to_dense())
        else:
            assert at.codes is whole.codes
    assert len(whole.side_by_side) == (2 if sae.reads_alone else 0)


def at_two_models(kind: Any, **settings: Any) -> tuple[Any, list[sn.Activations]]:
    """The same rows in two models, of which the second sees them twice as large."""
    x, y = pair()
    acts = [
        sn.Activations.from_tensor(rows, model_name=name)
        for rows, name in ((x, "one"), (2 * y, "two"))
    ]
    sae = kind(D, D_OUT, ATOMS, K) if kind is sn.GroupSparse else kind([D, D_OUT], ATOMS, K)
    sn.train(sae, acts, steps=10, batch_size=50, progress=False)
    return sae, acts


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sn.UniversalSAE, sn.Crosscoder, sn.GroupSparse])
def test_two_models_stand_side_by_side(kind: Any) -> None:
    """Each with its own strongest rows; of one shared code, with the part that is written there."""
    sae, acts = at_two_models(kind)
    browser = AtomBrowser(sae, acts)
    assert browser.sites == ("one", "two")
    found = browser.summary.sites
    for i, side in enumerate(found):
        if sae.reads_alone:
            z = sae.encode(acts[i], reads=i).detach().to_dense()[:, browser.atom]
        else:
            z = (
                sae.encode(acts).detach().to_dense()[:, browser.atom]
                * sae.shares()[browser.atom, i]
            )
        best = z.sort(descending=True).values[: len(side.examples)]
        assert [e.strength for e in side.examples] == pytest.approx(best.tolist(), rel=1e-5)
        assert side.n_fired == int((z != 0).sum())
    assert len({side.max_strength for side in found}) == (2 if sae.reads_alone else 1)
    shown = browser.static_main()
    assert 'class="sae-nb-sides"' in shown
    assert all(f">{name}: fires on" in shown for name in browser.sites)
    browser.site = "two"
    assert 'class="sae-nb-sides"' not in browser.static_main()


@pytest.mark.slow
def test_an_atom_of_two_towers_shows_images_and_captions() -> None:
    """A caption is read whole, word by word apart, and no word of it is said to fire the atom."""
    image, text = (sn.load_model(f"two-towers@{name}", "cpu") for name in ("image", "text"))
    scenes = sn.data.scenes(24, seed=0)
    words = sn.data.captions(scenes, 0)
    acts = [
        sn.capture(image, scenes.images, "visual_projection", progress=False),
        sn.capture(text, words, "text_projection", drop_first=False, progress=False),
    ]
    sae = sn.GroupSparse(64, 64, ATOMS, K)
    sn.train(sae, acts, steps=5, batch_size=24, progress=False)
    browser = AtomBrowser(sae, acts)
    pictures, captions = browser.summary.sites
    for example in pictures.examples:
        assert example.place == f"image {example.sample}"
        assert torch.equal(
            torch.from_numpy(example.picture), acts[0].context.pictures[example.sample]
        )
        assert example.heat is None
    for example in captions.examples:
        written = "".join(example.tokens).replace("<s>", "").replace("</s>", "")
        assert written.strip() == words[example.sample]
        assert bool(torch.tensor(example.token_strengths).isnan().all())
    browser.site = browser.sites[1]
    assert " texts" in browser.answer


@pytest.mark.slow
def test_a_range_of_differences_selects_atoms() -> None:
    """By trait as by the histogram; Esc takes it away, a session keeps it, nonsense is refused."""
    sae, acts = at_two_models(sn.Crosscoder)
    panel = ConceptMap(sae, acts)
    panel.layout_by = "pca"
    panel.wait()  # what is drawn late answers no drag
    difference = sae.difference()
    low, high = 0.25, 0.5
    inside = ((difference >= low) & (difference <= high)).nonzero().flatten().tolist()
    panel.difference = (low, high)
    assert list(panel.selected) == inside
    bars = panel.map.difference
    assert sum(bars.counts) == ATOMS
    assert sum(bars.inside) == len(inside)
    bars.chosen = (0, len(bars.counts) - 2)
    assert panel.difference[0] == 0
    assert set(panel.selected) >= set(inside)
    kept = panel.state()
    panel.press("Escape")
    assert (panel.difference, panel.selected) == ((), ())
    panel.restore(kept)
    assert panel.difference == tuple(kept["difference"])
    assert list(panel.selected) == kept["selected"]
    with pytest.raises(TraitError, match="between 0 and 1"):
        panel.difference = (0.5, 2)


def test_both_panels_show_strength_in_one_unit(trained: tuple[Any, Any]) -> None:
    """The strongest input of an atom is as strong on the map as in the browser; of several it says in what."""
    sae, data = trained
    catalogue = AtomCatalogue(sae, data)
    panel = ConceptMap(sae, catalogue=catalogue)
    panel.layout_by = "pca"
    panel.wait()
    top = catalogue.max_strength[panel.atom]
    assert panel.selection.shared[0].strength == pytest.approx(top)
    atoms = catalogue.order()[:2].tolist()
    panel.select(atoms)
    best = panel.selection.shared[0]
    row = catalogue.codes.to_dense()[best.row].abs().numpy()
    wanted = sum(row[atom] / catalogue.p99[atom] for atom in atoms)
    assert best.strength == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_the_lens_shows_what_a_transcoder_reads_and_writes() -> None:
    """Its codes where it reads, its place as both; base rates from either or both sides."""
    gpt, text = sn.load_model("tiny-gpt"), "One day Tom went to the forest."
    x, y = sn.capture(gpt, [text], ["mlp_in.1", "mlp_out.1"], progress=False).values()
    t = sn.Transcoder(128, 128, ATOMS, K, generator=torch.Generator().manual_seed(0))
    sn.train(t, (x, y), steps=3, progress=False)
    lens = InputLens(gpt, t, acts=(x, y))
    lens.text = text
    lens.wait()
    assert lens.chips["hook point"] == "mlp_in.1 → mlp_out.1"
    assert lens.summary.hook_point == "mlp_out.1"
    codes = t.encode(x)
    atom = int(codes.atoms[0])
    seen = torch.from_numpy(lens.summary.strengths(atom))[lens.summary.read]
    torch.testing.assert_close(seen, codes.to_dense()[:, atom].detach(), rtol=1e-4, atol=1e-4)
    assert lens.summary.used.base_frequency is not None

"""A site says what the catalogue says, for every atom; it is there whole or not at all."""

from __future__ import annotations

import json
import re
import wave
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image

import sae_nb as sn
from sae_nb import __main__ as command
from sae_nb.atoms import AtomCatalogue, AtomNames
from sae_nb.sessions import names_of
from sae_nb.site import Site, write_site
from tests.small_esm import PROTEINS, small_esm
from tests.small_llava import pairs, small_llava
from tests.widgets.atom.test_films import film_acts

N_ATOMS = 24
FEW = 12
"""Atoms that are laid out without a UMAP."""


def chunk(folder: Path, name: str) -> Any:
    """The data of a chunk, read as JSON: nothing but `saeNb.give(name, data)` may stand around them."""
    words = (folder / f"{name}.js").read_text("utf-8")
    found = re.fullmatch(r'saeNb\.give\("([^"]+)",(.*)\);\n', words, re.DOTALL)
    assert found is not None
    assert found[1] == name
    return json.loads(found[2])


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def sae(x: torch.Tensor) -> Any:
    made = sn.TopK(6, N_ATOMS, k=3, generator=torch.Generator().manual_seed(0))
    made.initialise(x)
    return made


@pytest.fixture(scope="module")
def texts() -> tuple[Any, Any]:
    model = sn.load_model("tiny-gpt")
    acts = sn.capture(
        model,
        ["One day Anna and Max went to the farm.", "Tom was sad. He saw a duck."],
        "resid_post.3",
        progress=False,
    )
    made = sn.TopK(acts.d_in, N_ATOMS, k=3, generator=torch.Generator().manual_seed(1))
    made.initialise(acts.x)
    return made, acts


@pytest.fixture(scope="module")
def site(texts: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Site:
    sae, acts = texts
    model = sn.load_model("tiny-gpt")
    return write_site(tmp_path_factory.mktemp("sites") / "made", sae, acts, model=model)


@pytest.mark.slow
def test_every_atom_has_the_numbers_of_the_catalogue(site: Site, texts: tuple[Any, Any]) -> None:
    """Rates, strengths, neighbours and examples equal Python's to 1e-6 of their size."""
    catalogue = AtomCatalogue(*texts)
    for atom in range(N_ATOMS):
        card = chunk(site.folder, f"atoms/{atom}")
        record = catalogue.summary(atom, n_examples=6, model=sn.load_model("tiny-gpt"))
        assert card["fired"] == record.n_fired
        for name, value in (
            ("frequency", record.frequency),
            ("mean", record.mean_strength),
            ("max", record.max_strength),
        ):
            assert card[name] == pytest.approx(value, rel=1e-6)
        assert card["counts"] == record.histogram.counts.tolist()
        assert [other for other, _ in card["near"]] == record.nearest_atoms.tolist()
        assert [z for _, z in card["near"]] == pytest.approx(
            record.nearest_cosines.tolist(), rel=1e-6
        )
        assert [token for token, _ in card["up"]] == [token for token, _ in record.logits_up]
        shown = card["bands"]["top"]
        assert [example["z"] for example in shown] == pytest.approx(
            [example.strength for example in record.examples], rel=1e-6
        )
        for example, known in zip(shown, record.examples, strict=True):
            assert example["tokens"] == list(known.tokens)
            assert example["values"][example["at"]] == pytest.approx(known.strength, rel=1e-6)


@pytest.mark.slow
def test_a_word_finds_the_atoms_whose_strength_falls_on_it(
    site: Site, texts: tuple[Any, Any]
) -> None:
    """Shares are those of a dense sum, and only atoms above twice their chance are named."""
    sae, acts = texts
    z = sae.encode(acts.x).to_dense().detach().abs().numpy()
    names = [acts.context.vocabulary[int(i)].strip().casefold() for i in acts.tokens.ids]
    found = 0
    for word in set(names):
        rows = np.array([name == word for name in names])
        share = z[rows].sum(axis=0) / np.maximum(z.sum(axis=0), 1e-12)
        expected = {a: share[a] for a in np.flatnonzero(share > 2 * rows.mean())}
        letter = f"{ord(word[0]):x}"
        listed = dict(chunk(site.folder, f"tokens/{letter}").get(word, []))
        best = sorted(expected, key=lambda a: -expected[a])[:24]
        assert set(listed) == set(best)
        for atom, value in listed.items():
            assert value == pytest.approx(expected[atom], rel=1e-5)
            found += 1
    assert found > N_ATOMS


@pytest.mark.slow
def test_a_site_is_small(site: Site) -> None:
    """The first paint is at most 300 kB, an atom at most 30 kB, and every file is counted."""
    assert site.first_paint <= 300_000
    assert site.largest_chunk <= 30_000
    assert site.n_bytes == sum(p.stat().st_size for p in site.folder.rglob("*") if p.is_file())
    assert site.largest_chunk == max(p.stat().st_size for p in site.folder.glob("atoms/*.js"))


@pytest.mark.slow
def test_what_is_not_finite_is_nothing(sae: Any, x: torch.Tensor, tmp_path: Path) -> None:
    """A dead atom, labels with quotes and line separators: every chunk is JSON still."""
    sae = sn.TopK(6, N_ATOMS, k=3, generator=torch.Generator().manual_seed(0))
    labels = {0: '"</script>\\', 1: "\u2028"}
    site = write_site(tmp_path / "site", sae, x, labels=labels)
    for path in site.folder.rglob("*.js"):
        if path.name != "site.js":
            chunk(site.folder, path.relative_to(site.folder).with_suffix("").as_posix())
    assert chunk(site.folder, "names/0")["words"][0] == labels[0]


def test_an_interrupted_build_leaves_nothing(
    sae: Any, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the cards, there is no folder, not even a temporary one."""
    whole = AtomNames.badge

    def stop(names: AtomNames, atom: int) -> Any:
        if atom == 5:
            raise KeyboardInterrupt
        return whole(names, atom)

    monkeypatch.setattr(AtomNames, "badge", stop)
    with pytest.raises(KeyboardInterrupt):
        write_site(tmp_path / "site", sae, x)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_only_a_site_is_replaced(sae: Any, x: torch.Tensor, tmp_path: Path) -> None:
    """An existing folder is left alone; `overwrite` replaces a site, never files that are not ours."""
    write_site(tmp_path / "site", sae, x, title="first")
    with pytest.raises(FileExistsError, match="must not exist"):
        write_site(tmp_path / "site", sae, x)
    write_site(tmp_path / "site", sae, x, title="second", overwrite=True)
    assert chunk(tmp_path / "site", "start")["title"] == "second"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not ours"):
        write_site(tmp_path / "mine", sae, x, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").is_file()


@pytest.mark.slow
def test_a_site_leads_back_to_a_page_and_to_nothing_else(
    sae: Any, x: torch.Tensor, tmp_path: Path
) -> None:
    """Address and words stand in the start; one that a click would run is refused before any work."""
    back = ("../gallery/index.html", "All panels")
    write_site(tmp_path / "site", sae, x, back=back)
    assert chunk(tmp_path / "site", "start")["back"] == list(back)
    for address in (
        "javascript:alert(1)",
        " java\tscript:alert(1)",
        "data:text/html,x",
        "file:///etc",
    ):
        with pytest.raises(ValueError, match="must lead to a page"):
            write_site(tmp_path / "other", sae, x, back=(address, "words"))
    with pytest.raises(ValueError, match="an address and words"):
        write_site(tmp_path / "other", sae, x, back=("index.html", " "))
    assert not (tmp_path / "other").exists()


def test_a_search_knows_no_case_width_or_way_of_writing_an_accent(
    sae: Any, x: torch.Tensor
) -> None:
    """Words that fold to other lengths find each other, in the catalogue and on a map without activations."""
    pairs = [
        ("Straße", "STRASSE"), ("ẞ", "ss"), ("ﬁn", "FIN"), ("ΟΔΟΣ", "οδος"), ("Ｉｓｔａｎｂｕｌ", "istanbul"),
        ("İzmir", "izmir"), ("Diyarbakır", "DIYARBAKIR"), ("Café", "CAFE\u0301"), ("ΐ", "\u0399\u0308\u0301"),
        ("ŉ", "ʼN"), ("Ꮳ", "ꮳ"),
    ]  # fmt: skip
    labels = dict(enumerate(word for word, _ in pairs))
    catalogue = AtomCatalogue(sae, x, labels=labels)
    atlas = sn.atoms.ConceptAtlas(sae, labels=labels)
    for atom, both in enumerate(pairs):
        for query in both:
            assert atom in catalogue.search(query), query
            assert atom in atlas.search(query), query


@pytest.mark.slow
def test_panels_write_the_site_with_their_labels(sae: Any, x: torch.Tensor, tmp_path: Path) -> None:
    """A label written in a panel is on the card; a panel without atoms says what to use."""
    panel = sw.AtomBrowser(sae, x, labels={3: "three"})
    panel.to_site(tmp_path / "site")
    assert chunk(tmp_path / "site", "atoms/3")["words"] == "three"
    panel.close()
    toy = sw.SuperpositionToy()
    with pytest.raises(AttributeError, match="AtomBrowser.*to_site"):
        toy.to_site(tmp_path / "other")
    toy.close()


@pytest.mark.slow
def test_what_was_labelled_is_on_the_cards_with_its_evidence(
    sae: Any, x: torch.Tensor, tmp_path: Path
) -> None:
    """A site says what `sn.label` found; labels given to one site stay with that one."""
    sae = deepcopy(sae)
    write_site(tmp_path / "given", sae, x, labels={3: "mine"})
    sn.label(sae, x, labels={3: "three"}, atoms=[3], n_examples=8, progress=False)
    write_site(tmp_path / "site", sae, x)
    given, card = (chunk(tmp_path / name, "atoms/3") for name in ("given", "site"))
    assert (given["words"], given["badge"]) == ("mine", None)
    assert card["words"] == "three"
    assert card["badge"][0] == names_of(sae).badge(3).text


@pytest.mark.slow
def test_the_command_writes_a_site(
    sae: Any, x: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m sae_nb site` reads an SAE and its activations from folders; errors are one sentence."""
    sae.save(tmp_path / "sae")
    sn.Activations.from_tensor(x).save(tmp_path / "acts")
    call = ["site", str(tmp_path / "sae"), "--out", str(tmp_path / "site")]
    assert command.main(call) == 2
    assert command.main([*call, "--acts", str(tmp_path / "acts")]) == 0
    assert f"{N_ATOMS} atoms" in capsys.readouterr().out
    assert len(list((tmp_path / "site" / "atoms").iterdir())) == N_ATOMS


@pytest.mark.slow
def test_a_site_of_sounds_plays_them(tmp_path: Path) -> None:
    """Every example has its spectrogram and a WAV file of the folder, which the page may load."""
    sae, store = sn.load_sae("tiny-audio/resid_post.4"), sn.load_examples("tiny-audio/resid_post.4")
    site = write_site(tmp_path / "heard", sae, examples=store)
    shown = [
        example
        for atom in range(0, sae.n_atoms, 64)
        for band in chunk(site.folder, f"atoms/{atom}")["bands"].values()
        for example in band
    ]
    assert shown
    for example in shown:
        assert (site.folder / example["image"]).is_file()
        assert np.shape(example["heat"]) == (4, 20)
        with wave.open(str(site.folder / example["sound"])) as file:
            assert (file.getnframes(), file.getframerate()) == (8000, 8000)
        assert example["span"] == [0, 1]
    assert "media-src 'self'" in (site.folder / "index.html").read_text()
    assert site.n_bytes < 4_000_000


def examples_of(site: Site, n_atoms: int) -> list[dict[str, Any]]:
    cards = (chunk(site.folder, f"atoms/{atom}") for atom in range(n_atoms))
    return [example for card in cards for band in card["bands"].values() for example in band]


def test_a_site_of_films_shows_every_frame_with_its_heat(tmp_path: Path) -> None:
    """Frames of a video lie next to each other, as the heat does: the strongest is at its tubelet."""
    acts = film_acts()
    sae = sn.TopK(8, FEW, k=2, generator=torch.Generator().manual_seed(2))
    sae.initialise(acts.x)
    examples = examples_of(write_site(tmp_path / "films", sae, acts), FEW)
    on_frames = 0
    for example in examples:
        assert example["film"] is True
        with Image.open(tmp_path / "films" / example["image"]) as picture:
            assert picture.width == 3 * picture.height
        heat = np.array(example["heat"], dtype=float)
        assert heat.shape == (2, 3 * 2)
        assert [name for name, _ in example["prefix"]] == ["cls"]
        found = re.fullmatch(r"video \d, tubelet (\d),(\d),(\d)", example["place"])
        if found is not None:
            time, row, column = map(int, found.groups())
            assert heat[row, 2 * time + column] == pytest.approx(example["z"], rel=1e-5)
            on_frames += 1
    assert on_frames > FEW


def test_a_site_of_texts_with_images_shows_both(tmp_path: Path) -> None:
    """A patch on its image, a token in its text, in which an image is one token."""
    acts = sn.capture(small_llava(), pairs(), "resid_post.1", drop_first=False, progress=False)
    sae = sn.TopK(32, FEW, k=4, generator=torch.Generator().manual_seed(3))
    sae.initialise(acts.x)
    examples = examples_of(write_site(tmp_path / "mixed", sae, acts), FEW)
    patches = [one for one in examples if "image" in one]
    texts = [one for one in examples if "tokens" in one]
    assert len(patches) + len(texts) == len(examples)
    assert patches
    assert texts
    for one in patches:
        row, column = map(int, re.fullmatch(r"text \d, patch (\d),(\d)", one["place"]).groups())
        assert np.shape(one["heat"]) == (4, 4)
        assert one["heat"][row][column] == pytest.approx(one["z"], rel=1e-5)
        assert (tmp_path / "mixed" / one["image"]).is_file()
    for one in texts:
        assert len(one["tokens"]) == len(one["values"])
        assert one["tokens"].count("[image]") <= 1
        assert one["tokens"][one["at"]].strip() != "[image]"
        assert one["values"][one["at"]] == pytest.approx(one["z"], rel=1e-5)


def test_a_site_of_proteins_has_the_numbers_of_residues(tmp_path: Path) -> None:
    """Of every token of an example, next to its strength; the one that fires is named by its own."""
    acts = sn.capture(small_esm(), PROTEINS, "resid_post.1", progress=False)
    sae = sn.TopK(32, FEW, k=3, generator=torch.Generator().manual_seed(0))
    sae.initialise(acts.x)
    examples = examples_of(write_site(tmp_path / "proteins", sae, acts), FEW)
    assert examples
    for one in examples:
        numbers, at = one["numbers"], one["at"]
        assert len(numbers) == len(one["tokens"]) == len(one["values"])
        assert one["tokens"][at] in ("<cls>", "<eos>") or one["place"].endswith(
            f"residue {one['tokens'][at]}{numbers[at]}"
        )

"""Labels and notes survive the session, stay with their SAE, and are never claimed to be saved."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import Labels
from sae_nb.files import SaeIdentity, identity_of
from sae_nb.sessions._annotations import Annotations
from tests.files.by_hand import sealed

HOSTILE = "<script>alert('x')</script> & </textarea>"
RIGHT_TO_LEFT = "مرحبا بالعالم"
EMOJI = "👩‍👩‍👧 é 🏳️‍🌈"


class Fake:
    hook_point, model_name = "resid_post.1", "fake"

    def __init__(self, seed: int = 0, n_atoms: int = 16, d_in: int = 4) -> None:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(n_atoms, d_in, generator=generator)
        self.dictionary = rows / rows.norm(dim=1, keepdim=True)
        self.n_atoms, self.d_in = n_atoms, d_in


def test_a_folder_has_one_name_for_an_saes_words(tmp_path) -> None:
    """However they came there, and whosever words lie there already."""
    first, second = Fake(), Fake(seed=1)
    for sae, name in ((first, "north"), (second, "south")):
        loose = Annotations()
        loose.write(3, name)
        loose.keep_in(tmp_path, sae)
    assert Annotations(tmp_path, first)[3] == "north"
    assert Annotations(tmp_path, second)[3] == "south"
    assert Annotations(tmp_path, second).path != Annotations(tmp_path, first).path
    assert (tmp_path / "annotations.json").is_file()


def test_gaps_are_no_names_and_keys_are_atoms(tmp_path) -> None:
    """None, NaN and pandas' NA are what a table has where there is no name."""
    import pandas as pd

    given = {0: None, 1: float("nan"), 2: "x", 3: pd.NA, "4": "y"}
    assert dict(Annotations.of(given, Fake())) == dict(Labels(given)) == {2: "x", 4: "y"}
    for wrong, error in (({16: "x"}, ValueError), ({-1: "x"}, ValueError), ({2.5: "x"}, TypeError)):
        with pytest.raises(error, match="labels"):
            Annotations.of(wrong, Fake())
    half = Annotations(tmp_path, Fake())
    for words in (("\ud800", ""), ("", "a \ud800")):
        with pytest.raises(ValueError, match="UTF-8"):
            half.write(3, *words)
    assert len(half) == 0
    with pytest.raises(ValueError, match="UTF-8"):
        Labels({3: "\ud800"})


def test_a_saved_sae_is_the_same_sae(tmp_path) -> None:
    """Through files, and in half precision; where it lies and what it is called do not matter."""
    sae = sn.TopK(d_in=8, n_atoms=32, k=3, generator=torch.Generator().manual_seed(0))
    before = identity_of(sae)
    sae.save(tmp_path / "sae")
    again = sn.load_sae(tmp_path / "sae")
    assert identity_of(again) == before
    assert identity_of(again.half()).is_same(before)
    again.hook_point = "resid_post.9"
    assert identity_of(again).is_same(before)


@pytest.mark.parametrize("change", ["seed", "order", "one atom", "sign", "size"])
def test_any_other_dictionary_is_another_sae(change: str) -> None:
    """Also when only one of many atoms differs, or the same atoms are in another order."""
    sae, other = Fake(n_atoms=512), Fake(seed=1 if change == "seed" else 0, n_atoms=512)
    if change == "order":
        other.dictionary = other.dictionary.flip(0)
    elif change == "one atom":
        other.dictionary[7] = other.dictionary[8]
    elif change == "sign":
        other.dictionary[7] *= -1
    elif change == "size":
        other = Fake(n_atoms=511)
    assert not identity_of(sae).is_same(identity_of(other))


@pytest.mark.parametrize("given", [torch.Tensor.numpy, torch.Tensor.clone])
def test_a_dictionary_alone_is_the_sae_it_was_taken_from(tmp_path, given) -> None:
    """As a tensor or an array: a label that was kept for the one is read with the other."""
    sae = Fake()
    Annotations(tmp_path, sae).write(3, "a name")
    assert Annotations(tmp_path, given(sae.dictionary)).label(3) == "a name"


def test_the_fingerprint_does_not_hang_on_the_last_bits() -> None:
    """Two machines round differently; a millionth of an atom is still the same atom."""
    sae, other = Fake(n_atoms=64), Fake(n_atoms=64)
    noise = torch.randn(64, 4, generator=torch.Generator().manual_seed(5))
    other.dictionary = sae.dictionary * (1 + 1e-5 * noise)
    assert identity_of(sae).is_same(identity_of(other))
    assert SaeIdentity.from_json(identity_of(sae).to_json()) == identity_of(sae)


@pytest.mark.parametrize("text", [HOSTILE, RIGHT_TO_LEFT, EMOJI, 'a "b" \\ \n\t', "x" * 10_000])
def test_labels_and_notes_come_back_as_they_were_typed(tmp_path, text: str) -> None:
    Annotations(tmp_path, Fake()).write(3, text, note=text[::-1])
    again = Annotations(tmp_path, Fake())
    assert (again.label(3), again.note(3)) == (text, text[::-1])
    assert dict(again) == {3: text}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json"]


def test_an_atom_without_words_is_forgotten(tmp_path) -> None:
    book = Annotations(tmp_path / "mine.json", Fake())
    book.write(3, "x")
    book.write(4, "", note="only a note")
    book.write(3, "")
    again = Annotations(tmp_path / "mine.json", Fake())
    assert list(again) == [4]
    assert not again.is_saved(3)
    assert again.is_saved(4)


def test_given_labels_lie_under_what_people_write(tmp_path) -> None:
    """Measured labels show until somebody writes; clearing one stays cleared; none is copied."""
    measured = Labels({1: "digit 1", 2: "digit 2"})
    book = Annotations(tmp_path, Fake(), given=measured)
    book.write(1, "seven")
    book.write(2, "")
    again = Annotations(tmp_path, Fake(), given=measured)
    assert dict(again) == {1: "seven"}
    assert again.label(2) == ""
    assert dict(Annotations(tmp_path, Fake())) == {1: "seven"}
    assert dict(measured) == {1: "digit 1", 2: "digit 2"}


def test_stars_are_kept_beside_label_and_note(tmp_path) -> None:
    """On disk when `star` returns; writing words keeps the star, taking the star off the words."""
    book = Annotations(tmp_path, Fake())
    book.star(5)
    book.write(3, "three", note="a note")
    book.star(3)
    again = Annotations(tmp_path, Fake())
    assert again.starred == (3, 5)
    again.write(3, "tres")
    again.star(5, False)
    last = Annotations(tmp_path, Fake())
    assert (last.starred, dict(last), last.is_starred(3)) == ((3,), {3: "tres"}, True)
    last.star(3, False)
    assert dict(Annotations(tmp_path, Fake())) == {3: "tres"}


def test_a_file_from_before_there_were_stars_still_loads(tmp_path) -> None:
    """Without stars a file is what it was, to the letter."""
    atoms = {"3": {"label": "three", "note": ""}}
    content = {"kind": "atom annotations", "version": 1, "sae": identity_of(Fake()).to_json()}
    (tmp_path / "annotations.json").write_text(
        json.dumps(sealed({**content, "atoms": atoms}), indent=1, sort_keys=True) + "\n"
    )
    before = (tmp_path / "annotations.json").read_bytes()
    book = Annotations(tmp_path, Fake())
    assert (dict(book), book.starred) == ({3: "three"}, ())
    book.star(3)
    book.star(3, False)
    assert (tmp_path / "annotations.json").read_bytes() == before


def _file(folder: Path) -> Path:
    Annotations(folder, Fake()).write(5, "five", note="a note")
    return folder / "annotations.json"


@pytest.mark.parametrize("content", ["[]", "{}", '"x"', '{"kind": "atom annotations"}'])
def test_another_file_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="something else"):
        Annotations(tmp_path, Fake())
    assert path.read_text() == content


def test_annotations_of_another_sae_are_refused_by_name(tmp_path) -> None:
    path = _file(tmp_path)
    before = path.read_text()
    with pytest.raises(ValueError, match="Fake with 16 atoms of width 4 at resid_post.1 of fake"):
        Annotations(tmp_path, Fake(seed=1))
    assert path.read_text() == before


class Heard:
    def __init__(self) -> None:
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


@pytest.mark.slow
def test_two_open_books_show_each_others_changes(tmp_path) -> None:
    """Whoever writes, both know and both are told; the dead are not called."""
    first, second = Annotations(tmp_path, Fake()), Annotations(tmp_path, Fake())
    heard, gone = Heard(), Heard()
    second.listen(heard.changed)
    second.listen(gone.changed)
    del gone
    gc.collect()
    first.write(1, "one")
    second.write(2, "two")
    assert dict(first) == dict(second) == {1: "one", 2: "two"}
    assert heard.changes == 2
    assert len(second._callbacks) == 1


@pytest.mark.slow
def test_labels_of_another_process_are_not_lost(tmp_path) -> None:
    """Read before every write: twenty labels from two processes at once are twenty labels."""
    script = (
        "import sys, torch\n"
        "from sae_nb.sessions._annotations import Annotations\n"
        "from sae_nb.files import SaeIdentity\n"
        "import json\n"
        "book = Annotations(sys.argv[1], SaeIdentity.from_json(json.loads(sys.argv[2])))\n"
        "for i in range(8): book.write(i, f'theirs {i}')\n"
    )
    identity = json.dumps(identity_of(Fake()).to_json())
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), identity])
    book = Annotations(tmp_path, Fake())
    for i in range(8, 16):
        book.write(i, f"ours {i}")
    assert other.wait(60) == 0
    assert sorted(Annotations(tmp_path, Fake())) == list(range(16))


def test_what_another_process_wrote_is_seen_on_looking(tmp_path) -> None:
    """Read again only where the file changed; damage meanwhile is an error and loses nothing."""
    book = Annotations(tmp_path, Fake())
    book.write(1, "one")
    others = tmp_path / "elsewhere"
    Annotations(others, Fake()).write(2, "two")
    (others / "annotations.json").replace(tmp_path / "annotations.json")
    book.look()
    assert dict(book) == {2: "two"}
    (tmp_path / "annotations.json").write_text("damaged")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"annotations\.json"):
            book.look()
    assert dict(book) == {2: "two"}


def test_a_label_that_cannot_be_written_is_not_kept_as_if_it_were(tmp_path) -> None:
    """The error reaches the caller; the book says what is on disk."""
    (tmp_path / "file").write_text("")
    book = Annotations(tmp_path / "file" / "labels.json", Fake())
    with pytest.raises(OSError, match="file"):
        book.write(1, "one")
    assert not book.is_saved(1)
    assert book.label(1) == ""


def test_what_people_wrote_stays_when_an_sae_is_saved_again(tmp_path) -> None:
    """Labels lie beside the SAE, are found without being named, and outlive another save."""
    folder = tmp_path / "sae"
    sn.TopK(d_in=6, n_atoms=10, k=2).save(folder)
    sae = sn.load_sae(folder)
    assert sae.folder == folder
    Annotations.of(None, sae).write(3, "digit 7", "seen twice")
    sae.save(folder)
    again = Annotations.of(None, sn.load_sae(folder))
    assert (again.label(3), again.note(3)) == ("digit 7", "seen twice")

"""Sessions come back as they were, on any machine, and only with the SAE they belong to."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb.sessions._annotations import Annotations
from sae_nb.sessions._session import save_session

PANELS = {
    "browser": {"atom": 3, "band": "random", "search": "مرحبا 👩‍👩‍👧 <script>", "page": 0},
    "steering": {"strength": 2.5, "positions": [1, 2], "head": ""},
}
RECIPES = ({"atom": 3, "strength": 2.5, "text": "The cat"},)


def _sae(seed: int = 0) -> sn.TopK:
    sae = sn.TopK(d_in=8, n_atoms=32, k=3, generator=torch.Generator().manual_seed(seed))
    sae.hook_point, sae.model_name = "resid_post.1", "fake"
    return sae


@pytest.fixture
def saved(tmp_path) -> Path:
    sae = _sae()
    sae.save(tmp_path / "sae")
    book = Annotations(given={7: "measured"})
    book.write(3, "<script>seven</script>", note="مرحبا 🙂")
    book.star(9)
    return save_session(
        tmp_path / "monday", sae, panels=PANELS, labels=book, recipes=RECIPES,
        model_name="fake", atom=3, tab="concepts",
    )  # fmt: skip


def test_everything_comes_back(saved) -> None:
    """Selection, filters, recipes, labels and notes; measured labels are not taken for typed ones."""
    session = sn.open_session(saved)
    assert session.panels == PANELS
    assert session.recipes == RECIPES
    assert (session.atom, session.tab, session.model_name) == (3, "concepts", "fake")
    assert dict(session.labels) == {3: "<script>seven</script>"}
    assert session.labels.note(3) == "مرحبا 🙂"
    assert session.labels.starred == (9,)
    session.check_sae(_sae())


def test_a_session_names_no_place_and_no_person(saved, tmp_path) -> None:
    """Nothing in its files is a path of this machine, its name or its user."""
    import getpass
    import socket

    text = "".join(path.read_text() for path in saved.iterdir())
    for word in (str(tmp_path), str(Path.home()), socket.gethostname()):
        assert word not in text
    with suppress(KeyError, OSError):  # a user whom the system does not name
        assert f'"{getpass.getuser()}"' not in text
    assert {path.suffix for path in saved.iterdir()} == {".json"}


def test_a_session_moves_to_another_place(saved, tmp_path) -> None:
    """Carried elsewhere together with its SAE it finds it by its fingerprint, under any name."""
    elsewhere = tmp_path / "usb stick"
    elsewhere.mkdir()
    shutil.move(saved, elsewhere / "renamed")
    session = sn.open_session(elsewhere / "renamed")
    with pytest.raises(FileNotFoundError, match="No SAE near the session 'renamed'"):
        session.load_sae()
    _sae(1).save(elsewhere / "another sae")
    shutil.move(tmp_path / "sae", elsewhere / "the sae")
    assert torch.equal(session.load_sae().dictionary, _sae().dictionary)


def test_a_session_may_lie_in_the_folder_of_its_sae(tmp_path) -> None:
    """The SAE's folder is not replaced, and is the name by which the session is opened again."""
    sae = _sae()
    sae.save(tmp_path / "sae")
    written = save_session(tmp_path / "sae", sae, panels=PANELS)
    assert written == tmp_path / "sae" / "session"
    assert sn.load_sae(tmp_path / "sae").n_atoms == 32
    session = sn.open_session(tmp_path / "sae")
    assert session.panels == PANELS
    assert session.load_sae().n_atoms == 32


def test_a_pretrained_sae_is_found_by_its_name(tmp_path) -> None:
    sae = sn.load_sae("tiny-vit/resid_post.6")
    path = save_session(tmp_path / "s", sae, panels={})
    assert sn.open_session(path).load_sae().n_atoms == sae.n_atoms


@pytest.mark.slow
def test_another_sae_is_refused_by_name(saved) -> None:
    """When it is opened, and when a dashboard is asked for; both SAEs are named."""
    with pytest.raises(ValueError, match=r"'monday' belongs to another SAE.*TopK with 32 atoms"):
        sn.open_session(saved, _sae(1))
    session = sn.open_session(saved, _sae())
    with pytest.raises(ValueError, match="belongs to another SAE"):
        session.dashboard(None, _sae(1))
    wider = sn.TopK(d_in=8, n_atoms=64, k=3)
    with pytest.raises(ValueError, match="64 atoms of width 8"):
        session.check_sae(wider)


def test_labels_written_after_opening_are_kept_in_the_session(saved) -> None:
    sn.open_session(saved).labels.write(5, "five")
    assert sn.open_session(saved).labels[5] == "five"


def test_saving_again_replaces_the_old_session_whole(saved) -> None:
    """Nothing of the old one stays, and nothing half-written lies about."""
    save_session(saved, _sae(), panels={"browser": {"atom": 1}})
    session = sn.open_session(saved)
    assert session.panels == {"browser": {"atom": 1}}
    assert (session.recipes, len(session.labels)) == ((), 0)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["monday", "sae"]


def test_what_people_wrote_beside_an_sae_outlives_saving_it_again(tmp_path) -> None:
    """Labels and the session inside; both open as before, and so does the SAE."""
    sae = _sae()
    sae.save(tmp_path / "sae")
    Annotations(tmp_path / "sae", sae).write(3, "three")
    save_session(tmp_path / "sae", sae, panels=PANELS)
    sae.save(tmp_path / "sae")
    assert Annotations(tmp_path / "sae", sae)[3] == "three"
    assert sn.open_session(tmp_path / "sae").panels == PANELS
    assert sn.load_sae(tmp_path / "sae").n_atoms == 32


def test_other_folders_are_never_replaced(tmp_path) -> None:
    """Neither a person's files nor a folder of ours of another kind."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("42")
    with pytest.raises(FileExistsError, match="other files"):
        save_session(tmp_path / "mine", _sae(), panels={})
    acts = sn.Activations.from_tensor(torch.randn(4, 8))
    acts.save(tmp_path / "acts")
    with pytest.raises(FileExistsError, match="must be new or hold a session"):
        save_session(tmp_path / "acts", _sae(), panels={})
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="got the file"):
        save_session(tmp_path / "file", _sae(), panels={})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "42"


def test_paths_of_this_machine_are_refused_before_anything_is_written(tmp_path) -> None:
    """A state that names a folder would not come back elsewhere."""
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match="say nothing about this machine"):
        save_session(tmp_path / "s", _sae(), panels={"map": {"folder": str(tmp_path / "here")}})
    assert not (tmp_path / "s").exists()
    save_session(tmp_path / "s", _sae(), panels={"steering": {"text": "/ begins a command"}})

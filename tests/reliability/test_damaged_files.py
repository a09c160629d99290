"""No damage to a file is ever taken for its content, and every one is named.

`SAE_NB_FUZZ_CASES=10000 pytest tests/reliability` draws that many damages; the default is 1000 over all kinds.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from damage import PICKLE, damaged
from file_kinds import OURS, FileKind, same

CASES = int(os.environ.get("SAE_NB_FUZZ_CASES", "1000")) // len(OURS)
NAMED = (ValueError, FileNotFoundError, FileExistsError, TypeError)
"""What a file that is not as it should be may raise; anything else is a crash of ours."""


@pytest.fixture(scope="module", params=OURS, ids=lambda kind: kind.name)
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FileKind, Path, Any]:
    """A folder of each kind, and what is in it."""
    kind: FileKind = request.param
    folder = tmp_path_factory.mktemp(kind.name) / "saved"
    kind.make(folder)
    return kind, folder, kind.read(folder)


def test_what_was_saved_comes_back(saved: tuple[FileKind, Path, Any]) -> None:
    """Undamaged, twice: reading changes nothing."""
    kind, folder, content = saved
    assert same(kind.read(folder), content)


@pytest.mark.slow
def test_damage_is_named_or_without_effect(saved: tuple[FileKind, Path, Any]) -> None:
    """Each drawn damage to one file gives a named error that names the file, or the same content."""
    kind, folder, content = saved
    draw = random.Random(f"damage to {kind.name}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    wrong = []
    for _ in range(CASES):
        path = draw.choice(files)
        how, after = damaged(before[path], draw)
        path.write_bytes(after)
        complaint = _complaint(kind, folder, content, path)
        path.write_bytes(before[path])
        if complaint:
            wrong.append(f"{path.name}, {how}: {complaint}")
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong[:20])
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.slow
def test_files_exchanged_between_two_are_named(
    saved: tuple[FileKind, Path, Any], tmp_path: Path
) -> None:
    """A file of the same name from elsewhere, or another file of the folder, is not taken for it."""
    kind, folder, content = saved
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    wrong = []
    for path in files:
        for other in files:
            if before[other] != before[path]:
                path.write_bytes(before[other])
                complaint = _complaint(kind, folder, content, path)
                wrong += [f"{path.name} from {other.name}: {complaint}"] if complaint else []
                path.write_bytes(before[path])
    assert not wrong, "\n".join(wrong)


def test_missing_files_are_named(saved: tuple[FileKind, Path, Any]) -> None:
    """Without any one of its files a folder is refused; annotations and sweeps begin anew."""
    kind, folder, content = saved
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        path.unlink()
        anew = path.name in ("annotations.json", "sweep.json")
        complaint = None if anew else _complaint(kind, folder, content, path)
        path.write_bytes(kept)
        assert complaint is None, f"{path.name}: {complaint}"


def test_pickle_is_refused_and_not_opened(
    saved: tuple[FileKind, Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the place of any file; `pickle.loads` and `pickle.Unpickler` are never reached."""
    import pickle

    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "loads", opened)
    monkeypatch.setattr(pickle, "load", opened)
    monkeypatch.setattr(pickle, "Unpickler", opened)
    kind, folder, _ = saved
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        path.write_bytes(PICKLE)
        with pytest.raises(NAMED):
            kind.read(folder)
        path.write_bytes(kept)


def _complaint(kind: FileKind, folder: Path, content: Any, path: Path) -> str | None:
    """What is wrong with how a damaged folder was met; None if nothing is."""
    try:
        found = kind.read(folder)
    except NAMED as error:
        text = str(error)
        # Another library's files have no checksums, so it is not known which of them is to blame.
        names = {path.name} if kind.checksums else {folder.name, path.name}
        named = any(name in text for name in names)
        return None if named else f"names no file: {type(error).__name__}: {text}"
    except Exception as error:  # noqa: BLE001 - the test is about what else may come out
        return f"{type(error).__name__}: {error}"
    if kind.checksums and not same(found, content):
        return "taken for what was saved"
    return None

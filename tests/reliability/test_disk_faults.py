"""Disks that are full, folders that cannot be written: named, nothing lost, nothing temporary left.

The full disk is a real file system of half a megabyte where the machine lets us mount one (a user
namespace is enough); everywhere the n-th write fails as on a full disk, for every n.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from file_kinds import rows, sae, same
from safetensors.torch import load_file

import sae_nb as sn
from sae_nb.sessions import Annotations, save_session
from tests.models.small_models import small_vit

NAMED = re.compile(r"^'.*' must .*, but .*\. [A-Z].*; what was there before is as it was\.$")


@dataclass(frozen=True)
class Writer:
    """Something that writes, and reads what it wrote."""

    name: str

    write: Callable[[Path, int], Any]
    """Write version 0 or 1 under this path."""

    read: Callable[[Path], Any]
    """All that is in it."""


def model() -> sn.LiveModel:
    """A small ViT."""
    return sn.wrap(small_vit(d_model=16, n_blocks=2, n_heads=2), name="tiny")


def _capture(path: Path, version: int) -> None:
    pictures = torch.rand(4 + 4 * version, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    folder = path / str(version)
    sn.capture(
        model(),
        pictures,
        "resid_post.1",
        batch_size=2,
        store=folder,
        shard_rows=100,
        progress=False,
    )


def _read_captures(path: Path) -> Any:
    found = sorted(one for one in path.iterdir() if (one / "manifest.json").is_file())
    return [sn.load_activations(one).x[:].clone() for one in found]


def _train(path: Path, version: int) -> None:
    config = sn.TrainConfig(
        steps=4 + 4 * version, batch_size=8, checkpoint=path, checkpoint_every=2, log_every=2
    )
    sn.train(sae(), rows(), config, progress=False)


def _read_checkpoint(path: Path) -> Any:
    latest = json.loads((path / "checkpoint.json").read_text())["latest"]
    step = json.loads((path / latest / "state.json").read_text())["step"]
    return [load_file(path / latest / "part-00001-of-00001.safetensors"), step]


def _save_session(path: Path, version: int) -> None:
    save_session(path, sae(), panels={"map": {"version": version}}, labels={version: "one"})


def _read_session(path: Path) -> Any:
    session = sn.open_session(path)
    return [dict(session.panels), dict(session.labels)]


def _annotate(path: Path, version: int) -> None:
    Annotations(path, sae()).write(version, "label", note="x" * 5000 * version)


def _page(path: Path, version: int) -> None:
    import sae_nb_widgets as sw

    dictionary = torch.eye(4)
    panel = sw.PursuitStepper(dictionary[:2] + 0.1, dictionary, k=2 + version)
    panel.to_html(path / "page.html")
    panel.close()


def _read_page(path: Path) -> Any:
    text = (path / "page.html").read_text(encoding="utf-8")
    assert text.endswith("</html>")
    return re.findall(r"\b0 of \d", text)  # steps; ids of figures are drawn anew each time


WRITERS = [
    Writer("capture", _capture, _read_captures),
    Writer("training", _train, _read_checkpoint),
    Writer("sae", lambda path, v: sae(v).save(path), lambda path: sn.load_sae(path).state_dict()),
    Writer("session", _save_session, _read_session),
    Writer("annotations", _annotate, lambda path: Annotations(path, sae()).written),
    Writer("page", _page, _read_page),
    Writer(
        "activations",
        lambda path, v: sn.Activations.from_tensor(rows(40 + v)).save(path, replace=True),
        lambda path: sn.load_activations(path).x[:].clone(),
    ),
]


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.name)
def writer(request: pytest.FixtureRequest) -> Writer:
    """Each in turn."""
    return request.param


@contextmanager
def failing_at(n: int, code: int) -> Iterator[list[int]]:
    """The n-th time bytes are written or a folder is made, the disk says no; half of the bytes are there."""
    seen = [0]
    write_bytes, fsync, mkdir = Path.write_bytes, os.fsync, Path.mkdir

    def fails() -> bool:
        seen[0] += 1
        return seen[0] == n

    def refused(path: Any) -> OSError:
        return OSError(code, os.strerror(code), str(path))

    def writing(self: Path, content: bytes) -> int:
        if fails():
            write_bytes(self, content[: len(content) // 2])
            raise refused(self)
        return write_bytes(self, content)

    def syncing(handle: int) -> None:
        if fails():
            raise refused("…")
        fsync(handle)

    def making(self: Path, *arguments: Any, **more: Any) -> None:
        if not self.exists() and fails():
            raise refused(self)
        mkdir(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", writing)
        patch.setattr(os, "fsync", syncing)
        patch.setattr(Path, "mkdir", making)
        yield seen


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_at_any_write_is_named_and_costs_nothing(
    writer: Writer, tmp_path: Path, code: int
) -> None:
    """For every write in turn; afterwards the old version or the new one is there, and the same call works."""
    path = tmp_path / "it"
    writer.write(path, 0)
    old = writer.read(path)
    kept = tmp_path / "kept"
    shutil.copytree(path, kept)
    with failing_at(0, code) as seen:
        writer.write(path, 1)
    new = writer.read(path)
    for n in range(1, seen[0] + 1):
        shutil.rmtree(path)
        shutil.copytree(kept, path)
        with failing_at(n, code), pytest.raises(OSError, match=NAMED) as caught:
            writer.write(path, 1)
        assert caught.value.errno == code
        assert temporary(tmp_path) == []
        found = writer.read(path)
        if writer.name == "training":  # the last checkpoint that was written
            assert old[1] <= found[1] <= new[1]
        elif writer.name == "capture":  # into another store
            assert same(found[:1], old)
        else:
            assert same(found, old) or same(found, new)
        writer.write(path, 1)
        assert same(writer.read(path), new)


def temporary(folder: Path) -> list[str]:
    """Names of what should be gone."""
    return [one.name for one in folder.rglob("*") if one.name.startswith(".")]


def test_a_path_under_a_file_is_named(writer: Writer, tmp_path: Path) -> None:
    """A folder that cannot be made, whoever asks: root is bound by this as well."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises((OSError, ValueError), match=r"must .*file.*\. [A-Z]") as caught:
        writer.write(tmp_path / "file" / "it", 0)
    assert "Errno" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


HERE = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
SMALL_DISK = """
import sys
from pathlib import Path
sys.path[:0] = {here!r}
from test_disk_faults import WRITERS, temporary, same
disk = Path({disk!r})
failed = []
for writer in WRITERS:
    path = disk / writer.name
    writer.write(path, 0)
    old = writer.read(path)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        writer.write(path, 1)
    except OSError as error:
        assert "the disk is full" in str(error), str(error)
        failed.append(writer.name)
    assert temporary(disk) == [], temporary(disk)
    found = writer.read(path)
    if writer.name != "training":
        assert same(found, old), writer.name
    filler.unlink()
    writer.write(path, 1)
    writer.read(path)
    import shutil
    shutil.rmtree(path)
print("full for", *failed)
"""


def _run_with(mount: str, script: Path) -> subprocess.CompletedProcess[str]:
    """Run a script where a file system is mounted that nobody else sees; skipped where that is not allowed."""
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, mount], check=False).returncode
    ):
        pytest.skip("needs the right to mount a file system in a user namespace")
    command = [*isolated, f"{mount} && exec '{sys.executable}' '{script}'"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 16 MB with nothing left: every writer says so, and the old version can be read."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SMALL_DISK).format(here=HERE, disk=str(disk)))
    mount = f"mount -t tmpfs -o size=16m none '{disk}'"
    done = _run_with(mount, script)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[2:] == [writer.name for writer in WRITERS]


READ_ONLY = """
import sys
from pathlib import Path
sys.path[:0] = {here!r}
from test_disk_faults import WRITERS
for writer in WRITERS:
    path = Path({disk!r}) / writer.name
    try:
        writer.write(path, 1)
    except OSError as error:
        assert "read-only" in str(error) and "Errno" not in str(error), str(error)
    else:
        raise AssertionError(writer.name)
    writer.read(path)
"""


@pytest.mark.slow
def test_a_disk_that_is_really_read_only(tmp_path: Path) -> None:
    """What lies there is read; what would be written is refused by name."""
    disk = tmp_path / "disk"
    for writer in WRITERS:
        disk.mkdir(exist_ok=True)
        writer.write(disk / writer.name, 0)
    script = tmp_path / "script.py"
    script.write_text(READ_ONLY.format(here=HERE, disk=str(disk)))
    mount = f"mount --bind '{disk}' '{disk}' && mount -o remount,bind,ro '{disk}'"
    done = _run_with(mount, script)
    assert done.returncode == 0, done.stderr[-3000:]

"""A store is what was captured, bit by bit, whatever happened while it was written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from warm_python import WarmPython

from sae_nb.activations import Activations, load_activations
from sae_nb.capturing import capture
from sae_nb.models import LiveModel, wrap
from sae_nb.steering import splice
from tests.capturing.small import gpt2, pictures as drawn_pictures, vit as drawn_vit

POINT = "resid_post.1"
vit, pictures = partial(drawn_vit, 3), partial(drawn_pictures, 20)


@pytest.fixture(scope="module")
def model() -> LiveModel:
    return wrap(vit(), name="tiny")


@pytest.fixture(scope="module")
def language() -> LiveModel:
    return wrap(gpt2(), name="tiny-gpt")


def to_store(model: LiveModel, folder: Path, **changes: Any) -> Any:
    call: dict[str, Any] = {"inputs": pictures(), "hook_points": POINT, "batch_size": 3}
    call |= {"store": folder, "shard_rows": 400, "progress": False} | changes
    return capture(model, **call)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def runs_of(model: LiveModel) -> list[int]:
    seen: list[int] = []
    embed = model.module.embed
    embed.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    return seen


# What is stored


def test_store_holds_what_memory_would(model: LiveModel, tmp_path: Path) -> None:
    """Rows, samples, positions, pictures and policy are those of a capture in memory."""
    stored = to_store(model, tmp_path / "s")
    held = capture(model, pictures(), POINT, batch_size=3, progress=False)
    assert stored.on_disk
    assert not held.on_disk
    for name in ("x", "sample", "position"):
        assert torch.equal(getattr(stored, name), getattr(held, name))
    assert torch.equal(stored.context.pictures, held.context.pictures)
    assert dict(stored.context.policy) == dict(held.context.policy)
    assert stored.tokens[:] == held.tokens[:]
    assert (stored.hook_point, stored.model_name) == (POINT, "tiny")
    assert len([name for name in contents(tmp_path / "s") if name.startswith("rows")]) > 2


@pytest.mark.slow
def test_several_hook_points_share_one_store(model: LiveModel, tmp_path: Path) -> None:
    names = ["blocks.1.hook_resid_pre", "mlp_out.2"]
    stored = to_store(model, tmp_path / "s", hook_points=names)
    held = capture(model, pictures(), names, batch_size=3, progress=False)
    again = load_activations(tmp_path / "s")
    for found in (stored, again):
        assert list(found) == names
        for name in names:
            assert torch.equal(found[name].x, held[name].x)
    for name in ("mlp_out.2", "resid_pre.1", "blocks.1.hook_resid_pre"):
        chosen = load_activations(tmp_path / "s", hook_point=name)
        assert chosen.hook_point == name.replace("blocks.1.hook_resid_pre", "resid_pre.1")
    with pytest.raises(ValueError, match="must be one that"):
        load_activations(tmp_path / "s", hook_point="embed")
    one = to_store(model, tmp_path / "one", hook_points=names[:1])
    assert list(one) == names[:1]


@pytest.mark.slow
def test_texts_come_back_with_their_tokens(language: LiveModel, tmp_path: Path) -> None:
    """Token ids of every sample are stored, packed or not."""
    ids = [torch.randint(4, 24, (n,)).tolist() for n in (5, 9, 3, 12, 7, 2, 8)]
    for name, settings in (("a", {}), ("b", {"pack": True, "context_length": 6})):
        stored = to_store(language, tmp_path / name, inputs=ids, shard_rows=10, **settings)
        held = capture(language, ids, POINT, batch_size=3, progress=False, **settings)
        assert torch.equal(stored.x, held.x)
        assert torch.equal(stored.tokens.ids, held.tokens.ids)
        for row in range(len(stored)):
            sample, position = int(stored.sample[row]), int(stored.position[row])
            expected = [*ids[sample], 2][position]
            assert int(stored.tokens.ids[row]) == expected


def test_saved_activations_come_back(model: LiveModel, tmp_path: Path) -> None:
    """.save writes what load_activations reads; parts of a store can be saved as well."""
    stored = to_store(model, tmp_path / "s")
    part, _ = stored.split(0.5, seed=3)
    part.save(tmp_path / "part")
    again = load_activations(tmp_path / "part")
    assert isinstance(again, Activations)
    for name in ("x", "sample", "position"):
        assert torch.equal(getattr(again, name), getattr(part, name))
    assert again.tokens[:20] == part.tokens[:20]
    assert torch.equal(again.context.pictures, part.context.pictures)
    with pytest.raises(FileExistsError, match="must not exist yet"):
        part.save(tmp_path / "part")
    stored.save(tmp_path / "part", replace=True)
    assert len(load_activations(tmp_path / "part")) == len(stored)


# Killed and resumed

SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    import torch
    from sae_nb import files
    from sae_nb.capturing import capture
    from sae_nb.models import wrap
    from sae_nb.models import VisionTransformer, VisionTransformerConfig

    folder, kill_after, where = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(int(sys.argv[4]))  # another count could round differently
    config = VisionTransformerConfig(d_model=16, n_blocks=3, n_heads=2)
    model = wrap(VisionTransformer(config, generator=torch.Generator().manual_seed(0)), name="tiny")
    pictures = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    left = [kill_after]

    def die_now():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(function, before):
        def run(*args, **kwargs):
            if before:
                die_now()
            value = function(*args, **kwargs)
            if not before:
                die_now()
            return value
        return run

    if where == "fsync":
        os.fsync = killing(os.fsync, before=True)
    elif where == "rename":
        Path.replace = killing(Path.replace, before=False)
    elif where == "unlink":
        Path.unlink = killing(Path.unlink, before=True)
    elif where == "forward":
        model.module.embed.register_forward_pre_hook(lambda *_: die_now())
    names = ["resid_post.1", "mlp_out.0"]
    capture(model, pictures, names, batch_size=3, store=folder, shard_rows=400, progress=False)
"""


def run_script(python: WarmPython, folder: Path, kill_after: int, where: str) -> int:
    script, threads = textwrap.dedent(SCRIPT), torch.get_num_threads()
    done = python.run(script, folder, kill_after, where, threads)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def same_call_here(folder: Path) -> dict[str, bytes]:
    """The script's call without a kill, in this process; returns what it leaves."""
    to_store(wrap(vit(), name="tiny"), folder, hook_points=["resid_post.1", "mlp_out.0"])
    return contents(folder)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return same_call_here(tmp_path_factory.mktemp("unbroken") / "s")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "kill_after"),
    [
        ("forward", 1),  # before anything is there
        ("forward", 4),  # with a shard written and rows pending
        ("fsync", 1),  # in the middle of the first shard
        ("fsync", 5),  # between the shards of two hook points
        ("rename", 4),  # shard in place, not yet recorded
        ("rename", 9),  # in the middle of a later shard
        ("rename", 17),  # while the samples are joined, or the manifest is written
        ("unlink", 2),  # while temporary files are tidied away
    ],
)
def test_killed_capture_resumes_bit_for_bit(
    warm_python: WarmPython, tmp_path: Path, unbroken: dict[str, bytes], where: str, kill_after: int
) -> None:
    """kill -9, then the same call: every file is the one an unbroken run writes."""
    folder = tmp_path / "s"
    assert run_script(warm_python, folder, kill_after, where) == -signal.SIGKILL
    with pytest.raises((ValueError, FileNotFoundError)):
        load_activations(folder)
    assert same_call_here(folder) == unbroken


class Died(BaseException):
    """Stands in for a kill inside the test's own process."""


def die_at_sample(sample: int) -> Any:
    def callback(record: Any) -> None:
        if record.samples >= sample:
            raise Died

    return callback


def test_resumed_capture_runs_only_what_is_missing(model: LiveModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(Died):
        to_store(model, folder, progress=die_at_sample(14))
    done = json.loads((folder / "capture.json").read_text())["shards"]
    n_done = sum(shard["batches"] for shard in done)
    assert n_done >= 2
    own = wrap(vit(), name="tiny")
    seen = runs_of(own)
    stored = to_store(own, folder)
    assert sum(seen) == 20 - 3 * n_done
    held = capture(model, pictures(), POINT, progress=False)
    assert torch.allclose(stored.x, held.x, atol=1e-5)
    assert torch.equal(stored.context.pictures, held.context.pictures)


def test_finished_store_is_opened_without_running_the_model(
    model: LiveModel, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    x = to_store(model, folder).x
    own = wrap(vit(), name="tiny")
    seen = runs_of(own)
    assert torch.equal(to_store(own, folder).x, x)
    assert torch.equal(to_store(own, folder, inputs=pictures().clone()).x, x)
    assert seen == []


def test_what_a_kill_after_the_manifest_left_is_tidied(model: LiveModel, tmp_path: Path) -> None:
    """Parts that were joined already go with the next call; a file of somebody else stays."""
    folder = tmp_path / "s"
    to_store(model, folder)
    whole = contents(folder)
    for name in ("capture.json", "samples-00000.safetensors", ".manifest.json.0a1b2c3d.partial"):
        (folder / name).write_text("left")
    (folder / "notes.txt").write_text("mine")
    to_store(model, folder)
    assert contents(folder) == whole | {"notes.txt": b"mine"}


def one_by_one(n: int = 20, *, scale: float = 1.0) -> Iterator[Tensor]:
    yield from pictures()[:n] * scale


def test_iterators_are_compared_batch_by_batch(model: LiveModel, tmp_path: Path) -> None:
    """Inputs that cannot be hashed as they stand are still told apart, without running the model."""
    folder = tmp_path / "s"
    x = to_store(model, folder, inputs=one_by_one()).x
    own = wrap(vit(), name="tiny")
    seen = runs_of(own)
    assert torch.equal(to_store(own, folder, inputs=one_by_one()).x, x)
    for other, message in (
        (one_by_one(scale=0.9), "other inputs"),
        (one_by_one(12), "other inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            to_store(own, folder, inputs=other)
    assert seen == []


def test_half_done_iterator_with_other_inputs_is_refused(model: LiveModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(Died):
        to_store(model, folder, inputs=one_by_one(), progress=die_at_sample(14))
    before = contents(folder)
    with pytest.raises(ValueError, match="captured from other inputs"):
        to_store(model, folder, inputs=one_by_one(scale=0.9))
    with pytest.raises(ValueError, match="they end earlier"):
        to_store(model, folder, inputs=one_by_one(3))
    assert contents(folder) == before
    stored = to_store(model, folder, inputs=one_by_one())
    assert torch.allclose(stored.x, capture(model, pictures(), POINT, progress=False).x, atol=1e-5)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, "batch_size was 3 and is now 4"),
        ({"dtype": torch.float16}, "dtype was None and is now 'torch.float16'"),
        ({"inputs": pictures() * 0.5}, "the inputs differ"),
    ],
)
def test_another_call_on_a_store_is_refused_by_name(
    model: LiveModel, tmp_path: Path, finished: bool, changes: dict[str, Any], message: str
) -> None:
    """What differs is named, and the store stays as it was."""
    folder = tmp_path / "s"
    if finished:
        to_store(model, folder)
    else:
        with pytest.raises(Died):
            to_store(model, folder, progress=die_at_sample(14))
    before = contents(folder)
    with pytest.raises(ValueError, match=message):
        to_store(model, folder, **changes)
    assert contents(folder) == before


def test_another_model_is_refused(model: LiveModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    to_store(model, folder)
    with pytest.raises(ValueError, match="the model's weights differ"):
        to_store(wrap(vit(seed=1), name="tiny"), folder)
    moved = vit()
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(1e-4)
    with pytest.raises(ValueError, match="the model's weights differ"):
        to_store(wrap(moved, name="tiny"), folder)


def test_preprocessing_is_compared_by_name(tmp_path: Path) -> None:
    """A function is another object in every process; its name is what can be compared."""

    def halved() -> Any:
        def preprocess(x: Tensor) -> Tensor:
            return x / 2

        return preprocess

    made = {"prefix_tokens": 5, "patch_grid": (8, 8), "name": "tiny"}
    x = to_store(wrap(vit(), preprocess=halved(), **made), tmp_path / "s").x
    again = wrap(vit(), preprocess=halved(), **made)
    assert torch.equal(to_store(again, tmp_path / "s").x, x)
    with pytest.raises(ValueError, match="the preprocessing differ"):
        to_store(wrap(vit(), preprocess=torch.sigmoid, **made), tmp_path / "s")


def test_edits_and_stores_do_not_mix(tmp_path: Path) -> None:
    """A store could not tell one edit from another when it is resumed."""
    own = wrap(vit(), name="tiny")
    with (
        splice(own, POINT, lambda x: x + 1),
        pytest.raises(ValueError, match=r"without edits.*resid_post\.1.*acts\.save"),
    ):
        to_store(own, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_failure_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    """A bad row in the last batch: no manifest; fixed inputs need a new folder or the same start."""
    own = wrap(vit(), name="tiny")
    folder = tmp_path / "s"
    own.module.blocks[1].register_forward_hook(
        lambda _m, _a, out: out * float("nan") if len(out) == 2 else out
    )
    with pytest.raises(ValueError, match="must be finite"):
        to_store(own, folder, backend="hooks")
    assert not (folder / "manifest.json").exists()
    with pytest.raises(ValueError, match=r"stopped after \d+ rows. Repeat the same `capture`"):
        load_activations(folder)


# Damage


def damaged_files(folder: Path) -> list[Path]:
    return [folder / name for name in contents(folder) if name != "manifest.json"]


@pytest.mark.parametrize("how", ["cut", "altered", "missing"])
def test_damaged_store_is_refused_by_name(model: LiveModel, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "s"
    to_store(model, folder)
    for file in damaged_files(folder):
        whole = file.read_bytes()
        if how == "cut":
            file.write_bytes(whole[:-10])
        elif how == "altered":
            file.write_bytes(whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:])
        else:
            file.unlink()
        with pytest.raises((ValueError, FileNotFoundError), match=file.name):
            load_activations(folder)
        with pytest.raises((ValueError, FileNotFoundError), match=file.name):
            to_store(model, folder)
        file.write_bytes(whole)
    assert len(load_activations(folder)) == 20 * 69


def test_half_done_store_with_a_damaged_shard_is_refused(model: LiveModel, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(Died):
        to_store(model, folder, progress=die_at_sample(14))
    shard = folder / "rows-00000-0.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="rows-00000-0.*cut short"):
        to_store(model, folder)


def test_folder_of_other_things_is_left_alone(model: LiveModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("42")
    with pytest.raises(ValueError, match="holds other files"):
        to_store(model, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        to_store(model, tmp_path / "thesis.tex")


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there")
def test_two_captures_never_write_into_one_store(model: LiveModel, tmp_path: Path) -> None:
    """The second one is refused while the first is at work."""
    refused = []

    def second(_record: Any) -> None:
        if not refused:
            with pytest.raises(ValueError, match="another one is writing"):
                to_store(model, tmp_path / "s")
            refused.append(True)

    to_store(model, tmp_path / "s", progress=second)
    assert refused
    assert len(to_store(model, tmp_path / "s")) == 20 * 69


# Bounded memory


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    """200 MB captured to disk and streamed back, in shards of 8 MB, cost less than a quarter of them."""
    script = """
        import sys
        import torch
        from sae_nb.capturing import capture
        from sae_nb.models import wrap

        def resident():
            lines = open("/proc/self/status").read().splitlines()
            return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

        torch.set_num_threads(1)
        model = wrap(torch.nn.Sequential(torch.nn.Linear(8, 512), torch.nn.Identity()))
        batches = (torch.randn(500, 8) for _ in range(200))
        seen = []
        keep = lambda record: seen.append(resident())
        acts = capture(model, batches, "0", batch_size=500, store=sys.argv[1], shard_rows=4000,
                       progress=keep)
        stream = acts.batches(512, seed=0, buffer_rows=8000)
        for _ in range(400):
            next(stream)
            seen.append(resident())
        print(max(seen) - seen[10])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "s")],
        env=os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    # Pages of files and free pages that malloc keeps, which come and go as they like (33 to 95 MiB),
    # are not counted: every array of 64 KiB is given back at once.
    assert float(done.stdout) < 200 / 4

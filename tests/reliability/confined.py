"""A day's work in one folder, with everything the process writes, binds or connects to taken down.

Run `python tests/reliability/confined.py FOLDER` with HOME and TMPDIR set to empty folders; prints JSON.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any

PLANTED = "zq7planted"
"""In every environment variable, name and folder of this machine that could end up in a file."""

WRITTEN: set[str] = set()
BOUND: list[str] = []
CONNECTED: list[str] = []
PLACES = {
    "os.rename": (0, 1),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "shutil.rmtree": (0,),
    "shutil.move": (1,),
    "sqlite3.connect": (0,),
}
"""Audit events that change a disk → which of their arguments say where."""

WITHIN = {"os.remove", "os.rmdir", "os.mkdir"}
"""Events whose last argument may be an open folder."""


def take_down(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: where is written, and what is listened on or connected to."""
    if event == "open" and _writes(arguments[1], arguments[2]):
        _note(arguments[0])
    elif event in PLACES:
        for index in PLACES[event]:
            # A name within an open folder (rmtree's) is told when that folder is.
            if event not in WITHIN or arguments[-1] in (-1, None):
                _note(arguments[index])
    elif event == "socket.bind":
        BOUND.append(str(arguments[1]))
    elif event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        CONNECTED.append(f"{event} {arguments[1:] if event != 'socket.getaddrinfo' else arguments}")


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _note(place: Any) -> None:
    if isinstance(place, (str, bytes, os.PathLike)):
        WRITTEN.add(os.path.realpath(os.fsdecode(place)))


def refuse(*_: Any, **__: Any) -> Any:
    """Stands for every way to the network."""
    raise OSError("no network here")


def main() -> None:
    """Work, and print what was taken down."""
    folder = Path(sys.argv[1])
    socket.gethostname = lambda: f"{PLANTED}-host"
    platform.node = lambda: f"{PLANTED}-host"
    socket.create_connection = refuse
    socket.getaddrinfo = refuse
    sys.addaudithook(take_down)
    work(folder)
    print(json.dumps({"written": sorted(WRITTEN), "bound": BOUND, "connected": CONNECTED}))


def work(folder: Path) -> None:
    """Load, capture, train, save, evaluate, look, label, and export."""
    import sae_nb_widgets as sw
    import torch

    import sae_nb as sn

    torch.set_num_threads(1)
    model, shelf = sn.load_model("tiny-vit"), "tiny-vit/resid_post.6"
    ready, examples = sn.load_sae(shelf), sn.load_examples(shelf)
    pictures = examples.acts.context.pictures[:12]
    acts = sn.capture(
        model, pictures, ready.hook_point, store=folder / "acts", shard_rows=300, progress=False
    )
    acts.split(0.5, seed=0)[0].save(folder / "half")
    sae = sn.TopK(acts.d_in, 32, 4, generator=torch.Generator().manual_seed(0))
    config = sn.TrainConfig(steps=6, batch_size=64, checkpoint=folder / "run", checkpoint_every=2)
    sn.train(sae, acts, config, progress=False)
    sae.save(folder / "sae")
    sae.encode(acts.x[:50]).save(folder / "codes")
    sn.evaluate(sae, acts)
    sizes: dict[str, Any] = {"n_atoms": 16, "settings": {"k": [2]}, "seeds": [0]}
    quick = sn.TrainConfig(steps=3, batch_size=64)
    sn.sweep(acts, **sizes, config=quick, folder=folder / "sweep", progress=False)
    _write_for_others(sae, folder)
    text = sn.load_model("tiny-gpt")
    sn.capture(text, ["Lily was sad."] * 3, "resid_post.3", store=folder / "text", progress=False)
    _look(sw, model, ready, examples, folder)


def _write_for_others(sae: Any, folder: Path) -> None:
    from sae_nb.interop import write_saelens

    write_saelens(sae, folder / "saelens")


def _look(sw: Any, model: Any, sae: Any, examples: Any, folder: Path) -> None:
    board = sw.dashboard(model, sae, examples=examples)
    board.atom = 3
    board.save(folder / "session")
    board.to_html(folder / "pages" / "board.html")
    board.close()
    catalogue = examples.catalogue(sae)
    browser = sw.AtomBrowser(sae, examples.acts, atom=1, catalogue=catalogue)
    browser.to_html(folder / "pages" / "atom.html", share_script=True)
    browser.close()


if __name__ == "__main__":
    main()

"""Long work that Ctrl-C may end at any moment, and what must hold afterwards.

Each work is a function of a folder: it runs to its end, says what it returns in a form that can be compared, and
may go on in the same folder. `Interrupts` presses Ctrl-C in the middle of one, by a timer.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn

Work = Callable[[Path], Any]


@cache
def model(name: str) -> Any:
    return sn.load_model(name)


@cache
def rows() -> Any:
    x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
    return sn.Activations.from_tensor(torch.nn.functional.normalize(x, dim=1))


@cache
def pictures() -> Any:
    return sn.data.scenes(48, seed=0)


@cache
def texts() -> list[str]:
    return list(sn.data.stories(24, seed=0).texts)


@cache
def acts() -> Any:
    return sn.capture(model("tiny-vit"), pictures(), "resid_post.6", progress=False)


@cache
def pretrained() -> Any:
    return sn.load_sae("tiny-vit/resid_post.6")


def fresh(seed: int = 0) -> Any:
    return sn.TopK(16, 64, 4, generator=torch.Generator().manual_seed(seed))


def config(**more: Any) -> sn.TrainConfig:
    return sn.TrainConfig(**{"steps": 120, "batch_size": 128} | more)


def dictionary(result: Any) -> torch.Tensor:
    return result.sae.dictionary.detach()


def trained(_: Path) -> Any:
    return dictionary(sn.train(fresh(), rows(), config(), progress=False))


def trained_and_kept(folder: Path) -> Any:
    how = config(checkpoint=folder / "steps", checkpoint_every=20)
    return dictionary(sn.train(fresh(), rows(), how, progress=False))


def trained_and_saved(folder: Path) -> Any:
    result = sn.train(fresh(), rows(), config(save_to=folder / "sae"), progress=False)
    return dictionary(result)


def several_trained(_: Path) -> Any:
    results = sn.train([fresh(0), fresh(1)], rows(), config(), progress=False)
    return torch.stack([dictionary(one) for one in results])


def streamed(_: Path) -> Any:
    stream = sn.stream(model("tiny-vit"), pictures(), "resid_post.6")
    sae = sn.TopK(64, 128, 8, generator=torch.Generator().manual_seed(0))
    return dictionary(sn.train(sae, stream, config(steps=12), progress=False))


def captured(_: Path) -> Any:
    return sn.capture(model("tiny-vit"), pictures(), "resid_post.6", batch_size=4, progress=False).x


def stored(folder: Path) -> Any:
    how = {"store": folder / "acts", "batch_size": 4, "shard_rows": 500, "progress": False}
    return sn.capture(model("tiny-vit"), pictures(), "resid_post.6", **how).x.clone()


def states(_: Path) -> Any:
    return torch.as_tensor(sn.dynamics.capture_states(model("tiny-vit"), pictures(), batch_size=4))


def swept(folder: Path) -> Any:
    how: dict[str, Any] = {"n_atoms": 32, "settings": {"k": [2, 4]}, "seeds": (0, 1)}
    found = sn.sweep(rows(), **how, config=config(steps=40), folder=folder / "s", progress=False)
    return found.table["r2"].tolist()


def compared(_: Path) -> Any:
    given = {"TopK": lambda seed: fresh(seed), "ReLU": lambda seed: sn.ReLU(16, 64)}
    found = sn.evaluation.compare_dictionaries(
        given, rows(), config(steps=30), seeds=(0, 1), progress=False
    )
    return [row.numbers["r2"] for row in found.rows[:1]]


def tried(_: Path) -> Any:
    how = {"seeds": (0, 1), "n_bootstrap": 10, "progress": False}
    return sn.evaluation.stability_trial(fresh, rows(), config(steps=40), **how).final.value


def evaluated(_: Path) -> Any:
    found = sn.evaluate(pretrained(), acts(), model("tiny-vit"), pictures(), progress=False)
    return found.r2.value


def labelled(folder: Path) -> Any:
    found = sn.label(
        pretrained(), acts(), atoms=range(24), file=folder / "labels.json", progress=False
    )
    return [(entry.atom, entry.text) for entry in found.entries.values()]


def site(folder: Path) -> Any:
    place = folder / "site"
    sn.site.write_site(place, pretrained(), acts(), overwrite=True)
    return sorted(path.name for path in place.iterdir())


def laid_out(_: Path) -> Any:
    from sae_nb.geometry import LayoutSettings, umap_layout

    x = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
    return torch.as_tensor(umap_layout(x, LayoutSettings(n_epochs=300), cache=False))


def generated(_: Path) -> Any:
    gpt = model("tiny-gpt")
    with sn.steer(gpt, "resid_post.3", sn.load_sae("tiny-gpt/resid_post.3"), 1, 4.0):
        return list(gpt.generate(["Once upon a time"], 40))


def fitted(_: Path) -> Any:
    return sn.fit_classical(rows(), "SemiNMF", n_atoms=24, k=4, seed=0).dictionary


WORKS: dict[str, Work] = {
    work.__name__: work
    for work in (
        trained, trained_and_kept, trained_and_saved, several_trained, streamed, captured, stored, states, swept,
        compared, tried, evaluated, labelled, site, laid_out, generated, fitted,
    )
}  # fmt: skip


@dataclass
class Press:
    """One Ctrl-C, some seconds after now."""

    after: float

    def __enter__(self) -> None:
        main = threading.main_thread().ident
        self._timer = threading.Timer(self.after, partial(signal.pthread_kill, main, signal.SIGINT))
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        time.sleep(0)  # a signal that came at the last moment is answered here


def seconds(work: Work, folder: Path) -> tuple[float, Any]:
    """Return how long a work takes and what it gives, undisturbed."""
    began = time.perf_counter()
    given = work(folder)
    return time.perf_counter() - began, given

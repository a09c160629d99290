"""Long work that Ctrl-C may end at any moment, and what must hold afterwards.

Each work is a function of a folder: it runs to its end, says what it returns in a form that can be compared, and
may go on in the same folder. `Interrupts` presses Ctrl-C in the middle of one, by a timer.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
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


def itda_fitted(_: Path) -> Any:
    return sn.ITDA(16, 2, threshold=0.3).fit(rows(), progress=False).dictionary.detach()


def archetypes(_: Path) -> Any:
    return sn.fit_classical(rows(), "ArchetypalAnalysis", n_atoms=12, n_steps=20, seed=0).dictionary


def probed(_: Path) -> Any:
    study = sn.evaluation.probe(fresh(), rows(), rows().x[:, 0] > 0, ks=(1,), n_bootstrap=20)
    return study.scores["raw channels", 1].value


def absorbed(_: Path) -> Any:
    found = sn.evaluation.absorption(fresh(), rows(), rows().x[:, 0] > 0, n_bootstrap=20)
    return repr(found)


def faithful(_: Path) -> Any:
    found = sn.evaluation.attribution_fidelity(
        model("tiny-vit"), "resid_post.6", pretrained(), pictures()[:4]
    )
    return torch.as_tensor(found.exact)


def benched(_: Path) -> Any:
    found = sn.uses.bench(pretrained(), model("tiny-vit"), rows=["core", "scr"], n_inputs=48)
    return repr(found.table["score"].tolist())


def read_as_documents(_: Path) -> Any:
    docs = sn.uses.documents(
        model("tiny-vit"), pretrained(), pictures(), "resid_post.6", progress=False
    )
    return torch.as_tensor(docs.matrix.toarray())


def graph(_: Path) -> Any:
    gpt = model("tiny-gpt")
    width = gpt.width("mlp_out.2")
    transcoder = sn.Transcoder(width, width, 64, 8, generator=torch.Generator().manual_seed(0))
    acts = sn.capture(gpt, texts(), ["mlp_in.2", "mlp_out.2"], progress=False)
    sn.train(transcoder, (acts["mlp_in.2"], acts["mlp_out.2"]), steps=30, progress=False)
    found = sn.circuits.attribution_graph(gpt, [transcoder], "One day Mia was", target=" the")
    return found.nodes.astype(str).to_dict()


def exported(folder: Path) -> Any:
    import sae_nb_widgets as sw

    browser = sw.AtomBrowser(pretrained(), acts())
    try:
        return len(browser.to_html(folder / "page.html").read_bytes()) > 0
    finally:
        browser.close()


MORE = (
    itda_fitted, archetypes, probed, absorbed, faithful, benched, read_as_documents, graph, exported,
)  # fmt: skip


WORKS: dict[str, Work] = {
    work.__name__: work
    for work in (
        trained, trained_and_kept, trained_and_saved, several_trained, streamed, captured, stored, states, swept,
        compared, tried, evaluated, labelled, site, laid_out, generated, fitted, *MORE,
    )
}  # fmt: skip


@dataclass
class Press:
    """One Ctrl-C, some seconds after now."""

    after: float
    done: bool = False
    """Whether it was pressed: a work that then ends as if nothing had been has swallowed it."""

    dropped: bool = False
    """Whether Python itself dropped it: an error in the callback of a weak reference goes to no caller."""

    def __enter__(self) -> Press:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._timer = threading.Timer(self.after, self._press)
        self._timer.start()
        return self

    def _press(self) -> None:
        self.done = True
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def _unraisable(self, what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            self.dropped = True
        else:
            self._hook(what)

    def __exit__(self, *_: object) -> None:
        try:
            self._timer.cancel()
            self._timer.join()
            time.sleep(0)  # a signal that came at the last moment is answered here
        finally:
            sys.unraisablehook = self._hook


def seconds(work: Work, folder: Path) -> tuple[float, Any]:
    """Return how long a work takes and what it gives, undisturbed."""
    began = time.perf_counter()
    given = work(folder)
    return time.perf_counter() - began, given

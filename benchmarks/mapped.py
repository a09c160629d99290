"""A dictionary that stays in its file: memory and seconds of loading, encoding, steering and panels.

    python benchmarks/mapped.py --atoms 65536 --width 4096

One process makes the file (random, bfloat16), another measures: after imports, a small wrapped model and
the same steps with a small SAE, so that compiled loops and plotly do not count. Anonymous memory is what a
process cannot give back; file-backed pages the system takes when it needs them. Peaks by `VmHWM` of each
step, the two parts sampled every 5 ms.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROWS, K, PLACE = 64, 32, "resid_post.0"


def resident() -> dict[str, float]:
    """MiB of this process: anonymous, from files, and the highest sum since `fresh`."""
    text = Path("/proc/self/status").read_text()
    names = ("RssAnon", "RssFile", "VmHWM")
    return {n: int(re.search(rf"{n}:\s+(\d+)", text)[1]) / 1024 for n in names}  # type: ignore[index]


def fresh() -> None:
    """Begin the highest sum anew."""
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def step(name: str, base: dict[str, float], quiet: bool) -> Iterator[None]:
    """Print what a step takes beyond the start."""
    seen, over = [resident()], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            seen.append(resident())

    fresh()
    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        over.set()
        thread.join()
    seconds = time.perf_counter() - began
    if quiet:
        return
    beyond = {n: max(one[n] for one in seen) - base[n] for n in ("RssAnon", "RssFile")}
    sums = resident()["VmHWM"] - base["RssAnon"] - base["RssFile"]
    print(
        f"| {name} | {seconds:.1f} | {beyond['RssAnon']:.0f} | {beyond['RssFile']:.0f} | {sums:.0f} |",
        flush=True,
    )


def small_model(width: int) -> Any:
    """A language model of one block with random weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import sae_nb as sn

    torch.manual_seed(0)
    sizes = {"n_embd": width, "n_layer": 1, "n_head": 8, "n_inner": 64}
    return sn.wrap(GPT2LMHeadModel(GPT2Config(vocab_size=100, n_positions=32, **sizes)))


def steps(folder: str, width: int, *, neighbours: bool = True, quiet: bool = False) -> None:
    """Load an SAE and use it in every way."""
    import sae_nb_widgets as sw
    import torch

    import sae_nb as sn

    model, inputs = small_model(width), [[5, 6, 7, 8, 9], [10, 11, 12]]
    x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(0))
    base = resident()
    with step("`load_sae(folder, mmap=True)`, checksum included", base, quiet):
        sae = sn.load_sae(folder, mmap=True)
    with step(f"`encode` {ROWS} rows", base, quiet):
        codes = sae.encode(x)
    with step(f"`decode`, {codes.nnz} entries", base, quiet):
        sae.decode(codes)
    with (
        step("`steer` with an atom and run the model", base, quiet),
        sn.steer(model, PLACE, sae, atom=17, by=4.0),
    ):
        model(inputs)
    with (
        step("`ablate` an atom, which encodes", base, quiet),
        sn.ablate(model, PLACE, sae, atom=17),
    ):
        model(inputs)
    acts = sn.capture(model, inputs * 12, PLACE, progress=False)
    with step("`AtomBrowser(sae, acts)`, two atoms with neighbours", base, quiet):
        browser = sw.AtomBrowser(sae, acts)
        browser.catalogue.order("frequency")
        browser.atom = 17
        browser.catalogue.nearest(17)
        browser.close()
    with step("`InputLens(model, sae)` and one input", base, quiet):
        lens = sw.InputLens(model, sae, PLACE)
        record = sn.top_atoms(model, sae, torch.tensor([inputs[0]]), PLACE)
        lens.close()
    print(
        f"<!-- {len(acts.x)} rows captured; {len(record.tokens)} tokens looked at -->" * (not quiet)
    )
    with step("the map: a sketch of all atoms and its principal components", base, quiet):
        atlas = sn.summaries.ConceptAtlas(sae, acts)
        xy = atlas.pca("atoms")
    if neighbours:
        with step("the map: neighbours of all atoms in the sketch", base, quiet):
            atlas.summary("atoms", xy, "pca", clusters=False)


def make(folder: str, atoms: int, width: int) -> None:
    """Write an SAE of random numbers in bfloat16."""
    import torch

    import sae_nb as sn

    torch.manual_seed(0)
    sn.TopK(width, atoms, k=K).to(torch.bfloat16).eval().save(folder)


def main() -> None:
    """Make the files, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=65_536)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--without-neighbours", action="store_true", help="of all atoms: minutes")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sizes = ["--atoms", str(asked.atoms), "--width", str(asked.width)]
    sizes += ["--without-neighbours"] * asked.without_neighbours
    if asked.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            for name, n in (("small", 256), ("large", asked.atoms)):
                code = f"from mapped import make; make({folder + '/' + name!r}, {n}, {asked.width})"
                subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)
            subprocess.run([sys.executable, __file__, *sizes, "--folder", folder], check=True)
        return
    steps(f"{asked.folder}/small", asked.width, quiet=True)
    print(f"{asked.atoms} atoms × {asked.width}, beyond imports and model")
    print("| step | s | anonymous, MiB more | from the file, MiB | highest sum, MiB more |")
    print("| --- | --- | --- | --- | --- |")
    steps(f"{asked.folder}/large", asked.width, neighbours=not asked.without_neighbours)


if __name__ == "__main__":
    main()

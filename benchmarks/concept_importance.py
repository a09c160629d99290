"""What Sobol indices of 25 concepts cost, beside the same answers by one whole forward pass per mask.

Run `python benchmarks/concept_importance.py`. CPU seconds of all threads, in one process; `sobol` is timed on
all images, the loop on a few masks of one; both are stated per answer and for 64 images. Goal: 10 s on two
cores, for 64 images and 32 designs, of what follows the hook point.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.vision._heads import ConceptHead
from sae_nb_studies.vision._sobol import design

GOAL_IMAGES = 64


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def loop(head: ConceptHead, model: sn.LiveModel, image: Tensor, masks: Tensor) -> list[float]:
    """One image's answers as anyone writes them: a hook that edits, a whole pass per mask."""
    module = model.get_module(model.hook_point(head.hook_point).path)
    codes, found = head.codes[0], []
    for mask in masks.to(codes):

        def edit(_module: object, _args: object, x: Tensor, mask: Tensor = mask) -> Tensor:
            change = (codes * mask - codes) @ head.directions
            return torch.cat((x[:, : model.prefix_tokens], x[:, model.prefix_tokens :] + change), 1)

        handle = module.register_forward_hook(edit)
        with torch.no_grad():
            found.append(float(model.module(image)[0, head.outcomes[0]]))
        handle.remove()
    return found


def main() -> None:
    """Print one row per hook point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--concepts", type=int, default=25)
    parser.add_argument("--designs", type=int, default=32)
    parser.add_argument("--points", nargs="+", default=["6", "8", "10"])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = sn.load_model("tiny-vit", "cpu")
    images = sn.data.scenes(given.images, split="test").images
    masks = torch.from_numpy(design(given.concepts, given.designs, 0)).float()
    print(
        "| hook point | blocks behind | CPU s for 64 images | wall s | ms an answer | loop, ms | × |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for layer in given.points:
        found = sn.vision.craft(model, images, f"resid_post.{layer}", n_concepts=given.concepts)
        start, head = time.perf_counter(), found.head
        took = seconds(lambda: sn.vision.sobol(head, head.codes, n_designs=given.designs))  # noqa: B023
        wall = (time.perf_counter() - start) * GOAL_IMAGES / given.images
        some = masks[:24]
        mine = head.masked(some)[0]
        again: list[float] = []
        alone = seconds(lambda: again.extend(loop(head, model, images[:1], some)))  # noqa: B023
        assert torch.allclose(mine, torch.tensor(again), atol=1e-3)
        each, other = took / (given.images * len(masks)), alone / len(some)
        print(
            f"| `resid_post.{layer}` | {model.n_layers - 1 - int(layer)} | "
            f"{took * GOAL_IMAGES / given.images:.1f} | {wall:.1f} | {1e3 * each:.2f} | "
            f"{1e3 * other:.2f} | {other / each:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

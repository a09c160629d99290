"""What `capture` costs beside a plain forward pass with hooks, and whether memory stays flat.

Run `python benchmarks/capture.py`. The baseline is the shortest honest code: inputs that are ready,
a forward hook per hook point that keeps `output.detach()`, a full forward pass. `capture` starts
from raw inputs and also copies, lays out, selects and checks rows; it stops after the last hook
point. Both are timed in CPU seconds, alternating, and the median of the ratios is printed.
Goal: 1.1 at most; memory at most 2 % up over 200 traces.

`--model NAME` is about the last block of one real model, beside a hooked pass of its blocks without the
unembedding.

`--steer FOLDER` times a run that is steered through nnsight against the same edit by hooks instead, of tiny-gpt
and of a checkpoint such as SmolLM2-135M's. Goal: 1.15 at most.

`--monitor tiny-gpt smollm2-135m` times what a monitor adds to a token that a model writes. Goal: 1.05 at most
for one name.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.capturing import capture
from sae_nb.models import LiveModel, load_model, wrap
from sae_nb.models._interventions import Backend
from sae_nb.models._running import run
from sae_nb.models._vision_transformer import VisionTransformer, VisionTransformerConfig
from sae_nb.steering import random_direction, steer

BACKENDS: tuple[Backend, Backend] = ("nnsight", "hooks")


@dataclass(frozen=True)
class Case:
    """One model, its inputs, and the hook points read in one pass."""

    name: str
    model: LiveModel
    inputs: Any
    points: list[str]
    batch_size: int


def vision_case(n_points: int) -> Case:
    config = VisionTransformerConfig(d_model=64, n_blocks=12)
    model = wrap(VisionTransformer(config, generator=torch.Generator().manual_seed(0)).eval())
    points = [f"resid_post.{layer}" for layer in range(12)][-n_points:]
    name = f"ViT d 64, 12 blocks, 256 pictures, {n_points} hook points"
    return Case(name, model, torch.rand(256, 3, 32, 32), points, 64)


def language_case(d: int, layers: int, n_points: int, n_texts: int, length: int) -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    heads = max(2, d // 64)
    module = GPT2LMHeadModel(
        GPT2Config(vocab_size=1024, n_positions=512, n_embd=d, n_layer=layers, n_head=heads, **ids)
    )
    points = [f"resid_post.{layer}" for layer in range(layers)][-n_points:]
    name = (
        f"GPT-2 shape d {d}, {layers} blocks, {n_texts} × {length} tokens, {n_points} hook points"
    )
    inputs = torch.randint(3, 1024, (n_texts, length))
    return Case(name, wrap(module.eval()), inputs, points, 8)


def real_case(name: str, n_texts: int, length: int) -> Case:
    """The last block of a real model, on tokens drawn from its vocabulary."""
    model = load_model(name)
    n = model.vocabulary_size or 1024
    ids = torch.randint(5, n, (n_texts, length), generator=torch.Generator().manual_seed(0))
    point = f"resid_post.{(model.n_layers or 1) - 1}"
    return Case(f"{name}, {n_texts} × {length} tokens, {point}", model, ids, [point], n_texts)


def cases(large: bool) -> list[Case]:
    chosen = [
        vision_case(1),
        vision_case(12),
        language_case(64, 4, 1, 32, 64),
        language_case(256, 6, 1, 32, 128),
        language_case(256, 6, 6, 32, 128),
    ]
    return [*chosen, language_case(768, 12, 1, 16, 64)] if large else chosen


def plain_hooked(case: Case, *, whole: bool = True) -> Callable[[], list[Tensor]]:
    """Return the baseline: ready batches, one hook per hook point, full forward passes."""
    batches = list(case.model.batches(case.inputs, batch_size=case.batch_size))
    modules = [case.model.get_module(case.model.hook_point(name).path) for name in case.points]

    # Of a real model the blocks alone: an unembedding that nobody reads would flatter us.
    module = case.model.module if whole else case.model.module.base_model

    def run() -> list[Tensor]:
        kept: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            kept.append((output if isinstance(output, Tensor) else output[0]).detach())

        handles = [module.register_forward_hook(keep) for module in modules]
        with torch.no_grad():
            for batch in batches:
                module(*batch.args, **batch.kwargs)
        for handle in handles:
            handle.remove()
        return kept

    return run


def captured(case: Case, backend: Backend) -> Callable[[], Any]:
    return lambda: capture(
        case.model,
        case.inputs,
        case.points,
        batch_size=case.batch_size,
        backend=backend,
        progress=False,
    )


def cpu_seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def ratio(
    plain: Callable[[], float], ours: Callable[[], float], repeats: int
) -> tuple[float, float]:
    """Return the baseline's CPU seconds and the median ratio of ours to it."""
    plain(), ours(), plain(), ours()
    pairs = []
    for turn in range(repeats):
        # Whoever comes second finds warmer caches: take turns.
        if turn % 2:
            b, a = ours(), plain()
        else:
            a, b = plain(), ours()
        pairs.append((a, b))
    return statistics.median(a for a, _ in pairs), statistics.median(b / a for a, b in pairs)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_growth(case: Case, backend: Backend, traces: int = 200) -> float:
    """Return resident memory after `traces` passes relative to before, once warm."""
    batch = next(case.model.batches(case.inputs, batch_size=case.batch_size))
    for _ in range(40):
        run(case.model, batch, read=case.points, answer=False, backend=backend)
    before = resident()
    for _ in range(traces):
        run(case.model, batch, read=case.points, answer=False, backend=backend)
    return resident() / before


def steered(model: LiveModel, backend: Backend, run: Callable[[], Any], times: int = 1) -> float:
    """Run something so many times in one block; return CPU seconds per run, without the block's."""
    point = f"resid_post.{len([p for p in model.hook_points() if p.kind == 'resid_post']) // 2}"
    direction = random_direction(model.width(point) or 0, seed=0)
    with steer(model, point, direction=direction, by=2.0, backend=backend):
        run()
        begin = time.process_time()
        for _ in range(times):
            run()
        return (time.process_time() - begin) / times


def steering(folder: str, repeats: int) -> None:
    print("\n## steering\n\n| run | by hooks | nnsight ÷ hooks |\n| --- | --- | --- |")
    for name, times in (("tiny-gpt", 20), (folder, 1)):
        model = load_model(name)
        ids = torch.randint(5, 900, (1, 64), generator=torch.Generator().manual_seed(0))
        tasks: dict[str, tuple[Callable[[], Any], int]] = {
            "forward pass of 64 tokens": (partial(model, ids), times),
            "generation of 20 tokens, cached": (
                partial(model.generate, "Once upon a time there was", 20),
                max(1, times // 4),
            ),
        }
        for what, (work, n) in tasks.items():
            by_hooks, traced = (partial(steered, model, b, work, n) for b in ("hooks", "nnsight"))
            seconds, factor = ratio(by_hooks, traced, repeats)
            print(
                f"| {Path(name).name}, {what} | {1e3 * seconds:.2g} ms | {factor:.2f} |", flush=True
            )


N_TOKENS = 24
MONITOR_GOAL = 1.05


def meters(model: Any) -> dict[str, Any]:
    """Monitors of more and more names."""
    n, rng = int(model.n_layers), torch.Generator().manual_seed(0)
    width = model.width(model.hook_point("resid_post.0"))
    places = [f"resid_post.{i}" for i in (n // 2, n // 4, 3 * n // 4)]
    neutral = sn.data.stories(20).texts

    def made(names: list[str]) -> Any:
        rows = {str(i): (place, torch.randn(width, generator=rng)) for i, place in enumerate(names)}
        return sn.monitor(model, rows, neutral)

    return {
        "no monitor": None,
        "one name": made(places[:1]),
        "eight names at one hook point": made(places[:1] * 8),
        "three hook points": made(places),
    }


def writing(model: Any, meter: Any) -> float:
    """Seconds for one text."""
    with nullcontext() if meter is None else meter.watch():
        started = time.perf_counter()
        model.generate("Once there was a", max_new_tokens=N_TOKENS)
        return time.perf_counter() - started


def monitored(model: Any, meter: Any, rounds: int) -> list[float]:
    """Seconds with a monitor over those without, round by round."""
    found = []
    for number in range(rounds):
        pair = (None, meter) if number % 2 else (meter, None)
        taken = [writing(model, one) for one in pair]
        found.append(taken[1] / taken[0] if number % 2 else taken[0] / taken[1])
    return found


def monitors(models: list[str], rounds: int) -> None:
    """Print what a monitor adds to a token, round by round in either order; "no monitor" is the noise."""
    print("## a token with a monitor\n")
    print("| model | monitor | times a token's cost | quartiles |\n| --- | --- | --- | --- |")
    for name in models:
        model = sn.load_model(name, "cpu")
        for label, meter in meters(model).items():
            monitored(model, meter, 2)
            found = monitored(model, meter, rounds)
            low, middle, high = statistics.quantiles(found, n=4)
            print(f"| {name} | {label} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)
    print(f"\nGoal: {MONITOR_GOAL} for one name.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="also GPT-2's own size")
    parser.add_argument("--steer", metavar="FOLDER", help="a checkpoint to steer besides tiny-gpt")
    parser.add_argument(
        "--monitor", nargs="+", metavar="NAME", help="models that write with a monitor"
    )
    parser.add_argument("--model", metavar="NAME", help="a real model, such as gemma-3-270m")
    options = parser.parse_args()
    if options.monitor:
        monitors(options.monitor, 3 * options.repeats)
        return
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"{options.threads} thread(s), median of {options.repeats}, CPU seconds")
    if options.steer:
        steering(options.steer, options.repeats)
        return
    real = options.model
    print(f"\n## {real or 'capture'}\n\n| case | nnsight | hooks |\n| --- | --- | --- |")
    for case in [real_case(real, 1, 64)] if real else cases(options.large):
        plain = partial(cpu_seconds, plain_hooked(case, whole=not real))
        traced, hooked = (
            ratio(plain, partial(cpu_seconds, captured(case, backend)), options.repeats)[1]
            for backend in BACKENDS
        )
        print(f"| {case.name} | {traced:.2f} | {hooked:.2f} |", flush=True)
    if not real and Path("/proc/self/statm").exists():
        growth = memory_growth(vision_case(12), "nnsight")
        print(f"\nmemory after 200 traces of 12 hook points: {growth:.3f} of what it was")


if __name__ == "__main__":
    main()

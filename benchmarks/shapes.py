"""What models of known shapes cost, with random weights: the time and memory of the real ones, without content.

`python benchmarks/shapes.py` makes a folder as GPT-2 has one (12 blocks of width 768, 50 257 tokens,
`vocab.json` and `merges.txt` of a byte-level BPE trained on the prose of Python), opens it, and does what the
page on GPT-2 does: capture, TopK, report, lens, heads, steering. `--blocks` is for models too large for that:
parameters are counted on torch's meta device, and one block is run, as it is, captured and steered.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from capture import Case, captured, cpu_seconds, plain_hooked, ratio

import sae_nb as sn

N_TOKENS, END = 50_257, "<|endoftext|>"
FEW = 20
"""Texts that the model reads again with the SAE in it."""

HOOK_POINT, PROMPT = "resid_post.7", "When the statement is executed,"

LARGER: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-2": ("GPT2", {}),
    "Llama-3.2-1B": (
        "Llama",
        {
            "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 64, "tie_word_embeddings": True, "rms_norm_eps": 1e-5,
        },
    ),
    "Gemma-2-2B": (
        "Gemma2",
        {
            "vocab_size": 256_000, "hidden_size": 2304, "intermediate_size": 9216,
            "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "sliding_window": 4096,
        },
    ),
}  # fmt: skip
"""Class and settings of each, as its `config.json` on the hub has them."""

N_TEXTS, LENGTH, FEW_TOKENS = 4, 128, 1024
"""Texts and tokens of each that a block is run on; tokens of the one-block models' vocabulary."""


def main() -> None:
    """Print one table: every step, its seconds, the memory of the process, what came out."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tokens", type=int, default=30_000)
    asked.add_argument("--atoms", type=int, default=4096)
    asked.add_argument("--steps", type=int, default=200)
    asked.add_argument("--make", type=Path, help="only make the model in this folder")
    asked.add_argument("--blocks", action="store_true", help="larger shapes: count, and one block")
    given = asked.parse_args()
    if given.blocks:
        return larger()
    if given.make:
        return made(given.make)
    with tempfile.TemporaryDirectory() as place:
        # In a process of its own: its memory is not that of the steps.
        subprocess.run([sys.executable, __file__, "--make", place], check=True)
        rows = measured(Path(place), given.tokens, given.atoms, given.steps)
    print("\n## GPT-2\n")
    print("| step | seconds | CPU seconds | memory, most so far | outcome |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def larger() -> None:
    """Print one table: a row a shape, counted and on one block."""
    torch.set_num_threads(1)
    print("\n## one block\n")
    print(
        "| shape | blocks × width | parameters, of them the embedding | weights, fp32 and bf16 | logits of 512 "
        "tokens | a block on 512 tokens | capture ÷ a hook | steered ÷ a hook |\n"
        + "|---" * 8
        + "|"
    )
    for name, (family, settings) in LARGER.items():
        config = getattr(transformers, f"{family}Config")(**settings)
        build = getattr(
            transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}"
        )
        with torch.device("meta"):
            counted = build(config)
        n = sum(weight.numel() for weight in counted.parameters())
        embedding = counted.get_input_embeddings().weight.numel()
        n_blocks, width = config.num_hidden_layers, config.hidden_size
        config.num_hidden_layers, config.vocab_size = 1, FEW_TOKENS
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:1]
        seconds, capture, steering = one_block(build(config).eval())
        row = (
            f"{n_blocks} × {width}", f"{n / 1e6:.0f} M, {embedding / 1e6:.0f} M",
            f"{4 * n / 1e9:.2f} GB, {2 * n / 1e9:.2f} GB",
            f"{4 * N_TEXTS * LENGTH * settings.get('vocab_size', N_TOKENS) / 1e9:.2f} GB",
            f"{seconds:.2f} s", f"{capture:.2f}", f"{steering:.2f}",
        )  # fmt: skip
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def one_block(module: Any) -> tuple[float, float, float]:
    """Return CPU seconds of a hooked pass, and the ratios to it of a capture and of a steered pass."""
    torch.manual_seed(0)
    model = sn.wrap(module)
    ids = torch.randint(3, FEW_TOKENS, (N_TEXTS, LENGTH))
    case = Case("one block", model, ids, ["resid_post.0"], N_TEXTS)
    plain, direction = (
        partial(cpu_seconds, plain_hooked(case)),
        sn.random_direction(model.width("embed"), 0),
    )
    seconds, capture = ratio(plain, partial(cpu_seconds, captured(case, "nnsight")), 5)

    def steered() -> float:
        with sn.steer(model, "resid_post.0", direction=direction, by=2.0):
            return cpu_seconds(lambda: model(ids))

    return seconds, capture, ratio(plain, steered, 5)[1]


def measured(place: Path, n_tokens: int, n_atoms: int, steps: int) -> list[list[str]]:
    """Do every step once, in the order of the page."""
    rows: list[list[str]] = []

    def step(name: str, work: Callable[[], Any], outcome: Callable[[Any], str]) -> Any:
        begun, used = time.perf_counter(), time.process_time()
        result = work()
        spent, cpu = time.perf_counter() - begun, time.process_time() - used
        rows.append([name, f"{spent:.1f}", f"{cpu:.1f}", f"{peak():.2f} GB", outcome(result)])
        print(" · ".join(rows[-1]), flush=True)
        return result

    gpt2 = step("`sn.load_model(folder)`", lambda: sn.load_model(place / "gpt2"), size_of)
    prose = sn.data.prose("train").texts
    texts = enough(gpt2, prose, n_tokens)
    acts = step(
        f"`sn.capture` at `{HOOK_POINT}`, contexts of 128",
        lambda: sn.capture(gpt2, texts, HOOK_POINT, context_length=128, progress=False),
        lambda found: f"{len(found):,} rows of {found.d_in}".replace(",", " "),
    )
    train, test = acts.split(0.8, seed=0)
    sae = sn.TopK(acts.d_in, n_atoms, k=32, generator=torch.Generator().manual_seed(0))
    step(
        f"`sn.train`, TopK of {n_atoms} atoms, {steps} steps",
        lambda: sn.train(sae, train, steps=steps, progress=False),
        lambda _: f"R² {float(sn.evaluate(sae, test, n_bootstrap=0)['r2']):.2f} of random states",
    )
    few = sn.capture(gpt2, texts[:FEW], HOOK_POINT, context_length=128, progress=False)
    step(
        f"`sn.evaluate` with the model's loss, {len(few)} rows",
        lambda: sn.evaluate(sae, few, model=gpt2, inputs=texts[:FEW], n_bootstrap=0),
        lambda report: f"{len(report)} numbers",
    )
    lens = sn.fit_lens(gpt2, texts[:1], kind="logit", context_length=32)
    step(
        "logit lens of a prompt",
        lambda: lens.read(PROMPT),
        lambda found: f"{found.kl.shape[0]} layers",
    )
    step(
        "`sn.circuits.head_scores`",
        lambda: sn.circuits.head_scores(gpt2),
        lambda found: f"{len(found.table)} heads",
    )
    step(
        "30 tokens written",
        lambda: gpt2.generate(PROMPT, max_new_tokens=30),
        lambda _: "greedy",
    )
    step(
        "30 tokens written twice, once with an atom added, and its 99th percentile",
        lambda: steered(gpt2, sae, acts),
        lambda changed: "another text" if changed else "the same text",
    )
    return rows


def made(place: Path) -> None:
    """Write a folder as GPT-2's, with random weights; its tokenizer knows the prose of Python."""
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sn.data.prose("train").texts, N_TOKENS, special_tokens=[END])
    bpe.save_model(str(place))
    vocabulary = json.loads((place / "vocab.json").read_text(encoding="utf-8"))
    while len(vocabulary) < N_TOKENS:  # what this little text does not fill
        vocabulary[f"<unused {len(vocabulary)}>"] = len(vocabulary)
    (place / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(transformers.GPT2Config()).save_pretrained(place / "gpt2")
    tokenizer = transformers.GPT2TokenizerFast(str(place / "vocab.json"), str(place / "merges.txt"))
    tokenizer.save_pretrained(place / "gpt2")


def size_of(model: Any) -> str:
    """Return blocks, width and parameters."""
    count = sum(weight.numel() for weight in model.module.parameters())
    width = model.config.n_embd
    return f"{model.n_layers} blocks of width {width}, {count / 1e6:.0f} M parameters"


def enough(model: Any, texts: Any, n_tokens: int) -> list[str]:
    """Return the first texts that hold so many tokens within their contexts."""
    chosen, counted = [], 0
    for text in texts:
        if counted >= n_tokens:
            break
        chosen.append(text)
        counted += min(len(model.tokenizer(text)["input_ids"]), 128)
    return chosen


def steered(model: Any, sae: Any, acts: Any) -> bool:
    """Return whether an atom that fires often changes what is written."""
    atom = int(torch.bincount(sae.encode(acts.x[:2000]).atoms.long()).argmax())
    plain = model.generate(PROMPT, max_new_tokens=30)
    with sn.steer(model, HOOK_POINT, sae, atom=atom, by=3, unit="p99", acts=acts):
        return bool(model.generate(PROMPT, max_new_tokens=30) != plain)


def peak() -> float:
    """Return the most memory that the process has held, in GB; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()

"""Can an agent find what is planted with the tools that it has? Five kinds of task, done by fixed rules.

A certificate's verdicts on planted atoms, a head and neurons of known circuits, and fine-tunings of tiny-gpt that
taught it one change or none, after 20 steps and after 5.
"""

from __future__ import annotations

from sae_nb.serving import TASK_NAMES, TaskName, bench_task

SHORT: dict[str, object] = {"tasks": ("head", "neurons")}


def run(seed: int, *, tasks: tuple[TaskName, ...] = TASK_NAMES) -> dict[str, float]:
    """Draw each task and have the fixed rules and the oracle do it.

    `tasks`: some of the kinds.
    """
    numbers: dict[str, float] = {}
    for name in tasks:
        scored = bench_task(name, seed)
        numbers |= {f"{name}: {who}": score for who, score in scored.items()}
    for who in ("rule-based", "oracle", "a guess"):
        numbers[who] = sum(numbers[f"{name}: {who}"] for name in tasks) / len(tasks)
    return numbers

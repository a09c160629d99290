"""Can it be told before a push how steady an atom's effect is elsewhere in SmolLM2-135M? After blocks 9 and 23.

As `clean_pushes`, which is after block 16, with 100 atoms and 8 texts of 24 tokens each; names of numbers begin with
the block.
"""

from __future__ import annotations

from sae_nb_studies.reproductions.experiments import clean_pushes

SHORT = {"name": "tiny-gpt/resid_post.3", "n_pushed": 40, "n_inputs": 6}
BLOCKS = (9, 23)


def run(
    seed: int,
    *,
    name: str = "smollm2-135m/resid_post.{block}",
    n_pushed: int = 100,
    n_inputs: int = 8,
) -> dict[str, float]:
    """Return the numbers of `clean_pushes` after each block; `name`: of its SAE."""
    return {
        f"block {block}, {number}": value
        for block in BLOCKS
        for number, value in clean_pushes.run(
            seed, name=name.format(block=block), n_pushed=n_pushed, n_inputs=n_inputs
        ).items()
    }

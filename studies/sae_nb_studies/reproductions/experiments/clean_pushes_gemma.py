"""Can it be told before a push how steady an atom's effect is in another language model? Gemma 3 270M after block 9.

As `clean_pushes`, with 100 atoms and 8 texts of 24 tokens. The model is fetched by name, once its terms are accepted.
"""

from __future__ import annotations

from sae_nb_studies.reproductions.experiments import clean_pushes

SHORT = clean_pushes.SHORT


def run(
    seed: int,
    *,
    name: str = "gemma-3-270m/resid_post.9",
    n_pushed: int = 100,
    n_inputs: int = 8,
) -> dict[str, float]:
    """Return the numbers of `clean_pushes` for draws of atoms and texts."""
    return clean_pushes.run(seed, name=name, n_pushed=n_pushed, n_inputs=n_inputs)

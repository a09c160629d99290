"""Can it be told before a push how steady an atom's effect is on a vision transformer? tiny-vit after block 6.

As `clean_pushes`, with 100 atoms and 24 images; the answer is one of ten digits.
"""

from __future__ import annotations

from sae_nb_studies.reproductions.experiments import clean_pushes

SHORT = {"n_pushed": 40, "n_inputs": 8}


def run(seed: int, *, n_pushed: int = 100, n_inputs: int = 24) -> dict[str, float]:
    """Return the numbers of `clean_pushes` for draws of atoms and images."""
    return clean_pushes.run(
        seed, name="tiny-vit/resid_post.6", n_pushed=n_pushed, n_inputs=n_inputs
    )

"""Can it be told before a push how steady an atom's effect is, and how far it spreads? SmolLM2-135M after block 16.

`sn.forecast` with 100 atoms and 8 texts of 24 tokens: each atom is pushed by its own p99 (stability) and by what moves
the next word by .1 nats (spread). Nine statistics from the dictionary and stored codes foretell atoms that were held
out, beside density alone, p99 alone and what came, shuffled among the atoms.
"""

from __future__ import annotations

import sae_nb as sn
from sae_nb.statistics import rank_correlation

SHORT = {"name": "tiny-gpt/resid_post.3", "n_pushed": 40, "n_inputs": 6}
SHOWN = ("rank", "by density", "by p99", "shuffled", "upper", "lower", "mean", "random", "foretold")


def run(
    seed: int,
    *,
    name: str = "smollm2-135m/resid_post.16",
    n_pushed: int = 100,
    n_inputs: int = 8,
) -> dict[str, float]:
    """Draw atoms and texts, push, and return how well held-out atoms are foretold.

    Returns
    -------
    Of stability and of spread the columns of `Forecast.fits`; "stability, by neighbours" and "stability, by KL": rank
    correlations of what came with neighbours of cosine > .2, and with the nats by which an atom's p99 moves the answer;
    of these nats the tenth and the ninetieth percentile.
    """
    model = sn.load_model(name.split("/")[0], "cpu")
    found = sn.forecast(
        model,
        sn.load_sae(name),
        n_pushed=n_pushed,
        n_inputs=n_inputs,
        seed=seed,
        progress=False,
    )
    came = found.table.dropna(subset="came_stability")
    stability, kl = came["came_stability"].to_numpy(), came["kl"].to_numpy()
    return {
        **{
            f"{outcome}, {column}": float(row[column])
            for outcome, row in found.fits.iterrows()
            for column in SHOWN
        },
        "stability, by neighbours": rank_correlation(came["neighbours"].to_numpy(), stability),
        "stability, by KL": rank_correlation(kl, stability),
        "KL at p99, tenth percentile": float(came["kl"].quantile(0.1)),
        "KL at p99, ninetieth percentile": float(came["kl"].quantile(0.9)),
    }

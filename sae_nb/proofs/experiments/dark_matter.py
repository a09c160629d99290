"""How much of what an SAE misses a linear map of its input predicts, on two small models and a real one.

TopK SAEs, 8 atoms per dimension (at most 2048), k = 16; maps are fitted on half of the fresh samples and
judged on the other half. Bounds are the paper's statements for large language models.
"""

from __future__ import annotations

from sae_nb.evaluation.dark_matter import split_error
from sae_nb.proofs.claims import Claim, Line, Shown
from sae_nb.proofs.three_models import PLACES, models_of, seen_by, trained_on

TITLE = "Dark matter: is the error of an SAE predicted by its input?"
SHORT = {"steps": 60, "pictures": 60, "texts": 60, "minilm": ""}
PAPER = "arXiv 2410.14670"


def run(
    seed: int, *, steps: int = 600, pictures: int = 400, texts: int = 400, minilm: str = "minilm"
) -> dict[str, float]:
    """Train an SAE on each model and split its error.

    Parameters
    ----------
    seed
        Of samples and trainings.
    steps
        Of each training.
    pictures, texts
        To train on, and as many to judge.
    minilm
        Folder of all-MiniLM-L6-v2; empty leaves it out.
    """
    numbers: dict[str, float] = {}
    for name, source in models_of(minilm).items():
        n = pictures if name == "tiny-vit" else texts
        seen = seen_by(name, source, seed, train=n, test=n)
        sae = trained_on(seen, seed, steps=steps)
        split = split_error(sae, seen.test, n_bootstrap=0, seed=seed)
        found = {
            "linear r2": split.value,
            "shuffled": float(split.floor or 0.0),
            "random dictionary": float(split.control or 0.0),
            "norm r2": split.norm.value,
            "norm by the best plain predictor": float(split.norm.floor or 0.0),
            "gain": split.gain,
            **{f"share {part}": share.value for part, share in split.shares.items()},
        }
        numbers |= {f"{name} {what}": value for what, value in found.items()}
    return numbers


def _shares(name: str) -> tuple[Shown, ...]:
    parts = ("explained", "shrinkage", "linear", "nonlinear", "rest")
    return tuple(
        Shown(number=f"{name} share {part}", label=f"{name}, share of variance, {part}")
        for part in parts
    )


CLAIMS = (
    Claim(
        name="half of the error is linear",
        text="About half of an SAE's error is predicted by a linear map of its input",
        paper=PAPER,
        notebook="10 §6",
        lines=tuple(
            Line(number=f"{name} linear r2", label=f"R²(e | x), {name}", at_least=0.4)
            for name in PLACES
        ),
        shown=tuple(share for name in PLACES for share in _shares(name)),
        floor=Shown(number="minilm shuffled", label="inputs shuffled against errors, minilm"),
        control=Shown(
            number="minilm random dictionary", label="a random dictionary of the same L0, minilm"
        ),
    ),
    Claim(
        name="some of the error is linear",
        text="More of the error is linear in the input than chance, after shrinkage is made good",
        paper=PAPER,
        notebook="10 §6",
        lines=tuple(
            Line(
                number=f"{name} linear r2",
                label=f"R²(e | x), {name}",
                at_least=0.02,
                short=None if name == "minilm" else 0.02,
            )
            for name in PLACES
        ),
        floor=Shown(number="tiny-gpt shuffled", label="inputs shuffled, tiny-gpt"),
        control=Shown(number="tiny-vit shuffled", label="inputs shuffled, tiny-vit"),
    ),
    Claim(
        name="the error's size is linear",
        text="More than 90 % of the variance of ‖e‖² is predicted by a linear map of the input",
        paper=PAPER,
        notebook="10 §6",
        lines=tuple(
            Line(number=f"{name} norm r2", label=f"R²(‖e‖² | x), {name}", at_least=0.9)
            for name in PLACES
        ),
        floor=Shown(
            number="minilm norm by the best plain predictor",
            label="the best of token, activation norm and L0, minilm",
        ),
        control=Shown(
            number="tiny-gpt norm by the best plain predictor", label="the same, tiny-gpt"
        ),
    ),
)

"""E3: how token states travel through depth, on small digit transformers and on the bundled models.

The digit transformers of E1 (with and without residual drop) are trained anew for every seed. Of the
bundled models there is one each: there a seed draws other pictures, texts and pushes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from sae_nb.data import scenes, stories
from sae_nb.dynamics.linearisation import linearise_phases
from sae_nb.dynamics.perturbation import self_correction
from sae_nb.dynamics.states import States, capture_states
from sae_nb.dynamics.trajectory import Trajectories, trajectories
from sae_nb.models import LiveModel, load_model, wrap
from sae_nb.models.vision_transformer import VisionTransformer
from sae_nb.proofs.claims import Claim, Line, Shown
from sae_nb.proofs.experiments.block_recurrence import DROPS, coloured, teacher
from sae_nb.summaries.depth_inputs import depth_inputs

TITLE = "Depth as dynamics: where states go, how fast, and what becomes of a push (E3)"
SHORT = {"teacher_steps": 60, "n_pictures": 64}
PAPER = "arXiv 2512.19941"
OURS = "ours"
BUNDLED = ("tiny-vit", "tiny-vit-plain", "tiny-vit-tied")
PUSHED_AT, PUSH = 4, 0.05
TRUE_CUTS, WRONG_CUTS = (0, 4, 8, 12), (0, 2, 7, 12)


def run(seed: int, *, teacher_steps: int = 240, n_pictures: int = 256) -> dict[str, float]:
    """Train the digit transformers, measure them and the bundled models.

    Parameters
    ----------
    seed
        Of training, pictures, texts and pushes.
    teacher_steps
        Of 100 digits.
    n_pictures
        Measured of each vision model.
    """
    numbers: dict[str, float] = {}
    digits, label = (part[:n_pictures] for part in coloured("test"))
    for name, drop in DROPS.items():
        model = teacher(seed, drop, teacher_steps)
        numbers |= _named(name, _vision(model, digits, label, seed))
    config = cast(VisionTransformer, model.module).config
    untrained = VisionTransformer(config, generator=torch.Generator().manual_seed(seed))
    numbers |= _named("untrained", _vision(wrap(untrained.eval()), digits, label, seed))
    pictures = scenes(n_pictures, seed=seed, split="test")
    for name in BUNDLED:
        bundled = load_model(name)
        numbers |= _named(name, _vision(bundled, pictures.images, pictures.digit, seed))
        if name == "tiny-vit-tied":
            numbers |= _named(name, _linear(bundled, pictures.images, seed))
    return numbers | _named("tiny-gpt", _language(seed))


def _named(name: str, found: dict[str, float]) -> dict[str, float]:
    return {f"{name} {what}": value for what, value in found.items()}


def _vision(model: LiveModel, pictures: Tensor, label: Tensor, seed: int) -> dict[str, float]:
    states = capture_states(model, pictures, backend="hooks")
    paths = trajectories(states, label, seed=seed)
    gap, coherence = paths.basins.gap, paths.coherence.mean(dim=0)  # type: ignore[union-attr]
    return {
        **_shared(paths, "cls"),
        **_pushed(model, pictures, states, seed),
        "coherence first": float(coherence.min()),
        "coherence last": float(coherence[-1]),
        "coherence gained": float(coherence[-1] - coherence.min()),
        "coherence floor": paths.coherence_floor,
        "basins first": float(gap[1]),
        "basins last": float(gap[-1]),
        "basins gained": float(gap[-1] - gap[1]),
        "basins floor": float(paths.basins.floor[-1]),  # type: ignore[union-attr]
        "silhouette last": float(paths.basins.silhouette[-1]),  # type: ignore[union-attr]
        "register speed": float(paths.mean("speed", "register")[1:].mean()),
        "patch speed": float(paths.mean("speed", "patch")[1:].mean()),
    }


def _language(seed: int) -> dict[str, float]:
    model = load_model("tiny-gpt")
    texts = depth_inputs(model, list(stories(64, seed=seed).texts)).samples
    states = capture_states(model, texts, backend="hooks")
    return _shared(trajectories(states), "token")


def _shared(paths: Trajectories, kind: str) -> dict[str, float]:
    """What is measured of cls, and of the tokens of a text."""
    gamma, speed = paths.mean("convergence", kind), paths.mean("speed", kind)
    norms, stable = paths.mean("norms", kind), paths.update_rank.stable
    effective = paths.update_rank.effective
    late, middle = speed[-2:], speed[1:-2]
    return {
        "gamma halfway": float(gamma[len(gamma) // 2]),
        "gamma before last": float(gamma[-2]),
        "smallest rise of gamma": float(gamma[1:].diff().min()),
        "norm grown": float(norms[-1] / norms[0]),
        "norm grown after block 1": float(norms[-1] / norms[1]),
        "speed": float(middle.mean()),
        "late speed over middle": float(late.max() / middle.median()),
        "late stable rank over middle": float(stable[-1] / stable[1:-1].median()),
        "late effective rank over middle": float(effective[-1] / effective[1:-1].median()),
        "last stable rank": float(stable[-1]),
    }


def _pushed(model: LiveModel, pictures: Tensor, states: States, seed: int) -> dict[str, float]:
    few = slice(0, 96)
    fading = self_correction(
        model,
        pictures[few],
        layer=PUSHED_AT,
        size=PUSH,
        seed=seed,
        states=states.take(few),
    )
    return {
        "push left": fading.ratio,
        "push left by growth alone": fading.norm_only_ratio,
        "push left beyond growth": fading.ratio - fading.norm_only_ratio,
    }


def _linear(model: LiveModel, pictures: Tensor, seed: int) -> dict[str, float]:
    """One linear map per true phase of the tied model, per wrong one, and one for all depth."""
    states = capture_states(model, pictures, backend="hooks")
    true, wrong = (linearise_phases(states, cuts, seed=seed) for cuts in (TRUE_CUTS, WRONG_CUTS))
    steps = [phase.stop - phase.start for phase in true]
    both = {
        "map R2": [phase.r2 for phase in true],
        "map R2 global": [phase.r2_global for phase in true],
        "map R2 unchanged": [phase.r2_unchanged for phase in true],
    }
    found = {
        name: sum(w * v for w, v in zip(steps, values, strict=True)) / sum(steps)
        for name, values in both.items()
    }
    shifted = sum((p.stop - p.start) * p.r2 for p in wrong) / states.n_layers
    return found | {"map R2 wrong cuts": shifted}


def _pair(
    number: str, label: str, *, short: float | None = None, **bound: float
) -> tuple[Line, ...]:
    """The same line for both digit transformers; a short run asks it of the one without drop."""
    return tuple(
        Line(
            number=f"{name} {number}",
            label=f"{label}, {name}",
            short=short if drop == 0 else None,
            **bound,
        )
        for name, drop in DROPS.items()
    )


def _bundled(number: str, label: str) -> tuple[Shown, ...]:
    names = (*BUNDLED, "tiny-gpt")
    return tuple(Shown(number=f"{name} {number}", label=f"{label}, {name}") for name in names)


CLAIMS = (
    Claim(
        name="convergence",
        text="The direction of cls turns steadily to where it ends, and is nearly there one block before",
        paper=PAPER,
        lines=(
            *_pair("smallest rise of gamma", "smallest rise of γ after block 1", at_least=0.0),
            *_pair("gamma before last", "γ one block before the end", at_least=0.95, short=0.9),
        ),
        shown=(
            *_bundled("smallest rise of gamma", "smallest rise of γ"),
            *_bundled("gamma before last", "γ one block before the end"),
        ),
        floor=Shown(
            number="untrained gamma before last", label="γ one block before the end, untrained"
        ),
    ),
    Claim(
        name="growth",
        text="States grow with depth, so that only their directions compare",
        paper=PAPER,
        lines=_pair("norm grown", "‖a_L‖ / ‖a_0‖ of cls", at_least=2.0, short=1.5),
        shown=_bundled("norm grown after block 1", "‖a_L‖ / ‖a_1‖"),
        control=Shown(number="untrained norm grown", label="‖a_L‖ / ‖a_0‖, untrained"),
    ),
    Claim(
        name="coherence",
        text="Patches of one picture come to point the same way, late",
        paper=PAPER,
        lines=_pair("coherence gained", "ρ at the end less the smallest", at_least=0.2),
        shown=tuple(
            Shown(number=f"{name} coherence gained", label=f"ρ gained, {name}") for name in BUNDLED
        ),
        floor=Shown(number="p=0 coherence floor", label="ρ of independent directions"),
        control=Shown(number="untrained coherence gained", label="ρ gained, untrained"),
    ),
    Claim(
        name="basins",
        text="Classes part into basins: cls states of one class end together, away from the others",
        paper=PAPER,
        lines=(
            *_pair("basins last", "cosine within − between, last layer", at_least=0.6),
            *_pair("basins gained", "the same, last less first block", at_least=0.3, short=0.15),
        ),
        shown=tuple(
            Shown(number=f"{name} basins last", label=f"within − between, {name}")
            for name in BUNDLED
        ),
        floor=Shown(number="p=0 basins floor", label="within − between, shuffled labels"),
        control=Shown(number="untrained basins last", label="within − between, untrained"),
    ),
    Claim(
        name="fading",
        text="A push at block 4 fades on the way to the end",
        paper=PAPER,
        lines=_pair("push left", "angle at the end over angle at the push", at_most=0.8, short=1.0),
        shown=tuple(
            Shown(number=f"{name} push left", label=f"push left, {name}") for name in BUNDLED
        ),
        control=Shown(number="untrained push left", label="push left, untrained"),
    ),
    Claim(
        name="correction",
        text="It fades faster than it would if later blocks did not see it and only lengthened the state",
        paper=OURS,
        lines=_pair(
            "push left beyond growth", "push left less what growth alone leaves", at_most=0.0
        ),
        shown=(
            *(
                Shown(number=f"{name} push left by growth alone", label=f"growth alone, {name}")
                for name in (*DROPS, *BUNDLED)
            ),
            *(
                Shown(number=f"{name} push left beyond growth", label=f"beyond growth, {name}")
                for name in BUNDLED
            ),
        ),
        control=Shown(number="untrained push left beyond growth", label="beyond growth, untrained"),
    ),
    Claim(
        name="reorientation",
        text="cls turns sharply in the last blocks",
        paper=PAPER,
        lines=_pair(
            "late speed over middle", "fastest of the last two blocks over the median", at_least=1.5
        ),
        shown=_bundled("late speed over middle", "late speed over the median"),
    ),
    Claim(
        name="low rank",
        text="Updates of the last block have a low rank",
        paper=PAPER,
        lines=_pair(
            "late stable rank over middle", "stable rank, last block over the median", at_most=0.5
        ),
        shown=(
            *_bundled("late stable rank over middle", "stable rank, last over the median"),
            *_bundled("late effective rank over middle", "effective rank, last over the median"),
        ),
    ),
    Claim(
        name="registers",
        text="Registers turn slower than patches, patches slower than cls",
        paper=PAPER,
        lines=(),
        shown=tuple(
            Shown(number=f"{name} {what}", label=f"{what}, {name}")
            for name in (*DROPS, *BUNDLED)
            for what in ("register speed", "patch speed", "speed")
        ),
    ),
    Claim(
        name="one map per phase",
        text="Where blocks are tied, one linear map per true phase tells the next state better than one for "
        "all depth",
        paper=OURS,
        lines=(),
        shown=(
            Shown(number="tiny-vit-tied map R2", label="R², one map per true phase"),
            Shown(number="tiny-vit-tied map R2 wrong cuts", label="R², one map per shifted phase"),
            Shown(number="tiny-vit-tied map R2 global", label="R², one map for all"),
        ),
        floor=Shown(number="tiny-vit-tied map R2 unchanged", label="R² if nothing changed"),
    ),
)

"""Train ``tiny-audio`` from nothing on one CPU core; a killed run continues exactly.

    python -m sae_nb_studies.recipes.tiny_audio --out DIR [--resume]

DIR receives the finished model, its card, and what is needed to continue. Every clip is new: the stream of
`sn.data.sounds` never repeats.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor, nn

from sae_nb.checks import Count, Positive, Share, Weight, checked
from sae_nb.data import Sounds, sounds
from sae_nb.files import write_bytes, write_json
from sae_nb.interrupts import ended
from sae_nb.models import SoundTransformer
from sae_nb_studies.recipes._common import Recipe, filled, in_chunks, recipe_options
from sae_nb_studies.recipes._training_run import Run

logger = logging.getLogger("sae_nb.recipes.tiny_audio")

NAME = "tiny-audio"
FACTORS = ("pitch", "timbre", "envelope", "place", "noise")
N_JUDGED = 4_000
_CHUNK_STEPS = 16  # batches rendered at once
_TRAIN_SEED, _TEST_SEED = 1_000, 2_000  # added to the seed: train and test never share a stream


@checked
@dataclass(frozen=True, kw_only=True)
class AudioRecipe(Recipe):
    """Training settings of the bundled sound model; defaults are ours, from probes of a minute."""

    steps: Count = 1_600
    batch: Count = 64
    """Clips of a step."""

    muon_learning_rate: Positive = 0.01
    adam_learning_rate: Positive = 2e-3
    weight_decay: Weight = 0.05
    warmup_steps: Count = 100
    decay_steps: Count = 500
    log_every: Count = 100
    smoothing: Share = 0.05
    """Label smoothing of every cross-entropy."""

    n_held_out: Count = 500
    """Held-out clips of a line of the log."""


class AudioRun(Run):
    """The bundled model in training, with heads on patches that are not part of it.

    loss = CE(pitch) + ¼ Σ CE(other factors) + ½ BCE(sounding) + ½ CE(pitch) + ¼ CE(timbre) of sounding
    stretches. The throw-away heads make patches learn early what is heard in them.
    """

    free = frozenset({"log_every", "n_held_out"})

    def __init__(self, recipe: AudioRecipe) -> None:
        super().__init__(recipe, "sounds")
        generator = torch.Generator().manual_seed(recipe.seed)
        self.model = SoundTransformer(generator=generator)
        d_model, classes = self.model.config.d_model, dict(self.model.config.heads)
        self.locally = nn.ModuleDict(
            {name: nn.Linear(d_model, classes[name]) for name in ("pitch", "timbre")}
        )
        with torch.no_grad():
            for parameter in self.locally.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, d_model**-0.5, generator=generator)
                else:
                    parameter.zero_()
        self.modules = {"model": self.model, "locally": self.locally}
        named = dict(self.model.named_parameters())
        inside = {n: p for n, p in named.items() if n.startswith("blocks.") and p.ndim == 2}
        rest = [p for n, p in named.items() if n not in inside]
        rest += list(self.locally.parameters())
        self.parameters = [*inside.values(), *rest]
        self._optimise(list(inside.values()), rest)

    def _loss(self, batch: Sounds) -> Tensor:
        smoothing = self.recipe.smoothing
        states = self.model.final_states(batch.waveforms)
        heads = self.model.heads_of(states)
        loss = 0.5 * F.binary_cross_entropy_with_logits(heads["sounding"], batch.sounding.float())
        for name in FACTORS:
            weight = 1.0 if name == "pitch" else 0.25
            given = F.cross_entropy(heads[name], getattr(batch, name), label_smoothing=smoothing)
            loss = loss + weight * given
        heard = self.model.by_place(states).mean(dim=1)[batch.sounding]
        for name, weight in (("pitch", 0.5), ("timbre", 0.25)):
            target = getattr(batch, name)[:, None].expand_as(batch.sounding)[batch.sounding]
            local = F.cross_entropy(self.locally[name](heard), target, label_smoothing=smoothing)
            loss = loss + weight * local
        return loss


@torch.no_grad()
def accuracies(model: SoundTransformer, batch: Sounds) -> dict[str, float]:
    """Return the fraction right per head; of ``sounding``, of stretches of time."""
    model.eval()
    parts = [model.forward_heads(part) for part in torch.split(batch.waveforms, 250)]
    heads = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    right = {name: heads[name].argmax(dim=1) == getattr(batch, name) for name in FACTORS}
    right["sounding"] = (heads["sounding"] > 0) == batch.sounding
    return {name: round(value.float().mean().item(), 4) for name, value in right.items()}


def chances(batch: Sounds) -> dict[str, float]:
    """Return the accuracy of always giving the commonest answer."""
    counts = {name: torch.bincount(getattr(batch, name)) for name in FACTORS}
    shares = {name: float(count.max()) / len(batch) for name, count in counts.items()}
    shares["sounding"] = 1 - float(batch.sounding.float().mean())
    return {name: round(value, 4) for name, value in shares.items()}


def probed(model: SoundTransformer, train: Sounds, test: Sounds) -> dict[str, float]:
    """Return the accuracy of a linear probe on the mean spectrogram and its spread over time.

    The control: reached without a network, from the same log-mel features, by ridge regression on one-hot
    labels.
    """

    @torch.no_grad()
    def features(batch: Sounds) -> Tensor:
        log = torch.cat(
            [model.embed.spectrogram(part) for part in torch.split(batch.waveforms, 250)]
        )
        by_time = log.reshape(*log.shape[:2], 20, -1).mean(dim=(1, 3))
        return torch.cat((log.mean(dim=2), log.amax(dim=2), log.std(dim=2), by_time), dim=1)

    x, y = features(train), features(test)
    centre, spread = x.mean(dim=0), x.std(dim=0)
    x, y = ((part - centre) / spread for part in (x, y))
    x, y = (torch.cat((part, torch.ones(len(part), 1)), dim=1) for part in (x, y))
    gram = x.T @ x + torch.eye(x.shape[1])

    def fitted(target: Tensor) -> Tensor:
        return y @ torch.linalg.solve(gram, x.T @ target.float())

    found = {}
    for name in FACTORS:
        target, truth = getattr(train, name), getattr(test, name)
        guess = fitted(F.one_hot(target)).argmax(dim=1)
        found[name] = (guess == truth).float().mean().item()
    guessed = fitted(train.sounding.float()) > 0.5
    found["sounding"] = (guessed == test.sounding).float().mean().item()
    return {name: round(value, 4) for name, value in found.items()}


def progress_line(state: AudioRun, accuracy: dict[str, float]) -> str:
    """Return a line of the log."""
    seen = state.step * state.recipe.batch
    return (
        f"step {state.step}/{state.recipe.steps}, {seen} clips, loss {state.loss:.3f}, "
        f"{' '.join(f'{head} {value:.3f}' for head, value in accuracy.items())}, "
        f"{state.seconds / 60:.1f} min, {seen / max(state.seconds, 1e-9):.0f} clips/s"
    )


def train_tiny_audio(config: AudioRecipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train, and write model, card and checkpoint below a folder."""
    state = AudioRun(config)
    judged = sounds(config.n_held_out, seed=_TEST_SEED + config.seed)

    def draw(start: int, n: int) -> Sounds:
        return sounds(n, seed=_TRAIN_SEED + config.seed, start=start)

    state.train(
        in_chunks(draw, config.batch, steps=_CHUNK_STEPS),
        out / f"{NAME}.checkpoint",
        lambda: logger.info(progress_line(state, accuracies(state.model, judged))),
        resume=resume,
    )
    return export(state, out / NAME)


def export(state: AudioRun, folder: Path) -> dict[str, Any]:
    """Save fp16 weights with a card of what they were measured to do, as read back."""
    r = state.recipe
    state.model.save(folder)
    loaded = SoundTransformer.from_folder(folder)
    untrained = SoundTransformer(generator=torch.Generator().manual_seed(r.seed + 1)).eval()
    held_out = sounds(N_JUDGED, seed=_TEST_SEED + r.seed)
    seen = sounds(N_JUDGED, seed=_TRAIN_SEED + r.seed)
    card: dict[str, Any] = {
        "name": folder.name,
        "data": f"sounds, seed {_TRAIN_SEED + r.seed}",
        "clips_seen": state.step * r.batch,
        "held_out": {
            "data": f"sounds, seed {_TEST_SEED + r.seed}",
            "clips": len(held_out),
            "weights": "fp16 file as loaded",
            "accuracy": accuracies(loaded, held_out),
            "chance": chances(held_out),
            "probe": probed(loaded, seen, held_out),
            "untrained": accuracies(untrained, held_out),
        },
        **state.facts(loaded),
        "command": f"python -m sae_nb_studies.recipes.tiny_audio --steps {r.steps} --decay-steps "
        f"{r.decay_steps} --batch {r.batch} --seed {r.seed} --out DIR",
    }
    write_json(folder / "card.json", card)
    write_bytes(folder / "card.md", card_text(card).encode())
    return card


def card_text(card: dict[str, Any]) -> str:
    """Return a model card, from the card's facts."""
    held_out, recipe = card["held_out"], card["recipe"]
    columns = ("accuracy", "chance", "probe", "untrained")
    rows = "\n".join(
        f"| {name} | {' | '.join(f'{held_out[column][name]:.4f}' for column in columns)} |"
        for name in held_out["accuracy"]
    )
    about = (
        f"A 6-block transformer of {card['parameters']} parameters (pre-norm; log-mel spectrogram of 64 bands "
        "and 100 frames, computed inside; cls and 4 × 20 patches of 16 bands and 50 ms), trained by this "
        "project as a live model for lessons: it hears synthetic tones, not music."
    )
    measured = (
        f"{held_out['clips']} clips of {held_out['data']}, {held_out['weights']}. `sounding`: of stretches of "
        "50 ms. Chance: always the commonest answer. Linear probe: ridge regression on mean, maximum and "
        "spread of the same spectrogram over time and its mean over bands, fitted on "
        f"{held_out['clips']} training clips. Untrained: the same network with random weights."
    )
    return f"""# {card["name"]}

{filled(about)}

| held-out accuracy | model | chance | linear probe | untrained |
| --- | --- | --- | --- | --- |
{rows}

{filled(measured)}

- **Data**: {card["data"]}; {card["clips_seen"]} clips of one second at 8 kHz, none seen twice.
- **Training**: step {card["step"]} of {recipe["steps"]}, batch {recipe["batch"]}, seed {card["seed"]}, loss of
  the last batch {card["last_training_loss"]}; {card["minutes"]} minutes, CPU threads:
  {card["threads"]}; torch {card["torch"]}, {card["date"]}.
- **Loss**: pitch cross-entropy + ¼ of each other factor's + ½ sounding per stretch + ½ pitch and ¼
  timbre read from sounding stretches by linear heads that are thrown away afterwards.
- **Optimisers**: Muon ({recipe["muon_learning_rate"]}) for the matrices inside the blocks, AdamW
  ({recipe["adam_learning_rate"]}) for the rest; weight decay {recipe["weight_decay"]},
  {recipe["warmup_steps"]} steps of warm-up, linear decay over the last {recipe["decay_steps"]}.
- **Command**: `{card["command"]}`
- **Licence**: that of this project.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    defaults = AudioRecipe()
    parser = recipe_options(__doc__, defaults)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = AudioRecipe(
        steps=given.steps, decay_steps=given.decay_steps, batch=given.batch, seed=given.seed
    )
    train_tiny_audio(config, given.out, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))

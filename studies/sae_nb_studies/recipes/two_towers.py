"""Train ``two-towers`` from nothing on two CPU cores; a killed run continues exactly.

    python -m sae_nb_studies.recipes.two_towers --out DIR [--resume]

DIR receives both towers, ``two-towers@image`` and ``two-towers@text``, each with its card, and what is
needed to continue. Every image and every caption is new: the streams never repeat.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.checks import Count, Positive, Weight, checked
from sae_nb.data import Scenes, caption_words, captions, scenes
from sae_nb.files import write_bytes, write_json, write_tensors
from sae_nb.interrupts import ended
from sae_nb_studies.recipes._common import Recipe, in_chunks, recipe_options
from sae_nb_studies.recipes._training_run import Run

logger = logging.getLogger("sae_nb.recipes.two_towers")

NAME = "two-towers"
TOWERS = ("image", "text")
N_JUDGED = 1_000
_CONTEXT_LENGTH = 32  # tokens; the longest caption has 22
_TRAIN_SEED, _TEST_SEED = 1_000, 2_000  # added to the seed: train and test never share a stream
_CHUNK_STEPS = 16  # batches rendered at once
_COLDEST = 100.0  # logits are at most so many cosines, as in CLIP
_WARMEST = 1 / 0.07
_SPECIAL = ("<pad>", "<s>", "<unk>", "</s>")  # </s> must not be 2, which CLIP reads in an older way


@checked
@dataclass(frozen=True, kw_only=True)
class TowersRecipe(Recipe):
    """Training settings of the two towers."""

    width: int = 64
    image_blocks: int = 6
    text_blocks: int = 3
    n_heads: int = 4
    patch_size: int = 4
    """Both towers, and the space in which they end, have one width; MLPs have twice that."""

    steps: Count = 330
    batch: Count = 128
    """Pairs of a step; each is told apart from all the others."""

    adam_learning_rate: Positive = 2e-3
    weight_decay: Weight = 0.05  # not of the temperature
    warmup_steps: Count = 100
    decay_steps: Count = 80
    log_every: Count = 50


@dataclass(frozen=True)
class Pairs:
    """Images, their captions as token ids, and which pairs show the same factors."""

    images: Float[Tensor, "n 3 32 32"]
    ids: Int[Tensor, "n tokens"]
    factors: Int[Tensor, " n"]
    """One number per combination of digit, ink, texture, position and disc."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Pairs:
        return Pairs(self.images[rows], self.ids[rows], self.factors[rows])


def new_tokenizer() -> Any:
    """Return a tokenizer with one token per word of the captions; others are unknown."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate((*_SPECIAL, *caption_words()))}
    pad, start, unknown, end = _SPECIAL
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, words[start]), (end, words[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=start,
        unk_token=unknown,
        eos_token=end,
        model_max_length=_CONTEXT_LENGTH,
    )


def new_towers(recipe: TowersRecipe) -> nn.Module:
    """Build an untrained CLIP of two small towers from a seed."""
    from transformers import CLIPConfig, CLIPModel

    shared: dict[str, Any] = {
        "hidden_size": recipe.width,
        "intermediate_size": 2 * recipe.width,
        "num_attention_heads": recipe.n_heads,
        "projection_dim": recipe.width,
        "hidden_act": "gelu",
    }
    text = {
        **shared,
        "num_hidden_layers": recipe.text_blocks,
        "vocab_size": len(_SPECIAL) + len(caption_words()),
        "max_position_embeddings": _CONTEXT_LENGTH,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 3,
    }
    image = {
        **shared,
        "num_hidden_layers": recipe.image_blocks,
        "image_size": 32,
        "patch_size": recipe.patch_size,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config=image,
        projection_dim=recipe.width,
        logit_scale_init_value=math.log(_WARMEST),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return CLIPModel(config)


class TowersTraining(Run):
    """Two towers in training.

    loss = ½ CE(s·cos(i, t), own caption) + ½ CE(s·cos(t, i), own image), over the pairs of a batch; s is
    learned. InfoNCE: van den Oord et al., arXiv 1807.03748; two towers: Radford et al., arXiv 2103.00020.
    """

    def __init__(self, recipe: TowersRecipe) -> None:
        super().__init__(recipe, "scenes and captions")
        self.model: Any = new_towers(recipe)
        self._optimise_blocks(".layers.")

    @property
    def scale(self) -> Tensor:
        """The inverse temperature s."""
        return self.model.logit_scale.exp().clamp(max=_COLDEST)

    def _loss(self, pairs: Pairs) -> Tensor:
        image, text = embeddings(self.model, pairs)
        own = torch.arange(len(pairs))
        logits = self.scale * (image @ text.T)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def embeddings(
    model: Any, pairs: Pairs
) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n width"]]:
    """Return unit embeddings of images and of captions."""
    mask = (pairs.ids != 0).long()
    image = model.visual_projection(
        model.vision_model(pixel_values=pixel_values(pairs.images)).pooler_output
    )
    text = model.text_projection(
        model.text_model(input_ids=pairs.ids, attention_mask=mask).pooler_output
    )
    return F.normalize(image, dim=1), F.normalize(text, dim=1)


def pixel_values(images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n 3 32 32"]:
    """Return images in [0, 1] as the image tower reads them, in [−1, 1]."""
    return (images - 0.5) / 0.5


def make_pairs(drawn: Scenes, tokenizer: Any, seed: int) -> Pairs:
    """Return images with captions in a wording of one seed."""
    encoded = tokenizer(captions(drawn, seed), padding=True, return_tensors="pt")
    factors = drawn.digit
    for labels, n in (
        (drawn.colour, 8),
        (drawn.texture, 8),
        (drawn.position, 9),
        (drawn.distractor, 2),
    ):
        factors = factors * n + labels
    return Pairs(drawn.images, encoded["input_ids"], factors)


def held_out_pairs(tokenizer: Any, seed: int, n: int = N_JUDGED) -> Pairs:
    """Return images of handwriting never trained on, with captions."""
    return make_pairs(scenes(n, seed=_TEST_SEED + seed, split="test"), tokenizer, _TEST_SEED + seed)


@torch.no_grad()
def judge(model: Any, pairs: Pairs) -> dict[str, float]:
    """Return retrieval @1 both ways among all the pairs, and the modality gap ‖mean image − mean text‖.

    A retrieved item is right if it has the same factors: two pairs may show the same.
    """
    model.eval()
    parts = [embeddings(model, pairs[slice(i, i + 250)]) for i in range(0, len(pairs), 250)]
    image, text = (torch.cat(side) for side in zip(*parts, strict=True))
    cosines = image @ text.T
    return {
        "image_to_text": _accuracy(cosines, pairs.factors),
        "text_to_image": _accuracy(cosines.T, pairs.factors),
        "modality_gap": round(float((image.mean(dim=0) - text.mean(dim=0)).norm()), 4),
        "cosine_of_pairs": round(float(cosines.diagonal().mean()), 4),
        "cosine_of_others": round(
            float((cosines.sum() - cosines.trace()) / (cosines.numel() - len(cosines))), 4
        ),
    }


def _accuracy(cosines: Float[Tensor, "n n"], factors: Int[Tensor, " n"]) -> float:
    right: Bool[Tensor, " n"] = factors[cosines.argmax(dim=1)] == factors
    return round(float(right.float().mean()), 4)


def train_two_towers(recipe: TowersRecipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train both towers and write them, their cards and the checkpoint below a folder."""
    tokenizer, training = new_tokenizer(), TowersTraining(recipe)
    judged, seed = held_out_pairs(tokenizer, recipe.seed), _TRAIN_SEED + recipe.seed

    def draw(start: int, n: int) -> Pairs:
        drawn = scenes(n, seed=seed, split="train", start=start)
        return make_pairs(drawn, tokenizer, seed + start)

    def log() -> None:
        measured = judge(training.model, judged)
        logger.info(
            "%s step %d/%d, loss %.3f, scale %.1f, %s, %.1f min", NAME, training.step, recipe.steps,
            training.loss, float(training.scale.detach()), measured, training.seconds / 60,
        )  # fmt: skip

    batch_at = in_chunks(draw, recipe.batch, steps=_CHUNK_STEPS)
    training.train(batch_at, out / f"{NAME}.checkpoint", log, resume=resume)
    return export(training, tokenizer, judged, out)


def export(training: TowersTraining, tokenizer: Any, judged: Pairs, out: Path) -> dict[str, Any]:
    """Save fp16 weights of both towers, read them back, judge what was read, and write the cards."""
    folders = {tower: out / f"{NAME}@{tower}" for tower in TOWERS}
    for tower, folder in folders.items():
        _save_tower(training.model, tower, folder)
    tokenizer.save_pretrained(folders["text"])
    write_json(
        folders["image"] / "preprocessor_config.json",
        {
            "do_resize": True,
            "size": {"height": 32, "width": 32},
            "do_center_crop": False,
            "do_rescale": True,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        },
    )
    facts = _facts(training, judged, folders)
    for tower, folder in folders.items():
        card = {"name": folder.name, "tower": tower, **facts}
        write_json(folder / "card.json", card)
        write_bytes(folder / "card.md", card_text(card).encode())
    return facts


def _save_tower(model: Any, tower: str, folder: Path) -> None:
    """One tower with its projection, as transformers saves it alone."""
    part, projection = (
        ("vision_model", "visual_projection")
        if tower == "image"
        else ("text_model", "text_projection")
    )
    folder.mkdir(parents=True, exist_ok=True)
    named = dict(model.named_parameters())
    halves = {
        name: p.detach().half() for name, p in named.items() if name.startswith((part, projection))
    }
    write_tensors(folder / "model.safetensors", halves, {"format": "pt"})
    config = getattr(model, part).config
    config.architectures = [f"CLIP{'Vision' if tower == 'image' else 'Text'}ModelWithProjection"]
    config.dtype = torch.float16
    config.save_pretrained(folder)


def load_towers(image: Path, text: Path) -> Any:
    """Load both towers from their files, side by side."""
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    both: Any = nn.Module()
    first: Any = CLIPVisionModelWithProjection.from_pretrained(image, dtype=torch.float32)
    second: Any = CLIPTextModelWithProjection.from_pretrained(text, dtype=torch.float32)
    both.vision_model, both.visual_projection = first.vision_model, first.visual_projection
    both.text_model, both.text_projection = second.text_model, second.text_projection
    return both.eval()


def _facts(training: TowersTraining, judged: Pairs, folders: dict[str, Path]) -> dict[str, Any]:
    loaded, r = load_towers(folders["image"], folders["text"]), training.recipe
    return {
        "data": "scenes, handwriting split train, with captions of their labels",
        "pairs_seen": training.step * r.batch,
        "held_out": {
            "data": "scenes, handwriting split test, with captions",
            "pairs": len(judged),
            "weights": "fp16 files as loaded",
            "measured": judge(loaded, judged),
        },
        **training.facts(loaded),
        "temperature": round(1 / float(training.scale.detach()), 4),
        "command": f"python -m sae_nb_studies.recipes.two_towers --steps {r.steps} --decay-steps "
        f"{r.decay_steps} --seed {r.seed} --out DIR",
    }


def card_text(card: dict[str, Any]) -> str:
    """Return a model card, from the card's facts."""
    held_out, recipe, measured = card["held_out"], card["recipe"], card["held_out"]["measured"]
    return f"""# {card["name"]}

The {card["tower"]} tower of a pair that was trained together: {recipe["image_blocks"]} blocks read
32×32 images in patches of {recipe["patch_size"]}, {recipe["text_blocks"]} blocks read captions, one
token per word, and both end in an embedding of {recipe["width"]} numbers ({card["parameters"]}
parameters in all). Trained by this project as a live model for lessons on two modalities.

| held out: {held_out["pairs"]} pairs of {held_out["data"]}, {held_out["weights"]} | |
| --- | --- |
| own caption (or one of the same five factors) is nearest to the image | {measured["image_to_text"]:.4f} |
| own image (or one of the same five factors) is nearest to the caption | {measured["text_to_image"]:.4f} |
| modality gap: distance between the mean embeddings, each of unit length | {measured["modality_gap"]:.4f} |
| cosine of pairs | {measured["cosine_of_pairs"]:.4f} |
| cosine of an image and another's caption | {measured["cosine_of_others"]:.4f} |

- **Data**: {card["data"]}; {card["pairs_seen"]} pairs, none seen twice. A caption names all five factors,
  in one of two wordings each and four orders; what no label holds (handwriting, tint, noise) it does not.
- **Training**: {card["step"]} steps of {recipe["batch"]} pairs, seed {card["seed"]}, loss of the last batch
  {card["last_training_loss"]}; {card["minutes"]} minutes, CPU threads: {card["threads"]}; torch
  {card["torch"]}, {card["date"]}.
- **Loss**: InfoNCE both ways over the pairs of a batch, temperature learned (1/{_WARMEST:.1f} at the start,
  {card["temperature"]} at the end).
- **Optimisers**: Muon ({recipe["muon_learning_rate"]}) for the matrices inside the blocks, AdamW
  ({recipe["adam_learning_rate"]}) for the rest; weight decay {recipe["weight_decay"]},
  {recipe["warmup_steps"]} steps of warm-up, linear decay over the last {recipe["decay_steps"]}.
- **Command**: `{card["command"]}`
- **Licence**: that of this project. Handwriting: Alpaydin and Kaynak, UCI, as in scikit-learn.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    given = recipe_options(__doc__, TowersRecipe()).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = TowersRecipe(steps=given.steps, decay_steps=given.decay_steps, seed=given.seed)
    train_two_towers(recipe, given.out, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))

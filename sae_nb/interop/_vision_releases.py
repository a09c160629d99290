"""Published SAEs of vision models, by name: VISAEBench's, sae-for-vlm's, Prisma's and MAIRA-2's.

Facts of visaebench 0.1.0 (README, backbones), of the files of mateuszpach/sae-for-vlm, and of
Prisma-Multimodal/ViT-Prisma (README); of the card of microsoft/maira-2-sae (MIT; Bouzid et al., arXiv
2507.12950). Left out: sae-for-vlm's of SigLIP, and Prisma's of single tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from sae_nb.interop._releases import Entry

VISAEBENCH, VLM, PRISMA, PRISMA_TRANSCODER, MAIRA = (
    "visaebench",
    "sae_for_vlm",
    "prisma",
    "prisma_transcoder",
    "maira_2",
)
"""Their formats, by the names of `_published.FORMATS`."""

_BACKBONES = {
    "clip-vitb16": "openai/clip-vit-base-patch16",
    "dinov2-vitb14": "facebook/dinov2-base",
    "siglip-vitb16": "google/siglip-base-patch16-224",
    "mae-vitb16": "facebook/vit-mae-base",
    "deit-vitb16": "facebook/deit-base-patch16-224",
}
"""Of VISAEBench, all read at block 11 of 12; DINOv2 after the model's last norm, which has no name here."""

_CLIP_B32 = "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
_PENALTIES = {("mlp_out", 11): "5e-05", ("resid_post", 2): "5e-05"}
_CLIP_L0 = {
    "mlp_out": (604.44, 1476.8, 1799.7, 1893.4, 1901.2, 1761.5, 1598.0, 1535.3, 1074.5, 856.68,
                788.49, 748.14),
    "resid_post": (1110.9, 1508.4, 717.84, 2053.9, 2068.3, 1953.8, 1717.5, 1688.4, 1570.8,
                   1533.5, 1292.6, 1405.0),
}  # fmt: skip
_DINO = ("507-98", "549-95", "661-95", "989-95", "876-99", "1001-98", "962-99", "1086-98", "530-90", "1105-99",
         "835-99", "1085-99")  # fmt: skip
"""L0 and explained percent in the names of the repositories, by block."""
_CLIP_TRANSCODERS = ((768, 96), (256, 94), (1024, 93), (1024, 90), (512, 76), (1024, 91), (1024, 94),
                     (1024, 97), (1024, 98), (1024, 98), (1024, 97))  # fmt: skip
"""k and explained percent, by block."""


def vision_releases() -> dict[str, dict[str, Entry]]:
    """Return the SAEs of vision models by their release and id."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in (*_visaebench(), *_sae_for_vlm(), *_prisma(), *_maira()):
        found.setdefault(entry.release, {})[entry.id] = entry
    return found


def _visaebench() -> Iterator[Entry]:
    for backbone, model in _BACKBONES.items():
        for times in (8, 16, 32):
            for k in (64, 128, 192, 256):
                path = f"batchtopk_{times}x_k{k}"
                place = "" if backbone.startswith("dino") else "layer_11/"
                yield _entry(
                    f"visaebench-{backbone}",
                    f"{place}{path}",
                    model,
                    f"visaebench/{backbone}-saes",
                    path,
                    VISAEBENCH,
                    width=768 * times,
                    l0=float(k),
                )


def _sae_for_vlm() -> Iterator[Entry]:
    model = "clip-vit-large-patch14-336"
    for layer in (11, 17, 22, 23):
        for kind in ("batch_top_k", "matroyshka_batch_top_k"):
            for times in (1, 2, 4, 8, 16, 64):
                variant = f"{kind}_20_x{times}"
                run = f"imagenet_train_activations_{model}_{layer}_post_mlp_residual_{variant}"
                yield _entry(
                    f"sae-for-vlm-{model}",
                    f"layer_{layer}/{variant}",
                    f"openai/{model}",
                    "mateuszpach/sae-for-vlm",
                    f"{variant}/{run}/trainer_0/checkpoints/ae_100000.pt",
                    VLM,
                    width=1024 * times,
                    l0=20.0,
                )


def _prisma() -> Iterator[Entry]:
    owner = "Prisma-Multimodal"
    for site, l0 in _CLIP_L0.items():
        for layer in range(12):
            penalty = _PENALTIES.get((site, layer), "1e-05")
            yield _entry(
                "prisma-clip-b-32",
                f"blocks.{layer}.hook_{site}",
                _CLIP_B32,
                f"{owner}/sparse-autoencoder-clip-b-32-sae-vanilla-x64-layer-{layer}-hook_{site}-l1-{penalty}",
                "",
                PRISMA,
                width=768 * 64,
                l0=l0[layer],
            )
    for layer, numbers in enumerate(_DINO):
        yield _entry(
            "prisma-dino-b-16",
            f"blocks.{layer}.hook_resid_post",
            "facebook/dino-vitb16",
            f"{owner}/DINO-vanilla-x64-all_patches_{layer}-resid_post-{numbers}",
            "",
            PRISMA,
            width=768 * 64,
            l0=float(numbers.partition("-")[0]),
        )
    for layer, (k, explained) in enumerate(_CLIP_TRANSCODERS):
        yield _entry(
            "prisma-clip-b-32-transcoders",
            f"mlp_{layer}",
            _CLIP_B32,
            f"{owner}/CLIP-transcoder-topk-{k}-x64-all_patches_{layer}-mlp-{explained}",
            "",
            PRISMA_TRANSCODER,
            width=768 * 64,
            l0=float(k),
        )


def _maira() -> Iterator[Entry]:
    """Matryoshka BatchTopK SAEs of the stream of layer 15 of MAIRA-2, whose language model is 4096 wide."""
    for times in (2, 4, 8):
        yield _entry(
            "maira-2-sae",
            f"blocks.15.hook_resid_post/x{times}",
            "microsoft/maira-2",
            "microsoft/maira-2-sae",
            "",
            MAIRA,
            width=4096 * times,
        )


def _entry(
    release: str,
    id_: str,
    model: str,
    repository: str,
    path: str,
    form: str,
    *,
    width: int,
    l0: float | None = None,
) -> Entry:
    return Entry(
        release=release,
        id=id_,
        their_model=model,
        repository=repository,
        path=path,
        format=form,
        overrides={},
        stated_l0=l0,
        stated_width=width,
    )

"""The 512-piece tokenizer of the small TinyStories Llama, from its JSON, as a Hugging Face tokenizer.

The file holds pieces and scores of a SentencePiece BPE: the pair whose joined piece scores highest is
merged first, a space is put in front, and bytes without a piece are written <0x..>.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def stories_tokenizer(folder: Path) -> Any:
    """Build the tokenizer of ``stories260K_hf`` from its ``tok512.json``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    facts = json.loads((folder / "tok512.json").read_text(encoding="utf-8"))
    pieces = list(facts["pieces"])
    # The control tokens are stored as the line breaks they print as.
    pieces[facts["bos"]], pieces[facts["eos"]] = "<s>", "</s>"
    pieces = [p if p.startswith("<0x") else p.replace(" ", "▁") for p in pieces]
    ids = {piece: index for index, piece in enumerate(pieces)}
    bpe = models.BPE(
        vocab=ids,
        merges=_merges(pieces, facts["scores"], ids),
        unk_token="<unk>",
        byte_fallback=True,
    )
    whole = Tokenizer(bpe)
    whole.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    whole.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", facts["bos"])]
    )
    whole.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _merges(pieces: list[str], scores: list[float], ids: dict[str, int]) -> list[tuple[str, str]]:
    """List every way a piece is made of two others, best-scoring piece first."""
    ranked = sorted(range(len(pieces)), key=lambda index: -scores[index])
    merges = []
    for index in ranked:
        piece = pieces[index]
        if piece.startswith("<"):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                merges.append((left, right))
    return merges

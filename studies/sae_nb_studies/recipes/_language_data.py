"""Text for the small language model: its sources without repeats, its tokenizer, its batches."""

from __future__ import annotations

import ast
import inspect
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from sae_nb.data import clean_paragraph, first_told, prose, stories, text

END_OF_TEXT = "<|endoftext|>"
N_TOKENS = 1024
CONTEXT_LENGTH = 512
STORIES_PER_STEP = 24
N_JUDGED_STORIES = 400
_N_BPE_STORIES = 500
# Whose turn a row is. Prose is scarce and judged; stories are simple; a folder's text adds words.
_TURNS = (
    *("prose", "docstrings", "stories", "prose", "docstrings", "extra", "prose", "docstrings"),
    *("stories", "prose", "docstrings", "extra", "prose", "docstrings", "stories", "prose"),
)
_LONGEST = CONTEXT_LENGTH - 2  # a judged text, with a boundary before and after


@dataclass(frozen=True)
class TrainingText:
    """The available text, with repeated sentences removed before anything is held out."""

    sources: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    seed: int


def gather(extra: Path | None, seed: int) -> TrainingText:
    """Gather prose, docstrings and the texts of a folder, without repeats, and what is held out.

    A paragraph that shares a sentence with an earlier one, held out or not, is dropped.
    """
    gathered = {"prose": prose("train").texts, "docstrings": tuple(library_docstrings())}
    if extra is not None:
        gathered["extra"] = text(extra).texts
    everything = [(None, t) for t in prose("test").texts]
    everything += [(name, t) for name, texts in gathered.items() for t in texts]  # type: ignore[misc]
    keep = first_told(t for _, t in everything)
    sources: dict[str, list[str]] = {name: [] for name in gathered}
    for (name, paragraph), kept in zip(everything, keep, strict=True):
        if kept and name is not None:
            sources[name].append(paragraph)
    held_out = {"prose": prose("test").texts, "stories": stories(N_JUDGED_STORIES, seed + 1).texts}
    return TrainingText({name: tuple(t) for name, t in sources.items()}, held_out, seed)


def library_docstrings() -> Iterator[str]:
    """Return paragraphs of English from the docstrings of this Python's standard library."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        parts = set(path.relative_to(library).parts)
        if parts & {"site-packages", "dist-packages", "test", "tests", "pydoc_data", "idlelib"}:
            continue
        for docstring in _docstrings(path):
            for block in inspect.cleandoc(docstring).split("\n\n"):
                if paragraph := clean_paragraph(block):
                    yield paragraph


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # old escapes in files that are not ours
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates for other tools lie beside the library; they hold no docstrings
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield docstring


def train_tokenizer(material: TrainingText) -> Any:
    """Train a byte-level BPE of 1024 tokens, on equal amounts of every source."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    sources = {**material.sources, "stories": stories(_N_BPE_STORIES, material.seed).texts}
    budget = min(sum(map(len, texts)) for texts in sources.values())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_TOKENS,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Paragraphs spread evenly over the texts of each source, as many characters of every one.
    steps = {name: max(1, sum(map(len, texts)) // budget) for name, texts in sources.items()}
    sample = [part for name, texts in sources.items() for part in texts[:: steps[name]]]
    tokenizer.train_from_iterator(sample, trainer)
    # Every text the model read began with the boundary: what people type should too.
    boundary = (END_OF_TEXT, tokenizer.token_to_id(END_OF_TEXT))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B",
        special_tokens=[boundary],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=CONTEXT_LENGTH,
    )


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return token ids of each text, without special tokens."""
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encoded]


def judged_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return token ids of held-out texts, cut to what fits into the context with its boundaries."""
    return [ids[:_LONGEST] for ids in token_ids(tokenizer, texts)]


class Stream:
    """Texts one after the other, each with a boundary before it, to cut rows from."""

    def __init__(self, texts: Sequence[Sequence[int]], boundary: int) -> None:
        pieces = [np.array([boundary, *ids], dtype=np.int64) for ids in texts]
        self._ids = np.concatenate([*pieces, np.array([boundary], dtype=np.int64)])
        self._begin = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])[:-1]])

    def __len__(self) -> int:
        return len(self._ids)

    def row(self, length: int, generator: np.random.Generator) -> Int[ndarray, " length"]:
        """Cut one row: every other one begins where a text begins, the rest anywhere."""
        at_text = generator.random() < 0.5
        start = generator.choice(self._begin) if at_text else generator.integers(len(self))
        return self._ids[(start + np.arange(length)) % len(self)]


class Batches:
    """Batches of every step: rows from all sources in turn, stories retold each time."""

    def __init__(self, material: TrainingText, tokenizer: Any) -> None:
        self._tokenizer, self._seed = tokenizer, material.seed
        self._boundary = int(tokenizer.bos_token_id)
        self.streams = {
            name: Stream(token_ids(tokenizer, texts), self._boundary)
            for name, texts in material.sources.items()
        }

    def at(self, step: int, rows: int, length: int) -> Int[Tensor, "rows length"]:
        """Return the batch of one step, the same whenever it is asked for."""
        fresh = stories(STORIES_PER_STEP, self._seed, start=step * STORIES_PER_STEP).texts
        streams = {**self.streams, "stories": Stream(self._ids(fresh), self._boundary)}
        turns = [name for name in _TURNS if name in streams]
        generator = np.random.default_rng((self._seed, step))
        names = [turns[(step * rows + row) % len(turns)] for row in range(rows)]
        return torch.from_numpy(np.stack([streams[n].row(length, generator) for n in names]))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return token_ids(self._tokenizer, texts)

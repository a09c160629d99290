"""Texts and token ids to padded or packed batches: tokenizing, BOS, context length, special tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.activations._context import ROLES
from sae_nb.activations.tokens import describe_ids, token_texts
from sae_nb.checks import LARGEST, one_of, warn_caller
from sae_nb.models import _facts as facts
from sae_nb.models._chat import Conversation, conversation, is_conversation, is_message
from sae_nb.models._decoder_inputs import joined, without_targets
from sae_nb.models._inputs import (
    READ_WITH_IDS,
    TEXTS,
    AddBos,
    Batch,
    Batches,
    Samples,
    chained,
    chunks,
    described,
    empty,
    first_of_pair,
    has_numbers,
    is_many,
    numbers_of,
    unpacked,
    without_labels,
)
from sae_nb.models._interface import token_table
from sae_nb.models._padding import feels_padding

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads, Runs


PACKED_LENGTH = 1024  # longest packed row unless asked: attention costs grow with its square
_TOKENIZE_AT_ONCE = 64


@dataclass(frozen=True)
class Row:
    """One row of a batch before padding."""

    ids: Int[Tensor, " time"]
    sample: Int[Tensor, " time"]
    position: Int[Tensor, " time"]
    role: Int[Tensor, " time"]
    turn: Int[Tensor, " time"]
    truncated: bool = False
    packed: bool = field(default=False, kw_only=True)
    """Whether it is a window of texts end to end, which may begin and end inside of one."""


def token_batches(
    model: Runs,
    inputs: Inputs,
    *,
    batch_size: int,
    context_length: int | None,
    pack: bool = False,
    add_bos: AddBos = "auto",
) -> Batches:
    """Return batches of token ids, of one stream."""
    length = _context_length(model, context_length, pack)
    samples = language_samples(model, inputs)
    sequences = token_sequences(model, samples.items, add_bos)
    if pack:
        rows = _packed(sequences, length or PACKED_LENGTH, _separator(model))
    else:
        rows = _cut(model, sequences, length)
    policy: dict[str, Any] = {
        "context_length": length,
        "bos": add_bos,
        "padding": "right",
        "packed": pack,
        "special_tokens": sorted(model.special_ids),
        "truncated": 0,
    }
    return Batches(_collated(model, rows, batch_size), n_samples=samples.n_samples, policy=policy)


@token_table.answer
def _token_table(model: Runs, inputs: Inputs) -> pd.DataFrame:
    """Return the tokens of texts, one row per token, as described at `LiveModel.tokens`."""
    import pandas as pd

    if not model.modality.is_text:
        raise TypeError(
            f"`tokens` needs a language model, got {model.name}, a {model.kind} model. Load one such as "
            "load_model('tiny-gpt')."
        )
    batches = token_batches(model, inputs, batch_size=1, context_length=None)
    table = pd.concat([_tokens_of(model, batch) for batch in batches], ignore_index=True)
    return table if batches.n_samples != 1 else table.drop(columns="sample")


def _tokens_of(model: Reads, batch: Batch) -> pd.DataFrame:
    import pandas as pd

    keep = cast(Tensor, batch.keep)  # there is one wherever text is read
    dropped = keep & model.has_sinks & batch.first_tokens(model.beginning_of_text)
    columns: dict[str, Any] = {
        "sample": batch.sample,
        "position": batch.position,
        "id": batch.token_ids,
        "special": batch.special,
        "dropped": dropped,
    }
    if batch.turn is not None:
        columns["turn"] = batch.turn
    table = pd.DataFrame({name: values[keep].cpu().numpy() for name, values in columns.items()})
    if batch.role is not None:
        table["role"] = np.array([*ROLES, ""])[batch.role[keep].cpu().numpy()]
    if model.tokenizer is not None:
        table.insert(3, "token", token_texts(model.tokenizer, table["id"].tolist()))
    return table


def language_samples(
    model: Reads, inputs: Inputs, *, asks: bool = False, masked: bool = False
) -> Samples:
    """Return texts, conversations and ids; `asks`: up to an answer, `masked`: padding is known."""
    inputs = unpacked(inputs, TEXTS, "texts")
    inputs = without_labels(inputs, 2)
    if isinstance(inputs, range):
        inputs = list(inputs)
    if isinstance(inputs, str):
        _check_path(inputs)
        return _texts(model, [inputs])
    if isinstance(inputs, (bytes, bytearray, memoryview)) or hasattr(inputs, "readinto"):
        raise TypeError(
            f"`inputs` must be texts, got {described(inputs)} of a file. Pass data.decode('utf-8'), or "
            "pathlib.Path of a .txt file."
        )
    if is_message(inputs):
        inputs = [inputs]
    if is_conversation(inputs):
        return Samples(iter([conversation(model, inputs, asks=asks)]), 1)
    if isinstance(inputs, Path):
        if inputs.suffix.lower() not in (".txt", ".md") or not inputs.is_file():
            raise ValueError(
                f"`inputs` as a path must be a .txt or .md file for {model.name}, got "
                f"{str(inputs)!r}. Read other files yourself and pass their text."
            )
        return _texts(model, [inputs.read_text(encoding="utf-8")])
    if isinstance(inputs, Mapping):
        return _mapping(model, inputs, asks)
    if isinstance(inputs, (Tensor, np.ndarray)) and not has_numbers(inputs):
        raise _not_language(model, inputs)
    if isinstance(inputs, (Tensor, np.ndarray)):
        return _id_array(model, numbers_of(inputs), masked=masked)
    texts = getattr(inputs, "texts", None)
    if texts is not None and not callable(texts):
        return language_samples(model, texts, asks=asks)
    if isinstance(inputs, (list, tuple)):
        return _sequence(model, inputs, asks, masked=masked)
    if hasattr(inputs, "images") or not is_many(inputs):
        raise _not_language(model, inputs)
    return chained(inputs, 2, lambda item: language_samples(model, item, asks=asks), name="text")


def written_texts(model: Reads, inputs: Inputs) -> list[str]:
    """Return what a language model is given as texts that read to the same tokens, for a box to write in."""
    given = [inputs] if isinstance(inputs, str) else inputs
    if isinstance(given, (list, tuple)) and given and all(isinstance(one, str) for one in given):
        return list(given)
    if model.tokenizer is None:
        raise _not_language(model, inputs)
    return [_written(model, batch) for batch in model.batches(inputs, batch_size=1)]


def _written(model: Reads, batch: Batch) -> str:
    rows = cast(Tensor, batch.token_ids)[0]
    ids = (rows if batch.keep is None else rows[batch.keep[0]]).tolist()
    own = [i for i in ids if i not in model.special_ids]
    kept = ids[1:] if ids[0] == model.beginning_of_text else ids
    texts = [str(model.tokenizer.decode(some)) for some in (kept, own)]
    reads = [text_ids(model, [text])[0].tolist() if text else [] for text in texts]
    for text, read in zip(texts, reads, strict=True):
        if read == ids:
            return text
    if not own or [i for i in reads[1] if i not in model.special_ids] != own:
        raise ValueError(
            f"`inputs` must be texts or their token ids, got ids that no text gives: {ids[:8]} read as "
            f"{texts[1]!r:.40} are {reads[1][:8]}. Pass the text itself."
        )
    warn_caller(
        f"The token ids given are read as the text {texts[1]!r:.40}, whose special tokens are "
        f"{[i for i in reads[1] if i in model.special_ids]}, where those given have "
        f"{[i for i in ids if i in model.special_ids]}. Pass the text to see its tokens."
    )
    return texts[1]


_FILES = (".txt", ".md", ".json", ".jsonl", ".csv", ".parquet")


def _check_path(text: str) -> None:
    """Warn of a text that is a file's name: of one that is there, or of a word or path with its ending."""
    one_line = len(text.splitlines()) == 1
    is_path = len(text.split()) == 1 or "/" in text or "\\" in text  # not a sentence about a.txt
    if os.path.isfile(text) or (one_line and is_path and text.lower().endswith(_FILES)):
        warn_caller(
            f"The text {text!r} looks like a file's name and is read as text. Pass pathlib.Path({text!r}) to "
            "read a .txt or .md file."
        )


def check_ids(model: Reads, ids: Tensor) -> Int[Tensor, ...]:
    """Return token ids as int64 if they are integers of the model's vocabulary."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(
            f"Token ids must be integers, got {ids.dtype} of shape {tuple(ids.shape)}. A language "
            "model reads texts or token ids."
        )
    ids = ids.detach().cpu().long()  # torch compares no unsigned integers of 16 bits and more
    if ids.numel() == 0:
        raise ValueError(f"Token ids must not be empty, got shape {tuple(ids.shape)}.")
    low, high = int(ids.min()), int(ids.max())
    size = model.vocabulary_size
    if low < 0 or (size is not None and high >= size):
        wrong = low if low < 0 else high
        raise ValueError(
            f"Token ids must be between 0 and {size - 1 if size else '…'} for {model.name}, got "
            f"{wrong}. Were they made by this model's own tokenizer?"
        )
    return ids


def _texts(model: Reads, texts: Sequence[str]) -> Samples:
    if model.tokenizer is None:
        raise TypeError(
            f"{model.name} has no tokenizer, so inputs must be token ids, got "
            f"{described(texts[0])}. Pass wrap(module, tokenizer=…), or ids."
        )
    for index, text in enumerate(texts):
        if not text:
            which = f"text {index}" if len(texts) > 1 else "one"
            raise ValueError(f"Texts must not be empty, but {which} is ''. Leave it out.")
        _check_unicode(text, index)
    return Samples(iter(texts), len(texts))


def _check_unicode(text: str, index: int) -> None:
    """Refuse half a character, as decoding with surrogateescape leaves it; no tokenizer reads it."""
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Texts must be whole characters of Unicode, but text {index} has half of one (a lone surrogate) "
            "at "
            f'{error.start}. Use text.encode("utf-8", "replace").decode().'
        ) from None


def _mapping(model: Reads, inputs: Mapping[str, Any], asks: bool) -> Samples:
    if "input_ids" not in inputs:
        for name in ("messages", "text"):  # as datasets call them
            if name in inputs:
                return language_samples(model, inputs[name], asks=asks)
        raise TypeError(
            f'`inputs` as a dict must have "text", "messages" or "input_ids" for {model.name}, got '
            f"keys {list(inputs)[:6]}. Pass inputs[name], the texts themselves."
        )
    mask = inputs.get("attention_mask")
    samples = language_samples(model, inputs["input_ids"], masked=mask is not None)
    if mask is None and all(inputs.get(name) is None for name in READ_WITH_IDS[1:]):
        return samples
    ids = list(samples.items)
    if not all(isinstance(one, Tensor) for one in ids):
        raise TypeError(
            f"`input_ids` must be whole numbers, got {described(inputs['input_ids'])}. Pass what the tokenizer "
            "returned."
        )
    rows = (
        _per_token(mask, ids, "attention_mask") if mask is not None else [one == one for one in ids]
    )
    _check_mask(rows)
    kept = [row.nonzero()[:, 0] for row in rows]
    _check_read_with(model, inputs, [one.shape[0] for one in ids], kept)
    return Samples((one[row] for one, row in zip(ids, kept, strict=True)), samples.n_samples)


def _check_mask(rows: Sequence[Tensor]) -> None:
    """Refuse a mask that is not one stretch of ones in every row."""
    for row in rows:
        if not bool(((row == 0) | (row == 1)).all()):
            raise ValueError(
                f"`attention_mask` must be 1 at tokens and 0 at padding, got {float(row.min()):.4g} and "
                f"{float(row.max()):.4g}. Of an additive mask pass (mask == 0)."
            )
    for index, row in enumerate(rows):
        kept = row.nonzero()[:, 0]
        if not len(kept):
            raise ValueError(
                f"`attention_mask` must keep a token of every sample, got none in row {index}. Leave that "
                "sample out."
            )
        if int(kept[-1]) - int(kept[0]) >= len(kept):
            gap = int(kept[0]) + int((row[kept[0] :] == 0).nonzero()[0, 0])
            raise ValueError(
                f"`attention_mask` must be 0 only before and after a text, got a gap at token {gap} of row "
                f"{index}. Leave that token out of `input_ids`."
            )


def _check_read_with(
    model: Reads, inputs: Mapping[str, Any], lengths: list[int], kept: list[Tensor]
) -> None:
    """Refuse segments and positions other than those that the model is given: 0, and counted from 0."""
    for name in ("token_type_ids", "position_ids"):
        values = inputs.get(name)
        if values is None or name not in facts.forward_names(model.module):
            continue
        shapes = [torch.empty(n) for n in lengths]
        for row, where in zip(_per_token(values, shapes, name), kept, strict=True):
            expected = (
                torch.arange(len(where)) if name == "position_ids" else torch.zeros(len(where))
            )
            if not torch.equal(row[where].double(), expected.double()):
                meant = (
                    "count from 0 at every text"
                    if name == "position_ids"
                    else "be 0 at every token"
                )
                raise ValueError(
                    f"`{name}` must {meant}, as {model.name} is given them here, got "
                    f"{row[where].tolist()[:8]}. Leave them out, or run the module: model.module(**inputs)."
                )


def _per_token(values: object, ids: Sequence[Tensor], name: str) -> list[Tensor]:
    """Return one number for every token, of one sample or of several, of one length or of many, row by row."""
    try:
        if isinstance(values, Sequence) and len(values) and not isinstance(values[0], int | float):
            rows = [torch.as_tensor(row).cpu() for row in values]
            shape: object = [tuple(row.shape) for row in rows][:4]
        else:
            whole = torch.as_tensor(values).cpu()
            shape = tuple(whole.shape)
            rows = list(whole[None] if whole.ndim == 1 else whole) if whole.ndim else []
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"`{name}` must be numbers in the shape of `input_ids`, got {described(values)}. Pass what the "
            "tokenizer returned."
        ) from error
    if len(ids) != len(rows) or any(row.shape != one.shape for one, row in zip(ids, rows)):
        raise ValueError(
            f"`{name}` must have the shape of `input_ids`, got {shape} for {len(ids)} samples of "
            f"{[len(one) for one in ids][:4]} tokens. Pass what the tokenizer returned."
        )
    return rows


def _id_array(model: Reads, ids: Tensor, *, masked: bool = False) -> Samples:
    if ids.ndim not in (1, 2) or ids.is_floating_point():
        raise _not_language(model, ids)
    ids = check_ids(model, ids)
    rows = ids[None] if ids.ndim == 1 else ids
    return Samples(iter(list(rows) if masked else _without_padding(model, rows)), rows.shape[0])


def _without_padding(model: Reads, rows: Iterable[Tensor]) -> list[Tensor]:
    """Leave out padding at the ends of rows without a mask, and tell of it; refuse what may be meant."""
    rows = list(rows)
    pad = model.padding_id
    pad = (
        model.end_of_text if pad is None else pad
    )  # with which texts are padded where nothing else is
    if pad is None:
        return rows
    meant = pad in (model.beginning_of_text, model.end_of_text)
    kept, n_padded = [], 0
    for row in rows:
        others = (row != pad).nonzero()[:, 0]
        first, last = (int(others[0]), int(others[-1]) + 1) if len(others) else (0, 0)
        before, after = first, len(row) - last
        if meant and max(before, after) > 1 and len(others):
            raise ValueError(
                f"Token ids with padding must come with their mask for {model.name}, whose padding token "
                f"{pad} also "
                f"begins or ends texts: got {max(before, after)} of it at one end. Pass what the tokenizer "
                "returned: "
                '{"input_ids": ids, "attention_mask": mask}.'
            )
        padded = not meant and len(others) and before + after
        n_padded += bool(padded)
        kept.append(row[first:last] if padded else row)
    if n_padded:
        warn_caller(
            f"{n_padded} of {len(rows)} rows of token ids have padding (id {pad}) at their ends, which is "
            "left out, as an "
            'attention mask would. Pass {"input_ids": ids, "attention_mask": mask} to decide it yourself.'
        )
    return kept


def _sequence(model: Reads, inputs: Sequence[Any], asks: bool, *, masked: bool = False) -> Samples:
    if not inputs:
        raise empty("text")
    if all(isinstance(item, str) for item in inputs):
        return _texts(model, inputs)
    if all(isinstance(item, (int, np.integer)) and not isinstance(item, bool) for item in inputs):
        if max(abs(int(item)) for item in inputs) > LARGEST:  # torch may have no such integer
            raise ValueError(f"Token ids must be at most {LARGEST}, got {max(inputs)}.")
        row = torch.tensor([int(item) for item in inputs])
        return _id_array(model, row, masked=masked)
    for item in inputs:
        if not isinstance(item, (str, Path, Mapping, list, tuple, Tensor, np.ndarray)):
            raise _not_language(model, item)
    joined = Samples.joined(
        [language_samples(model, first_of_pair(one, 2), asks=asks, masked=True) for one in inputs]
    )
    if masked:
        return joined
    items = list(joined.items)  # all at once, so that padding is told of once
    ids = iter(_without_padding(model, [one for one in items if isinstance(one, Tensor)]))
    return Samples((next(ids) if isinstance(i, Tensor) else i for i in items), joined.n_samples)


def _not_language(model: Reads, inputs: Inputs) -> TypeError:
    return TypeError(
        f"`inputs` must be texts or token ids for the language model {model.name}, got "
        f"{described(inputs)}. Pass a str, a list of str, or integer ids of shape (samples, time)."
    )


def _context_length(model: Reads, asked: int | None, pack: bool) -> int | None:
    limit = model.context_length
    if asked is None:
        if not pack:
            return limit
        return min(limit, PACKED_LENGTH) if limit else PACKED_LENGTH
    if limit is not None and asked > limit:
        raise ValueError(
            f"`context_length` must be at most {limit}, what {model.name} can read, got {asked}."
        )
    return asked


def _separator(model: Reads) -> int:
    if not model.causal:
        raise ValueError(
            f"`pack` needs a causal language model, {model.name} reads a text as a whole. "
            "Use pack=False."
        )
    if model.end_of_text is None:
        raise ValueError(
            f"`pack` needs an end-of-text token between documents and {model.name} has none. "
            "Use pack=False."
        )
    return model.end_of_text


def token_sequences(
    model: Reads, samples: Iterable[Any], add_bos: AddBos = "auto"
) -> Iterator[tuple[int, Int[Tensor, "3 time"]]]:
    """Return sample index and token ids, roles and turns, tokenizing a few texts at a time."""
    one_of(add_bos, ("auto", True, False), name="add_bos")
    if add_bos is True and model.beginning_of_text is None:
        raise ValueError(
            f'{model.name} has no beginning-of-text token. Use add_bos="auto" or add_bos=False.'
        )
    return _sequences(model, samples, add_bos)


def _sequences(
    model: Reads, samples: Iterable[Any], add_bos: AddBos
) -> Iterator[tuple[int, Int[Tensor, "3 time"]]]:
    index = 0
    for chunk in chunks(samples, _TOKENIZE_AT_ONCE):
        texts = [item for item in chunk if isinstance(item, str)]
        encoded = iter(text_ids(model, texts, add_bos))
        for item in chunk:
            if isinstance(item, Conversation):
                columns = torch.stack((item.ids, item.role, item.turn))
            else:
                ids = next(encoded) if isinstance(item, str) else torch.as_tensor(item)
                columns = torch.stack((ids, *torch.full((2, len(ids)), -1)))
            if columns.numel() == 0:
                raise ValueError(f"Sample {index} has no tokens, got {item!r}. Leave it out.")
            if add_bos is True and not isinstance(item, str):
                columns = _with_bos(model, columns)
            yield index, columns
            index += 1


def _with_bos(model: Reads, columns: Int[Tensor, "3 time"]) -> Int[Tensor, "3 time"]:
    """Put BOS in front where there is none; of a conversation it is the template's."""
    bos = torch.tensor([[cast(int, model.beginning_of_text)]])
    if bool(columns[0, 0] == bos):
        return columns
    return torch.cat((torch.cat((bos, columns[1:, :1].clamp(max=0))), columns), dim=1)


def text_ids(
    model: Reads, texts: Sequence[str], add_bos: AddBos = "auto", *, target: bool = False
) -> list[Int[Tensor, " time"]]:
    """Return the token ids of texts as the model reads them or, with `target`, writes them."""
    if not texts:
        return []
    # verbose=False: a text beyond the context is cut and counted later, not warned about.
    encoded = model.tokenizer(
        **{"text_target" if target else "text": list(texts)},
        truncation=False,
        verbose=False,
        return_special_tokens_mask=True,
    )
    read = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    begin = facts.decoder_start(model.module) if target else model.beginning_of_text
    rows = [_begun_once(model, ids, added, begin, add_bos) for ids, added in read]
    joined = torch.cat(rows)
    if joined.numel():
        check_ids(model, joined)
    return rows


def _begun_once(
    model: Reads, ids: list[int], added: list[int], bos: int | None, add_bos: AddBos
) -> Int[Tensor, " time"]:
    start = added.index(0) if 0 in added else len(ids)
    stop = len(ids) - added[start:][::-1].index(0) if start < len(ids) else start
    before, own, after = ids[:start], ids[start:stop], ids[stop:]
    if add_bos is False:
        before = [one for one in before if one != bos]
        if own[:1] == [bos]:
            warn_caller(
                f"A text begins with {_names(model, own[:1])} itself, which add_bos=False leaves there. Take "
                "it off the text to read it without."
            )
    twice: list[int] = []
    if before and own[:1] and own[0] in (bos, *before):
        twice, before = [own[0]], []
    while own[:2] == [bos, bos]:
        twice, own = own[:1], own[1:]
    while own and own[-1] in after:
        twice, own = [*twice, own[-1]], own[:-1]
    if twice:
        warn_of_twice(model, twice)
    if add_bos is True and bos not in (*before, *own[:1]):
        before = [cast(int, bos), *before]
    return torch.tensor([*before, *own, *after], dtype=torch.int64)


def warn_of_twice(model: Reads, ids: Iterable[int]) -> None:
    """Tell of tokens around a text that it has itself."""
    warn_caller(
        f"A text has {_names(model, ids)} itself, which {model.name} reads once at an end of a text: it is not "
        "put there again. Pass token ids to have it twice."
    )


def _names(model: Reads, ids: Iterable[int]) -> str:
    return " and ".join(describe_ids(model.tokenizer, ids).values())


def _cut(
    model: Reads, sequences: Iterable[tuple[int, Int[Tensor, "3 time"]]], length: int | None
) -> Iterator[Row]:
    for index, columns in sequences:
        too_long = length is not None and columns.shape[1] > length
        if too_long:
            columns = _shortened(model, columns, length or 0)
        ids, role, turn = columns
        sample = torch.full_like(ids, index)
        yield Row(ids, sample, torch.arange(len(ids)), role, turn, truncated=too_long)


def _shortened(
    model: Reads, columns: Int[Tensor, "3 time"], length: int
) -> Int[Tensor, "3 length"]:
    # An encoder's closing [SEP] stays, as in the tokenizer's own truncation.
    ids, closing = columns[0], 0
    while closing < min(2, length - 1) and int(ids[-1 - closing]) in model.special_ids:
        closing += 1
    return torch.cat((columns[:, : length - closing], columns[:, len(ids) - closing :]), dim=1)


def _packed(
    sequences: Iterable[tuple[int, Int[Tensor, "3 time"]]], length: int, separator: int
) -> Iterator[Row]:
    waiting: list[Tensor] = []
    n_waiting = 0
    for index, columns in sequences:
        if int(columns[0, -1]) != separator:
            columns = torch.cat((columns, torch.tensor([[separator], [-1], [-1]])), dim=1)
        ids, role, turn = columns
        where = torch.full_like(ids, index), torch.arange(len(ids))
        waiting.append(torch.stack((ids, *where, role, turn)))
        n_waiting += len(ids)
        if n_waiting >= length:
            joined = torch.cat(waiting, dim=1)
            whole = n_waiting - n_waiting % length
            for row in torch.split(joined[:, :whole], length, dim=1):
                yield Row(*row, packed=True)
            waiting, n_waiting = [joined[:, whole:]], n_waiting - whole
    if n_waiting:
        yield Row(*torch.cat(waiting, dim=1), packed=True)


def _collated(model: Runs, rows: Iterable[Row], batch_size: int) -> Iterator[Batch]:
    def arguments(texts: Sequence[Tensor]) -> facts.Arguments:
        nobody = [torch.full_like(ids, -1) for ids in texts]
        columns = zip(texts, map(torch.zeros_like, texts), nobody, strict=True)
        batch = _batch(
            model, [Row(ids, first, torch.arange(len(ids)), no, no) for ids, first, no in columns]
        )
        if model.streams:
            batch = joined(model, batch, without_targets(model, batch))
        return batch.args, batch.kwargs

    group: list[Row] = []
    for row in rows:
        # Where padding would be read as text, only equal lengths go together.
        odd = group and feels_padding(model, "right", [group[0].ids, row.ids], arguments)
        if odd or len(group) == batch_size:
            yield _batch(model, group)
            group = []
        group.append(row)
    if group:
        yield _batch(model, group)


def _batch(model: Reads, rows: list[Row]) -> Batch:
    def padded(parts: list[Tensor], filler: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=filler)

    ids = padded([row.ids for row in rows], model.pad_id)
    position = padded([row.position for row in rows], -1)
    sample = padded([row.sample for row in rows], -1)
    role, turn = (padded([getattr(row, name) for row in rows], -1) for name in ("role", "turn"))
    chat = bool((turn >= 0).any())
    keep = position >= 0
    special = torch.isin(ids, torch.tensor(sorted(model.special_ids), dtype=torch.int64)) & keep
    args, kwargs = facts.text_arguments(model.module, ids, keep, causal=model.causal)
    batch = Batch(
        args=args,
        kwargs=kwargs,
        n=len(rows),
        first_sample=int(sample[keep].min()),
        sample=sample,
        position=position,
        token_ids=ids,
        keep=keep,
        special=special,
        role=role if chat else None,
        turn=turn if chat else None,
        truncated=sum(row.truncated for row in rows),
        packed=any(row.packed for row in rows),
    )
    return batch.to(model.device)

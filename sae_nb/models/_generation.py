"""Continuing texts token by token: greedy or sampled, batched, cached, under interventions.

The prompt is one forward pass (step 0), then one per new token (step 1, 2, …). Prompts of different
lengths are padded on the left, so that every row's last column is its newest token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._context import ROLES
from sae_nb.models import _facts as facts
from sae_nb.models._answers import Answer
from sae_nb.models._calls import RunState
from sae_nb.models._chat import Conversation, is_conversation, is_message
from sae_nb.models._generation_settings import GenerationSettings, warn_of_others, writes_as_read
from sae_nb.models._interface import Generated, continue_texts
from sae_nb.models._mixed_inputs import check_no_image, token_types
from sae_nb.models._padding import feels_padding
from sae_nb.models._text_inputs import language_samples, token_sequences

if TYPE_CHECKING:
    from transformers import Cache
    from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

    from sae_nb.checks import Inputs
    from sae_nb.models._inputs import AddBos, Batch
    from sae_nb.models._live_model import LiveModel


ASSISTANT = ROLES.index("assistant")


@continue_texts.answer
def _continue_texts(
    model: LiveModel,
    prompt: Inputs,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    use_cache: bool = True,
    *,
    return_ids: bool = False,
    echo: bool = True,
    add_bos: AddBos = "auto",
) -> Generated:
    """Continue prompts, as described at `LiveModel.generate`."""
    _check_generates(model)
    rows, single = prompt_rows(model, prompt, add_bos)
    prompts = [row.ids for row in rows]
    if model.streams:
        echo = False  # what is read is not the beginning of what is written
    longest, limit = max(len(ids) for ids in prompts), model.context_length
    if limit is not None and longest + max_new_tokens > limit:
        raise ValueError(
            f"Prompt and new tokens must fit in the {limit} tokens {model.name} can read, got "
            f"{longest} + {max_new_tokens}. Shorten the prompt or lower `max_new_tokens`."
        )
    new = _continued(model, rows, max_new_tokens, Choice(temperature, seed), use_cache)
    if return_ids or model.tokenizer is None:
        ids = [torch.cat((p, n)) if echo else n for p, n in zip(prompts, new, strict=True)]
        return ids[0] if single else ids
    texts = [_text(model, p, n, echo) for p, n in zip(prompts, new, strict=True)]
    return texts[0] if single else texts


class TokenStream:
    """Texts that grow by one token a row whenever `step` is called, as `continue_texts` writes them.

    Each step is one forward pass: it reads what was not read yet and appends the token that comes next.
    Interventions may come and go between two steps, and a step that fails leaves everything as it was. The
    caller checks whether it fits in the context.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-gpt")
    >>> stream = TokenStream.of(model, "The list of")
    >>> new = [int(stream.step()[0]) for _ in range(3)]
    >>> new == model.generate("The list of", 3, return_ids=True, echo=False).tolist()
    True
    """

    def __init__(
        self,
        model: LiveModel,
        rows: Sequence[Tensor | Conversation],
        choose: Choice | None = None,
        *,
        use_cache: bool = True,
        n_new: int | None = None,
    ) -> None:
        self._model, self._text = model, _left_padded(model, rows)
        mixed = [row.source for row in rows if isinstance(row, Begun) and model.placeholders]
        self._mixed = mixed[0] if len(mixed) == 1 else None
        sources = [] if mixed else [row.source for row in rows if isinstance(row, Begun)]
        self._source = _Source.of(sources) if sources else None
        self._choose = Choice() if choose is None else choose
        self._names = facts.forward_names(model.module)
        argument = facts.cache_argument(model.module)
        if argument is not None and facts.takes_more(model.module):
            self._names |= {"use_cache"}  # which LLaVA hands on without naming it
        blocks = None if model.structure is None else f"{model.structure.blocks}.0"
        # Places of the model's own before the text are in its cache, which then counts more than tokens.
        own_places = blocks is not None and facts.tokens_from(model.module, blocks) == -1
        cached = use_cache and not (model.remote or own_places) and "use_cache" in self._names
        # None: the whole text is read every time.
        self._cache_argument = argument if cached else None
        ends = sorted(facts.end_token_ids(model.module, model.tokenizer))
        self._ends = torch.tensor(ends, device=model.device, dtype=torch.int64)
        self._settings = GenerationSettings(model, ends, n_new)
        warn_of_others(model, self._choose.temperature)
        self._cache: Cache | None = None
        self._n_cached = 0
        # Of the generator before each draw, by the column that was drawn.
        self._drawn: dict[int, Tensor | None] = {}

    @classmethod
    def of(
        cls, model: LiveModel, prompt: Inputs, temperature: float = 0.0, seed: int | None = None
    ) -> TokenStream:
        """Return the stream of one prompt."""
        _check_generates(model)
        return cls(model, [prompt_row(model, prompt)], Choice(temperature, seed))

    @property
    def ids(self) -> Int[Tensor, "rows columns"]:
        """Every token there is, those chosen last included, which no pass has read yet."""
        return self._text.ids

    @property
    def keep(self) -> Bool[Tensor, "rows columns"]:
        """False at padding and after a text's end."""
        return self._text.keep

    @property
    def alive(self) -> Bool[Tensor, " rows"]:
        """Mask of the texts that have not ended; the token that ends one is its last."""
        return self._text.alive

    def step(self) -> Int[Tensor, " rows"]:
        """Append one token to every row and return them; the lock is held for this step only."""
        model, text = self._model, self._text
        n_columns, before = text.ids.shape[1], self._choose.state
        states = text.states(self._n_cached)
        if self._source is not None:
            states = self._source.seen_by(states)
        try:
            with model.lock, torch.no_grad():
                raw = self._run(states)
            chosen = self._choose(self._by_settings(Answer(model, raw).tensor[:, -1]))
        except BaseException:
            self._take_back(before)
            raise
        if self._source is not None:
            self._source.keep(raw)
        # A model that was asked for a cache and gives none reads the whole text every time.
        self._cache = facts.cache_of(raw) if self._cache_argument else None
        self._n_cached = n_columns if self._cache is not None else 0
        self._drawn[n_columns] = before
        chosen = torch.where(text.alive, chosen, model.pad_id)
        text.append(chosen, text.alive & ~torch.isin(chosen, self._ends.to(chosen.dtype)))
        return chosen

    def _run(self, states: Sequence[RunState]) -> Any:
        try:
            return self._model.editing.run(*self._arguments(states), states)
        except ValueError as error:
            # Switch Transformers' encoder refuses the request for a cache that its decoder needs.
            if self._cache_argument is None or "use_cache" not in str(error):
                raise
        self._cache_argument = None
        return self._model.editing.run(*self._arguments(states), states)

    def _by_settings(self, logits: Float[Tensor, "rows vocabulary"]) -> Tensor:
        """Return the logits as the model's generation settings have them, of texts that have not ended."""
        text, changed = self._text, logits.float()
        for row, alive in enumerate(text.alive.tolist()):
            processors = self._settings.of(row, partial(self._begun, row)) if alive else None
            if processors is not None:
                ids = text.ids[row][text.keep[row]]
                changed = changed.clone() if changed is logits else changed
                changed[row] = processors(ids[None], changed[row][None])[0]
        return changed

    def _begun(self, row: int) -> tuple[int, Tensor | None]:
        """Return the length of a row's prompt, and the tokens that it continues or translates."""
        text = self._text
        n_prompt = int(text.prompt_length[row])
        prompt = text.ids[row][text.keep[row]][:n_prompt]
        return n_prompt, prompt if self._source is None else self._source.token_ids(row)

    def instead(self, tokens: Int[Tensor, " rows"]) -> None:
        """Put other tokens, one a row, in place of those chosen last; −1 ends a row."""
        text = self._text
        written, given = text.keep[:, -1], tokens.to(text.ids)
        chosen = torch.where(given < 0, self._model.pad_id, given)
        last = torch.where(written, chosen, text.ids[:, -1])
        text.ids = torch.cat((text.ids[:, :-1], last[:, None]), dim=1)
        text.alive = written & (given >= 0) & ~torch.isin(last, self._ends.to(last.dtype))

    def arguments(self) -> facts.Arguments:
        """Return the arguments of the next pass."""
        return self._arguments(self._text.states(self._n_cached))

    def _arguments(self, states: Sequence[RunState]) -> facts.Arguments:
        text, names, first = self._text, self._names, states[0].offset
        ids = text.ids[:, first:]
        args: tuple[Tensor, ...] = () if "input_ids" in names else (ids,)
        if self._mixed is not None:
            return (), self._with_images(ids)
        if self._source is not None:
            given = self._source.arguments() | {
                "decoder_input_ids": ids,
                "decoder_attention_mask": text.keep.long(),
                **self._cache_arguments(),
            }
            return (), {name: value for name, value in given.items() if name in names}
        offered: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": text.keep.long(),
            "position_ids": text.position()[:, first:].clamp(min=0),
            "logits_to_keep": 1,
            **self._cache_arguments(),
        }
        return args, {name: value for name, value in offered.items() if name in names}

    def _cache_arguments(self) -> dict[str, Any]:
        if self._cache_argument is None:
            return {"use_cache": False}
        return {"use_cache": True, self._cache_argument: self._cache}

    def _with_images(self, ids: Tensor) -> dict[str, Any]:
        """Return the arguments of a pass over a text with images, which are read with its first tokens."""
        given: dict[str, Any] = {
            "input_ids": ids,
            "logits_to_keep": 1,
            **self._cache_arguments(),
        }
        if not self._n_cached:
            # One text has no padding; later, Qwen2-VL would count positions by the whole mask.
            given["attention_mask"] = self._text.keep.long()
            ids_read = None if self._mixed is None else self._mixed.token_ids
            shape = None if ids_read is None else ids_read.shape
            source = {} if self._mixed is None else self._mixed.kwargs
            # Rows that were forked have the images of one: each needs them.
            given = {
                name: torch.cat([value] * len(ids)) if isinstance(value, Tensor) else value
                for name, value in source.items()
                if getattr(value, "shape", None) != shape
            } | given
            if "mm_token_type_ids" in source:
                given["mm_token_type_ids"] = token_types(self._model, ids.cpu()).to(ids.device)
        stated = self._names | {name for name in given if name.startswith("pixel_values")}
        return {name: value for name, value in given.items() if name in stated}

    def _take_back(self, before: Tensor | None) -> None:
        """Forget what a step that was cut short has put in the cache, in some layers perhaps, and drawn."""
        if self._cache is not None:
            self._cache = _shortened(self._cache, self._n_cached)
            self._n_cached = 0 if self._cache is None else self._n_cached
        if before is not None:
            self._choose.go_back(before)

    def forked(self, n_columns: int, row: int = 0, n_rows: int = 1) -> TokenStream:
        """Return a stream that continues from the first columns (≥ 1) of a row, several times over.

        All its rows draw with the random numbers that this one drew with. The last of these columns is read
        again, so that interventions may hold for it; what is before it is of the cache, if that goes back so
        far.
        """
        made = copy.copy(self)
        made._text = self._text.first(n_columns, row, n_rows)
        made._settings = self._settings.anew()
        if self._source is not None:
            made._source = self._source.rows(row, n_rows)
        # From within the prompt nothing was drawn: there it begins with the first draw.
        first = next(iter(self._drawn.values()), None)
        made._choose = self._choose.alike(self._drawn.get(n_columns, first))
        made._drawn = {column: s for column, s in self._drawn.items() if column < n_columns}
        made._cache, made._n_cached = None, 0
        if self._cache is not None and n_columns > 1:
            cache = _shortened(copy.deepcopy(self._cache), n_columns - 1)
            if cache is not None:
                cache.batch_select_indices(torch.tensor([row], device=self._text.ids.device))
                cache.batch_repeat_interleave(n_rows)
                made._cache, made._n_cached = cache, n_columns - 1
        return made


def _shortened(cache: Cache, n_columns: int) -> Cache | None:
    """Return a cache with the first columns only, layer by layer; None where one does not go back so far."""
    layers = getattr(cache, "layers", None)
    if layers is None:
        return None
    for layer in layers:
        try:
            surplus = int(layer.get_seq_length()) - n_columns
            if surplus > 0:
                layer.crop(-surplus)
        except (RuntimeError, ValueError, AttributeError, NotImplementedError):
            return None  # each kind of cache refuses in its own way; the prefix is then read anew
        if getattr(layer, "is_initialized", True) and layer.get_seq_length() != n_columns:
            return None
    return cache


class Choice:
    """Next-token logits → the likeliest token of every row, or one that is drawn."""

    def __init__(self, temperature: float = 0.0, seed: int | None = None) -> None:
        self.temperature, self._alike = temperature, False
        # On the CPU, so that a seed gives the same text on every device.
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    @property
    def state(self) -> Tensor | None:
        """State that the next draw depends on; None without a seed."""
        if self.temperature == 0 or self._generator is None:
            return None
        return self._generator.get_state()

    def go_back(self, state: Tensor) -> None:
        """Draw again as it did when that was the state."""
        if self._generator is not None:
            self._generator.set_state(state)

    def alike(self, state: Tensor | None) -> Choice:
        """Return a choice that draws with the same random numbers in every row, from such a state on."""
        made = Choice(self.temperature)
        made._alike = True
        if self._generator is not None:
            made._generator = torch.Generator()
            made.go_back(self._generator.get_state() if state is None else state)
        return made

    def __call__(self, logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, " rows"]:
        """Return one token id per row."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        chances = torch.softmax(logits.float().cpu() / self.temperature, dim=-1)
        if not self._alike:
            return self._draw(chances).to(logits.device)
        # The global generator where there is no other: its state is set back and moved on all the same.
        generator = torch.default_generator if self._generator is None else self._generator
        before = generator.get_state()
        drawn = []
        for row in range(len(chances)):
            generator.set_state(before)
            drawn.append(self._draw(chances[row : row + 1]))
        return torch.cat(drawn).to(logits.device)

    def _draw(self, chances: Tensor) -> Tensor:
        return torch.multinomial(chances, 1, generator=self._generator)[:, 0]


def _check_generates(model: LiveModel) -> None:
    if not model.generates and (not model.causal or not model.modality.is_text):
        raise TypeError(
            f"`generate` needs a causal language model, got {model.name}, a {model.kind} model that "
            "does not predict next tokens. Load one such as a GPT-2 or Llama folder."
        )
    can = getattr(model.module, "can_generate", None)
    if callable(can) and not can():
        raise TypeError(
            f"`generate` needs a model with a language-modelling head, got {model.name} "
            f"({type(model.module).__name__}). Wrap or load its ForCausalLM class."
        )
    if model.causal and not model.streams and not writes_as_read(model):
        raise TypeError(
            f"`generate` needs a model that writes a token behind the last one it reads, and {model.name} "
            f"({type(model.module).__name__}) puts tokens of its own there. Use `model.module.generate`."
        )


def prompt_rows(
    model: LiveModel, prompt: Inputs, add_bos: AddBos = "auto"
) -> tuple[list[Conversation], bool]:
    """Return prompts as they are continued, up to the assistant's answer; and whether it is one alone."""
    if model.streams or (model.placeholders and not isinstance(prompt, str)):
        return _begun(model, prompt, add_bos)
    samples = language_samples(model, prompt, asks=True)
    rows = [Conversation(*columns) for _, columns in token_sequences(model, samples.items, add_bos)]
    for row in rows:
        check_no_image(model, row.ids)
    is_tensor = isinstance(prompt, Tensor) and prompt.ndim == 1
    is_ids = isinstance(prompt, Sequence) and bool(prompt) and isinstance(prompt[0], int)
    is_chat = is_message(prompt) or is_conversation(prompt)
    return rows, isinstance(prompt, str) or is_tensor or is_ids or is_chat


def _begun(model: LiveModel, prompt: Inputs, add_bos: AddBos) -> tuple[list[Conversation], bool]:
    """Return what an encoder–decoder reads and how its decoder begins, sample by sample."""
    rows: list[Conversation] = []
    # One at a time: what is padded together is then a matter of what is generated together.
    for batch in model.batches(prompt, batch_size=1, add_bos=add_bos):
        if batch.n > 1:
            raise ValueError(
                f"`prompt` must have one text with images at a time, got {batch.n} in one. Pass a list of "
                "what the processor returned for each."
            )
        keep = cast(Tensor, batch.keep)
        ids = cast(Tensor, batch.token_ids)[keep].cpu()
        nobody = torch.full_like(ids, -1)
        rows.append(Begun(ids, nobody, nobody, batch))
    is_one = isinstance(prompt, str | Path) or (isinstance(prompt, Tensor) and prompt.ndim == 1)
    is_ids = isinstance(prompt, Sequence) and bool(prompt) and isinstance(prompt[0], int | float)
    return rows, is_one or is_ids


@dataclass(frozen=True, eq=False)
class Begun(Conversation):
    """The text that a decoder has written so far, and the source that its encoder reads."""

    source: Batch

    @property
    def shape(self) -> tuple[Any, ...]:
        """Lengths that must agree for two to be generated together without padding."""
        tensors = [v for v in self.source.kwargs.values() if isinstance(v, Tensor)]
        return (len(self.ids), *(tuple(value.shape) for value in tensors))


@cache
def _encoder_output() -> type[BaseModelOutput]:
    """Return the class of an encoder's output, with what some models read of it besides."""
    from transformers.modeling_outputs import BaseModelOutput

    fields = [("attention_mask", Tensor | None, None), ("router_logits", Any, None)]
    return make_dataclass("EncoderOutput", fields, bases=(BaseModelOutput,))


class _Source:
    """The input of an encoder, of sources of one shape, and after the first pass its output."""

    def __init__(self, arguments: dict[str, Tensor], state: RunState) -> None:
        self._arguments, self._state = arguments, state
        self._output: BaseModelOutput | None = None

    @classmethod
    def of(cls, sources: Sequence[Batch]) -> _Source:
        """Return the input of several sources."""
        names = [name for name in sources[0].kwargs if not name.startswith("decoder_")]
        known = {name: [one.kwargs[name] for one in sources] for name in names}
        arguments = {
            name: torch.cat(values)
            for name, values in known.items()
            if isinstance(values[0], Tensor)
        }
        read = [one.at_encoder for one in sources]
        joined: dict[str, Any] = {
            name: torch.cat([getattr(one, name) for one in read])
            for name in ("sample", "position", "token_ids", "keep", "special")
            if getattr(read[0], name) is not None
        }
        rows = torch.arange(len(read), device=joined["sample"].device)[:, None]
        joined["sample"] = rows.expand_as(joined["sample"]).masked_fill(joined["sample"] < 0, -1)
        return cls(arguments, replace(read[0], n=len(read), **joined).state())

    def token_ids(self, row: int) -> Tensor | None:
        """Return the tokens that the encoder reads of a row; None of sounds and images."""
        ids = self._arguments.get("input_ids")
        mask = self._arguments.get("attention_mask")
        return None if ids is None else ids[row] if mask is None else ids[row][mask[row] != 0]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a pass: the input at first, then the output instead."""
        if self._output is None:
            return dict(self._arguments)
        mask = {k: v for k, v in self._arguments.items() if k == "attention_mask"}
        return mask | {"encoder_outputs": self._output}

    def seen_by(self, states: Sequence[RunState]) -> list[RunState]:
        """Return the states of the decoder's columns, with the encoder's where it runs."""
        if self._output is not None:
            return list(states)
        return [replace(state, encoder=self._state) for state in states]

    def keep(self, raw: Seq2SeqLMOutput) -> None:
        """Keep what the encoder gave, so that it runs once."""
        if self._output is None:
            self._output = _encoder_output()(last_hidden_state=raw.encoder_last_hidden_state)

    def rows(self, row: int, n_rows: int) -> _Source:
        """Return the source of one row, several times over."""
        made = copy.copy(self)
        made._arguments = {
            name: value[row : row + 1].repeat_interleave(n_rows, dim=0)
            for name, value in self._arguments.items()
        }
        made._output = None  # read again: interventions may hold for it
        changes: dict[str, Any] = {
            name: value[row : row + 1].repeat_interleave(n_rows, dim=0)
            for name, value in vars(self._state).items()
            if isinstance(value, Tensor)
        }
        made._state = replace(self._state, n_samples=n_rows, **changes)
        return made


def prompt_row(model: LiveModel, prompt: Inputs, *, name: str = "prompt") -> Conversation:
    """Return one prompt, as `prompt_rows` does."""
    rows, _ = prompt_rows(model, prompt)
    if len(rows) != 1:
        raise ValueError(f"`{name}` must be one text, got {len(rows)}. Call once each.")
    return rows[0]


def _text(model: LiveModel, prompt: Tensor, new: Tensor, echo: bool) -> str:
    def decoded(ids: Tensor) -> str:
        return str(model.tokenizer.decode(ids.tolist(), skip_special_tokens=True))

    before, whole = decoded(prompt), decoded(torch.cat((prompt, new)))
    if echo:
        return whole
    # Decoding only the new tokens would lose the space before the first of them.
    return whole[len(before) :] if whole.startswith(before) else decoded(new)


@dataclass
class _Text:
    """The growing batch."""

    ids: Tensor
    keep: Tensor
    prompt_length: Tensor
    n_prompt: int
    alive: Tensor
    role: Tensor
    """−1 throughout where no row is a conversation."""

    def position(self) -> Tensor:
        position: Tensor = self.keep.long().cumsum(dim=1) - 1
        return position.masked_fill(~self.keep, -1)

    def append(self, chosen: Tensor, alive: Tensor) -> None:
        self.ids = torch.cat((self.ids, chosen[:, None]), dim=1)
        self.keep = torch.cat((self.keep, self.alive[:, None]), dim=1)
        answers = torch.where((self.role >= 0).any(dim=1) & self.alive, ASSISTANT, -1)
        self.role = torch.cat((self.role, answers[:, None]), dim=1)
        self.alive = alive

    def states(self, first: int) -> list[RunState]:
        """Return the columns' states from `first` on: those of the prompt together, then each new one."""
        n_columns = self.ids.shape[1]
        ends = [self.n_prompt] if first < self.n_prompt else []
        ends += range(max(self.n_prompt, first) + 1, n_columns + 1)
        position = self.position()
        return [self._state(position, start, end) for start, end in zip([first, *ends[:-1]], ends)]

    def _state(self, position: Tensor, first: int, last: int) -> RunState:
        keep = self.keep[:, first:last]
        row = torch.arange(len(self.ids), device=self.ids.device)[:, None]
        return RunState(
            step=max(0, first - self.n_prompt + 1),
            offset=first,
            keep=keep,
            token_ids=self.ids[:, first:last],
            position=position[:, first:last],
            prompt_length=self.prompt_length,
            sample=row.expand_as(keep).masked_fill(~keep, -1),
            role=self.role[:, first:last] if bool((self.role >= 0).any()) else None,
        )

    def first(self, n_columns: int, row: int, n_rows: int) -> _Text:
        """Return the first columns of a row without padding, several times over."""
        ids = self.ids[row : row + 1, :n_columns].repeat(n_rows, 1)
        n_prompt = min(self.n_prompt, n_columns)
        return _Text(
            ids,
            torch.ones_like(ids, dtype=torch.bool),
            torch.full((n_rows,), n_prompt, device=ids.device),
            n_prompt,
            torch.ones(n_rows, dtype=torch.bool, device=ids.device),
            self.role[row : row + 1, :n_columns].repeat(n_rows, 1),
        )


def _continued(
    model: LiveModel,
    prompts: list[Conversation],
    n_new: int,
    choose: Choice,
    use_cache: bool,
) -> list[Tensor]:
    """Return the new tokens of every prompt, up to and with its end-of-text token."""

    def arguments(texts: Sequence[Tensor]) -> facts.Arguments:
        return TokenStream(model, texts, use_cache=False).arguments()

    # Where padding would be read as text, only equal lengths go together.
    texts = [prompt.ids for prompt in prompts]
    paired = any(isinstance(prompt, Begun) for prompt in prompts)
    by_length = not paired and feels_padding(model, "left", texts, arguments)
    groups: dict[Any, list[int]] = {}
    for row, prompt in enumerate(prompts):
        alike: object = len(prompt.ids) if by_length else 0
        if isinstance(prompt, Begun):  # an image's features have no axis of samples in some models
            alike = row if model.placeholders else prompt.shape
        groups.setdefault(alike, []).append(row)
    out: list[Tensor | None] = [None] * len(prompts)
    for rows in groups.values():
        given = [prompts[row] for row in rows]
        stream = TokenStream(model, given, choose, use_cache=use_cache, n_new=n_new)
        with model.lock:
            for _ in range(n_new):
                if not bool(stream.alive.any()):
                    break
                stream.step()
        longest = max(len(prompt.ids) for prompt in given)
        for place, row in enumerate(rows):
            new = stream.ids[place, longest:]
            out[row] = new[stream.keep[place, longest:]].cpu()
    return [ids for ids in out if ids is not None]


def _left_padded(model: LiveModel, rows: Sequence[Tensor | Conversation]) -> _Text:
    prompts = [
        # A text, which no role has written.
        row if isinstance(row, Conversation) else Conversation(row, *torch.full((2, len(row)), -1))
        for row in rows
    ]
    longest = max(len(prompt.ids) for prompt in prompts)
    ids = torch.full((len(prompts), longest), model.pad_id)
    keep = torch.zeros(len(prompts), longest, dtype=torch.bool)
    role = torch.full((len(prompts), longest), -1)
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt.ids)
        ids[row, start:], role[row, start:], keep[row, start:] = prompt.ids, prompt.role, True
    device = model.device
    ids, keep, role = ids.to(device), keep.to(device), role.to(device)
    alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
    return _Text(ids, keep, keep.sum(dim=1), longest, alive, role)

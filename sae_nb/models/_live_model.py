"""A live model: any torch module with its tokenizer or preprocessing, hook points and one lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb._hints import KnowsOtherWords
from sae_nb.activations._context import Context
from sae_nb.activations._modality import Modality, kinds
from sae_nb.checks import (
    Count,
    Seed,
    at_least,
    check_devices,
    checked,
    in_own_modes,
    make_ordinary,
    warn_caller,
)
from sae_nb.checks._hook_point_names import standard_name
from sae_nb.kernels._products import fast_pass
from sae_nb.models import _facts as facts
from sae_nb.models._answers import (
    AnswerTensor,
    check_columns,
    collected,
    main_tensor,
    named_outputs,
)
from sae_nb.models._block_order import Turns, again_and_again, fixed, settled, tried, turns_of
from sae_nb.models._devices import device_of, no_weights
from sae_nb.models._families import (
    Structure,
    find_streams,
    find_text_structure,
    in_order,
    lone_block,
    standard_hook_points,
    stream_hook_points,
    width_at,
)
from sae_nb.models._hook_point_list import HookPoints
from sae_nb.models._hook_points import (
    HookPoint,
    HookPointNotFound,
    Place,
    check_step,
    find_hook_point,
    near_names,
)
from sae_nb.models._inputs import AddBos, Batch, Batches, batches_of, described
from sae_nb.models._interface import Generated, continue_texts, token_table
from sae_nb.models._interventions import Editing, Intervention
from sae_nb.models._lock import ModelLock, lock_of, of_one_thread
from sae_nb.models._norms import takes_off_mean
from sae_nb.models._states import layout_at
from sae_nb.models._stored_edits import RemoteEditing
from sae_nb.models._token_layout import TokenLayout

if TYPE_CHECKING:
    import pandas as pd
    from nnsight import NNsight
    from transformers import PretrainedConfig

    from sae_nb.checks import Inputs


@dataclass(eq=False, repr=False)
class LiveModel(KnowsOtherWords):
    """A torch module that can be captured from and steered; made by `load_model` or `wrap`.

    The module is not copied and stays usable by itself. Everything that runs it holds `lock`, one per module,
    meanwhile in evaluation mode. Hooks exist only during a call, or while an edit is in force.

    Parameters
    ----------
    kind
        Of input: "language" reads texts or token ids, "vision" images, "audio" sounds, "video" videos,
        "series" time series, "multimodal" texts with images in them, "protein" and "dna" sequences of
        letters, "plain" tensors. See `modality`.
    causal
        Whether it is a decoder that predicts the next token.
    tokenizer
        A Hugging Face tokenizer; None: token ids only.
    preprocess
        Images to pixel values: `Preprocess`, or a function of floats in [0, 1]; None: as they are.
    layout
        Tokens of one image; None: unknown.
    card
        Facts on a bundled model: data, steps, accuracies.
    given_nnsight
        An nnsight object to use as `nnsight`; None: one is made when it is asked for.
    sample_rate
        Of the traces that it reads, values per second; of videos frames per second; None: unknown, or it reads
        none.
    remote
        Where it runs, if not here: `given_nnsight` then has no weights.

    Example
    -------
    >>> import torch
    >>> from sae_nb.models import wrap
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    >>> model.hook_points(), model.width("0"), model(torch.ones(2, 4)).shape
    (['0', '1'], 3, torch.Size([2, 3]))
    """

    module: nn.Module
    _: KW_ONLY
    name: str
    kind: str
    causal: bool = False
    tokenizer: Any = None
    preprocess: Any = None
    layout: TokenLayout | None = None
    class_names: Sequence[str] | None = None
    given_nnsight: NNsight = None
    card: dict[str, Any] | None = None
    sample_rate: float | None = None
    remote: bool | str = False

    def __post_init__(self) -> None:
        if not self.remote:
            make_ordinary(self.module)
        layout = self.layout or TokenLayout(0, None)
        self.prefix_tokens, self.patch_grid = layout.prefix_tokens, layout.patch_grid
        self.frames, self.time_last = layout.frames, layout.time_last
        self.class_names = tuple(self.class_names) if self.class_names is not None else None
        self.interventions: list[Intervention] = []
        self.editing: Editing = RemoteEditing(self) if self.remote else Editing(self)
        self.lock: ModelLock = lock_of(self.module)
        self.ran_once: set[Place] = set()
        """Places outside `hook_points` that a whole pass has reached once."""

        self.n_passes = 0
        """Number of passes that were read, of a network that may run parts more often for some inputs."""

    def __repr__(self) -> str:
        """Name, kind, size, where it runs, how deep it is."""
        parts = [self.kind + (", causal" if self.causal else "")]
        parts += [f"{name} of {stream.n_blocks} blocks" for name, stream in self.streams.items()]
        structure = self.structure
        if structure is not None and not self.streams:
            width = self.width()
            blocks = f"{structure.n_blocks} blocks"
            if structure.looped:
                blocks = f"{structure.n_blocks} runs of {len(set(structure.paths))} blocks"
            parts.append(blocks + (f" of width {width}" if width else ""))
        if self.patch_grid is not None:
            rows, columns = self.patch_grid
            shape = f"{rows}×{columns}"
            if self.frames is not None and not self.time_last:
                shape = f"{self.frames}×{rows // self.frames}×{columns}"
            parts.append(f"{self.prefix_tokens} + {shape} tokens")
        count = sum(parameter.numel() for parameter in self.module.parameters())
        dtype = str(self.dtype).removeprefix("torch.")
        where = "run remotely" if self.remote else f"on {self.device}"
        parts.append(f"{count / 1e6:.3g} M parameters, {dtype} {where}")
        return f"LiveModel({self.name!r}: {'; '.join(parts)})"

    # What it is

    @property
    def device(self) -> torch.device:
        """Device of its inputs: that of its first parameter; the CPU for a model that runs remotely."""
        place = None if self.remote else device_of(self.module)
        return torch.device("cpu") if place is None else place

    @property
    def dtype(self) -> torch.dtype:
        """Number format of its first floating-point parameter."""
        for parameter in self.module.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return torch.get_default_dtype()

    @property
    def config(self) -> PretrainedConfig | facts.ModelFacts:
        """The module's own configuration; for a module without one, a record of what is known of it."""
        return getattr(self.module, "config", None) or self._known

    @cached_property
    def _known(self) -> facts.ModelFacts:
        return facts.ModelFacts(
            name=self.name,
            kind=self.kind,
            n_layers=self.n_layers,
            width=self.width(),
            n_parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            vocabulary_size=self.vocabulary_size,
            context_length=self.context_length,
        )

    @property
    def places(self) -> Context:
        """Names of the positions of its samples, and where each lies on a sample's face."""
        seconds = self.column_seconds
        if self.frames is not None and self.sample_rate is not None:
            n_frames = facts.video_frames(self.module) or self.frames
            seconds = n_frames / self.frames / self.sample_rate
        return Context(
            kind=self.kind,
            patch_grid=self.patch_grid,
            prefix_tokens=self.prefix_tokens,
            frames=self.frames,
            time_last=self.time_last,
            seconds_per_step=seconds,
        )

    @cached_property
    def column_seconds(self) -> float | None:
        """Time from one column of patches, of a spectrogram or a series, to the next; None for other models."""
        return facts.column_seconds(self.module, self.sample_rate)

    @property
    def modality(self) -> Modality:
        """Kind of input as a record: its words, how it is read and shown. Equal to `kind`."""
        kinds()  # with their readers
        return Modality.of(self.kind)

    @property
    def reads_pixels(self) -> bool:
        """Whether it reads pixel values, of images or of the frames of videos."""
        return self.modality.is_image or self.frames is not None

    @property
    def n_layers(self) -> int | None:
        """Number of blocks; None for a network without blocks."""
        return None if self.structure is None else self.structure.n_blocks

    @property
    def n_heads(self) -> int | None:
        """Number of attention heads of a layer, of an encoder–decoder its decoder's; None if not stated."""
        return facts.head_count(self.module, "decoder" if self.streams else None)

    @cached_property
    def takes_off_mean(self) -> bool | None:
        """Whether its norms take off the stream's mean, as layer norms do; None where that is not known."""
        return takes_off_mean(self.module, self.structure)

    @property
    def structure(self) -> Structure | None:
        """Paths of its blocks and their parts, in the order in which they run, of an encoder–decoder the
        decoder's; None if it has none.
        """
        return self._order[0]

    @cached_property
    def _order(self) -> tuple[Structure | None, bool]:
        """The structure, and whether a pass or the configuration has shown the order of its blocks."""
        if self.streams:
            return self.streams["decoder"], True
        structure = find_text_structure(self.module)
        return settled(self, structure) if structure is not None else again_and_again(self)

    @property
    def order_is_known(self) -> bool:
        """Whether a pass or the configuration has shown in which order blocks run."""
        return self._order[1]

    @property
    def layers(self) -> pd.DataFrame:
        """Applications of blocks in one pass, in the order in which they run, one row each.

        Columns: ``application``, the i of ``resid_post.i``; ``module``, the path of the block that runs;
        ``loop``, the number of times that this block ran before. Empty for a network without blocks.

        Example
        -------
        >>> from sae_nb.models import load_model
        >>> load_model("tiny-gpt").layers.head(2)
           application          module  loop
        0            0  model.layers.0     0
        1            1  model.layers.1     0
        """
        import pandas as pd

        found = self.structure
        paths, loops = ((), ()) if found is None else (found.paths, found.loops)
        return pd.DataFrame({"application": range(len(paths)), "module": paths, "loop": loops})

    @cached_property
    def _turns(self) -> Turns | None:
        """Turns of all modules in one pass over inputs of our own; None where there are none to try."""
        return None if self.remote else tried(self, self.structure)

    def counted(self, point: HookPoint, step: object = None) -> HookPoint:
        """Return a hook point for an edit at some applications of its module: a number, several, or "last"."""
        asked = check_step(point, step)
        if asked is None and point.step is None:
            n = 1 if self.structure is None else self.structure.runs.get(point.path, 1)
            return point if n == 1 else point.changed(runs=n)
        runs = None if self._turns is None else self._turns.runs.get(point.path)
        applied = point.changed(step=point.step if asked is None else asked, runs=runs)
        times = applied.times or ()
        if runs is not None and fixed(self.module) and max(times, default=0) >= runs:
            raise ValueError(
                f"`step` must name some of the {runs} application{'s' * (runs > 1)} of `{point.path}`, counted "
                f"from 0, got {max(times)}. The last one is {runs - 1}."
            )
        return applied

    def settle_order(self, inputs: Inputs) -> None:
        """Find out from the first of some inputs in which order the blocks run, where that is not known yet.

        Runs one batch of one sample. Inputs that can be read only once are left alone.
        """
        structure, is_known = self._order
        if is_known or hasattr(inputs, "__next__"):
            return
        for batch in self.batches(inputs, batch_size=1):
            self.note_turns(turns_of(self, structure, batch.to(self.device).args, batch.kwargs))
            return

    def note_turns(self, turns: Turns | None) -> None:
        """Take the order of a pass over the whole network for that of every pass."""
        structure = self._order[0]
        if turns is None or (structure is not None and not turns.blocks):
            return
        if structure is None:
            self._order = lone_block(self.module, turns.runs), True
        else:
            self._order = in_order(self.module, structure, turns.blocks, turns.runs), True
        vars(self).pop("_points", None)

    @cached_property
    def placeholders(self) -> dict[int, str]:
        """Token ids at which a text holds an image's patches, with their kind; empty for other models."""
        return facts.placeholders(self.module) if facts.reads_mixture(self.module) else {}

    @cached_property
    def streams(self) -> dict[str, Structure]:
        """Paths of the blocks of "encoder" and "decoder"; empty for a model of one stream."""
        return find_streams(self.module)

    @property
    def has_sinks(self) -> bool:
        """Whether the first tokens of texts are attention sinks: in decoders of language."""
        return bool(self.causal and not self.streams)

    @property
    def generates(self) -> bool:
        """Whether it writes texts, token by token."""
        if self.streams:
            can = getattr(self.module, "can_generate", None)
            return callable(can) and bool(can())
        return self.causal and self.modality.is_text

    @cached_property
    def vocabulary_size(self) -> int | None:
        """Number of token ids it knows; None if it does not read tokens."""
        return facts.vocabulary_size(self.module)

    @cached_property
    def context_length(self) -> int | None:
        """Longest text it can read, tokens; None if unlimited or unknown."""
        return facts.context_length(self.module, self.tokenizer)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens."""
        if not self.modality.is_text:
            return frozenset()
        return facts.special_token_ids(self.module, self.tokenizer)

    @cached_property
    def beginning_of_text(self) -> int | None:
        """Id of the token a text starts with; None if there is none."""
        return facts.token_id(self.module, self.tokenizer, "bos_token_id")

    @cached_property
    def end_of_text(self) -> int | None:
        """Id of the token that ends a text; None if there is none."""
        return facts.token_id(self.module, self.tokenizer, "eos_token_id")

    @cached_property
    def padding_id(self) -> int | None:
        """Id of the padding token; None where the model has none."""
        return facts.token_id(self.module, self.tokenizer, "pad_token_id")

    @cached_property
    def pad_id(self) -> int:
        """Id written into padding; its output is masked out."""
        pad = self.padding_id
        return pad if pad is not None else self.end_of_text or 0

    # Hook points

    @cached_property
    def _points(self) -> list[HookPoint]:
        points = (
            stream_hook_points(self.module, self.streams)
            if self.streams
            else standard_hook_points(self.module, self.structure)
        )
        return [layout_at(self.module, point) for point in points]

    def hook_points(self) -> HookPoints:
        """Return the model's hook points in the order a forward pass reaches them.

        ``embed``; per block ``resid_pre.L`` (its input), ``head_out.L`` (the outputs of its attention
        heads side by side, before they are mixed), ``attn_out.L`` and ``mlp_out.L`` (what is added to
        the stream), ``resid_mid.L`` (the stream between them, where it can be read), ``mlp_in.L`` (what
        the MLP reads), ``mlp_post.L`` (its neurons) and ``resid_post.L`` (the block's output);
        ``final_norm``. `structure` states whether resid_post = resid_pre + attn_out + mlp_out. A network
        without blocks lists its modules by path.

        Layers are applications of blocks in the order in which they run, all listed in `layers`.
        ``exit_gate.i`` is what a looped network's gate gives after loop i.

        Raw module paths and TransformerLens names are accepted, too, wherever a hook point is asked for.
        A module's path means every application of it, "path@2" the third, "path@last" the last.
        """
        return HookPoints(self._points)

    @checked(leave=("name",))
    def hook_point(
        self, name: str, *, features: Literal["last", "channels"] | None = None
    ) -> HookPoint:
        """Return the hook point of a standard name, TransformerLens name, or module path.

        A module path may end in ".input" or ".output", and in an application of the module, "path@2" or
        "path@last"; without it, all of them are meant.

        Parameters
        ----------
        features
            Axis that holds the features of a state (batch, …, …): "channels" for the second, "last" for the
            last; None: as the module decides. A hook point keeps it: pass it wherever a name is taken.

        Raises
        ------
        HookPointNotFound: If there is none; the near names are listed.
        """
        meant = (name, f"decoder.{standard_name(name)}") if self.streams else (name,)
        for point in self._points:  # the usual case, without a walk over all modules
            if point in meant:
                break
        else:
            paths = {path for path, _ in self.module.named_modules()}
            point = find_hook_point(name, self._points, paths, model_name=self.name)
            point = layout_at(self.module, point)
            if isinstance(name, HookPoint) and isinstance(name.step, tuple) and point.step is None:
                point = point.changed(step=name.step, runs=name.runs)
            if point.step is None:
                places = {one.place for one in self._points if one.once}
                once = point.place in places or (point.path, point.side) in self.ran_once
                point = point.changed(once=once)
            encoder = facts.encoder_of(self.module) if self.streams else None
            inside = encoder is not None and f"{point.path}.".startswith(f"{encoder}.")
            point = point.changed(encoder=inside)
        maps = False
        if features is None and isinstance(name, HookPoint):
            features, maps = name.features, name.maps
        if features is None:
            return point
        return point.changed(features=features, channels=None, maps=maps, series=False)

    @checked
    def get_module(self, path: str) -> nn.Module:
        """Return the submodule at a path."""
        try:
            return self.module.get_submodule(path)
        except AttributeError:
            paths = [p for p, _ in self.module.named_modules()]
            near = ", ".join(f'"{p}"' for p in near_names(path, paths)) or "none"
            raise HookPointNotFound(
                f'No module "{path}" in {self.name}. Near: {near}; see model.module.'
            ) from None

    @checked
    def width(self, hook_point: str | None = None) -> int | None:
        """Return the width of the vectors at a hook point, by default that of the residual stream.

        None if that is known only from running it, or if there is no residual stream.
        """
        if hook_point is None:
            if self.n_layers is None:
                return None
            hook_point = f"resid_post.{self.n_layers - 1}"
        return width_at(self.module, self.structure, self.hook_point(hook_point))

    # What torch users do with a module

    @in_own_modes
    def to(self, *args: Any, **kwargs: Any) -> LiveModel:
        """Move or convert the module in place, as torch's `Module.to` does, and return this model.

        Raises
        ------
        ValueError: If the device is not there.
        RuntimeError: If the model runs remotely and has no weights here.
        """
        check_devices(*args, kwargs.get("device"))
        if self.remote:
            no_weights(self.name, "Moving a model")
        with self.lock:
            self.module.to(*args, **kwargs)
        return self

    def eval(self) -> LiveModel:
        """Put the module in evaluation mode, in which this model runs it anyway, and return this model."""
        self.module.eval()
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the module's weights."""
        return self.module.parameters()

    # Running it

    def tokens(self, text: object) -> pd.DataFrame:
        """Return the tokens of a text as the model reads them, one row per token.

        Columns: ``position`` in the text, ``id``, ``token`` (its text), ``special``, and ``dropped``:
        whether `capture` leaves it out by default; of several texts also ``sample``.

        Raises
        ------
        TypeError: If the model reads no text.

        Example
        -------
        >>> from sae_nb.models import load_model
        >>> list(load_model("tiny-gpt").tokens("Once more.")["token"])
        ['<|endoftext|>', 'On', 'ce', ' more', '.']
        """
        return token_table(self, text)

    @checked
    def batches(
        self,
        inputs: Inputs,
        *,
        batch_size: Count | None = None,
        context_length: Count | None = None,
        pack: bool = False,
        add_bos: AddBos = "auto",
    ) -> Batches:
        """Return batches of `inputs`, checked before the first one is made.

        Parameters
        ----------
        inputs
            Language: texts, token ids, text files. Vision: images, files, folders. Audio: waveforms,
            (values, rate), .wav files. Video: (n, frames, 3, H, W), (videos, frames per second), GIF files,
            folders of frames. Other: tensors. All: iterators, datasets and DataLoaders of those.
        batch_size
            Rows per batch; None: 8 texts, 64 of anything else.
        context_length
            Tokens per text at most; longer ones are cut and counted. None: what the model can read.
        pack
            Put documents end to end into rows of exactly `context_length` tokens.
        add_bos
            Whether texts start with the beginning-of-text token, as in `sn.capture`.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError: If the inputs are empty, or not what this model reads.
        """
        modality = self.modality
        size = modality.batch_size if batch_size is None else batch_size
        read: Callable[..., Batches] = modality.batches or batches_of
        if modality.is_text:
            return read(
                self,
                inputs,
                batch_size=size,
                context_length=context_length,
                pack=pack,
                add_bos=add_bos,
            )
        if pack or context_length is not None:
            raise ValueError(
                f"`pack` and `context_length` are for language models, {self.name} reads "
                f"{modality.reads}. Leave them out."
            )
        return read(self, inputs, batch_size=size)

    def forward(self, batch: Batch, *, grad: bool = False, method: str = "__call__") -> Any:
        """Run the module on one batch and return its raw output, interventions applied.

        `grad` keeps the graph, for gradients through the model; `method` is another of the module's
        methods to run.
        """
        if not isinstance(batch, Batch):
            raise TypeError(
                f"`forward` needs a Batch, as `model.batches(inputs)` yields, got {described(batch)}. The "
                "answer to texts or images is `model(inputs)`."
            )
        batch = batch.to(self.device)
        fast = fast_pass(self.module, batch.token_ids)
        with self.lock, torch.set_grad_enabled(grad), fast:
            raw = self.editing.run(batch.args, batch.kwargs, (batch.state(),), method)
        if method == "__call__":
            check_columns(self, batch, raw)
        return raw

    def main_output(self, raw: object) -> Tensor:
        """Return the tensor that counts in a raw output.

        Logits; for one of two towers its embedding; for vision backbones the pooled state, else the last
        hidden state.
        """
        return main_tensor(raw, prefer_pooled=self.modality.is_image)

    @checked(keep_autocast=True)
    def __call__(
        self, inputs: Inputs, *, batch_size: Count | None = None, add_bos: AddBos = "auto"
    ) -> Float[Tensor, "n ..."]:
        """Return the model's answer to all inputs: next-token logits, class logits, embeddings or states.

        Texts of different lengths are aligned at their first token; positions after a text's end are NaN.
        `.logits` of it are the same numbers, as Hugging Face's users write. `add_bos` as in `sn.capture`.
        """
        batches = self.batches(inputs, batch_size=batch_size, add_bos=add_bos)
        answers = ((batch, {"": self.main_output(self.forward(batch))}) for batch in batches)
        answer = collected(answers)[""]
        self._warn_of_cuts(batches)
        return answer.as_subclass(AnswerTensor)

    @checked(keep_autocast=True)
    def heads(
        self, inputs: Inputs, *, batch_size: Count | None = None, add_bos: AddBos = "auto"
    ) -> dict[str, Tensor]:
        """Return every head's answer by name; for models without heads, every named output."""

        def heads_of(batch: Batch) -> dict[str, Tensor]:
            if not callable(getattr(self.module, "forward_heads", None)):
                return named_outputs(self.forward(batch))
            named: dict[str, Tensor] = self.forward(batch, method="forward_heads")
            return named

        batches = self.batches(inputs, batch_size=batch_size, add_bos=add_bos)
        answers = collected((batch, heads_of(batch)) for batch in batches)
        self._warn_of_cuts(batches)
        return answers

    def _warn_of_cuts(self, batches: Batches) -> None:
        if cut := batches.policy.get("truncated", 0):
            verb = "was" if cut == 1 else "were"
            warn_caller(
                f"{cut} of the texts {verb} longer than the {self.context_length} tokens {self.name} "
                "can read and were cut there."
            )

    @checked(keep_autocast=True)
    def generate(
        self,
        prompt: Inputs,
        max_new_tokens: Count = 20,
        temperature: Annotated[float, at_least(0)] = 0.0,
        seed: Seed | None = None,
        use_cache: bool = True,
        *,
        return_ids: bool = False,
        echo: bool = True,
        add_bos: AddBos = "auto",
    ) -> Generated:
        """Continue texts, with the active interventions at the prompt and at every new token. One result per
        prompt: text, or ids where there is no tokenizer. A model that runs remotely is asked once a token.

        Tokens that the model's generation settings force or suppress, penalties and least lengths are obeyed as
        transformers does; other ways of choosing, such as beams, are not, and are named in a warning.

        Parameters
        ----------
        prompt
            A text, token ids, or a list of them as one padded batch; a conversation: its answer, or the rest of
            the assistant's message that comes last.
        max_new_tokens
            Tokens to add at most; a text ends early at its end-of-text token.
        temperature
            0: always the likeliest token. Otherwise sample from softmax(logits / temperature).
        seed
            Of the sampling; None: torch's global generator.
        use_cache
            Reuse keys and values of earlier tokens: the same text, faster.
        return_ids, echo
            Return token ids instead of text; begin with the prompt.
        add_bos
            Put BOS before a prompt that has none, as in `sn.capture`.

        Raises
        ------
        TypeError: If the model is not a causal language model, or fills in a token of its own, as XLNet does.
        ValueError: If prompt and new tokens do not fit in the context.
        """
        return continue_texts(
            self,
            prompt,
            max_new_tokens,
            temperature,
            seed,
            use_cache,
            return_ids=return_ids,
            echo=echo,
            add_bos=add_bos,
        )

    @cached_property
    def nnsight(self) -> NNsight:
        """The model wrapped by nnsight, for traces of your own; language models take text.

        The same object every time. Inside `with steer(…)` its traces are steered. A trace sees only what its
        own thread runs; where several threads trace this object, hold `lock` around each trace.
        """
        if self.given_nnsight is not None:
            return self.given_nnsight
        from nnsight import NNsight, TransformersModel
        from transformers import PreTrainedModel

        of_texts = self.modality.is_text and isinstance(self.module, PreTrainedModel)
        if self.tokenizer is None or not of_texts or self.streams or self.placeholders:
            return of_one_thread(NNsight(self.module))
        task = "text-generation" if self.causal else "feature-extraction"
        return of_one_thread(TransformersModel(self.module, tokenizer=self.tokenizer, task=task))

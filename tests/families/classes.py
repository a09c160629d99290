"""What is read of tiny random models of transformers' classes, held against plain hooks and hidden states."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel
from tests.families.inputs import Inputs, N, inputs, runs, takes
from tests.families.settings import Unbuilt, candidates, short

FOUND = Path(__file__).parent / "found.json"
"""What the last sweep found; docs/transformers.md shows it."""

CLOSE = 1e-4
"""Largest difference between a captured state and the module's own that counts as equal, float32. Ours."""

KINDS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "encoder–decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "vision": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "video": "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "speech": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "vision-language": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
}
"""Kinds of classes, and transformers' list of each."""

TOKENS_LAST = ("CpmAntForCausalLM", "GitForCausalLM")
"""Classes that put places of their own before those of a text's tokens."""

_CODEBOOKS = "its texts are codes of a sound in several books, which are not made here"
_TIMM = "needs the timm library"
REASONS: dict[str, str] = {
    "DiffusionGemmaForBlockDiffusion": "its blocks read a canvas of 256 places that it fills, not the text's tokens",
    "DiaForConditionalGeneration": _CODEBOOKS,
    "DinatForImageClassification": "needs the natten library",
    "FastVlmForConditionalGeneration": _TIMM,
    "Florence2ForConditionalGeneration": "its encoder reads an image's patches before the text, a form of input that is not made here",
    "FunnelForMaskedLM": "it pools a text between its blocks, whose later states have fewer places than tokens",
    "Gemma3nForConditionalGeneration": _TIMM,
    "KyutaiSpeechToTextForConditionalGeneration": _CODEBOOKS,
    "MusicgenForCausalLM": _CODEBOOKS,
    "MusicgenMelodyForCausalLM": _CODEBOOKS,
    "PI0ForConditionalGeneration": "it reads the state of a robot and noisy actions, which are not made here",
    "PerceptionLMForConditionalGeneration": _TIMM,
    "Pix2StructForConditionalGeneration": "its encoder reads patches in a row with their places written into them, "
    "which images are not made into here",
    "Siglip2ForImageClassification": "it reads patches in a row with their mask, which images are not made into here",
    "TimmWrapperForImageClassification": _TIMM,
    "UdopForConditionalGeneration": "it reads texts with the boxes of their words, which are not made here",
}
"""Reasons in words why classes are not built or not right, where the error alone does not say."""

OTHER_STATES: dict[str, str] = {
    "BltForCausalLM": "transformers' hidden states are those of its patcher and its local decoder, the hook points "
    "those of its local encoder",
    "BlipForConditionalGeneration": "transformers' hidden states are those of the image's encoder",
}
"""Classes whose `output_hidden_states` are another quantity than a block's output, and which."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the sweep found of one class."""

    kind: str
    name: str
    built: bool = False
    """Whether settings were found that make a model that runs."""

    reads: str = ""
    """Kind of its inputs here."""

    points: int = 0
    """Hook points."""

    hooks: float | None = None
    """Largest difference between captured rows and what plain torch hooks on the same modules see."""

    states: float | None = None
    """The same from transformers' hidden states; None where there are none of the same layout."""

    head: float | None = None
    """Largest difference between the answer, and the head found by a lens applied to the last state."""

    note: str = ""
    """Reason why a number is missing, or another than expected."""

    @property
    def right(self) -> bool:
        """Whether what is captured is the module's own state, to the line above."""
        by_states = self.states is None or self.states <= CLOSE or self.name in OTHER_STATES
        if self.hooks is None:  # blocks that run by their forward, which plain hooks do not see
            return self.states is not None and self.states <= CLOSE
        return self.hooks <= CLOSE and by_states


def recorded() -> list[Row]:
    """Return the rows of the last sweep."""
    found = json.loads(FOUND.read_text("utf-8"))["rows"]
    return [Row(**{key: value for key, value in one.items() if key != "right"}) for one in found]


def record(found: Iterable[Row]) -> None:
    """Write them, each with whether it is right."""
    # A class a line, so that a change shows which.
    lines = (json.dumps(asdict(row) | {"right": row.right}, sort_keys=True) for row in found)
    FOUND.write_text('{"rows": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def class_names(kind: str) -> list[str]:
    """Return the names of transformers' classes of a kind, once each."""
    from transformers.models.auto import modeling_auto as auto

    found: list[str] = []
    for names in getattr(auto, KINDS[kind]).values():
        found.extend([names] if isinstance(names, str) else names)
    return sorted(set(found))


def rows(kind: str) -> Iterator[Row]:
    """Yield the row of every class of a kind."""
    for name in class_names(kind):
        yield row_of(kind, name)


def row_of(kind: str, name: str) -> Row:
    """Build, wrap, capture and compare one class."""
    row, first = Row(kind=kind, name=name), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for module in candidates(name):
                found = _tried(row, module)
                if found.built:
                    wrong = not found.right and name in REASONS
                    return replace(found, note=REASONS[name]) if wrong else found
                first = first or found.note
        except Unbuilt as error:
            first = str(error)
    return replace(row, note=REASONS.get(name, first))


def _tried(row: Row, module: nn.Module) -> Row:
    try:
        model = sn.wrap(module)
    except Exception as error:  # noqa: BLE001  (the row has what went wrong)
        return replace(row, built=True, note=short(error))
    reasons = []
    try:
        for one in inputs(model):
            try:
                raw = _alone(module, one.arguments)
            except Exception as error:  # noqa: BLE001  (another way of calling it, then)
                reasons.append(short(error))
                continue
            try:
                return _measured(replace(row, built=True, reads=one.words), model, one, raw)
            except Exception as error:  # noqa: BLE001
                return replace(row, built=True, reads=one.words, note=short(error))
    except Exception as error:  # noqa: BLE001
        reasons.append(short(error))
    return replace(row, note=f"does not run by itself: {(reasons or ['no inputs known'])[0]}")


def _alone(module: nn.Module, arguments: Mapping[str, Any]) -> Any:
    plain = {"use_cache": False} if "use_cache" in takes(module) else {}
    try:
        return runs(module, arguments, output_hidden_states=True, **plain)
    except TypeError:
        return runs(module, arguments, **plain)


def _measured(row: Row, model: LiveModel, one: Inputs, raw: Any) -> Row:
    points = model.hook_points()
    row = replace(row, points=len(points))
    streams = {
        "": ("hidden_states",),
        "encoder.": ("encoder_hidden_states",),
        "decoder.": ("decoder_hidden_states", "hidden_states"),
    }
    halves = ["encoder.", "decoder."] if model.streams else [""]
    blocks = {half: [p for p in points if p.kind == f"{half}resid_post"] for half in halves}
    kept = [p for half in halves for p in blocks[half]]
    if not kept:
        kept = _some(model, one)
    with _listening(model.module, kept) as heard:
        raw = _alone(model.module, one.arguments)
    torch.manual_seed(0)
    acts: Any = sn.capture(
        model, one.given, [str(p) for p in kept], drop_first=False, progress=False, batch_size=N
    )
    acts = acts if isinstance(acts, Mapping) else {str(kept[0]): acts}
    tokens = _tokens(one)
    own = {
        str(point): as_rows(_application(heard, point), tokens.get(point.encoder, ()), row.name)
        for point in kept
        if point.path in heard
    }
    if own:
        row = replace(row, hooks=max(_difference(acts[name].x, own[name]) for name in own))
    else:
        row = replace(row, note="its blocks run by their forward, which plain hooks do not see")
    if not any(blocks.values()):
        row = replace(row, note="no list of blocks: modules by their paths")
    found = []
    for half in halves:
        names = streams[half]
        states = next((s for n in names if isinstance(s := getattr(raw, n, None), tuple)), ())
        if len(states) > 1:
            ids = tokens.get(half == "encoder.", ())
            mine = [acts[str(p)].x for p in (blocks[half] or kept)]
            found.append(_by_states(mine, [as_rows(state, ids, row.name) for state in states]))
    known = [one for one in found if one is not None]
    if known:
        row = replace(row, states=max(known))
    elif not row.note:
        row = replace(row, note="transformers gives no hidden states of this layout")
    if row.states is not None and row.states > CLOSE:
        said = OTHER_STATES.get(row.name, "transformers' hidden states differ")
        row = replace(row, note=said)
    return _with_head(row, model, one, kept)


def _tokens(one: Inputs) -> dict[bool, tuple[int, ...]]:
    """Return samples and tokens of what the decoder reads, or the only stack, and of what an encoder reads."""
    given = one.arguments
    own = given.get("decoder_input_ids", given.get("input_ids"))
    encoder = given.get("input_ids")
    return {
        False: () if own is None else tuple(own.shape),
        True: () if encoder is None else tuple(encoder.shape),
    }


# -------------------------------------------------------------------------------------------------
# By plain hooks.


class _listening:
    """Plain forward hooks of torch on the modules of hook points, and what they see."""

    def __init__(self, module: nn.Module, points: Sequence[Any]) -> None:
        self._module, self._paths = module, {point.path for point in points}
        self.heard: dict[str, list[Tensor]] = {}

    def __enter__(self) -> dict[str, list[Tensor]]:
        def hear(path: str) -> Any:
            def after(_module: nn.Module, _args: Any, output: Any) -> None:
                while not isinstance(output, Tensor):
                    values = output.values() if isinstance(output, Mapping) else output
                    output = next(
                        v for v in values if isinstance(v, Tensor | list | tuple | Mapping)
                    )
                self.heard.setdefault(path, []).append(output.detach().clone())

            return after

        self._handles = [
            self._module.get_submodule(path).register_forward_hook(hear(path))
            for path in self._paths
        ]
        return self.heard

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()


def _application(heard: Mapping[str, list[Tensor]], point: Any) -> Tensor:
    step = point.step if isinstance(point.step, int) else -1 if point.step == "last" else 0
    return heard[point.path][step]


def _some(model: LiveModel, one: Inputs) -> list[Any]:
    """Return a few modules of a network without blocks, such as its stages, that give one tensor of rows."""
    paths = [path for path, _ in model.module.named_modules() if path and path.count(".") <= 3]
    points = [model.hook_point(path) for path in paths]
    heard: dict[str, list[Tensor]] = {}
    for point in points:
        try:
            with _listening(model.module, [point]) as found:
                _alone(model.module, one.arguments)
        except Exception:  # noqa: BLE001  (a module that gives no tensor)
            continue
        heard |= found
    fits = [
        p for p in points if len(heard.get(p.path, ())) == 1 and heard[p.path][0].ndim in (3, 4)
    ]
    return fits[:: max(1, len(fits) // 8)]


def as_rows(state: Any, tokens: tuple[int, ...], name: str = "") -> Tensor | None:
    """Return a state as (places of all samples, features), by its shape alone; None: not a state of rows.

    `tokens` are samples and tokens of each, (2, 6), empty where the model reads no tokens. Maps are square.
    """
    if not isinstance(state, Tensor):
        return None
    shape = tuple(state.shape)
    if state.ndim == 2:
        return state
    if tokens and shape[:2] == tokens:
        return state.flatten(2).flatten(0, 1)
    if tokens and state.ndim == 4 and shape[1:3] == tokens:  # streams first
        return state.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    if tokens and shape[0] == N and shape[1] > tokens[1]:  # places besides those of the tokens
        own = state[:, -tokens[1] :] if name in TOKENS_LAST else state[:, : tokens[1]]
        return own.flatten(2).flatten(0, 1)
    if tokens and shape[1::-1] == tokens:  # time first
        return state.transpose(0, 1).flatten(2).flatten(0, 1)
    if state.ndim == 3:
        if not tokens and shape[0] > N and shape[0] % N == 0 and shape[1] != N:  # frame by frame
            return state.flatten(0, 1)
        return state.flatten(0, 1) if shape[0] == N else state.transpose(0, 1).flatten(0, 1)
    if state.ndim == 4:
        last = shape[1] == shape[2] != shape[3]
        return (state if last else state.permute(0, 2, 3, 1)).flatten(0, 2)
    return None


def _difference(mine: Tensor, own: Tensor | None) -> float:
    if own is None or own.shape != mine.shape:
        raise ValueError(
            f"rows of shape {tuple(mine.shape)} where plain hooks see {None if own is None else tuple(own.shape)}"
        )
    return float((mine - own).abs().max())


# -------------------------------------------------------------------------------------------------
# By transformers' hidden states.


def _by_states(mine: Sequence[Tensor], states: Sequence[Tensor | None]) -> float | None:
    """Return the largest difference of blocks' outputs from hidden states; None if none has their layout.

    The last block is left out where there are others: most classes give its state after the final norm. States
    are met in order; a class may give the input of the first block, too, or a state per stage only.
    """
    kept = list(mine[:-1] or mine)
    first, found = 0, []
    for x in kept:
        same = [
            (i, float((x - state).abs().max()))
            for i, state in enumerate(states)
            if i >= first and state is not None and state.shape == x.shape
        ]
        if not same:
            continue
        met = next(((i, off) for i, off in same if off <= CLOSE), min(same, key=lambda one: one[1]))
        found.append(met[1])
        if met[1] <= CLOSE:
            first = met[0] + 1
    if len(states) < len(mine):  # a state per stage: those that are met
        met_states = [off for off in found if off <= CLOSE]
        return max(met_states) if met_states else (min(found) if found else None)
    return max(found) if found else None


# -------------------------------------------------------------------------------------------------
# From the last state to the answer.


def _with_head(row: Row, model: LiveModel, one: Inputs, kept: Sequence[Any]) -> Row:
    """Return the row with how closely the lens's head gives the answer, for classes that predict tokens."""
    if not model.causal or model.streams or row.hooks is None or row.hooks > CLOSE:
        return row
    from sae_nb.lenses import head_of

    batch = next(iter(model.batches(one.given)))
    try:
        head = head_of(model, batch)
    except ValueError as error:
        return replace(row, note="; ".join(filter(None, [row.note, _no_head(error)])))
    wanted = model.main_output(model.forward(batch)).detach()
    states = sn.capture(model, one.given, head.last, drop_first=False, progress=False).x
    found = head.logits(states).detach()
    return replace(row, head=float((found - wanted.reshape(found.shape)).abs().max()))


def _no_head(error: ValueError) -> str:
    text = str(error)
    if "no norm and unembedding" in text:
        return "the family has layers of its own between the last state and the logits"
    start = text.find(" does not: ")
    return "head: " + (text[start + 11 :].partition(". ")[0] if start >= 0 else text[:80])

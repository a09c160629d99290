"""What is promised of every family, on a tiny lively model: held against plain torch or transformers' own answer.

A cell is "right", "refused: …" with the sentence that a person is told, "none" where there is nothing to ask,
or "wrong: …".
"""

from __future__ import annotations

import copy
import json
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.lenses import head_of
from sae_nb.models import Frozen, LiveModel, run, watching
from sae_nb.models._attention import attentions
from tests.families.inputs import inputs, runs, takes
from tests.families.settings import candidates, short

KEPT = Path(__file__).parent / "families.json"
"""The table of families; docs/transformers.md shows it."""

FAMILIES: dict[str, str] = {
    "causal": "BailingHybridForCausalLM BambaForCausalLM BartForCausalLM BertLMHeadModel BioGptForCausalLM "
    "BloomForCausalLM CTRLLMHeadModel CodeGenForCausalLM CohereForCausalLM CpmAntForCausalLM "
    "DeepseekV3ForCausalLM DeepseekV4ForCausalLM DiffLlamaForCausalLM Dots3NoteForCausalLM FalconForCausalLM "
    "GPT2LMHeadModel GPTBigCodeForCausalLM GPTJForCausalLM GPTNeoForCausalLM GPTNeoXForCausalLM Gemma2ForCausalLM "
    "Gemma3ForCausalLM GemmaForCausalLM GraniteForCausalLM HeliumForCausalLM LlamaForCausalLM MambaForCausalLM "
    "MistralForCausalLM MixtralForCausalLM MptForCausalLM NemotronForCausalLM OPTForCausalLM Olmo2ForCausalLM "
    "OlmoForCausalLM OpenAIGPTLMHeadModel Phi3ForCausalLM PhiForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM "
    "Qwen3MoeForCausalLM Qwen3NextForCausalLM RwkvForCausalLM SmolLM3ForCausalLM StableLmForCausalLM "
    "Starcoder2ForCausalLM TrOCRForCausalLM XGLMForCausalLM XLMWithLMHeadModel XLNetLMHeadModel",
    "encoder–decoder": "BartForConditionalGeneration BlenderbotForConditionalGeneration LEDForConditionalGeneration "
    "M2M100ForConditionalGeneration MarianMTModel PegasusForConditionalGeneration ProphetNetForConditionalGeneration "
    "SwitchTransformersForConditionalGeneration T5ForConditionalGeneration T5GemmaForConditionalGeneration "
    "WhisperForConditionalGeneration",
    "classifier": "BartForSequenceClassification BertForSequenceClassification DebertaV2ForSequenceClassification "
    "ElectraForSequenceClassification GPT2ForSequenceClassification LlamaForSequenceClassification "
    "RobertaForSequenceClassification XLNetForSequenceClassification",
    "vision": "BeitForImageClassification ConvNextForImageClassification DeiTForImageClassification "
    "Dinov2ForImageClassification ResNetForImageClassification SwinForImageClassification ViTForImageClassification",
    "audio": "ASTForAudioClassification HubertForSequenceClassification Wav2Vec2ForSequenceClassification "
    "WhisperForAudioClassification",
}
"""Families by kind, each with a class of its own way of doing something."""

QUICK = (
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
    "BartForConditionalGeneration",
    "XLNetForSequenceClassification",
)
"""Families that tell most, in seconds."""

TEXTS = [[5, 9, 14, 20, 31, 7, 40, 12, 33], [21, 8], [30, 11, 45, 6, 17]]
N_NEW = 6
CLOSE = 1e-3
"""Largest difference that counts as equal, as a share of the largest number, float32. Ours."""

_CAPS = ("final_logit_softcapping", "logits_soft_cap")


class Nothing(Exception):
    """There is nothing to ask of this family."""


def classes() -> dict[str, str]:
    """Return the kind of every class, by its name."""
    return {name: kind for kind, names in FAMILIES.items() for name in names.split()}


def lively(name: str) -> Any:
    """Return a class's tiny model with weights so large that a mistake shows, or raise `Unbuilt`."""
    module: Any = next(candidates(name))
    torch.manual_seed(0)
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.5 * min(weight.shape) ** -0.5)
        elif "norm" in name.lower():
            nn.init.normal_(weight)
    for label in _CAPS:  # which no norm has to do with
        if getattr(module.config, label, None) is not None:
            setattr(module.config, label, None)
    return module.eval()


def cells(name: str) -> dict[str, str]:
    """Return what each promise comes to for a class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = lively(name)
        model = sn.wrap(module)
        return {promise: _cell(check, model) for promise, check in PROMISES.items()}


def _cell(check: Callable[[LiveModel], None], model: LiveModel) -> str:
    torch.manual_seed(0)
    try:
        check(model)
    except Nothing:
        return "none"
    except AssertionError as error:
        return f"wrong: {error}"
    except Exception as error:  # noqa: BLE001  (a refusal in our words, or a fault)
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        ours = "sae_nb" in frames[-1] and isinstance(error, ValueError | TypeError)
        text = " ".join(str(error).split())
        return f"refused: {_first_sentence(text)}" if ours else f"wrong: {short(error)}"
    return "right"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")[:240]


def _same(found: Tensor, wanted: Tensor, what: str) -> None:
    if found.shape != wanted.shape:
        raise AssertionError(f"{what}: {tuple(found.shape)}, not {tuple(wanted.shape)}")
    off = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
    if not off <= CLOSE:
        raise AssertionError(f"{what}: off by {off:.1g} of the largest")


def _one(model: LiveModel) -> Any:
    """Return a way of calling the model that its module takes, too."""
    for one in inputs(model):
        try:
            runs(model.module, one.arguments)
        except Exception:  # noqa: BLE001  (another way, then)
            continue
        return one
    raise Nothing


# -------------------------------------------------------------------------------------------------
# The promises.


def answers(model: LiveModel) -> None:
    """The answer to inputs of unlike lengths is that of the module to each alone."""
    if not model.modality.is_text or (model.streams and model.generates):
        one = _one(model)
        raw = runs(model.module, one.arguments)
        _same(model(one.given).as_subclass(Tensor), model.main_output(raw).detach(), "the answer")
        return
    texts = [[*text, 2] for text in TEXTS]
    together = model(texts)
    for text, mine in zip(texts, together, strict=True):
        plain = {"use_cache": False} if "use_cache" in takes(model.module) else {}
        raw = runs(model.module, {"input_ids": torch.tensor([text])}, **plain)
        alone = model.main_output(raw)[0].detach()
        found = mine[: len(alone)] if alone.ndim > 1 else mine
        _same(found.as_subclass(Tensor), alone, f"the answer to {len(text)} tokens")


def sums(model: LiveModel) -> None:
    """What attention and MLP add to a block's input is its output, where that is stated."""
    halves = model.streams or ({} if model.structure is None else {"": model.structure})
    stated = {half: one for half, one in halves.items() if one.additive}
    if not stated:
        raise Nothing
    batch = next(iter(model.batches(_one(model).given)))
    for half in stated:
        kind = f"{half}." if half else ""
        points = {str(point) for point in model.hook_points()}
        n = stated[half].n_blocks
        parts = ("resid_pre", "attn_out", "cross_attn_out", "mlp_out")
        for layer in range(n):
            wanted, *names = (
                name
                for part in ("resid_post", *parts)
                if (name := f"{kind}{part}.{layer}") in points
            )
            seen = run(model, batch, read=[wanted, *names]).states
            total = torch.stack([seen[name] for name in names]).sum(dim=0)
            _same(total, seen[wanted], f"layer {layer} {half}")


def _last(model: LiveModel) -> str:
    """Return the hook point behind the last block of what predicts tokens, or raise `Nothing`."""
    writes = callable(can := getattr(model.module, "can_generate", None)) and can()
    name = f"{'decoder.' * bool(model.streams)}resid_post.{int(model.n_layers or 1) - 1}"
    has_norm = model.structure is not None and model.structure.final_norm is not None
    if not (writes and has_norm) or name not in [str(point) for point in model.hook_points()]:
        raise Nothing  # also where layers of its own, which are not linear, come before the logits
    return name


def norms(model: LiveModel) -> None:
    """With norms held, the logits are linear in the last block's output."""
    last = _last(model)
    batch = next(iter(model.batches(_one(model).given)))
    try:
        head_of(model, batch)
    except ValueError:
        raise Nothing from None  # refused where it is asked for

    def value(ran: Any) -> Tensor:
        logits = model.main_output(ran.raw)[0, -1]
        return (logits * torch.arange(len(logits))).sum()

    with torch.enable_grad(), Frozen(model, attention=False):
        ran = run(model, batch, read=last, grad=last)
        found = value(ran)
        slope = ran.gradients(found)[last][0]
    of_nothing = value(run(model, batch, put={last: torch.zeros_like}))
    moved = (slope * ran.states[last][0].detach()).sum()
    _same(moved[None], (found - of_nothing).detach()[None], "linear in the state")


def directions(model: LiveModel) -> None:
    """Adding a token's direction at the last block makes it the answer."""
    last, one = _last(model), _one(model)
    lens = sn.fit_lens(model, one.given, kind="logit", progress=False)
    batch = next(iter(model.batches(one.given)))
    right = 0
    for token in range(5, 35):
        direction = lens.direction(token, int(model.n_layers or 1) - 1)
        direction = 1e4 * direction / direction.norm()
        ran = run(model, batch, put={last: lambda x, d=direction: x + d})
        right += int(model.main_output(ran.raw)[0, -1].argmax()) == token
    assert right >= 27, f"{right} of 30 words"


def texts(model: LiveModel) -> None:
    """Texts continued together are those of each alone, and the library's own."""
    if not model.generates:
        raise Nothing
    if model.streams and model.module.generation_config.decoder_start_token_id is None:
        model.module.generation_config.decoder_start_token_id = 3
    asked = {"max_new_tokens": N_NEW, "do_sample": False}
    if model.modality.is_text:
        prompts: list[Any] = list(TEXTS)
        own = [{"input_ids": torch.tensor([text])} for text in TEXTS]
        if "attention_mask" in takes(model.module):
            own = [one | {"attention_mask": torch.ones_like(one["input_ids"])} for one in own]
    else:
        given = dict(_one(model).arguments)
        given.pop("decoder_input_ids", None)
        own = [{name: x[i : i + 1] for name, x in given.items()} for i in range(2)]
        prompts = list(own)
    try:
        library = [model.module.generate(**given, **asked)[0].tolist() for given in own]
    except Exception:  # noqa: BLE001  (the library itself cannot, at this size)
        raise Nothing from None
    alone = [model.generate(prompt, N_NEW, return_ids=True, echo=False) for prompt in prompts]
    alone = [found[0] if isinstance(found, list) else found for found in alone]
    together = model.generate(prompts, N_NEW, return_ids=True, echo=False)
    for i, (mine, by_itself, theirs) in enumerate(zip(together, alone, library, strict=True)):
        assert mine.tolist() == by_itself.tolist(), f"text {i} is another than alone"
        more = theirs[
            : len(theirs) - len(mine)
        ]  # the prompt, or a start token, which some leave out
        known = [[], [3]] if model.streams else [prompts[i]]
        assert theirs[len(more) :] == mine.tolist(), f"text {i} is not the library's"
        assert more in known, f"text {i} begins in another way than the library's"


def _eager(model: LiveModel, one: Any) -> dict[str, tuple[Tensor, ...]]:
    """Return the library's own patterns by kind of attention, or raise `Nothing`."""
    module = copy.deepcopy(model.module)
    try:
        module.set_attn_implementation("eager")
        raw = runs(module, one.arguments, output_attentions=True)
    except Exception:  # noqa: BLE001  (the library itself gives none)
        raise Nothing from None
    names = {"": "attentions"}
    if model.streams:
        names = {
            "encoder": "encoder_attentions",
            "decoder": "decoder_attentions",
            "cross": "cross_attentions",
        }
    found = {stream: getattr(raw, name, None) for stream, name in names.items()}
    plain = model.main_output(runs(model.module, one.arguments)).detach()
    if not torch.allclose(model.main_output(raw).detach(), plain, atol=1e-3):
        raise Nothing  # two ways of the library that differ, as Falcon's without a mask do
    if not all(
        isinstance(one, tuple) and one and all(isinstance(x, Tensor) for x in one)
        for one in found.values()
    ):
        raise Nothing
    return found


def patterns(model: LiveModel) -> None:
    """Patterns of every head are those that the library gives with its eager attention."""
    one = _one(model)
    own, mine = _eager(model, one), {}
    with torch.no_grad(), watching(model, lambda place, seen: mine.update({place: seen.pattern})):
        model.forward(next(iter(model.batches(one.given))))
    for place in attentions(model):
        wanted = own[place.stream][place.layer]
        _same(mine[place], wanted.float(), f"layer {place.layer} {place.stream}")


def heads(model: LiveModel) -> None:
    """Direct effects have as many heads as the library's patterns, and add up with them."""
    one = _one(model)
    own = _eager(model, one)
    wanted = own["decoder" if model.streams else ""]
    found = sn.circuits.direct_effects(model, one.given, (0, 1)).values
    assert found.shape[1] == wanted[0].shape[1], f"{found.shape[1]} heads"


PROMISES: dict[str, Callable[[LiveModel], None]] = {
    "answers": answers,
    "sum": sums,
    "norms": norms,
    "directions": directions,
    "texts": texts,
    "patterns": patterns,
    "heads": heads,
}
"""Checks by their column of the page."""


def record(found: Mapping[str, Mapping[str, str]]) -> None:
    """Write the table, a class a line."""
    kinds = classes()
    rows = ({"kind": kinds[name], "name": name, **row} for name, row in found.items())
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    KEPT.write_text('{"rows": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


def recorded() -> dict[str, dict[str, str]]:
    """Return the table's cells, by class."""
    rows = json.loads(KEPT.read_text(encoding="utf-8"))["rows"]
    return {row["name"]: {key: row[key] for key in PROMISES} for row in rows}

"""Where the standard hook points are in a network, read from its structure and not from its class.

With a pre-norm block, resid_post = resid_pre + attn_out + mlp_out holds exactly, whether attention
and MLP run one after the other (GPT-2, Llama, ViT) or side by side (GPT-NeoX, Phi): `attn_out` and
`mlp_out` are what is *added* to the residual stream, so after a layer scale (DINOv2) and after a
closing norm (Gemma 2 and 3). In a post-norm block (BERT, RoBERTa, DistilBERT, OPT-350m) a norm
follows each addition and the sum does not hold:
resid_mid = norm_1(resid_pre + attn_out), resid_post = norm_2(resid_mid + mlp_out).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from sae_nb.models._facts import (
    config_of,
    decoder_of,
    encoder_of,
    has_stages,
    model_type,
    reads_unmarked_images,
    stream_count,
    text_part,
)
from sae_nb.models._hook_points import HookPoint, Side

# Names of submodules, most telling first. What is searched: the block for branches and norms; for
# the embedding and the final norm, the module that holds the blocks, then its ancestors.
EMBEDDINGS = (
    "wte", "embed_tokens", "embed_in", "word_embeddings", "tok_embeddings", "token_embedding",
    "embeddings", "embedding", "embed", "patch_embed",
)  # fmt: skip
FINAL_NORMS = (
    "ln_f", "norm", "norm_f", "final_layer_norm", "final_layernorm", "final_norm", "layernorm",
    "ln_final", "layer_norm", "ln_out", "output_layernorm",
)  # fmt: skip
ATTENTIONS = (
    "layer.0.SelfAttention",
    "layer_scale1", "ls1", "post_self_attn_layernorm", "attention.output.dense",
    "ffn_output>attention.dense",
    "self_attention.dense", "attn.Wqkv+attn.out_proj", "self_attn", "attn", "attention",
    "self_attention",
)  # fmt: skip
MLPS = (
    "layer.2.DenseReluDense", "layer.1.DenseReluDense",
    "layer_scale2", "ls2", "post_mlp_layernorm", "post_feedforward_layernorm",
    "attention.output.dense+output.dense", "mlp.dense_4h_to_h", "ffn.down_proj", "mlp", "ffn_output",
    "ffn", "feed_forward", "block_sparse_moe", "fc2", "fc",
)  # fmt: skip
# The projection that mixes the heads, within a block: its input is their outputs side by side. A torch
# `MultiheadAttention` has none that is called as a module.
HEAD_MIXERS = (
    "layer.0.SelfAttention.o",
    "self_attn.o_proj", "self_attn.out_proj", "self_attn.dense", "attention.o_proj", "attention.output.dense",
    "attention.dense", "attention.out_lin", "self_attention.dense", "attn.c_proj", "attn.attention.out_proj",
    "attention.out_proj", "attn.out_proj", "attn.o_proj", "attn.proj", "attn.out", "attn.Wo",
)  # fmt: skip
# The projection back to the stream, within a block: its input are the MLP's neurons, gated where they are. In
# a mixture of experts each expert has its own.
NEURON_MIXERS = (
    "layer.2.DenseReluDense.wo", "layer.1.DenseReluDense.wo",
    "mlp.down_proj", "mlp.c_proj", "mlp.fc2", "mlp.dense_4h_to_h", "mlp.fc_out", "mlp.weights_out", "mlp.down",
    "mlp.Wo", "mlp.w2", "mlp.3", "ffn.lin2", "ffn.down_proj", "feed_forward.w2", "feed_forward.down_proj",
    "feed_forward.output_dense", "attention.output.dense+output.dense", "ffn_output", "linear2", "fc2",
)  # fmt: skip
# Where the parts of all blocks are in lists side by side (XLM): the list of each kind of hook point.
SIDE_BY_SIDE: Mapping[str, tuple[str, Side]] = {
    "resid_pre": ("attentions", "input"),
    "attn_out": ("attentions", "output"),
    "resid_mid": ("layer_norm1", "output"),
    "mlp_in": ("ffns", "input"),
    "mlp_out": ("ffns", "output"),
    "resid_post": ("layer_norm2", "output"),
}
_OF_IMAGES = re.compile("vision|visual|image|perceiver")
"""Names of parts that read images in front of a text."""
# Modules that decide after a loop whether another one follows, in looped networks.
EXIT_GATES = ("early_exit_gate", "exit_gate", "halt_gate", "halt_head", "q_head", "halting")
# The module whose input the MLP reads; BERT and OPT have none that holds all of it.
MLP_INPUTS = (
    "layer.2.DenseReluDense", "layer.1.DenseReluDense", "mlp", "ffn", "feed_forward", "block_sparse_moe",
    "intermediate", "fc1",
)  # fmt: skip
# What a decoder adds that reads the encoder, within a block.
CROSS_ATTENTIONS = (
    "layer.1.EncDecAttention",
    "encoder_attn",
    "crossattention",
    "cross_attn",
    "multihead_attn",
)
# The norm in front of the MLP: its input is the stream between the two branches. Reading it is
# exact; an edit there would miss the skip connection around the MLP.
SECOND_NORMS = (
    "pre_feedforward_layernorm", "post_feedforward_layernorm>mlp", "ln_2", "norm_2", "norm2",
    "layernorm_after", "layer_norm2", "post_attention_layernorm", "final_layer_norm",
    "mlp_norm", "ffn_norm",
)  # fmt: skip
# Families whose sum resid_pre + attn_out + mlp_out is tested to be resid_post, by config.model_type.
ADDITIVE = frozenset({
    "bloom", "clip_vision_model", "cohere", "deit", "dinov2", "dinov2_with_registers",
    "dinov3_vit", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox",
    "gptj", "llama", "mistral", "mixtral", "modernbert", "mpt", "olmo2", "opt", "phi", "phi3",
    "qwen2", "qwen3", "siglip_vision_model", "stablelm", "starcoder2", "vit",
    "vision_transformer",
})  # fmt: skip
# Families that loop over blocks whose sum holds.
LOOPED_SUMS = frozenset({"hrm_text", "looped_adder"})
# Families that scale both branches while adding them.
SCALED = frozenset({"granite", "granitemoe"})
POST_NORM = frozenset(
    {"albert", "bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet"}
)


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The parts found in a network; every path is relative to its root, block parts to the block."""

    blocks: str
    n_blocks: int
    """Path of the list of blocks; applications of blocks in one pass, as many as it holds if each runs once."""

    paths: tuple[str, ...] = ()
    """Path of the block of each application, in the order in which they run."""

    runs: Mapping[str, int] = field(default_factory=dict)
    """Number of times that each module ran, by path, where a pass has shown it."""

    embed: str | None = None
    """The embedding: token embeddings (GPT-2, Llama), or whole token states (BERT, vision)."""

    final_norm: str | None = None
    """The norm after the last block, where it sees every token."""

    attention: str | None = None
    mlp: str | None = None
    """Modules whose outputs attention and the MLP add to the stream, within a block."""

    head_mixer: str | None = None
    """The projection that the heads' outputs enter side by side, within a block."""

    neuron_mixer: str | None = None
    """The projection that the MLP's neurons enter, within a block."""

    mlp_input: str | None = None
    """The module that the MLP's input enters, within a block."""

    middle: str | None = None
    """Where the stream between the branches can be read, within a block."""

    middle_side: Side = "input"
    """Side of `middle`; "output" in post-norm blocks, where it can be edited too."""

    cross_attention: str | None = None
    """Module whose output a decoder that reads an encoder adds to the stream, within a block."""

    additive: bool | None = None
    """Whether resid_post = resid_pre + attn_out + mlp_out; None: not known for this family."""

    side_by_side: str | None = None
    """Path of what holds a list of each part of all blocks, where no module is a block."""

    exit_gate: str | None = None
    """The module that decides after each loop whether to stop, where there is one."""

    @property
    def loops(self) -> tuple[int, ...]:
        """Number of times that the block of each application ran before it."""
        seen: Counter[str] = Counter()
        loops = []
        for path in self.paths:
            loops.append(seen[path])
            seen[path] += 1
        return tuple(loops)

    @property
    def looped(self) -> bool:
        """Whether a block runs several times in one pass."""
        return len(set(self.paths)) < len(self.paths)

    def application(self, layer: int) -> str:
        """Return a layer's block and loop, "blocks.1, loop 1"; nothing where blocks run once."""
        if not self.looped:
            return ""
        path = ".".join(self.paths[layer].split(".")[-2:])
        return f"{path}, loop {self.loops[layer]}"


def find_streams(module: nn.Module) -> dict[str, Structure]:
    """Find the blocks of both halves of an encoder–decoder, "encoder" and "decoder"; none elsewhere."""
    halves = {"encoder": encoder_of(module), "decoder": decoder_of(module)}
    streams = {}
    for name, path in halves.items():
        structure = None if path is None else find_structure(module.get_submodule(path))
        if structure is None:
            return {}
        streams[name] = _below(structure, str(path))
    embeds = [one.embed for one in streams.values() if one.embed is not None]
    parts = {id(module.get_submodule(path)) for path in embeds}
    if len(parts) < len(embeds):  # one module that runs in both halves is of neither
        streams = {name: replace(one, embed=None) for name, one in streams.items()}
    return streams


def find_text_structure(module: nn.Module) -> Structure | None:
    """Find the blocks that texts, and images in them, go through: not those of an image's own encoder."""
    path = text_part(module)
    if path is None and not reads_unmarked_images(module):
        return find_structure(module)
    holder = module if path is None else module.get_submodule(path)
    lists = [one for _, one in _scored_lists(holder)]
    of_text = [one for one in lists if not _OF_IMAGES.search(one)] or lists
    if not of_text:
        return None
    structure = _structure(holder, _flat(holder, of_text[0]))
    return structure if path is None else _below(structure, path)


def _below(structure: Structure, path: str) -> Structure:
    """Return a structure whose paths begin at the module that holds it."""
    parts = ("blocks", "embed", "final_norm", "exit_gate", "side_by_side")
    parts_of = {name: getattr(structure, name) for name in parts}
    moved: dict[str, Any] = {
        name: f"{path}.{part}" for name, part in parts_of.items() if part is not None
    }
    return replace(structure, paths=tuple(f"{path}.{one}" for one in structure.paths), **moved)


def find_structure(module: nn.Module) -> Structure | None:
    """Find the blocks of a network and their parts; None if nothing in it looks like blocks.

    They are the longest list of modules that is in no other; lists whose members have an attention come first.
    """
    path = next((path for _, path in _scored_lists(module)), None)
    return None if path is None else _structure(module, _flat(module, path))


def other_towers(module: nn.Module, found: Structure) -> list[Structure]:
    """Return the structures of other lists of blocks with attention, the longest first."""
    path = text_part(module)
    holder = module if path is None else module.get_submodule(path)
    others = []
    for (attends, _), inner in _scored_lists(holder):
        paths = _flat(holder, inner)
        whole = paths if path is None else tuple(f"{path}.{one}" for one in paths)
        if attends and not set(whole) & set(found.paths):
            structure = _structure(holder, paths)
            others.append(structure if path is None else _below(structure, path))
    return others


def may_loop(module: nn.Module) -> bool:
    """Return whether there is a part with attention that a network may run several times."""
    return any(_first_part(part, ATTENTIONS) is not None for part in module.modules())


def lone_block(module: nn.Module, runs: Mapping[str, int]) -> Structure | None:
    """Return the structure of a network that runs one block, in no list, again and again; None of others."""
    for path, part in module.named_modules():
        if runs.get(path, 0) > 1 and _first_part(part, ATTENTIONS) is not None:
            structure = _structure(module, (path,))
            return in_order(module, structure, (path,) * runs[path], runs)
    return None


def _structure(module: nn.Module, lists: tuple[str, ...]) -> Structure:
    """Return the structure of a network with these blocks."""
    path = lists[0].rpartition(".")[0]
    holder = path.rpartition(".")[0]
    if _is_side_by_side(module.get_submodule(holder), len(lists)):
        return Structure(
            blocks=path,
            n_blocks=len(lists),
            paths=lists,
            embed=_first_upwards(module, path, EMBEDDINGS) or _input_embedding(module),
            additive=False,
            side_by_side=holder,
        )
    block: nn.Module = module.get_submodule(lists[0])
    family = _model_type(module)
    post_norm = family in POST_NORM or not getattr(block, "do_layer_norm_before", True)  # OPT-350m
    for norm in ("attention.output.LayerNorm", "sa_layer_norm", "full_layer_layer_norm"):
        post_norm = post_norm or _part(block, norm) is not None
    middle, side = _middle(module, family, block, post_norm)
    attentions: tuple[str, ...] = ATTENTIONS
    # Gemma 2, Gemma 3 and OLMo 2 close each branch with a norm before adding it. In Llama a norm of
    # the same name opens the MLP branch instead, so the name alone does not decide.
    if _part(block, "post_feedforward_layernorm") is not None:
        attentions = ("post_attention_layernorm", *ATTENTIONS)
    attention = _first_part(block, attentions)
    mixer = _first_part(block, HEAD_MIXERS)
    if mixer is not None and isinstance(
        _part(block, mixer.rpartition(".")[0]), nn.MultiheadAttention
    ):
        mixer = None
    mlp = _first_part(block, MLPS)
    cross = _first_part(block, CROSS_ATTENTIONS)
    # LFM2 calls it the embedding's.
    norms = ("embedding_norm", *FINAL_NORMS) if family.startswith("lfm") else FINAL_NORMS
    additive: bool | None = True if family in ADDITIVE | LOOPED_SUMS else None
    if post_norm or family in SCALED:
        additive = False
    return Structure(
        blocks=path or lists[0],
        n_blocks=len(lists),
        paths=lists,
        embed=_first_upwards(module, lists[0], EMBEDDINGS) or _input_embedding(module),
        final_norm=None if post_norm else _first_upwards(module, lists[0], norms),
        attention=attention,
        head_mixer=None if attention is None else mixer,
        mlp=mlp,
        neuron_mixer=None if mlp is None else _first_part(block, NEURON_MIXERS),
        mlp_input=None if mlp is None else _first_part(block, MLP_INPUTS),
        cross_attention=cross,
        middle=middle,
        middle_side=side,
        additive=additive if attention and mlp else None,
        exit_gate=_first_upwards(module, lists[0], EXIT_GATES),
    )


def _is_side_by_side(holder: nn.Module, n_blocks: int) -> bool:
    """Whether there is a list of each part of the blocks, with norms after each addition."""
    names = {name for name, _ in SIDE_BY_SIDE.values()}
    parts = [_part(holder, name) for name in names]
    lists = all(isinstance(part, nn.ModuleList) and len(part) == n_blocks for part in parts)
    return lists and not getattr(holder, "pre_norm", False)


def in_order(
    module: nn.Module, found: Structure, blocks: Sequence[str], runs: Mapping[str, int]
) -> Structure:
    """Return a structure with the applications that a pass made: blocks in order, and runs of every module."""
    if len(set(blocks)) == len(blocks):
        # Blocks in other lists are another tower's, and the order is that of the list, as ever.
        return replace(found, runs=dict(runs))
    norm = found.final_norm
    if norm is not None:
        norm = _first_upwards(module, blocks[-1], FINAL_NORMS)
    return replace(
        found, paths=tuple(blocks), n_blocks=len(blocks), runs=dict(runs), final_norm=norm
    )


def block_lists(module: nn.Module, found: Structure) -> list[tuple[str, ...]]:
    """Return the paths of the blocks, and of those in other lists of the same kind of block."""
    kind = type(module.get_submodule(found.paths[0]))
    lists = [found.paths]
    for path, part in module.named_modules():
        children = list(part.children())
        if not isinstance(part, nn.ModuleList) or not children or type(children[0]) is not kind:
            continue
        paths = tuple(f"{path}.{name}" if path else name for name, _ in part.named_children())
        if not set(paths) & set(found.paths):
            lists.append(paths)
    return lists


def _flat(module: nn.Module, path: str) -> tuple[str, ...]:
    """Return the paths of a list's blocks; where members are lists alone (ALBERT), of those inside."""
    holder = module.get_submodule(path)
    paths = tuple(f"{path}.{name}" for name, _ in holder.named_children())
    inside: list[str] = []
    for member in paths:
        if isinstance(module.get_submodule(member), nn.ModuleList):  # a stage's blocks (PVT)
            inside.extend(_flat(module, member))
            continue
        children = list(module.get_submodule(member).named_children())
        if len(children) != 1 or not isinstance(children[0][1], nn.ModuleList):
            return paths
        if len({type(part) for part in children[0][1]}) > 1:  # parts of one block (T5)
            return paths
        inside.extend(_flat(module, f"{member}.{children[0][0]}"))
    return tuple(inside)


def standard_hook_points(module: nn.Module, structure: Structure | None) -> list[HookPoint]:
    """List a network's hook points in the order a pass reaches them; without blocks one per module."""
    if structure is None:
        return [HookPoint(path, path=path) for path, _ in module.named_modules() if path]
    points = []
    if structure.embed is not None:
        points.append(_outside("embed", structure.embed, structure))
    steps = structure.loops if structure.looped else (None,) * structure.n_blocks
    for layer, (block, step) in enumerate(zip(structure.paths, steps, strict=True)):
        if structure.side_by_side is not None:
            above = f"{structure.side_by_side}." if structure.side_by_side else ""
            points += [
                HookPoint(
                    f"{kind}.{layer}",
                    path=f"{above}{name}.{layer}",
                    side=side,
                    layer=layer,
                    once=True,
                )
                for kind, (name, side) in SIDE_BY_SIDE.items()
            ]
            continue
        points.extend(_block_points(structure, layer, block, step))
    if structure.final_norm is not None:
        points.append(_outside("final_norm", structure.final_norm, structure))
    if structure.exit_gate is not None and structure.looped:
        n = structure.runs.get(structure.exit_gate, 1)
        gates = [
            HookPoint(f"exit_gate.{i}", path=structure.exit_gate, step=i, once=True)
            for i in range(n)
        ]
        points.extend(gates)
    # The structure is that of one block; where experts alternate with plain MLPs, others lack parts of it.
    paths = {path for path, _ in module.named_modules()}
    return [point for point in points if point.path in paths]


def stream_hook_points(module: nn.Module, streams: dict[str, Structure]) -> list[HookPoint]:
    """List the hook points of both halves of an encoder–decoder, each by its half's name."""
    points = []
    for name, structure in streams.items():
        for point in standard_hook_points(module, structure):
            whole = str(point) if point.kind == "cross_attn_out" else f"{name}.{point}"
            points.append(point.changed(name=whole, encoder=name == "encoder"))
    return points


def _outside(name: str, path: str, structure: Structure) -> HookPoint:
    """Return a hook point outside of the blocks; of one that runs after every loop, its last application."""
    last = structure.runs.get(path, 1) - 1
    return HookPoint(name, path=path, step=last if last > 0 else None, once=True)


def _block_points(
    structure: Structure, layer: int, block: str, step: int | None
) -> Iterator[HookPoint]:
    def point(kind: str, part: str = "", side: Side = "output", writable: bool = True) -> HookPoint:
        return HookPoint(
            f"{kind}.{layer}",
            path=f"{block}.{part}" if part else block,
            side=side,
            layer=layer,
            writable=writable,
            step=step,
            once=True,
        )

    yield point("resid_pre", side="input")
    if structure.head_mixer is not None:
        yield point("head_out", structure.head_mixer, "input")
    if structure.attention is not None:
        yield point("attn_out", structure.attention)
    if structure.cross_attention is not None:
        yield point("cross_attn_out", structure.cross_attention)
    if structure.middle is not None:
        side = structure.middle_side
        yield point("resid_mid", structure.middle, side, writable=side == "output")
    if structure.mlp_input is not None:
        yield point("mlp_in", structure.mlp_input, "input")
    if structure.neuron_mixer is not None:
        yield point("mlp_post", structure.neuron_mixer, "input")
    if structure.mlp is not None:
        yield point("mlp_out", structure.mlp)
    yield point("resid_post")


def _scored_lists(module: nn.Module) -> list[tuple[tuple[bool, int], str]]:
    """Return the lists of blocks that are in no other, those with attention first, and then the longest."""
    scored = []
    inside: list[str] = []
    for path, part in module.named_modules():
        if not path or any(path.startswith(f"{outer}.") for outer in inside):
            continue
        children = list(part.children())
        if not _holds_blocks(part, children):
            continue
        inside.append(path)
        score = (_first_part(_first_block(part), ATTENTIONS) is not None, len(children))
        scored.append((score, path))
    return sorted(scored, key=lambda one: one[0], reverse=True)


def _first_block(part: nn.Module) -> nn.Module:
    """Return the first block in a list, or in the first of its lists."""
    block: nn.Module = next(part.children())
    while isinstance(block, nn.ModuleList) and len(block):
        block = block[0]
    return block


def _holds_blocks(part: nn.Module, children: list[nn.Module]) -> bool:
    if not children or not any(True for _ in children[0].children()):
        return False
    if isinstance(part, nn.ModuleList):
        return True
    # Some vision transformers keep their blocks in a Sequential; one of unlike parts is a pipeline.
    same = len({type(child) for child in children}) == 1
    return isinstance(part, nn.Sequential) and same and len(children) > 1


def _first_part(block: nn.Module, candidates: tuple[str, ...]) -> str | None:
    """Return the first candidate present. "a+b" needs an a and a b; "a>b" means b, if a is there."""
    for candidate in candidates:
        needed, _, _ = candidate.partition(">")
        parts = needed.split("+")
        if all(_part(block, path) is not None for path in parts):
            name = candidate.rpartition(">")[2] if ">" in candidate else parts[-1]
            if _part(block, name) is not None:
                return name
    return None


def _part(module: nn.Module, path: str) -> nn.Module | None:
    part: nn.Module | None = module
    for name in path.split("."):
        part = None if part is None else part._modules.get(name)
    return part


def _middle(
    module: nn.Module, family: str, block: nn.Module, post_norm: bool
) -> tuple[str | None, Side]:
    if post_norm:
        candidates = ("attention.output", "sa_layer_norm", "self_attn_layer_norm", "attention")
        return _first_part(block, candidates), "output"
    if family not in ADDITIVE | SCALED | LOOPED_SUMS:
        return None, "input"  # by its name alone, a norm may stand anywhere
    config = getattr(module, "config", None)
    parallel = getattr(block, "use_parallel_residual", False) or any(
        getattr(config, name, False) for name in ("parallel_attn", "new_decoder_architecture")
    )
    return (None if parallel else _first_part(block, SECOND_NORMS)), "input"


def _model_type(module: nn.Module) -> str:
    own = ("sae_nb.models._vision_transformer", "sae_nb.models._sound_transformer")
    if type(module).__module__ in own:
        return "vision_transformer"
    if type(module).__module__ == "sae_nb.models._looped_adder":
        return "looped_adder"
    return model_type(module)


def _first_upwards(module: nn.Module, path: str, names: tuple[str, ...]) -> str | None:
    parts = path.split(".")[:-1]
    while True:
        prefix = ".".join(parts)
        holder = module.get_submodule(prefix)
        for name in names:
            if _part(holder, name) is not None:
                return f"{prefix}.{name}" if prefix else name
        if not parts:
            return None
        parts.pop()


def _input_embedding(module: nn.Module) -> str | None:
    get = getattr(module, "get_input_embeddings", None)
    if not callable(get):
        return None
    try:
        embedding = get()
    except (NotImplementedError, AttributeError):  # how transformers says that there is none
        return None
    if isinstance(embedding, nn.Conv1d):  # of a sound, whose frames come later
        return None
    for path, part in module.named_modules():
        if part is embedding and path:
            return path
    return None


# -------------------------------------------------------------------------------------------------
# The width of the vectors at a hook point, read from the module without running it.

_WIDTH_NAMES = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim")


def width_at(module: nn.Module, structure: Structure | None, point: HookPoint) -> int | None:
    """Return the width at a hook point; None if that is known only from running the model."""
    part = module.get_submodule(point.path)
    # `nx` and `nf` are GPT-2's; of convolutions only those of one axis have rows of their channels.
    reads: tuple[str, ...] = ("in_features", "nx")
    writes: tuple[str, ...] = ("out_features", "nf", "embedding_dim")
    if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
        reads, writes = ("in_channels",), ("out_channels",)
    side_names = reads if point.side == "input" else writes
    for name in side_names:
        width = getattr(part, name, None)
        if isinstance(width, int):
            return width
    shape = getattr(part, "normalized_shape", None)
    if shape:
        return int(shape[-1])
    on_stream = structure is not None and point.kind not in (str(point), "mlp_post")
    if not on_stream and str(point) not in ("embed", "final_norm"):
        return None
    config = config_of(module)
    if str(point) != "embed" and has_stages(config):
        return None  # another one in each stage
    n_streams = 1 if point.form in (None, "time first") else stream_count(module)
    for name in _WIDTH_NAMES:
        width = getattr(config, name, None)
        if isinstance(width, int):
            return width * n_streams
    if structure is None:
        return None
    # Without a configuration: a norm inside a block has the width of the stream.
    for part in module.get_submodule(structure.paths[0]).modules():
        shape = getattr(part, "normalized_shape", None)
        if shape:
            return int(shape[-1])
    return None

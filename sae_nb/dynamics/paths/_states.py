"""States of every layer: A[sample, layer, token, :], layer 0 the embeddings, read in one traced pass.

Layer l ≥ 1 is what block l puts out, before the final norm; layer 0 is what block 1 gets, so token
embeddings with their positions, cls and registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._positions import PositionPolicy
from sae_nb.capturing import capture
from sae_nb.checks import as_tensor, check_data, check_finite, checked
from sae_nb.models._interventions import Backend

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.activations import Activations
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# Windows of text of one length: what gives states of many documents a common token axis.


def text_windows(
    model: LiveModel, inputs: Inputs, context_length: int | None = None
) -> Int[Tensor, "n time"]:
    """Join texts end to end, end-of-text between, and cut them into windows of one length.

    A last piece that fills no window is left out.
    """
    batches = model.batches(inputs, batch_size=64, context_length=context_length, pack=True)
    n_tokens, whole = 0, []
    length = batches.policy["context_length"]
    for batch in batches:
        if batch.keep is None or batch.token_ids is None:  # language models' batches have both
            continue
        full = batch.keep.sum(dim=1) == length
        whole.append(batch.token_ids[full].cpu())
        n_tokens += int(batch.keep.sum())
    windows = torch.cat(whole)
    if not len(windows):
        raise ValueError(
            f"`inputs` must fill a window of {length} tokens, got {n_tokens} tokens in all. Pass more"
            " text, or a smaller context_length."
        )
    return windows


TokenKind = Literal["cls", "register", "patch", "token"]
TOKEN_KINDS = ("cls", "register", "patch", "token")
_CLS_NAMES = ("cls_token", "class_embedding", "class_token")
_REGISTER_NAMES = ("register_tokens", "reg_token")


@checked(leave=("x",))
class States(Tensor):
    """States of every layer, (n, L + 1, T, d): a tensor that knows its tokens.

    Operations return plain tensors; `take` and `of_kind` keep what they can.

    Parameters
    ----------
    x
        The states; index 0 of the second axis are the embeddings.
    token_kinds
        Per token "cls", "register", "patch" or "token"; None: all "token".
    patch_grid
        Rows and columns of patches.
    positions
        Index of each token in its sample; None: 0 … T − 1.
    blocks
        Path of the block that makes each layer from 1 on, and the number of times that it ran before; None:
        not known.
    keep
        (n, T), of samples of different length: which tokens each has; the states of others are NaN. None: all.

    Example
    -------
    >>> states = States(torch.zeros(2, 4, 3, 5), token_kinds=("cls", "patch", "patch"))
    >>> states.n_layers, states.of_kind("patch").shape, type(states + 1).__name__
    (3, torch.Size([2, 4, 2, 5]), 'Tensor')
    """

    token_kinds: tuple[TokenKind, ...]
    patch_grid: tuple[int, int] | None
    model_name: str | None
    positions: tuple[int, ...]
    blocks: tuple[tuple[str, int], ...] | None
    keep: Bool[Tensor, "n tokens"] | None

    # As nn.Parameter does it: every operation gives a plain tensor, whose tokens nobody vouches for.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(
        cls,
        x: Float[Tensor, "n layers tokens d"],
        *,
        token_kinds: Sequence[str] | None = None,
        patch_grid: tuple[int, int] | None = None,
        model_name: str | None = None,
        positions: Sequence[int] | None = None,
        blocks: Sequence[tuple[str, int]] | None = None,
        keep: Bool[Tensor, "n tokens"] | None = None,
    ) -> States:
        """Check the shape, wrap the tensor without copying it, attach what is known."""
        x = _check_shape(x)
        self = Tensor._make_subclass(cls, x.detach())
        self.token_kinds = _checked_kinds(token_kinds, x.shape[2])
        self.patch_grid = patch_grid
        self.model_name = model_name
        self.positions = tuple(range(x.shape[2]) if positions is None else positions)
        self.blocks = (
            None if blocks is None else tuple((str(path), int(loop)) for path, loop in blocks)
        )
        if self.blocks is not None and len(self.blocks) != x.shape[1] - 1:
            raise ValueError(
                f"`blocks` must have one entry per layer from 1 on, {x.shape[1] - 1}, got {len(self.blocks)}."
            )
        if keep is not None and (keep.dtype != torch.bool or keep.shape != (len(x), x.shape[2])):
            raise ValueError(
                f"`keep` must be a mask of shape {(len(x), x.shape[2])}, got {tuple(keep.shape)} of "
                f"{keep.dtype}."
            )
        self.keep = None if keep is None or bool(keep.all()) else keep
        _check_values(x.detach(), self.keep)
        return self

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        """Sizes, tokens and origin rather than numbers."""
        n, layers, tokens, d = self.shape
        counts = {kind: self.token_kinds.count(kind) for kind in TOKEN_KINDS}
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        dtype = str(self.dtype).removeprefix("torch.")
        of = f" of {self.model_name}" if self.model_name else ""
        distinct = len({path for path, _ in self.blocks or ()})
        looped = f" of {distinct} shared blocks" if 0 < distinct < layers - 1 else ""
        if self.keep is not None:
            lengths = self.keep.sum(dim=1)
            kinds += f"; of samples {int(lengths.min())} to {int(lengths.max())}, the rest NaN"
        return (
            f"States({n} samples × (1 + {layers - 1}) layers{looped} × {tokens} tokens ({kinds}) × {d},"
            f" {dtype}{of})"
        )

    def __deepcopy__(self, memo: object) -> States:
        return self._like(self.detach().clone(), self.keep)

    @property
    def n_layers(self) -> int:
        """Blocks L; there is one state more, the embeddings."""
        return self.shape[1] - 1

    @property
    def layers(self) -> pd.DataFrame:
        """One row per layer, from the embeddings (0) on: ``layer``, ``module`` that makes it, and its ``loop``,
        the number of times that it ran before; −1 where that is not known.

        Example
        -------
        >>> States(torch.zeros(1, 3, 1, 2), blocks=[("b", 0), ("b", 1)]).layers.values.tolist()
        [[0, '', -1], [1, 'b', 0], [2, 'b', 1]]
        """
        import pandas as pd

        known = self.blocks or (("", -1),) * self.n_layers
        paths, loops = zip(("", -1), *known, strict=True)
        return pd.DataFrame({"layer": range(len(paths)), "module": paths, "loop": loops})

    @checked
    def of_kind(self, kind: TokenKind) -> Float[Tensor, "n layers some d"]:
        """Return the states of one kind of token; none of them where the model has no such token."""
        return self[:, :, [k == kind for k in self.token_kinds]]

    @checked
    def take(self, samples: Int[Tensor, " m"] | Sequence[int] | slice) -> States:
        """Return the states of some samples, with all that is known about them."""
        chosen = samples if isinstance(samples, slice) else torch.as_tensor(samples)
        if not isinstance(chosen, slice) and not chosen.numel():
            raise ValueError("`samples` must name at least one sample, got none.")
        return self._like(self.detach()[chosen], None if self.keep is None else self.keep[chosen])

    def common(self) -> States:
        """Return the states of the tokens that all samples have; all of them where lengths are equal.

        Example
        -------
        >>> keep = torch.tensor([[True, True], [True, False]])
        >>> States(torch.zeros(2, 3, 2, 4), keep=keep).common().shape
        torch.Size([2, 3, 1, 4])
        """
        if self.keep is None:
            return self
        shared = self.keep.all(dim=0)
        if not bool(shared.any()):
            raise ValueError(
                "`states` must have a token that all samples have, got none. Take some of them."
            )
        places = shared.nonzero()[:, 0].tolist()
        return States(
            self.detach().as_subclass(Tensor)[:, :, shared],
            token_kinds=[self.token_kinds[i] for i in places],
            patch_grid=None if "patch" in self.token_kinds else self.patch_grid,
            model_name=self.model_name,
            positions=[self.positions[i] for i in places],
            blocks=self.blocks,
        )

    def _like(self, x: Tensor, keep: Tensor | None = None) -> States:
        return States(
            x,
            token_kinds=self.token_kinds,
            patch_grid=self.patch_grid,
            model_name=self.model_name,
            positions=self.positions,
            blocks=self.blocks,
            keep=keep,
        )


@checked
def capture_states(
    model: LiveModel,
    inputs: Inputs,
    *,
    dtype: torch.dtype = torch.float32,
    batch_size: int | None = None,
    store: str | Path | None = None,
    drop_first: bool | Literal["auto"] = "auto",
    context_length: int | None = None,
    pack: bool = False,
    backend: Backend = "nnsight",
    progress: bool | Callable[[Any], Any] = False,
) -> States:
    """Run a live model over inputs once and return the residual stream after every block.

    The states are (n, L + 1, T, d) in main memory; index 0 are the embeddings. Layers are applications of
    blocks: one that is shared or looped over has a layer for each time it runs, listed in `states.layers`.

    Parameters
    ----------
    model, inputs
        One whose blocks put out states of one shape; images, texts, token ids or sounds, as for `capture`.
        Of samples that differ in length `states.keep` is the mask of the tokens that each has, the others are
        NaN, and `states.common()` has those of all.
    dtype, batch_size
        Precision of the states; samples per forward pass, None: as `capture` does.
    store
        A folder that `capture` writes to, so that a killed run continues where it stopped.
    drop_first
        Leave out the first token of a text; "auto": where it is an attention sink, in decoder language
        models. `states.positions` names the positions that are left.
    context_length, pack
        As for `capture`. With `pack=True` each sample is a window of `context_length` tokens of the texts,
        joined with end-of-text between; what fills no window is left out.
    backend, progress
        "nnsight", or "hooks": plain forward hooks, the same values; a bar, or a function called with records.

    Raises
    ------
    ValueError: If the model has no repeated blocks, or they differ in shape.
    MemoryError: If the states would not fit.

    Source
    ------
    Notation of "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> states = capture_states(load_model("tiny-vit"), scenes(2, seed=0))
    >>> states.shape, states.token_kinds[:6]
    (torch.Size([2, 13, 69, 64]), ('cls', 'register', 'register', 'register', 'register', 'patch'))
    """
    model.settle_order(inputs)
    points = _points(model)
    policy = PositionPolicy.for_model(model, drop_first=drop_first, keep_special=True)
    if pack:
        inputs = text_windows(model, inputs, context_length)
        drop_first, context_length = False, None
    acts = capture(
        model,
        inputs,
        points,
        batch_size=batch_size,
        store=store,
        drop_first=drop_first,
        drop_massive=False,
        context_length=context_length,
        dtype=dtype,
        backend=backend,
        progress=progress,
    )
    first = next(iter(acts.values()))
    positions, keep = _places(acts, model.name)
    x = _stacked(acts, points, len(positions), keep)
    if pack and policy.drop_first:
        # Only now: capture would drop BOS within a window too, and leave windows of many lengths.
        x, positions = x[:, :, 1:], positions[1:]
    return States(
        x,
        token_kinds=token_kinds_of(model, positions),
        patch_grid=first.context.patch_grid,
        model_name=model.name,
        positions=positions,
        blocks=[*zip(model.layers["module"], model.layers["loop"], strict=True)],
        keep=keep,
    )


def check_states(
    states: object,
    token_kinds: Sequence[str] | None = None,
    *,
    min_layers: int = 2,
    finite: bool = True,
    masked: bool = False,
) -> tuple[Float[Tensor, "n layers tokens d"], tuple[TokenKind, ...]]:
    """Return the states as a plain tensor, and the kind of each token.

    With `masked`, samples may be of different length: what they lack is NaN.
    """
    x = _check_shape(states)
    if x.shape[1] - 1 < min_layers:
        raise ValueError(
            f"`states` must have at least {min_layers} layers besides the embeddings, got shape"
            f" {tuple(x.shape)}. Pass the states of a deeper network."
        )
    keep = states.keep if isinstance(states, States) else None
    if keep is not None and not masked:
        raise ValueError(
            f"`states` must be of samples of one length, got between {int(keep.sum(dim=1).min())} and "
            f"{int(keep.sum(dim=1).max())} tokens. Pass states.common(), the tokens that all have."
        )
    if finite:
        _check_values(x.detach().as_subclass(Tensor), keep)
    known = states.token_kinds if isinstance(states, States) else None
    kinds = _checked_kinds(known if token_kinds is None else token_kinds, x.shape[2])
    return x.detach().as_subclass(Tensor), kinds


def token_kinds_of(model: LiveModel, positions: Sequence[int]) -> tuple[TokenKind, ...]:
    """Return what the tokens at some positions are: cls, registers, patches; texts have tokens."""
    kinds: list[TokenKind] = ["token"] * len(positions)
    if model.modality.is_image or (not model.modality.is_text and model.patch_grid is not None):
        prefix = model.prefix_tokens
        # Only where the whole prefix is registers there is no cls.
        names = {path.rpartition(".")[2]: p for path, p in model.module.named_parameters()}
        registers = sum(names[name].shape[-2] for name in _REGISTER_NAMES if name in names)
        has_cls = prefix > registers or any(name in names for name in _CLS_NAMES)
        first: TokenKind = "cls" if has_cls else "register"
        kinds = ["patch" if p >= prefix else "register" if p else first for p in positions]
    return tuple(kinds)


def _points(model: LiveModel) -> list[str]:
    structure = getattr(model, "structure", None)
    if structure is None or structure.n_blocks < 2:
        name = getattr(model, "name", type(model).__name__)
        count = 0 if structure is None else structure.n_blocks
        raise ValueError(
            f"`model` must have repeated blocks, and {count} were found in {name}. Depth has no "
            "dynamics without them; capture its hook points with `capture` instead."
        )
    return ["resid_pre.0", *(f"resid_post.{layer}" for layer in range(structure.n_blocks))]


def _stacked(
    acts: dict[str, Activations], points: Sequence[str], n_tokens: int, keep: Tensor | None
) -> Tensor:
    """Join the layers, forgetting each as it is copied: the peak is one layer above the result."""
    first = next(iter(acts.values()))
    n = len(first) // n_tokens if keep is None else len(keep)
    joined = torch.full((n, len(points), n_tokens, first.d_in), torch.nan, dtype=first.dtype)
    del first
    for layer, point in enumerate(points):
        x = acts.pop(point).x
        if keep is None:
            joined[:, layer] = x.view(n, n_tokens, x.shape[1])
        else:  # rows come sample by sample, in order of place
            joined[:, layer][keep] = x
    return joined


def _places(
    acts: dict[str, Activations], model_name: str
) -> tuple[tuple[int, ...], Bool[Tensor, "n tokens"] | None]:
    """Return the positions that samples have, and which of them each has; None: each has all."""
    shapes = {point: (len(a), a.d_in) for point, a in acts.items()}
    (first_name, first_shape), *others = shapes.items()
    for name, shape in others:
        if shape != first_shape:
            raise ValueError(
                f"The blocks of {model_name} must put out states of one shape, but"
                f" {first_name} has {first_shape[0]} vectors of width {first_shape[1]} and {name}"
                f" {shape[0]} of width {shape[1]}. Use `capture` for a network of stages."
            )
    one = acts[first_name]
    positions, column = torch.unique(one.position, return_inverse=True)
    keep = torch.zeros(one.context.n_samples, len(positions), dtype=torch.bool)
    keep[one.sample, column] = True
    return tuple(positions.tolist()), None if bool(keep.all()) else keep


def _check_values(x: Tensor, keep: Tensor | None) -> None:
    """Refuse NaN and infinity, but at tokens that a sample lacks."""
    if keep is None:
        check_finite(x.flatten(1), name="states", where="Each row is one sample.")
        return
    rows = x.transpose(1, 2)[keep]
    check_finite(rows.flatten(1), name="states", where="Each row is one token that is kept.")


def _check_shape(x: object) -> Tensor:
    if isinstance(x, np.ndarray):
        x = as_tensor(x, name="states")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"`states` must be a floating-point tensor, got {what}. Use capture_states(model, inputs)."
        )
    if x.ndim != 4 or x.shape[1] < 2 or x.numel() == 0:
        raise ValueError(
            f"`states` must have shape (n, L + 1, T, d) with L ≥ 1, got {tuple(x.shape)}. Use"
            " capture_states(model, inputs); the first layer are the embeddings."
        )
    return check_data(x, name="states")


def _checked_kinds(kinds: Sequence[str] | None, n_tokens: int) -> tuple[TokenKind, ...]:
    found = ("token",) * n_tokens if kinds is None else tuple(kinds)
    unknown = sorted(set(found) - set(TOKEN_KINDS))
    if unknown or len(found) != n_tokens:
        raise ValueError(
            f"`token_kinds` must name one of {list(TOKEN_KINDS)} for each of the {n_tokens} tokens,"
            f" got {len(found)} names{f' with {unknown}' if unknown else ''}."
        )
    return cast(tuple[TokenKind, ...], found)


# -------------------------------------------------------------------------------------------------
# Which tokens of the states are what: cls, registers, patches of an image; tokens of a text.


def tokens_of(kinds: Sequence[str], kind: str) -> list[int]:
    """Return positions of one kind."""
    return [i for i, one in enumerate(kinds) if one == kind]


def content_tokens(kinds: Sequence[str]) -> list[int]:
    """Return positions that carry the input: patches where there are any, else the tokens of a text."""
    for kind in ("patch", "token"):
        if kind in kinds:
            return tokens_of(kinds, kind)
    raise ValueError(
        f"`token_kinds` must have a patch or a token, got only {sorted(set(kinds))}. Keep the patches "
        "when capturing."
    )

"""SAELens: folders with `cfg.json` and `sae_weights.safetensors`, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sae_nb.activations._positions import PositionPolicy
from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures._saving import POLICY
from sae_nb.checks import checked, shown
from sae_nb.checks._hook_point_names import lens_name
from sae_nb.files._atomic import read_json
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._changed_models import CENTRED, changed_model, of_one_head
from sae_nb.interop._foreign import (
    Contents,
    Original,
    Stated,
    accounted,
    check_holds,
    known_hook_point,
    named_errors,
    remember,
    stated_k,
    stated_tensors,
    write_folder,
)
from sae_nb.interop._imported import (
    CENTRING,
    Encoding,
    Imported,
    Norm,
    Origin,
    Rule,
    assemble,
    noted_factor,
)
from sae_nb.interop._saelens_layout import (
    GATED,
    LINEAR,
    NORMS,
    PARTS,
    TRANSCODER,
    as_stated,
    as_transcoder,
    ours,
    saelens_layout,
)
from sae_nb.interop._temporal import temporal_of_saelens
from sae_nb.models._norms import named_takes_off_mean

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
LIBRARY = "SAELens"
VERSION = "6.54.12"
"""Version of SAELens whose layout this is; without one its reader takes the file for a very old one."""
_JUMPS = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_PLAIN = ("standard", "transcoder", "skip_transcoder")
_COMPETING, _RESCALES = ("topk", "abstopk"), "rescale_acts_by_decoder_norm"
"""Architectures that choose by size, and whether the size is in units of the atom's norm."""
_KNOWN = (*_PLAIN, *_JUMPS, "topk", "abstopk", "gated", "matching_pursuit", "batchtopk", "temporal")

_ABOUT_MODEL = (
    "model_name",
    "model_class_name",
    "hook_name",
    "hook_name_out",
    "prepend_bos",
    "seqpos_slice",
    "exclude_special_tokens",
    "context_size",
    "hook_head_index",
    "model_from_pretrained_kwargs",
)
"""Fields that version 6 keeps as metadata, and older ones next to the settings."""
_SCALINGS = ("scaling_factor", "finetuning_scaling_factor")
"""A factor of each code in decoding, learned after the rest by versions before 6."""


@checked
@named_errors
def read_saelens(folder: str | Path, *, scale: float | None = None) -> SparseAutoencoder:
    """Read an SAE that SAELens saved; it gives the codes SAELens gives.

    Parameters
    ----------
    folder
        Holds `cfg.json` and `sae_weights.safetensors`; files older than version 6 too.
    scale
        Factor activations are multiplied by before this SAE sees them, for files whose
        `normalize_activations` is "expected_average_only_in" and that were not folded: √d_in over the
        mean norm of the activations.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If it is of an architecture we cannot express, or cut short or altered.

    Source
    ------
    SAELens 6.54, saes/*.py and the conversion of older files in loading/pretrained_sae_loaders.py.
    """
    folder = Path(folder)
    written = read_json(folder / CONFIG)
    return _read(folder, written, modern(written), scale, partial(read_saelens, scale=scale))


@named_errors
def read_published(
    folder: Path, overrides: Mapping[str, Any], factor: float | None
) -> SparseAutoencoder:
    """Read an SAE of SAELens' list of published ones, which corrects files and has factors to fold."""
    written = read_json(folder / CONFIG)
    metadata = dict(written.get("metadata") or {})
    metadata |= {name: value for name, value in overrides.items() if name in _ABOUT_MODEL}
    settings = {name: value for name, value in overrides.items() if name not in _ABOUT_MODEL}
    config = modern({**written, **settings, "metadata": metadata})
    asks = config.get("normalize_activations") == "expected_average_only_in"
    factor = factor if asks else None
    again = partial(read_published, overrides=overrides, factor=factor)
    sae: Any = _read(folder, written, config, factor, again)
    if factor is not None:
        sae.origin = replace(sae.origin, notes=[noted_factor(factor), *sae.origin.notes])
    return sae


def _read(
    folder: Path,
    written: Mapping[str, Any],
    config: dict[str, Any],
    scale: float | None,
    read: Callable[[Path], SparseAutoencoder],
) -> SparseAutoencoder:
    """The SAE with what its file held; `config` is what that means in version 6, `scale` what is folded."""
    tensors, facts = stated_tensors(read_tensors(folder / WEIGHTS)), Stated(config)
    sae = accounted(_of(facts, tensors, folder, scale), tensors, facts)
    can = isinstance(sae, Imported)
    restate = partial(_restated, settings=config, scale=_scale(config, scale)) if can else None
    return remember(sae, LIBRARY, tensors.held, written, restate=restate, read=read)


def _restated(
    sae: Imported, original: Original, *, settings: Mapping[str, Any], scale: float
) -> Contents:
    """`_assembled` backwards: the factor and the norms that it folded in are taken out."""
    theirs = original.tensors
    new = as_stated(sae, (name for name in PARTS if name in theirs))
    if "W_enc" in new:
        new["W_enc"] = new["W_enc"] / scale
    new |= {name: new[name] * scale for name in ("W_dec", "b_dec")}
    if settings.get("architecture") in _COMPETING and settings.get(_RESCALES):
        norms = theirs["W_dec"].to(torch.float32).norm(dim=1)
        new |= {"W_enc": new["W_enc"] / norms, "b_enc": new["b_enc"] / norms}
        new["W_dec"] = new["W_dec"] * norms[:, None]
    for name in _SCALINGS:
        if name in theirs:
            new["W_dec"] = new["W_dec"] / theirs[name].to(torch.float32)[:, None]
    if not sae.pre_bias.requires_grad:
        new["b_dec"] = theirs["b_dec"]
    if "threshold" in sae.parts:
        new |= {"log_threshold": sae.threshold.log(), "topk_threshold": sae.threshold}
    k = sae.encoding.k
    names = {"matching_pursuit": "max_iterations"}
    stated = names.get(str(settings.get("architecture")), "k")
    changed = k is not None and stated in original.config and original.config[stated] != k
    return new, {stated: k} if changed else {}


def _of(config: Stated, tensors: Stated, folder: Path, scale: float | None) -> SparseAutoencoder:
    stated = config.get("architecture", "standard")
    if stated not in _KNOWN:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name one of {', '.join(_KNOWN)}, got {stated!r}."
        )
    check_holds(tensors, ("W_dec", "b_dec"), folder / WEIGHTS, f"Is it of {LIBRARY}?")
    architecture = _by_its_tensors(stated, tensors)
    _check_stated(config, architecture, folder / CONFIG)
    origin = origin_of(config)
    if architecture != stated:
        note = f"Its file calls itself {stated!r} and has the tensors of {architecture!r}: read as that."
        origin = replace(origin, notes=[*origin.notes, note])
    if architecture == "temporal":
        config.get("apply_b_dec_to_input")  # it always is
        sae: SparseAutoencoder = temporal_of_saelens(config, tensors, origin)
    else:
        sae = _assembled(architecture, config, tensors, scale, origin, folder)
    sae.position_policy = _positions(config["metadata"]) or sae.position_policy
    return sae


def _positions(metadata: Mapping[str, Any]) -> PositionPolicy | None:
    """Return the positions that a file states; None where it states none."""
    if POLICY in metadata:  # of an SAE of ours
        return PositionPolicy.read(metadata[POLICY])
    part, special = metadata.get("seqpos_slice"), metadata.get("exclude_special_tokens")
    if part is None and special is None:
        return None
    start = part[0] if isinstance(part, list | tuple) and part else None
    ids = isinstance(special, list | tuple)
    fits = isinstance(special, bool | None) or (ids and all(type(one) is int for one in special))
    if not isinstance(start, int | None) or not fits:
        raise ValueError(
            "`seqpos_slice` must be a list such as [1, null] and `exclude_special_tokens` true, false or token "
            f"ids, got {shown(part)} and {shown(special)}. Mend {CONFIG}, or take them out of it."
        )
    return PositionPolicy(
        drop_first=bool(start),
        keep_special=special is not True,
        drop_ids=tuple(special) if isinstance(special, list | tuple) else (),
        source=LIBRARY,
    )


_RESHAPED = (None, "none", "hook_z")


def _check_stated(config: Stated, architecture: str, path: Path) -> None:
    """Refuse settings by which SAELens computes what is not computed here."""
    norms = (None, *NORMS, "expected_average_only_in", "covariance_whitening")
    if architecture == "temporal":
        norms = (None, "none", "constant_scalar_rescale")
    more = {
        **dict.fromkeys(_JUMPS, "jumprelu"),
        **dict.fromkeys((*_COMPETING, "batchtopk"), "topk"),
    }
    choices: tuple[tuple[str, tuple[str | None, ...]], ...] = (
        ("activation_fn", (None, "relu", more.get(architecture))),
        ("normalize_activations", norms),
        ("reshape_activations", _RESHAPED),
    )
    for name, known in choices:
        value = config.get(name)
        if value not in known:
            raise ValueError(
                f"`{name}` in {str(path)!r} must be one of {', '.join(str(k) for k in known if k)} for "
                f"{architecture!r}, got {value!r}: such an SAE is not read, because it would give other codes."
            )


def _by_its_tensors(stated: str, tensors: Stated) -> str:
    """The architecture that a file has the tensors of, where it states a plainer one."""
    if stated == "standard" and all(name in tensors for name in GATED):
        return "gated"
    jumps = "threshold" in tensors or "log_threshold" in tensors
    if stated in _PLAIN and jumps:
        plain = {"standard": "", "transcoder": "_transcoder", "skip_transcoder": "_skip_transcoder"}
        stated = f"jumprelu{plain[stated]}"
    if stated.endswith(TRANSCODER) and "W_skip" in tensors and "skip" not in stated:
        return stated.replace(TRANSCODER, f"skip_{TRANSCODER}")
    return stated


def _assembled(
    architecture: str,
    config: Stated,
    tensors: Stated,
    scale: float | None,
    origin: Origin,
    folder: Path,
) -> Imported:
    dictionary = tensors["W_dec"]
    parts = _parts(architecture, config, tensors)
    bias: Tensor | None = tensors["b_dec"]
    transcodes = architecture.endswith(TRANSCODER)
    pre_bias = bool(config.get("apply_b_dec_to_input", not transcodes))
    if architecture == "matching_pursuit" and not pre_bias:
        bias = None  # tied: added back only where it was taken off
    if architecture in _COMPETING and config.get(_RESCALES):
        # topk(u·‖d‖) decoded by d/‖d‖ is a top-k SAE with scaled encoder and unit atoms.
        norms = dictionary.norm(dim=1)
        parts["encoder"] = parts["encoder"] * norms[:, None]
        parts["encoder_bias"] = parts["encoder_bias"] * norms
        dictionary = dictionary / norms[:, None]
    factors = [tensors[name] for name in _SCALINGS if name in tensors]
    _check_factors(config.get("finetuning_scaling_factor"), factors, folder / CONFIG)
    for factor in factors:
        dictionary = dictionary * factor[:, None]
    scale = _scale(config, scale)
    if scale != 1:
        parts["encoder"] = parts["encoder"] * scale
        dictionary, bias = dictionary / scale, None if bias is None else bias / scale
    norm, origin = _norm(config, origin)
    encoding = _encoding(architecture, config, pre_bias=pre_bias, norm=norm, path=folder / CONFIG)
    return assemble(
        dictionary,
        bias,
        encoding=encoding,
        origin=origin,
        hook_point=known_hook_point(config["metadata"].get("hook_name")),
        target_hook_point=known_hook_point(config["metadata"].get("hook_name_out")),
        transcodes=transcodes,
        **parts,
    )


def _check_factors(asks: object, factors: list[Tensor], path: Path) -> None:
    """Refuse weights of codes that a file states and has not, or has and denies; older ones hold ones."""
    changes = any(bool((factor != 1).any()) for factor in factors)
    if (asks and not factors) or (changes and asks is False):
        raise ValueError(
            f"{str(path)!r} must state a `finetuning_scaling_factor` where the weights have such a tensor and "
            f"only there, got {asks!r}. One of the two files is of another SAE."
        )


def _parts(architecture: str, config: Stated, tensors: Stated) -> dict[str, Tensor]:
    if architecture == "matching_pursuit":
        return {}
    if architecture == "gated":
        return ours(tensors, GATED)
    parts = ours(tensors, LINEAR)
    if architecture in _JUMPS:
        log = tensors.get("log_threshold")
        parts["threshold"] = tensors["threshold"] if log is None else log.exp()
    if architecture == "batchtopk":
        if "topk_threshold" not in tensors:
            raise ValueError(
                f"A training checkpoint of {config.get('architecture')!r} must hold `topk_threshold`, "
                "and does not. Save it for inference in SAELens."
            )
        parts["threshold"] = tensors["topk_threshold"]
    if "skip" in architecture and "W_skip" in tensors:
        parts["skip"] = tensors["W_skip"]
    return parts


def _encoding(
    architecture: str, config: Stated, *, pre_bias: bool, norm: Norm, path: Path
) -> Encoding:
    rule: Rule = "relu"
    facts: dict[str, Any] = {}
    if architecture == "matching_pursuit":
        rule = "matching"
        steps = config.get("max_iterations")
        facts = {
            "k": None if steps is None else stated_k(steps, path, "max_iterations"),
            "tolerance": float(config.get("residual_threshold", 1e-2)),
            "stops_on_same_support": bool(config.get("stop_on_duplicate_support", True)),
        }
    elif architecture in ("topk", "abstopk"):
        rule, facts = cast(Rule, architecture), {"k": stated_k(config.get("k"), path)}
    elif architecture == "gated":
        rule = "gated"
    elif architecture in (*_JUMPS, "batchtopk"):
        rule = "jumprelu"
    if architecture == "batchtopk":
        facts = {"batch_k": float(config.get("k") or 0)}
    return Encoding(rule=rule, pre_bias=pre_bias, norm=norm, **facts)


def _norm(config: Stated, origin: Origin) -> tuple[Norm, Origin]:
    """Return the normalisation of each activation, by its file or by the changes of its model, and these."""
    norm = NORMS.get(str(config.get("normalize_activations", "none")), "none")
    centred, notes = changed_model(config["metadata"])
    origin = replace(origin, centred=centred, notes=[*origin.notes, *notes])
    name = origin.model_name
    # Activations of the model itself decide again: see `Imported.look_at`.
    takes_off = None if name is None or not centred else named_takes_off_mean(str(name))
    if not centred or takes_off is False:
        notes = [CENTRING[False]] if centred else []
        return norm, replace(origin, notes=[*origin.notes, *notes])
    if norm == "constant_norm":
        raise ValueError(
            f"`normalize_activations` must not be 'constant_norm_rescale' for a model with {CENTRED}=True: "
            "such an SAE is not read. Turn the activations into its own and save it without either."
        )
    origin = replace(origin, notes=[*origin.notes, CENTRING[takes_off]])
    return "centre" if norm == "none" else norm, origin


def _scale(config: Mapping[str, Any], scale: float | None) -> float:
    normalise = config.get("normalize_activations", "none")
    if normalise == "covariance_whitening":
        raise ValueError(
            "`normalize_activations` must be folded into the weights to be read here, got "
            "'covariance_whitening'. Fold it in SAELens and save again."
        )
    if normalise == "expected_average_only_in" and scale is None:
        raise ValueError(
            "This SAE expects activations scaled to norm √d_in on average, and its file does not "
            "hold the factor. Pass scale=√d_in / (mean norm of your activations) to read_saelens, or fold it "
            "in SAELens (fold_activation_norm_scaling_factor) and save again."
        )
    return 1.0 if scale is None else float(scale)


def origin_of(config: Mapping[str, Any]) -> Origin:
    """Return the origin of the SAE that a configuration states."""
    metadata = config["metadata"]
    return Origin(
        library=LIBRARY,
        architecture=str(metadata.get("training_architecture", config.get("architecture"))),
        model_name=metadata.get("model_name"),
        hook_name=metadata.get("hook_name"),
        hook_name_out=metadata.get("hook_name_out"),
        context_length=metadata.get("context_size"),
        prepend_bos=metadata.get("prepend_bos"),
        head=metadata.get("hook_head_index"),
        notes=of_one_head(metadata, config.get("d_in")),
    )


def modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a configuration of any version to that of version 6."""
    if not isinstance(config, Mapping):
        raise ValueError(f"{CONFIG!r} must hold an object, got {type(config).__name__}.")
    new = dict(config)
    metadata = dict(new.get("metadata") or {})
    if "sae_lens_version" not in metadata:
        names = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}
        for old, name in names.items():
            if old in new:
                new.setdefault(name, new.pop(old))
        if isinstance(new.get("normalize_activations"), bool):
            folded = "expected_average_only_in" if new["normalize_activations"] else "none"
            new["normalize_activations"] = folded
        for name in _ABOUT_MODEL:
            if name in new:
                metadata.setdefault(name, new.pop(name))
    if (activation := new.pop("activation_fn_str", None)) is not None:
        new["activation_fn"] = activation
    if new.get("activation_fn") == "topk" and new.get("architecture", "standard") in (
        "standard",
        "topk",
    ):
        more = dict(new.pop("activation_fn_kwargs", None) or {})
        k = more.pop("k", None)
        new["architecture"], new["k"] = "topk", new.get("k", k)
        new |= {f"activation_fn_kwargs.{name}": value for name, value in more.items()}
    new["metadata"] = metadata
    return new


@checked
def write_saelens(sae: SparseAutoencoder, folder: str | Path, **metadata: Any) -> Path:
    """Write an SAE so that SAELens loads it and computes the same codes.

    BatchTopK, Matryoshka and JumpReLU become "jumprelu" with their thresholds, as SAELens itself saves
    them for inference. A file of SAELens that `read_saelens` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, BatchTopK, Matryoshka, ReLU, JumpReLU, AbsTopK, Gated or MatchingPursuit, a Temporal of
        the published form with novel="TopK" and encoder_bias=False, a Transcoder or SkipTranscoder whose
        atoms have thresholds (base="ReLU", "JumpReLU", "BatchTopK"), or one that was read from another
        library.
    folder
        Gets `cfg.json` and `sae_weights.safetensors`; must not exist, and appears only when complete.
    metadata
        Further facts for SAELens' `metadata`, such as context_size=512, prepend_bos=True.

    Raises
    ------
    TypeError: If SAELens has no architecture that computes these codes.
    FileExistsError: If the folder exists.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.interop import read_saelens
    >>> sae, x = TopK(d_in=4, n_atoms=8, k=2).eval(), torch.ones(1, 4)
    >>> again = read_saelens(write_saelens(sae, tempfile.mkdtemp() + "/sae"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """
    return write_folder(
        sae,
        folder,
        LIBRARY,
        (CONFIG, WEIGHTS),
        translate=_as_theirs,
        read=read_saelens,
        metadata=metadata,
        transcoders=True,
    )


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    there: dict[str, Any] = {}
    if sae.writes is not None:
        layout = as_transcoder(sae, layout)
        target = sae.target_hook_point
        layout.facts["d_out"] = sae.d_out
        there = {"hook_name_out": None if target is None else lens_name(str(target))}
    metadata = {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "model_name": sae.model_name,
        "hook_name": None if sae.hook_point is None else lens_name(str(sae.hook_point)),
        "training_architecture": type(sae).__name__,
        **there,
    }
    if isinstance(sae, Imported) and sae.reads_centred:
        metadata["model_from_pretrained_kwargs"] = {CENTRED: True}
    if isinstance(sae, Imported) and sae.origin.head is not None:
        metadata["hook_head_index"] = sae.origin.head
    if sae.position_policy is not None:
        metadata[POLICY] = sae.position_policy.stated()
    config = {
        "architecture": layout.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_atoms,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
        **layout.facts,
    }
    return layout.tensors, config

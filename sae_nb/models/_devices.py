"""Where a model's weights lie and which number format they have: spread by accelerate, quantised, elsewhere."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from torch import nn

from sae_nb.checks import check_device

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, TorchAoConfig

DeviceMap = str | Mapping[str, Any] | None
Bits = Literal[4, 8]
"""Widths that a quantiser here has."""

MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways in which accelerate spreads a model by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """The requested placement of a checkpoint."""

    device_map: DeviceMap = None
    bits: Bits | None = None
    offload_folder: Path | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing special was asked for."""
        return self.device_map is None and self.bits is None

    def check(self, device: int | str | torch.device | None) -> None:
        """Refuse what cannot be, before anything is loaded."""
        if self.offload_folder is not None and self.device_map is None:
            raise ValueError(
                "`offload_folder` must come with a `device_map` that puts parts on the disk, got none. Use "
                'device_map="auto", or leave it out.'
            )
        if self.device_map is not None:
            self._check_map(device)
        if self.bits is not None:
            self._check_quantiser(check_device("cpu" if device is None else device))

    def _check_map(self, device: object) -> None:
        if device is not None:
            raise ValueError(
                f"`device` must be None where `device_map` places the parts, got {device!r}. Leave one of "
                "them out."
            )
        given = self.device_map
        if not isinstance(given, Mapping) and given not in MAPS:
            raise ValueError(
                f"`device_map` must be one of {', '.join(MAPS)}, or a dictionary from modules to devices, got "
                f"{given!r}. For one device use `device`."
            )
        _need(
            "accelerate",
            "`device_map`",
            "Leave `device_map` out, and use `dtype='bfloat16'` to halve it",
        )

    def _check_quantiser(self, device: torch.device) -> None:
        if self.bits == 4 or (device.type == "cuda" and _has("bitsandbytes")):
            _need(
                "bitsandbytes",
                f"`bits={self.bits}`",
                "Use bits=8 with torchao, or dtype='bfloat16'",
            )
        elif not _has("bitsandbytes"):
            _need(
                "torchao",
                "`bits=8`",
                "Use dtype='bfloat16', or quantise it yourself and wrap(module)",
            )

    def options(self, device: torch.device, dtype: torch.dtype | None) -> dict[str, Any]:
        """Return further arguments of transformers' `from_pretrained`."""
        options: dict[str, Any] = {}
        if self.device_map is not None:
            given = self.device_map
            options["device_map"] = dict(given) if isinstance(given, Mapping) else given
        if self.offload_folder is not None:
            options["offload_folder"] = str(self.offload_folder)
        if self.bits is not None:
            options["quantization_config"] = self._quantiser(device, dtype)
        return options

    def _quantiser(
        self, device: torch.device, dtype: torch.dtype | None
    ) -> BitsAndBytesConfig | TorchAoConfig:
        import transformers

        if (
            self.bits == 8
            and _has("torchao")
            and not (device.type == "cuda" and _has("bitsandbytes"))
        ):
            from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found,unused-ignore]

            return transformers.TorchAoConfig(Int8WeightOnlyConfig())
        if self.bits == 8:
            return transformers.BitsAndBytesConfig(load_in_8bit=True)
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype or torch.bfloat16,
        )


M_MMAP_THRESHOLD = -3
"""glibc's number for it, malloc.h."""


def keep_no_memory() -> None:
    """Have the C library give back every freed megabyte at once, in this process from now on.

    By itself glibc raises that limit to 32 MiB as it goes. Quantised weights are unpacked for each product, so
    it then keeps a third more than a pass needs (SmolLM2-135M in 8 bits: 618 to 670 MiB, not 501 to 507).
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(M_MMAP_THRESHOLD, 2**20)


def give_back_memory() -> None:
    """Give the system what the C library keeps of freed memory: after quantising, the weights as stored."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


EXTRAS = {"accelerate": "large", "torchao": "large", "bitsandbytes": "bits"}
"""The extra of ours that brings a package, by the name of the package."""


def _need(package: str, what: str, instead: str) -> None:
    if not _has(package):
        raise ModuleNotFoundError(
            f"{what} must have the package {package!r}, which is not installed. Install it (python -m pip "
            f'install "sae-nb[{EXTRAS[package]}]"). {instead}.',
            name=package,
        )


def is_spread(module: nn.Module) -> bool:
    """Return whether accelerate loads this module's weights when they are needed."""
    return vars(module).get("hf_device_map") is not None


def device_of(module: nn.Module) -> torch.device | None:
    """Return the device of a module's inputs: of its first weight, or where accelerate runs it."""
    first = next(module.parameters(), None)
    if first is None or not (first.is_meta or is_spread(module)):
        return None if first is None else first.device
    for part in module.modules():
        place = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if place is not None:
            return torch.device(f"cuda:{place}" if isinstance(place, int) else place)
    return torch.device("cpu") if first.is_meta else first.device


_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def as_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return the torch dtype of a name; None stays None."""
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in _DTYPES:
        return _DTYPES[dtype.removeprefix("torch.")]
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in _DTYPES.values()):
        return dtype
    raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)} or None, got {dtype!r}.")


def no_weights(name: str, what: str) -> NoReturn:
    """Refuse what needs weights of a model that has none here."""
    raise RuntimeError(
        f"{what} must have the model's weights on this machine, but {name!r} runs remotely and has "
        "none here. Use `model(…)`, `model.generate` or `sn.capture`, which run remotely, or load the "
        "model without `remote`."
    )

"""Requirements on the machine before the work: a device of that name, memory for the result."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def check_device(device: str | torch.device | None) -> torch.device:
    """Return the device, or the best one present for None."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"`device` must be a torch device such as 'cpu' or 'cuda', got {device!r}."
        ) from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"`device` must be a device of this machine, got {str(device)!r} and no NVIDIA GPU is "
            "visible. Use device='cpu', or leave it out."
        )
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"`device` must be one of cuda:0 … cuda:{torch.cuda.device_count() - 1}, got {str(device)!r}."
        )
    return wanted


def available_memory() -> int | None:
    """Return the bytes of memory a process can still take, or None where the system does not say."""
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def check_memory(needed: int, what: str, instead: str) -> None:
    """Refuse a request that would not fit in memory."""
    available = available_memory()
    if available is not None and needed > 0.9 * available:
        raise MemoryError(
            f"{what} must fit in memory: it needs {needed / 2**30:.1f} GiB and "
            f"{available / 2**30:.1f} GiB are free. {instead}"
        )

"""Where weights go and in which precision, and whether they fit there."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import torch

from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.errors import CheckpointError
from webapp.inference.layout import MemoryEstimate

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAX_FLOAT32_PARAMETERS_ON_CPU = 500_000_000


def pick_device(path: Path, device: str) -> torch.device:
    """The device by name; "auto" is CUDA where there is one. CheckpointError for CUDA without CUDA."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(path, f"cannot be loaded on {device}: there is no CUDA device here; use cpu or auto")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device, n_parameters: int) -> torch.dtype:
    """The dtype by name; "auto" is float32 for small models on the CPU, else bfloat16. ValueError for others."""
    if dtype in _DTYPES:
        return _DTYPES[dtype]
    if dtype != "auto":
        raise ValueError(f"dtype {dtype!r} is unknown; choose auto, {', '.join(_DTYPES)}")
    is_small = device.type == "cpu" and n_parameters <= _MAX_FLOAT32_PARAMETERS_ON_CPU
    return torch.float32 if is_small else torch.bfloat16


def check_memory(path: Path, memory: MemoryEstimate, device: torch.device, announce: Announce = say_nothing) -> None:
    """Announce what is needed and free; CheckpointError with both figures when the weights do not fit."""
    free = free_bytes(device)
    announce(f"needs {memory}" + ("" if free is None else f"; {free / 1e9:.2f} GB are free on {device.type}"))
    if free is not None and memory.weight_bytes > free:
        raise CheckpointError(
            path,
            f"needs {memory}; {free / 1e9:.2f} GB are free on {device.type}; "
            "load fewer experts, a smaller dtype or use a larger machine",
        )


def free_bytes(device: torch.device) -> int | None:
    """Bytes of memory free on the device; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def give_back_memory(device: torch.device) -> None:
    """Return freed memory to the driver or the system, as far as the allocator can."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return
    with suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)

"""Where tensors live: the device that a user's `auto`, `cpu` or `cuda` means on this machine."""

from __future__ import annotations

import torch

from ssl_ce.errors import UserError


def choose_device(wanted: str) -> torch.device:
    """ "cpu" or "cuda" as asked; "auto" is the first GPU if there is one.

    Raises
    ------
    UserError
        If a GPU was asked for and torch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but torch sees no CUDA device here. Use --device cpu or auto.")
    return torch.device("cuda", 0) if wanted != "cpu" and torch.cuda.is_available() else torch.device("cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 itself, faster than float32: a GPU that can, a CPU with the instructions."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))

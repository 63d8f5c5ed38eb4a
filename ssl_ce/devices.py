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

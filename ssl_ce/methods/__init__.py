"""Methods: pretext tasks. A registered target is called as `Method(config, seed)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssl_ce.methods.base import Method

methods: Registry[Callable[..., Method]] = Registry("method", "ssl_ce.methods")
methods.add(
    "context-encoder",
    "ssl_ce.methods.context_encoder:ContextEncoder",
    "fill dropped-out regions from their context (Pathak et al., 2016)",
)

__all__ = ["methods"]

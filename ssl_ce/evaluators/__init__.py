"""Evaluators: judge a descriptor or an inpainter under a named, versioned protocol, as `ce evaluate NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from ssl_ce.evaluators.base import Evaluator

evaluators: Registry[type[Evaluator]] = Registry("evaluator", "ssl_ce.evaluators")
evaluators.add("linear-probe", "ssl_ce.evaluators.linear_probe:LinearProbe", "logistic regression on frozen features")
evaluators.add("knn", "ssl_ce.evaluators.knn:Knn", "weighted k-nearest-neighbour classification on frozen features")
evaluators.add("inpainting", "ssl_ce.evaluators.inpainting:Inpainting", "L1, L2, PSNR and SSIM of filled holes")
evaluators.add(
    "nn-inpainting",
    "ssl_ce.evaluators.inpainting:NearestInpainting",
    "holes filled from the nearest training context",
)
evaluators.add(
    "retrieval",
    "ssl_ce.evaluators.retrieval:Retrieval",
    "precision and agreement of the training contexts that a context finds",
)

__all__ = ["evaluators"]

"""Evaluators: judge a descriptor or an inpainter under a named, versioned protocol, as `ce evaluate NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from ssl_ce.evaluators.base import Evaluator

evaluators: Registry[type[Evaluator]] = Registry("evaluator", "ssl_ce.evaluators")
evaluators.add("linear-probe", "ssl_ce.evaluators.linear_probe:LinearProbe", "logistic regression on frozen features")
evaluators.add(
    "linear-sgd-dinov2",
    "ssl_ce.evaluators.linear_sgd:LinearSgdDinov2",
    "linear heads at 13 rates by SGD on augmented images, the best chosen on held-out train",
)
evaluators.add(
    "linear-sgd-mae",
    "ssl_ce.evaluators.linear_sgd:LinearSgdMae",
    "a linear head behind BatchNorm by LARS on augmented images",
)
evaluators.add(
    "linear-sgd-simclr",
    "ssl_ce.evaluators.linear_sgd:LinearSgdSimclr",
    "a linear head by SGD with Nesterov's momentum on augmented images",
)
evaluators.add(
    "linear-layers-goyal19",
    "ssl_ce.evaluators.linear_layers:LinearLayers",
    "every tap pooled to about 9,000 numbers: a linear head, or SVMs for several labels an image",
)
evaluators.add("knn", "ssl_ce.evaluators.knn:Knn", "weighted k-nearest-neighbour classification on frozen features")
evaluators.add("knn-instdisc", "ssl_ce.evaluators.knn:InstdiscKnn", "the same with 200 neighbours, as Wu et al. (2018)")
evaluators.add("clustering", "ssl_ce.evaluators.clustering:Clustering", "k-means on test features: NMI, ARI, accuracy")
evaluators.add(
    "feature-diagnostics",
    "ssl_ce.evaluators.feature_diagnostics:FeatureDiagnostics",
    "uniformity, alignment and effective rank of the features, without labels",
)
evaluators.add("finetune", "ssl_ce.evaluators.finetune:Finetune", "the whole network trained further on labels")
evaluators.add(
    "voc-classification",
    "ssl_ce.evaluators.voc_classification:VocClassification",
    "the whole network trained on a multi-label set: mean average precision",
)
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
evaluators.add(
    "segmentation",
    "ssl_ce.evaluators.segmentation:Segmentation",
    "label maps drawn by a fully convolutional head, the encoder trained with it",
)
evaluators.add(
    "detection",
    "ssl_ce.evaluators.detection:Detection",
    "objects found by torchvision's Faster R-CNN on the encoder, trained with it",
)

__all__ = ["evaluators"]

"""The examples that `ce evaluate EVALUATOR --help` shows."""

from __future__ import annotations

EXAMPLES = {
    "linear-probe": (
        "linear-probe runs/mine --data photos/",
        "linear-probe runs/mine@conv3 gist random:alexnet --data photos/",
        "linear-probe runs/mine --data digits --set labels_per_class=10 --set draws=10",
    ),
    "linear-sgd-dinov2": (
        "linear-sgd-dinov2 runs/mine --data photos/",
        "linear-sgd-dinov2 runs/mine gist --data photos/ --set iterations=2000",
    ),
    "linear-sgd-mae": ("linear-sgd-mae runs/mine torchvision:resnet18 --data photos/",),
    "linear-sgd-simclr": ("linear-sgd-simclr runs/mine --data cifar10 --data-root ~/data --download",),
    "linear-layers-goyal19": (
        "linear-layers-goyal19 runs/mine --data photos/",
        "linear-layers-goyal19 runs/mine torchvision:alexnet --data voc2007 --data-root ~/data",
    ),
    "knn": (
        "knn runs/mine --data photos/",
        "knn runs/mine@all pixels --data photos/ --set labels_per_class=5",
        "knn 'hog?cell=4' color-histogram --data cifar10 --data-root ~/data --download",
    ),
    "finetune": (
        "finetune runs/mine --data photos/",
        "finetune runs/mine torchvision:resnet18 --data photos/ --set share=0.1",
        "finetune runs/mine --data cifar10 --set epochs=10 --device cuda",
    ),
    "voc-classification": (
        "voc-classification runs/mine --data voc2007 --data-root ~/data --size 256 --fit squash",
        "voc-classification runs/mine --data voc2007 --set steps=2000 --set hidden=[]",
    ),
    "segmentation": (
        "segmentation runs/mine --data streets/",
        "segmentation runs/mine torchvision:resnet18 --data voc2012-segmentation --data-root ~/data --size 224",
        "segmentation runs/mine --data streets/ --set frozen=true",
    ),
    "detection": (
        "detection runs/mine --data animals/",
        "detection runs/mine@conv4 random:resnet18 --data animals/ --fit squash",
    ),
    "knn-instdisc": ("knn-instdisc runs/mine --data photos/",),
    "clustering": ("clustering runs/mine gist --data photos/", "clustering runs/mine@all --data photos/"),
    "feature-diagnostics": (
        "feature-diagnostics runs/mine@all --data photos/",
        "feature-diagnostics runs/mine torchvision:resnet18 --test photos/",
    ),
    "inpainting": (
        "inpainting runs/mine --data photos/",
        "inpainting runs/mine navier-stokes --data photos/ --holes center --holes random-block",
        "inpainting runs/mine telea --data photos/ --holes masks/ --holes free-form",
        "inpainting runs/mine nearest:hog --test photos/ --index more-photos/ --index full",
        "inpainting runs/mine telea --data photos/ --holes center --failures 4",
    ),
    "retrieval": (
        "retrieval runs/mine@conv3 gist --data photos/",
        "retrieval hog --test photos/ --index more-photos/ --holes center --panels 8",
    ),
    "nn-inpainting": (
        "nn-inpainting runs/mine gist --data photos/",
        "nn-inpainting runs/mine@conv3 --test photos/ --index more-photos/ --holes center",
    ),
}
"""{evaluator: what may follow `ce evaluate`}, of our own evaluators."""

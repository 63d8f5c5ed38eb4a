"""The peer of `pretraining.py`: the public code's centre + adversarial training as a plain PyTorch loop.

What one writes after the paper: torchvision's ImageFolder and transforms, a DataLoader with worker processes, networks
of `nn.Sequential`, two Adams. Nothing of ssl_ce is used. Source: pathak22/context-encoder, `train.lua`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

SIDE, LOADED, BATCH, CODE = 128, 350, 64, 4000
_WEIGHT, _ADVERSARIAL, _OVERLAP, _OVERLAP_WEIGHT = 0.999, 0.001, 4, 10.0
_MEAN = (117 / 127.5 - 1, 104 / 127.5 - 1, 123 / 127.5 - 1)


def generator() -> nn.Sequential:
    """netG: (n, 3, 128, 128) -> (n, 3, 64, 64) in [-1, 1]."""
    return nn.Sequential(
        *_down(3, 64, norm=False), *_down(64, 64), *_down(64, 128), *_down(128, 256), *_down(256, 512),
        nn.Conv2d(512, CODE, 4, bias=False), nn.BatchNorm2d(CODE), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(CODE, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        *_up(512, 256), *_up(256, 128), *_up(128, 64),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    """netD: (n, 3, 64, 64) -> (n, 1, 1, 1) logits."""
    return nn.Sequential(
        *_down(3, 64, norm=False), *_down(64, 128), *_down(128, 256), *_down(256, 512),
        nn.Conv2d(512, 1, 4, bias=False),
    )  # fmt: skip


def batches(folder: Path) -> Iterator[Tensor]:
    """Endless batches of the images below `folder`: float32 (64, 3, 128, 128) in [-1, 1]."""
    steps = [
        transforms.Resize(LOADED),
        transforms.RandomCrop(SIDE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
    images = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    workers = min(8, len(os.sched_getaffinity(0)))
    loader = DataLoader(
        images,
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )
    while True:
        for pixels, _ in loader:
            yield pixels


def train(folder: Path, device: torch.device, bf16: bool) -> Iterator[None]:
    """One step for each item asked for."""
    net_g, net_d = generator().to(device), discriminator().to(device)
    adam_g = torch.optim.Adam(net_g.parameters(), lr=2e-3, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(net_d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    quarter, half = SIDE // 4, SIDE // 2
    hole = slice(quarter + _OVERLAP, SIDE - quarter - _OVERLAP)
    weight = torch.full((1, 1, half, half), _OVERLAP_WEIGHT, device=device)
    weight[..., _OVERLAP : half - _OVERLAP, _OVERLAP : half - _OVERLAP] = 1.0
    ones, zeros = torch.ones(BATCH, device=device), torch.zeros(BATCH, device=device)
    for pixels in batches(folder):
        images = pixels.to(device, non_blocking=True)
        real = images[..., quarter : SIDE - quarter, quarter : SIDE - quarter]
        context = images.clone()
        for channel, value in enumerate(_MEAN):
            context[:, channel, hole, hole] = value
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            fake = net_g(context)
            adam_d.zero_grad()
            on_real, on_fake = net_d(real).flatten().float(), net_d(fake.detach()).flatten().float()
            loss_d = F.binary_cross_entropy_with_logits(on_real, ones)
            loss_d = loss_d + F.binary_cross_entropy_with_logits(on_fake, zeros)
        loss_d.backward()
        adam_d.step()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            adam_g.zero_grad()
            adversarial = F.binary_cross_entropy_with_logits(net_d(fake).flatten().float(), ones)
        reconstruction = (weight * (fake.float() - real).square()).mean()
        (_WEIGHT * reconstruction + _ADVERSARIAL * adversarial).backward()
        adam_g.step()
        yield


def _down(inputs: int, outputs: int, norm: bool = True) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.LeakyReLU(0.2)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

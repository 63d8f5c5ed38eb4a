from pathlib import Path

import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.methods.base import Batch
from ssl_ce.methods.saved import build_method
from ssl_ce.methods.supervised import RandomInit, RandomInitConfig, Supervised, SupervisedConfig
from ssl_ce.pretraining.recipe import for_images, load_recipe

SMALL = {"size": 32, "encoder": {"name": "dcgan", "width": 0.1}}
IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_the_ceilings_loss_is_scikit_learns_log_loss():
    method = Supervised(SupervisedConfig.model_validate({**SMALL, "classes": 3}))
    outputs = method.forward(method.prepare(Batch(IMAGES, torch.arange(6), 0, 0, LABELS)))
    loss, logs = method.loss("classifier", outputs)
    probabilities = outputs["scores"].detach().double().softmax(1)
    assert loss.item() == pytest.approx(log_loss(LABELS, probabilities.numpy()), rel=1e-5)
    assert logs["accuracy"].item() == pytest.approx((probabilities.argmax(1) == LABELS).double().mean().item())


def test_the_number_of_classes_comes_from_the_images(digits_train: PackedImages):
    recipe = for_images(load_recipe("quickstart-supervised"), digits_train)
    assert recipe.method["classes"] == 10
    assert build_method(recipe.method, 0).networks["head"].weight.shape == (10, 128)
    assert for_images(recipe, digits_train) == recipe
    with pytest.raises(UserError, match=r"method\.classes = 3 and digits has 10"):
        for_images(load_recipe("quickstart-supervised", ["method.classes=3"]), digits_train)


def test_images_without_labels_have_no_ceiling(photo_folder: Path, tmp_path: Path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photo_folder.glob("train/left/*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    images = open_set(str(flat), "train", DataOptions(size=32))
    with pytest.raises(UserError, match="has no labels"):
        for_images(load_recipe("quickstart-supervised"), images)


def test_holding_out_every_image_is_refused(digits_train: PackedImages):
    with pytest.raises(UserError, match="holds out 2000 images and digits has 1297"):
        for_images(load_recipe("quickstart", ["data.held_out=2000"]), digits_train)


def test_random_init_learns_nothing_but_batchnorms_statistics():
    method = RandomInit(RandomInitConfig.model_validate(SMALL))
    encoder = method.networks["encoder"].train()
    weights = {name: value.clone() for name, value in encoder.named_parameters()}
    norm = next(part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d))
    for _ in range(200):
        outputs = method.forward(method.prepare(Batch(IMAGES, torch.arange(6), 0, 0)))
    assert not outputs["map"].requires_grad
    assert all(torch.equal(value, weights[name]) for name, value in encoder.named_parameters())
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    method.forward(method.prepare(Batch(IMAGES, torch.arange(6), 0, 0)))
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5)

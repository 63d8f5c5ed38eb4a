import math
from pathlib import Path

import pytest
import torch

from ssl_ce.errors import UserError
from ssl_ce.methods import methods
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.logs import Log, read_log
from ssl_ce.pretraining.optimization import make_optimizers, schedule_factor
from ssl_ce.pretraining.recipe import OptimConfig, builtin_recipes, load_recipe


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_built_in_recipe_loads_and_says_what_it_is(name: str):
    assert builtin_recipes()[name]
    recipe = load_recipe(name)
    assert recipe.method["name"] in methods


def test_the_recipes_of_the_issue_ship():
    assert set(builtin_recipes()) >= {
        "quickstart", "ce-alexnet", "ce-alexnet-128", "ce-alexnet-96", "ce-center-adv", "ce-center-l2", "ce-random-adv",
    }  # fmt: skip


def test_the_centre_recipe_is_the_public_codes():
    recipe = load_recipe("ce-center-adv")
    assert (recipe.optim.lr, recipe.optim.players["discriminator"].lr) == (2e-3, 2e-4)
    assert recipe.optim.betas == (0.5, 0.999)
    assert recipe.optim.batch_size == 64
    assert recipe.method["reconstruction"]["weight"] == 0.999
    assert recipe.method["adversarial"]["weight"] == 0.001
    assert round(128 * recipe.method["holes"]["options"]["side"]) == 56


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("quikstart", [], "Did you mean quickstart"),
        ("missing.yaml", [], "no recipe file"),
        ("quickstart", ["optim.lrr=1"], r"'optim.lrr' is not a setting. Did you mean 'optim.lr'"),
        (
            "quickstart",
            ["method.encoder.nam=x"],
            r"'encoder.nam' is not a setting. Did you mean 'encoder.name'",
        ),
        ("quickstart", ["method.name=context-encodr"], "Did you mean context-encoder"),
        ("quickstart", ["optim.lr=fast"], r"'optim.lr' is 'fast'"),
        ("quickstart", ["optim.steps=5"], "either epochs or steps"),
        ("quickstart", ["optim"], "takes key=value"),
        ("quickstart", ["seed.x=1"], "single value"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(name: str, settings: list[str], words: str):
    with pytest.raises(UserError, match=words) as caught:
        load_recipe(name, settings)
    assert "\n" not in str(caught.value)


def test_a_recipe_file_of_ones_own_loads(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("method: {name: context-encoder, size: 32}\noptim: {steps: 3, lr: 1e-3}\n")
    assert load_recipe(str(path), ["optim.lr=2e-3"]).optim.lr == 2e-3
    path.write_text("method: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(str(path))


def test_a_recipe_that_cannot_fit_its_image_size_is_refused():
    with pytest.raises(UserError, match="32"):
        build_method(load_recipe("ce-alexnet-96", ["method.size=24"]).method, 0)


def test_the_schedule_warms_up_and_follows_a_cosine():
    config = OptimConfig(steps=110, warmup_steps=10)
    assert schedule_factor(0, 110, config) == pytest.approx(0.1)
    assert schedule_factor(9, 110, config) == pytest.approx(1.0)
    assert schedule_factor(60, 110, config) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert schedule_factor(110, 110, config) == pytest.approx(0.0, abs=1e-12)
    assert schedule_factor(50, 110, OptimConfig(steps=110, schedule="constant")) == 1.0


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_each_player_has_its_own_optimiser_and_rate(optimizer: str):
    small = {"size": 32, "encoder": {"name": "dcgan", "width": 0.1}, "adversarial": {"width": 0.1}}
    method = ContextEncoder(ContextEncoderConfig(**small))
    config = OptimConfig(steps=1, optimizer=optimizer, lr=0.1, players={"discriminator": {"lr": 0.01}})
    optimizers = make_optimizers(method, config)
    rates = {player: opt.param_groups[0]["base_lr"] for player, opt in optimizers.items()}
    assert rates == {"discriminator": 0.01, "generator": 0.1}
    owned = {id(p) for opt in optimizers.values() for group in opt.param_groups for p in group["params"]}
    assert owned == {id(p) for p in torch.nn.ModuleDict(method.networks).parameters()}
    with pytest.raises(UserError, match="names 'judge'"):
        make_optimizers(method, OptimConfig(steps=1, players={"judge": {"lr": 1}}))


def test_a_log_is_cut_back_to_the_step_it_resumes_from(tmp_path: Path):
    log = Log(tmp_path, tensorboard=False)
    for step in range(1, 6):
        log.add(step, {"loss": step / 10})
    log.add(5, {"online_knn": 0.5})
    with (tmp_path / "log.csv").open("a") as file:
        file.write("6,0.")
    resumed = Log(tmp_path, start=3, tensorboard=False)
    resumed.add(4, {"loss": 9.0})
    rows = read_log(tmp_path / "log.csv")
    assert [(row["step"], row["loss"]) for row in rows] == [
        ("1", "0.1"),
        ("2", "0.2"),
        ("3", "0.3"),
        ("4", "9.0"),
    ]

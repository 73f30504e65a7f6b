"""The published recipes: complete, what their sources say, and able to run."""

import dataclasses
import functools
import itertools
from pathlib import Path

import pytest

from experiments import recipes
from metabridge import train
from metabridge.config import (
    MAMLConfig,
    MTLConfig,
    images_per_step,
    resolve,
)
from metabridge.runs.inputs import check_train_sizes
from tests import toy
from tests.own import OPTIONS

_SIDES = {"mini_imagenet": 84, "tiered_imagenet": 84, "cifar_fs": 32, "fc100": 32}
_dataset = functools.cache(toy.dataset)
EVERY = list(itertools.product(recipes.NAMES, recipes.DATASETS, recipes.SHOTS))


@pytest.mark.extended
@pytest.mark.parametrize(("name", "dataset", "shots"), EVERY)
def test_every_recipe_is_complete(name: str, dataset: str, shots: int) -> None:
    config = recipes.recipe(name, dataset, shots)
    resolved = resolve(config)
    assert config.algorithm == name.split("_")[0]
    assert config.algorithm in OPTIONS
    assert config.data.dataset == dataset
    assert config.evaluation.shots == shots
    assert config.evaluation.tasks == 2000
    # A recipe says all that decides its result; what is left open is where it runs.
    for section in ("train", "model", "evaluation"):
        stated = dataclasses.asdict(getattr(config, section))
        filled = dataclasses.asdict(getattr(resolved, section))
        opened = {key for key, value in stated.items() if filled[key] != value}
        by_body = {"learning_rate"} if name == "mtl_plus" else set()
        assert opened <= {"width"} | by_body
    quick = resolve(recipes.quick(config))
    assert quick.data.dataset == "glyphs"
    glyphs, images = _dataset(size=28), _dataset(channels=3, size=_SIDES[dataset])
    other = resolve(recipes.with_body(config, "conv4", 64))
    for one, data in ((quick, glyphs), (other, images), (resolved, images)):
        check_train_sizes(one, data)
    # The last images are the dataset's own.
    assert all(side == _SIDES[dataset] for _, side in config.train.train_sizes[-1:])


@pytest.mark.parametrize(
    ("dataset", "shots", "images", "tasks"),
    [  # the table of the published code
        ("mini_imagenet", 5, 50, 2),
        ("mini_imagenet", 1, 50, 6),
        ("tiered_imagenet", 5, 200, 1),
        ("tiered_imagenet", 1, 200, 2),
        ("cifar_fs", 5, 50, 6),
        ("cifar_fs", 1, 100, 2),
        ("fc100", 5, 50, 6),
        ("fc100", 1, 25, 1),
    ],
)
def test_mtls_tasks(dataset: str, shots: int, images: int, tasks: int) -> None:
    config = recipes.recipe("mtl", dataset, shots)
    assert config.train.tasks_per_step == tasks
    assert images_per_step(config.train) == images * tasks
    epoch = config.train.validate_every
    assert epoch is not None
    assert 1600 - tasks < epoch * tasks <= 1600
    assert isinstance(config.learner, MTLConfig)
    assert config.learner.feature_norm is (dataset != "fc100")


def test_metaoptnets_learning_rates() -> None:
    """0.1, 0.006, 0.0012 and 0.00024, from epochs 20, 40 and 50 of 60."""
    config = recipes.recipe("metaoptnet", "cifar_fs", 5).train
    rates = [0.1 * factor for _, factor in config.drops]
    assert rates == pytest.approx([0.006, 0.0012, 0.00024])
    assert [60 * share for share, _ in config.drops] == pytest.approx([20, 40, 50])
    assert images_per_step(config) == 8 * 5 * (5 + 6)
    mini = recipes.recipe("metaoptnet", "mini_imagenet", 1).train
    assert images_per_step(mini) == 8 * 5 * (15 + 6)


def test_what_the_others_say() -> None:
    """Numbers of the papers and of their code, once more."""
    maml = recipes.recipe("maml", "mini_imagenet", 5)
    assert maml.learner == MAMLConfig(inner_lr=0.01, inner_steps=5)
    assert (maml.model.width, maml.train.tasks_per_step) == (32, 4)
    assert (maml.train.optimizer, maml.train.learning_rate) == ("adam", 1e-3)
    assert maml.evaluation.test_steps == 10
    rfs = recipes.recipe("rfs", "mini_imagenet", 1).train
    assert (rfs.learning_rate, images_per_step(rfs)) == (0.05, 64)
    assert rfs.steps == 100 * 600
    assert rfs.drops == ((0.6, 0.1), (0.8, 0.01))
    r2d2 = recipes.recipe("r2d2", "cifar_fs", 1)
    assert (r2d2.model.model, r2d2.train.learning_rate) == ("conv4_r2d2", 5e-3)
    for shots, ways in ((1, 30), (5, 20)):
        protonet = recipes.recipe("protonet", "mini_imagenet", shots).train
        assert (protonet.train_ways, protonet.train_queries) == (ways, 15)


def test_published_accuracies() -> None:
    assert recipes.reached("mtl", "cifar_fs", 5) == "84.1 ± 0.1"
    assert recipes.reached("anil", "cifar_fs", 1) == ""
    found = [recipes.reached(*every) for every in EVERY]
    assert sum(map(bool, found)) == 35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mtl++", "cifar_fs", 5), r"`recipe` is 'mtl\+\+'; known are mtl, mtl_plus"),
        (("mtl", "cifar", 5), "`dataset` is 'cifar'; known are mini_imagenet"),
        (("mtl", "cifar_fs", 10), "`shots` is 10; known are 1, 5"),
    ],
)
def test_unknown_recipes(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipes.recipe(*arguments)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_budgets_are_as_many_images_for_all(name: str) -> None:
    whole = recipes.recipe(name, "cifar_fs", 5)
    cut = recipes.with_budget(whole, 400_000)
    steps, per_step = cut.train.steps or 0, images_per_step(cut.train)
    assert 400_000 - per_step < steps * per_step <= 400_000
    assert 19 <= steps / (cut.train.validate_every or 1) <= 21
    assert cut.train.schedule == whole.train.schedule
    assert cut.train.drops == whole.train.drops
    share = steps / (whole.train.steps or 1)
    assert cut.model.drop_ramp == pytest.approx(whole.model.drop_ramp * share, abs=0.5)


def test_a_budget_by_hand() -> None:
    """The paper's MTL on CIFAR-FS: steps of 6 x 50 images, a ramp of 40,000 passes."""
    cut = recipes.with_budget(recipes.recipe("mtl", "cifar_fs", 5), 400_000)
    assert (cut.train.steps, cut.train.validate_every) == (1333, 67)
    # Of 26,600 steps for the whole recipe, 6,666 of them for its ramp.
    assert cut.model.drop_ramp == 334
    assert (cut.train.patience, cut.train.early_stop) == (5, 15)
    with pytest.raises(ValueError, match="but one step of the recipe has 300"):
        recipes.with_budget(recipes.recipe("mtl", "cifar_fs", 5), 299)


def test_changes_of_unknown_fields() -> None:
    config = recipes.recipe("mtl", "cifar_fs", 5)
    with pytest.raises(ValueError, match="'warmth' is no field of train; known are"):
        recipes.changed(config, train={"warmth": 1})
    with pytest.raises(ValueError, match="'body' is no section of a configuration"):
        recipes.changed(config, body={"width": 1})


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.NAMES)
def test_quick_forms_learn(name: str, tmp_path: Path) -> None:
    config = recipes.quick(recipes.recipe(name, "cifar_fs", 5))
    result = train(config, tmp_path / "run")
    assert result["accuracy"] > 0.25  # of 5 ways

"""Configurations: recipes for what is left open, and ranges."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from metabridge import config as configs
from metabridge.config import (
    ANILConfig,
    BOILConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    IMAMLConfig,
    MAMLConfig,
    MetaSGDConfig,
    ModelConfig,
    MTLConfig,
    ProtoNetConfig,
    ReptileConfig,
    RFSConfig,
    TrainConfig,
)
from tests.own import OPTIONS


def changed(section: str, **values) -> Config:
    """A resolved configuration with a few fields set."""
    base = configs.resolve(Config())
    part = dataclasses.replace(getattr(base, section), **values)
    return dataclasses.replace(base, **{section: part})


@pytest.mark.parametrize(
    "dataset",
    ["glyphs", "omniglot", "cifar_fs", "fc100", "mini_imagenet", "folder:x"],
)
def test_resolving_leaves_nothing_open_that_a_run_needs(dataset: str) -> None:
    resolved = configs.resolve(Config(data=DataConfig(dataset=dataset)))
    still_open = {
        field.name
        for section in (resolved.data, resolved.model, resolved.train)
        for field in dataclasses.fields(section)
        if getattr(section, field.name) is None
    }
    automatic = {
        "class_split",
        "data_dir",
        "image_size",
        "white_level",
        "minutes",
        "devices",
    }
    off = {"early_stop", "stream", "max_grad_norm", "spike", "average_decay"}
    off |= {"task_pool", "train_min_ways", "train_min_shots", "train_min_queries"}
    assert still_open <= automatic | off
    assert configs.resolve(resolved) == resolved
    drawings = dataset in ("glyphs", "omniglot")
    assert resolved.data.rotations is drawings
    steps = resolved.train.steps
    assert steps is not None
    assert resolved.train.validate_every == steps // 10


def test_what_the_user_says_wins() -> None:
    config = Config(
        data=DataConfig(dataset="omniglot", rotations=False),
        model=ModelConfig(width=12),
        train=TrainConfig(steps=5, train_ways=3, train_queries=2),
    )
    resolved = configs.resolve(config)
    assert resolved.data.rotations is False
    assert resolved.model.width == 12
    assert (resolved.train.steps, resolved.train.validate_every) == (5, 1)
    assert (resolved.train.train_ways, resolved.train.train_queries) == (3, 2)


def test_the_body_has_a_say() -> None:
    cifar = DataConfig(dataset="cifar_fs")
    small = configs.resolve(Config(data=cifar))
    large = configs.resolve(Config(data=cifar, model=ModelConfig("resnet12")))
    assert small.data.augmentation == "crop_flip"
    assert large.data.augmentation == "natural"
    assert large.train.learning_rate == 1e-3  # the paper's
    assert (small.model.width, large.model.width) == (64, 640)
    assert configs.resolve(Config()).data.augmentation == "drawing"


@pytest.mark.parametrize(
    ("learner", "model", "dataset", "expected"),
    [
        (MTLConfig(), "conv4", "glyphs", 0.03),
        (MTLConfig(), "conv4", "cifar_fs", 0.01),
        (ProtoNetConfig(), "conv4", "folder:birds", 0.01),
        (MAMLConfig(), "conv4", "glyphs", 0.03),
        (ANILConfig(), "conv4", "cifar_fs", 0.01),
        (MAMLConfig(rates="per_step"), "conv4", "glyphs", 3e-3),
        (MetaSGDConfig(), "conv4", "glyphs", 3e-3),
        (IMAMLConfig(), "conv4", "cifar_fs", 3e-3),
        (MAMLConfig(), "resnet12", "glyphs", 1e-3),
        (BOILConfig(), "conv4", "glyphs", 0.03),
        (ReptileConfig(), "conv4", "glyphs", 3e-3),
        (MAMLConfig(), "conv4_r2d2", "cifar_fs", 5e-3),
    ],
)
def test_learning_rates_are_the_recipes_with_conv4(
    learner, model, dataset, expected
) -> None:
    data = DataConfig(dataset=dataset)
    config = Config(learner=learner, data=data, model=ModelConfig(model))
    assert configs.resolve(config).train.learning_rate == expected
    stated = dataclasses.replace(config, train=TrainConfig(learning_rate=0.5))
    assert configs.resolve(stated).train.learning_rate == 0.5


def steps_down(*drops: tuple[float, float]) -> dict[str, Any]:
    return {"schedule": "staircase", "drops": drops}


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"steps": 0}, "`steps` is 0, but must be at least 1"),
        ("train", {"train_ways": 1}, "`train_ways` is 1, but must be at least 2"),
        ("train", {"schedule": "staircase"}, "staircase needs drops, and only it"),
        ("train", {"drops": ((0.5, 0.1),)}, "staircase needs drops, and only it"),
        ("train", steps_down((0.5, 0.1), (0.5, 0.2)), "must ascend in"),
        ("train", steps_down((0.0, 0.1)), "must ascend in"),
        ("train", steps_down((1.0, 0.1)), "must ascend in"),
        ("train", steps_down((0.5, 0.0)), "must be positive"),
        ("train", {"train_sizes": ((0.5, 16), (0.5, 24))}, r"must ascend in \[0, 1\)"),
        ("train", {"train_sizes": ((-0.1, 16),)}, r"must ascend in \[0, 1\)"),
        ("train", {"train_sizes": ((1.0, 16),)}, r"must ascend in \[0, 1\)"),
        (
            "train",
            {"train_sizes": ((0.0, 15),)},
            r"`train_sizes` \(\(0.0, 15\),\) must be at least 16, .* conv4 needs",
        ),
        ("train", {"learning_rate": 0.0}, "`learning_rate` is 0.0, but must be posit"),
        ("train", {"learning_rate": float("nan")}, "`learning_rate` is nan"),
        ("train", {"learning_rate": float("inf")}, "`learning_rate` is inf"),
        ("train", {"average": 1.0}, r"`average` is 1.0, but must be in \[0, 1\)"),
        (
            "train",
            {"average_decay": 1.0},
            r"`average_decay` is 1.0, .* in \(0, 1\)",
        ),
        (
            "train",
            {"average": 0.25, "average_decay": 0.99},
            "`average` is 0.25 and `average_decay` is 0.99, but only one mean",
        ),
        ("train", {"spike": 1.0}, "`spike` is 1.0, but must be more than 1"),
        ("learner", {"num_tasks": 0}, "`num_tasks` is 0"),
        ("evaluation", {"shots": 0}, "`shots` is 0"),
        ("evaluation", {"tasks": 1}, "`tasks` is 1, but must be at least 2"),
        ("evaluation", {"C": -1.0}, "`C` is -1.0"),
        (
            "evaluation",
            {"tune_head": True, "head": "centroid"},
            "`tune_head` chooses .* but `head` is centroid",
        ),
        ("evaluation", {"flips": True}, "`augmentation` is drawing, which leaves hand"),
        ("evaluation", {"finetune_steps": -1}, "`finetune_steps` is -1"),
        ("model", {"width": 0}, "`width` is 0"),
        ("data", {"white_level": 0.0}, "`white_level` is 0.0, but must be positive"),
        ("model", {"drop_rate": 1.0}, r"`drop_rate` is 1.0, but must be in \[0, 1\)"),
    ],
)
def test_numbers_out_of_range_are_named(section, values, message: str) -> None:
    """The others are checked by their ranges, in `test_limits`."""
    with pytest.raises(ValueError, match=message):
        configs.check(changed(section, **values))


def test_the_smallest_allowed_numbers() -> None:
    configs.check(changed("train", steps=1, train_queries=0, train_ways=2, seed=0))
    configs.check(changed("evaluation", tasks=2, ways=2, shots=1, queries=1))
    configs.check(changed("evaluation", finetune_steps=0))
    configs.check(changed("model", drop_rate=0.0))
    configs.resolve(Config(learner=RFSConfig(distillation=0.0)))


def test_mirror_images_are_for_frozen_bodies() -> None:
    evaluation = EvaluationConfig(flips=True)
    configs.resolve(Config(data=DataConfig("cifar_fs"), evaluation=evaluation))
    tuned = EvaluationConfig(flips=True, head="finetune")
    with pytest.raises(ValueError, match="`head` is finetune, which trains it"):
        configs.resolve(Config(data=DataConfig("cifar_fs"), evaluation=tuned))


def test_turns_are_told_or_make_classes() -> None:
    learner = MTLConfig(rotation_weight=0.5)
    configs.resolve(Config(learner, DataConfig("cifar_fs")))
    with pytest.raises(ValueError, match="`rotation_weight` asks for the turn"):
        configs.resolve(Config(learner, DataConfig("glyphs")))


def test_balanced_tasks_are_no_fixed_ones() -> None:
    train = TrainConfig(balanced=True)
    configs.resolve(Config(train=train))
    with pytest.raises(ValueError, match="`balanced` tasks are drawn anew"):
        configs.resolve(Config(MTLConfig(heads="shared"), train=train))


def test_training_ways_follow_the_classes_there_are() -> None:
    few = Config(data=DataConfig("folder:x"))
    assert configs.resolve(few).train.train_ways == 20
    found = configs.resolve(few, classes=10).train
    assert (found.train_ways, found.steps) == (10, 1_000_000 // 50)
    assert configs.resolve(few, classes=64).train.train_ways == 20
    assert configs.resolve(few, classes=1).train.train_ways == 2
    turned = Config(data=DataConfig("folder:x", rotations=True))
    assert configs.resolve(turned, classes=4).train.train_ways == 16
    # Not what the user says, nor what follows from the tested tasks.
    said = Config(data=few.data, train=TrainConfig(train_ways=12))
    assert configs.resolve(said, classes=10).train.train_ways == 12
    alike = Config(ProtoNetConfig(), few.data)
    assert configs.resolve(alike, classes=3).train.train_ways == 5


@pytest.mark.parametrize(
    ("section", "name", "value", "kind", "message"),
    [
        ("train", "learning_rate", "1e-3", TypeError, "'1e-3', of type str"),
        ("train", "steps", "100", TypeError, "'100', of type str"),
        ("data", "image_size", "84", TypeError, "'84', of type str"),
        ("data", "image_size[1]", (28, 2000), ValueError, r"2000, but must be at"),
        ("data", "image_size[0]", (0, 28), ValueError, r"0, but must be at least"),
        ("learner", "logit_scale", "1", TypeError, "'1', of type str"),
    ],
)
def test_types_are_looked_at_before_ranges(section, name, value, kind, message) -> None:
    config = Config()
    # As an untyped program would; the test run itself checks what is constructed.
    part = dataclasses.replace(getattr(config, section))
    object.__setattr__(part, name.partition("[")[0], value)
    object.__setattr__(config, section, part)
    with pytest.raises(kind, match=f"`{re.escape(name)}` is {message}"):
        configs.resolve(config)


def test_unknown_names_are_refused_before_anything_is_read() -> None:
    for config, message in (
        (Config(model=ModelConfig("conv5")), "unknown body 'conv5'; known are conv4"),
        (Config(data=DataConfig("cifar")), "unknown dataset 'cifar'; known are"),
        (Config(evaluation=EvaluationConfig(head="lda")), "`head` is 'lda', but must"),
    ):
        with pytest.raises(ValueError, match=message):
            configs.resolve(config)


def test_text_and_whole_numbers_are_taken() -> None:
    train = TrainConfig()
    object.__setattr__(train, "learning_rate", 1)
    found = configs.resolve(Config(data=DataConfig(data_dir="data"), train=train))
    assert type(found.train.learning_rate) is float
    assert isinstance(found.data.data_dir, Path)
    for wrong in ("learner", "train"):
        config = Config()
        object.__setattr__(config, wrong, {"steps": 1})
        with pytest.raises(TypeError, match=f"`{wrong}` is {{'steps': 1}}"):
            configs.resolve(config)


FOUR_TASKS = TrainConfig(train_ways=5, train_shots=2, train_queries=3, tasks_per_step=4)


def test_images_make_steps() -> None:
    assert configs.images_per_step(FOUR_TASKS) == 4 * 5 * (2 + 3)
    assert configs.with_images(FOUR_TASKS, 1_299).steps == 12
    assert configs.with_images(FOUR_TASKS, 7).steps == 1


@pytest.mark.parametrize(
    ("steps", "given", "expected"), [(50, None, 5), (3, None, 1), (50, 7, 7)]
)
def test_validations_follow_the_steps(
    steps: int, given: int | None, expected: int
) -> None:
    config = configs.with_steps(TrainConfig(validate_every=given), steps)
    assert (config.steps, config.validate_every) == (steps, expected)


def test_minutes_leave_the_steps_open_until_they_are_timed() -> None:
    config = configs.resolve(Config(train=TrainConfig(minutes=0.5)))
    assert (config.train.steps, config.train.validate_every) == (0, 0)
    assert configs.resolve(config) == config
    assert configs.resolved_from_json(configs.to_json(config)) == config
    configs.check(changed("train", minutes=0.5))  # as in a run folder, timed
    with pytest.raises(ValueError, match=r"`minutes` is 0\.0, but must be positive"):
        configs.resolve(Config(train=TrainConfig(minutes=0.0)))
    with pytest.raises(ValueError, match="`validate_every` is 0"):
        configs.check(changed("train", minutes=0.5, validate_every=0))
    with pytest.raises(ValueError, match="pass only one of them"):
        configs.resolve(Config(train=TrainConfig(minutes=1.0, steps=3)))


def test_an_unresolved_configuration_is_not_complete() -> None:
    with pytest.raises(TypeError, match="`augmentation` is None"):
        configs.check(Config())


@pytest.mark.parametrize("name", OPTIONS)
def test_every_algorithm_has_a_recipe(name: str) -> None:
    config = Config(learner=OPTIONS[name](), evaluation=EvaluationConfig(5, 1))
    resolved = configs.resolve(config)
    assert resolved.algorithm == name
    train: Any = resolved.train  # its numbers are no longer optional
    images = train.train_ways * (train.train_shots + train.train_queries)
    images *= train.tasks_per_step
    assert 0.99 * 200_000 <= images * train.steps <= 200_000
    alike = name not in ("mtl", "rfs")  # trained on tasks like those of the test
    assert ((train.train_ways, train.train_shots) == (5, 1)) is alike


def test_the_old_name_of_a_learners_adaptation_is_read() -> None:
    evaluation = EvaluationConfig(head="own")
    with pytest.warns(FutureWarning, match='now `head="learner"`'):
        found = configs.resolve(Config(ProtoNetConfig(), evaluation=evaluation))
    assert found.evaluation.head == "learner"
    text = configs.to_json(found).replace('"learner",\n    "C"', '"own",\n    "C"')
    assert '"own"' in text
    assert configs.resolved_from_json(text) == found


def test_defaults_are_the_published_head_for_unseen_tasks() -> None:
    evaluation = configs.resolve(Config()).evaluation
    assert (evaluation.head, evaluation.C, evaluation.tasks) == ("logistic", 3.0, 2000)

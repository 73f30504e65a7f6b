"""The JSON form of a configuration, and JSON that is none."""

import json
from pathlib import Path

import pytest

from metabridge import config as configs
from metabridge.config import Config, DataConfig, MTLConfig, RFSConfig, TrainConfig

FULL = Config(
    learner=MTLConfig(heads="shared", num_tasks=7),
    data=DataConfig(dataset="cifar_fs", data_dir=Path("some/where")),
    train=TrainConfig(
        steps=30,
        early_stop=3,
        learning_rate=0.5,
        schedule="staircase",
        drops=((0.5, 0.1), (0.75, 0.01)),
    ),
)
RECTANGLES = Config(data=DataConfig(dataset="folder:x", image_size=(28, 42)))
TAUGHT = Config(learner=RFSConfig(teacher=Path("runs/teacher")))


@pytest.mark.parametrize(
    "config", [Config(), FULL, configs.resolve(FULL), TAUGHT, RECTANGLES]
)
def test_json_and_back(config: Config) -> None:
    text = configs.to_json(config)
    again = configs.from_json(text)
    if isinstance(config, configs.ResolvedConfig):
        again = configs.resolved_from_json(text)
    assert again == config
    assert next(iter(json.loads(text))) == "algorithm"
    assert json.loads(text)["algorithm"] == config.algorithm


def edited(path: str, value) -> str:
    """JSON of a configuration with one place overwritten, like "train.steps"."""
    values = json.loads(configs.to_json(Config()))
    place = values
    *parents, last = path.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (edited("algorithm", "maml++"), r"unknown learner 'maml\+\+'; known are mtl"),
        (edited("extra", {}), r"unknown sections \['extra'\]"),
        (edited("train", 3), "section 'train' .* is not an object"),
        (edited("train.stepz", 3), r"unknown \['stepz'\] in section 'train'.*steps"),
        (edited("train.steps", "3"), "`train.steps` is '3'"),
        (edited("train.optimizer", "lion"), "`train.optimizer` is 'lion'.*radam"),
        (edited("train.weight_decay", None), "`train.weight_decay` is None"),
        (edited("train.drops", 0.5), "`train.drops` is 0.5"),
        (edited("train.drops", [[0.5, "x"]]), r"`train.drops\[0\]\[1\]` is 'x'"),
        (edited("learner.feature_norm", 1), "`learner.feature_norm` is 1"),
        (edited("data.data_dir", 1), "`data.data_dir` is 1"),
        (edited("data.image_size", [28]), r"`data.image_size` is \[28\]"),
        (edited("data.augmentation", [1]), r"`data.augmentation` is \[1\]"),
    ],
)
def test_json_that_is_no_configuration(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configs.from_json(text)


def test_whole_numbers_are_taken_for_real_ones() -> None:
    config = configs.from_json(edited("train.learning_rate", 1))
    assert type(config.train.learning_rate) is float

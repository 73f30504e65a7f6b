"""Inputs of a run: keys of their own, task shapes, data that may have moved."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from metabridge.config import (
    Config,
    EvaluationConfig,
    MTLConfig,
    ResolvedConfig,
    TrainConfig,
    resolve,
)
from metabridge.data import Dataset, Split
from metabridge.runs import inputs
from metabridge.types import TaskShape
from tests import toy


def key_data(config: Config) -> dict[str, tuple[int, ...]]:
    keys = inputs.make_keys(resolve(config))._asdict()
    return {
        name: tuple(np.asarray(jax.random.key_data(k)).tolist())
        for name, k in keys.items()
    }


def test_keys_differ_and_follow_their_seed() -> None:
    base = key_data(Config())
    of_training = ("init", "train", "tasks")
    of_evaluation = ("validation", "test")
    assert base.keys() == {*of_training, *of_evaluation}
    for names in (of_training, of_evaluation):
        assert len({base[name] for name in names}) == len(names)
    trained = key_data(Config(train=TrainConfig(seed=1)))
    judged = key_data(Config(evaluation=EvaluationConfig(evaluation_seed=1)))
    for name, value in base.items():
        assert (trained[name] != value) == (name in of_training)
        assert (judged[name] != value) == (name in of_evaluation)


def test_shapes() -> None:
    config = resolve(toy.config(Path("x")))
    assert config.train.shape == TaskShape(4, 2, 1)
    assert config.evaluation.shape == TaskShape(3, 2, 3)


def with_images(height: int, width: int) -> Dataset:
    def cut(split: Split) -> Split:
        images = np.zeros((len(split.labels), height, width, 1), np.uint8)
        return Split(images, split.labels, split.class_names)

    data = toy.dataset()
    splits = {name: cut(split) for name, split in data.splits()}
    return dataclasses.replace(data, **splits)


def test_rotations_need_square_images_and_count_as_classes() -> None:
    config = resolve(toy.config(Path("x"), train_ways=32))
    turned = dataclasses.replace(
        config, data=dataclasses.replace(config.data, rotations=True)
    )
    inputs.check_shapes(turned, with_images(16, 16))
    with pytest.raises(ValueError, match=r"`train_ways` is 32, but .* has 8 classes"):
        inputs.check_shapes(config, with_images(16, 16))
    with pytest.raises(ValueError, match="`rotations` needs square images, not 16x24"):
        inputs.check_shapes(turned, with_images(16, 24))
    told = MTLConfig(rotation_weight=0.5)
    few = dataclasses.replace(resolve(toy.config(Path("x"))), learner=told)
    with pytest.raises(ValueError, match="`rotation_weight` needs square images"):
        inputs.check_shapes(few, with_images(16, 24))
    inputs.check_shapes(few, with_images(16, 16))


def test_a_default_task_has_no_more_classes_than_there_are(images: Path) -> None:
    config = toy.config(images, train_ways=None, train_shots=2)
    resolved = inputs.resolve_for_data(config)
    assert resolved.train.train_ways == 8
    dataset = inputs.load_data(resolved)
    assert inputs.resolve_with_data(config)[0] == resolved
    inputs.check_shapes(resolved, dataset)
    # Nothing is read where nothing depends on it.
    nowhere = toy.config(Path("/no/such"), train_ways=4)
    assert inputs.resolve_for_data(nowhere) == resolve(nowhere)
    with pytest.raises(ValueError, match=r"`train_ways` is 9.*pass train_ways <= 8"):
        inputs.check_shapes(resolve(toy.config(images, train_ways=9)), dataset)
    with pytest.raises(ValueError, match=r"pass train_shots \+ train_queries <= 8"):
        inputs.check_shapes(resolve(toy.config(images, train_shots=9)), dataset)


def test_images_of_a_folder_become_rectangles(images: Path) -> None:
    config = toy.config(images)
    data = dataclasses.replace(config.data, image_size=(6, 10))
    config = resolve(dataclasses.replace(config, data=data))
    assert inputs.load_data(config).image_shape == (6, 10, 1)


def test_data_of_a_run_that_has_moved(images: Path, tmp_path: Path) -> None:
    gone = resolve(toy.config(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"pass `data_dir` \(--data-dir\)"):
        inputs.load_data_of_run(gone, None)
    config, dataset = inputs.load_data_of_run(gone, str(images))
    assert config.data.dataset == f"folder:{images}"
    assert dataset.fingerprint() == inputs.load_data(config).fingerprint()
    with pytest.raises(FileNotFoundError, match="no/such") as caught:
        inputs.load_data_of_run(gone, "/no/such")
    assert "--data-dir" not in str(caught.value)


def test_convolutions_need_sixteen_pixels() -> None:
    config = resolve(toy.config(Path("x")))
    body = dataclasses.replace(config.model, model="resnet12")
    config = dataclasses.replace(config, model=body)
    inputs.check_shapes(config, with_images(16, 16))
    with pytest.raises(ValueError, match=r"resnet12 .* has 16x15; pass --image-size"):
        inputs.check_shapes(config, with_images(16, 15))


@pytest.mark.extended
def test_training_sizes_are_for_bodies_that_do_not_depend_on_them() -> None:
    config = resolve(toy.config(Path("x"), train_sizes=((0.0, 16), (0.5, 20))))
    before = len(jax.live_arrays())

    def with_body(**options) -> ResolvedConfig:
        body = dataclasses.replace(config.model, **options)
        return dataclasses.replace(config, model=body)

    check = inputs.check_shapes
    check(with_body(model="resnet12"), with_images(24, 24))
    for body in (
        {"model": "mlp"},
        {"model": "conv4", "width": 4},
        {"model": "resnet12", "average_pool": False},
    ):
        with pytest.raises(ValueError, match=r"those of .* do: .* than 48x48"):
            check(with_body(**body), with_images(48, 48))
    with pytest.raises(ValueError, match="needs square images, not 24x32"):
        check(with_body(model="resnet12"), with_images(24, 32))
    with pytest.raises(ValueError, match=r"must be at most 16, the pixels that 'fol"):
        check(with_body(model="resnet12"), with_images(16, 16))
    none = dataclasses.replace(config.train, train_sizes=())
    check(dataclasses.replace(config, train=none), with_images(24, 32))
    assert len(jax.live_arrays()) <= before  # devices are the trainings'

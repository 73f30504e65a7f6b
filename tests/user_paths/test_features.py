"""Features and arrays of a user's own: every command, and three lines of Python."""

import json
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge import Config, Dataset, ModelConfig, TrainConfig
from tests.user_paths.calls import NUMBERS, command

RNG = np.random.default_rng(0)
CLASSES, EACH, D = 18, 8, 6
LABELS = np.repeat(np.arange(CLASSES), EACH)
FEATURES = RNG.normal(size=(CLASSES, D))[LABELS] + RNG.normal(size=(len(LABELS), D))
SPLIT = ["train"] * 8 + ["validation"] * 5 + ["test"] * 5
SMALL = (
    "--ways", "3", "--shots", "1", "--queries", "3", "--tasks", "20", "--steps", "4",
    "--validation-tasks", "4",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``mine.npz``."""
    np.savez(tmp_path / "mine.npz", features=FEATURES, labels=LABELS, split=SPLIT)
    (tmp_path / "mine.py").write_text(
        "def halves(images):\n"
        "    return images.reshape(len(images), -1)[:, ::9] / 255.0\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_features_without_a_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (
        "evaluate",
        "--dataset",
        "features:mine.npz",
        "--tasks",
        "20",
        "--ways",
        "3",
    )
    few = ("--shots", "1", "--queries", "3", "--head", "centroid")
    assert command(*given, *few, "--output", "found.json") == 0
    assert "| centroid | " in capsys.readouterr().out
    (score,) = json.loads((place / "found.json").read_text())["scores"]
    assert len(score["accuracies"]) == score["closed"]["tasks"] == 20
    assert command("evaluate") == 2
    assert "name a run or a body; or a --dataset" in capsys.readouterr().err
    assert command(*given, "--flips", "True") == 2
    assert "`flips` is of a run, but none is named" in capsys.readouterr().err


@pytest.mark.extended
def test_training_on_features(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ("train", "mtl", "--dataset", "features:mine.npz", *SMALL)
    assert command(*train, "--run-dir", "run") == 0
    assert "nearest centroid on raw features" in capsys.readouterr().out
    result = json.loads((place / "run" / "result.json").read_text())
    assert command(*train, "--run-dir", "run", "--resume") == 0
    assert command("verify", "run") == 0
    assert command("evaluate", "run", "--output", "again.json") == 0
    again = json.loads((place / "again.json").read_text())
    assert [again[n] for n in NUMBERS] == [result[n] for n in NUMBERS]
    assert command("evaluate", "run", "--dataset", "features:mine.npz") == 0
    assert command("export", "run", "body.safetensors") == 0
    assert "| inputs | 6, features |" in (place / "body.md").read_text()
    assert command("evaluate", "body.safetensors", "--data-dir", "mine.npz") == 0
    assert command("report", "run", "--examples", "1", "--tasks", "2") == 0
    assert "By class" in (place / "report.html").read_text(encoding="utf-8")
    classifier = metabridge.FewShotClassifier("body.safetensors")
    rows = LABELS >= 15
    assert classifier.fit(FEATURES[rows], LABELS[rows]).classes_.tolist() == [
        15,
        16,
        17,
    ]
    with pytest.raises(ValueError, match=r"must be \[N, 6\]"):
        classifier.predict(FEATURES[:, :3])


@pytest.mark.extended
@pytest.mark.parametrize(
    "learner",
    [
        "maml",
        pytest.param("anil", marks=pytest.mark.slow),
        "protonet",
        pytest.param("r2d2", marks=pytest.mark.slow),
    ],
)
def test_other_learners_train_on_features(learner: str, place: Path) -> None:
    train = ("train", learner, "--dataset", "features:mine.npz", "--model", "mlp")
    small = ("--width", "8", "--depth", "1", "--train-queries", "3")
    assert command(*train, *SMALL, *small, "--run-dir", "run") == 0
    assert (place / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "conv4"), "conv4 takes images, but 'features:"),
        (("--rotations", "True"), "`rotations` changes images"),
        (("--augmentation", "natural"), "`augmentation` changes images"),
        (("--flips",), "`flips` changes images"),
        (("--train-ways", "30"), "has 8 classes"),
    ],
)
def test_options_of_images_are_refused(
    options: tuple[str, ...],
    message: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = ("train", "mtl", "--dataset", "features:mine.npz", *SMALL)
    assert command(*train, *options, "--run-dir", "run") == 2
    assert message in capsys.readouterr().err
    assert not (place / "run").exists()


def test_embedding_with_a_function(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = RNG.integers(0, 256, (len(LABELS), 6, 6, 1), dtype=np.uint8)
    Dataset.from_arrays(images, LABELS, SPLIT).save("images.npz")
    made = ("embed", "npz:images.npz", "features.npz", "--body", "mine:halves")
    assert command(*made) == 0
    assert "features:features.npz" in capsys.readouterr().out
    found = metabridge.load_dataset("features:features.npz")
    expected = images[LABELS >= 13].reshape(-1, 36)[:, ::9] / 255.0
    np.testing.assert_allclose(found.test.inputs, expected, rtol=1e-6)
    assert command("embed", "npz:images.npz", "x.npz", "--body", "mine:wholes") == 2
    assert "has no function 'wholes'" in capsys.readouterr().err


@pytest.mark.extended
def test_three_lines_of_python(place: Path) -> None:
    dataset = Dataset.from_arrays(FEATURES, LABELS, SPLIT, name="mine_as_arrays")
    config = Config(
        model=ModelConfig("mlp", width=8, depth=1),
        train=TrainConfig(steps=4, validation_tasks=4),
        evaluation=metabridge.EvaluationConfig(ways=3, shots=1, queries=3, tasks=20),
    )
    result = metabridge.train(config, "run", dataset=dataset)
    again = metabridge.evaluate_run("run")
    assert again["accuracy"] == result["accuracy"]
    with pytest.raises(ValueError, match="`config` names the dataset 'omniglot'"):
        metabridge.train(
            Config(data=metabridge.DataConfig("omniglot")), "x", dataset=dataset
        )
    other = Dataset.from_arrays(-FEATURES, LABELS, SPLIT, name=dataset.name)
    with pytest.raises(ValueError, match="run was given another dataset than the one"):
        metabridge.train(config, "run", dataset=other, resume=True)
    metabridge.train(config, "other", dataset=other)
    for use in (metabridge.evaluate_run, metabridge.load_body):
        with pytest.raises(ValueError, match="run was given another dataset than the"):
            use("run")
    metabridge.register_dataset(dataset.name, lambda: dataset)
    assert metabridge.evaluate_run("run")["accuracy"] == result["accuracy"]

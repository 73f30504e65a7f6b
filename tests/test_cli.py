"""The command line: help, lists, errors, and a run from end to end."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import jax
import pytest

import metabridge
from metabridge import cli
from metabridge.cli import train as training_commands
from metabridge.config import ANILConfig
from tests import toy

FAST = [
    "--model=mlp", "--width=16", "--depth=1", "--optimizer=sgd",
    "--train-ways=4", "--train-shots=2", "--tasks-per-step=2",
    "--steps=4", "--validate-every=2", "--validation-tasks=20",
    "--ways=3", "--shots=2", "--queries=3", "--tasks=30", "--head=ridge",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the command."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    call("train", "mtl", f"--dataset=folder:{images}", f"--run-dir={folder}", *FAST)
    return folder


def call(*arguments: str) -> None:
    """The command in this process; optax divides counts by numbers."""
    with jax.numpy_dtype_promotion("standard"):
        cli.main(arguments)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints to stderr when it refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        call(*arguments)
    assert stopped.value.code not in (0, None)
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("given", "size"), [(("84",), 84), (("28", "42"), (28, 42)), ((), None)]
)
def test_a_side_or_height_and_width(
    monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], size: object
) -> None:
    found = []
    monkeypatch.setattr(
        training_commands, "_train_run", lambda config, _: found.append(config)
    )
    option = ("--image-size", *given) if given else ()
    call("train", "mtl", *option, "--dry-run", "--dataset=folder:x")
    assert found[0].data.image_size == size


@pytest.mark.extended
def test_a_run_leaves_result_and_figures(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result.keys() >= {
        "algorithm", "dataset", "ways", "shots", "queries", "tasks", "accuracy",
        "ci95", "train_seconds", "images_per_second", "pixel_centroid_accuracy",
        "seed", "evaluation_seed", "train_steps", "best_step", "head", "parameters",
    }  # fmt: skip
    shape = [result[name] for name in ("ways", "shots", "queries", "tasks", "head")]
    assert shape == [3, 2, 3, 30, "ridge"]
    assert result["algorithm"] == "mtl"
    assert result["train_steps"] == 4
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["train_ways"] == 4
    assert config["train"]["log_every"] == 20  # a default, written down
    assert config["data"]["augmentation"] == "crop_flip"
    for name in ("learning_curves.png", "test_task.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.extended
def test_a_second_run_there_is_refused_and_resuming_a_finished_one_is_not(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "mtl", f"--dataset=folder:{images}", f"--run-dir={run}"]
    assert "already holds a run: pass --resume" in refused(capsys, *arguments, *FAST)
    before = json.loads((run / "result.json").read_text())
    call(*arguments, *FAST, "--resume")
    after = json.loads((run / "result.json").read_text())
    for name in ("accuracy", "ci95", "train_steps", "best_step", "train_seconds"):
        assert after[name] == before[name]
    out = capsys.readouterr().out
    assert "mtl on folder:" in out
    assert f"{100 * after['accuracy']:.2f} ± {100 * after['ci95']:.2f} %" in out


@pytest.mark.extended
def test_evaluating_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "one.json"
    call("evaluate", str(run), "--shots=1", "--tasks=25", f"--output={output}")
    result = json.loads(output.read_text())
    assert (result["shots"], result["ways"], result["tasks"]) == (1, 3, 25)
    assert result["head"] == "ridge"
    assert "3-way 1-shot, 25 unseen tasks" in capsys.readouterr().out
    tuning = ["--head=finetune", "--finetune-steps=2", "--finetune-rate=0.01"]
    call("evaluate", str(run), *tuning, "--tasks=5", f"--output={output}")
    assert json.loads(output.read_text())["head"] == "finetune"
    choosing = ["--head=logistic", "--tune-head", "--split=validation"]
    call("evaluate", str(run), *choosing, "--tasks=25", f"--output={output}")
    result = json.loads(output.read_text())
    assert (result["split"], result["head"]) == ("validation", "logistic")
    assert 0.01 <= result["C"] <= 100
    message = refused(capsys, "evaluate", str(run), "--finetune-rate=0")
    assert "`finetune_rate` is 0.0, but must be positive" in message
    message = refused(capsys, "evaluate", str(run), "--ways=9")
    assert "`ways` is 9" in message
    assert "has 4 classes; pass ways <= 4" in message
    message = refused(capsys, "evaluate", str(run), "--shots=7")
    assert "7 shots and 3 queries, 10 images of a class" in message
    assert "holds no run" in refused(capsys, "evaluate", str(tmp_path))


@pytest.mark.extended
def test_verifying_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.json"
    call("verify", str(run), f"--output={output}")
    out = capsys.readouterr().out
    assert out.rstrip().endswith(f"{run} is reproduced")
    assert json.loads(output.read_text())["reproduced"] is True
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    text = (copy / "result.json").read_text()
    (copy / "result.json").write_text(text.replace('"accuracy": 0.', '"accuracy": 1.'))
    with pytest.raises(SystemExit) as stopped:
        call("verify", str(copy))
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "differs" in out
    (copy / "result.json").unlink()
    for folder, message in ((copy, "holds no result yet"), (tmp_path, "holds no run")):
        with pytest.raises(SystemExit) as stopped:
            call("verify", str(folder))
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_loggers_are_handed_on_and_a_missing_one_is_said_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    find = importlib.util.find_spec  # by which datasets are found, too
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name == "wandb" else find(name, *rest),
    )
    message = refused(capsys, "train", "mtl", "--loggers", "wandb")
    assert "pip install '.[wandb]'" in message
    assert "--loggers" in refused(capsys, "train", "mtl", "--loggers", "comet")


@pytest.mark.extended
def test_a_dry_run_prints_what_it_would_take(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    arguments = ["train", "mtl", f"--dataset=folder:{images}", f"--run-dir={folder}"]
    call(*arguments, *FAST, "--dry-run")
    out = capsys.readouterr().out
    assert '"train_ways": 4' in out
    for word in ("parameters", "memory of a step", "a checkpoint", "training"):
        assert word in out
    assert list(tmp_path.iterdir()) == []


def test_exporting_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "body.safetensors"
    call("export", str(run), str(file), "--licence=MIT")
    assert "body.md says what it is" in capsys.readouterr().out
    assert "| licence | MIT |" in (tmp_path / "body.md").read_text()
    assert metabridge.load_body(file).config.algorithm == "mtl"
    assert "there already" in refused(capsys, "export", str(run), str(file))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_modules_of_the_user_are_imported_wherever_they_are_named(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METABRIDGE_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"mine_{place}.py").touch()
    (tmp_path / "other.py").touch()
    monkeypatch.setattr(training_commands, "_train_run", lambda config, _: None)
    arguments = ["train", "mtl", "--plugin=other"]
    arguments[place:place] = ["--plugin", f"mine_{place}"]
    call(*arguments)
    assert f"mine_{place}" in sys.modules


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "mtl", "--dataset=mnist"], ["unknown dataset 'mnist'", "cifar_fs"]),
        (["train", "mtl", "--dataset=folder:/no/such"], ["/no/such"]),
        (
            ["train", "mtl", "--dataset=cifar_fs", "--data-dir=nowhere"],
            ["'cifar_fs' is not in", "nowhere", "metabridge prepare cifar_fs"],
        ),
        (["datasets", "--plugin=no_such_module"], ["'no_such_module'"]),
        (["datasets", "--plugin"], ["--plugin", "expected one argument"]),
        (["train", "prototypes"], ["prototypes", "mtl", "protonet"]),
        (["train"], ["mtl"]),
        (["train", "mtl", "--stepz", "3"], ["--stepz", "--steps", "--help"]),
        (["train", "mtl", "--stepz=3"], ["--stepz", "--help"]),
        (["train", "mtl", "--steps=many"], ["--steps", "many"]),
        (["train", "mtl", "--steps=0"], ["`steps` is 0"]),
        (["train", "mtl", "--optimizer=lion"], ["--optimizer", "radam", "lion"]),
        (["train", "mtl", "--heads=two"], ["--heads", "class_table", "independent"]),
        (["train", "mtl", "--model=vit"], ["unknown body 'vit'", "conv4", "resnet12"]),
        (["compare", "--algorithms=mtl,vit"], ["unknown learner 'vit'", "protonet"]),
        (["compare", "--algorithms=mtl", "--steps=9"], ["equal `minutes`"]),
        (["compare"], ["--algorithms"]),
        (["train", "mtl", "--steps=9", "--minutes=1"], ["`minutes` is 1.0"]),
        (["tune"], ["tune", "evaluate", "datasets"]),
        (["evaluate"], ["run"]),
    ],
)
def test_unknown_things_are_refused_and_the_known_are_listed(
    arguments: list[str],
    expected: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABRIDGE_PLUGINS", "")
    message = refused(capsys, *arguments)
    for part in expected:
        assert part.lower() in message.lower()
    assert "Traceback" not in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("learner", "options", "message"),
    [
        ("mtl", "--ways=5", "`ways` is 5, but split 'validation' of"),
        ("mtl", "--train-ways=9", "`train_ways` is 9, but split 'train' of"),
        ("mtl", "--train-shots=9", "9 shots and 0 queries, 9 images of a class"),
        ("mtl", "--queries=7", "2 shots and 7 queries, 9 images of a class"),
        ("rfs", "--teacher={run}", "algorithm is 'mtl' there and 'rfs' here"),
        ("rfs", "--teacher={tmp_path}", "holds no run"),
    ],
)
def test_tasks_and_teachers_that_do_not_fit(
    run: Path,
    images: Path,
    tmp_path: Path,
    learner: str,
    options: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    arguments = ["train", learner, f"--dataset=folder:{images}", f"--run-dir={folder}"]
    option = options.format(run=run, tmp_path=tmp_path)
    assert message in refused(capsys, *arguments, *FAST, option)
    assert not folder.exists()


def test_data_that_makes_no_dataset_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    folder = toy.write_folder(tmp_path / "images")
    broken = folder / "train" / "train_3" / "5.png"
    broken.write_bytes(broken.read_bytes()[:40])
    arguments = ["train", "mtl", f"--dataset=folder:{folder}", *FAST]
    assert "train_3/5.png" in refused(capsys, *arguments)
    for path in broken.parent.glob("*.png"):
        if path.name != "0.png":
            path.unlink()
    message = refused(capsys, *arguments)
    assert "train_3" in message


def test_comparing_prints_the_table_and_says_if_one_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compare(algorithms, config, *, images, folder):
        asked.append((algorithms, config.data.dataset, config.evaluation.shots, images))
        runs = [{"algorithm": name, "error": errors[name]} for name in errors]
        found = {"title": "a title", "reference": "mtl"}
        return found | {"runs": runs, "folder": str(folder)}

    monkeypatch.setattr("metabridge.comparison.compare", compare)
    arguments = ["compare", "--algorithms=mtl,anil --inner-lr 0.25"]
    arguments += ["--dataset=omniglot"]
    arguments += ["--shots=1", "--images=500", f"--folder={tmp_path}"]
    errors = {"mtl": "ValueError: lost", "anil": "ValueError: no"}
    printed = refused(capsys, *arguments)
    learners = ["mtl", (ANILConfig(inner_lr=0.25), {})]
    assert asked == [(learners, "omniglot", 1, 500)]
    assert "a title | algorithm |" in printed
    assert "| anil | failed: ValueError: no |" in printed
    assert f"everything is in {tmp_path}" in printed
    wrong = refused(capsys, "compare", "--algorithms=mtl,anil --solver svm")
    assert "--solver" in wrong


@pytest.mark.extended
def test_a_report_of_runs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    call("report", str(run), f"--output={output}", "--examples=1", "--tasks=2")
    assert f"the page: {output}" in capsys.readouterr().out
    page = output.read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f}" in page
    assert "Example tasks" in page
    message = refused(capsys, "report", str(run), "--theory=results.json")
    assert "pass run folders or --theory, not both" in message
    assert "there is no result" in refused(capsys, "report", "--theory=none.json")
    assert "holds no finished run" in refused(capsys, "report", str(tmp_path))


@pytest.mark.slow
def test_a_short_training_on_cifar_fs_beats_raw_pixels_by_far(
    real_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    call(
        "train", "mtl", "--dataset=cifar_fs", f"--data-dir={real_data / 'tfds'}",
        "--steps=1500", "--tasks=500", f"--run-dir={folder}",
    )  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    # 5-way 5-shot; raw pixels reach 40 %, a tuning run of this length 70 %.
    assert 0.37 < result["pixel_centroid_accuracy"] < 0.44
    assert result["accuracy"] - result["ci95"] > 0.6

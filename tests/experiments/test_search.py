"""The search: its file, budgets, paired gains, and that it resumes or refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import tyro

from experiments import planned, recipes, search
from experiments.search import BASE, Options, config_of, read_variations
from metabridge import train
from metabridge.config import Config, images_per_step, resolve
from tests import toy
from tests.experiments.made_runs import write_run

KEPT = Path("experiments/searches/mtl_fast.toml")


def test_the_kept_variations_see_as_many_images() -> None:
    options = Options(KEPT, images=80_000, body="conv4")
    variations = read_variations(KEPT)
    configs = {name: config_of(each, 0, options) for name, each in variations.items()}
    assert len(set(configs.values())) == len(configs) > 15
    for config in configs.values():
        images = config.train.steps * images_per_step(config.train)
        assert 80_000 - images_per_step(config.train) < images <= 80_000
        assert config.model.model == "conv4"
        assert config.evaluation.tasks == 2  # the test classes are for later
    base = recipes.recipe("mtl_fast", "cifar_fs", 5).train
    assert configs[BASE].train.learning_rate == base.learning_rate
    assert configs["staircase"].train.drops == ((0.6, 0.1), (0.8, 0.01))
    sizes = read_variations(KEPT.with_name("mtl_fast_sizes.toml"))
    own = [config_of(each, 0, Options(KEPT, images=80_000)) for each in sizes.values()]
    assert {config.train.train_sizes for config in own[1:]}.isdisjoint(
        {base.train_sizes}
    )
    assert all(config.model.model == "resnet12" for config in own)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1", r"'a' must be a table \[NAME.SECTION\]"),
        ("[a]\nb = 1", "a.b must be a table of fields"),
        ("[base.train]\nlearning_rate = 1.0", "its name not 'base'"),
        ("[a.train]\nsteps = 9", "'a' changes `steps`, but budget and tasks are the"),
        ("[a.learner]\nteacher = 'b'\n[b.train]", "'a' has the teacher 'b', but must"),
        ("['a b'.train]\n[a-b.train]", "two variations have the folder a-b-0"),
        ("[a", "is no TOML file"),
    ],
)
def test_files_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_variations(tmp_path / "some.toml")


def test_fields_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    for text, message in {
        "[a.train]\nwarmth = 1": "variation 'a': 'warmth' is no field of train",
        "[a.train]\nlearning_rate = -1.0": "variation 'a': `learning_rate`",
    }.items():
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            search.search(Options(file, folder=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_gains_are_paired() -> None:
    """The interval of a gain is that of the differences, task by task."""
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.2, 0.9, 400)
    base = [hard + generator.normal(0, 0.02, 400) for _ in range(2)]
    own = [hard + 0.01 + generator.normal(0, 0.02, 400) for _ in range(2)]

    def runs(accuracies: list[np.ndarray]) -> list[dict]:
        others = {"cpu_seconds": 1800.0, "configuration": {}, "curve": []}
        return [others | {"task_accuracies": each.tolist()} for each in accuracies]

    row = search._row("a", {}, runs(own), runs(base))
    differences = (own[0] + own[1] - base[0] - base[1]) / 2
    assert row["gain"] == pytest.approx(differences.mean())
    expected = 1.96 * np.sqrt(differences.var() * 400 / 399 / 400)
    assert row["gain_ci95"] == pytest.approx(expected)
    assert row["ci95"] > 5 * row["gain_ci95"]
    assert row["core_hours"] == 0.5
    uncounted = [run | {"cpu_seconds": None} for run in runs(own)]
    row = search._row("a", {}, uncounted, runs(base))
    assert row["core_hours"] is None
    assert "| not counted |" in search.table({"settings": {}, "rows": [row]})


def test_results_name_no_folder(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        accuracy=0.7,
        cpu_seconds=None,
        data={"data_dir": tmp_path},
        learner={"teacher": tmp_path / "teacher"},
    )
    (run / "validation.json").write_text("{}")
    found = search._scored(run, 10)
    assert found["configuration"]["learner"]["logit_scale"] == 10.0
    assert str(tmp_path) not in json.dumps(found)


@pytest.mark.slow
def test_a_search_is_made_resumed_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    def here(config: Config, run_dir: Path) -> None:
        started.append(run_dir.name)
        train(config, run_dir, resume=True)

    monkeypatch.setattr(planned, "train_in_a_process", here)
    monkeypatch.setattr(search, "in_a_process", lambda function, *a: function(*a))
    file, folder = tmp_path / "some.toml", tmp_path / "runs"
    rate = "[slow.train]\nlearning_rate = 1e-3\n"
    file.write_text(rate)
    command = [str(file), "--quick", "--images", "60", "--tasks", "10"]
    command += ["--folder", str(folder)]

    def run(*more: str) -> str:
        search.main(tyro.cli(Options, args=[*command, *more]))
        return capsys.readouterr().out

    assert "| slow | learning_rate=0.001 | " in run()
    assert started == ["base-0", "slow-0"]
    found = json.loads((folder / "search.json").read_text())
    base, slow = found["rows"]
    assert (base["gain"], base["gain_ci95"]) == (0, 0)
    assert slow["configurations"][0]["train"]["learning_rate"] == 1e-3
    assert [record["step"] for record in slow["curves"][0]] == [1, 2, 3]
    assert json.loads((folder / "base-0" / "validation.json").read_text())["split"] == (
        "validation"
    )
    # A variation more is trained alone; one that was changed is refused.
    file.write_text(rate + "[again.learner]\nteacher = 'slow'\n")
    assert "| again | teacher=slow | " in run()
    assert started == ["base-0", "slow-0", "again-0"]
    with pytest.raises(ValueError, match="`tasks` was 10, is 20"):
        run("--tasks", "20")
    file.write_text(rate.replace("1e-3", "1e-2"))
    with pytest.raises(ValueError, match=r"learning_rate was 0.001, is 0.01"):
        run()
    assert len(started) == 3


def test_a_failed_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_check_data", lambda _: None)
    monkeypatch.setattr(planned, "train_in_a_process", lambda *_: "no memory")
    with pytest.raises(RuntimeError, match="base-0 failed: no memory"):
        search.search(Options(KEPT, folder=tmp_path / "x"))


def test_a_run_that_cannot_start_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "some.toml", tmp_path / "runs"
    file.write_text("")
    with pytest.raises(FileNotFoundError, match="none"):
        search.search(Options(file, folder=folder, data_dir=tmp_path / "none"))
    monkeypatch.setattr(planned.inputs, "load_data", lambda _: toy.dataset(size=28))
    tasks = {"ways": 2, "shots": 1, "queries": 1}
    train = {"train_ways": 5, "train_shots": 1, "train_queries": 0}
    configs = {
        name: resolve(
            recipes.changed(Config(), train=train, evaluation=tasks | {"queries": many})
        )
        for name, many in {"fits": 1, "many": 999}.items()
    }
    with pytest.raises(ValueError, match="many: "):
        next(planned.train_planned(configs, folder))
    assert not folder.exists()

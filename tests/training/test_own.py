"""A learner of the user's own through the whole library, by the name it has."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import metabridge
from metabridge import cli
from metabridge.config import Config, resolve, to_json
from metabridge.training import RunError, train
from metabridge.training.scoring import evaluate_run
from metabridge.training.verify import verify
from tests import toy
from tests.own import ScaledConfig, forgotten, scaled

pytestmark = pytest.mark.usefixtures(forgotten.__name__)
__all__ = ["forgotten"]


def configured(images: Path, **train_options) -> Config:
    config = toy.config(images, learner=ScaledConfig(), **train_options)
    evaluation = dataclasses.replace(config.evaluation, head=None)
    return dataclasses.replace(config, evaluation=evaluation)


def written(images: Path, run: Path) -> Path:
    """The folder of a run that has only begun."""
    run.mkdir()
    (run / "config.json").write_text(to_json(resolve(configured(images))))
    return run


@pytest.mark.extended
def test_it_trains_resumes_and_is_scored_verified_applied(
    images: Path, tmp_path: Path
) -> None:
    metabridge.register("scaled", ScaledConfig, scaled)
    run = tmp_path / "run"
    result = train(configured(images), run)
    assert (result["algorithm"], result["head"]) == ("scaled", "learner")
    assert json.loads((run / "config.json").read_text())["learner"] == {
        "init_scale": 2.0
    }
    again = train(configured(images), run, resume=True)
    assert again["accuracy"] == result["accuracy"]
    assert evaluate_run(run, {})["accuracy"] == result["accuracy"]
    assert evaluate_run(run, {"head": "ridge"})["head"] == "ridge"
    assert verify(run)["reproduced"]
    # Its factory was told the classes of a training task and of the training split.
    learned = metabridge.load_body(run).variables["params"]["head"]
    assert learned["seen"].shape == (4, toy.CLASSES["train"])
    assert learned["scale"] != 2.0

    exported = tmp_path / "body.safetensors"
    metabridge.export_body(run, exported)
    pictures = toy.dataset().test
    fitted = [
        metabridge.FewShotClassifier(body).fit(pictures.images, pictures.labels)
        for body in (run, exported)
    ]
    said = [each.decision_function(pictures.images) for each in fitted]
    np.testing.assert_array_equal(said[0], said[1])


@pytest.mark.extended
def test_the_shell_commands_know_it_from_its_module(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "its_module.py").write_text(
        "import metabridge\n"
        "from tests.own import ScaledConfig, scaled\n"
        "metabridge.register('scaled', ScaledConfig, scaled)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    monkeypatch.setenv("METABRIDGE_LEARNERS", "its_module,")
    options = [
        "--init-scale=3", f"--dataset=folder:{images}", "--model=mlp", "--width=16",
        "--depth=1", "--ways=3", "--shots=2", "--queries=3", "--train-ways=3",
        "--train-shots=2", "--train-queries=3", "--dry-run",
    ]  # fmt: skip
    cli.main(["train", "scaled", *options])
    assert '"init_scale": 3.0' in capsys.readouterr().out

    for name in ("no_module", "its_module.part"):
        monkeypatch.setenv("METABRIDGE_LEARNERS", name)
        with pytest.raises(SystemExit):
            cli.main(["train", "scaled", *options])
        assert f"there is no plug-in module '{name}'" in capsys.readouterr().err
    (tmp_path / "needy.py").write_text("import what_it_needs\n")
    monkeypatch.setenv("METABRIDGE_LEARNERS", "needy")
    with pytest.raises(SystemExit):
        cli.main(["train", "scaled", *options])
    assert "No module named 'what_it_needs'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_that_does_not_know_it_says_so(images: Path, tmp_path: Path) -> None:
    metabridge.register("scaled", ScaledConfig, scaled)
    run = written(images, tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "metabridge", "evaluate", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown learner 'scaled'" in done.stderr
    assert "`metabridge.register`" in done.stderr


def test_options_that_differ_do_not_resume(images: Path, tmp_path: Path) -> None:
    metabridge.register("scaled", ScaledConfig, scaled)
    written(images, tmp_path / "run")
    other = dataclasses.replace(configured(images), learner=ScaledConfig(3.0))
    with pytest.raises(RunError, match=r"learner.init_scale was 2.0, is 3.0"):
        train(other, tmp_path / "run", resume=True)


def test_a_factory_that_makes_no_learner_is_refused(
    images: Path, tmp_path: Path
) -> None:
    metabridge.register("scaled", ScaledConfig, lambda *bodies, init_scale: "nothing")
    with pytest.raises(ValueError, match=r"must return a .*Learner, .* returned str"):
        train(configured(images), tmp_path / "run")

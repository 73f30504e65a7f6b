"""From a file of PyTorch's to a body for every command; a body of NNX trained."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.user_paths import processes
from tests.user_paths.calls import classify, command
from tests.user_paths.table import RUN, STEPS
from tests.weights import made, torch_format

SHAPE = ("--ways", "3", "--shots", "1", "--queries", "2", "--tasks", "6")


@pytest.mark.extended
def test_import_evaluate_classify(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = made.resnet(widths=(64, 128, 256, 512))
    weights, body = tmp_path / "w.pth", tmp_path / "body.safetensors"
    torch_format.write_legacy(weights, {"model": arrays, "epoch": 3})
    given = ("import", str(weights), "--model", "resnet18", "--output", str(body))
    assert command(*given, "--image-size", "16", "--licence", "MIT") == 0
    printed = capsys.readouterr().out
    assert "holds the resnet18 of" in printed
    assert "left out, as no part of the body: model.fc.weight, model.fc.bias" in printed
    assert command(*given) == 2
    assert "there already" in capsys.readouterr().err
    output = tmp_path / "out.json"
    where = ("--dataset", "folder:images", "--output", str(output))
    assert command("evaluate", str(body), *where, *SHAPE) == 0
    assert "resnet18 on folder:" in capsys.readouterr().out
    assert json.loads(output.read_text())["algorithm"] == "resnet18"
    assert command("evaluate", str(body), "--data-dir", "images", *SHAPE) == 2
    assert len(classify(str(body))) == 9


@pytest.mark.extended
def test_what_is_refused_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trap = torch_format.called("os", "system", "touch ran")
    torch_format.write_zip(tmp_path / "trap.pt", {"w": trap})
    torch_format.write_zip(tmp_path / "few.pt", {"w": np.ones(2, np.float32)})
    output = ("--output", str(tmp_path / "b.safetensors"))
    for file, model, options, problem in (
        ("trap.pt", "resnet18", (), "asks for os.system"),
        ("none.pt", "resnet18", (), "No such file"),
        ("few.pt", "vit_small", (), "lacks"),
        ("few.pt", "conv4", (), "weights are read for"),
        ("few.pt", "resnet18", ("--key", "x"), "no body under the `key` 'x'"),
        ("few.pt", "resnet18", ("--mean", "0.5"), "lacks"),
        ("few.pt", "resnet18", ("--licence", "a\nb"), "one line"),
    ):
        given = ("import", str(tmp_path / file), "--model", model, *output, *options)
        assert command(*given) == 2
        error = capsys.readouterr().err
        assert problem in error
        assert error.count("\n") == 1
    assert not (tmp_path / "b.safetensors").exists()


OWN = """
import metabridge
from flax import nnx


class Tiny(nnx.Module):
    def __init__(self, width, *, input_shape, rngs):
        self.conv = nnx.Conv(input_shape[-1], width, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.norm(self.conv(images)))
        return features.reshape(len(images), -1)


metabridge.register_body("tiny_nnx", Tiny, width=4)
"""


@pytest.mark.extended
@pytest.mark.parametrize(
    "learner", ["mtl", pytest.param("maml", marks=pytest.mark.slow)]
)
def test_train_an_nnx_module(learner: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "own_nnx.py").write_text(OWN)
    places = [str(tmp_path), str(processes.ROOT), *sys.path]
    changes = {"METABRIDGE_PLUGINS": "own_nnx", "PYTHONPATH": os.pathsep.join(places)}
    run, file = str(tmp_path / "run"), str(tmp_path / "b.safetensors")
    options = ["tiny_nnx" if word == "mlp" else word for word in RUN]
    train = ["train", learner, "--steps", str(STEPS), *options, "--run-dir", run]
    done = processes.driven(
        [
            processes.call("command", *train),
            processes.call("command", *train, "--resume"),
            processes.call("command", "verify", run),
            processes.call("command", "export", run, file),
            processes.call("classify", file),
        ],
        tmp_path / "driver.json",
        changes,
    )
    assert done[:4] == [0, 0, 0, 0]
    assert len(done[4]) == 9

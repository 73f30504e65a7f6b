"""Bodies in files: exact there and back, and nothing else is taken for one."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from metabridge import FewShotClassifier, export_body, load_body
from metabridge.apply import Body, body_file, pretrained_bodies
from metabridge.apply.body import from_run
from metabridge.build import Shapes
from metabridge.config import MTLConfig
from metabridge.data.reading import MAX_PIXELS
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from tests.apply import bodies
from tests.own import OPTIONS

DATA = bodies.dataset()


@pytest.mark.extended
@pytest.mark.parametrize(
    ("algorithm", "model"),
    [
        *((algorithm, "mlp") for algorithm in OPTIONS),
        ("mtl", "conv4"),
        pytest.param("mtl", "resnet12", marks=pytest.mark.slow),
    ],
)
def test_there_and_back(algorithm: str, model: str, tmp_path: Path) -> None:
    head = "centroid" if algorithm in ("mtl", "rfs") else "learner"
    body = bodies.body(algorithm, DATA, model=model, head=head)
    body = body.with_about(licence="MIT")
    path = tmp_path / "body.safetensors"
    body_file.write(path, body)
    found = body_file.read(path)
    jax.tree.map(np.testing.assert_array_equal, found.variables, body.variables)
    kinds = [jax.tree.map(lambda leaf: leaf.dtype, b.variables) for b in (found, body)]
    assert kinds[0] == kinds[1]
    for field in dataclasses.fields(Body):
        if field.name != "variables":
            assert getattr(found, field.name) == getattr(body, field.name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["body.safetensors"]
    body_file.write(tmp_path / "again.safetensors", found)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.extended
def test_float16_is_read_as_float32(tmp_path: Path) -> None:
    body = bodies.body("mtl", DATA, model="conv4")
    statistics = jax.tree.map(
        lambda leaf: leaf + np.linspace(1e-9, 0.3, leaf.size, dtype=np.float32),
        body.variables["batch_stats"],
    )
    variables = body.variables | {"batch_stats": statistics}
    body = dataclasses.replace(body, variables=variables)
    path = tmp_path / "body.safetensors"
    export_body(body, path, dtype="float16")
    found = load_body(path)
    expected = {
        "params": jax.tree.map(
            lambda leaf: leaf.astype(np.float16).astype(np.float32),
            body.variables["params"],
        ),
        "batch_stats": body.variables["batch_stats"],
    }
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(found.variables)}
    assert kinds == {np.dtype(np.float32)}
    assert ", rounded to float16 |" in path.with_suffix(".md").read_text()
    exact = body.embed(DATA.test.images)
    error = np.abs(found.embed(DATA.test.images) - exact).max() / np.abs(exact).max()
    assert 0 < error < 2e-3
    export_body(found, tmp_path / "again.safetensors", dtype="float16")
    again = load_body(tmp_path / "again.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again.variables, found.variables)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(7e4, "F32"), (3.4e38, "F32"), (3e-8, "F32"), (1e-30, "F32"), (6e4, "F16")],
)
def test_arrays_that_float16_does_not_hold_stay_float32(
    tmp_path: Path, value: float, kind: str
) -> None:
    body = bodies.body("mtl", DATA)
    leaves, structure = jax.tree.flatten(body.variables)
    leaves = [np.full_like(leaf, value) for leaf in leaves]
    changed = dataclasses.replace(body, variables=jax.tree.unflatten(structure, leaves))
    path = tmp_path / "body.safetensors"
    body_file.write(path, changed, "float16")
    with safe_open(path, framework="numpy") as file:
        kinds = {
            file.get_slice(name).get_dtype()
            for name in file.keys()  # noqa: SIM118
            if name.startswith("params/")
        }
    assert kinds == {kind}
    for leaf in jax.tree.leaves(body_file.read(path).variables):
        np.testing.assert_allclose(leaf, value, rtol=5e-4)


def test_types_that_a_file_cannot_have(tmp_path: Path) -> None:
    body = bodies.body("mtl", DATA)
    with pytest.raises(ValueError, match="'bfloat16', but must be float32 or float16"):
        export_body(body, tmp_path / "body.safetensors", dtype="bfloat16")
    assert not list(tmp_path.iterdir())


def test_no_folder_of_the_machine_is_written(tmp_path: Path) -> None:
    body = bodies.body("mtl", DATA)
    places = {"dataset": "folder:/home/me/birds/", "data_dir": Path("/home/me")}
    config = dataclasses.replace(
        body.config,
        data=dataclasses.replace(body.config.data, **places),
        learner=MTLConfig(teacher=Path("/home/me/runs/1")),
    )
    path = tmp_path / "body.safetensors"
    body_file.write(path, dataclasses.replace(body, config=config))
    assert b"/home" not in path.read_bytes()
    found = body_file.read(path).config
    assert found.data.dataset == "folder:birds"
    assert found == body_file.without_paths(config)


class Parts:
    """A file taken apart, to be put together otherwise."""

    def __init__(self, path: Path) -> None:
        body_file.write(path, bodies.body("protonet", DATA, model="mlp"))
        with safe_open(path, framework="numpy") as file:
            self.arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.header: dict[str, Any] = json.loads(file.metadata()["metabridge"])
        self.path = path
        self.text: str | None = None

    def refused(self, message: str) -> None:
        text = json.dumps(self.header) if self.text is None else self.text
        save_file(self.arrays, self.path, metadata={"metabridge": text})
        with pytest.raises(ValueError, match=message) as caught:
            body_file.read(self.path)
        assert self.path.name in str(caught.value)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "body.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", 2, "its format is 2"),
        ("format", True, "its format is True"),
        ("config", None, "`config` is None"),
        ("config", {"algorithm": "forest"}, "unknown learner 'forest'"),
        ("config", {"algorithm": "protonet"}, "`augmentation` is None"),  # not resolved
        ("image_shape", [16, 16], r"`image_shape` is \[16, 16\]"),
        ("image_shape", [16, 16, 2], "must be one of 1, 3"),
        ("image_shape", [16, 10**12, 3], "must be at most 1024"),
        ("image_shape", [12, 16, 3], "its configuration takes"),
        ("num_classes", 0, "`num_classes` is 0"),
        ("num_classes", "many", "`num_classes` is 'many'"),
        ("mean", [0.5], r"must be \(a number, a number, a number\)"),
        ("mean", [0.5, float("nan"), 0.5], "must be finite"),
        ("std", [0.5, 0.0, 0.5], "must be positive"),
        ("about", [], "`about` is"),
    ],
)
def test_headers_that_do_not_hold(
    parts: Parts, name: str, value: Any, message: str
) -> None:
    parts.header[name] = value
    parts.refused(message)


def test_bodies_beyond_all_size(parts: Parts) -> None:
    parts.header["config"]["model"]["width"] = 10**9
    parts.refused("width` is 1000000000")
    parts.header["config"]["model"]["width"] = 8192  # would be refused when allocated
    parts.refused("its configuration takes")


def test_arrays_that_are_not_the_learners(parts: Parts) -> None:
    name, array = next(iter(parts.arrays.items()))
    parts.arrays[name] = array[..., :-1].copy()
    parts.refused(r"its configuration takes float32")
    parts.arrays[name] = array.astype(np.float64)
    parts.refused(r"is F64")
    parts.arrays[name] = array.astype(np.int32)
    parts.refused(r"is I32")
    parts.arrays[name] = np.full(array.shape, np.inf, np.float16)
    parts.refused("not finite")
    parts.arrays[name] = np.full_like(array, np.inf)
    parts.refused("not finite")
    del parts.arrays[name]
    parts.refused("it misses the array")
    parts.arrays[name] = array
    parts.arrays["params/other"] = array
    parts.refused("it has the array 'params/other'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "not a JSON object"),
        ('{"format": 1, "format": 1}', "twice"),
    ],
)
def test_headers_that_are_no_json(parts: Parts, text: str, message: str) -> None:
    parts.text = text
    parts.refused(message)


def test_files_that_are_cut_off_or_something_else(parts: Parts) -> None:
    whole = parts.path.read_bytes()
    for content in (
        b"",
        b"no",
        whole[:9],
        whole[:-1],
        whole + b"0",
        (2**63).to_bytes(8, "little") + whole[8:],
        (2**40).to_bytes(8, "little") + whole[8:],
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",  # a pickle
    ):
        parts.path.write_bytes(content)
        with pytest.raises(ValueError, match=r"body.safetensors is no exported body"):
            body_file.read(parts.path)
    save_file(parts.arrays, parts.path)
    with pytest.raises(ValueError, match="no entry `metabridge`"):
        body_file.read(parts.path)


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        body_file.read(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        body_file.read(tmp_path / "nowhere")
    (tmp_path / "large").write_bytes(bytes(100))
    monkeypatch.setattr(body_file.devices, "free_host_bytes", lambda: 99)
    with pytest.raises(ValueError, match="100 bytes, more than memory"):
        body_file.read(tmp_path / "large")


def test_random_bytes_in_the_header_are_a_value_error(parts: Parts) -> None:
    whole, generator = parts.path.read_bytes(), np.random.default_rng(0)
    end = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(60):
        content = bytearray(whole)
        for place in generator.integers(0, end, 3):
            content[place] = generator.integers(0, 256)
        parts.path.write_bytes(content)
        try:
            found = body_file.read(parts.path)
        except ValueError:
            continue
        assert isinstance(found, Body)  # a harmless change, of a number or a name


def test_options_of_reading_are_kept_and_checked(tmp_path: Path) -> None:
    """Files of before have none of them: the defaults are meant."""
    path = tmp_path / "body.safetensors"
    body = bodies.body("mtl", DATA)
    for background in ("black", "no colour"):
        data = dataclasses.replace(body.config.data, background=background)
        config = dataclasses.replace(body.config, data=data)
        body_file.write(path, dataclasses.replace(body, config=config))
        if background == "black":
            assert body_file.read(path).config.data == data
        else:
            with pytest.raises(ValueError, match="`background` is 'no colour'"):
                body_file.read(path)
    before = pretrained_bodies()["omniglot-conv4"]
    with safe_open(before, framework="numpy") as file:
        header = json.loads(file.metadata()["metabridge"])
    assert "background" not in header["config"]["data"]
    assert body_file.read(before).config.data.background == "white"


def test_a_file_does_not_raise_the_limit_of_pixels(tmp_path: Path) -> None:
    body = bodies.body("mtl", DATA)
    for given, held in ((2**31 - 1, MAX_PIXELS), (5000, 5000)):
        data = dataclasses.replace(body.config.data, max_pixels=given)
        changed = dataclasses.replace(body.config, data=data)
        path = tmp_path / f"{given}.safetensors"
        body_file.write(path, dataclasses.replace(body, config=changed))
        assert body_file.read(path).config.data.max_pixels == held


@pytest.mark.extended
def test_the_file_answers_as_the_run_does(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "body.safetensors"
    card = export_body(run, file, licence="MIT")
    assert card == tmp_path / "body.md"
    body = load_body(file)
    assert body.about["card"] == card.read_text()
    assert body.about["licence"] == "MIT"
    assert file.stat().st_mode == card.stat().st_mode  # others may read both
    split = inputs.load_data(run_folder.read_config(run)).test
    images, labels = split.images, split.labels
    ours, theirs = (
        FewShotClassifier(place).fit(images[::2], labels[::2]).decision_function(images)
        for place in (file, run)
    )
    assert np.array_equal(ours, theirs)
    export_body(body, tmp_path / "copy.safetensors")
    assert load_body(tmp_path / "copy.safetensors").about["licence"] == "MIT"


@pytest.mark.extended
@pytest.mark.parametrize(
    ("name", "licence", "message"),
    [
        ("body.pt", None, r"must end in \.safetensors"),
        ("no/body.safetensors", None, "its folder does not exist"),
        ("there.safetensors", None, "there already"),
        ("noted.safetensors", None, "noted.md is there already"),
        ("bo\ndy.safetensors", None, "can be printed"),
        ("body.safetensors", "two\nlines", "one line"),
    ],
)
def test_what_is_not_written(
    run: Path, tmp_path: Path, name: str, licence: str | None, message: str
) -> None:
    (tmp_path / "there.safetensors").touch()
    (tmp_path / "noted.md").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        export_body(run, tmp_path / name, licence=licence)
    with pytest.raises(ValueError, match="holds no run"):
        export_body(tmp_path, tmp_path / "new.safetensors")
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_reader_wants_to_know(run: Path) -> None:
    body = from_run(run).with_about(licence="CC BY 4.0")
    text = body_file.make_card(body, file_name="birds.safetensors")
    result = body.about["result"]
    assert f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %" in text
    assert "3-way 2-shot, 40 unseen tasks, head centroid" in text
    for line in (
        "# mtl on folder:images",
        "| body | mlp width 16 |",
        "| images | 8 x 8, grey |",
        "| trained on | folder:images, 8 classes |",
        f"| fingerprint of the data | {body.about['dataset']['fingerprint']} |",
        "| training | 6 steps, tasks of 4 ways and 2 shots, 4 a step, seed 0 |",
        "| licence | CC BY 4.0 |",
        'FewShotClassifier("birds.safetensors")',
    ):
        assert line in text
    flipped = body.with_about(result=result | {"flips": True})
    card = body_file.make_card(flipped, file_name="birds.safetensors")
    assert "tested with mirror images, 95 % interval" in card
    assert "mirror" not in text
    assert "metabridge 0" in text
    assert str(run.parent) not in text


@pytest.mark.parametrize(
    ("shape", "row"),
    [((12,), "| inputs | 12, features |"), ((50, 2), "| inputs | 50 x 2, numbers |")],
)
def test_a_card_of_a_body_for_other_inputs(
    run: Path, shape: tuple[int, ...], row: str
) -> None:
    body = from_run(run)
    body = dataclasses.replace(body, shapes=Shapes(shape, 8, images=False))
    text = body_file.make_card(body, file_name="a.safetensors")
    assert row in text
    assert "few-shot classification of features and other numbers" in text
    assert "classifier.fit(inputs, labels)" in text
    assert "image" not in text.replace("folder:images", "")


def test_a_body_of_which_nothing_is_known() -> None:
    text = body_file.make_card(
        bodies.body("maml", bodies.dataset()), file_name="a.safetensors"
    )
    assert "| accuracy | not measured |" in text
    assert "| licence | not stated |" in text
    hostile = bodies.body("maml", bodies.dataset()).with_about(licence="a|b\x1b[2J")
    assert "a\\|b\\x1b[2J" in body_file.make_card(hostile, file_name="a.safetensors")

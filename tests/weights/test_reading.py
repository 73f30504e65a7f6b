"""Files of `torch.save` and safetensors are read; what would run is refused by name."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from metabridge.weights import read_weights
from metabridge.weights.reading import _DEEPEST
from tests.weights import pnet, torch_format
from tests.weights.torch_format import BFLOAT16, Raw, View, called

PNET = pnet.TRAINED
# The file of facenet-pytorch 2.6.0 (MIT), a trained network, as `torch.load` of PyTorch
# 2.14.1 reads it: shapes, and the first digits of the arrays' SHA-256.
DIGESTS = {
    "conv1.weight": ([10, 3, 3, 3], "5b5127d88290a180"),
    "conv1.bias": ([10], "83fd809228678b04"),
    "prelu1.weight": ([10], "45adbefa01108f18"),
    "conv2.weight": ([16, 10, 3, 3], "b85e783a5f632a12"),
    "conv2.bias": ([16], "72bd983207b4b5c5"),
    "prelu2.weight": ([16], "6540801da4f97819"),
    "conv3.weight": ([32, 16, 3, 3], "9d5aae6ca2dbba98"),
    "conv3.bias": ([32], "dd636cec55f59b36"),
    "prelu3.weight": ([32], "6465b2b6d0df8df6"),
    "conv4_1.weight": ([2, 32, 1, 1], "f745afb4a8007397"),
    "conv4_1.bias": ([2], "575f7af6d2ed0b63"),
    "conv4_2.weight": ([4, 32, 1, 1], "d72b47f2c3d67d19"),
    "conv4_2.bias": ([4], "7376962a9927027d"),
}
WRITERS = [torch_format.write_zip, torch_format.write_legacy]


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(3, 4))
    return {
        "double": numbers,
        "single": numbers.astype(np.float32),
        "half": numbers.astype(np.float16),
        "brain": numbers.astype(BFLOAT16),
        "count": np.asarray(7),
        "none": np.zeros((0, 3), np.float32),
    }


def test_a_trained_file_is_read_as_pytorch_reads_it() -> None:
    found = {
        name: (
            list(entry.shape),
            hashlib.sha256(entry.read().tobytes()).hexdigest()[:16],
        )
        for name, entry in read_weights(PNET).items()
    }
    assert found == DIGESTS


@pytest.mark.parametrize("now", [False, True])
def test_a_trained_network_gives_what_it_gives_in_pytorch(now: bool) -> None:
    """`now`: by the PyTorch that is installed, else by its numbers that are kept."""
    arrays = {name: entry.read() for name, entry in read_weights(PNET).items()}
    if now:
        pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
        expected = pnet.by_pytorch(pnet.images())
    else:
        kept = np.load(pnet.OUTPUTS, allow_pickle=False)
        expected = kept["faces"], kept["boxes"]
    for found, wanted in zip(pnet.by_jax(arrays, pnet.images()), expected, strict=True):
        assert found.shape[2:] == (6, 9)
        assert np.ptp(wanted) > 0.1  # it tells places apart
        np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("write", WRITERS)
def test_arrays_of_all_types_come_back(write, tmp_path: Path) -> None:
    given = arrays()
    write(tmp_path / "a.pt", {"state_dict": given, "epoch": 3, "lr": [0.1, 0.2]})
    found = read_weights(tmp_path / "a.pt")
    assert list(found) == [f"state_dict.{name}" for name in given]
    for name, array in given.items():
        entry = found[f"state_dict.{name}"]
        assert entry.shape == array.shape
        assert entry.read().dtype == array.dtype
        np.testing.assert_array_equal(entry.read(), array)


def test_safetensors_come_back(tmp_path: Path) -> None:
    given = arrays()
    save_file(given, tmp_path / "a.bin")  # the content counts, not the name
    found = read_weights(tmp_path / "a.bin")
    assert {name: entry.shape for name, entry in found.items()} == {
        name: array.shape for name, array in given.items()
    }
    for name, array in given.items():
        np.testing.assert_array_equal(found[name].read(), array)


@pytest.mark.parametrize("write", WRITERS)
def test_views_share_a_storage(write, tmp_path: Path) -> None:
    numbers = np.arange(12, dtype=np.float32)
    whole = numbers.reshape(3, 4)
    views = {
        "whole": View(numbers, 0, (3, 4), (4, 1)),
        "turned": View(numbers, 0, (4, 3), (1, 4)),
        "column": View(numbers, 1, (3,), (4,)),
        "spread": View(numbers, 5, (2, 3), (0, 0)),
    }
    write(tmp_path / "a.pt", views)
    found = {k: entry.read() for k, entry in read_weights(tmp_path / "a.pt").items()}
    expected = {
        "whole": whole,
        "turned": whole.T,
        "column": whole[:, 1],
        "spread": np.full((2, 3), 5),
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (called("os", "system", "touch ran"), "os.system"),
        (called("builtins", "eval", "open('ran', 'w')"), "builtins.eval"),
        (called("torch.nn.modules.linear", "Linear", 2, 3), "modules.linear.Linear"),
        (called("torch", "load", "x"), "torch.load"),
        (called("torch._utils", "_rebuild_tensor_v3"), "_rebuild_tensor_v3"),
        (called("torch.jit._pickle", "build_intlist"), "build_intlist"),
    ],
    ids=["system", "eval", "module", "load", "newer tensor", "script"],
)  # fmt: skip
def test_what_would_run_is_refused_by_name(
    write, value: Raw, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pt", {"weight": np.ones(3, np.float32), "trap": value})
    with pytest.raises(ValueError, match=f"asks for .*{named}"):
        read_weights(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("write", WRITERS)
def test_options_of_a_command_line_are_dropped(write, tmp_path: Path) -> None:
    """RFS keeps its own beside the weights."""
    options = Raw(b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb")
    write(tmp_path / "a.pt", {"opt": options, "model": {"w": np.ones(2, np.float32)}})
    assert list(read_weights(tmp_path / "a.pt")) == ["model.w"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (View(np.ones(4, np.float32), 0, (5,), (1,)), "larger than its storage"),
        (View(np.ones(4, np.float32), 3, (2,), (1,)), "larger than its storage"),
        (View(np.ones(4, np.float32), 0, (2, 2), (3, 1)), "larger than its storage"),
        (View(np.ones(4, np.float32), -1, (2,), (1,)), "of no shape"),
        (View(np.ones(4, np.float32), 0, (2,), (-1,)), "of no shape"),
        (View(np.ones(4, np.float32), 0, (2,), (1, 1)), "of no shape"),
        (View(np.ones(4, np.float32), 0, (2**40,), (0,)), "larger than a file"),
    ],
)
def test_views_that_do_not_fit_are_refused(
    write, view: View, problem: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.pt", {"w": view})
    with pytest.raises(ValueError, match=problem):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_cut_off_is_refused(write, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write(path, {"w": np.ones(100, np.float32)})
    content = path.read_bytes()
    for length in (1, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.pt holds no weights"):
            read_weights(path)


def test_dicts_without_end_are_read_once(tmp_path: Path) -> None:
    itself = Raw(b"}q\x00X\x01\x00\x00\x00ah\x00s")
    weight = np.ones(2, np.float32)
    torch_format.write_zip(tmp_path / "a.pt", {"x": itself, "w": weight})
    assert list(read_weights(tmp_path / "a.pt")) == ["w"]
    deep: dict = {"w": weight}
    for _ in range(_DEEPEST):
        deep = {"d": deep}
    torch_format.write_zip(tmp_path / "b.pt", deep)
    with pytest.raises(ValueError, match="no tensors by name, but a dict of"):
        read_weights(tmp_path / "b.pt")


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ValueError, match="neither of safetensors nor of"):
        read_weights(tmp_path / "text")
    with pytest.raises(ValueError, match=r"cannot read .*No such file"):
        read_weights(tmp_path / "none")
    with pytest.raises(ValueError, match="no regular file"):
        read_weights(tmp_path)
    packed = zipfile.ZIP_DEFLATED
    torch_format.write_zip(tmp_path / "z.pt", {"w": np.ones(9)}, compression=packed)
    with pytest.raises(ValueError, match="compressed"):
        read_weights(tmp_path / "z.pt")
    torch_format.write_zip(tmp_path / "s.pt", {"w": np.ones(9)})
    with zipfile.ZipFile(tmp_path / "s.pt", "a") as archive:
        archive.writestr("w/constants.pkl", b"")
    with pytest.raises(ValueError, match="TorchScript program"):
        read_weights(tmp_path / "s.pt")
    torch_format.write_zip(tmp_path / "list.pt", [1, 2])
    with pytest.raises(ValueError, match="no tensors by name, but a list"):
        read_weights(tmp_path / "list.pt")
    (tmp_path / "x.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{]")
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("write", WRITERS)
def test_pytorch_reads_what_the_tests_write(write, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
    given = arrays()
    write(tmp_path / "a.pt", given)
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    for name, array in given.items():
        kind = torch.float64 if array.dtype.kind in "fV" else torch.int64
        expected = array.astype(np.float64)
        np.testing.assert_array_equal(found[name].to(kind).numpy(), expected)

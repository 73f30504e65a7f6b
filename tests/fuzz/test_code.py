"""What no part of the code does: unpack archives, unpickle or run what it has read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("src", "theory", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)
ARCHIVES = ROOT / "src" / "metabridge" / "data" / "archives.py"
FORBIDDEN = {
    "extract", "extractall", "unpack_archive", "eval", "exec", "compile_command",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open",
    "os.system", "os.popen", "yaml.load", "torch.load", "joblib.load", "tarfile.open",
    "cloudpickle.load", "cloudpickle.loads",
}  # fmt: skip


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls in a file: the last part of the name, and the last two."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        yield name.rsplit(".", 1)[-1] if name.count(".") else name, node
        yield ".".join(name.split(".")[-2:]), node


def forbidden(source: str) -> set[str]:
    found = {name for name, _ in calls(source) if name in FORBIDDEN}
    for name, node in calls(source):
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        if options.get("allow_pickle", "False") != "False":
            found.add("allow_pickle")
        if options.get("shell", "False") != "False":
            found.add("shell")
        del name
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_run_or_unpacked(path: Path) -> None:
    allowed = {"tarfile.open"} if path == ARCHIVES else set()
    assert forbidden(path.read_text(encoding="utf-8")) <= allowed


@pytest.mark.parametrize(
    "source",
    ["tarfile.open(x).extractall()", "zipfile.ZipFile(x).extract('a')", "eval(text)",
     "shutil.unpack_archive(x)", "pickle.load(f)", "np.load(f, allow_pickle=True)",
     "subprocess.run(x, shell=True)", "import os\nos.system('x')"],
)  # fmt: skip
def test_what_would_be_found(source: str) -> None:
    assert forbidden(source)


def test_archives_are_read_in_one_place_that_writes_no_file() -> None:
    assert [path.name for path in FILES if "tarfile" in path.read_text()] == [
        ARCHIVES.name
    ]
    names = {name for name, _ in calls(ARCHIVES.read_text(encoding="utf-8"))}
    assert "tarfile.open" in names
    assert not {"write", "write_bytes", "write_text", "mkdir", "copyfileobj"} & names


def test_the_only_unpickler_is_the_restricted_one() -> None:
    users = [
        path.name
        for path in FILES
        if any(
            isinstance(node, ast.Attribute) and node.attr.endswith("Unpickler")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert users == ["unpickle.py"]

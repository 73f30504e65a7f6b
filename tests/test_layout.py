"""The shape of the project: packages, directions of imports."""

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = sorted((SOURCE / "metabridge").rglob("*.py"))
THEORY = SOURCE / "metabridge" / "theory"  # a link, to the folder at the top
WINGS = [
    "types", "kernels", "matrices", "solvers", "predictors", "functional",
    "closeness", "finite", "command",
]  # fmt: skip

# What a part of the package may import of it: the parts before it, never one after.
LAYERS = [
    {"task_shape", "untrusted", "files", "units", "huge_pages"},
    {"types"},
    {"masks"},
    {"plugins", "registry", "extras"},
    {"unions"},
    {"config", "output", "precision"},
    {"parallel", "builtins"},
    {"data", "models", "heads", "optimizers", "theory_options"},
    {"learners", "weights"},
    {"build", "evaluation", "testing"},
    {"runs"},
    {"plots"},
    {"training"},
    {"comparison", "apply", "similarity"},
    {"report", "diversity", "regression"},
    {"cli"},
    {"__main__"},
]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, at any depth of its code."""
    package = path.relative_to(SOURCE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part(name: str) -> str | None:
    """The part of the package that a dotted name belongs to."""
    pieces = name.split(".")
    if pieces[0] != "metabridge" or len(pieces) == 1:
        return None
    return pieces[1]


def part_of_file(path: Path) -> str:
    return path.relative_to(SOURCE / "metabridge").with_suffix("").parts[0]


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def test_every_part_has_its_layer() -> None:
    parts = {part_of_file(path) for path in MODULES} - {"__init__"}
    assert parts <= set.union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    here = part_of_file(path)
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in ("theory", "experiments", "benchmarks", "tests"), (
            f"{path} imports {name}"
        )
        # The command line does, when its command is called.
        assert here == "cli" or not name.startswith("metabridge.theory"), name
        there = part(name)
        if here == "__init__" or there is None or there == here:
            continue
        if there not in set.union(*LAYERS):
            continue  # a name that the package's __init__ re-exports
        assert level(there) < level(here), f"{path} imports {name}"


@pytest.mark.parametrize(
    "path", sorted(THEORY.rglob("*.py")), ids=lambda p: str(p.relative_to(THEORY))
)
def test_wings_of_the_theory_import_those_below(path: Path) -> None:
    wing = path.relative_to(THEORY).with_suffix("").parts[0]
    if wing in ("__init__", "alias"):
        return
    for name in imported(path):
        if name.startswith("metabridge.theory."):
            there = name.split(".")[2]
            assert WINGS.index(there) <= WINGS.index(wing), f"{path} imports {name}"


def test_imports_of_a_file_are_found(tmp_path: Path) -> None:
    # The checks above would pass on nothing.
    found = set(imported(SOURCE / "metabridge" / "cli" / "train.py"))
    assert "metabridge.config.Config" in found
    assert "metabridge.training.train" in found  # inside a function
    found = set(imported(THEORY / "closeness" / "sweep.py"))
    assert "metabridge.theory.kernels.relu.iterate_depths" in found
    assert level("data") < level("learners") < level("training")


def test_packages_are_the_folders_on_disk() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["packages"].split()
    folders = {
        ".".join(init.parent.relative_to(SOURCE).parts)
        for init in SOURCE.rglob("__init__.py")
    }
    folders |= {
        ".".join(init.parent.relative_to(SOURCE).parts)
        for init in THEORY.rglob("__init__.py")
    }
    assert sorted(listed) == sorted(folders)
    without_init = [
        folder
        for folder in {path.parent for path in MODULES}
        if not (folder / "__init__.py").is_file()
    ]
    assert not without_init


def test_package_data_exists() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    data = setup["options.package_data"]
    for package, patterns in data.items():
        for pattern in patterns.split():
            assert list((SOURCE / package).glob(pattern)), f"{package}: {pattern}"


def test_every_test_folder_is_a_package() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert (path.parent / "__init__.py").is_file(), path

"""The notebooks of the documentation run, and what is committed is what they gave."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.docs.notebooks import FOLDER, PATHS, executed, read

MOST_BYTES = 400_000
MOST_LINES = 40
"""Of a learner of one's own, outside its mathematics, with what it imports from us."""
NAMES = ["closeness", "new_learner", "own_images"]
SHORTER = {
    "new_learner": {"STEPS, WIDTH = 200, 32": "STEPS, WIDTH = 20, 8"},
    "own_images": {
        "MINUTES = 0.1": "MINUTES = 0.02",
        "WIDTH = 16": "WIDTH = 4",
        "TEST_TASKS = 200": "TEST_TASKS = 20",
    },
}
"""Less training and narrower networks than those whose outputs are committed."""
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:tmp|home|root|work|Users|usr|var|opt)/")

every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: NotebookNode) -> str:
    """Text of the outputs."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            found.append(output.get("text", ""))
            found += [
                value
                for kind, value in output.get("data", {}).items()
                if not kind.startswith("image/")
            ]
    return "\n".join(found)


def kinds(notebook: NotebookNode) -> list[list[str]]:
    """Kinds of the outputs of each cell, apart from progress bars."""
    return [
        sorted(
            kind
            for output in cell.outputs
            for kind in (output.get("data") or {output.get("name", "error"): None})
            if kind != "stderr"
        )
        for cell in code_cells(notebook)
    ]


def code_lines(source: str) -> int:
    """Count of the lines that are not blank and not a comment alone."""
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_these_are_the_notebooks_and_the_site_lists_them() -> None:
    assert [path.stem for path in PATHS] == NAMES
    site = (FOLDER.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"notebooks/{name}.ipynb" in site


@every
def test_outputs_are_committed_whole_and_small(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    assert not MACHINE_PATHS.search(texts(notebook))
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        assert picture.metadata["image/png"]["alt"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=pytest.mark.slow if path.stem in SHORTER else pytest.mark.extended,
        )
        for path in PATHS
    ],
)
def test_it_runs_from_a_fresh_kernel(path: Path) -> None:
    notebook = executed(path, SHORTER.get(path.stem))  # raises what a cell raises
    assert not MACHINE_PATHS.search(texts(notebook))
    assert kinds(notebook) == kinds(read(path))


def test_a_learner_takes_few_lines_outside_its_mathematics() -> None:
    notebook = read(FOLDER / "new_learner.ipynb")
    tagged = {
        tag: cell.source
        for cell in code_cells(notebook)
        for tag in cell.metadata.get("tags", [])
    }
    assert "def cosines" in tagged["mathematics"]
    assert "metabridge.register" in tagged["learner"]
    imports = re.findall(
        r"^(?:import|from) metabridge\b.*", code_cells(notebook)[0].source, re.M
    )
    assert len(imports) >= 5
    assert code_lines(tagged["learner"]) + len(imports) <= MOST_LINES

"""Executes the notebooks of the documentation in place: `make notebooks`.

Each has a kernel of its own and works in a temporary folder. What goes to stderr, such
as progress bars, is shown here and not kept.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 400
"""What no cell takes, even on a busy machine."""


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def executed(path: Path, changes: Mapping[str, str] | None = None) -> NotebookNode:
    """A notebook with the outputs of a fresh kernel; an error in a cell is raised.

    Args:
      path: of the notebook.
      changes: lines of its first cell, and what stands there instead.
    """
    notebook = read(path)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for line, other in (changes or {}).items():
        assert line in first.source
        first.source = first.source.replace(line, other)
    # The folder is gone only after the kernel.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
        ).execute()
    return notebook


def without_stderr(notebook: NotebookNode) -> NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    # The version of the Python that happened to be there.
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of notebooks; all unless given")
    names = parser.parse_args().names
    unknown = set(names) - {path.stem for path in PATHS}
    if unknown:
        parser.error(f"there is no notebook {', '.join(sorted(unknown))} in {FOLDER}")
    for path in PATHS:
        if names and path.stem not in names:
            continue
        since = time.perf_counter()
        notebook = executed(path)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if output.get("name") == "stderr":
                    print(output.text, file=sys.stderr)
        nbformat.write(without_stderr(notebook), path)
        print(f"{path.stem}: {time.perf_counter() - since:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""One process that takes ever heavier steps and lists the modules after each.

``python -m tests.light_imports CACHE`` prints JSON: for each step its name, what it
printed, its exit code and the modules that are loaded after it.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable

STEPS: dict[str, Callable[[], object]] = {}


def step(function: Callable[[], object]) -> Callable[[], object]:
    STEPS[function.__name__] = function
    return function


@step
def package() -> None:
    import metabridge

    metabridge.Config()
    assert {"train", "FewShotClassifier", "load_body"} <= set(dir(metabridge))


def _command(line: str) -> None:
    from metabridge import cli

    STEPS[line] = lambda: cli.main(line.split())


for _line in (
    "--help",
    "train --help",
    "train mtl --help",
    "compare --help",
    "report --help",
    "evaluate --help",
    "theory --help",
    "prepare --help",
    "--tyro-print-completion bash",
    "--tyro-print-completion zsh",
):
    _command(_line)


@step
def datasets() -> None:
    import runpy

    sys.argv = ["metabridge", "datasets"]
    runpy.run_module("metabridge", run_name="__main__")


@step
def cached_dataset() -> None:
    from metabridge.data.registry import load_dataset

    load_dataset("glyphs", cache_dir=CACHE)


@step
def theory() -> None:
    from metabridge import theory  # noqa: F401


def main() -> None:
    found = []
    for name, function in STEPS.items():
        printed, code = io.StringIO(), 0
        with contextlib.redirect_stdout(printed):
            try:
                function()
            except SystemExit as stopped:
                code = stopped.code or 0
        loaded = {module.split(".")[0] for module in sys.modules}
        loaded |= {"metabridge.theory"} & set(sys.modules)
        found.append((name, printed.getvalue(), code, sorted(loaded)))
    print(json.dumps(found))


if __name__ == "__main__":
    CACHE = sys.argv[1]
    main()

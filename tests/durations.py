"""Prints the slowest test modules of a run from its JUnit file: `make durations`."""

import argparse
import collections
from pathlib import Path
from xml.etree import ElementTree


def seconds_by_module(report: Path) -> dict[str, tuple[float, int]]:
    """Returns seconds and number of tests of each module, the slowest first.

    Args:
      report: what ``pytest --junitxml`` has written.
    """
    found: dict[str, tuple[float, int]] = collections.defaultdict(lambda: (0.0, 0))
    for case in ElementTree.parse(report).iter("testcase"):
        # Of a test in a class, the name of the class follows that of the module.
        module = case.attrib["classname"].removeprefix("tests.")
        seconds, count = found[module]
        found[module] = seconds + float(case.attrib["time"]), count + 1
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def table(found: dict[str, tuple[float, int]], most: int) -> str:
    """Formats the slowest modules and the sum of all as Markdown."""
    rows = ["| module | seconds | tests |", "|---|---|---|"]
    rows += [
        f"| {name.replace('.', '/')} | {seconds:.0f} | {count} |"
        for name, (seconds, count) in list(found.items())[:most]
    ]
    seconds, count = map(sum, zip(*found.values(), strict=True))
    return "\n".join([*rows, f"| all {len(found)} | {seconds:.0f} | {count} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="file of pytest --junitxml")
    parser.add_argument("--most", type=int, default=20, help="modules to print")
    arguments = parser.parse_args()
    if not arguments.report.is_file():
        parser.error(f"there is no {arguments.report}: run that tier of the tests")
    print(table(seconds_by_module(arguments.report), arguments.most))


if __name__ == "__main__":
    main()

"""The command line: `python -m experiments.ntk_compare --help`."""

import sys
from collections.abc import Sequence

import tyro

from experiments.ntk_compare.config import Config, check


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; bad input ends with one line on stderr and exit code 2."""
    config = tyro.cli(Config, prog="python -m experiments.ntk_compare", args=arguments)
    try:
        check(config)
        # JAX takes seconds to import, too long before an error or a help text.
        from experiments.ntk_compare.run import run

        page = run(config)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"ntk_compare: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"\nThe page: {page}")


if __name__ == "__main__":
    main()

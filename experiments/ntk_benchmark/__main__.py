"""The command line: `python -m experiments.ntk_benchmark --help`."""

import sys
from collections.abc import Sequence

import tyro

from experiments.ntk_benchmark.config import Config, check, resolved


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; bad input ends with one line on stderr and exit code 2."""
    config = tyro.cli(
        Config, prog="python -m experiments.ntk_benchmark", args=arguments
    )
    try:
        config = resolved(config)
        check(config)
        # JAX takes seconds to import, too long before an error or a help text.
        from experiments.ntk_benchmark.run import run

        page = run(config)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"ntk_benchmark: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"\nThe page: {page}")


if __name__ == "__main__":
    main()

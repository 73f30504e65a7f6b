"""Command line of both forms of the study."""

import sys
from collections.abc import Sequence

import tyro

from experiments import arguments
from experiments.closeness.config import Benchmark, Compare, resolve


def main(
    form: type[Compare] | type[Benchmark], given: Sequence[str] | None = None
) -> None:
    """Run the study; bad input ends with one line on stderr and exit code 2."""
    config = tyro.cli(form, prog=f"python -m experiments.{form.command}", args=given)
    try:
        config = resolve(config)
        arguments.check(config)
        # JAX takes seconds to import, too long before an error or a help text.
        from experiments.closeness.run import run

        page = run(config)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"{form.command}: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"\nThe page: {page}")

"""Command line: `python -m experiments.ntk_compare --help`."""

from experiments.closeness.command import main
from experiments.closeness.config import Compare

if __name__ == "__main__":
    main(Compare)

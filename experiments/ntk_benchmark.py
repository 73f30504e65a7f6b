"""Command line: `python -m experiments.ntk_benchmark --help`."""

from experiments.closeness.command import main
from experiments.closeness.config import Benchmark

if __name__ == "__main__":
    main(Benchmark)

"""`python -m metabridge` is the command line."""

from metabridge.cli import main

if __name__ == "__main__":
    main()

"""Runs the command line as `python -m ernest`, which is how `torchrun -m ernest train` starts it."""

from ernest.cli import main

if __name__ == "__main__":
    main()

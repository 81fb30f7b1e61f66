"""Runs the command line as `python -m ernest`, and so for launchers that start a module, such as torchrun."""

from ernest.cli import main

if __name__ == "__main__":
    main()

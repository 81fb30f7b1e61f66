"""`python -m benchmarks.phasefield`: measures the parts of this wing."""

from benchmarks.phasefield.parts import WING
from benchmarks.runner import main

if __name__ == "__main__":
    main(WING)
